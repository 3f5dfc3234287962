"""A caller can ask for the plan alone, read and edit it, and have it carried out later, in another process too."""

import json
from typing import Any

import pytest

BROKEN = "Order NP-10274 arrived broken, the customer wants the money back."
PLAN_ONLY = {"plan_only": "true"}


async def planned(client: Any) -> tuple[Any, Any]:
    response = await client.responses.create(model="any", input=BROKEN, metadata=PLAN_ONLY)
    assert response.status == "completed"
    (request,) = [item for item in response.output if item.type == "mcp_approval_request"]
    assert request.name == "run_plan"
    return response, request


def approving(request: Any, approve: bool = True, **more: Any) -> Any:
    answer = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}
    return [answer | more]


def editing(response: Any, steps: list[dict[str, Any]]) -> Any:
    (twin,) = [item for item in response.output if getattr(item, "name", "") == "__hosted_agent_adapter_interrupt__"]
    output = json.dumps({"resume": {"approve": True, "arguments": {"steps": steps}}})
    return [{"type": "function_call_output", "call_id": twin.call_id, "output": output}]


def calls(response: Any) -> list[str]:
    names = [item.name for item in response.output if item.type == "function_call"]
    return [name for name in names if not name.startswith("__")]


async def test_a_plan_alone_does_nothing(served, ledger) -> None:
    async with served() as client:
        response, request = await planned(client)
    (plan,) = [item.output for item in response.output if item.type == "structured_outputs"]
    assert json.loads(request.arguments) == {"goal": plan["goal"], "steps": plan["steps"]}
    assert calls(response) == []
    assert "issue_refund (asks for approval)" in response.output_text
    assert await ledger() == []


async def test_a_plan_is_carried_out_later_and_still_asks_before_what_cannot_be_undone(served, ledger) -> None:
    async with served() as client:
        response, request = await planned(client)
    async with served() as client:
        ran = await client.responses.create(
            model="any", previous_response_id=response.id, input=approving(request), metadata=PLAN_ONLY
        )
        (refund,) = [item for item in ran.output if item.type == "mcp_approval_request"]
        assert refund.name == "issue_refund"
        assert not [entry for entry in await ledger() if entry.tool == "issue_refund"]
        ended = await client.responses.create(model="any", previous_response_id=ran.id, input=approving(refund))
    assert calls(ran)[0] == "lookup_order"
    assert "6 of 6 steps were done" in ended.output_text


async def test_a_plan_that_is_approved_twice_runs_once(served, ledger) -> None:
    async with served() as client:
        response, request = await planned(client)
        await client.responses.create(model="any", previous_response_id=response.id, input=approving(request))
        again = await client.responses.create(model="any", previous_response_id=response.id, input=approving(request))
    assert "answered before" in again.output_text
    assert [entry.tool for entry in await ledger()].count("open_case") == 1


async def test_a_plan_that_is_rejected_does_nothing_and_says_why(served, ledger) -> None:
    async with served() as client:
        response, request = await planned(client)
        ended = await client.responses.create(
            model="any", previous_response_id=response.id, input=approving(request, False, reason="too expensive")
        )
    assert "was not approved: too expensive. Nothing was done." in ended.output_text
    assert await ledger() == []


async def test_an_edited_plan_runs_as_edited(served, ledger) -> None:
    async with served() as client:
        response, request = await planned(client)
        steps = [step for step in json.loads(request.arguments)["steps"] if step["tool"] == "lookup_order"]
        ran = await client.responses.create(
            model="any", previous_response_id=response.id, input=editing(response, steps)
        )
    assert calls(ran) == ["lookup_order"]
    assert "1 of 1 steps were done" in ran.output_text
    assert await ledger() == []


async def test_an_edited_plan_cannot_call_a_refund_reversible(served, ledger) -> None:
    async with served() as client:
        response, request = await planned(client)
        steps = json.loads(request.arguments)["steps"]
        for step in steps:
            step["irreversible"] = False
        ran = await client.responses.create(
            model="any", previous_response_id=response.id, input=editing(response, steps)
        )
    assert [item.name for item in ran.output if item.type == "mcp_approval_request"] == ["issue_refund"]
    assert not [entry for entry in await ledger() if entry.tool == "issue_refund"]


async def test_an_edited_plan_that_cannot_be_carried_out_is_asked_about_again(served, ledger) -> None:
    async with served() as client:
        response, request = await planned(client)
        steps = json.loads(request.arguments)["steps"]
        steps[0]["tool"] = "delete_customer"
        again = await client.responses.create(
            model="any", previous_response_id=response.id, input=editing(response, steps)
        )
        assert "delete_customer, which does not exist" in again.output_text
        (request,) = [item for item in again.output if item.type == "mcp_approval_request"]
        ran = await client.responses.create(model="any", previous_response_id=again.id, input=approving(request))
    assert calls(ran)[0] == "lookup_order"
    assert "delete_customer" not in {entry.tool for entry in await ledger()}


@pytest.mark.parametrize("wish", ["yes", "1", ""])
async def test_an_unknown_wish_is_refused_before_anything_is_done(served, ledger, wish: str) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=BROKEN, metadata={"plan_only": wish})
    assert response.status == "failed"
    assert response.error.code == "invalid_metadata"
    assert await ledger() == []
