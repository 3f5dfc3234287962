"""A reply to a customer leaves the desk only when a person says so: asked beside a refund, each decided by itself."""

import json
from typing import Any

import openai
import pytest
from agent_runtime.settings import load_settings
from agent_runtime.testing.scripted_model import ScriptedModel
from langgraph_planner.settings import PlannerSettings
from support_desk.desk import open_desk
from support_desk.desk_tools import TOOLS_BY_NAME

LATE = "Order NP-10274 is late, the customer asks where it is."
LOST = "The parcel of order NP-10304 is lost, its tracking has not moved for weeks."
IRREVERSIBLE = ("issue_refund", "send_reply")


async def outbox() -> list[dict[str, Any]]:
    """The replies that have left the desk."""
    desk = open_desk(load_settings(PlannerSettings))
    try:
        page = await desk.store.list({"kind": "sent_reply"})
        return [item.value for item in page.items]
    finally:
        await desk.close()


def requested(response: Any) -> Any:
    """The one approval that a response asks for."""
    (request,) = [item for item in response.output if item.type == "mcp_approval_request"]
    return request


def twin_of(response: Any) -> Any:
    (twin,) = [item for item in response.output if getattr(item, "name", "") == "__hosted_agent_adapter_interrupt__"]
    return twin


async def decide(client: openai.AsyncOpenAI, response: Any, approve: bool, **more: Any) -> Any:
    answer: Any = {"type": "mcp_approval_response", "approval_request_id": requested(response).id, "approve": approve}
    return await client.responses.create(model="any", previous_response_id=response.id, input=[answer | more])


def done(entries: Any) -> list[str]:
    """What the ledger holds that cannot be undone, in order."""
    return sorted(entry.tool for entry in entries if entry.tool in IRREVERSIBLE)


async def test_a_reply_is_shown_in_full_and_not_sent_before_it_is_approved(served, ledger) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=LATE)
    request = requested(response)
    shown = json.loads(request.arguments)
    assert request.name == "send_reply"
    assert shown["subject"] == "Your order NP-10274"
    assert shown["body"].startswith("Hello ")
    assert shown["body"].removesuffix(".") in response.output_text
    assert await outbox() == []
    assert done(await ledger()) == []


async def test_who_approves_a_draft_that_the_run_did_not_write_is_shown_whom_it_goes_to_and_what_it_says(
    served, script, desk
) -> None:
    drafted: Any = await TOOLS_BY_NAME["draft_reply"].call(
        desk, {"order_id": "NP-10042", "subject": "Older", "body": "Written by a colleague."}, idempotency_key="older"
    )
    sends = [
        {"tool": "send_reply", "arguments": {"draft_id": given}, "depends_on": []}
        for given in (drafted.draft.draft_id, "DR-0000000000")
    ]
    model = ScriptedModel()
    model.enqueue(script.chosen("late-delivery"), script.planned(*sends))
    async with served(model) as client:
        response = await client.responses.create(model="any", input=LATE)
    assert f"goes to {drafted.draft.to}, with the subject “Older”: Written by a colleague." in response.output_text
    assert "as it is, it would fail. There is no draft DR-0000000000." in response.output_text


async def test_an_approved_reply_is_sent_once_as_it_was_shown(served, ledger) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=LATE)
        ended = await decide(client, response, True)
        again = await decide(client, response, True)
    shown = json.loads(requested(response).arguments)
    (sent,) = await outbox()
    assert {name: sent[name] for name in shown} == shown
    assert f"Done — send_reply: Reply {sent['reply_id']} to {sent['to']} was sent" in ended.output_text
    assert "answered before" in again.output_text
    assert done(await ledger()) == ["send_reply"]


async def test_a_refused_reply_is_not_sent_and_the_report_says_why(served, ledger) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=LATE)
        ended = await decide(client, response, False, reason="we call the customer")
    assert "Not approved — send_reply: The approval was refused: we call the customer." in ended.output_text
    assert await outbox() == []
    assert done(await ledger()) == []


async def test_a_reply_is_sent_as_whoever_approved_it_has_edited_it(served) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=LATE)
        edited = {"resume": {"approve": True, "arguments": {"body": "Hello, your parcel comes on Tuesday."}}}
        output: Any = {
            "type": "function_call_output",
            "call_id": twin_of(response).call_id,
            "output": json.dumps(edited),
        }
        await client.responses.create(model="any", previous_response_id=response.id, input=[output])
    (sent,) = await outbox()
    assert (sent["subject"], sent["body"]) == ("Your order NP-10274", "Hello, your parcel comes on Tuesday.")


@pytest.mark.parametrize("refund", [True, False])
@pytest.mark.parametrize("reply", [True, False])
async def test_a_refund_and_a_reply_each_ask_and_only_what_was_approved_is_done(
    served, ledger, *, refund: bool, reply: bool
) -> None:
    async with served() as client:
        first = await client.responses.create(model="any", input=LOST)
        assert requested(first).name == "issue_refund"
        second = await decide(client, first, refund)
        assert requested(second).name == "send_reply"
        last = await decide(client, second, reply)
    assert not [item for item in last.output if item.type == "mcp_approval_request"]
    approved = [name for name, approves in zip(IRREVERSIBLE, (refund, reply), strict=True) if approves]
    assert done(await ledger()) == approved
    sent = await outbox()
    assert len(sent) == reply
    # The reply promises no money that was not paid.
    assert ("We have refunded" in json.loads(requested(second).arguments)["body"]) is refund


async def test_the_approval_of_a_refund_does_not_approve_the_reply_beside_it(served, script, ledger) -> None:
    """A model that says that the reply waits for nothing: both are asked for at once, and each is its own decision."""
    model = ScriptedModel()
    draft = {"tool": "draft_reply", "arguments": {"order_id": "NP-10274", "subject": "Your order", "body": "Paid."}}
    send: dict[str, Any] = {"tool": "send_reply", "arguments": {}, "depends_on": []}
    refund = script.refunded("NP-10274", "1.50", "CHF")
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(draft, refund, send), script.planned())
    async with served(model) as client:
        first = await client.responses.create(model="any", input="Order NP-10274 arrived broken.")
        pay, reply = [item for item in first.output if item.type == "mcp_approval_request"]
        assert (pay.name, reply.name) == ("issue_refund", "send_reply")
        answer: Any = {"type": "mcp_approval_response", "approval_request_id": pay.id, "approve": True}
        second = await client.responses.create(model="any", previous_response_id=first.id, input=[answer])
        assert requested(second).name == "send_reply"
        # The answer to the refund's request, once more, says nothing about the reply.
        stale = await client.responses.create(model="any", previous_response_id=second.id, input=[answer])
        assert "answered before" in stale.output_text
        assert await outbox() == []
        last = await decide(client, second, False, reason="too short")
    assert "Not approved — send_reply: The approval was refused: too short." in last.output_text
    assert done(await ledger()) == ["issue_refund"]
    assert await outbox() == []


async def test_an_approval_cannot_be_edited_to_send_a_sent_draft_again(served, ledger) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=LATE)
        await decide(client, response, True)
        (sent,) = await outbox()
        other = await client.responses.create(model="any", input=LATE)
        edited = {"resume": {"approve": True, "arguments": {"draft_id": sent["draft_id"]}}}
        output: Any = {"type": "function_call_output", "call_id": twin_of(other).call_id, "output": json.dumps(edited)}
        ended = await client.responses.create(model="any", previous_response_id=other.id, input=[output])
    assert "Failed — send_reply" in ended.output_text
    assert "was sent as" in ended.output_text
    assert await outbox() == [sent]
    assert done(await ledger()) == ["send_reply"]
