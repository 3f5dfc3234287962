"""Runs the graph: starts on a new case, resumes what waited for approvals; one run of a thread at a time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast
from weakref import WeakValueDictionary

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from langgraph_planner.progress import ApprovalNeeded, Progress, Told

_MOST_NODES = 200
"""Nodes that one turn may run; a plan of 50 steps needs about 150."""


class Runs:
    def __init__(self, graph: "CompiledStateGraph[Any, None, Any, Any]") -> None:
        self._graph = graph
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self, case: str, thread_id: str) -> AsyncIterator[Progress]:
        """Plan and carry out `case`, until it is done or waits for approvals."""
        async for happened in self._run({"case": case, "thread_id": thread_id}, thread_id):
            yield happened

    async def resume(self, thread_id: str, answers: dict[str, dict[str, Any]]) -> AsyncIterator[Progress]:
        """Go on with the answers. An approval that was answered before is not acted on again."""
        lock = self._locks.setdefault(thread_id, asyncio.Lock())
        async with lock:
            waiting = {asked.interrupt_id for asked in await self._waiting(thread_id)}
            fresh = {interrupt: answer for interrupt, answer in answers.items() if interrupt in waiting}
            if len(fresh) < len(answers):
                yield Told("This approval was answered before. Nothing was done again.")
            if fresh:
                async for happened in self._run(Command(resume=fresh), thread_id):
                    yield happened

    async def _run(self, given: Any, thread_id: str) -> AsyncIterator[Progress]:
        config: RunnableConfig = {"configurable": {"thread_id": thread_id}, "recursion_limit": _MOST_NODES}
        # "sync": a step is in the store before the next one begins.
        async for happened in self._graph.astream(given, config, stream_mode="custom", durability="sync"):
            yield cast(Progress, happened)
        for asked in await self._waiting(thread_id):
            yield asked

    async def _waiting(self, thread_id: str) -> list[ApprovalNeeded]:
        state = await self._graph.aget_state({"configurable": {"thread_id": thread_id}})
        return [
            ApprovalNeeded(
                asked.id, asked.value["tool"], asked.value["arguments"], asked.value["reason"], asked.value["message"]
            )
            for asked in state.interrupts
        ]
