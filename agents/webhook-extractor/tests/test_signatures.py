"""The six classic cases of a signed delivery, for each signed source, through the running agent.

Who signs is the provider's own library where there is one (`stripe`, `standardwebhooks`); GitHub publishes none, so its
are made as its documentation says, and its published example is in `test_sources`. CloudEvents carry a token instead,
whose cases are in `test_cloud_events`.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from standardwebhooks import Webhook

SECRET = {"github": "one of GitHub", "stripe": "whsec_one", "standard-webhooks": "whsec_" + "T25l" * 8}
OTHER = {"github": "two of GitHub", "stripe": "whsec_two", "standard-webhooks": "whsec_" + "VHdv" * 8}
VARIABLES = {
    "github": "GITHUB_WEBHOOK_SECRET", "stripe": "STRIPE_WEBHOOK_SECRET", "standard-webhooks": "STANDARD_WEBHOOKS_SECRET",
}  # fmt: skip


def sign_github(body: bytes, secret: str, at: int) -> dict[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-GitHub-Event": "ping", "X-GitHub-Delivery": "1", "X-Hub-Signature-256": f"sha256={signature}"}


def sign_stripe(body: bytes, secret: str, at: int) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=at)
    return {"Stripe-Signature": header}


def sign_standard_webhooks(body: bytes, secret: str, at: int) -> dict[str, str]:
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}


Sign = Callable[[bytes, str, int], dict[str, str]]
SIGN: dict[str, Sign] = {
    "github": sign_github, "stripe": sign_stripe, "standard-webhooks": sign_standard_webhooks,
}  # fmt: skip
BODY = {
    "github": b'{"zen": "Keep it simple."}',
    "stripe": b'{"id": "evt_1", "object": "event", "type": "charge.updated", "created": 1, "data": {"object": {}}}',
    "standard-webhooks": b'{"type": "contact.message.deleted", "data": {}}',
}


@dataclass
class Sender:
    """Sends to an agent in which this source is on and has two secrets."""

    source: str
    deliveries: Any

    def sign(self, body: bytes | None = None, secret: str | None = None, at: int | None = None) -> dict[str, str]:
        return SIGN[self.source](
            BODY[self.source] if body is None else body, secret or SECRET[self.source], at or int(time.time())
        )

    async def code(self, headers: dict[str, str], body: bytes | None = None) -> str:
        """What the answer's error code is, or `ok`; each 401 must have its challenge."""
        answer = await self.deliveries.post(BODY[self.source] if body is None else body, headers)
        if answer.status_code == 200:
            return "ok"
        assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
        code: str = answer.json()["error"]["code"]
        return code


@pytest.fixture(params=list(SIGN))
async def sender(request: pytest.FixtureRequest, agent: Any) -> Any:
    name = VARIABLES[request.param]
    async with agent(**{name: SECRET[request.param], f"{name}_NEXT": OTHER[request.param]}) as deliveries:
        yield Sender(request.param, deliveries)


async def test_valid(sender: Sender) -> None:
    assert await sender.code(sender.sign()) == "ok"
    assert await sender.code(sender.sign(secret=OTHER[sender.source])) == "ok"


async def test_several_signatures_with_one_valid(sender: Sender) -> None:
    """GitHub sends one signature under its one secret; several are there only in the two headers of old and new."""
    strangers, valid = sender.sign(secret="whsec_" + "QWxs" * 8), sender.sign()
    if sender.source == "stripe":
        v1 = strangers["Stripe-Signature"].partition("v1=")[2]
        time_of_it, _, right = valid["Stripe-Signature"].partition(",")
        headers = {"Stripe-Signature": f"{time_of_it},v1={v1},v0=00,{right}"}
    elif sender.source == "standard-webhooks":
        both = f"{strangers['webhook-signature']} v1a,AAAA {valid['webhook-signature']}"
        headers = valid | {"webhook-signature": both}
    else:
        headers = valid | {"X-Hub-Signature": "sha1=" + "0" * 40}
    assert await sender.code(headers) == "ok"


async def test_tampered_body(sender: Sender) -> None:
    for body in (BODY[sender.source] + b" ", BODY[sender.source].replace(b"{", b"[", 1), b"no JSON at all", b""):
        assert await sender.code(sender.sign(), body) == "signature_invalid"
    # It is the signature that decides, and only then the form: signed, the same is a fault of the body.
    signed = sender.sign(body=b"no JSON at all")
    if sender.source == "github":
        signed["X-GitHub-Event"] = "issues"
    assert await sender.code(signed, b"no JSON at all") == "invalid_json"


async def test_wrong_secret(sender: Sender) -> None:
    assert await sender.code(sender.sign(secret="whsec_" + "QWxs" * 8)) == "signature_invalid"


async def test_old_timestamp(sender: Sender) -> None:
    old = sender.sign(at=int(time.time()) - 3600)
    # GitHub signs no time. What protects from a captured delivery is its id, which is known already.
    assert await sender.code(old) == ("ok" if sender.source == "github" else "timestamp_out_of_tolerance")


async def test_missing_headers(sender: Sender) -> None:
    signed = sender.sign()
    for name in signed:
        left = {other: value for other, value in signed.items() if other != name}
        if left:  # with none at all, nothing says that it is a delivery
            assert await sender.code(left) == "signature_missing", name
    assert await sender.code(dict.fromkeys(signed, "")) == "signature_missing"


def test_the_libraries_agree_that_what_is_refused_here_is_wrong() -> None:
    """The cases above are told apart by the providers' libraries in the same way."""
    now = int(time.time())
    body, header = BODY["stripe"].decode(), sign_stripe(BODY["stripe"], SECRET["stripe"], now)["Stripe-Signature"]
    assert stripe.WebhookSignature.verify_header(body, header, SECRET["stripe"], tolerance=300)
    for wrong in ((body + " ", header, SECRET["stripe"]), (body, header, OTHER["stripe"])):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(*wrong, tolerance=300)
    signed = sign_standard_webhooks(BODY["standard-webhooks"], SECRET["standard-webhooks"], now)
    assert Webhook(SECRET["standard-webhooks"]).verify(BODY["standard-webhooks"], signed) == json.loads(
        BODY["standard-webhooks"]
    )
