"""What went wrong with a model call, in words that can go to a client.

    ModelError          a code and a message; nothing of the upstream's text, addresses or traces
      model_unavailable         no connection, or the model's server is failing (5xx)
      model_rate_limited        too many calls (429)
      model_timeout             nothing came in time
      model_stream_interrupted  the connection broke while the answer came
      model_invalid_response    an answer that is not one of the API
      model_misconfigured       the call was refused (400, 401, 403, 404, ...) or nobody could sign in
      model_failed              the model itself reported a failure, or an error we do not know

Frameworks wrap what the `openai` client raises; the chain of causes is searched for the error that says most. Log the
original exception beside the translated one: this module drops its text on purpose.
"""

import json
from collections.abc import Iterator
from typing import Literal, get_args

import httpx2

ModelErrorCode = Literal[
    "model_unavailable",
    "model_rate_limited",
    "model_timeout",
    "model_stream_interrupted",
    "model_invalid_response",
    "model_misconfigured",
    "model_failed",
]

MODEL_ERROR_CODES: tuple[str, ...] = get_args(ModelErrorCode)

_MESSAGES: dict[ModelErrorCode, str] = {
    "model_unavailable": "The model cannot be reached right now. Try again in a moment.",
    "model_rate_limited": "The model is receiving too many requests. Wait a little, then try again.",
    "model_timeout": "The model did not answer in time. Try again, or ask for less at once.",
    "model_stream_interrupted": "The connection to the model broke before its answer was complete. Try again.",
    "model_invalid_response": "The model sent an unreadable answer. Try again; if it stays, tell the operator.",
    "model_misconfigured": "The model refused the request. The operator should check the model's settings and the log.",
    "model_failed": "The model failed to complete its answer. Try again; if it stays, tell the operator.",
}
_RETRYABLE = ("model_unavailable", "model_rate_limited", "model_timeout", "model_stream_interrupted")
_LONGEST_CHAIN = 20


class ModelError(Exception):
    """A model call failed. `code` is for programs, `message` is safe to show to a client and says what to do."""

    def __init__(self, code: ModelErrorCode) -> None:
        self.code: ModelErrorCode = code
        self.message = _MESSAGES[code]
        super().__init__(self.message)

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.code in _RETRYABLE


def translate_model_error(error: BaseException) -> ModelError:
    """The `ModelError` for whatever a model call raised, a framework's wrapper around it included."""
    for cause in _chain(error):
        if isinstance(cause, ModelError):
            return cause
    codes = [code for look in (_code, _rough_code) for cause in _chain(error) if (code := look(cause)) is not None]
    return ModelError(codes[0] if codes else "model_failed")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what caused it, outermost first. A group's members count as its causes."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _LONGEST_CHAIN:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        cause = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if cause is not None:
            waiting.append(cause)
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)


def _code(error: BaseException) -> ModelErrorCode | None:
    """The code of an error that says what happened."""
    if isinstance(error, httpx2.TimeoutException):
        return "model_timeout"
    if isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError):
        return "model_stream_interrupted"
    if isinstance(error, httpx2.DecodingError | json.JSONDecodeError | UnicodeDecodeError):
        return "model_invalid_response"
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL | httpx2.TooManyRedirects):
        return "model_misconfigured"
    if isinstance(error, httpx2.TransportError):
        return "model_unavailable"
    # By name, so that translating loads none of these packages.
    names = _names(error)
    if ("pydantic_core", "ValidationError") in names:
        return "model_invalid_response"
    if ("azure", "ClientAuthenticationError") in names:
        return "model_misconfigured"
    if ("openai", "APITimeoutError") in names:
        return "model_timeout"
    if ("openai", "APIResponseValidationError") in names:
        return "model_invalid_response"
    if ("openai", "LengthFinishReasonError") in names or ("openai", "ContentFilterFinishReasonError") in names:
        return "model_invalid_response"
    if ("openai", "APIStatusError") in names:
        return _status_code(int(getattr(error, "status_code", 0)))
    if ("openai", "APIError") in names and ("openai", "APIConnectionError") not in names:
        # An `error` inside a stream that began with status 200.
        limited = str(getattr(error, "code", "")) in ("rate_limit_exceeded", "too_many_requests", "429")
        return "model_rate_limited" if limited else "model_failed"
    return None


def _rough_code(error: BaseException) -> ModelErrorCode | None:
    """The code of an error whose cause would say more: a cut connection is an `APIConnectionError` outside, a
    `RemoteProtocolError` inside it, and a `ConnectionResetError` at the bottom."""
    if isinstance(error, TimeoutError):
        return "model_timeout"
    names = _names(error)
    if isinstance(error, ConnectionError) or ("openai", "APIConnectionError") in names:
        return "model_unavailable"
    if ("openai", "OpenAIError") in names:  # The client was made wrongly: no key, no sign-in.
        return "model_misconfigured"
    return None


def _names(error: BaseException) -> list[tuple[str, str]]:
    return [(base.__module__.partition(".")[0], base.__name__) for base in type(error).__mro__]


def _status_code(status: int) -> ModelErrorCode:
    if status == 429:
        return "model_rate_limited"
    if status == 408:
        return "model_timeout"
    if status >= 500:
        return "model_unavailable"
    return "model_misconfigured"


__all__ = ["MODEL_ERROR_CODES", "ModelError", "ModelErrorCode", "translate_model_error"]
