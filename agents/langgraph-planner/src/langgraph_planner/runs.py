"""Runs the graph for one turn: starts on a new case, goes on with an answer, or takes up what a crash has cut.

A turn tells the same entries in the same order whenever it is asked again, because they follow from the checkpoints. So
whoever has shown the first of them asks for the rest by their number.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from agent_runtime.state_store import JSON, StateStore, StoredItem
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from langgraph_planner.leases import Lease, Leases
from langgraph_planner.progress import ApprovalNeeded, InterruptRaised, Progress, Told, from_json

_ANSWERED = "This approval was answered before. Nothing was done again."
_WITHDRAWN = "This approval was withdrawn when something was added to the case. Nothing was done."
_TAKEN = (
    "Your answer is kept. The run goes on with the other answer that is being given to it, which tells how it ends."
)
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
        self._leases = Leases(store)
        self._most_seconds = most_seconds
        self._pruned = pruned

    async def kept(self, response_id: str) -> Turn | None:
        """The turn of this response, if it has one. What a request means depends on what the run waits for then, so it
        is decided once and kept: after a crash the same response gets the same turn."""
        item = await self._store.get(f"turn/{response_id}")
        return Turn(**item.value) if item else None

    async def keep(self, turn: Turn) -> Turn:
        _, item = await self._store.put_if_absent(f"turn/{turn.response_id}", asdict(turn))
        return Turn(**item.value)

    async def answer(self, response_id: str, thread_id: str, answers: Mapping[str, dict[str, Any]]) -> Turn:
        """The turn in which the response `response_id` answers what a run waits for.

        Of several answers to one interrupt, in any processes, the first acts. One that comes again after its turn has
        failed in the middle, for want of a model say, has the run go on.
        """
        if turn := await self.kept(response_id):
            return turn
        state = await self._state(thread_id)
        waiting = await self._waiting(state, thread_id)
        fresh, late = {}, ""
        for interrupt, answer in answers.items():
            key = f"answer/{thread_id}/{interrupt}"
            if interrupt in waiting and await self._claim(key, response_id, withdrawn="added" in answer):
                fresh[interrupt] = answer
            else:
                present = await self._store.get(key)
                late = _WITHDRAWN if present and present.value["withdrawn"] else _ANSWERED
        if not fresh and late == _ANSWERED and await self._is_stranded(state, thread_id):
            late = ""
        log_from = len(state.values.get("log", ()))
        return await self.keep(Turn(response_id, thread_id, answers=fresh, late=late, log_from=log_from))

    async def waiting(self, thread_id: str) -> list[str]:
        """The interrupts that the run waits for."""
        return await self._waiting(await self._state(thread_id), thread_id)

    async def follow(self, turn: Turn, *, after: int = 0) -> AsyncIterator[Progress]:
        """What happens in a turn, from entry number `after` on, until the run has ended or waits for an approval."""
        number = 0
        async with aclosing(self._entries(turn)) as entries:
            async for entry in entries:
                if number >= after:
                    yield entry
                number += 1

    async def values(self, thread_id: str) -> dict[str, Any]:
        """The run's state as it is stored."""
        return dict((await self._state(thread_id)).values)

    async def close(self, turn: Turn, reason: str, text: str) -> None:
        """End the run in this turn, for good: it reached a limit or was cancelled. `text` is the last that is told, in
        whichever process; kept before it is told, so that a crash in between does not have the run go on."""
        await self._store.put_if_absent(f"closed/{turn.thread_id}", {"reason": reason})
        log_to = len((await self._state(turn.thread_id)).values.get("log", ()))
        await self._keep_end(turn, log_to=log_to, asked=[], says=text, reason=reason)

    async def reason(self, turn: Turn) -> str:
        """Why the run was closed in this turn, or "" if it was not."""
        ended = await self._ended(turn)
        return str(ended.value["reason"]) if ended else ""

    async def _entries(self, turn: Turn) -> AsyncGenerator[Progress, None]:
        if turn.says:
            yield Told(turn.says)
            return
        if turn.late:
            yield Told(turn.late)
            if not turn.answers:
                return
        if ended := await self._ended(turn):
            state = await self._state(turn.thread_id)
            for entry in state.values.get("log", ())[turn.log_from : ended.value["log_to"]]:
                yield from_json(entry)
        else:
            told, has_lost, ended = turn.log_from, True, None
            while has_lost:
                async with self._leases.hold(turn.thread_id, turn.response_id) as lease:
                    async with aclosing(self._driven(turn, lease, told)) as entries:
                        async for entry in entries:
                            yield entry
                            told += 1
                    has_lost = lease.is_lost
                    if not has_lost:
                        ended = await self._end(turn, log_to=told)
        if ended is None:
            return
        for interrupt_id, value in ended.value["asked"]:
            yield InterruptRaised(interrupt_id, value)
            if value["type"] != "question":
                yield ApprovalNeeded(interrupt_id, value["tool"], value["arguments"])
            yield Told(value["message"])
        if ended.value["says"]:
            yield Told(ended.value["says"])

    async def _driven(self, turn: Turn, lease: Lease, told: int) -> AsyncGenerator[Progress, None]:
        """The entries of the run's log from number `told` on, while the graph adds to it and the lease is held."""
        state = await self._state(turn.thread_id)
        for entry in state.values.get("log", ())[told:]:
            yield from_json(entry)
            told += 1
        goes_on, given = _input(turn, state)
        if not goes_on or await self._is_closed(turn.thread_id):
            return
        # "sync" and "values": what is yielded is in the store, so nothing is told that a crash could take back.
        config = _config(turn.thread_id) | {"recursion_limit": _MOST_NODES}
        running: Any = self._graph.astream(given, config, stream_mode="values", durability="sync")
        async with aclosing(running):
            async for values in running:
                for entry in values.get("log", ())[told:]:
                    yield from_json(entry)
                    told += 1
                if lease.is_lost:  # Its next holder has gone on from what is stored; so does this turn, after it.
                    return
        if self._pruned is not None:
            await self._pruned.aprune([turn.thread_id])

    async def _end(self, turn: Turn, *, log_to: int) -> StoredItem | None:
        """Keep where a turn ends, if it ends with questions: before anybody can answer them, because the answer's turn
        moves the run on, and this one may have to be told again after a crash. What another response answers already
        is not asked again."""
        state = await self._state(turn.thread_id)
        if not state.interrupts:
            return None
        asked = [
            [one.id, one.value]
            for one in state.interrupts
            if not await self._is_taken(f"answer/{turn.thread_id}/{one.id}", turn.response_id)
        ]
        return await self._keep_end(turn, log_to=log_to, asked=asked, says="" if asked else _TAKEN)

    async def _keep_end(self, turn: Turn, *, log_to: int, asked: list[Any], says: str, reason: str = "") -> StoredItem:
        end: JSON = {"log_to": log_to, "asked": asked, "says": says, "reason": reason}
        return (await self._store.put_if_absent(f"turn_end/{turn.response_id}", end))[1]

    async def _ended(self, turn: Turn) -> StoredItem | None:
        return await self._store.get(f"turn_end/{turn.response_id}")

    async def _state(self, thread_id: str) -> StateSnapshot:
        return await self._graph.aget_state(_config(thread_id))

    async def _waiting(self, state: StateSnapshot, thread_id: str) -> list[str]:
        if not state.interrupts or await self._is_closed(thread_id):
            return []
        return [asked.id for asked in state.interrupts]

    async def _is_closed(self, thread_id: str) -> bool:
        return await self._store.get(f"closed/{thread_id}") is not None

    async def _is_stranded(self, state: StateSnapshot, thread_id: str) -> bool:
        """Whether the run has something left to do, waits for nobody, and nobody drives it."""
        if not state.tasks or state.interrupts or await self._is_closed(thread_id):
            return False
        return not await self._leases.is_held(thread_id)

    async def is_driven_by_another(self, turn: Turn) -> bool:
        """Whether another response drives this turn's run now."""
        return await self._leases.is_held(turn.thread_id, but_by=turn.response_id)

    async def _claim(self, key: str, response_id: str, *, withdrawn: bool) -> bool:
        """Whether this response's answer is the one that acts."""
        claim: JSON = {"response_id": response_id, "at": time.time(), "withdrawn": withdrawn}
        won, present = await self._store.put_if_absent(key, claim)
        if won or present.value["response_id"] == response_id:
            return True
        # The run still waits, although no turn lasts that long: the one that answered first has died.
        if self._is_recent(present):
            return False
        await self._store.delete(key, etag=present.etag)
        return (await self._store.put_if_absent(key, claim))[0]

    async def _is_taken(self, key: str, response_id: str) -> bool:
        """Whether another response answers this, and has not died over it."""
        claim = await self._store.get(key)
        return claim is not None and claim.value["response_id"] != response_id and self._is_recent(claim)

    def _is_recent(self, claim: StoredItem) -> bool:
        return time.time() - float(claim.value["at"]) < self._most_seconds


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
