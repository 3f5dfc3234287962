"""All of the planner by the official `openai` client, against a process of its own: what a caller needs, and no more."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from agent_runtime.testing import AgentProcess, Hang, ScriptedModel

DAMAGED = "Order NP-10274 arrived damaged, the customer wants the money back"


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    """For an agent on the offline model."""
    process = AgentProcess("langgraph_planner")
    async with process, openai.AsyncOpenAI(base_url=process.url, api_key="unused", max_retries=0) as client:
        yield client


def request_of(response: Any) -> Any:
    (request,) = [item for item in response.output if item.type == "mcp_approval_request"]
    return request


def edited(response: Any, arguments: dict[str, Any]) -> Any:
    """The answer to the twin of an approval request: yes, with other arguments."""
    (twin,) = [item for item in response.output if getattr(item, "name", "") == "__hosted_agent_adapter_interrupt__"]
    output = json.dumps({"resume": {"approve": True, "arguments": arguments}})
    return [{"type": "function_call_output", "call_id": twin.call_id, "output": output}]


def answered(response: Any, *, approve: bool, **more: Any) -> Any:
    request = request_of(response)
    return [{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve, **more}]


async def polled(client: openai.AsyncOpenAI, response: Any) -> Any:
    async with asyncio.timeout(30):
        while response.status in {"queued", "in_progress"}:
            await asyncio.sleep(0.05)
            response = await client.responses.retrieve(response.id)
    return response


async def test_create_approve_and_ask_about_it_again(client, ledger) -> None:
    waiting = await client.responses.create(model="any", input=DAMAGED)
    assert request_of(waiting).name == "issue_refund"
    done = await client.responses.create(
        model="any", previous_response_id=waiting.id, input=answered(waiting, approve=True)
    )
    assert "6 of 6 steps were done" in done.output_text
    stored = await client.responses.retrieve(done.id)
    assert [item.to_dict() for item in stored.output] == [item.to_dict() for item in done.output]
    assert [entry.tool for entry in await ledger()].count("issue_refund") == 1


async def test_stream_in_the_background_follow_again_and_poll_an_approval(client, ledger) -> None:
    stream = await client.responses.create(model="any", input=DAMAGED, background=True, stream=True)
    live = [event async for event in stream]
    assert live[-1].type == "response.completed"
    waiting = live[-1].response
    again = await client.responses.retrieve(waiting.id, stream=True, starting_after=live[5].sequence_number)
    assert [event.to_dict(warnings=False) async for event in again] == [
        event.to_dict(warnings=False) for event in live[6:]
    ]
    begun = await client.responses.create(
        model="any", previous_response_id=waiting.id, input=answered(waiting, approve=True), background=True
    )
    assert begun.status in {"queued", "in_progress"}
    done = await polled(client, begun)
    assert "6 of 6 steps were done" in done.output_text
    assert [entry.tool for entry in await ledger()].count("issue_refund") == 1


async def test_reject_with_a_reason(client, ledger) -> None:
    waiting = await client.responses.create(model="any", input=DAMAGED)
    answer = answered(waiting, approve=False, reason="the photos are missing")
    done = await client.responses.create(model="any", previous_response_id=waiting.id, input=answer)
    assert "Not approved — issue_refund: The approval was refused: the photos are missing." in done.output_text
    assert "issue_refund" not in [entry.tool for entry in await ledger()]


async def test_read_the_plan_alone_edit_it_and_edit_a_steps_arguments(client, ledger) -> None:
    planned = await client.responses.create(model="any", input=DAMAGED, metadata={"plan_only": "true"})
    request = request_of(planned)
    assert request.name == "run_plan"
    assert await ledger() == []
    steps = json.loads(request.arguments)["steps"]
    kept = [step for step in steps if step["tool"] in {"lookup_order", "issue_refund"}]
    ids = [step["id"] for step in kept]
    kept = [step | {"depends_on": [one for one in step["depends_on"] if one in ids]} for step in kept]
    waiting = await client.responses.create(
        model="any", previous_response_id=planned.id, input=edited(planned, {"steps": kept})
    )
    assert request_of(waiting).name == "issue_refund"
    done = await client.responses.create(
        model="any", previous_response_id=waiting.id, input=edited(waiting, {"amount": "20.00"})
    )
    assert "2 of 2 steps were done" in done.output_text
    [refund] = await ledger()
    assert (refund.tool, refund.arguments["amount"]) == ("issue_refund", "20.00")


async def test_cancel_and_go_on(script) -> None:
    model = ScriptedModel()
    model.enqueue(script.chosen("damaged-on-arrival"), Hang())
    async with model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, openai.AsyncOpenAI(base_url=process.url, api_key="unused", max_retries=0) as client:
            begun = await client.responses.create(model="any", input=DAMAGED, background=True)
            await asyncio.wait_for(model.hanging.wait(), 10)
            cancelled = await client.responses.cancel(begun.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.cancel(begun.id[:-4] + "AAAA")
            model.enqueue(script.chosen(None))
            after = await client.responses.create(model="any", previous_response_id=begun.id, input="And now?")
            with pytest.raises(openai.BadRequestError):
                await client.responses.cancel(after.id)
    assert cancelled.status == "cancelled"
    assert cancelled.output_text.startswith("The run was cancelled.")
    assert after.status == "completed"
