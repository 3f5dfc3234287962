"""Keep one user's event stream from another: `GET /responses/{id}?stream=true` asks the store first.

The SDK finds streams to replay in a registry that knows no users, even after the store said that there is no such
response for this one. Only needed beside `LocalResponseStore`; the next version of the SDK separates streams by user.
"""

from typing import Any

from azure.ai.agentserver.responses import FoundryResourceNotFoundError, PlatformContext
from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_runtime.hosting.errors import error_response

_PREFIX = "/responses/"


class ReplayGuard:
    def __init__(self, app: ASGIApp, *, store: Any) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response_id = _replayed(scope)
        if response_id is not None:
            user_id = Headers(scope=scope).get("x-agent-user-id")
            try:
                await self.store.get_response(response_id, context=PlatformContext(user_id_key=user_id))
            except FoundryResourceNotFoundError:
                message = f"Response with id '{response_id}' not found."
                await error_response("not_found", message, 404, param="response_id")(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _replayed(scope: Scope) -> str | None:
    """The id of the response whose stream is asked for, or None for any other request."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not scope["path"].startswith(_PREFIX):
        return None
    response_id = str(scope["path"][len(_PREFIX) :])
    # Malformed ids are the SDK's to refuse: it answers 400.
    if not response_id.startswith("caresp_") or "/" in response_id:
        return None
    return response_id if "stream" in QueryParams(scope["query_string"]) else None
