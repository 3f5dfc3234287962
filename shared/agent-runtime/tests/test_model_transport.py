"""A model behind the wire, in process and behind a server: pieces as they come, cancellation, and errors in API form."""

import asyncio
import contextlib
import json

import httpx2
import openai
import pytest
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.model_transport import ModelApp, ModelTransport
from agent_runtime.testing import serve


def _http(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=transport, base_url="http://model.invalid", trust_env=False, timeout=5)


async def test_the_answer_may_come_from_a_coroutine() -> None:
    async def answer(request: ModelRequest) -> ModelReply:
        await asyncio.sleep(0)
        return ModelReply(request.messages[-1].text.upper())

    async with _http(ModelTransport(answer)) as http:
        response = await http.post("/v1/responses", json={"model": "m", "input": "hello"})
    assert response.json()["output"][0]["content"][0]["text"] == "HELLO"


async def test_other_code_runs_between_two_pieces_of_a_stream() -> None:
    """One big chunk, or a stream that never yields to the loop, would show no count in between."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    seen = []
    body = {"model": "m", "input": "x", "stream": True}
    async with (
        _http(ModelTransport(lambda _: ModelReply("word " * 50))) as http,
        http.stream("POST", "/responses", json=body) as response,
    ):
        async for chunk in response.aiter_raw():
            seen.append((turns, chunk))
    counting.cancel()
    assert len(seen) > 10
    assert len({turn for turn, _ in seen}) == len(seen)


async def test_a_cancelled_call_cancels_the_answer() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(_: ModelRequest) -> ModelReply:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ModelReply()

    async with _http(ModelTransport(answer)) as http:
        call = asyncio.create_task(http.post("/responses", json={"model": "m", "input": "x"}))
        await asyncio.wait_for(started.wait(), 5)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_caller_that_goes_away_cancels_the_answer_behind_a_server() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(_: ModelRequest) -> ModelReply:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ModelReply()

    async with serve(ModelApp(answer)) as url:
        async with httpx2.AsyncClient(trust_env=False) as http:
            call = asyncio.create_task(http.post(f"{url}/v1/responses", json={"model": "m", "input": "x"}))
            await asyncio.wait_for(started.wait(), 5)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
        await asyncio.wait_for(cancelled.wait(), 5)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/embeddings", b"{}", 404, "unknown_url"),
        ("GET", "/v1/models", b"", 404, "unknown_url"),
        ("GET", "/v1/responses", b"", 405, "method_not_allowed"),
        ("POST", "/v1/responses", b"not json", 400, "invalid_json"),
        ("POST", "/v1/responses", b"\xff\xfe", 400, "invalid_json"),
        ("POST", "/v1/responses", b"[" * 100_000, 400, "invalid_json"),
        ("POST", "/v1/chat/completions", b"[]", 400, "invalid_type"),
        ("POST", "/v1/responses", b"", 400, "invalid_json"),
    ],
)
async def test_what_is_not_a_call_of_the_api_gets_an_error_in_its_form(
    method: str, path: str, body: bytes, status: int, code: str
) -> None:
    model = ModelTransport(lambda _: ModelReply())
    async with (
        _http(model) as http,
        serve(ModelApp(lambda _: ModelReply())) as url,
        httpx2.AsyncClient(trust_env=False) as real_http,
    ):
        for response in (
            await http.request(method, path, content=body),
            await real_http.request(method, url + path, content=body),
        ):
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (status, code)
            assert error.keys() == {"message", "type", "param", "code"}


async def test_a_model_that_raises_is_a_server_error_without_internals(caplog: pytest.LogCaptureFixture) -> None:
    def answer(_: ModelRequest) -> ModelReply:
        raise KeyError("secret internals")

    async with _http(ModelTransport(answer)) as http:
        response = await http.post("/responses", json={"model": "m", "input": "x"})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text
    assert "secret internals" in caplog.text


async def test_a_real_client_reads_a_stream_from_a_real_server() -> None:
    async with (
        serve(ModelApp(lambda _: ModelReply("Over real HTTP, in several pieces, to the very end."))) as url,
        openai.AsyncOpenAI(
            api_key="none", base_url=f"{url}/v1", http_client=httpx2.AsyncClient(trust_env=False)
        ) as client,
    ):
        stream = await client.responses.create(model="m", input="x", stream=True)
        text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
    assert json.dumps(text) == '"Over real HTTP, in several pieces, to the very end."'
