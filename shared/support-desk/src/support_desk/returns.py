"""Return labels: which articles of an order may come back, and one document per order that holds its labels.

What code can know is enforced here: the order has arrived, is not refunded in full, and no article has two labels.
Whether the return window is still open, and whether boots count as worn, is the handbook's and a person's to say.
"""

from datetime import datetime

from agent_runtime.state_store import StateStore
from pydantic import BaseModel, ConfigDict

from support_desk.catalogue import Sku
from support_desk.errors import ToolError
from support_desk.ledger import derived_id
from support_desk.money import Money, as_json
from support_desk.orders import Order, OrderId, OrderStatus, UtcTime
from support_desk.stored_documents import Document, edit_document


class ReturnLabel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    label_id: str
    order_id: OrderId
    carrier: str
    tracking_number: str
    skus: tuple[Sku, ...]
    reason: str | None = None
    created_at: UtcTime


async def labels_of(store: StateStore, order_id: str) -> tuple[ReturnLabel, ...]:
    item = await store.get(_key(order_id))
    return _labels(item.value if item else None)


async def label_once(
    store: StateStore,
    order: Order,
    left: Money,
    *,
    skus: tuple[str, ...] | None,
    reason: str | None,
    idempotency_key: str,
    now: datetime,
) -> ReturnLabel:
    """Make the label of `idempotency_key` for `skus` (None: the whole order), or return it where it is made already.

    Raises:
        ToolError: `order_not_delivered`, `order_already_returned`, `nothing_left_to_refund`, `sku_not_in_order`,
            `label_exists`, `idempotency_conflict`.
    """
    label_id = derived_id("RL", idempotency_key)
    wanted = tuple(dict.fromkeys(skus)) if skus else tuple(line.sku for line in order.lines)

    def add(document: Document | None) -> Document:
        labels = _labels(document)
        present = next((label for label in labels if label.label_id == label_id), None)
        if present:
            if (present.skus, present.reason) != (wanted, reason):
                raise ToolError(
                    "idempotency_conflict", f"This call's key made label {label_id} already. Make a new call."
                )
            return document or {}
        _check(order, left, wanted, labels)
        carrier = order.shipments[0].carrier
        label = ReturnLabel(
            label_id=label_id,
            order_id=order.order_id,
            carrier=carrier,
            tracking_number=f"R{label_id.removeprefix('RL-')}",
            skus=wanted,
            reason=reason,
            created_at=now,
        )
        return {"labels": [as_json(one) for one in (*labels, label)]}

    document = await edit_document(store, _key(order.order_id), add, tags={"kind": "return-labels"})
    return next(label for label in _labels(document) if label.label_id == label_id)


def _check(order: Order, left: Money, wanted: tuple[str, ...], labels: tuple[ReturnLabel, ...]) -> None:
    if order.status is OrderStatus.RETURNED:
        raise ToolError("order_already_returned", f"Order {order.order_id} has come back in full already.")
    if order.status is not OrderStatus.DELIVERED:
        raise ToolError(
            "order_not_delivered",
            f"Order {order.order_id} is {order.status}. A return label can be made once every parcel is delivered.",
        )
    if left.amount <= 0:
        raise ToolError(
            "nothing_left_to_refund",
            f"Nothing is left to refund on order {order.order_id}, so there is nothing to return for a refund.",
        )
    foreign = [sku for sku in wanted if sku not in {line.sku for line in order.lines}]
    if foreign:
        has = ", ".join(line.sku for line in order.lines)
        raise ToolError("sku_not_in_order", f"Order {order.order_id} does not have {', '.join(foreign)}. It has {has}.")
    for label in labels:
        twice = [sku for sku in wanted if sku in label.skus]
        if twice:
            raise ToolError("label_exists", f"{', '.join(twice)} has return label {label.label_id} already.")


def _key(order_id: str) -> str:
    return f"return-labels/{order_id}"


def _labels(document: Document | None) -> tuple[ReturnLabel, ...]:
    return tuple(ReturnLabel.model_validate(one) for one in (document or {}).get("labels", ()))
