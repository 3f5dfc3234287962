"""Signatures: the providers' own examples verify, and the classic attempts do not."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from agent_runtime.hosting import BadRequest
from standardwebhooks import Webhook
from webhook_extractor.sources.github import GitHub
from webhook_extractor.sources.registry import source_of
from webhook_extractor.sources.source import DeliveryHeaders, Refused
from webhook_extractor.sources.standard_webhooks import StandardWebhooks
from webhook_extractor.sources.stripe import Stripe

GITHUB_SECRET = "It's a Secret to Everybody"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret of 24 byt").decode()
NOW = 1_793_440_800


def github(body: bytes, secret: str = GITHUB_SECRET, **changes: str | None) -> DeliveryHeaders:
    headers: dict[str, str | None] = {
        "x-github-event": "issues",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return DeliveryHeaders({name: value for name, value in headers.items() if value is not None})


def standard(body: bytes, secret: str = STANDARD_SECRET, at: int = NOW, **changes: str | None) -> DeliveryHeaders:
    """Signed by the reference library."""
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), body.decode())
    headers: dict[str, str | None] = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": signature,
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return DeliveryHeaders({name: value for name, value in headers.items() if value is not None})


EVENT = b'{"id": "evt_1", "type": "charge.refunded", "created": 1793440800, "data": {"object": {}}}'


def stripe(
    body: bytes = EVENT,
    secret: str = "whsec_stripe",  # noqa: S107
    at: int = NOW,
    header: str = "{t},{v1}",
) -> DeliveryHeaders:
    v1 = hmac.new(secret.encode(), str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    return DeliveryHeaders({"stripe-signature": header.format(t=f"t={at}", v1=f"v1={v1}")})


def refused(verify: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refusal:
        verify()
    return refusal.value.code


def test_the_example_of_githubs_documentation_verifies() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"X-Hub-Signature-256": signature, "X-GitHub-Event": "issues", "X-GitHub-Delivery": "d-1"}
    delivery = GitHub([GITHUB_SECRET]).verify(DeliveryHeaders(headers), b"Hello, World!", NOW)
    assert (delivery.source, delivery.delivery_id, delivery.event) == ("github", "d-1", "issues")


def test_the_example_of_the_standard_webhooks_libraries_verifies() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    source = StandardWebhooks([STANDARD_SECRET])
    body = b'{"test": 2432232314}'
    assert source.verify(DeliveryHeaders(headers), body, 1614265330).delivery_id == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert refused(lambda: source.verify(DeliveryHeaders(headers), body, NOW)) == "timestamp_out_of_tolerance"


def test_headers_are_read_as_sent_and_as_relayed() -> None:
    for prefix in ("", "x-client-", "X-Client-"):
        headers = {prefix + name: github(b"{}").get(name) for name in ("x-github-event", "x-github-delivery")}
        headers[prefix + "X-Hub-Signature-256"] = github(b"{}").get("x-hub-signature-256")
        assert GitHub([GITHUB_SECRET]).verify(DeliveryHeaders(headers), b"{}", NOW).event == "issues"


@pytest.mark.parametrize("secrets", [[GITHUB_SECRET, "next"], ["previous", GITHUB_SECRET]])
def test_github_verifies_with_either_of_two_live_secrets(secrets: list[str]) -> None:
    assert GitHub(secrets).verify(github(b"{}"), b"{}", NOW).event == "issues"


@pytest.mark.parametrize("secrets", [[STANDARD_SECRET, OTHER_SECRET], [OTHER_SECRET, STANDARD_SECRET]])
def test_standard_webhooks_verifies_with_either_of_two_live_secrets(secrets: list[str]) -> None:
    assert StandardWebhooks(secrets).verify(standard(b"{}"), b"{}", NOW).delivery_id == "msg_1"


def test_one_valid_among_several_signatures_is_enough() -> None:
    valid, other = (standard(b"{}", secret).get("webhook-signature") for secret in (STANDARD_SECRET, OTHER_SECRET))
    for header in (f"{other} {valid}", f"v1a,AAAA {valid}", f"v1,not-base64! {valid}", f"{valid} v2,AAAA"):
        headers = standard(b"{}", webhook_signature=header)
        assert StandardWebhooks([STANDARD_SECRET]).verify(headers, b"{}", NOW).delivery_id == "msg_1"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (github(b"{} "), "signature_invalid"),
        (github(b"{}", "wrong"), "signature_invalid"),
        (github(b"{}", x_hub_signature_256="sha256="), "signature_invalid"),
        (github(b"{}", x_hub_signature_256="sha1=" + "0" * 40), "signature_invalid"),
        (github(b"{}", x_hub_signature_256="sha256=schön"), "signature_invalid"),
        (github(b"{}", x_hub_signature_256=None), "signature_missing"),
        (github(b"{}", x_github_delivery=None), "signature_missing"),
        (github(b"{}", x_github_event=None), "signature_missing"),
    ],
)
def test_github_refuses_what_does_not_verify(headers: DeliveryHeaders, code: str) -> None:
    assert refused(lambda: GitHub([GITHUB_SECRET]).verify(headers, b"{}", NOW)) == code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (standard(b"{} "), "signature_invalid"),
        (standard(b"{}", OTHER_SECRET), "signature_invalid"),
        (standard(b"{}", webhook_id="msg_2"), "signature_invalid"),
        (standard(b"{}", webhook_timestamp=str(NOW + 1)), "signature_invalid"),
        (standard(b"{}", webhook_timestamp="yesterday"), "signature_invalid"),
        (standard(b"{}", webhook_signature="v1a," + "A" * 44), "signature_invalid"),
        (standard(b"{}", webhook_signature=","), "signature_invalid"),
        (standard(b"{}", at=NOW - 301), "timestamp_out_of_tolerance"),
        (standard(b"{}", at=NOW + 301), "timestamp_out_of_tolerance"),
        (standard(b"{}", webhook_signature=None), "signature_missing"),
        (standard(b"{}", webhook_timestamp=None), "signature_missing"),
        (standard(b"{}", webhook_id=None), "signature_missing"),
    ],
)
def test_standard_webhooks_refuses_what_does_not_verify(headers: DeliveryHeaders, code: str) -> None:
    assert refused(lambda: StandardWebhooks([STANDARD_SECRET]).verify(headers, b"{}", NOW)) == code


@pytest.mark.parametrize("at", [NOW - 300, NOW + 300])
def test_a_clock_that_is_off_by_the_tolerance_is_accepted(at: int) -> None:
    assert StandardWebhooks([STANDARD_SECRET]).verify(standard(b"{}", at=at), b"{}", NOW).delivery_id == "msg_1"


def test_a_stripe_signature_is_over_the_time_and_the_body_with_the_whole_secret_as_key() -> None:
    # HMAC-SHA256 of `1614265330.{"id":"evt_test","object":"event"}` with the key `whsec_test_secret`.
    signature = "t=1614265330,v1=fbd6bf5496b9d6310e422a2c072578f95f5eb492111ab57a5510e9cd79c1b304"
    headers = DeliveryHeaders({"stripe-signature": signature})
    body = b'{"id":"evt_test","object":"event"}'
    # Verified, so it is read: it lacks what a real event has.
    with pytest.raises(BadRequest) as problem:
        Stripe(["whsec_test_secret"]).verify(headers, body, 1614265330)
    assert problem.value.code == "invalid_payload"


@pytest.mark.parametrize("header", ["{t},{v1}", "{t},v1=00,{v1}", "{t},v0=00,{v1},v1=zz", "{v1}, {t}"])
@pytest.mark.parametrize("secrets", [["whsec_stripe"], ["whsec_old", "whsec_stripe"]])
def test_one_valid_stripe_signature_is_enough_with_either_secret(header: str, secrets: list[str]) -> None:
    delivery = Stripe(secrets).verify(stripe(header=header), EVENT, NOW)
    assert (delivery.delivery_id, delivery.event) == ("evt_1", "charge.refunded")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (stripe(EVENT + b" "), "signature_invalid"),
        (stripe(secret="stripe"), "signature_invalid"),
        (stripe(header="t=1,{v1}"), "signature_invalid"),
        (stripe(header="{t},v1=schön"), "signature_invalid"),
        (stripe(at=NOW - 301), "timestamp_out_of_tolerance"),
        (stripe(at=NOW + 301), "timestamp_out_of_tolerance"),
        (stripe(header="{t},v0=00"), "signature_missing"),
        (stripe(header="{v1}"), "signature_missing"),
        (stripe(header=""), "signature_missing"),
    ],
)
def test_stripe_refuses_what_does_not_verify(headers: DeliveryHeaders, code: str) -> None:
    assert refused(lambda: Stripe(["whsec_stripe"]).verify(headers, EVENT, NOW)) == code


def test_a_tampered_stripe_body_is_not_parsed() -> None:
    assert refused(lambda: Stripe(["whsec_stripe"]).verify(stripe(b"other"), b"not JSON", NOW)) == "signature_invalid"


def test_no_source_is_made_with_an_empty_secret() -> None:
    for make in (
        lambda: GitHub([""]),
        lambda: Stripe([""]),
        lambda: StandardWebhooks([""]),
        lambda: StandardWebhooks(["whsec_"]),
    ):
        with pytest.raises(ValueError, match="empty"):
            make()


SOURCES = (GitHub([GITHUB_SECRET]), StandardWebhooks([]))


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["webhook-id"], "source_not_configured"),
        (["x-client-webhook-signature"], "source_not_configured"),
        (["x-github-delivery", "webhook-id"], "source_ambiguous"),
        (["paypal-transmission-sig", "paypal-auth-signature"], "source_unknown"),
        (["aeg-event-type"], "source_unknown"),
        (["x-slack-signature"], "source_unknown"),
    ],
)
def test_a_request_with_a_header_of_a_provider_never_becomes_a_direct_call(names: list[str], code: str) -> None:
    headers = DeliveryHeaders(dict.fromkeys(names, "x"))
    assert refused(lambda: source_of(headers, SOURCES)) == code


def test_a_request_without_such_headers_is_a_direct_call() -> None:
    headers = DeliveryHeaders({"content-type": "text/plain", "x-client-trace": "1", "traceparent": "00-1"})
    assert source_of(headers, SOURCES) is None


def test_one_header_of_a_source_is_enough_to_belong_to_it() -> None:
    for name in ("x-github-event", "x-client-x-github-delivery", "X-Hub-Signature"):
        assert source_of(DeliveryHeaders({name: "x"}), SOURCES) is SOURCES[0]


def test_the_signature_is_over_the_bytes_and_not_over_what_they_mean() -> None:
    sent = json.dumps({"a": 1}).encode()
    same_meaning = json.dumps({"a": 1}, separators=(",", ":")).encode()
    assert refused(lambda: GitHub([GITHUB_SECRET]).verify(github(sent), same_meaning, NOW)) == "signature_invalid"
