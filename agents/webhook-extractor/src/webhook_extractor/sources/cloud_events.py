"""CloudEvents 1.0 as Event Grid delivers them: the carrier's event `order.delayed`, authenticated by an Entra token.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md and http-webhook.md;
https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery. Structured, binary and batch mode are read, and
Event Grid's own older schema. The token shows who calls and does not cover the body: what keeps that whole is TLS.
Whatever the mode, one event is stored as one JSON document, so that the same event has the same identity in each.
"""

import json
from typing import Any, Literal
from urllib.parse import unquote

from agent_runtime.hosting import BadRequest
from agent_runtime.hosting.json_body import parse_json_object
from pydantic import BaseModel, Field
from support_desk.cases import CaseCategory

from webhook_extractor.entra_tokens import KeysUnavailable, TokenCheck, TokenRefused, TokenRules
from webhook_extractor.sources.payload import checked, refuse_other_media_types
from webhook_extractor.sources.source import (
    CannotVerify,
    Delivery,
    DeliveryHeaders,
    Handshake,
    Ignored,
    Reading,
    Refused,
    SourceDescription,
    Stated,
    Verified,
)

ORDER_DELAYED = "order.delayed"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_CHALLENGE = 'Bearer realm="webhook-extractor"'


class _CloudEvent(BaseModel):
    """The attributes that the specification requires, and the time. `source` and `id` together are unique."""

    specversion: Literal["1.0"]
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    time: str | None = None


class _EventGridEvent(BaseModel):
    """https://learn.microsoft.com/azure/event-grid/event-schema"""

    id: str = Field(min_length=1)
    eventType: str = Field(min_length=1)
    topic: str = ""
    eventTime: str


class _ValidationData(BaseModel):
    validationCode: str


class _Validation(_EventGridEvent):
    data: _ValidationData


class _Delay(BaseModel):
    """A carrier's notice. `note` is what someone at the carrier wrote about it."""

    order_id: str
    customer_id: str | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    skus: list[str] = []
    expected_by: str | None = None
    now_expected_by: str | None = None
    detected_at: str | None = None
    tracking_number: str | None = None
    note: str | None = None


class _OrderDelayed(BaseModel):
    data: _Delay


class CloudEvents:
    description = SourceDescription(
        name="cloudevents",
        title="CloudEvents (Event Grid)",
        headers=frozenset(
            {
                "ce-id", "ce-source", "ce-type", "ce-specversion",
                "aeg-event-type", "aeg-subscription-name", "aeg-delivery-count", "webhook-request-origin",
            }
        ),
        secret_variable="EVENT_GRID_AUDIENCE",  # noqa: S106 - the variable's name, no secret
        media_types=frozenset({STRUCTURED, BATCH}),
        fetches_keys=True,
    )  # fmt: skip

    def __init__(self, rules: TokenRules | None, origin: str, *, tokens: TokenCheck | None = None) -> None:
        self._tokens = tokens or (TokenCheck(rules) if rules else None)
        self._origin = origin

    @property
    def enabled(self) -> bool:
        return self._tokens is not None

    def permission(self, headers: DeliveryHeaders) -> dict[str, str] | None:
        """The answer to OPTIONS with `WebHook-Request-Origin`. No token is asked for: the deliveries need one each."""
        origin = headers.get("webhook-request-origin")
        if not origin:
            return None
        if not self.enabled:
            about = self.description
            raise Refused("source_not_configured", f"{about.title} deliveries are off: set {about.secret_variable}.")
        if origin.lower() != self._origin.lower():
            raise Refused("origin_not_allowed", "This origin may not deliver here.", challenge=_CHALLENGE)
        allowed = {"WebHook-Allowed-Origin": origin, "Allow": "POST, OPTIONS"}
        # As many as it likes: what is too much is answered 503 with Retry-After.
        return allowed | ({"WebHook-Allowed-Rate": "*"} if headers.get("webhook-request-rate") else {})

    def verify(self, headers: DeliveryHeaders, body: bytes, now: float) -> Verified:
        self._check_token(headers.get("authorization"))
        content_type = headers.get("content-type")
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type == STRUCTURED:
            return _delivery(parse_json_object(body))
        if "ce-specversion" in headers.names():
            return _delivery(_from_headers(headers, body))
        refuse_other_media_types(content_type, "application/json", BATCH)
        if media_type != BATCH and not body.lstrip().startswith(b"["):
            return _delivery(parse_json_object(body))
        events = _parse_array(body)
        if media_type != BATCH and len(events) == 1 and events[0].get("eventType") == _VALIDATION:
            return Handshake({"validationResponse": checked(_Validation, events[0]).data.validationCode})
        return tuple(_delivery(event) for event in events)

    def read(self, event: str, content_type: str, body: bytes) -> Reading | Ignored:
        document = parse_json_object(body)
        if event != ORDER_DELAYED:
            return Ignored(f"Only `{ORDER_DELAYED}` events are read.")
        time = "time" if "specversion" in document else "eventTime"
        delay = checked(_OrderDelayed, document).data
        named = {
            "customer_id": "customer_id",
            "customer_name": "customer_name",
            "customer_email": "customer_email",
            "order_id": "order_id",
            "happened_at": "detected_at",
            "reference": "tracking_number",
        }
        stated = {
            field: Stated(value.strip(), f"/data/{name}")
            for field, name in named.items()
            if (value := getattr(delay, name)) and value.strip()
        }
        stated["category"] = Stated(CaseCategory.DELIVERY, "/type" if time == "time" else "/eventType", ORDER_DELAYED)
        if document.get(time):
            stated["reported_at"] = Stated(document[time], f"/{time}")
        dates = [("expected by", delay.expected_by), ("now expected by", delay.now_expected_by)]
        told = "".join(f", {what} {date.strip()}" for what, date in dates if date and date.strip())
        return Reading(
            channel="carrier",
            stated=stated,
            texts=(Stated(delay.note, "/data/note"),) if delay.note and delay.note.strip() else (),
            summary=f"Order {delay.order_id.strip()} is delayed{told}.",
            summary_of="/data",
            skus=tuple(Stated(sku, f"/data/skus/{place}") for place, sku in enumerate(delay.skus)),
        )

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or self._tokens is None:
            raise Refused("token_missing", "The Authorization header must hold a bearer token.", challenge=_CHALLENGE)
        try:
            self._tokens.check(token.strip())
        except TokenRefused as refusal:
            code = "token_expired" if refusal.expired else "token_invalid"
            raise Refused(code, str(refusal), challenge=f'{_CHALLENGE}, error="invalid_token"') from None
        except KeysUnavailable:
            raise CannotVerify("The keys that tokens are checked with cannot be fetched right now.") from None


def _delivery(document: dict[str, Any]) -> Delivery:
    """One event, in the one form in which it is stored. Raises `BadRequest`."""
    if "eventType" in document and "specversion" not in document:
        older = checked(_EventGridEvent, document)
        name, kind = f"{older.topic}\n{older.id}", older.eventType
    else:
        event = checked(_CloudEvent, document)
        name, kind = f"{event.source}\n{event.id}", event.type
    # Binary mode has the media type of the data in the transport's header, structured mode need not have it at all.
    identity = _canonical({key: value for key, value in document.items() if key != "datacontenttype"})
    return Delivery("cloudevents", name, kind, STRUCTURED, _canonical(document), identity)


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _from_headers(headers: DeliveryHeaders, body: bytes) -> dict[str, Any]:
    """Binary mode: the attributes are headers, percent-encoded, and the body is the data."""
    attributes = {
        name.removeprefix("ce-"): unquote(headers.get(name)) for name in headers.names() if name.startswith("ce-")
    }
    refuse_other_media_types(headers.get("content-type"), "application/json")
    return attributes | {"data": parse_json_object(body)}


def _parse_array(body: bytes) -> list[dict[str, Any]]:
    # As a member of an object, so that the limits of every other body hold for it too; then alone.
    parse_json_object(b'{"events":' + body + b"}")
    try:
        events = json.loads(body)
    except ValueError:
        raise BadRequest("invalid_json", "The body is not a JSON array.") from None
    for place, event in enumerate(events):
        if not isinstance(event, dict):
            raise BadRequest("invalid_payload", f"/{place}: is not an event.", status=422, param=f"/{place}")
    return list(events)
