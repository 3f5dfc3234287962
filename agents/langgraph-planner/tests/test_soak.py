"""Runs of six steps with two approvals, killed again and again: each ends once, and each effect is in the ledger once.

`make soak` kills 30 times. There is no short form in `make test` yet: of five long runs one saw a response end as
`completed` without its report, and a test that fails now and then would hide what else breaks.
"""

import asyncio
import json
import os
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import openai
import pytest
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.testing import AgentProcess, ScriptedModel
from azure.ai.agentserver.responses._id_generator import IdGenerator

KILLS = int(os.environ.get("SOAK_KILLS", "30"))
SEED = 20261127
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
        except openai.APIConnectionError:
            await asyncio.sleep(0.02)


async def ended(killer: Killer, client: openai.AsyncOpenAI, response_id: str) -> Any:
    while True:
        response = await persist(killer, lambda: client.responses.retrieve(response_id))
        if response.status not in {"queued", "in_progress"}:
            return response
        await asyncio.sleep(0.05)


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
            await client.responses.create(model="any", input=given, background=True, extra_headers=headers, **more)

    await persist(killer, ask)
    return response_id


@pytest.mark.skipif(os.environ.get("SOAK") != "long", reason="needs `make soak`: about a minute of kills")
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
