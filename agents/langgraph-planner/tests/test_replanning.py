"""After a failed step or a rejection the rest is planned anew: bounded, and without doing anything twice or unasked."""

import json
from collections import Counter
from typing import Any

import pytest
from agent_runtime.testing.scripted_model import ScriptedModel
from langgraph_planner.plan import Plan, Step, continued

BROKEN = "Order NP-10274 arrived broken, the customer wants the money back."
CASE = {"category": "damaged_item", "summary": "Broken.", "order_id": "NP-10274"}
NOTHING: dict[str, Any] = {"depends_on": []}
OPEN_CASE = {"tool": "open_case", "arguments": CASE}


def plans(response: Any) -> list[dict[str, Any]]:
    return [item.output for item in response.output if item.type == "structured_outputs"]


def requests(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == "mcp_approval_request"]


def rejecting(request: Any, reason: str) -> Any:
    answer = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": False, "reason": reason}
    return [answer]


async def test_a_rejection_plans_the_rest_anew_with_the_offline_model(served, ledger) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=BROKEN)
        (request,) = requests(response)
        ended = await client.responses.create(
            model="any", previous_response_id=response.id, input=rejecting(request, "the photos are missing")
        )
    (first,), (second,) = plans(response), plans(ended)
    assert (first["revision"], second["revision"]) == (1, 2)
    # What was done or refused stays in the plan; what is new has ids of its own.
    assert second["steps"][:5] == first["steps"][:5]
    assert [step["id"] for step in second["steps"][5:]] == ["r2.s1"]
    assert "Not approved — issue_refund: The approval was refused: the photos are missing." in ended.output_text
    assert "Done — draft_reply" in ended.output_text
    assert "issue_refund" not in {entry.tool for entry in await ledger()}


async def test_a_model_may_propose_another_amount_which_asks_again(served, script, ledger) -> None:
    model = ScriptedModel()
    model.enqueue(
        script.chosen("damaged-on-arrival"),
        script.planned(OPEN_CASE, script.refunded("NP-10274", "117.50", "CHF"), script.looked_up("NP-10274")),
        script.planned(script.refunded("NP-10274", "20.00", "CHF")),
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN)
        (request,) = requests(response)
        again = await client.responses.create(
            model="any", previous_response_id=response.id, input=rejecting(request, "half of it at most")
        )
        assert "half of it at most" in model.requests[2].messages[0].text
        (smaller,) = requests(again)
        assert smaller.id != request.id
        assert json.loads(smaller.arguments)["amount"] == "20.00"
        assert "issue_refund" not in {entry.tool for entry in await ledger()}
        approve: Any = [{"type": "mcp_approval_response", "approval_request_id": smaller.id, "approve": True}]
        ended = await client.responses.create(model="any", previous_response_id=again.id, input=approve)
    assert ended.status == "completed"
    (refund,) = [entry for entry in await ledger() if entry.tool == "issue_refund"]
    assert refund.arguments["amount"] == "20.00"


async def test_a_failed_step_is_replaced_by_another_and_nothing_is_done_twice(served, script, ledger) -> None:
    model = ScriptedModel()
    label = {"tool": "create_return_label", "arguments": {"order_id": "NP-10042"}, "depends_on": ["s2"]}
    model.enqueue(
        script.chosen("return-request"),
        script.planned(OPEN_CASE, script.looked_up("NP-99999"), label),
        # A model that plans from the start again: the case is not opened a second time.
        script.planned(OPEN_CASE, script.looked_up("NP-10042")),
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Return NP-99999, or NP-10042.")
    assert response.status == "completed"
    assert Counter(entry.tool for entry in await ledger()) == {"open_case": 1}
    steps = [(step["id"], step["tool"]) for step in plans(response)[-1]["steps"]]
    assert steps == [
        ("s1", "open_case"),
        ("s2", "lookup_order"),
        ("s3", "create_return_label"),
        ("r2.s2", "lookup_order"),
    ]
    assert "Not done — create_return_label: It needs s2, which failed." in response.output_text
    assert "4. Done — lookup_order: Order NP-10042" in response.output_text


async def test_a_run_that_keeps_failing_ends_incomplete_and_says_what_was_done(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_REPLANS", "1")
    lost = script.looked_up("NP-99999")
    model = ScriptedModel()
    model.enqueue(script.chosen("return-request"), script.planned(OPEN_CASE, lost, lost), script.planned(lost, lost))
    async with served(model) as client:
        response = await client.responses.create(model="any", input="A customer wants to return an order.")
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_replans"
    assert "planned its rest anew 1 times" in response.output_text
    assert "1. Done — open_case" in response.output_text
    assert [entry.tool for entry in await ledger()] == ["open_case"]


async def test_without_replans_the_plan_goes_on_without_what_is_lost(
    served, script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_REPLANS", "0")
    model = ScriptedModel()
    model.enqueue(script.chosen("return-request"), script.planned(script.looked_up("NP-99999"), OPEN_CASE | NOTHING))
    async with served(model) as client:
        response = await client.responses.create(model="any", input="A customer wants to return an order.")
    assert response.status == "completed"
    assert len(plans(response)) == 1
    assert "2. Done — open_case" in response.output_text


async def test_a_new_plan_that_is_wrong_is_not_used(served, script) -> None:
    model = ScriptedModel()
    model.enqueue(
        script.chosen("return-request"),
        script.planned(
            script.looked_up("NP-99999"),
            OPEN_CASE | NOTHING,
            {"tool": "update_case", "arguments": {"note": "The order is unknown."}},
        ),
        script.planned({"tool": "delete_customer", "arguments": {}}),
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input="A customer wants to return an order.")
    assert response.status == "completed"
    assert len(plans(response)) == 1
    assert "2. Done — open_case" in response.output_text
    assert "3. Done — update_case" in response.output_text


def test_a_step_that_is_kept_to_be_reported_needs_no_step_that_was_planned_anew() -> None:
    def step(name: str, tool: str, *needs: str) -> Step:
        return Step(id=name, tool=tool, arguments={}, reason="", depends_on=list(needs))

    search = step("s2", "search_handbook", "s1")
    old = Plan(
        goal="g", assumptions=[], steps=[step("s1", "lookup_order"), search, step("s3", "open_case", "s1", "s2")]
    )
    rest = Plan(goal="g", assumptions=[], steps=[step("s1", "search_handbook")])
    new = continued(old, 1, {"s1", "s3"}, rest, most_steps=12)
    assert new is not None
    assert [(one.id, one.depends_on) for one in new.steps] == [("s1", []), ("s3", ["s1"]), ("r2.s1", [])]
