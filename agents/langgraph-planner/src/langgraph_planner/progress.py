"""What happens while a plan is made and carried out, as the graph tells it. `output_items` writes it on the wire."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Thought:
    """Why the next thing is done: a short reasoning item."""

    text: str


@dataclass(frozen=True, slots=True)
class PlanMade:
    plan: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepStarted:
    call_id: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepEnded:
    call_id: str
    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    """The run waits for a decision about one irreversible step."""

    interrupt_id: str
    tool: str
    arguments: dict[str, Any]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Told:
    """A message to the user."""

    text: str


Progress = Thought | PlanMade | StepStarted | StepEnded | ApprovalNeeded | Told
