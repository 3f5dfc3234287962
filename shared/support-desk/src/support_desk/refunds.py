"""Refunds: the rules that code enforces whatever a model asks for, and the one document per order that holds them.

All refunds of an order are in one document, changed by compare-and-set: two refunds at once, with different keys and in
different processes, cannot together exceed what is left. Moving the money is the payment provider's work; this desk
stops at the record.
"""

from datetime import datetime
from enum import StrEnum

from agent_runtime.state_store import StateStore
from pydantic import BaseModel, ConfigDict

from support_desk.errors import ToolError
from support_desk.ledger import derived_id
from support_desk.money import Money, as_json, total
from support_desk.orders import Order, OrderId, OrderStatus, PaymentStatus, UtcTime
from support_desk.stored_documents import Document, edit_document


class RefundReason(StrEnum):
    RETURNED = "returned"
    DAMAGED = "damaged"
    LOST_PARCEL = "lost_parcel"
    LATE_DELIVERY = "late_delivery"
    RECALL = "recall"
    WRONG_ITEM = "wrong_item"
    PRICE_ADJUSTMENT = "price_adjustment"
    GOODWILL = "goodwill"
    OTHER = "other"


class DeskRefund(BaseModel):
    """A refund that the desk made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refund_id: str
    order_id: OrderId
    amount: Money
    reason: RefundReason
    note: str | None = None
    refunded_at: UtcTime
    left_after: Money
    """What could still be refunded after this one."""


async def refunds_of(store: StateStore, order_id: str) -> tuple[DeskRefund, ...]:
    """The desk's own refunds of an order, oldest first; those from before are in the order book."""
    item = await store.get(_key(order_id))
    return _refunds(item.value if item else None)


def left_to_refund(order: Order, refunds: tuple[DeskRefund, ...]) -> Money:
    """What was paid, less every refund so far. Nothing while the payment is not captured or its bank decides on it."""
    if order.payment.status is PaymentStatus.CHARGED_BACK:
        return Money.of(0, order.currency)
    given = [refund.amount for refund in order.refunds] + [refund.amount for refund in refunds]
    left = order.payment.paid.amount - total(given, order.currency).amount
    return Money.of(max(left, 0 * left), order.currency)


async def refund_once(
    store: StateStore,
    order: Order,
    amount: Money,
    *,
    reason: RefundReason,
    note: str | None,
    idempotency_key: str,
    now: datetime,
) -> DeskRefund:
    """Record the refund of `idempotency_key`, or return it where it is recorded already.

    Raises:
        ToolError: `amount_not_positive`, `currency_mismatch`, `order_cancelled`, `order_not_paid`, `chargeback_open`,
            `nothing_left_to_refund`, `amount_exceeds_refundable`, `idempotency_conflict`.
    """
    refund_id = derived_id("RF", idempotency_key)

    def add(document: Document | None) -> Document:
        refunds = _refunds(document)
        present = next((refund for refund in refunds if refund.refund_id == refund_id), None)
        if present:
            if (present.amount, present.reason, present.note) != (amount, reason, note):
                raise ToolError(
                    "idempotency_conflict",
                    f"This call's key made refund {refund_id} of {present.amount} already. Make a new call.",
                )
            return document or {}
        left = left_to_refund(order, refunds)
        _check(order, amount, left)
        refund = DeskRefund(
            refund_id=refund_id,
            order_id=order.order_id,
            amount=amount,
            reason=reason,
            note=note,
            refunded_at=now,
            left_after=Money.of(left.amount - amount.amount, order.currency),
        )
        return {"refunds": [as_json(one) for one in (*refunds, refund)]}

    document = await edit_document(store, _key(order.order_id), add, tags={"kind": "refunds"})
    return next(refund for refund in _refunds(document) if refund.refund_id == refund_id)


def _check(order: Order, amount: Money, left: Money) -> None:
    if amount.amount <= 0:
        raise ToolError("amount_not_positive", "A refund must be more than zero.")
    if amount.currency is not order.currency:
        raise ToolError(
            "currency_mismatch",
            f"Order {order.order_id} was paid in {order.currency}, so it is refunded in {order.currency} only.",
        )
    if order.status is OrderStatus.CANCELLED:
        raise ToolError(
            "order_cancelled",
            f"Order {order.order_id} was cancelled before payment was taken; nothing can be refunded.",
        )
    if order.payment.status is PaymentStatus.AUTHORIZED:
        raise ToolError(
            "order_not_paid",
            f"Order {order.order_id} has not shipped, so its payment is only reserved. Cancel the order instead.",
        )
    if order.payment.status is PaymentStatus.CHARGED_BACK:
        raise ToolError(
            "chargeback_open",
            f"The customer's bank has taken back the payment of order {order.order_id}. A refund on top would pay"
            " twice; answer the dispute instead.",
        )
    if left.amount <= 0:
        raise ToolError("nothing_left_to_refund", f"Order {order.order_id} has been refunded in full.")
    if amount.amount > left.amount:
        raise ToolError(
            "amount_exceeds_refundable",
            f"{amount} is more than the {left} that is left to refund on order {order.order_id}.",
        )


def _key(order_id: str) -> str:
    return f"refunds/{order_id}"


def _refunds(document: Document | None) -> tuple[DeskRefund, ...]:
    return tuple(DeskRefund.model_validate(one) for one in (document or {}).get("refunds", ()))
