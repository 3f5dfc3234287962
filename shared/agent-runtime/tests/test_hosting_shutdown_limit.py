"""What is still being answered at the end of a graceful stop is ended, on every Python."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_runtime.hosting.shutdown_limit import RequestsInFlight, ShutdownLimit
from agent_runtime.testing.serving import free_port
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

GRACE = 0.3


async def forever(request: Any) -> StreamingResponse:
    async def words() -> AsyncIterator[str]:
        while True:
            yield "word "
            await asyncio.sleep(0.02)

    return StreamingResponse(words())


async def short(request: Any) -> PlainTextResponse:
    await asyncio.sleep(GRACE / 3)
    return PlainTextResponse("done")


def application() -> Starlette:
    return Starlette(routes=[Route("/forever", forever), Route("/short", short)])


async def stopped_with_a_request_open(app: Any, path: str, at_stop: Any) -> tuple[bytes, asyncio.Task[None]]:
    """Serve, ask, tell the server to stop when the answer has begun; returns what came, and the server's task."""
    config, told = Config(), asyncio.Event()
    config.bind = [f"127.0.0.1:{free_port()}"]
    config.graceful_timeout = GRACE
    server = asyncio.create_task(serve(app, config, shutdown_trigger=told.wait))
    for _ in range(200):
        try:
            reader, writer = await asyncio.open_connection(*config.bind[0].split(":"))
            break
        except OSError:
            await asyncio.sleep(0.02)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
    if path == "/forever":
        await reader.readuntil(b"word ")
    else:
        await asyncio.sleep(GRACE / 10)
    at_stop()
    told.set()
    try:
        came = await asyncio.wait_for(reader.read(), 3)
    except TimeoutError:
        came = b"still coming"
    finally:
        writer.close()
    return came, server


async def test_a_stream_that_goes_on_ends_with_the_grace_period() -> None:
    requests = RequestsInFlight(GRACE)
    app = ShutdownLimit(application(), requests=requests)
    came, server = await stopped_with_a_request_open(app, "/forever", requests.stop_soon)
    assert came != b"still coming"
    await asyncio.wait_for(server, 3)
    assert requests.tasks == set()


async def test_a_request_that_ends_in_time_is_answered() -> None:
    requests = RequestsInFlight(GRACE)
    app = ShutdownLimit(application(), requests=requests)
    came, server = await stopped_with_a_request_open(app, "/short", requests.stop_soon)
    assert came.endswith(b"done")
    await asyncio.wait_for(server, 3)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="up to Python 3.11 hypercorn ends it by itself")
async def test_the_bare_server_waits_for_the_stream_without_end() -> None:
    """When this fails, hypercorn keeps its grace period again: delete agent_runtime.hosting.shutdown_limit."""
    came, server = await stopped_with_a_request_open(application(), "/forever", lambda: None)
    assert came == b"still coming"
    await asyncio.wait_for(server, 3)  # the client has gone, so now it ends
