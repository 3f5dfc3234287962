"""`openai.AsyncOpenAI` for another agent's Responses endpoint: one that is deployed, or one on this machine."""

from typing import TYPE_CHECKING

import httpx2

from agent_runtime.model_client import ClosingHttpClient, EntraToken, forward_call_id, is_loopback

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from openai import AsyncOpenAI

_CONNECT_SECONDS = 10.0
_SILENT_SECONDS = 60.0
"""A stream of one of our agents sends a comment at least every `SSE_KEEPALIVE_INTERVAL` seconds."""


def create_agent_client(endpoint: str, *, credential: "AsyncTokenCredential | None" = None) -> "AsyncOpenAI":
    """The client of the agent whose `/responses` is below `endpoint`. Makes no connection.

    A deployed agent's is `{project endpoint}/agents/{name}/endpoint/protocols/openai`, with API version v1 and an Entra
    token (the extension azure.ai.agents of azd, `invoke`). An agent on this machine is asked without a token.

    It tries nothing again by itself: a run that was begun twice would act twice.
    """
    from openai import AsyncOpenAI  # noqa: PLC0415 - most of an agent's memory: paid with the first hand-over

    here = is_loopback(endpoint)
    token = None if here else EntraToken(credential)
    http_client = ClosingHttpClient(
        closing=token.aclose if token else None,
        timeout=httpx2.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS),
        trust_env=not here,
        event_hooks={} if here else {"request": [forward_call_id]},
    )
    return AsyncOpenAI(
        api_key=token or "not-needed",
        base_url=endpoint,
        default_query={} if here else {"api-version": "v1"},
        max_retries=0,
        http_client=http_client,
    )
