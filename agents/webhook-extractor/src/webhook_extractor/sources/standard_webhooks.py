"""Standard Webhooks: the shop's contact form, event `contact.message.created`.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. `id.timestamp.body` is
signed with HMAC-SHA256; the header may carry several signatures, of which one must fit; a timestamp off by more than
the tolerance is refused, so that a captured delivery cannot be sent again later.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from agent_runtime.hosting.json_body import parse_json_object
from pydantic import BaseModel, field_validator

from webhook_extractor.settings import standard_webhooks_key
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

CONTACT_MESSAGE = "contact.message.created"
_MOST_SIGNATURES = 20
"""More in one header is no rotation but an attempt to make us work."""


class _ContactMessage(BaseModel):
    id: str
    created_at: str
    name: str | None = None
    email: str | None = None
    order_id: str | None = None
    subject: str | None = None
    message: str

    @field_validator("message")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("the message is empty")
        return value


class _Event(BaseModel):
    """`type` and `data`, as the specification recommends. Fields that are not read are ignored."""

    type: str


class _ContactMessageCreated(_Event):
    data: _ContactMessage


class StandardWebhooks:
    description = SourceDescription(
        name="standard-webhooks",
        title="Standard Webhooks (contact form)",
        headers=frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"}),
        secret_variable="STANDARD_WEBHOOKS_SECRET",  # noqa: S106 - the variable's name, no secret
    )

    def __init__(self, secrets: Sequence[str], tolerance_seconds: float = 300.0) -> None:
        self._keys = [standard_webhooks_key(secret) for secret in secrets]
        self._tolerance = tolerance_seconds

    @property
    def enabled(self) -> bool:
        return bool(self._keys)

    def verify(self, headers: DeliveryHeaders, body: bytes, now: float) -> Delivery:
        delivery_id, sent_at, signatures = (
            headers.get(name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        )
        if not (delivery_id and sent_at and signatures):
            raise Refused(
                "signature_missing", "webhook-id, webhook-timestamp and webhook-signature must all be present."
            )
        signed = b".".join((delivery_id.encode(), sent_at.encode(), body))
        expected = [hmac.new(key, signed, hashlib.sha256).digest() for key in self._keys]
        # Every pair is compared, whichever matches: the time taken must not tell which one did.
        matches = [hmac.compare_digest(value, given) for value in expected for given in _v1_signatures(signatures)]
        if not any(matches):
            raise Refused("signature_invalid", "No signature in webhook-signature fits the body and the secret.")
        # After the signature: only a real sender learns what is wrong with its clock.
        if not sent_at.isascii() or not sent_at.isdecimal() or abs(now - int(sent_at[:15])) > self._tolerance:
            raise Refused("timestamp_out_of_tolerance", f"webhook-timestamp is off by more than {self._tolerance:g} s.")
        # The event's name is inside the body, which nobody has parsed yet: `read` looks.
        return Delivery("standard-webhooks", delivery_id, "", headers.get("content-type"), body)

    def read(self, event: str, content_type: str, body: bytes) -> Reading | Ignored:
        refuse_other_media_types(content_type, "application/json")
        document = parse_json_object(body)
        if checked(_Event, document).type != CONTACT_MESSAGE:
            return Ignored(f"Only `{CONTACT_MESSAGE}` events are read.")
        message = checked(_ContactMessageCreated, document).data
        named = {
            "customer_name": "name",
            "customer_email": "email",
            "order_id": "order_id",
            "subject": "subject",
            "reported_at": "created_at",
            "reference": "id",
        }
        stated = {
            field: Stated(value.strip(), f"/data/{name}")
            for field, name in named.items()
            if (value := getattr(message, name)) and value.strip()
        }
        texts = [stated["subject"]] if "subject" in stated else []
        return Reading("contact_form", stated, (*texts, Stated(message.message, "/data/message")))


def _v1_signatures(header: str) -> list[bytes]:
    """The decoded `v1` entries; other versions (`v1a` is ed25519) are not ours, and what is not base64 fits nothing."""
    found = []
    for entry in header.split(" ")[:_MOST_SIGNATURES]:
        version, _, encoded = entry.partition(",")
        if version == "v1":
            try:
                found.append(base64.b64decode(encoded, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found
