"""Refuse request bodies over a limit while they are read, so that a large body never reaches memory or the agent.

A body is collected up to the limit and handed on in one piece: every endpoint of the hosts reads it whole anyway. The
answer goes out at once, while the client may still be sending. What it goes on to send is read and thrown away for a
while, because a connection closed under a sending client would take the answer with it.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.hosting.errors import BadRequest


class BodyLimit:
    """At most `limit` bytes, which must have arrived within `read_seconds`."""

    def __init__(self, app: ASGIApp, *, limit: int, read_seconds: float = 60.0, discard_seconds: float = 10.0) -> None:
        if limit < 1:
            raise ValueError("limit must be at least 1 byte")
        self.app = app
        self.limit = limit
        self.read_seconds = read_seconds
        self.discard_seconds = discard_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        if _declared_length(scope) > self.limit:
            await self._refuse(self._too_large(), scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.read_seconds):
                body = await self._read(receive)
        except _TooLarge:
            await self._refuse(self._too_large(), scope, receive, send)
            return
        except TimeoutError:
            message = f"The body did not arrive within {self.read_seconds:g} seconds."
            await self._refuse(BadRequest("request_timeout", message, status=408), scope, receive, send)
            return
        if body is None:
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, or None when the client has left."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.limit:
                raise _TooLarge
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> BadRequest:
        message = f"The body is larger than the {self.limit:,} bytes that this agent accepts."
        return BadRequest("request_too_large", message, status=413)

    async def _refuse(self, error: BadRequest, scope: Scope, receive: Receive, send: Send) -> None:
        response = error.response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else bytes(response.body)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        # Hypercorn's queue of unread parts must keep moving until it has put its disconnect there, else it waits
        # for ever.
        discard = asyncio.create_task(_discard(receive))
        try:
            await asyncio.wait({discard}, timeout=self.discard_seconds)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            await asyncio.wait({discard}, timeout=self.discard_seconds)
        finally:
            discard.cancel()


class _TooLarge(Exception):
    """More bytes came than the limit allows."""


async def _discard(receive: Receive) -> None:
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)


def _has_body(scope: Scope) -> bool:
    """HTTP/1 announces a body by its headers (RFC 9112, section 6.3)."""
    names = {name.lower() for name, _ in scope["headers"]}
    return not scope.get("http_version", "").startswith("1") or bool(names & {b"content-length", b"transfer-encoding"})


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return 0
