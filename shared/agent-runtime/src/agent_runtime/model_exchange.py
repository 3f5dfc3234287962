"""One model call and its answer, free of any wire format.

`model_wire` reads these from, and writes them to, the Responses API and chat completions. The offline model and the
scripted model only ever see these, so both speak both APIs, streamed and not.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    call_id: str
    name: str
    arguments: str
    """JSON text, as models send it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of the conversation. `tool` messages carry the output of the call `call_id` in `text`."""

    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionTool:
    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments object."""


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The JSON schema the answer must fit (`text.format` or `response_format`)."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a caller asks of a model. `tool_choice` is auto, none, required, or the name of one tool."""

    messages: tuple[Message, ...]
    model: str = ""
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    output_schema: OutputSchema | None = None
    max_output_tokens: int | None = None
    body: dict[str, Any] = field(default_factory=dict)
    """The request as it came, for tests that look at what was sent."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. The offline model counts words and punctuation marks, which is what it reads."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model answers: text, tool calls, or both. `reasoning` is the summary shown to the user, if any."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    finish_reason: Literal["stop", "length"] = "stop"
    usage: Usage | None = None
    """Counted from the exchange where left out."""
