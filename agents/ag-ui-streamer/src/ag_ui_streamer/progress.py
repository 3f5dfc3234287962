"""What happens while the assistant works, in terms of neither protocol. AG-UI and Responses each write it their way."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the summary of the model's reasoning, as far as the model shares one."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    call_id: str
    delta: str
    """A fragment of JSON text."""


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    call_id: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    content: str
    """JSON text, as the model sees it."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The state that the page shows beside the conversation, whole."""

    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A part of the work, for the reader to follow. Steps may lie inside each other."""

    name: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    name: str


@dataclass(frozen=True, slots=True)
class ActivityChanged:
    """A card of progress, whole. It is for the reader only: no model sees it."""

    activity_id: str
    kind: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What a run needs from a person before it can go on."""

    interrupt_id: str
    reason: str
    message: str
    call_id: str
    """The tool call that waits for the answer."""
    response_schema: dict[str, Any]
    """JSON schema of the answer."""
    expires_at: str
    """ISO 8601, UTC. Empty: whoever asked does not say."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What is carried out after the answer. It is kept, and not sent: the message says what a person must know."""
    tool: str = ""
    """The tool of the call that waits."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The last thing of a run that stops to ask. Another run brings the answers."""

    questions: tuple[Question, ...]
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = field(default="")


@dataclass(frozen=True, slots=True)
class Finished:
    """The last thing of a run that ends well."""

    pending_tool_calls: tuple[str, ...] = ()
    """Calls of the page's own tools, whose results the next run brings."""
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = field(default="")


Progress = (
    TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolCallArguments
    | ToolCallEnded
    | ToolResult
    | StateChanged
    | StepStarted
    | StepEnded
    | ActivityChanged
    | Interrupted
    | Finished
)
