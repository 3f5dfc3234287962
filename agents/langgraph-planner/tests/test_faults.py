"""What goes wrong in the middle of a run: nothing irreversible is done twice, no approval is used up for nothing, and
the run can go on."""

import asyncio
import json
from typing import Any

import openai
import pytest
from agent_runtime.model_exchange import ModelReply
from agent_runtime.state_store import StateStoreUnavailable
from agent_runtime.testing import AgentProcess, Failure, Hang, ScriptedModel
from support_desk.desk_tools import DeskTool
from support_desk.ledger import Ledger
from support_desk.refunds import refunds_of

ORDER, OTHER = "NP-10274", "NP-10231"
BROKEN = f"Order {ORDER} arrived broken."
CASE = {"tool": "open_case", "arguments": {"category": "damaged_item", "summary": "Broken.", "order_id": ORDER}}
DRAFT = {"tool": "draft_reply", "arguments": {"order_id": ORDER}}
WRITTEN = ModelReply(json.dumps({"case_id": None, "order_id": None, "subject": "Your order", "body": "Hello."}))


def requests(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == "mcp_approval_request"]


def yes(*asked: Any) -> Any:
    return [{"type": "mcp_approval_response", "approval_request_id": one.id, "approve": True} for one in asked]


def planning(script: Any, *steps: dict[str, Any]) -> ScriptedModel:
    model = ScriptedModel()
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(*steps))
    return model


@pytest.mark.parametrize("attempt", range(4))
async def test_two_approvals_given_at_the_same_time_are_both_carried_out(served, script, ledger, attempt: int) -> None:
    first, second = script.refunded(ORDER, "1.50", "CHF"), script.refunded(ORDER, "2.50", "CHF")
    async with served(planning(script, CASE, first, second | {"depends_on": ["s1"]})) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        both = await asyncio.gather(
            *(
                client.responses.create(model="any", input=yes(one), previous_response_id=asked.id)
                for one in requests(asked)
            )
        )
        # Whoever came first may have been asked for the other again, before that had come.
        again = [one for response in both for one in requests(response)]
        late = [await client.responses.create(model="any", input=yes(one)) for one in again]
    assert [response.status for response in [*both, *late]] == ["completed"] * (2 + len(late))
    assert all(response.output_text for response in both)
    assert sum("3 of 3 steps were done" in response.output_text for response in both) == 1
    assert sorted(entry.arguments.get("amount", "") for entry in await ledger()) == ["", "1.50", "2.50"]


async def test_an_effect_whose_record_is_not_finished_is_not_planned_again(
    served, script, desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph_planner.graph._FIRST_RETRY_SECONDS", 0.001)
    finish = Ledger._finish

    async def unreachable(ledger: Ledger, item: Any, entry: Any, result: Any) -> Any:
        if entry.tool == "issue_refund":
            raise StateStoreUnavailable("no answer")
        return await finish(ledger, item, entry, result)

    monkeypatch.setattr(Ledger, "_finish", unreachable)
    refund = script.refunded(ORDER, "1.50", "CHF")
    model = planning(script, refund, CASE, script.looked_up("NP-99999") | {"depends_on": []}, CASE | {"depends_on": []})
    model.enqueue(script.planned(refund, script.looked_up(ORDER)))
    async with served(model) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        done = await client.responses.create(model="any", input=yes(*requests(asked)), previous_response_id=asked.id)
    assert "1. Not known — issue_refund: It had begun" in done.output_text
    assert "2. Not done — open_case: It needs s1" in done.output_text
    assert requests(done) == []
    assert [str(one.amount) for one in await refunds_of(desk.store, ORDER)] == ["1.50 CHF"]


async def test_an_approval_that_is_given_again_after_an_error_has_the_run_go_on(served, script, ledger) -> None:
    model = planning(script, script.refunded(ORDER, "1.50", "CHF"), DRAFT)
    model.enqueue(Failure(500))
    async with served(model) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        answer = yes(*requests(asked))
        failed = await client.responses.create(model="any", input=answer, previous_response_id=asked.id)
        assert failed.error.code == "model_unavailable"
        model.enqueue(WRITTEN)
        done = await client.responses.create(model="any", input=answer, previous_response_id=asked.id)
        late = await client.responses.create(model="any", input=answer, previous_response_id=asked.id)
    assert "2 of 2 steps were done" in done.output_text
    assert late.output_text == "This approval was answered before. Nothing was done again."
    assert [entry.tool for entry in await ledger()] == ["issue_refund", "draft_reply"]


async def test_a_cancelled_answer_does_not_end_the_run_that_another_drives(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, released = asyncio.Event(), asyncio.Event()
    call = DeskTool.call

    async def slow(tool: DeskTool, *arguments: Any, **more: Any) -> Any:
        if tool.name == "issue_refund":
            hanging.set()
            await released.wait()
        return await call(tool, *arguments, **more)

    monkeypatch.setattr(DeskTool, "call", slow)
    async with served(planning(script, script.refunded(ORDER, "1.50", "CHF"), CASE)) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        answer = yes(*requests(asked))
        first = await client.responses.create(model="any", input=answer, previous_response_id=asked.id, background=True)
        await asyncio.wait_for(hanging.wait(), 10)
        late = await client.responses.create(model="any", input=answer, previous_response_id=asked.id)
        released.set()
        async with asyncio.timeout(10):
            done = await client.responses.retrieve(first.id)
            while done.status == "in_progress":
                await asyncio.sleep(0.02)
                done = await client.responses.retrieve(first.id)
    assert late.output_text == "This approval was answered before. Nothing was done again."
    assert "2 of 2 steps were done" in done.output_text
    assert [entry.tool for entry in await ledger()] == ["issue_refund", "open_case"]


@pytest.mark.parametrize("shown", [False, True])
async def test_a_new_case_in_an_old_conversation_survives_a_kill(script, ledger, shown: bool) -> None:
    choice, looked = script.chosen("damaged-on-arrival"), script.planned(script.looked_up(OTHER))
    model = planning(script, script.refunded(ORDER, "1.50", "CHF"))
    model.enqueue(*([choice, Hang(), looked] if shown else [Hang(), choice, looked]))
    async with model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, openai.AsyncOpenAI(base_url=process.url, api_key="unused", max_retries=0) as client:
            asked = await client.responses.create(model="any", input=BROKEN)
            done = await client.responses.create(
                model="any", input=yes(*requests(asked)), previous_response_id=asked.id
            )
            new = await client.responses.create(
                model="any", input=f"Now {OTHER} arrived broken.", previous_response_id=done.id, background=True
            )
            await asyncio.wait_for(model.hanging.wait(), 10)
            await process.kill()
            await process.start()
            async with asyncio.timeout(30):
                recovered = await client.responses.retrieve(new.id)
                while recovered.status == "in_progress":
                    await asyncio.sleep(0.05)
                    recovered = await client.responses.retrieve(new.id)
    assert recovered.status == "completed"
    assert "1 of 1 steps were done" in recovered.output_text
    assert OTHER in recovered.output_text


@pytest.mark.parametrize("given", ["r2.s1", "r10.anything"])
async def test_a_step_cannot_be_named_as_a_new_plans_steps_are(served, script, ledger, given: str) -> None:
    named = script.refunded(ORDER, "1.50", "CHF") | {"id": given}
    model = planning(script, named)
    model.enqueue(script.planned(named))
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN)
    assert given in response.output_text
    assert requests(response) == []
    assert await ledger() == []


async def test_what_is_added_with_no_new_plan_left_is_asked_about_again(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_REPLANS", "0")
    async with served(planning(script, script.refunded(ORDER, "1.50", "CHF"))) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        anew = await client.responses.create(
            model="any", input="By the way, it is the left one.", previous_response_id=asked.id
        )
        done = await client.responses.create(model="any", input=yes(*requests(anew)), previous_response_id=anew.id)
    assert "1 of 1 steps were done" in done.output_text
    assert [entry.tool for entry in await ledger()] == ["issue_refund"]


async def test_an_approval_whose_connection_was_lost_can_be_given_again(served, script, ledger) -> None:
    model = planning(script, script.refunded(ORDER, "1.50", "CHF"), DRAFT)
    model.enqueue(Hang())
    async with served(model) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        answer = yes(*requests(asked))
        stream = await client.responses.create(model="any", input=answer, previous_response_id=asked.id, stream=True)
        await anext(aiter(stream))
        await asyncio.wait_for(model.hanging.wait(), 10)
        await stream.close()
        model.enqueue(WRITTEN)
        async with asyncio.timeout(20):
            text = ""
            while "steps were done" not in text:  # until the host has noticed that the first is gone
                again = await client.responses.create(model="any", input=answer, previous_response_id=asked.id)
                text = again.output_text
    assert "2 of 2 steps were done" in text
    assert [entry.tool for entry in await ledger()] == ["issue_refund", "draft_reply"]
