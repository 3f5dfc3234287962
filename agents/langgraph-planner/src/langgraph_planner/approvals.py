"""Which run an approval belongs to, and what an answer decides.

The ids that a client answers with are kept in the state store, with the user who was asked: an approval may arrive in
another sandbox, and only that user's answer counts.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from agent_runtime.state_store import JSON, StateStore

from langgraph_planner.output_items import INTERRUPT_CALL

_YES = frozenset({"yes", "y", "true", "approve", "approved", "ok"})
_NO = frozenset({"no", "n", "false", "reject", "rejected", "decline", "declined"})


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer: `value` is what the graph is resumed with: `approve`, and perhaps `reason` and `arguments`; for a
    question `text`; `added` where somebody said something else instead."""

    asked_id: str
    value: dict[str, Any]


class UnknownApproval(Exception):
    """No approval of this id waits for this user."""


class ExpiredApproval(Exception):
    """The approval was not answered in time."""


class Approvals:
    """`open_for` is how long an answer counts, from when it was asked for."""

    def __init__(self, store: StateStore, *, open_for: timedelta, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._open_for = open_for.total_seconds()
        self._now = now

    async def remember(self, ids: Sequence[str], *, thread_id: str, interrupt_id: str, user: str) -> datetime:
        """Keep where an answer to any of `ids` goes, and say until when it counts. A run that is replayed asks under
        new ids; all stay valid. An id that was kept before keeps its time."""
        until = self._now() + self._open_for
        value: JSON = {"thread_id": thread_id, "interrupt_id": interrupt_id, "user": user, "until": until}
        kept = [(await self._store.put_if_absent(f"approval/{one}", value))[1].value["until"] for one in ids]
        return datetime.fromtimestamp(min(kept, default=until), UTC)

    async def resolve(
        self, decisions: Sequence[Decision], user: str, *, in_time: bool = False
    ) -> tuple[str, dict[str, dict[str, Any]]]:
        """The thread to resume, and the answer for each of its interrupts. `in_time`: whenever it is.

        Raises:
            UnknownApproval: for an id that was never asked, or was asked of another user or in another run.
            ExpiredApproval: one of them was asked for too long ago.
        """
        thread_id = ""
        answers: dict[str, dict[str, Any]] = {}
        for decision in decisions:
            item = await self._store.get(f"approval/{decision.asked_id}")
            if (
                item is None
                or item.value["user"] != user
                or item.value["thread_id"] != (thread_id or item.value["thread_id"])
            ):
                raise UnknownApproval(decision.asked_id)
            if not in_time and self._now() > item.value["until"]:
                raise ExpiredApproval(decision.asked_id)
            thread_id = item.value["thread_id"]
            answers.setdefault(item.value["interrupt_id"], decision.value)
        return thread_id, answers


def read_decisions(items: Sequence[Mapping[str, Any]]) -> list[Decision]:
    """The answers among the input items of a request."""
    decisions = []
    for item in items:
        if item.get("type") == "mcp_approval_response":
            value = {"approve": item.get("approve") is True, "reason": item.get("reason")}
            decisions.append(Decision(str(item.get("approval_request_id")), value))
        elif item.get("type") == "function_call_output":
            decisions.append(Decision(str(item.get("call_id")), _resumed(item.get("output"))))
    return decisions


def _resumed(output: Any) -> dict[str, Any]:
    """What `{"resume": …}` says: yes or no, or an object with `approve`, `reason` and edited `arguments`."""
    try:
        document = json.loads(output) if isinstance(output, str) else output
    except ValueError:
        document = output
    value = document.get("resume") if isinstance(document, dict) and "resume" in document else document
    if isinstance(value, dict):
        arguments = value.get("arguments")
        return {
            "approve": value.get("approve") is True,
            "reason": value.get("reason"),
            "arguments": arguments if isinstance(arguments, dict) else None,
        }
    approved = value is True or (isinstance(value, str) and value.strip().lower() in _YES)
    return {"approve": approved, "reason": None, "text": value if isinstance(value, str) else None}


def last_asked(items: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The id and the type (`approval`, `plan`, `question`) of what earlier responses of a conversation asked last,
    oldest item first."""
    for item in reversed(items):
        if item.get("type") == "function_call" and item.get("name") == INTERRUPT_CALL:
            try:
                asked = json.loads(item.get("arguments") or "")
            except ValueError:
                continue
            if isinstance(asked, dict) and "type" in asked:
                return str(item.get("call_id")), str(asked["type"])
    return None


def is_bare_decision(text: str) -> bool:
    """Whether a message says yes or no and nothing else: too little to act on what cannot be undone."""
    return text.strip().strip(".!").lower() in _YES | _NO


def read_case(items: Sequence[Mapping[str, Any]]) -> str:
    """The text of the user's messages."""
    texts = []
    for item in items:
        if item.get("type", "message") == "message":
            content = item.get("content") or ""
            parts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content]
            texts += [part for part in parts if part.strip()]
    return "\n".join(texts)
