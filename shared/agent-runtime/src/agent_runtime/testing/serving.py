"""Serve an ASGI application inside the test's own event loop, on a free loopback port.

The server is hypercorn, as in the SDK's hosts, so that a test sees the real wire behaviour: chunking, disconnects,
early answers. What needs a process of its own (signals, memory, start-up output) uses `testing.process`.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

LOOPBACK = "127.0.0.1"
_DRAIN_SECONDS = 1.0


def free_port() -> int:
    """A loopback port that nothing listens on at the moment of the call."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def serve(app: Any, *, start_timeout: float = 20.0) -> AsyncIterator[str]:
    """Run `app` and give its base URL, such as `http://127.0.0.1:40123`. Requests still open at the end are cut.

    Raises:
        RuntimeError: the application did not start (its lifespan failed, or it took longer than `start_timeout`).
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, 0))
    port = int(listener.getsockname()[1])

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # bound already, so that no other process can take the port
    config.graceful_timeout = _DRAIN_SECONDS
    config.shutdown_timeout = _DRAIN_SECONDS
    config.accesslog = None
    config.errorlog = logging.getLogger("agent_runtime.testing.serving")

    stop = asyncio.Event()
    server = asyncio.create_task(hypercorn_serve(app, config, shutdown_trigger=stop.wait))
    try:
        await _until_listening(port, server, start_timeout)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        request_shutdown = getattr(app, "request_shutdown", None)
        if callable(request_shutdown):  # the SDK's own signal handler would do this; see its `run()`
            request_shutdown()
        stop.set()
        done, _ = await asyncio.wait({server}, timeout=_DRAIN_SECONDS * 4)
        if not done:
            server.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await server


async def _until_listening(port: int, server: "asyncio.Task[None]", timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.done():
            reason = None if server.cancelled() else server.exception()
            raise RuntimeError(f"the application did not start: {reason!r}") from reason
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    raise RuntimeError(f"the application was not listening after {timeout:g} s")
