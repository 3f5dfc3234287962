"""Serve a bounded number of requests at once and answer one more with 503 and `Retry-After`, instead of slowing all.

A request counts until its response has ended, streams included. `/readiness` is never limited: the platform restarts a
container whose probe fails, and a busy agent is not a broken one.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from agent_runtime.hosting.errors import error_response

READINESS = "/readiness"


class ConcurrencyLimit:
    def __init__(self, app: ASGIApp, *, limit: int, retry_after_seconds: int = 1) -> None:
        if limit < 1:
            raise ValueError("limit must be at least 1 request")
        self.app = app
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == READINESS:
            await self.app(scope, receive, send)
            return
        if self._in_flight >= self.limit:
            response = error_response(
                "too_many_requests_in_flight",
                f"This agent serves {self.limit} requests at once. Try again shortly.",
                503,
                headers={"retry-after": str(self.retry_after_seconds)},
            )
            await response(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._in_flight -= 1
