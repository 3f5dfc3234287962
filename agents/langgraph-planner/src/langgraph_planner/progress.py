"""What happens while a plan is made and carried out, as the graph logs it. `output_items` writes it on the wire.

Each entry becomes exactly one output item. So the number of items in a response says how much of the log it shows, and
a response that is taken up again after a crash goes on with the first entry that it lacks.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
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
class InterruptRaised:
    """The twin of an approval request: how LangGraph's own Foundry host shows an interrupt."""

    interrupt_id: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    """The run waits for a decision about one irreversible step."""

    interrupt_id: str
    tool: str
    arguments: dict[str, Any]
    expires_at: str | None = None
    """Until when it can be decided, as an ISO 8601 time in UTC."""


@dataclass(frozen=True, slots=True)
class Told:
    """A message to the user."""

    text: str


Progress = Thought | PlanMade | StepStarted | StepEnded | InterruptRaised | ApprovalNeeded | Told

_LOGGED = {kind.__name__: kind for kind in (Thought, PlanMade, StepStarted, StepEnded, Told)}
"""What the graph logs itself. The rest follows from where it stopped."""


def to_json(entry: Progress) -> dict[str, Any]:
    """The entry for the graph's state, which is plain JSON."""
    return {"kind": type(entry).__name__, **asdict(entry)}


def from_json(entry: dict[str, Any]) -> Progress:
    made: Progress = _LOGGED[entry["kind"]](**{name: value for name, value in entry.items() if name != "kind"})
    return made


def with_expiry(asked: InterruptRaised | ApprovalNeeded, until: datetime) -> InterruptRaised | ApprovalNeeded:
    """The same request with the time until which it can be decided. A question has none: a message answers it at any
    time."""
    expires_at = until.isoformat(timespec="seconds")
    if isinstance(asked, ApprovalNeeded):
        return replace(asked, expires_at=expires_at)
    if asked.value.get("type") == "question":
        return asked
    return replace(asked, value=asked.value | {"expires_at": expires_at})
