"""What cannot be undone waits for a person: asked once, decided once, also after a restart, and only by who was asked."""

import asyncio
import json
from typing import Any

import openai
import pytest
from agent_runtime.testing.scripted_model import ScriptedModel

CASE = "Order NP-10274 arrived broken, the customer wants the money back."


def answered(request_id: str, approve: bool, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "mcp_approval_response", "approval_request_id": request_id, "approve": approve, **more}]


async def asked(client: openai.AsyncOpenAI, **options: Any) -> tuple[Any, Any, Any]:
    """A response that waits, its approval request, and the twin call."""
    response = await client.responses.create(model="any", input=CASE, **options)
    (request,) = [item for item in response.output if item.type == "mcp_approval_request"]
    (twin,) = [item for item in response.output if getattr(item, "name", "") == "__hosted_agent_adapter_interrupt__"]
    return response, request, twin


async def refunds(ledger: Any) -> list[Any]:
    return [entry for entry in await ledger() if entry.tool == "issue_refund"]


async def test_a_refund_is_not_made_before_it_is_approved(served, ledger) -> None:
    async with served() as client:
        response, request, twin = await asked(client)
    assert response.status == "completed"
    assert request.name == "issue_refund"
    assert json.loads(request.arguments) == json.loads(twin.arguments)["arguments"]
    assert json.loads(request.arguments)["amount"] == "117.50"
    assert "needs your approval" in response.output_text
    assert await refunds(ledger) == []


async def test_an_approval_makes_the_refund_and_finishes_the_plan(served, ledger) -> None:
    async with served() as client:
        response, request, _ = await asked(client)
        ended = await client.responses.create(
            model="any", previous_response_id=response.id, input=answered(request.id, True)
        )
    assert ended.status == "completed"
    assert "6 of 6 steps were done" in ended.output_text
    (refund,) = await refunds(ledger)
    assert refund.arguments["amount"] == "117.50"


async def test_a_rejection_leaves_the_refund_out_and_goes_on(served, ledger) -> None:
    async with served() as client:
        response, request, _ = await asked(client)
        answer = answered(request.id, False, reason="the photos are missing")
        ended = await client.responses.create(model="any", previous_response_id=response.id, input=answer)
    assert "Not approved — issue_refund: The approval was refused: the photos are missing." in ended.output_text
    assert "Done — draft_reply" in ended.output_text
    assert await refunds(ledger) == []


async def test_the_twin_call_is_answered_with_edited_arguments(served, ledger) -> None:
    async with served() as client:
        response, _, twin = await asked(client)
        resume = {"resume": {"approve": True, "arguments": {"amount": "20.00"}}}
        output = {"type": "function_call_output", "call_id": twin.call_id, "output": json.dumps(resume)}
        await client.responses.create(model="any", previous_response_id=response.id, input=[output])
    (refund,) = await refunds(ledger)
    assert refund.arguments["amount"] == "20.00"


@pytest.mark.parametrize(("said", "count"), [("yes", 1), (True, 1), ("no", 0), ("whatever", 0)])
async def test_the_twin_call_takes_a_plain_yes_and_nothing_else_for_it(served, ledger, said: Any, count: int) -> None:
    async with served() as client:
        response, _, twin = await asked(client)
        output = {"type": "function_call_output", "call_id": twin.call_id, "output": json.dumps({"resume": said})}
        await client.responses.create(model="any", previous_response_id=response.id, input=[output])
    assert len(await refunds(ledger)) == count


async def test_an_approval_that_is_answered_twice_acts_once(served, ledger) -> None:
    async with served() as client:
        response, request, _ = await asked(client)
        answer = {"model": "any", "previous_response_id": response.id, "input": answered(request.id, True)}
        await client.responses.create(**answer)
        again = await client.responses.create(**answer)
    assert "answered before" in again.output_text
    assert len(await refunds(ledger)) == 1


async def test_an_approval_outlives_the_process_that_asked(served, ledger) -> None:
    async with served() as client:
        response, request, _ = await asked(client)
    async with served() as client:
        ended = await client.responses.create(
            model="any", previous_response_id=response.id, input=answered(request.id, True)
        )
    assert "6 of 6 steps were done" in ended.output_text
    assert len(await refunds(ledger)) == 1


async def test_nobody_elses_answer_counts(served, ledger) -> None:
    async with served() as client:
        _, request, _ = await asked(client, extra_headers={"x-agent-user-id": "alice"})
        stranger = await client.responses.create(
            model="any", input=answered(request.id, True), extra_headers={"x-agent-user-id": "bob"}
        )
    assert stranger.status == "failed"
    assert stranger.error.code == "unknown_approval"
    assert await refunds(ledger) == []


async def test_twenty_runs_of_two_users_at_once_mix_no_threads_and_no_approvals(served, ledger) -> None:
    """Each user's runs ask and are answered at the same time; each refund is for the run's own order, once."""
    orders = ["NP-10274", "NP-10316", "NP-10042", "NP-10318", "NP-10304"] * 4

    async def whole(client: openai.AsyncOpenAI, number: int, order: str) -> None:
        mine = {"x-agent-user-id": ("alice", "bob")[number % 2]}
        theirs = {"x-agent-user-id": ("bob", "alice")[number % 2]}
        text = f"Order {order} arrived broken, the customer wants the money back."
        response = await client.responses.create(model="any", input=text, extra_headers=mine, timeout=90)
        assert {
            json.loads(item.arguments).get("order_id", order)
            for item in response.output
            if item.type == "function_call"
        } == {order}
        requests = [item for item in response.output if item.type == "mcp_approval_request"]
        for request in requests:
            assert json.loads(request.arguments)["order_id"] == order
            stranger = await client.responses.create(
                model="any", input=answered(request.id, True), extra_headers=theirs, timeout=90
            )
            assert stranger.error.code == "unknown_approval"
            ended = await client.responses.create(
                model="any", input=answered(request.id, True), extra_headers=mine, timeout=90
            )
            assert ended.status == "completed"
            assert order in ended.output_text
            assert not [other for other in set(orders) - {order} if other in ended.output_text]

    async with served() as client:
        await asyncio.gather(*(whole(client, number, order) for number, order in enumerate(orders)))
    made = [entry.arguments["order_id"] for entry in await refunds(ledger)]
    # The desk refunds an order once; the later runs' refunds are refused by it, not mixed with another order's.
    assert len(made) == len(set(made))
    assert "NP-10274" in made


async def test_an_id_that_was_never_asked_is_refused(served) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=answered("mcpr_never", True))
    assert response.error.code == "unknown_approval"


async def test_a_model_that_calls_a_refund_reversible_is_not_believed(served, script, ledger) -> None:
    model = ScriptedModel()
    step = script.refunded("NP-10274", "117.50", "CHF") | {"irreversible": False}
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(step))
    async with served(model) as client:
        response = await client.responses.create(model="any", input=CASE)
    assert [item.type for item in response.output if item.type == "mcp_approval_request"]
    assert await refunds(ledger) == []
