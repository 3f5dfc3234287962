"""Every field of a case can be traced: to a place in the payload, to a span of its text, or to the rule that made it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from agent_runtime.model_exchange import ModelRequest
from agent_runtime.testing.scripted_model import ScriptedModel
from webhook_extractor.case_building import build_case
from webhook_extractor.settings import WebhookExtractorSettings
from webhook_extractor.sources.registry import build_sources
from webhook_extractor.sources.source import Ignored

STRIPE: dict[str, Any] = {
    "id": "evt_1", "type": "charge.dispute.created", "created": 1793440800,
    "data": {"object": {"id": "dp_1", "amount": 12900, "currency": "eur", "reason": "fraudulent",
                        "created": 1793440000, "metadata": {"order_id": "np-10001"}}},
}  # fmt: skip
DELAY: dict[str, Any] = {
    "specversion": "1.0", "id": "e-1", "source": "/c", "type": "order.delayed", "time": "2026-11-03T08:00:00+01:00",
    "data": {"order_id": "np-10002", "customer_id": "c-1048", "skus": ["TNT-204", "BTS-101"],
             "detected_at": "2026-11-03T07:12:00Z", "customer_name": "Ines Duarte", "customer_email": "I@example.com",
             "tracking_number": "FP-1", "note": "Both parcels of np-10002 stand in Bergen."},
}  # fmt: skip


def value_at(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def fields(case: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value, by their name in the provenance."""
    found: dict[str, Any] = {}
    for name, value in case.items():
        if name == "customer":
            found |= {f"customer.{part}": inner for part, inner in value.items() if inner is not None}
        elif name == "skus":
            found |= {f"skus.{place}": sku for place, sku in enumerate(value)}
        elif value is not None:
            found[name] = value
    return found


@pytest.mark.parametrize("source", ["github", "standard-webhooks", "stripe", "cloudevents"])
@pytest.mark.parametrize("answered", [True, False])
def test_each_field_that_has_a_value_has_its_origin_and_no_other_has(
    source: str, answered: bool, issue: Any, contact: Any
) -> None:
    issue["issue"]["body"] += " It is BTS-101 and TNT-204, 129,00 EUR, write to ines@example.com. Ines Duarte"
    payload, event = {
        "github": (issue, "issues"),
        "standard-webhooks": (contact, ""),
        "stripe": (STRIPE, "charge.dispute.created"),
        "cloudevents": (DELAY, "order.delayed"),
    }[source]
    (of_it,) = (one for one in build_sources(WebhookExtractorSettings()) if one.description.name == source)
    reading = of_it.read(event, "application/json", json.dumps(payload).encode())
    assert not isinstance(reading, Ignored)
    extraction = {
        "category": "damaged_item", "requested_action": "replacement", "summary": "Something is torn.", "language": "en",
        "customer_name": "Ines Duarte",
    } if answered and reading.texts else {}  # fmt: skip
    draft = build_case(reading, extraction, model=None, received_at=datetime(2026, 11, 5, tzinfo=UTC))
    present = fields(draft.case.model_dump(mode="json"))
    assert present.keys() == draft.provenance.keys()
    for name, origin in draft.provenance.items():
        if origin.how == "derived":
            assert origin.rule
            continue
        assert origin.pointer is not None
        there = value_at(payload, origin.pointer)
        if origin.how == "stated":
            assert str(there).strip() == (origin.original or present[name]), name
        else:
            assert origin.start is not None
            span = there[origin.start : origin.end]
            assert span
            if origin.how == "found":
                assert span == (origin.original or present[name])


async def test_contradictions_are_reported_and_the_payload_stands(agent: Any, answer: Any, contact: Any) -> None:
    contact["data"]["message"] = "It is about NP-10009. Write to other@example.com.\nYours, Ole Berg"

    def script(_: ModelRequest) -> str:
        return str(answer(category="delivery", customer_name="Ole Berg", order_id="NP-10009"))

    async with agent(ScriptedModel(script)) as deliveries:
        record = (await deliveries.contact(contact, prefer="wait=20")).json()
    told = {remark["field"]: (remark["kind"], remark["values"]) for remark in record["remarks"]}
    assert told == {
        "order_id": ("contradiction", ["NP-10002", "NP-10009"]),
        "customer.name": ("contradiction", ["Ines Duarte", "Ole Berg"]),
        "customer.email": ("contradiction", ["ines.duarte@example.com", "other@example.com"]),
    }
    assert record["result"]["order_id"] == "NP-10002"
    assert record["result"]["customer"]["name"] == "Ines Duarte"


def test_a_sum_in_a_currency_that_the_desk_does_not_have_is_reported_and_not_converted() -> None:
    payload = json.loads(json.dumps(STRIPE))
    payload["data"]["object"] |= {"amount": 5000, "currency": "jpy"}
    (stripe,) = (one for one in build_sources(WebhookExtractorSettings()) if one.description.name == "stripe")
    reading = stripe.read("", "application/json", json.dumps(payload).encode())
    assert not isinstance(reading, Ignored)
    draft = build_case(reading, {}, model=None, received_at=datetime(2026, 11, 5, tzinfo=UTC))
    assert draft.case.amount is None
    assert [(remark.kind, remark.field, remark.values) for remark in draft.remarks] == [
        ("unusable", "amount", ("5000 jpy",))
    ]
