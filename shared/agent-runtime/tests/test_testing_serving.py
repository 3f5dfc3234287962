import asyncio

import httpx2
import pytest
from agent_runtime.testing.serving import free_port, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def test_an_app_answers_at_the_given_url_and_no_longer_afterwards() -> None:
    async with serve(Starlette(routes=[Route("/", hello)])) as url, httpx2.AsyncClient(trust_env=False) as client:
        assert url.startswith("http://127.0.0.1:")
        assert (await client.get(url)).text == "hello"
    async with httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.TransportError):
            await client.get(url)


async def test_two_apps_are_served_at_once() -> None:
    app = Starlette(routes=[Route("/", hello)])
    async with serve(app) as one, serve(app) as two:
        assert one != two


async def test_an_app_that_cannot_start_raises_its_reason() -> None:
    async def lifespan_fails(scope: dict[str, object], receive: object, send: object) -> None:
        assert scope["type"] == "lifespan"
        await receive()  # type: ignore[operator]
        await send({"type": "lifespan.startup.failed", "message": "no database"})  # type: ignore[operator]

    with pytest.raises(RuntimeError, match="no database"):
        async with serve(lifespan_fails):
            pass


async def test_an_open_request_does_not_hold_up_the_end() -> None:
    entered = asyncio.Event()

    async def forever(request: Request) -> Response:
        entered.set()
        await asyncio.Event().wait()
        return Response()

    client = httpx2.AsyncClient(trust_env=False)
    async with asyncio.timeout(15):
        async with serve(Starlette(routes=[Route("/", forever)])) as url:
            request = asyncio.create_task(client.get(url))
            await entered.wait()
        await asyncio.wait({request})
    assert request.exception() is not None or request.result().status_code == 500
    await client.aclose()


def test_a_free_port_can_be_bound() -> None:
    assert 1024 < free_port() < 65536
