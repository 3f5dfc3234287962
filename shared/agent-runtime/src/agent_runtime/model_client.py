"""One `openai.AsyncOpenAI` for every agent, whichever model is behind it: Foundry's, a compatible server's, or offline.

An agent's brain gets this client and never learns the provider. Which one it is, is decided by `settings`; what the
client raises is made fit for callers by `model_errors`; answers that no model sends are caught by `model_guard`; what
an answer cost is recorded by `model_usage`.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2

from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.model_guard import check_answer
from agent_runtime.model_transport import ModelTransport
from agent_runtime.model_usage import note_start, record_usage
from agent_runtime.model_wire import WireError
from agent_runtime.settings import OFFLINE_MODEL, AgentSettings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from openai import AsyncOpenAI

FOUNDRY_SCOPE = "https://ai.azure.com/.default"
_CONNECT_SECONDS = 10.0
# Reserved never to resolve (RFC 2606): a request that somehow leaves the offline transport goes nowhere.
_OFFLINE_URL = "http://offline-model.invalid/v1"


def create_model_client(
    settings: AgentSettings,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    credential: "AsyncTokenCredential | None" = None,
) -> "AsyncOpenAI":
    """The client for the provider that `settings` describe. Makes no connection; close it with `await client.close()`.

    Args:
        transport: carries the requests instead of the network (tests).
        credential: signs in to Foundry instead of `DefaultAzureCredential`. It stays the caller's to close.
    """
    # 20 to 45 MB of memory and most of a second: paid when a client is made, not by whoever imports this module.
    from agent_runtime.openai_client import PlainInputClient  # noqa: PLC0415

    timeout = httpx2.Timeout(
        settings.model_timeout_seconds, connect=min(_CONNECT_SECONDS, settings.model_timeout_seconds)
    )
    api_key: str | Callable[[], Awaitable[str]]
    closing: Callable[[], Awaitable[None]] | None = None
    before_request: list[Callable[[httpx2.Request], Awaitable[None]]] = [note_start]
    if settings.provider == "foundry":
        base_url = f"{settings.foundry_project_endpoint}/openai/v1"
        token = EntraToken(credential)
        api_key, closing = token, token.aclose
        before_request.append(forward_call_id)
    elif settings.provider == "openai":
        base_url = settings.openai_base_url or ""
        # Many local servers ask for no key; the client insists on one, and they ignore it.
        api_key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "not-needed"
    else:
        base_url, api_key = _OFFLINE_URL, "not-needed"
        transport = transport or ModelTransport(_offline_answer())
    http_client = ClosingHttpClient(
        timeout=timeout,
        transport=transport,
        # A proxy of the environment cannot reach this machine's own loopback.
        trust_env=not is_loopback(base_url),
        event_hooks={"request": before_request, "response": [check_answer, record_usage]},
        closing=closing,
    )
    return PlainInputClient(
        api_key=api_key,
        base_url=base_url,
        timeout=timeout,
        max_retries=settings.model_max_retries,
        http_client=http_client,
    )


def describe_model(settings: AgentSettings) -> str:
    """The model in use, for start-up lines. Shows no key and no credentials that a URL may carry."""
    if settings.provider == "foundry":
        return f"{settings.model} (Foundry project {_shown(settings.foundry_project_endpoint)})"
    if settings.provider == "openai":
        return f"{settings.model} (OpenAI-compatible server {_shown(settings.openai_base_url)})"
    reason = "chosen by MODEL_PROVIDER" if settings.model_provider else "no model configured"
    return f"{OFFLINE_MODEL} (offline, {reason})"


def _shown(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class ClosingHttpClient(httpx2.AsyncClient):
    """What `openai` uses by default, with our timeouts and hooks, that also closes the sign-in when it is closed."""

    def __init__(self, *, closing: Callable[[], Awaitable[None]] | None = None, **options: Any) -> None:
        limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)  # openai's own defaults
        super().__init__(follow_redirects=True, limits=limits, **options)
        self._closing = closing

    async def aclose(self) -> None:
        await super().aclose()
        if self._closing is not None:
            await self._closing()


class EntraToken:
    """Bearer tokens for Foundry. Nothing is imported or captured before the first call, so that a snapshot of the
    started process holds no token, and a start without a model call pays no memory for the sign-in libraries."""

    def __init__(self, credential: "AsyncTokenCredential | None") -> None:
        self._given = credential
        self._own: AsyncTokenCredential | None = None
        self._provider: Callable[[], Awaitable[str]] | None = None

    async def __call__(self) -> str:
        if self._provider is None:
            from azure.identity.aio import DefaultAzureCredential, get_bearer_token_provider  # noqa: PLC0415

            if self._given is None:
                self._own = DefaultAzureCredential()
            credential = self._given or self._own
            assert credential is not None  # noqa: S101 - one of the two is set above
            self._provider = get_bearer_token_provider(credential, FOUNDRY_SCOPE)
        return await self._provider()

    async def aclose(self) -> None:
        if self._own is not None:
            await self._own.close()


async def forward_call_id(request: httpx2.Request) -> None:
    """Container protocol 2.0.0: calls to Foundry carry the call id of the request being served, and no user id."""
    from azure.ai.agentserver.core import get_request_context  # noqa: PLC0415 - heavy, and in every hosted agent already

    request.headers.update(get_request_context().platform_headers())


def _offline_answer() -> Callable[[ModelRequest], Awaitable[ModelReply]]:
    from agent_runtime.offline_model import CannotDo, OfflineModel  # noqa: PLC0415 - only where it is the provider

    model = OfflineModel()

    async def answer(request: ModelRequest) -> ModelReply:
        try:
            # It reads for as long as the passages are; the event loop serves others meanwhile.
            return await asyncio.to_thread(model.answer, request)
        except CannotDo as reason:
            raise WireError(400, "unsupported_by_offline_model", str(reason)) from None

    return answer
