"""What `ag-ui-validate`, a checker by other people, finds in streams of this agent: nothing but one false alarm."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from ag_ui_validate.pytest_plugin import validate_agui
from agent_runtime.model_exchange import ModelReply, ModelRequest, ToolCall
from agent_runtime.testing import Failure, Hang, ScriptedModel

FALSE_ALARM = "AGUI207"
"""The result of a call that never started: it started in the run that was interrupted, as AG-UI 1.0 has it."""
THEME = {"name": "change_theme", "description": "Change the colours.", "parameters": {"type": "object"}}
REFUND = {"order_id": "NP-10274", "amount": "1.50", "currency": "CHF", "reason": "damaged", "note": None}


def model() -> ScriptedModel:
    def answer(request: ModelRequest) -> Any:
        last = request.messages[-1]
        words = last.text.lower()
        if last.role == "tool":
            return ModelReply("So it is.", reasoning="The tool has answered.")
        if "refund" in words:
            return [ToolCall("call_refund", "issue_refund", json.dumps(REFUND))]
        if "dark" in words:
            return [ToolCall("call_theme", "change_theme", "{}")]
        if "order" in words:
            return [ToolCall("call_order", "lookup_order", '{"order_id": "NP-10274"}')]
        if "fail" in words:
            return Failure()
        if "slowly" in words:
            return Hang(after=2)
        return "Good morning."

    return ScriptedModel(answer)


def findings(events: list[dict[str, Any]]) -> list[str]:
    report = validate_agui(events, features=["shared-state"] if _shares_state(events) else None)
    return [f"{found.rule}: {found.message}" for found in report.diagnostics if found.severity != "info"]


def _shares_state(events: list[dict[str, Any]]) -> bool:
    return any(event["type"] == "STATE_DELTA" for event in events)


@pytest.mark.parametrize(
    ("words", "last"),
    [
        ("Good morning?", "success"),
        ("Show me the order.", "success"),
        ("Make it dark.", "success"),
        ("Please refund it.", "interrupt"),
        ("Fail, please.", None),
    ],
)
async def test_it_finds_nothing_in_a_run(served, say, events_of, words, last) -> None:
    async with served(model()) as url:
        events = await events_of(url, say(words, tools=[THEME]))
    assert events[-1].get("outcome", {}).get("type") == last
    assert findings(events) == []


async def test_it_finds_nothing_in_a_run_that_brings_an_answer(served, say, events_of) -> None:
    async with served(model()) as url:
        asked = await events_of(url, say("Please refund it."))
        interrupt_id = asked[-1]["outcome"]["interrupts"][0]["id"]
        approval = {"interruptId": interrupt_id, "status": "resolved", "payload": {"approved": True}}
        events = await events_of(url, say(messages=[], resume=[approval]))
    assert [event["type"] for event in events].count("TOOL_CALL_RESULT") == 1
    assert [found.partition(":")[0] for found in findings(events)] == [FALSE_ALARM]


async def test_it_finds_nothing_in_a_run_that_was_stopped(served, say, parsed) -> None:
    scripted = model()
    async with served(scripted) as url, httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        body = say("Slowly, please.")
        reading = asyncio.create_task(client.post(f"{url}/invocations", json=body))
        await asyncio.wait_for(scripted.hanging.wait(), 10)
        await client.post(f"{url}/invocations/{body['runId']}/cancel")
        events = parsed((await reading).text)
    assert events[-1]["outcome"]["type"] == "cancelled"
    assert findings(events) == []


async def test_it_finds_what_is_wrong(served, say, events_of) -> None:
    async with served(model()) as url:
        events = await events_of(url, say("Good morning?"))
    assert findings(events[:-2]), "a run that was cut in a message"
    assert findings(events[1:]), "a run without its start"
