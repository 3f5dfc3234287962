"""Protect a host that speaks Responses: what every host gets, the rule for POST /responses, the guard of replays."""

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from agent_runtime.hosting.protection import protect
from agent_runtime.hosting.request_rules import RequestRule
from agent_runtime.hosting.responses.cancelled_output import CancelledOutputs, RestoreCancelledOutput
from agent_runtime.hosting.responses.replay_guard import ReplayGuard
from agent_runtime.hosting.responses.stream_files import StreamFiles
from agent_runtime.hosting.responses_rules import check_responses_request
from agent_runtime.settings import AgentSettings


def protect_responses(
    host: Starlette,
    settings: AgentSettings,
    *,
    store: Any = None,
    cancelled: CancelledOutputs | None = None,
    request_rules: Mapping[tuple[str, str], RequestRule] | None = None,
) -> None:
    """As `protect`, for a host with the Responses protocol. `store` is what `open_response_store` gave; `cancelled`
    holds the output of cancelled responses, if the handler keeps it."""
    protect(host, settings, request_rules={("POST", "/responses"): check_responses_request, **(request_rules or {})})
    layers: list[Any] = [Middleware(ReplayGuard, store=store)] if store is not None else []
    layers.append(Middleware(StreamFiles, folder=settings.state_root / "streams"))
    if cancelled is not None:
        layers.append(Middleware(RestoreCancelledOutput, outputs=cancelled))
    host.user_middleware.extend(layers)
