"""A new kind of sender is one module and one line in the registry: here is one, and nothing else is told about it."""

import hmac
import json
from typing import Any

import pytest
from webhook_extractor.sources import registry
from webhook_extractor.sources.source import (
    Delivery,
    DeliveryHeaders,
    Ignored,
    Reading,
    Refused,
    SourceDescription,
    Stated,
)


class Carrier:
    description = SourceDescription("carrier", "A carrier", frozenset({"x-carrier-token"}), "CARRIER_TOKEN")
    enabled = True

    def verify(self, headers: DeliveryHeaders, body: bytes, now: float) -> Delivery:
        if not hmac.compare_digest(headers.get("x-carrier-token").encode(), b"token"):
            raise Refused("signature_invalid", "Not the carrier.")
        return Delivery("carrier", json.loads(body)["id"], "delayed", "application/json", body)

    def read(self, event: str, content_type: str, body: bytes) -> Reading | Ignored:
        document = json.loads(body)
        return Reading(
            "carrier", {"order_id": Stated(document["order"], "/order")}, (Stated(document["note"], "/note"),)
        )


async def test_a_source_that_is_registered_goes_the_whole_way(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SOURCES", (*registry.SOURCES, lambda _: Carrier()))
    body = json.dumps({"id": "1", "order": "NP-10001", "note": "The parcel waits for customs."}).encode()
    async with agent() as deliveries:
        refused = await deliveries.post(body, {"x-carrier-token": "guess"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "signature_invalid")
        record = (await deliveries.post(body, {"x-carrier-token": "token"}, True, {"prefer": "wait=20"})).json()
        assert (record["status"], record["source"]) == ("completed", "carrier")
        assert (record["result"]["channel"], record["result"]["order_id"]) == ("carrier", "NP-10001")
        again = await deliveries.post(body, {"x-carrier-token": "token"})
        assert again.json()["invocation_id"] == record["invocation_id"]
