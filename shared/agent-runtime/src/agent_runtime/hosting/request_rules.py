"""Check the raw body of chosen routes before the SDK sees it: its hosts accept much that no agent can answer.

A rule is a plain function of the bytes that raises `BadRequest`. It sits behind the body limit, which hands the body on
in one piece; this class reads any number of pieces all the same.
"""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.hosting.errors import BadRequest

RequestRule = Callable[[bytes], None]


class RequestRules:
    """`rules` maps (method, path), such as `("POST", "/responses")`, to the rule of that route."""

    def __init__(self, app: ASGIApp, *, rules: Mapping[tuple[str, str], RequestRule]) -> None:
        self.app = app
        self.rules = dict(rules)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = self.rules.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if rule is None:
            await self.app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        raw = bytes(body)
        try:
            rule(raw)
        except BadRequest as error:
            await error.response()(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)
