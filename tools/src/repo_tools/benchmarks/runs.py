"""langgraph-planner's own cost: what a run takes beside its model and its tools, for each step, and whether memory
stays flat over many runs.

The cost is measured in this process, with clocks around every model call and every tool, so that what is left is the
graph, its checkpoints, the host and the client: all on loopback, with the offline model. The baseline is the time of
the model and the tools of the same runs. Memory is that of an agent process of its own.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

from agent_runtime.settings import load_settings
from agent_runtime.testing import AgentProcess
from agent_runtime.testing.serving import serve
from openai import AsyncOpenAI

RUNS = 1000
_CASE = "Points are missing for order NP-10042. Please look into it."
_AT_ONCE = 4
_WARM_UP = 50
_TIMED = 40


class Clock:
    """The time in which at least one of the watched calls runs."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._running = 0
        self._since = 0.0

    def watch(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if not self._running:
                self._since = time.perf_counter()
            self._running += 1
            try:
                return await function(*arguments, **more)
            finally:
                self._running -= 1
                if not self._running:
                    self.seconds += time.perf_counter() - self._since

        return watched


def run(runs: int | None = None) -> int:
    return asyncio.run(_run(runs or RUNS))


async def _run(runs: int) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"AGENTSERVER_STATE_ROOT": folder, "MODEL_PROVIDER": "offline"}),
    ):
        await _overhead(min(_TIMED, runs))
    return await _memory(runs)


async def _overhead(runs: int) -> None:
    # Only this benchmark needs the agent; the others must work while it is broken.
    from langgraph_planner.app import build_app  # noqa: PLC0415
    from langgraph_planner.model_calls import Model  # noqa: PLC0415
    from langgraph_planner.settings import PlannerSettings  # noqa: PLC0415
    from support_desk.desk_tools import DeskTool  # noqa: PLC0415

    clock = Clock()
    steps = 0
    with (
        patch.object(Model, "fill", clock.watch(Model.fill)),
        patch.object(DeskTool, "call", clock.watch(DeskTool.call)),
    ):
        async with (
            serve(build_app(load_settings(PlannerSettings))) as url,
            AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as client,
        ):
            await client.responses.create(model="any", input=_CASE)  # imports and opens what the first run needs
            clock.seconds = 0.0
            begun = time.perf_counter()
            for _ in range(runs):
                response = await client.responses.create(model="any", input=_CASE)
                steps += sum(item.type == "function_call_output" for item in response.output)
            whole = time.perf_counter() - begun
    rest = whole - clock.seconds
    print(f"{runs} runs of {steps / runs:g} steps, one after the other, offline model")
    print(f"a run: {whole / runs * 1000:.1f} ms, of which the model and the tools {clock.seconds / runs * 1000:.1f} ms")
    print(f"overhead: {rest / steps * 1000:.1f} ms a step")
    print(f"a run against its model and tools: {whole / clock.seconds:.2f} x")


async def _memory(runs: int) -> int:
    async with (
        AgentProcess("langgraph_planner", env={"MODEL_PROVIDER": "offline", "LOG_LEVEL": "warning"}) as agent,
        AsyncOpenAI(base_url=agent.url, api_key="unused", max_retries=0, timeout=300.0) as client,
    ):
        wrong: list[str] = []

        async def some(count: int) -> None:
            for _ in range(count):
                response = await client.responses.create(model="any", input=_CASE)
                if response.status != "completed" or "steps were done" not in response.output_text:
                    wrong.append(f"{response.status}: {response.output_text[:200]}")

        async def many(count: int) -> None:
            shares = [count // _AT_ONCE + (number < count % _AT_ONCE) for number in range(_AT_ONCE)]
            await asyncio.gather(*map(some, shares))

        idle = agent.rss_mb()
        await many(min(_WARM_UP, runs))
        warm = agent.rss_mb()
        begun = time.perf_counter()
        await many(runs)
        whole = time.perf_counter() - begun
        after = agent.rss_mb()
    print(f"{runs} runs, {_AT_ONCE} at once: {runs / whole:.1f} runs/s")
    print(f"memory: {idle:.0f} MB idle, {warm:.0f} MB warm, {after:.0f} MB after: {after / warm:.2f} x")
    print(f"runs that did not end with a report: {len(wrong)}")
    for line in wrong[:10]:
        print(f"  {line}")
    return 1 if wrong else 0
