"""Stripe: disputes, refunds and failed invoice payments. All facts are stated, so no model is asked.

https://docs.stripe.com/webhooks#verify-manually. `t.body` is signed with HMAC-SHA256, keyed with the endpoint secret as
it is, `whsec_` included. A header carries several `v1` while a secret is rotated.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from agent_runtime.hosting import BadRequest
from agent_runtime.hosting.json_body import parse_json_object
from pydantic import BaseModel
from support_desk.cases import CaseCategory
from support_desk.money import Currency

from webhook_extractor.sources.payload import checked, refuse_other_media_types
from webhook_extractor.sources.source import (
    Delivery,
    DeliveryHeaders,
    Ignored,
    Reading,
    Refused,
    SourceDescription,
    Stated,
)

_MOST_SIGNATURES = 20


class _Data(BaseModel):
    object: dict[str, Any]


class _Event(BaseModel):
    id: str
    type: str
    created: int
    data: _Data


class _BillingDetails(BaseModel):
    name: str | None = None
    email: str | None = None


class _Object(BaseModel):
    """What the read events' objects have in common. https://docs.stripe.com/api/events/types"""

    id: str
    currency: str
    metadata: dict[str, str] | None = None


class _Dispute(_Object):
    amount: int
    reason: str
    created: int | None = None


class _Charge(_Object):
    amount_refunded: int
    billing_details: _BillingDetails = _BillingDetails()
    receipt_email: str | None = None


class _Invoice(_Object):
    amount_due: int
    attempt_count: int = 1
    customer_name: str | None = None
    customer_email: str | None = None
    number: str | None = None


class Stripe:
    description = SourceDescription(
        name="stripe",
        title="Stripe",
        headers=frozenset({"stripe-signature"}),
        secret_variable="STRIPE_WEBHOOK_SECRET",  # noqa: S106 - the variable's name, no secret
    )

    def __init__(self, secrets: Sequence[str], tolerance_seconds: float = 300.0) -> None:
        if not all(secrets):
            raise ValueError("an empty secret would let anyone sign")
        self._keys = [secret.encode() for secret in secrets]
        self._tolerance = tolerance_seconds

    @property
    def enabled(self) -> bool:
        return bool(self._keys)

    def verify(self, headers: DeliveryHeaders, body: bytes, now: float) -> Delivery:
        entries = [entry.strip().partition("=") for entry in headers.get("stripe-signature").split(",")]
        times = [value for name, _, value in entries if name == "t"]
        given = [value.encode() for name, _, value in entries if name == "v1"][:_MOST_SIGNATURES]
        if not times or not given:
            raise Refused("signature_missing", "Stripe-Signature must hold t and v1.")
        signed = times[0].encode() + b"." + body
        expected = [hmac.new(key, signed, hashlib.sha256).hexdigest().encode() for key in self._keys]
        # Every pair is compared, whichever matches: the time taken must not tell which one did.
        matches = [hmac.compare_digest(one, other) for one in expected for other in given]
        if not any(matches):
            raise Refused("signature_invalid", "No v1 signature in Stripe-Signature fits the body and the secret.")
        sent_at = times[0]
        if not sent_at.isascii() or not sent_at.isdecimal() or abs(now - int(sent_at[:15])) > self._tolerance:
            raise Refused("timestamp_out_of_tolerance", f"The signature is off by more than {self._tolerance:g} s.")
        # Stripe's only delivery id is in the body, which is the sender's by now.
        document = parse_json_object(body)
        event = checked(_Event, document)
        # How many endpoints are still to be told changes from attempt to attempt.
        document.pop("pending_webhooks", None)
        identity = json.dumps(document, sort_keys=True).encode()
        return Delivery("stripe", event.id, event.type, headers.get("content-type"), body, identity)

    def read(self, event: str, content_type: str, body: bytes) -> Reading | Ignored:
        refuse_other_media_types(content_type, "application/json")
        payload = checked(_Event, parse_json_object(body))
        stated: dict[str, Stated | None] = {}
        if payload.type == "charge.dispute.created":
            dispute = checked(_Dispute, payload.data.object)
            thing: _Object = dispute
            category, money = CaseCategory.PAYMENT_DISPUTE, (dispute.amount, "amount")
            summary = f"The customer's bank disputes a payment. Reason: {dispute.reason.replace('_', ' ')}."
            if dispute.created is not None:
                stated["happened_at"] = _stated_time(dispute.created, "/data/object/created")
        elif payload.type == "charge.refunded":
            thing = charge = checked(_Charge, payload.data.object)
            category, money = CaseCategory.REFUND, (charge.amount_refunded, "amount_refunded")
            summary = "A payment was refunded."
            email = (charge.billing_details.email, "billing_details/email")
            stated["customer_name"] = _stated(charge.billing_details.name, "billing_details/name")
            stated["customer_email"] = _stated(*email) or _stated(charge.receipt_email, "receipt_email")
        elif payload.type == "invoice.payment_failed":
            thing = invoice = checked(_Invoice, payload.data.object)
            category, money = CaseCategory.PAYMENT, (invoice.amount_due, "amount_due")
            summary = f"The payment of invoice {invoice.number or invoice.id} failed (attempt {invoice.attempt_count})."
            stated["customer_name"] = _stated(invoice.customer_name, "customer_name")
            stated["customer_email"] = _stated(invoice.customer_email, "customer_email")
        else:
            return Ignored("Only charge.dispute.created, charge.refunded and invoice.payment_failed are read.")
        stated["order_id"] = _stated((thing.metadata or {}).get("order_id"), "metadata/order_id")
        stated["reference"] = _stated(thing.id, "id")
        stated["category"] = Stated(category, "/type", payload.type)
        stated["amount"] = _amount(money[0], thing.currency, money[1])
        stated["reported_at"] = _stated_time(payload.created, "/created")
        found = {name: value for name, value in stated.items() if value is not None}
        return Reading("payment_provider", found, (), summary, "/data/object")


def _stated(value: str | None, path: str) -> Stated | None:
    return Stated(value.strip(), f"/data/object/{path}") if value and value.strip() else None


def _amount(minor_units: int, currency: str, path: str) -> Stated:
    """All currencies of the shop have two digits. Of another currency the digits may differ, so it is not converted:
    the case then has no amount, and a remark with what the payload says."""
    written = f"{minor_units} {currency}"
    known = currency.upper() in list(Currency) and minor_units >= 0
    value = f"{Decimal(minor_units) / 100:.2f} {currency.upper()}" if known else written
    return Stated(value, f"/data/object/{path}", str(minor_units))


def _stated_time(seconds: int, pointer: str) -> Stated:
    try:
        time = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        raise BadRequest("invalid_payload", f"{pointer}: is no time.", status=422, param=pointer) from None
    return Stated(time, pointer, str(seconds))
