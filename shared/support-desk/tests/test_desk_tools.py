import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.retrieval import FtsRetriever, build_index
from agent_runtime.settings import load_settings
from agent_runtime.state_store import StateStoreUnavailable
from jsonschema import Draft202012Validator
from support_desk.desk import Desk, open_desk
from support_desk.desk_tools import TOOLS, TOOLS_BY_NAME, DeskTool
from support_desk.errors import ToolError
from support_desk.orders import OrderFlag, OrderStatus, PaymentStatus
from support_desk.settings import SupportDeskSettings

Call = Callable[..., Awaitable[Any]]
Refusal = Callable[..., Awaitable[ToolError]]

# Of the order book: see the flags with `python -m support_desk orders --flag …`.
DELIVERED = "NP-10304"  # 825.90 EUR, four articles
ONE_ARTICLE = "NP-10318"  # 665.00 NOK
PARTLY_REFUNDED = "NP-10317"  # 299.25 of 399.00 EUR left
LOST = "NP-10316"
RECALLED = "NP-10313"
CHARGEBACK = "NP-10231"
PLACED = "NP-10360"
CANCELLED = "NP-10340"
RETURNED = "NP-10276"

EXAMPLES: dict[str, dict[str, Any]] = {
    "search_handbook": {"query": "How long may I return boots?"},
    "lookup_order": {"order_id": DELIVERED},
    "list_customer_orders": {"customer_id": None, "email": "lena.brandt@example.org", "status": "shipped"},
    "open_case": {
        "category": "recall",
        "summary": "The stove leaks.",
        "priority": "urgent",
        "order_id": RECALLED,
        "customer_id": None,
    },
    "update_case": {"case_id": "CASE-3F9A2B7C41", "status": "resolved", "priority": None, "note": "Refunded."},
    "draft_reply": {"case_id": None, "order_id": DELIVERED, "subject": "Your order", "body": "Hello"},
    "send_reply": {"draft_id": "DR-3F9A2B7C41", "subject": None, "body": None},
    "issue_refund": {
        "order_id": DELIVERED,
        "amount": "49.90",
        "currency": "EUR",
        "reason": "damaged",
        "note": None,
    },
    "create_return_label": {"order_id": DELIVERED, "skus": ["CLO-341"], "reason": None},
}


def test_the_tools_are_these_in_this_order() -> None:
    assert [tool.name for tool in TOOLS] == list(EXAMPLES)
    assert [tool.name for tool in TOOLS if tool.irreversible] == ["send_reply", "issue_refund"]
    assert [tool.name for tool in TOOLS if tool.side_effect] == list(EXAMPLES)[3:]


def objects_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema inside `schema`, itself first."""
    yield schema
    for part in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        yield from objects_in(part)
    if "items" in schema:
        yield from objects_in(schema["items"])


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_schema_is_fit_for_strict_function_calling(tool: DeskTool) -> None:
    """https://platform.openai.com/docs/guides/structured-outputs#supported-schemas"""
    schema = tool.parameters()
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    allowed = {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "anyOf",
        "items",
        "enum",
        "pattern",
        "description",
    }
    for part in objects_in(schema):
        assert set(part) <= allowed
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
    assert all(prop["description"] for prop in schema["properties"].values())


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_schema_accepts_an_example_and_refuses_others(tool: DeskTool) -> None:
    validator = Draft202012Validator(tool.parameters())
    example = EXAMPLES[tool.name]
    validator.validate(example)
    assert not validator.is_valid({**example, "unknown": 1})
    for name in example:
        assert not validator.is_valid({key: value for key, value in example.items() if key != name})
        assert not validator.is_valid({**example, name: 17.5})


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_description_says_when_and_what_it_returns(tool: DeskTool) -> None:
    assert "Use it" in tool.description
    assert "Not" in tool.description or "not" in tool.description or "instead" in tool.description
    assert 150 < len(tool.description) < 600


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@pytest.mark.parametrize("arguments", [{"unknown": 1}, {"order_id": "10042"}, {"order_id": 7, "case_id": []}, {}])
async def test_arguments_that_do_not_fit_are_explained(desk: Desk, tool: DeskTool, arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolError) as caught:
        await tool.call(desk, arguments, idempotency_key="k")
    assert caught.value.code in ("invalid_arguments", "customer_unknown")
    assert (await desk.ledger.entries()).entries == ()


async def test_the_message_about_arguments_names_the_field_and_what_it_must_be(refusal: Refusal) -> None:
    error = await refusal("lookup_order", order_id="#10042")
    assert error.message == (
        r"lookup_order was called with arguments that do not fit. order_id: must match ^NP-\d{5}$."
        " Correct them and call again."
    )
    assert error.as_output() == {"error": {"code": "invalid_arguments", "message": error.message}}


# --- lookup_order and list_customer_orders


async def test_lookup_order_tells_everything_about_a_delivered_order(call: Call) -> None:
    found = await call("lookup_order", order_id=DELIVERED)
    assert found.order.status is OrderStatus.DELIVERED
    assert found.customer.customer_id == found.order.customer_id
    assert found.delivered_on == found.order.delivered_on
    assert found.days_since_delivery == (found.as_of - found.delivered_on).days == 21
    assert str(found.left_to_refund) == "825.90 EUR"
    assert f"Order {DELIVERED} was placed on 2026-10-07 and is delivered." in found.summary
    assert "It is a gift for" in found.summary


@pytest.mark.parametrize(
    ("order_id", "sentence"),
    [
        (LOST, "the carrier has declared it lost."),
        (RECALLED, "The Ember 2 gas stove in this order is under a safety recall."),
        (CHARGEBACK, "opened chargeback DP-10231 over 80.65 CHF"),
        (PARTLY_REFUNDED, "99.75 EUR was refunded on"),
        (PLACED, "is placed. "),
        ("NP-10321", "is on its way, expected by"),
        ("NP-10323", "is delayed; it was expected by"),
        ("NP-10288", "It was bought on the marketplace"),
    ],
)
async def test_lookup_order_says_what_is_special(call: Call, order_id: str, sentence: str) -> None:
    assert sentence in (await call("lookup_order", order_id=order_id)).summary


async def test_lookup_order_shows_what_the_desk_did(call: Call) -> None:
    refund = (await call("issue_refund", order_id=DELIVERED, amount="100.00", currency="EUR")).refund
    label = (await call("create_return_label", order_id=DELIVERED)).label
    found = await call("lookup_order", order_id=DELIVERED)
    assert found.desk_refunds == (refund,)
    assert found.return_labels == (label,)
    assert str(found.left_to_refund) == "725.90 EUR"
    assert f"100.00 EUR was refunded by the desk as {refund.refund_id}." in found.summary


async def test_an_unknown_order_is_not_found(refusal: Refusal) -> None:
    assert (await refusal("lookup_order", order_id="NP-99999")).code == "order_not_found"


async def test_a_customers_orders_are_found_by_number_and_by_address(call: Call) -> None:
    by_number = await call("list_customer_orders", customer_id="c-1019")
    by_address = await call("list_customer_orders", email="Lena.Brandt@example.org")
    assert by_number == by_address
    assert {LOST, "NP-10344"} <= {order.order_id for order in by_number.orders}
    times = [order.placed_at for order in by_number.orders]
    assert times == sorted(times, reverse=True)
    shipped = await call("list_customer_orders", customer_id="C-1019", status="shipped")
    assert {order.status for order in shipped.orders} == {OrderStatus.SHIPPED}
    assert shipped.found < by_number.found


async def test_a_customer_without_orders_has_none(call: Call) -> None:
    found = await call("list_customer_orders", customer_id="C-1022")
    assert found.orders == ()
    assert "has no orders." in found.summary


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "customer_unknown"),
        ({"customer_id": "C-9999"}, "customer_not_found"),
        ({"email": "nobody@example.org"}, "customer_not_found"),
        ({"customer_id": "C-1001", "email": "lena.brandt@example.org"}, "customer_mismatch"),
    ],
)
async def test_a_customer_must_be_known(refusal: Refusal, arguments: dict[str, str], code: str) -> None:
    assert (await refusal("list_customer_orders", **arguments)).code == code


# --- cases and drafts


async def test_a_case_is_opened_updated_and_closed(call: Call, refusal: Refusal) -> None:
    opened = (await call("open_case", **EXAMPLES["open_case"])).case
    assert opened.status == "open"
    assert opened.customer_id == "C-1070"
    assert opened.answer_by - opened.opened_at == timedelta(hours=4)
    noted = (await call("update_case", case_id=opened.case_id, note="Told to stop using it.", priority="low")).case
    assert (noted.status, noted.priority) == ("open", "low")
    assert noted.answer_by - noted.opened_at == timedelta(days=5)
    closed = (await call("update_case", case_id=opened.case_id.lower(), status="closed")).case
    assert [update.note for update in closed.updates] == ["Told to stop using it.", None]
    assert (await refusal("update_case", case_id=opened.case_id, note="Late")).code == "case_closed"


async def test_updates_at_once_are_all_kept(call: Call) -> None:
    case = (await call("open_case", category="other", summary="A question")).case
    await asyncio.gather(*(call("update_case", case_id=case.case_id, note=f"Note {n}") for n in range(8)))
    final = (await call("update_case", case_id=case.case_id, status="resolved")).case
    assert sorted(update.note for update in final.updates if update.note) == [f"Note {n}" for n in range(8)]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("open_case", {"category": "other", "summary": "x", "order_id": "NP-99999"}, "order_not_found"),
        ("open_case", {"category": "other", "summary": "x", "customer_id": "C-9999"}, "customer_not_found"),
        (
            "open_case",
            {"category": "other", "summary": "x", "order_id": DELIVERED, "customer_id": "C-1001"},
            "customer_mismatch",
        ),
        ("open_case", {"category": "weather", "summary": "x"}, "invalid_arguments"),
        ("open_case", {"category": "other", "summary": "  "}, "invalid_arguments"),
        ("update_case", {"case_id": "CASE-0000000000", "note": "x"}, "case_not_found"),
        ("update_case", {"case_id": "CASE-0000000000"}, "nothing_to_update"),
        ("draft_reply", {"subject": "x", "body": "x"}, "recipient_unknown"),
        ("draft_reply", {"subject": "x", "body": "x", "case_id": "CASE-0000000000"}, "case_not_found"),
        ("draft_reply", {"subject": "x", "body": "x", "order_id": "NP-99999"}, "order_not_found"),
        ("draft_reply", {"subject": "x", "body": "", "order_id": DELIVERED}, "invalid_arguments"),
    ],
)
async def test_cases_and_drafts_need_what_they_are_about(
    refusal: Refusal, tool: str, arguments: dict[str, str], code: str
) -> None:
    assert (await refusal(tool, **arguments)).code == code


async def test_a_draft_goes_to_the_customer_of_its_order_or_case_and_is_not_sent(call: Call, refusal: Refusal) -> None:
    by_order = await call("draft_reply", **EXAMPLES["draft_reply"])
    assert by_order.draft.to == "jonas.lindner@example.org"
    assert "was not sent" in by_order.summary
    case = (await call("open_case", category="delivery", summary="Where is it?", order_id=LOST)).case
    by_case = await call("draft_reply", case_id=case.case_id, subject="Your parcel", body="Hello")
    assert (by_case.draft.to, by_case.draft.order_id) == ("lena.brandt@example.org", LOST)
    mixed = await refusal("draft_reply", case_id=case.case_id, order_id=DELIVERED, subject="x", body="x")
    assert mixed.code == "order_mismatch"


async def test_a_draft_is_sent_once_as_it_is_or_as_it_was_edited(desk: Desk, call: Call, refusal: Refusal) -> None:
    draft = (await call("draft_reply", **EXAMPLES["draft_reply"])).draft
    sent = (await call("send_reply", key="send", draft_id=draft.draft_id)).reply
    assert (sent.to, sent.subject, sent.body) == (draft.to, draft.subject, draft.body)
    assert (await call("send_reply", key="send", draft_id=draft.draft_id)).reply == sent
    assert (await refusal("send_reply", key="again", draft_id=draft.draft_id)).code == "already_sent"
    assert (await refusal("send_reply", draft_id="DR-0000000000")).code == "draft_not_found"
    assert (await refusal("send_reply", draft_id="../orders")).code == "invalid_arguments"

    other = (await call("draft_reply", key="other", order_id=DELIVERED, subject="A", body="B")).draft
    edited = (await call("send_reply", key="edited", draft_id=other.draft_id, body="B, with a word more")).reply
    assert (edited.subject, edited.body) == ("A", "B, with a word more")
    outbox = await desk.store.list({"kind": "sent_reply"})
    assert {item.value["reply_id"] for item in outbox.items} == {sent.reply_id, edited.reply_id}


# --- refunds


async def test_a_refund_is_recorded_with_what_is_left(call: Call) -> None:
    made = (
        await call("issue_refund", order_id=PARTLY_REFUNDED, amount="99.25", currency="EUR", reason="goodwill")
    ).refund
    assert (str(made.amount), str(made.left_after), made.reason) == ("99.25 EUR", "200.00 EUR", "goodwill")


async def test_a_lost_parcel_can_be_refunded_in_full_but_only_once(call: Call, refusal: Refusal) -> None:
    await call("issue_refund", order_id=LOST, amount="298.00", currency="EUR", reason="lost_parcel")
    assert (
        await refusal("issue_refund", order_id=LOST, amount="0.01", currency="EUR")
    ).code == "nothing_left_to_refund"


@pytest.mark.parametrize(
    ("order_id", "amount", "currency", "code"),
    [
        (DELIVERED, "825.91", "EUR", "amount_exceeds_refundable"),
        (PARTLY_REFUNDED, "299.26", "EUR", "amount_exceeds_refundable"),
        (DELIVERED, "0.00", "EUR", "amount_not_positive"),
        (DELIVERED, "-5.00", "EUR", "invalid_arguments"),
        (DELIVERED, "5.001", "EUR", "invalid_arguments"),
        (DELIVERED, "NaN", "EUR", "invalid_arguments"),
        (DELIVERED, "5.00", "DKK", "invalid_arguments"),
        (DELIVERED, "5.00", "USD", "currency_mismatch"),
        (CHARGEBACK, "5.00", "CHF", "chargeback_open"),
        (PLACED, "5.00", "NOK", "order_not_paid"),
        (CANCELLED, "5.00", "EUR", "order_cancelled"),
        ("NP-99999", "5.00", "EUR", "order_not_found"),
    ],
)
async def test_a_refund_that_breaks_a_rule_is_refused(
    refusal: Refusal, order_id: str, amount: str, currency: str, code: str
) -> None:
    assert (await refusal("issue_refund", order_id=order_id, amount=amount, currency=currency)).code == code


async def test_a_returned_order_has_nothing_left_to_refund(desk: Desk, refusal: Refusal) -> None:
    currency = desk.order(RETURNED).currency
    error = await refusal("issue_refund", order_id=RETURNED, amount="1.00", currency=currency)
    assert error.code == "nothing_left_to_refund"


async def test_no_order_can_be_refunded_beyond_what_was_paid(desk: Desk, call: Call, refusal: Refusal) -> None:
    """Every kind of order in the book: what `lookup_order` says is left is the most that can be refunded."""
    samples = [desk.order_book.orders(flag=flag)[-1] for flag in OrderFlag]
    samples += [desk.order_book.orders(status=status)[-1] for status in OrderStatus]
    for order in {order.order_id: order for order in samples}.values():
        left = (await call("lookup_order", order_id=order.order_id)).left_to_refund
        if order.payment.status in (PaymentStatus.CAPTURED, PaymentStatus.PARTIALLY_REFUNDED):
            assert left.amount > 0
            await call("issue_refund", order_id=order.order_id, amount=left.amount, currency=left.currency)
        await refusal("issue_refund", order_id=order.order_id, amount="0.01", currency=left.currency)


# --- return labels


async def test_a_return_label_for_the_whole_order_and_for_one_article(call: Call, refusal: Refusal) -> None:
    one = (await call("create_return_label", order_id=DELIVERED, skus=["CLO-341"], reason="Too small")).label
    assert one.skus == ("CLO-341",)
    assert one.tracking_number
    twice = await refusal("create_return_label", order_id=DELIVERED)
    assert (twice.code, one.label_id in twice.message) == ("label_exists", True)
    whole = (await call("create_return_label", order_id=ONE_ARTICLE)).label
    assert whole.skus == ("PCK-140",)


@pytest.mark.parametrize(
    ("order_id", "skus", "code"),
    [
        (LOST, None, "order_not_delivered"),
        (PLACED, None, "order_not_delivered"),
        (CANCELLED, None, "order_not_delivered"),
        (RETURNED, None, "order_already_returned"),
        (CHARGEBACK, None, "nothing_left_to_refund"),
        (DELIVERED, ["TNT-201"], "sku_not_in_order"),
        (DELIVERED, ["tent"], "invalid_arguments"),
        ("NP-99999", None, "order_not_found"),
    ],
)
async def test_a_return_label_that_breaks_a_rule_is_refused(
    refusal: Refusal, order_id: str, skus: list[str] | None, code: str
) -> None:
    assert (await refusal("create_return_label", order_id=order_id, skus=skus)).code == code


# --- search_handbook


RETURNS = """---
id: returns
title: Returns
---

# Returns

## Window

Unused gear can be returned within 60 days of delivery.

## Refund time

Once returned gear is checked, the money for it is back within five days.
"""


async def test_search_handbook_gives_numbered_passages_with_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "returns.md").write_text(RETURNS, encoding="utf-8")
    build_index(tmp_path / "index.sqlite", [tmp_path / "handbook"])
    monkeypatch.setenv("HANDBOOK_BASE_URL", "https://docs.example.com/desk")
    desk = open_desk(load_settings(SupportDeskSettings), FtsRetriever(tmp_path / "index.sqlite"))
    tool = TOOLS_BY_NAME["search_handbook"]

    found: Any = await tool.call(desk, {"query": "When can unused gear be returned?"}, idempotency_key="k")
    best = found.model_dump(mode="json")["passages"][0]
    assert (best["number"], best["title"]) == (1, "Returns")
    assert best["heading"].endswith("Window")
    assert "within 60 days" in best["text"]
    assert best["url"].startswith("https://docs.example.com/desk/returns")

    both = await desk.search_handbook("returned gear", first_number=3)
    assert [passage.number for passage in both.passages] == [3, 4]
    assert [passage.number for passage in both.numbered_from(6).passages] == [6, 7]
    nothing = await tool.call(desk, {"query": "kangaroo"}, idempotency_key="k")
    assert nothing.model_dump(mode="json") == {"query": "kangaroo", "passages": []}
    await desk.close()


async def test_a_desk_without_a_handbook_says_so(refusal: Refusal) -> None:
    assert (await refusal("search_handbook", query="returns")).code == "handbook_unavailable"


# --- the desk's store and clock


class DownStore:
    """A store whose backend does not answer."""

    async def put_if_absent(self, *_: Any, **__: Any) -> Any:
        raise StateStoreUnavailable("no answer from 10.0.0.7")

    get = compare_and_set = delete = list = put_if_absent


async def test_a_store_that_does_not_answer_is_told_without_internals(desk: Desk) -> None:
    down: Any = DownStore()
    broken = Desk(desk.order_book, down)
    for name in ("lookup_order", "issue_refund"):
        with pytest.raises(ToolError) as caught:
            await TOOLS_BY_NAME[name].call(broken, EXAMPLES[name], idempotency_key="k")
        assert caught.value.code == "desk_unavailable"
        assert "10.0.0.7" not in caught.value.message


async def test_times_are_utc_and_from_the_desks_clock(desk: Desk) -> None:
    desk.clock = lambda: datetime(2026, 11, 1, 12, tzinfo=UTC)
    made = await TOOLS_BY_NAME["issue_refund"].call(desk, EXAMPLES["issue_refund"], idempotency_key="k")
    assert made.model_dump(mode="json")["refund"]["refunded_at"] == "2026-11-01T12:00:00Z"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_id_and_address_shows_its_pattern_to_the_model(tool: DeskTool) -> None:
    for name, schema in tool.parameters()["properties"].items():
        if name.endswith("_id") or name == "email":
            forms = [form for form in schema.get("anyOf", [schema]) if form.get("type") != "null"]
            assert all("pattern" in form for form in forms), name
