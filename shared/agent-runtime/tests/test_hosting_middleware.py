"""Each middleware around a tiny application of its own, over a real server where the wire matters."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from agent_runtime.hosting.access_log import AccessLog
from agent_runtime.hosting.body_limit import BodyLimit
from agent_runtime.hosting.concurrency_limit import ConcurrencyLimit
from agent_runtime.hosting.errors import BadRequest
from agent_runtime.hosting.json_errors import JsonErrors
from agent_runtime.hosting.request_rules import RequestRules
from agent_runtime.testing.serving import serve
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


@contextlib.asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(app) as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        yield client


async def length(request: Request) -> Response:
    return JSONResponse({"length": len(await request.body())})


def length_app() -> Starlette:
    return Starlette(routes=[Route("/", length, methods=["POST", "GET"])])


async def chunks(total: int, size: int = 65_536) -> AsyncIterator[bytes]:
    for _ in range(total // size + 1):
        yield b"x" * size


# Body limit


async def test_a_body_up_to_the_limit_arrives_whole() -> None:
    async with client_of(BodyLimit(length_app(), limit=200_000)) as client:
        assert (await client.post("/", content=b"x" * 200_000)).json() == {"length": 200_000}
        assert (await client.post("/", content=chunks(100_000))).json() == {"length": 131_072}
        assert (await client.get("/")).json() == {"length": 0}


@pytest.mark.parametrize("chunked", [False, True])
async def test_fifty_megabytes_get_their_413(chunked: bool) -> None:
    async with client_of(BodyLimit(length_app(), limit=100_000)) as client:
        content = chunks(50_000_000) if chunked else b"x" * 50_000_000
        response = await client.post("/", content=content)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"
        assert (await client.post("/", content=b"still up")).status_code == 200


@pytest.mark.parametrize("head", [b"content-length: 50000000", b"transfer-encoding: chunked"])
async def test_the_refusal_is_sent_while_the_client_is_still_sending(head: bytes) -> None:
    async with serve(BodyLimit(length_app(), limit=1000)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n" + b"7d0\r\n" + b"x" * 2000 + b"\r\n")
        await writer.drain()
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 5)  # nothing more was sent, and the body is not over
        assert answer.startswith(b"HTTP/1.1 413")
        writer.close()


async def test_a_refused_client_that_never_ends_is_left_after_a_while() -> None:
    async with serve(BodyLimit(length_app(), limit=1000, discard_seconds=0.2)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)  # until the server closes
        assert answer.startswith(b"HTTP/1.1 413")
        writer.close()


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    async with serve(BodyLimit(length_app(), limit=1000, read_seconds=0.2, discard_seconds=0.2)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx")
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"request_timeout"' in answer
        writer.close()


async def test_a_handler_behind_the_body_limit_still_learns_that_its_client_left() -> None:
    left = asyncio.Event()

    async def wait_for_client(request: Request) -> Response:
        await request.body()
        while not await request.is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # how handlers of the hosts wait
        left.set()
        return Response()

    app = Starlette(routes=[Route("/", wait_for_client, methods=["POST"])])
    async with serve(BodyLimit(app, limit=1000)) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        await writer.drain()
        writer.close()
        await asyncio.wait_for(left.wait(), 5)


@pytest.mark.parametrize("make", [BodyLimit, ConcurrencyLimit])
def test_a_limit_below_one_is_a_mistake_of_the_programmer(make: Any) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make(length_app(), limit=0)


# Concurrency limit


class Gate:
    """Two endpoints that hold their request until the gate opens: one before, one in the middle of its response."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/plain", self.plain),
                Route("/stream", self.stream),
                Route("/readiness", self.ready),
                Route("/fails", self.fails),
            ]
        )

    async def plain(self, request: Request) -> Response:
        self.entered.set()
        await self.opened.wait()
        return PlainTextResponse("done")

    async def stream(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            self.entered.set()
            yield b"begun "
            await self.opened.wait()
            yield b"done"

        return StreamingResponse(parts())

    async def ready(self, request: Request) -> Response:
        return PlainTextResponse("ready")

    async def fails(self, request: Request) -> Response:
        raise RuntimeError("a bug")


@pytest.mark.parametrize("path", ["/plain", "/stream"])
async def test_one_request_too_many_is_sent_away_until_a_response_has_ended(path: str) -> None:
    gate = Gate()
    async with client_of(ConcurrencyLimit(gate.app, limit=1)) as client:
        held = asyncio.create_task(client.get(path))
        await asyncio.wait_for(gate.entered.wait(), 5)
        refused = await client.get("/plain")
        assert refused.json()["error"]["code"] == "too_many_requests_in_flight"
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get("/readiness")).status_code == 200
        gate.opened.set()
        assert (await held).text.endswith("done")
        assert (await client.get("/plain")).text == "done"


async def test_a_request_that_fails_gives_its_slot_back() -> None:
    gate = Gate()
    async with client_of(ConcurrencyLimit(gate.app, limit=1)) as client:
        for _ in range(3):
            assert (await client.get("/fails")).status_code == 500


# JSON errors


def errors_app() -> Starlette:
    async def fails(request: Request) -> Response:
        raise RuntimeError("the password is hunter2")

    async def refuses(request: Request) -> Response:
        raise BadRequest("wrong_colour", "Choose blue.", status=422, param="colour")

    async def answers(request: Request) -> Response:
        body = await request.json()
        return JSONResponse(body["document"], status_code=body["status"])

    async def cut(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"some"
            raise RuntimeError("too late for an error")

        return StreamingResponse(parts())

    async def text(request: Request) -> Response:
        return PlainTextResponse("go away", status_code=403)

    return Starlette(
        routes=[
            Route("/fails", fails),
            Route("/refuses", refuses),
            Route("/answers", answers, methods=["POST"]),
            Route("/cut", cut),
            Route("/text", text),
        ],
        middleware=[Middleware(JsonErrors)],
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/fails", 405, "method_not_allowed"),
        ("GET", "/fails", 500, "internal_error"),
        ("GET", "/refuses", 422, "wrong_colour"),
        ("GET", "/text", 403, "forbidden"),
    ],
)
async def test_every_error_is_json_with_a_code(method: str, path: str, status: int, code: str) -> None:
    async with client_of(errors_app()) as client:
        response = await client.request(method, path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-platform-error-source"] == ("upstream" if status >= 500 else "user")
        error = response.json()["error"]
        assert error["code"] == code
        assert error["message"]
        assert "hunter2" not in response.text


async def test_a_405_keeps_its_allow_header() -> None:
    async with client_of(errors_app()) as client:
        assert "POST" in (await client.get("/answers")).headers["allow"]


async def test_head_of_an_unknown_path_has_no_body() -> None:
    async with client_of(errors_app()) as client:
        response = await client.head("/nowhere")
        assert (response.status_code, response.content) == (404, b"")


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"error": {"code": "mine", "message": "kept", "details": [1]}}, "mine"),
        ({"error": {"code": None, "message": "kept"}}, "bad_request"),
        ({"error": {"message": "kept"}}, "bad_request"),
        ({"error": "just text"}, "bad_request"),
        (["odd"], "bad_request"),
    ],
)
async def test_a_json_error_keeps_its_code_or_gets_one(document: Any, code: str) -> None:
    async with client_of(errors_app()) as client:
        response = await client.post("/answers", json={"status": 400, "document": document})
        assert response.json()["error"]["code"] == code
        if code == "mine":
            assert response.json() == document
        if isinstance(document, dict) and isinstance(document["error"], dict):
            assert response.json()["error"]["message"] == "kept"


async def test_a_failure_after_the_response_began_cuts_the_connection() -> None:
    async with client_of(errors_app()) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/cut")


async def test_an_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(errors_app()) as client:
        await client.get("/fails")
    [record] = [record for record in caplog.records if record.name == "agent_runtime.hosting.json_errors"]
    assert record.exc_info is not None


# Request rules


async def test_a_rule_sees_the_raw_body_of_its_route_only() -> None:
    seen: list[bytes] = []

    def rule(raw: bytes) -> None:
        seen.append(raw)
        if raw == b"bad":
            raise BadRequest("bad_thing", "Not this.", param="thing")

    async with client_of(RequestRules(length_app(), rules={("POST", "/"): rule})) as client:
        assert (await client.post("/", content=b"good")).json() == {"length": 4}
        refused = await client.post("/", content=b"bad")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_thing")
        assert refused.json()["error"]["param"] == "thing"
        assert (await client.get("/")).status_code == 200
        assert (await client.post("/", content=chunks(100_000))).json() == {"length": 131_072}
    assert [len(raw) for raw in seen] == [4, 3, 131_072]


# Access log


async def test_a_request_is_one_line_without_query_or_forged_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent_runtime.hosting.access_log")
    app = Starlette(routes=[Route("/readiness", length), Route("/ok", length)])
    async with client_of(AccessLog(app)) as client:
        await client.get("/readiness")
        await client.get("/ok?token=secret")
        await client.get("/a%0A2026 error forged")
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("access_log")]
    assert len(lines) == 2
    assert lines[0].startswith("GET /ok 200 in ")
    assert lines[1].startswith("GET /a\\n2026 error forged 404 in ")
    assert "secret" not in json.dumps(lines)
    records = [vars(record) for record in caplog.records if record.name.endswith("access_log")]
    assert [record["http.response.status_code"] for record in records] == [200, 404]
    assert records[0]["http.request.method"] == "GET"
    assert records[0]["url.path"] == "/ok"
    assert records[0]["agent_runtime.response.complete"] is True
    assert 0 <= records[0]["http.server.request.duration"] < 30
