"""Put all protection around a host, in the one order that works.

It sits inside the SDK's own middleware, so that refusals carry its request id. From the outside in: shutdown limit,
request log, JSON errors, body limit, concurrency limit, invocation ids, request rules. The body limit comes before what
can answer early, because hypercorn cannot end a response while it still holds parts of a body that nobody reads.
"""

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from agent_runtime.hosting.access_log import AccessLog
from agent_runtime.hosting.body_limit import BodyLimit
from agent_runtime.hosting.concurrency_limit import ConcurrencyLimit
from agent_runtime.hosting.invocation_ids import InvocationIds
from agent_runtime.hosting.json_errors import JsonErrors
from agent_runtime.hosting.request_rules import RequestRule, RequestRules
from agent_runtime.hosting.shutdown_limit import RequestsInFlight, ShutdownLimit
from agent_runtime.settings import AgentSettings


def protect(
    host: Starlette,
    settings: AgentSettings,
    *,
    request_rules: Mapping[tuple[str, str], RequestRule] | None = None,
) -> None:
    """Add the limits, JSON errors, request rules and the request log to `host`, before it serves its first request."""
    if host.middleware_stack is not None:
        raise RuntimeError("protect() must be called before the host serves its first request")
    in_flight = RequestsInFlight(settings.graceful_shutdown_seconds)
    # Every host of the SDK has it; an application of Starlette alone is stopped by whoever serves it.
    if at_signal := getattr(host, "register_pre_shutdown_callback", None):
        at_signal(in_flight.stop_soon)
    layers: list[Any] = [
        Middleware(ShutdownLimit, requests=in_flight),
        Middleware(AccessLog),
        Middleware(JsonErrors),
        Middleware(BodyLimit, limit=settings.max_request_bytes),
        Middleware(ConcurrencyLimit, limit=settings.max_concurrent_requests),
        Middleware(InvocationIds),
    ]
    if request_rules:
        layers.append(Middleware(RequestRules, rules=request_rules))
    host.user_middleware.extend(layers)  # `add_middleware` would put them outside the SDK's own
