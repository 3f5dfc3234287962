"""Invocation ids on the wire, where the SDK leaves something to do.

The host writes the caller's id, or a random one, into `x-agent-invocation-id` after the handler has answered; a
delivery has its own id, which must be the one in the header. And for GET and cancel the host copies the path into that
header unchecked, so that an id with a line break in it ends in a 500: such ids are refused here.
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.hosting.errors import error_response

VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,256}")
"""What the SDK accepts as an id (`azure.ai.agentserver.invocations`, `_invocation.py`)."""

_PATH = re.compile(r"/invocations/([^/]*)(?:/cancel)?", re.DOTALL)


def answer_with_id(request: Request, invocation_id: str) -> None:
    """Let the answer to `request` carry `invocation_id` in `x-agent-invocation-id`."""
    request.state.answered_invocation_id = invocation_id


class InvocationIds:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = _PATH.fullmatch(scope["path"])
        if path and not VALID_ID.fullmatch(path[1]):
            refusal = error_response(
                "invalid_invocation_id", "An invocation id is 1 to 256 letters, digits, or any of . _ : -", 400
            )
            await refusal(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start" and "answered_invocation_id" in state:
                MutableHeaders(scope=message)["x-agent-invocation-id"] = state["answered_invocation_id"]
            await send(message)

        await self.app(scope, receive, send_with_id)
