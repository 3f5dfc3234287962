"""What POST /responses must look like before an agent is asked. The SDK accepts an empty object, for one.

The rules follow OpenAI's API reference for the fields that clients send. Unknown fields are left alone: clients add
their own (`azd` sends `session_id`). Formats of ids that only the SDK knows are left to the SDK.
"""

import re
from collections.abc import Callable
from typing import Any

from agent_runtime.hosting.errors import BadRequest
from agent_runtime.hosting.json_body import parse_json_object

_CONVERSATION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")  # the SDK makes it a file name
_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,256}")  # the SDK sends it back as a header
_CALLERS_ROLE = "user"
_MODELS_ROLES = frozenset({"system", "developer", "assistant", "tool", "critic", "discriminator"})


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole_number(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= 2**53


def _of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _is_metadata(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= 16
        and all(len(key) <= 64 and isinstance(text, str) and len(text) <= 512 for key, text in value.items())
    )


def _is_conversation(value: Any) -> bool:
    identifier = value.get("id") if isinstance(value, dict) else value
    return isinstance(identifier, str) and _CONVERSATION_ID.fullmatch(identifier) is not None


def _is_session(value: Any) -> bool:
    return isinstance(value, str) and _SESSION_ID.fullmatch(value) is not None


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "agent_session_id": (_is_session, "an id of at most 256 letters, digits or ._:-"),
    "background": (_of(bool), "true or false"),
    "conversation": (_is_conversation, "an id, or an object with an id, of at most 128 letters, digits, - or _"),
    "include": (_list_of(str), "a list of strings"),
    "instructions": (_of(str), "a string"),
    "max_output_tokens": (_whole_number(1), "a whole number of at least 1"),
    "max_tool_calls": (_whole_number(1), "a whole number of at least 1"),
    "metadata": (_is_metadata, "an object of at most 16 short strings (keys up to 64 characters, values up to 512)"),
    "model": (_of(str), "a string"),
    "parallel_tool_calls": (_of(bool), "true or false"),
    "previous_response_id": (lambda value: isinstance(value, str) and bool(value), "the id of a response"),
    "reasoning": (_of(dict), "an object"),
    "safety_identifier": (_of(str), "a string"),
    "service_tier": (_of(str), "a string"),
    "store": (_of(bool), "true or false"),
    "stream": (_of(bool), "true or false"),
    "stream_options": (_of(dict), "an object"),
    "temperature": (_number(0, 2), "a number from 0 to 2"),
    "text": (_of(dict), "an object"),
    "tool_choice": (lambda value: isinstance(value, str | dict), "a string or an object"),
    "tools": (_list_of(dict), "a list of objects"),
    "top_logprobs": (_whole_number(0), "a whole number from 0"),
    "top_p": (_number(0, 1), "a number from 0 to 1"),
    "truncation": (_of(str), "a string"),
    "user": (_of(str), "a string"),
}


def check_responses_request(raw: bytes) -> None:
    """The rule for `("POST", "/responses")`.

    Raises:
        BadRequest: what is wrong, with the field in `param`.
    """
    body = parse_json_object(raw)
    for name, (is_right, expected) in _FIELDS.items():
        value = body.get(name)
        if value is not None and not is_right(value):
            raise BadRequest("invalid_value", f"'{name}' must be {expected}.", param=name)
    if body.get("previous_response_id") is not None and body.get("conversation") is not None:
        raise BadRequest(
            "mutually_exclusive_parameters",
            "Send 'previous_response_id' or 'conversation', not both: each names a history.",
            param="previous_response_id",
        )
    _check_input(body.get("input"))


def _check_input(value: Any) -> None:
    if value is None:
        raise BadRequest("missing_required_parameter", "'input' is missing: send a string or items.", param="input")
    if isinstance(value, str):
        if not value.strip():
            raise BadRequest("empty_input", "'input' is empty.", param="input")
        return
    if not isinstance(value, list):
        raise BadRequest("invalid_value", "'input' must be a string or a list of items.", param="input")
    if not value:
        raise BadRequest("empty_input", "'input' is empty.", param="input")
    for number, item in enumerate(value):
        _check_item(item, f"input[{number}]")


def _check_item(item: Any, param: str) -> None:
    if not isinstance(item, dict):
        raise BadRequest("invalid_value", f"'{param}' must be an object.", param=param)
    kind = item.get("type", "message")
    if not isinstance(kind, str):
        raise BadRequest("invalid_value", f"'{param}.type' must be a string.", param=f"{param}.type")
    if kind == "message":
        _check_message(item, param)


def _check_message(item: dict[str, Any], param: str) -> None:
    role = item.get("role")
    if isinstance(role, str) and role in _MODELS_ROLES:
        message = (
            f"'{param}.role' must be 'user': the other roles are the agent's. Earlier turns are known by their id."
        )
        raise BadRequest("role_not_allowed", message, param=f"{param}.role")
    if role != _CALLERS_ROLE:
        raise BadRequest("invalid_value", f"'{param}.role' must be 'user'.", param=f"{param}.role")
    content = item.get("content")
    if isinstance(content, str):
        if not content.strip():
            raise BadRequest("empty_input", f"'{param}.content' is empty.", param=f"{param}.content")
        return
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        message = f"'{param}.content' must be a string or a list of parts."
        raise BadRequest("invalid_value", message, param=f"{param}.content")
    if not content:
        raise BadRequest("empty_input", f"'{param}.content' is empty.", param=f"{param}.content")
    for number, part in enumerate(content):
        where = f"{param}.content[{number}]"
        if not isinstance(part.get("type"), str):
            raise BadRequest("invalid_value", f"'{where}.type' must be a string.", param=f"{where}.type")
        if part["type"] == "input_text" and not isinstance(part.get("text"), str):
            raise BadRequest("invalid_value", f"'{where}.text' must be a string.", param=f"{where}.text")
