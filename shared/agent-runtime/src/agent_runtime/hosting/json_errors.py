"""Make every HTTP error a JSON error with a code, also where Starlette answers in plain text or the agent raises.

An error body that has a code already passes unchanged. An exception is logged with its traceback and answered
`internal_error`: the client learns nothing of it. Once a response has begun, an exception can only cut the connection.
"""

import contextlib
import json
import logging
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.hosting.errors import BadRequest, error_body, error_response

logger = logging.getLogger(__name__)

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 500: "internal_error"}
_MESSAGES = {
    404: "There is nothing at this path.",
    405: "This path does not answer this method. See the Allow header.",
    500: "The agent failed to answer. The cause is in its log.",
}
_LONGEST_ERROR = 256_000


class JsonErrors:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sender = _Sender(scope, send)
        try:
            await self.app(scope, receive, sender)
        except BadRequest as error:
            if sender.started:
                raise
            await error.response()(scope, receive, send)
        except Exception:
            if sender.started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"].encode("unicode_escape").decode())
            await error_response("internal_error", _MESSAGES[500], 500)(scope, receive, send)


class _Sender:
    """Passes a response on, but keeps an error back until its body is there to be judged."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = False
        self._scope = scope
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400 and not _is_stream(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            self.started = True
            await self._send(message)
        else:
            await self._hold(self._start, message)

    async def _hold(self, start: Message, message: Message) -> None:
        self._body += message.get("body", b"")
        more = bool(message.get("more_body", False))
        # A refusal must reach a client that still sends: its body is complete before its last message.
        if more and not _complete(start, self._body) and len(self._body) < _LONGEST_ERROR:
            return
        self._start = None
        self.started = True
        body = bytes(self._body)
        status = int(start["status"])
        if self._scope["method"] != "HEAD" or body:
            body = _with_code(body, status)
        await self._send({**start, "headers": _headers(start, body, replaced=body != self._body)})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _with_code(body: bytes, status: int) -> bytes:
    document: Any = None
    with contextlib.suppress(ValueError):
        document = json.loads(body)
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        if isinstance(error.get("code"), str) and error["code"]:
            return body
        document["error"] = {"message": _message(status), **error, "code": _code(status)}
    else:
        document = error_body(_code(status), _message(status), status)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _code(status: int) -> str:
    try:
        return _CODES.get(status) or HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    except ValueError:
        return "error"


def _message(status: int) -> str:
    try:
        return _MESSAGES.get(status) or f"{HTTPStatus(status).phrase}."
    except ValueError:
        return "The request failed."


def _headers(start: Message, body: bytes, *, replaced: bool) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = list(start.get("headers", []))
    if not replaced:
        return headers
    kept = [(name, value) for name, value in headers if name.lower() not in {b"content-type", b"content-length"}]
    if not any(name.lower() == b"x-platform-error-source" for name, _ in kept):
        kept.append((b"x-platform-error-source", b"upstream" if start["status"] >= 500 else b"user"))
    return [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]


def _complete(start: Message, body: bytearray) -> bool:
    return any(
        name.lower() == b"content-length" and value == str(len(body)).encode() for name, value in start["headers"]
    )


def _is_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", [])
    )
