"""Runs of six steps with two approvals, killed again and again: each ends once, each effect is in the ledger once, and
the client, which reconnects to the stream of events, has seen every event once.

`make test` kills a few times, `make soak` 30 times.
"""

import asyncio
import json
import os
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.testing import AgentProcess, ScriptedModel
from azure.ai.agentserver.responses._id_generator import IdGenerator

KILLS = int(os.environ.get("SOAK_KILLS") or (30 if os.environ.get("SOAK") == "long" else 4))
SEED = int(os.environ.get("SOAK_SEED", "20261127"))
ORDER = "NP-10274"
STEPS = ["lookup_order", "open_case", "issue_refund", "update_case", "issue_refund", "draft_reply"]


def scripted(script: Any) -> ScriptedModel:
    """A model that plans the six steps, as slowly as models do, so that a kill can also hit a model call."""
    case = {"category": "damaged_item", "summary": "Broken.", "order_id": ORDER}
    plan = script.planned(
        script.looked_up(ORDER),
        {"tool": "open_case", "arguments": case},
        script.refunded(ORDER, "1.50", "CHF"),
        {"tool": "update_case", "arguments": {"priority": "high", "note": "Half of it is refunded."}},
        script.refunded(ORDER, "0.50", "CHF"),
        {"tool": "draft_reply", "arguments": {"order_id": ORDER, "subject": "Your order", "body": "Hello."}},
    )

    def answer(request: ModelRequest) -> Any:
        name = request.output_schema.name if request.output_schema else ""
        if name == "runbook_choice":
            return script.chosen("damaged-on-arrival")
        return plan if name == "plan" else ModelReply(json.dumps({"subject": "Your order", "body": "Hello."}))

    return ScriptedModel(answer)


class Killer:
    """Kills and restarts the process at random moments, until it has done so often enough."""

    def __init__(self, process: AgentProcess, rng: random.Random, kills: int) -> None:
        self._process, self._rng, self.left = process, rng, kills
        self.up = asyncio.Event()
        self.up.set()

    async def run(self) -> None:
        while self.left:
            await asyncio.sleep(self._rng.uniform(0.01, 0.6))
            self.up.clear()
            await self._process.kill()
            await self._process.start()
            self.left -= 1
            self.up.set()


async def persist(killer: Killer, ask: Any) -> Any:
    """What `ask()` answers, asked again for as long as the process is being killed."""
    while True:
        await killer.up.wait()
        try:
            return await ask()
        except (openai.APIConnectionError, httpx.TransportError, StopAsyncIteration):
            await asyncio.sleep(0.02)


class Seen:
    """What a client has seen of one response's events, over all its connections."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    @property
    def last(self) -> int:
        return self.events[-1].sequence_number if self.events else -1

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1].type in {
            "response.completed",
            "response.failed",
            "response.incomplete",
        }

    async def follow(self, client: openai.AsyncOpenAI, response_id: str) -> None:
        """Read on from where the last connection broke, until the response ends or the connection breaks."""
        more = {"starting_after": self.last} if self.events else {}
        try:
            stream = await client.responses.retrieve(response_id, stream=True, **more)
            async for event in stream:
                self.events.append(event)
        except (openai.APIError, httpx.TransportError):
            await asyncio.sleep(0.02)

    def check(self, response: Any) -> None:
        """Every number once, every item begun and ended once, and the same items as in the final body."""
        assert [event.sequence_number for event in self.events] == list(range(len(self.events)))
        kinds = Counter(event.type for event in self.events)
        assert kinds["response.created"] == kinds["response.in_progress"] == 1, kinds
        begun = [event.item.id for event in self.events if event.type == "response.output_item.added"]
        done = [event.item.id for event in self.events if event.type == "response.output_item.done"]
        assert begun == done == [item.id for item in response.output]
        written: dict[str, str] = {}
        for event in self.events:
            if event.type == "response.output_text.delta":
                written[event.item_id] = written.get(event.item_id, "") + event.delta
        assert written == {item.id: item.content[0].text for item in response.output if item.type == "message"}


async def ended(killer: Killer, client: openai.AsyncOpenAI, response_id: str) -> Any:
    """The final body, after the events were followed to their end."""
    seen = Seen()
    while not seen.ended:
        await killer.up.wait()
        await seen.follow(client, response_id)
    response = await persist(killer, lambda: client.responses.retrieve(response_id))
    while response.status in {"queued", "in_progress"}:  # the process died between the last event and its record
        await asyncio.sleep(0.05)
        response = await persist(killer, lambda: client.responses.retrieve(response_id))
    seen.check(response)
    return response


async def whole_run(killer: Killer, client: openai.AsyncOpenAI, name: str) -> list[str]:
    """One run from its case to its report, its approvals given; returns the tools whose outputs were shown, in order."""
    shown: list[str] = []
    given: Any = f"Order {ORDER} arrived broken."
    before: str | None = None
    for turn in range(3):
        response_id = await begun(killer, client, given, before)
        response = await ended(killer, client, response_id)
        assert response.status == "completed", (name, turn, response.error)
        named = {item.call_id: item.name for item in response.output if item.type == "function_call"}
        shown += [named[item.call_id] for item in response.output if item.type == "function_call_output"]
        asked = [item for item in response.output if item.type == "mcp_approval_request"]
        assert len(asked) <= 1, (name, turn, response.output)
        if not asked:
            assert "6 of 6 steps were done" in response.output_text, (name, turn, response.output)
            return shown
        before = response_id
        given = [
            {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True} for request in asked
        ]
    raise AssertionError(f"{name} asked more than twice")


async def begun(killer: Killer, client: openai.AsyncOpenAI, given: Any, before: str | None) -> str:
    """Begin a response under an id of the client's own, so that a repeated request, after a kill took the answer of the
    first, begins nothing new."""
    response_id = IdGenerator.new_response_id()
    more = {"previous_response_id": before} if before else {}
    headers = {"x-agent-response-id": response_id}

    async def ask() -> None:
        # 409: the request before did begin it.
        with suppress(openai.ConflictError):
            stream = await client.responses.create(
                model="any", input=given, background=True, stream=True, extra_headers=headers, **more
            )
            await anext(aiter(stream))  # `response.created`: before it, nothing is stored
            await stream.close()

    await persist(killer, ask)
    return response_id


@pytest.mark.timeout(600)
async def test_runs_that_are_killed_at_random_moments_end_and_do_everything_once(script, ledger) -> None:
    rng = random.Random(SEED)
    effects = Counter[str]()
    runs = 0
    async with scripted(script).serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, openai.AsyncOpenAI(base_url=process.url, api_key="unused", max_retries=0) as client:
            killer = Killer(process, rng, KILLS)
            killing = asyncio.create_task(killer.run())
            try:
                while killer.left:
                    assert await whole_run(killer, client, f"run {runs}") == STEPS
                    runs += 1
                await killing
            finally:
                killing.cancel()
    for entry in await ledger():
        effects[entry.tool] += 1
    assert runs
    assert effects == {"open_case": runs, "issue_refund": 2 * runs, "update_case": runs, "draft_reply": runs}
