"""End what is still being answered when the time for a graceful stop is over.

hypercorn 0.18 means to (`graceful_timeout`), but first awaits `Server.wait_closed()`, which since Python 3.12.1 waits
until all connections are gone (https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.Server.wait_closed). A
stream that goes on, such as one of a background response, then keeps the process until it is killed, and nothing that
should happen at a shutdown does. Up to Python 3.11 hypercorn cancels the same tasks at the same time, by itself.
"""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send


class RequestsInFlight:
    """The tasks of the requests of one host; `stop_soon` is for the moment in which it is told to stop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.tasks: set[asyncio.Task[Any]] = set()

    def stop_soon(self) -> None:
        """Cancel after `seconds` what then still runs. Called in the event loop that serves."""
        asyncio.get_running_loop().call_later(self.seconds, self._cancel)

    def _cancel(self) -> None:
        for task in self.tasks:
            task.cancel()


class ShutdownLimit:
    def __init__(self, app: ASGIApp, *, requests: RequestsInFlight) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if scope["type"] == "lifespan" or task is None:
            await self.app(scope, receive, send)
            return
        self.requests.tasks.add(task)
        try:
            await self.app(scope, receive, send)
        finally:
            self.requests.tasks.discard(task)
