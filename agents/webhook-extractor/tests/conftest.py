"""An agent with two signed sources and a scripted model, served on loopback, and the deliveries that are sent to it."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.settings import load_settings
from agent_runtime.testing.scripted_model import ScriptedModel
from agent_runtime.testing.serving import serve
from standardwebhooks import Webhook
from webhook_extractor.app import build_app
from webhook_extractor.inbox import Inbox
from webhook_extractor.key_vault import KeyVault
from webhook_extractor.settings import WebhookExtractorSettings

GITHUB_SECRET = "github secret of the tests"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

ISSUE: dict[str, Any] = {
    "action": "opened",
    "issue": {
        "number": 12,
        "title": "Torn seam",
        "body": "My jacket from order NP-10001 arrived with a torn seam. I would like a replacement.",
        "html_url": "https://github.com/northpeak/shop/issues/12",
        "created_at": "2026-11-01T10:00:00Z",
        "user": {"login": "octocat", "id": 1},
        "labels": [],
    },
    "repository": {"full_name": "northpeak/shop", "private": True},
    "sender": {"login": "octocat", "id": 1},
}
CONTACT: dict[str, Any] = {
    "type": "contact.message.created",
    "timestamp": "2026-11-02T09:30:00+01:00",
    "data": {
        "id": "cm_481",
        "created_at": "2026-11-02T09:30:00+01:00",
        "name": "Ines Duarte",
        "email": "Ines.Duarte@example.com",
        "order_id": "np-10002",
        "subject": "Parcel lost?",
        "message": "Tracking has not moved for nine days. I paid €129.00 and want my money back.",
    },
}


class Deliveries:
    """Sends to one agent as its senders do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx2.AsyncClient(base_url=url, trust_env=False, timeout=40)

    async def github(
        self,
        payload: Any = ISSUE,
        *,
        delivery: str = "d-1",
        event: str = "issues",
        secret: str = GITHUB_SECRET,
        relayed: bool = False,
        **headers: str,
    ) -> httpx2.Response:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        }
        return await self.post(body, signed, relayed, headers)

    async def contact(
        self,
        payload: Any = CONTACT,
        *,
        delivery: str = "msg_1",
        secret: str = STANDARD_SECRET,
        relayed: bool = False,
        **headers: str,
    ) -> httpx2.Response:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        now = int(time.time())
        signed = {
            "webhook-id": delivery,
            "webhook-timestamp": str(now),
            "webhook-signature": Webhook(secret).sign(delivery, datetime.fromtimestamp(now, UTC), body.decode()),
        }
        return await self.post(body, signed, relayed, headers)

    async def post(
        self, body: bytes, signed: dict[str, str], relayed: bool = False, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        if relayed:
            signed = {f"x-client-{name}": value for name, value in signed.items()}
        more = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        return await self.client.post(
            "/invocations", content=body, headers={"content-type": "application/json"} | signed | more
        )

    async def get(self, invocation_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/invocations/{invocation_id}")
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    async def ended(self, invocation_id: str, *, seconds: float = 20) -> dict[str, Any]:
        return await self.until(invocation_id, lambda r: r["status"] in {"completed", "failed", "cancelled"}, seconds)

    async def until(
        self, invocation_id: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 20
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not reached(record := await self.get(invocation_id)):
            assert time.monotonic() < deadline, record
            await asyncio.sleep(0.02)
        return record


def form(**fields: Any) -> str:
    """The model's answer: all fields null but these."""
    names = ("category", "requested_action", "summary", "language", "customer_name", "order_id", "amount")
    return json.dumps(dict.fromkeys(names) | fields)


def read_by_the_model(request: ModelRequest) -> ModelReply:
    return ModelReply(form(category="damaged_item", requested_action="replacement", summary="A seam is torn."))


READS = ScriptedModel(read_by_the_model)
Serving = Callable[..., AbstractAsyncContextManager[Deliveries]]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """`async with agent(model, MAX_ATTEMPTS="2") as deliveries`. One test's agents share their state, as restarts do.

    None for the model leaves it to the environment."""

    @asynccontextmanager
    async def run(
        model: ScriptedModel | None = READS,
        inbox: Inbox | None = None,
        open_vault: Callable[[WebhookExtractorSettings], KeyVault] | None = None,
        **environment: str,
    ) -> AsyncIterator[Deliveries]:
        defaults = {
            "GITHUB_WEBHOOK_SECRET": GITHUB_SECRET,
            "STANDARD_WEBHOOKS_SECRET": STANDARD_SECRET,
            "MODEL_MAX_RETRIES": "0",
            "FIRST_RETRY_SECONDS": "0.01",
            "LONGEST_RETRY_SECONDS": "0.05",
        }
        for name, value in (defaults | environment).items():
            monkeypatch.setenv(name, value)
        settings = load_settings(WebhookExtractorSettings)
        vault = open_vault(settings) if open_vault else None
        app = build_app(settings, model_transport=model and model.transport, inbox=inbox, vault=vault)
        async with serve(app) as url:
            deliveries = Deliveries(url)
            async with deliveries.client:
                yield deliveries

    return run


@pytest.fixture
def sender() -> type[Deliveries]:
    """Sends to an agent that the test has started itself."""
    return Deliveries


@pytest.fixture
def issue() -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(ISSUE))
    return copy


@pytest.fixture
def contact() -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(CONTACT))
    return copy


@pytest.fixture
def answer() -> Callable[..., str]:
    return form
