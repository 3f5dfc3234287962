"""Stripe's events become cases by code alone: every fact is stated, and no model is asked."""

import hashlib
import hmac
import json
import time
from typing import Any

import httpx2
import pytest
from agent_runtime.testing.scripted_model import ScriptedModel
from support_desk.cases import SupportCase

SECRET = "whsec_stripe of the tests"


def event(kind: str, **thing: Any) -> dict[str, Any]:
    return {"id": "evt_1", "object": "event", "type": kind, "created": 1793440800, "data": {"object": thing}}


async def send(deliveries: Any, payload: dict[str, Any]) -> httpx2.Response:
    body, now = json.dumps(payload).encode(), int(time.time())
    signature = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    signed = {"Stripe-Signature": f"t={now},v1={signature}"}
    answer: httpx2.Response = await deliveries.post(body, signed, True, {"prefer": "wait=20"})
    return answer


DISPUTE = event(
    "charge.dispute.created",
    id="dp_1", amount=12900, currency="eur", reason="product_not_received", metadata={"order_id": "NP-10001"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (DISPUTE, ("payment_dispute", "high", "129.00 EUR", None, "dp_1")),
        (
            event("charge.refunded", id="ch_1", amount_refunded=50, currency="nok", metadata={"order_id": "NP-10001"},
                  billing_details={"name": "Ines Duarte", "email": "ines@example.com"}),
            ("refund", "normal", "0.50 NOK", "ines@example.com", "ch_1"),
        ),
        (
            event("invoice.payment_failed", id="in_1", amount_due=100000, currency="usd", customer_email="I@example.com",
                  attempt_count=2, number="A-1", metadata={"order_id": "NP-10001"}),
            ("payment", "normal", "1000.00 USD", "i@example.com", "in_1"),
        ),
    ],
)  # fmt: skip
async def test_an_event_becomes_a_case_without_a_model(
    agent: Any, payload: dict[str, Any], expected: tuple[str, ...]
) -> None:
    model = ScriptedModel()
    async with agent(model, STRIPE_WEBHOOK_SECRET=SECRET) as deliveries:
        record = (await send(deliveries, payload)).json()
        assert record["status"] == "completed", record
        case = SupportCase.model_validate(record["result"])
        found = (case.category, case.priority, str(case.amount), case.customer.email, case.reference)
        assert found == expected
        assert (case.order_id, case.channel) == ("NP-10001", "payment_provider")
        assert record["result"]["received_at"] == "2026-10-31T10:00:00Z"
        assert record["provenance"]["amount"]["how"] == "stated"
        assert "model" not in record
        assert model.requests == []


async def test_the_same_event_is_the_same_delivery_though_stripe_counts_its_attempts_in_it(agent: Any) -> None:
    async with agent(STRIPE_WEBHOOK_SECRET=SECRET) as deliveries:
        first = await send(deliveries, DISPUTE | {"pending_webhooks": 2})
        again = await send(deliveries, DISPUTE | {"pending_webhooks": 1})
        other = await send(deliveries, DISPUTE | {"created": 1793440801})
        assert (first.status_code, again.json()) == (200, first.json())
        assert other.status_code == 409


async def test_other_events_are_ignored_and_misfits_refused(agent: Any) -> None:
    async with agent(STRIPE_WEBHOOK_SECRET=SECRET) as deliveries:
        assert (await send(deliveries, event("charge.succeeded", id="ch_1"))).json()["status"] == "ignored"
        misfit = await send(deliveries, event("charge.refunded", id="ch_1"))
        assert (misfit.status_code, misfit.json()["error"]["code"]) == (422, "invalid_payload")


async def test_a_comment_on_an_issue_becomes_a_case_of_its_own(agent: Any, issue: Any) -> None:
    issue |= {
        "action": "created",
        "comment": {
            "body": "Any news about NP-10003?",
            "html_url": "https://github.com/northpeak/shop/issues/12#issuecomment-1",
            "created_at": "2026-11-03T10:00:00Z",
            "user": {"login": "hubot"},
        },
    }
    async with agent() as deliveries:
        record = (await deliveries.github(issue, event="issue_comment", prefer="wait=20")).json()
        assert (record["result"]["order_id"], record["result"]["customer"]["name"]) == ("NP-10003", "hubot")
        issue["action"] = "deleted"
        assert (await deliveries.github(issue, event="issue_comment", delivery="d-2")).json()["status"] == "ignored"
