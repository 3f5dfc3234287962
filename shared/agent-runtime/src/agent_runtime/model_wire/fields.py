"""Typed access to the fields of a decoded request body; a wrong type becomes an error shaped like OpenAI's.

Only what both APIs share is here: the error itself, scalar fields, function tools and the parts of a message.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from agent_runtime.model_exchange import FunctionTool

UNSUPPORTED_PARAMETER = "unsupported_parameter"


class WireError(Exception):
    """An error answer of the API. `json()` is the body: `{"error": {"message", "type", "param", "code"}}`."""

    def __init__(self, status: int, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param

    @property
    def type(self) -> str:
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    def json(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def invalid_type(param: str, expected: str, value: object) -> WireError:
    found = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
    return WireError(
        400, "invalid_type", f"Invalid type for '{param}': expected {expected}, but got {found} instead.", param
    )


def invalid_value(param: str, allowed: Iterable[str]) -> WireError:
    names = ", ".join(f"'{name}'" for name in allowed)
    return WireError(400, "invalid_value", f"Invalid value for '{param}'. Supported values are: {names}.", param)


def missing(param: str) -> WireError:
    return WireError(400, "missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def unsupported(param: str, message: str) -> WireError:
    return WireError(400, UNSUPPORTED_PARAMETER, message, param)


def as_object(value: object, param: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid_type(param, "an object", value)
    return value


def as_array(value: object, param: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid_type(param, "an array", value)
    return value


def required_text(holder: Mapping[str, Any], key: str, param: str) -> str:
    value = holder.get(key)
    if value is None:
        raise missing(param)
    if not isinstance(value, str):
        raise invalid_type(param, "a string", value)
    return value


def optional_text(holder: Mapping[str, Any], key: str, param: str) -> str:
    return "" if holder.get(key) is None else required_text(holder, key, param)


def optional_flag(body: Mapping[str, Any], key: str, default: bool) -> bool:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid_type(key, "a boolean", value)
    return value


def optional_count(body: Mapping[str, Any], key: str) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_type(key, "an integer", value)
    if value < 1:
        raise WireError(400, "integer_below_min_value", f"Invalid '{key}': expected a value >= 1.", key)
    return value


def check_number(body: Mapping[str, Any], key: str, low: float, high: float) -> None:
    """Sampling parameters change nothing here, but a request that the service would refuse is refused."""
    value = body.get(key)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid_type(key, "a number", value)
    if not low <= value <= high:
        raise WireError(400, "decimal_out_of_range", f"Invalid '{key}': expected a value from {low} to {high}.", key)


def refuse(body: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Refuse the parameters of `reasons` that are set to anything but null, false, an empty list or an empty object."""
    for key, reason in reasons.items():
        if body.get(key) not in (None, False, [], {}):
            raise unsupported(key, f"'{key}' is not supported here: {reason}")


def content_text(content: object, param: str, text_parts: tuple[str, ...]) -> str:
    """The text of a message's content: a string, or a list of parts of which only text can be read."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid_type(param, "a string or an array of parts", content)
    texts = []
    for index, value in enumerate(content):
        where = f"{param}[{index}]"
        part = as_object(value, where)
        kind = required_text(part, "type", f"{where}.type")
        if kind == "refusal":
            texts.append(required_text(part, "refusal", f"{where}.refusal"))
        elif kind in text_parts:
            texts.append(required_text(part, "text", f"{where}.text"))
        elif any(word in kind for word in ("image", "file", "audio", "video")):
            raise WireError(
                400, "unsupported_content", f"Content of type '{kind}' is not supported: this model reads text.", where
            )
        else:
            raise invalid_value(f"{where}.type", text_parts)
    return "\n".join(texts)


def function_tool(holder: Mapping[str, Any], param: str) -> FunctionTool:
    name = required_text(holder, "name", f"{param}.name")
    if not name:
        raise WireError(
            400, "empty_string", f"Invalid '{param}.name': the name of a function is empty.", f"{param}.name"
        )
    parameters = holder.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    return FunctionTool(
        name=name,
        description=optional_text(holder, "description", f"{param}.description"),
        parameters=as_object(parameters, f"{param}.parameters"),
    )


def function_kind(holder: Mapping[str, Any], param: str) -> None:
    """Only functions can be called here; hosted tools (web search, MCP and others) are the service's own."""
    kind = required_text(holder, "type", f"{param}.type")
    if kind != "function":
        raise WireError(
            400, "unsupported_tool", f"Tools of type '{kind}' are not supported: this model calls functions.", param
        )


def narrow(
    tools: tuple[FunctionTool, ...], mode: object, names: list[str], param: str
) -> tuple[tuple[FunctionTool, ...], str]:
    """The tools and the choice that an `allowed_tools` tool choice leaves."""
    if mode not in ("auto", "required"):
        raise invalid_value(f"{param}.mode", ("auto", "required"))
    for name in names:
        known_tool(tools, name, param)
    return tuple(tool for tool in tools if tool.name in names), str(mode)


def known_tool(tools: tuple[FunctionTool, ...], name: str, param: str) -> str:
    if not any(tool.name == name for tool in tools):
        raise WireError(400, None, f"Tool choice '{name}' not found in 'tools' parameter.", param)
    return name


def plain_choice(choice: str, tools: tuple[FunctionTool, ...]) -> str:
    if choice not in ("auto", "none", "required"):
        raise invalid_value("tool_choice", ("none", "auto", "required"))
    if choice == "required" and not tools:
        raise WireError(400, None, "Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")
    return choice
