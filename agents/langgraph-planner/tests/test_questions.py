"""What nobody said is asked for once, never invented; the answer goes on with the same run."""

import json
from typing import Any

LOST = "A customer's parcel is lost."


def calls(response: Any) -> list[str]:
    return [item.name for item in response.output if item.type == "function_call"]


async def asked(client: Any, **options: Any) -> Any:
    response = await client.responses.create(model="any", input=LOST, **options)
    assert response.status == "completed"
    assert response.output_text.startswith("What is the order id?")
    assert calls(response) == ["__hosted_agent_adapter_interrupt__"]
    return response


async def test_an_answer_goes_on_with_the_same_plan(served) -> None:
    async with served() as client:
        question = await asked(client)
        went_on = await client.responses.create(model="any", previous_response_id=question.id, input="NP-10316")
    assert calls(went_on)[:3] == ["lookup_order", "search_handbook", "open_case"]
    assert json.loads(went_on.output[0].arguments) == {"order_id": "NP-10316"}
    assert "structured_outputs" not in [item.type for item in went_on.output]


async def test_an_answer_also_goes_by_the_conversation(served) -> None:
    async with served() as client:
        await asked(client, conversation="conv_1")
        went_on = await client.responses.create(model="any", conversation="conv_1", input="It is NP-10316.")
    assert json.loads(went_on.output[0].arguments) == {"order_id": "NP-10316"}


async def test_the_twin_call_is_answered_with_the_value(served) -> None:
    async with served() as client:
        question = await asked(client)
        (twin,) = [item for item in question.output if item.type == "function_call"]
        output: Any = {
            "type": "function_call_output",
            "call_id": twin.call_id,
            "output": json.dumps({"resume": "NP-10316"}),
        }
        went_on = await client.responses.create(model="any", previous_response_id=question.id, input=[output])
    assert json.loads(went_on.output[0].arguments) == {"order_id": "NP-10316"}


async def test_a_question_is_asked_once_and_what_stays_unknown_is_left_out(served, ledger) -> None:
    async with served() as client:
        question = await asked(client)
        ended = await client.responses.create(model="any", previous_response_id=question.id, input="Nobody knows it.")
    assert "Not done — lookup_order: Nobody said what to use for order_id." in ended.output_text
    assert "NP-" not in ended.output_text
    assert not [entry for entry in await ledger() if entry.tool == "issue_refund"]


async def test_a_question_outlives_the_process_that_asked(served) -> None:
    async with served() as client:
        question = await asked(client)
    async with served() as client:
        went_on = await client.responses.create(model="any", previous_response_id=question.id, input="NP-10316")
    assert json.loads(went_on.output[0].arguments) == {"order_id": "NP-10316"}


async def test_another_user_cannot_answer_a_question(served, ledger) -> None:
    async with served() as client:
        question = await asked(client, extra_headers={"x-agent-user-id": "anna"})
        (twin,) = [item for item in question.output if item.type == "function_call"]
        output: Any = {"type": "function_call_output", "call_id": twin.call_id, "output": '{"resume": "NP-10316"}'}
        refused = await client.responses.create(model="any", input=[output], extra_headers={"x-agent-user-id": "berta"})
    assert refused.status == "failed"
    assert refused.error.code == "unknown_approval"
    assert await ledger() == []


async def test_after_an_answer_the_next_message_of_the_conversation_is_a_new_case(served) -> None:
    async with served() as client:
        await asked(client, conversation="conv_2")
        response = await client.responses.create(model="any", conversation="conv_2", input="NP-10316")
        while requests := [item for item in response.output if item.type == "mcp_approval_request"]:
            no: Any = [{"type": "mcp_approval_response", "approval_request_id": requests[0].id, "approve": False}]
            response = await client.responses.create(model="any", conversation="conv_2", input=no)
        next_case = await client.responses.create(
            model="any", conversation="conv_2", input="The points for order NP-10042 are missing."
        )
    (plan,) = [item.output for item in next_case.output if item.type == "structured_outputs"]
    assert plan["runbook"] == "missing-points"
