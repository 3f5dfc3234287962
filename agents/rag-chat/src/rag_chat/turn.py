"""What one turn of a conversation has found on its way: the passages that may be cited, and why it cannot be answered.

The host begins a turn; the search tool and the model guard, which run inside it, find it by a context variable. Tasks
that the framework starts for tools share the same object.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from agent_runtime.model_errors import ModelError
from agent_runtime.retrieval import SearchHit
from support_desk.passages import HandbookPassages, number_hits

SEARCH_TOOL = "search_handbook"


class SearchFailed(Exception):
    """The search itself failed, which a model would pass on as "nothing was found"."""

    code = "search_unavailable"
    message = "The search for passages failed. Try again in a moment; if it stays, tell the operator."


@dataclass(frozen=True, slots=True)
class Source:
    """What a citation points at."""

    title: str
    url: str
    text: str
    """What it says, to see whether a sentence can rest on it."""


@dataclass(slots=True)
class Turn:
    asked: str = ""
    """What the user wrote."""
    sources: dict[int, Source] = field(default_factory=dict)
    """By the number that the model cites."""
    failure: ModelError | SearchFailed | None = None
    """Why the turn cannot be answered, in words for the caller."""

    def add(self, query: str, hits: Sequence[SearchHit], base_url: str) -> HandbookPassages:
        """Number what a search found, after everything found before."""
        passages = number_hits(query, hits, base_url, first_number=max(self.sources, default=0) + 1)
        for passage in passages.passages:
            self._know(passage.number, passage.title, passage.heading, passage.url, passage.text)
        return passages

    def recall(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Know the passages of earlier turns too: the model still sees them, and may cite them by their numbers."""
        for item in history:
            if item.get("type") != "function_call_output":
                continue
            for passage in _passages(item.get("output")):
                self._know(**passage)

    def _know(self, number: int, title: str, heading: str, url: str, text: str) -> None:
        self.sources[number] = Source(f"{title} > {heading}" if heading else title, url, text)


def begin_turn(asked: str = "") -> Turn:
    turn = Turn(asked)
    _current.set(turn)
    return turn


def current_turn() -> Turn:
    """The turn that is being answered; outside of one, a turn of its own."""
    return _current.get() or begin_turn()


def _passages(output: Any) -> list[dict[str, Any]]:
    """The passages in the stored output of a search; none in any other output."""
    try:
        found = HandbookPassages.model_validate_json(output if isinstance(output, str) else json.dumps(output))
    except (TypeError, ValueError):
        return []
    return [passage.model_dump() for passage in found.passages]


_current: ContextVar[Turn | None] = ContextVar("turn", default=None)
