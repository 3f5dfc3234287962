"""A case goes from the live desk to the planner and back: both agents as processes, the planner on the offline model."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import jsonpatch
import pytest
from ag_ui_streamer.settings import AgUiSettings
from agent_runtime.model_exchange import ModelRequest, ToolCall
from agent_runtime.settings import load_settings
from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.scripted_model import ScriptedModel
from support_desk.desk import open_desk
from support_desk.handbook_index import open_handbook

CASE = "Order NP-10274 arrived damaged, the customer wants the money back"
ADA = {"x-agent-user-id": "ada"}


def hands_over() -> ScriptedModel:
    def answer(request: ModelRequest) -> Any:
        last = request.messages[-1]
        if last.role == "tool":
            return f"It reports: {last.text}"
        return [ToolCall("call_plan", "hand_over_to_planner", json.dumps({"goal": last.text}))]

    return ScriptedModel(answer)


@asynccontextmanager
async def live_desk(planner: str) -> AsyncIterator[AgentProcess]:
    model = hands_over()
    async with model.serve() as base_url:
        environment = {"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m", "PLANNER_ENDPOINT": planner}
        async with AgentProcess("ag_ui_streamer", env=environment) as agent:
            yield agent


async def run(agent: AgentProcess, **fields: Any) -> list[dict[str, Any]]:
    body = {"threadId": "t1", "runId": uuid4().hex, "messages": [], "tools": [], "context": []} | fields
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(f"{agent.url}/invocations", json=body, headers=ADA)
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines]


async def ask(agent: AgentProcess) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The question that the case leads to, and the run's events."""
    events = await run(agent, messages=[{"id": "m1", "role": "user", "content": CASE}])
    assert events[-1].get("outcome", {}).get("type") == "interrupt", events[-1]
    (question,) = events[-1]["outcome"]["interrupts"]
    return question, events


def resume(question: dict[str, Any], payload: Any = None) -> list[dict[str, Any]]:
    status = "resolved" if payload else "cancelled"
    return [{"interruptId": question["id"], "status": status} | ({"payload": payload} if payload else {})]


def plans(events: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The states of the plan, as the page sees them one after the other."""
    state: Any = None
    seen = []
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            state = event["snapshot"]
        if event["type"] == "STATE_DELTA":
            state = jsonpatch.apply_patch(state, event["delta"])
        if event["type"].startswith("STATE_") and "plan" in state:
            seen.append({step["title"]: step["status"] for step in state["plan"]})
    return seen


def result(events: list[dict[str, Any]]) -> dict[str, Any]:
    (content,) = [event["content"] for event in events if event["type"] == "TOOL_CALL_RESULT"]
    told: dict[str, Any] = json.loads(content)
    return told


async def refunds() -> list[str]:
    settings = load_settings(AgUiSettings)
    page = await open_desk(settings, open_handbook(settings)).ledger.entries()
    return [entry.arguments["amount"] for entry in page.entries if entry.tool == "issue_refund"]


async def test_the_plan_is_followed_and_an_approval_finishes_it() -> None:
    async with AgentProcess("langgraph_planner") as planner, live_desk(planner.url) as desk:
        question, events = await ask(desk)
        before = plans(events)
        assert "117.50" in question["message"]
        assert "amount" not in question["responseSchema"]["properties"]
        assert set(before[0].values()) == {"waiting"}
        assert before[-1]["Lookup order"] == "done"
        assert before[-1]["Issue refund"] == "approval"
        cards = [event["content"] for event in events if event["type"] == "ACTIVITY_SNAPSHOT"]
        assert [card["done"] for card in cards] == sorted(card["done"] for card in cards)
        assert await refunds() == []
        # The desk's process ends while the question waits.
        await desk.kill()
        await desk.start()
        events = await run(desk, resume=resume(question, {"approved": True}))
        assert set(plans(events)[-1].values()) == {"done"}
        assert "6 of 6 steps were done" in result(events)["report"]
        assert await refunds() == ["117.50"]
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            thread = (await client.get(f"{desk.url}/invocations/threads?id=t1", headers=ADA)).json()
    assert thread["interrupts"] == []
    assert {step["status"] for step in thread["state"]["plan"]} == {"done"}


async def test_a_rejection_is_planned_around_and_nothing_is_refunded() -> None:
    async with AgentProcess("langgraph_planner") as planner, live_desk(planner.url) as desk:
        question, _ = await ask(desk)
        events = await run(desk, resume=resume(question, {"approved": False, "reason": "The photos are missing."}))
    assert "The photos are missing" in result(events)["report"]
    assert plans(events)[-1]["Lookup order"] == "done", "a new plan knows what is behind it"
    assert events[-1]["outcome"]["type"] == "success"
    assert await refunds() == []


async def test_a_question_that_is_cancelled_stops_the_plan_there() -> None:
    async with AgentProcess("langgraph_planner") as planner, live_desk(planner.url) as desk:
        question, _ = await ask(desk)
        refused = {"approved": True, "amount": "1.00"}
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            body = {"threadId": "t1", "runId": "r", "messages": [], "tools": [], "context": []}
            bad = await client.post(
                f"{desk.url}/invocations", json=body | {"resume": resume(question, refused)}, headers=ADA
            )
        events = await run(desk, resume=resume(question))
    assert bad.json()["error"]["code"] == "invalid_resume"
    assert result(events)["error"]["code"] == "approval_cancelled"
    assert await refunds() == []


@pytest.mark.parametrize("restarts", [False, True])
async def test_without_the_planner_the_run_says_so(restarts) -> None:
    planner = AgentProcess("langgraph_planner")
    async with live_desk(planner.url) as desk:
        events = await run(desk, messages=[{"id": "m1", "role": "user", "content": CASE}])
        assert result(events)["error"]["code"] == "planner_unavailable"
        assert events[-1]["outcome"]["type"] == "success"
        if restarts:
            async with planner:
                question, _ = await ask(desk)
            failed = await run(desk, resume=resume(question, {"approved": True}))
            assert failed[-1]["code"] == "planner_unavailable"
            async with planner:
                events = await run(desk, resume=resume(question, {"approved": True}))
            assert "6 of 6 steps were done" in result(events)["report"]
            assert await refunds() == ["117.50"]


async def test_a_rejection_beats_an_approval_that_was_not_brought() -> None:
    planner = AgentProcess("langgraph_planner")
    async with live_desk(planner.url) as desk:
        async with planner:
            question, _ = await ask(desk)
        failed = await run(desk, resume=resume(question, {"approved": True}))
        assert failed[-1]["code"] == "planner_unavailable"
        async with planner:
            events = await run(desk, resume=resume(question, {"approved": False, "reason": "Changed my mind."}))
    assert "withdrawn" in result(events)["report"]
    assert await refunds() == []


async def test_a_rejection_after_an_approval_that_acted_is_told_so() -> None:
    async with AgentProcess("langgraph_planner") as planner, live_desk(planner.url) as desk:
        question, _ = await ask(desk)
        body = {"threadId": "t1", "runId": "r2", "messages": [], "tools": [], "context": []}
        body |= {"resume": resume(question, {"approved": True})}
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=60) as client,
            client.stream("POST", f"{desk.url}/invocations", json=body, headers=ADA) as answer,
        ):
            async for line in answer.aiter_lines():
                if "ACTIVITY_SNAPSHOT" in line and '"done":5' in line:
                    await desk.kill()
                    break
        await desk.start()
        events = await run(desk, resume=resume(question, {"approved": False}))
    assert await refunds() == ["117.50"]
    assert "answered before" in result(events)["report"]
