"""Runs the graph for one turn: starts on a new case, goes on with an answer, or takes up what a crash has cut.

A turn tells the same entries in the same order whenever it is asked again, because they follow from the checkpoints. So
whoever has shown the first of them asks for the rest by their number.
"""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent_runtime.state_store import JSON, StateStore, StoredItem
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from langgraph_planner.progress import ApprovalNeeded, InterruptRaised, Progress, Told, from_json

_ANSWERED = "This approval was answered before. Nothing was done again."
_WITHDRAWN = "This approval was withdrawn when something was added to the case. Nothing was done."
_MOST_NODES = 200
"""Nodes that one turn may run; a plan of 50 steps needs about 150."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One response's part in a run."""

    response_id: str
    thread_id: str
    case: str = ""
    plan_only: bool = False
    """Whether the run stops when its plan is made, until somebody has it carried out."""
    answers: Mapping[str, dict[str, Any]] | None = None
    """What was decided, by the id of the interrupt; None for a turn that starts a run."""
    late: str = ""
    """What is to be said about an answer that does not act, because another one did."""
    says: str = ""
    """All that is said in a turn that leaves the run as it is."""
    log_from: int = 0
    """How much of the run's log earlier turns have shown."""


class Runs:
    """`pruned`: where the checkpoints are, if only the newest of a run is to be kept when a turn has ended."""

    def __init__(
        self,
        graph: "CompiledStateGraph[Any, None, Any, Any]",
        store: StateStore,
        *,
        most_seconds: float,
        pruned: "BaseCheckpointSaver[str] | None" = None,
    ) -> None:
        self._graph = graph
        self._store = store
        self._most_seconds = most_seconds
        self._pruned = pruned

    async def answer(self, response_id: str, thread_id: str, answers: Mapping[str, dict[str, Any]]) -> Turn:
        """The turn in which the response `response_id` answers what a run waits for.

        Of several answers to one interrupt, in any processes, the first acts. Its turn is kept, so that the same
        response gets the same turn again after a crash.
        """
        kept = await self._store.get(f"turn/{response_id}")
        if kept is None:
            state = await self._state(thread_id)
            waiting = {asked.id for asked in state.interrupts}
            fresh, late = {}, ""
            for interrupt, answer in answers.items():
                key = f"answer/{thread_id}/{interrupt}"
                if interrupt in waiting and await self._claim(key, response_id, withdrawn="added" in answer):
                    fresh[interrupt] = answer
                else:
                    present = await self._store.get(key)
                    late = _WITHDRAWN if present and present.value["withdrawn"] else _ANSWERED
            turn: JSON = {"answers": fresh, "late": late, "log_from": len(state.values.get("log", ()))}
            _, kept = await self._store.put_if_absent(f"turn/{response_id}", turn)
        return Turn(response_id, thread_id, **kept.value)

    async def waiting(self, thread_id: str) -> list[str]:
        """The interrupts that the run waits for."""
        return [asked.id for asked in (await self._state(thread_id)).interrupts]

    async def follow(self, turn: Turn, *, after: int = 0) -> AsyncIterator[Progress]:
        """What happens in a turn, from entry number `after` on, until the run has ended or waits for an approval."""
        number = 0
        async for entry in self._entries(turn):
            if number >= after:
                yield entry
            number += 1

    async def values(self, thread_id: str) -> dict[str, Any]:
        """The run's state as it is stored."""
        return dict((await self._state(thread_id)).values)

    async def _entries(self, turn: Turn) -> AsyncIterator[Progress]:
        if turn.says:
            yield Told(turn.says)
            return
        if turn.late:
            yield Told(turn.late)
            if not turn.answers:
                return
        state = await self._state(turn.thread_id)
        ended = await self._store.get(f"turn_end/{turn.response_id}")
        log_to = ended.value["log_to"] if ended else None
        told = turn.log_from
        for entry in state.values.get("log", ())[told:log_to]:
            yield from_json(entry)
            told += 1
        if ended is None:
            goes_on, given = _input(turn, state)
            if goes_on:
                # "sync" and "values": what is yielded is in the store, so nothing is told that a crash could take back.
                config = _config(turn.thread_id) | {"recursion_limit": _MOST_NODES}
                async for values in self._graph.astream(given, config, stream_mode="values", durability="sync"):
                    for entry in values.get("log", ())[told:]:
                        yield from_json(entry)
                        told += 1
                if self._pruned is not None:
                    await self._pruned.aprune([turn.thread_id])
                state = await self._state(turn.thread_id)
            ended = await self._end(turn, state, log_to=told)
        for interrupt_id, value in ended.value["asked"] if ended else ():
            yield InterruptRaised(interrupt_id, value)
            if value["type"] != "question":
                yield ApprovalNeeded(interrupt_id, value["tool"], value["arguments"])
            yield Told(value["message"])

    async def _end(self, turn: Turn, state: StateSnapshot, *, log_to: int) -> StoredItem | None:
        """Keep where a turn ends, if it ends with questions: before anybody can answer them, because the answer's turn
        moves the run on, and this one may have to be told again after a crash."""
        if not state.interrupts:
            return None
        asked = [[one.id, one.value] for one in state.interrupts]
        _, kept = await self._store.put_if_absent(f"turn_end/{turn.response_id}", {"log_to": log_to, "asked": asked})
        return kept

    async def _state(self, thread_id: str) -> StateSnapshot:
        return await self._graph.aget_state(_config(thread_id))

    async def _claim(self, key: str, response_id: str, *, withdrawn: bool) -> bool:
        """Whether this response's answer is the one that acts."""
        claim: JSON = {"response_id": response_id, "at": time.time(), "withdrawn": withdrawn}
        won, present = await self._store.put_if_absent(key, claim)
        if won or present.value["response_id"] == response_id:
            return True
        # The run still waits, although no turn lasts that long: the one that answered first has died.
        if time.time() - present.value["at"] < self._most_seconds:
            return False
        await self._store.delete(key, etag=present.etag)
        return (await self._store.put_if_absent(key, claim))[0]


def _input(turn: Turn, state: StateSnapshot) -> tuple[bool, Any]:
    """Whether the graph has something to do, and what it is given.

    `tasks` says so and not `next`: a process that dies after a node and before its checkpoint leaves the node's writes,
    and `next` names no node whose writes are there.
    """
    if not state.values and not state.tasks:
        return True, {"case": turn.case, "thread_id": turn.thread_id, "plan_only": turn.plan_only}
    if state.interrupts:
        waiting = {asked.id for asked in state.interrupts}
        fresh = {interrupt: answer for interrupt, answer in (turn.answers or {}).items() if interrupt in waiting}
        return bool(fresh), Command(resume=fresh)
    return bool(state.tasks), None


def _config(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id}}
