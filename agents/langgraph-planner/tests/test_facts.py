"""What was learned about one order is not taken for another one's, and a corrected order number is worked with."""

import json
from typing import Any

from agent_runtime.testing.scripted_model import ScriptedModel
from langgraph_planner.facts import about, for_tool, learn

ONE, OTHER = "NP-10274", "NP-10304"


def looked_up(order_id: str, amount: str) -> dict[str, Any]:
    return {"order": {"order_id": order_id}, "left_to_refund": {"amount": amount, "currency": "CHF"}}


def test_the_facts_of_each_order_are_kept_apart() -> None:
    facts = learn(learn({}, looked_up(ONE, "1.00")), looked_up(OTHER, "2.00"))
    assert about(facts, None)["amount"] == about(facts, OTHER)["amount"] == "2.00"
    assert about(facts, ONE)["amount"] == "1.00"
    assert "amount" not in about(facts, "NP-10001")
    refunded = learn(facts, {"left_to_refund": {"amount": "0.50", "currency": "CHF"}}, ONE)
    assert about(refunded, OTHER)["amount"] == "2.00"
    assert about(refunded, ONE)["amount"] == "0.50"


def test_a_case_is_noted_in_also_after_another_order_was_looked_up() -> None:
    facts = learn(learn({}, {"case": {"case_id": "CASE-1"}}, ONE), looked_up(OTHER, "2.00"))
    assert for_tool("update_case", facts, {})["case_id"] == "CASE-1"
    assert "case_id" not in for_tool("draft_reply", facts, {})


async def test_a_refund_is_not_filled_with_the_amount_of_the_order_looked_up_last(served, script) -> None:
    model = ScriptedModel()
    refund = script.refunded(ONE, "1.00", "CHF")
    refund["arguments"] |= {"amount": None, "currency": None}
    model.enqueue(
        script.chosen("damaged-on-arrival"), script.planned(script.looked_up(ONE), script.looked_up(OTHER), refund)
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input=f"Orders {ONE} and {OTHER} arrived broken.")
    (request,) = [item for item in response.output if item.type == "mcp_approval_request"]
    shown = json.loads(request.arguments)
    assert (shown["order_id"], shown["amount"], shown["currency"]) == (ONE, "117.50", "CHF")


async def test_a_corrected_order_is_looked_up_before_its_refund_is_asked_for(served, ledger) -> None:
    async with served() as client:
        asked = await client.responses.create(model="any", input=f"Order {ONE} arrived broken, money back.")
        text = f"Sorry, it is order {OTHER} that arrived broken."
        corrected = await client.responses.create(model="any", input=text, previous_response_id=asked.id)
    calls = [item for item in corrected.output if item.type == "function_call" and item.name == "lookup_order"]
    assert [json.loads(call.arguments) for call in calls] == [{"order_id": OTHER}]
    (request,) = [item for item in corrected.output if item.type == "mcp_approval_request"]
    shown = json.loads(request.arguments)
    assert (shown["order_id"], shown["currency"]) == (OTHER, "EUR")
    assert "issue_refund" not in [entry.tool for entry in await ledger()]


async def test_a_plan_that_an_addition_spoils_is_not_reported_as_followed(served, script) -> None:
    model = ScriptedModel()
    wrong = script.planned({"tool": "delete_customer", "arguments": {}})
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(script.looked_up(ONE)), wrong, wrong)
    async with served(model) as client:
        asked = await client.responses.create(
            model="any", input=f"Order {ONE} arrived broken.", metadata={"plan_only": "true"}
        )
        added = await client.responses.create(model="any", input="One thing more.", previous_response_id=asked.id)
    assert "no plan that can be carried out came of it. Nothing was done." in added.output_text
