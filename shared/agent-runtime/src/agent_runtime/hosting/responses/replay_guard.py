"""Keep one user's event stream from another: `GET /responses/{id}?stream=true` asks the store first.

The SDK finds streams to replay in a registry that knows no users, even after the store said that there is no such
response for this one. And it lets a caller choose the id of a new response, by which one user could make another's
stream one's own: an id that is taken, by whomever, is refused. Only needed beside `LocalResponseStore`; the next
version of the SDK separates streams by user.
"""

import asyncio
import json
from typing import Any

from azure.ai.agentserver.responses import FoundryResourceNotFoundError, PlatformContext
from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.hosting.errors import error_response

_CREATE = "/responses"
_PREFIX = "/responses/"


class ReplayGuard:
    def __init__(self, app: ASGIApp, *, store: Any) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response_id = replayed_id(scope)
        if response_id is not None:
            user_id = Headers(scope=scope).get("x-agent-user-id")
            try:
                await self.store.get_response(response_id, context=PlatformContext(user_id_key=user_id))
            except FoundryResourceNotFoundError:
                message = f"Response with id '{response_id}' not found."
                await error_response("not_found", message, 404, param="response_id")(scope, receive, send)
                return
        elif scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", _CREATE):
            await self._create(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()  # the whole body: the request rules hand it on in one piece
        chosen = {Headers(scope=scope).get("x-agent-response-id"), _id_in(first.get("body", b""))} - {None}
        for response_id in chosen:
            if await asyncio.to_thread(self.store.is_taken, response_id):
                message = "There is a response with this id. Leave it out, to be given a new one."
                refusal = error_response("response_id_taken", message, 409, param="response_id")
                await refusal(scope, receive, send)
                return
        waiting = [first]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)


def _id_in(body: bytes) -> str | None:
    if b"response_id" not in body and b"\\u" not in body:
        return None  # nearly always, and a large body is not parsed once more
    chosen = json.loads(body).get("response_id")
    return chosen if isinstance(chosen, str) else None


def replayed_id(scope: Scope) -> str | None:
    """The id of the response whose stream is asked for, or None for any other request."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not scope["path"].startswith(_PREFIX):
        return None
    response_id = str(scope["path"][len(_PREFIX) :])
    # Malformed ids are the SDK's to refuse: it answers 400.
    if not response_id.startswith("caresp_") or "/" in response_id:
        return None
    return response_id if "stream" in QueryParams(scope["query_string"]) else None
