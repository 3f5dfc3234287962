"""CloudEvents and Event Grid: the handshakes, the token, the modes, and the case of a delayed order.

The issuer is a key pair of the test and a small server on loopback with its metadata, as Entra publishes them.
"""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest
from agent_runtime.settings import SettingsError, load_settings
from agent_runtime.testing.scripted_model import ScriptedModel
from agent_runtime.testing.serving import serve
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from webhook_extractor.entra_tokens import KeysUnavailable, TokenCheck, TokenRefused, TokenRules
from webhook_extractor.settings import WebhookExtractorSettings

TENANT = "72f988bf-0000-4000-8000-2d7cd011db47"
AUDIENCE = "api://northpeak-webhooks"
EVENT_GRID = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
ISSUER = f"https://sts.windows.net/{TENANT}/"
KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("k1", "k2", "stranger")}


def token(key: str = "k1", *, named: str | None = None, algorithm: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    content = {"iss": ISSUER, "aud": AUDIENCE, "appid": EVENT_GRID, "iat": now, "exp": now + 600} | claims
    content = {name: value for name, value in content.items() if value is not None}
    secret: Any = KEYS[key] if algorithm == "RS256" else "0" * 32 if algorithm == "HS256" else None
    return jwt.encode(content, secret, algorithm=algorithm, headers={"kid": named or key})


class Issuer:
    """What is published, how often it was asked for, and whether it answers."""

    def __init__(self) -> None:
        self.published = ["k1"]
        self.fetched = 0
        self.down = False

    def app(self) -> Starlette:
        async def metadata(request: Request) -> JSONResponse:
            url = str(request.base_url)
            issuer = f"https://login.microsoftonline.com/{TENANT}/v2.0"
            return JSONResponse({"issuer": issuer, "jwks_uri": f"{url}keys"}, 503 if self.down else 200)

        async def keys(_: Request) -> JSONResponse:
            self.fetched += 1
            return JSONResponse({"keys": [jwk(name) for name in self.published]})

        return Starlette(routes=[Route("/metadata", metadata), Route("/keys", keys)])


def jwk(name: str) -> dict[str, Any]:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(KEYS[name].public_key(), as_dict=True)
    return {**public, "kid": name, "use": "sig"}


@pytest.fixture
async def issuer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Issuer]:
    issuer = Issuer()
    async with serve(issuer.app()) as url:
        monkeypatch.setenv("EVENT_GRID_AUDIENCE", AUDIENCE)
        monkeypatch.setenv("EVENT_GRID_TENANT_ID", TENANT)
        monkeypatch.setenv("EVENT_GRID_OIDC_METADATA_URL", f"{url}/metadata")
        yield issuer


def event(event_id: str = "e-1", **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/carriers/fjellpost",
        "type": "order.delayed",
        "time": "2026-11-03T08:00:00+01:00",
        "datacontenttype": "application/json",
        "data": {
            "order_id": "np-10002",
            "customer_id": "C-1048",
            "skus": ["TNT-204"],
            "expected_by": "2026-11-05",
            "now_expected_by": "2026-11-09",
            "detected_at": "2026-11-03T07:12:00+01:00",
            "tracking_number": "FP-77120",
        }
        | data,
    }


def older(event_id: str = "e-1", kind: str = "order.delayed", **data: Any) -> dict[str, Any]:
    """In Event Grid's own schema."""
    return {
        "id": event_id,
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.EventGrid/topics/shop",
        "subject": "orders/NP-10002",
        "eventType": kind,
        "eventTime": "2026-11-03T07:00:00Z",
        "dataVersion": "1",
        "metadataVersion": "1",
        "data": data or event()["data"],
    }


async def send(
    deliveries: Any, document: Any, media_type: str = "application/cloudevents+json", **headers: str
) -> httpx2.Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    bearer = {"authorization": f"Bearer {token()}"}
    answer: httpx2.Response = await deliveries.client.post(
        "/invocations", content=body, headers=bearer | {"content-type": media_type} | named
    )
    return answer


async def test_a_delayed_order_becomes_a_case_from_stated_facts_alone(agent: Any, issuer: Issuer) -> None:
    unasked = ScriptedModel()
    async with agent(unasked) as deliveries:
        record = (await send(deliveries, event(), prefer="wait=20")).json()
    case = record["result"]
    assert (record["status"], record["source"], case["channel"]) == ("completed", "cloudevents", "carrier")
    assert (case["category"], case["order_id"], case["skus"]) == ("delivery", "NP-10002", ["TNT-204"])
    assert case["customer"]["customer_id"] == "C-1048"
    assert case["summary"] == "Order np-10002 is delayed, expected by 2026-11-05, now expected by 2026-11-09."
    assert (case["happened_at"], case["received_at"]) == ("2026-11-03T06:12:00Z", "2026-11-03T07:00:00Z")
    assert record["provenance"]["happened_at"] == {
        "how": "stated", "pointer": "/data/detected_at", "original": "2026-11-03T07:12:00+01:00",
    }  # fmt: skip
    assert record["provenance"]["skus.0"] == {"how": "stated", "pointer": "/data/skus/0"}
    assert unasked.requests == []


async def test_a_note_of_the_carrier_goes_to_the_model_and_what_contradicts_is_reported(
    agent: Any, issuer: Issuer
) -> None:
    async with agent() as deliveries:
        record = (await send(deliveries, event(note="Box of NP-10009 with BTS-101 is wet."), prefer="wait=20")).json()
    assert record["result"]["summary"] == "A seam is torn."
    assert (record["result"]["order_id"], record["result"]["skus"]) == ("NP-10002", ["TNT-204"])
    told = {remark["field"]: (remark["kind"], remark["values"]) for remark in record["remarks"]}
    assert told["order_id"] == ("contradiction", ["NP-10002", "NP-10009"])
    assert told["skus"] == ("contradiction", ["TNT-204", "BTS-101"])


async def test_the_same_event_is_the_same_delivery_in_each_mode(agent: Any, issuer: Issuer) -> None:
    sent = event()
    binary = {f"ce-{name}": str(sent[name]) for name in ("specversion", "id", "source", "type", "time")}
    async with agent() as deliveries:
        structured = await send(deliveries, sent, "application/cloudevents+json; charset=utf-8")
        in_headers = await send(deliveries, sent["data"], "application/json", **binary)
        relayed = {f"x-client-{name}": value for name, value in binary.items()}
        behind_relay = await deliveries.client.post(
            "/invocations", json=sent["data"], headers=relayed | {"x-client-authorization": f"Bearer {token()}"}
        )
        batch = await send(deliveries, [sent, event("e-2")], "application/cloudevents-batch+json")
        assert [answer.status_code for answer in (structured, in_headers, behind_relay, batch)] == [202] * 4
        one, two = batch.json()["deliveries"]
        ids = {answer.json()["invocation_id"] for answer in (structured, in_headers, behind_relay)}
        assert ids == {one["invocation_id"]}
        assert two["invocation_id"] not in ids
        for entry in (one, two):
            assert (await deliveries.ended(entry["invocation_id"]))["status"] == "completed"
        other = await send(deliveries, event(tracking_number="FP-1"))
        assert (other.status_code, other.json()["error"]["code"]) == (409, "delivery_conflict")


async def test_a_batch_is_taken_whole_or_not_at_all(agent: Any, issuer: Issuer) -> None:
    async with agent() as deliveries:
        broken = event("e-4")
        del broken["source"]
        answer = await send(deliveries, [event("e-3"), broken], "application/cloudevents-batch+json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_payload")
        alone = (await send(deliveries, event("e-3"))).json()
        assert (await deliveries.ended(alone["invocation_id"]))["attempts"] == 1
        other = {**event("e-5"), "type": "order.packed"}
        answer = await send(deliveries, [event("e-6"), other], "application/cloudevents-batch+json")
        assert [entry["status"] for entry in answer.json()["deliveries"]] == ["queued", "ignored"]
        empty = await send(deliveries, [], "application/cloudevents-batch+json")
        assert (empty.status_code, empty.json()) == (200, {"deliveries": []})


async def test_event_grids_own_schema_is_read_and_its_validation_answered(agent: Any, issuer: Issuer) -> None:
    async with agent() as deliveries:
        ask = [older(kind="Microsoft.EventGrid.SubscriptionValidationEvent", validationCode="512d38b6")]
        answer = await send(deliveries, ask, "application/json", aeg_event_type="SubscriptionValidation")
        assert (answer.status_code, answer.json()) == (200, {"validationResponse": "512d38b6"})
        unsigned = await send(
            deliveries, ask, "application/json", aeg_event_type="SubscriptionValidation", authorization=""
        )
        assert (unsigned.status_code, unsigned.json()["error"]["code"]) == (401, "token_missing")
        answer = await send(deliveries, [older()], "application/json", aeg_event_type="Notification")
        (entry,) = answer.json()["deliveries"]
        record = await deliveries.ended(entry["invocation_id"])
        assert record["provenance"]["received_at"]["pointer"] == "/eventTime"
        assert record["provenance"]["category"] == {
            "how": "stated", "pointer": "/eventType", "original": "order.delayed",
        }  # fmt: skip


async def test_a_sender_that_asks_by_options_is_permitted_only_if_it_is_event_grid(agent: Any, issuer: Issuer) -> None:
    async with agent() as deliveries:
        ask = {"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
        answer = await deliveries.client.options("/invocations", headers=ask)
        assert answer.status_code == 200
        assert answer.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
        assert answer.headers["webhook-allowed-rate"] == "*"
        assert "POST" in answer.headers["allow"]
        answer = await deliveries.client.options(
            "/invocations", headers={"WebHook-Request-Origin": "elsewhere.example"}
        )
        assert answer.status_code == 401
        assert "webhook-allowed-origin" not in answer.headers
        plain = await deliveries.client.options("/invocations")
        assert (plain.status_code, plain.headers["allow"]) == (204, "OPTIONS, POST")


async def test_without_configuration_the_source_is_off_and_says_so(agent: Any) -> None:
    async with agent() as deliveries:
        for answer in (
            await send(deliveries, event()),
            await send(deliveries, {}, "application/json", ce_id="1"),
            await send(deliveries, [older()], "application/json", aeg_event_type="Notification"),
            await deliveries.client.options("/invocations", headers={"WebHook-Request-Origin": "eventgrid.azure.net"}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "source_not_configured")
            assert "EVENT_GRID_AUDIENCE" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("bearer", "code"),
    [
        (lambda: "", "token_missing"),
        (lambda: "Basic abc", "token_missing"),
        (lambda: "Bearer abc", "token_invalid"),
        (lambda: f"Bearer {token('stranger')}", "token_invalid"),
        (lambda: f"Bearer {token('stranger', named='k1')}", "token_invalid"),
        (lambda: f"Bearer {token(algorithm='none')}", "token_invalid"),
        (lambda: f"Bearer {token(algorithm='HS256', named='k1')}", "token_invalid"),
        (lambda: f"Bearer {token(aud='api://someone-else')}", "token_invalid"),
        (lambda: f"Bearer {token(iss='https://sts.windows.net/another/')}", "token_invalid"),
        (lambda: f"Bearer {token(appid='11111111-2222-4333-8444-555555555555')}", "token_invalid"),
        (lambda: f"Bearer {token(appid=None)}", "token_invalid"),
        (lambda: f"Bearer {token(exp=None)}", "token_invalid"),
        (lambda: f"Bearer {token(exp=int(time.time()) - 120)}", "token_expired"),
        (lambda: f"Bearer {token(nbf=int(time.time()) + 300)}", "token_invalid"),
        (lambda: f"Bearer {token()[:-12]}AAAAAAAAAAAA", "token_invalid"),
    ],
)
async def test_a_token_that_is_not_good_is_refused_before_the_body_is_read(
    agent: Any, issuer: Issuer, bearer: Any, code: str
) -> None:
    async with agent() as deliveries:
        answer = await send(deliveries, b"not JSON", authorization=bearer())
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        good = await send(deliveries, b"not JSON")
        assert (good.status_code, good.json()["error"]["code"]) == (400, "invalid_json")


async def test_keys_that_cannot_be_fetched_are_no_reason_to_refuse_for_good(agent: Any, issuer: Issuer) -> None:
    issuer.down = True
    async with agent() as deliveries:
        answer = await send(deliveries, event())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cannot_verify")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("webhook_extractor.entra_tokens.time.monotonic", lambda: now[0])
    return now


def test_keys_rotate_and_made_up_key_names_do_not_cause_fetches(clock: list[float]) -> None:
    fetches, published = [0], ["k1"]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/metadata":
            fetches[0] += 1
            if not published:
                return httpx2.Response(500)
            return httpx2.Response(200, json={"issuer": ISSUER, "jwks_uri": "https://keys.example/keys"})
        return httpx2.Response(200, json={"keys": [jwk(name) for name in published]})

    rules = TokenRules((AUDIENCE,), TENANT, EVENT_GRID, "https://keys.example/metadata")
    tokens = TokenCheck(rules, transport=httpx2.MockTransport(answer))
    for _ in range(3):
        tokens.check(token())
        with pytest.raises(TokenRefused):
            tokens.check(token("stranger"))
    assert fetches == [1]
    published[:] = ["k1", "k2"]
    clock[0] += 61
    tokens.check(token("k2"))
    assert fetches == [2]
    # The issuer is away for a day: what is known still verifies, what is not cannot be told.
    published.clear()
    clock[0] += 25 * 3600
    tokens.check(token("k2"))
    with pytest.raises(KeysUnavailable):
        tokens.check(token("stranger"))
    assert fetches == [3]
    # Back, without the old key.
    published[:] = ["k2"]
    clock[0] += 6
    tokens.check(token("k2"))
    with pytest.raises(TokenRefused, match="does not have"):
        tokens.check(token("k1"))


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"EVENT_GRID_AUDIENCE": AUDIENCE}, "EVENT_GRID_TENANT_ID"),
        ({"EVENT_GRID_OIDC_METADATA_URL": "http://keys.example"}, "https"),
        ({"EVENT_GRID_TENANT_ID": "../x"}, "EVENT_GRID_TENANT_ID"),
    ],
)
def test_half_a_configuration_stops_the_start(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told):
        load_settings(WebhookExtractorSettings)
