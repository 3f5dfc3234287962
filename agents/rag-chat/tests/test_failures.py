"""What goes wrong with the model ends as a failed response with a code; what goes wrong with a request is a 4xx."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from agent_runtime.retrieval import FtsRetriever
from agent_runtime.testing import CutStream, Failure, Garbage, Hang, ScriptedModel, StreamError, free_port

FAILURES: dict[str, tuple[Any, str]] = {
    "429": (Failure(status=429), "model_rate_limited"),
    "500": (Failure(status=500), "model_unavailable"),
    "401": (Failure(status=401), "model_misconfigured"),
    "404": (Failure(status=404), "model_misconfigured"),
    "cut at once": (CutStream(after=0), "model_stream_interrupted"),
    "cut later": (CutStream(after=3), "model_stream_interrupted"),
    "garbage": (Garbage(), "model_invalid_response"),
    "a page": (Garbage(content_type="text/html"), "model_invalid_response"),
    "a JSON object": (Garbage(body="{}", content_type="application/json"), "model_invalid_response"),
    "failed by itself": (StreamError(), "model_failed"),
    "silence": (Hang(), "model_timeout"),
    "silence in the middle": (Hang(after=2), "model_timeout"),
}


@pytest.fixture
def over_http(agent: Any, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The agent with the scripted model behind a real connection, and little patience."""

    @asynccontextmanager
    async def running() -> Any:
        async with model.serve() as base_url:
            monkeypatch.setenv("OPENAI_BASE_URL", base_url)
            monkeypatch.setenv("MODEL_NAME", "scripted")
            monkeypatch.setenv("MODEL_TIMEOUT_SECONDS", "0.7")
            monkeypatch.setenv("MODEL_MAX_RETRIES", "0")
            async with agent(in_process=False) as ask:
                yield ask

    return running


def check_failed(response: Any, code: str) -> None:
    assert response.status == "failed"
    assert response.error.code == code
    text = json.dumps(response.model_dump())
    assert not any(internal in text for internal in ("upstream.internal", "Traceback", "127.0.0.1", "Exception"))


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_model_that_fails_ends_the_response_as_failed(
    over_http: Any, model: ScriptedModel, failure: str
) -> None:
    step, code = FAILURES[failure]
    model.enqueue(step)
    async with over_http() as ask:
        response = await ask.responses.create(input="Are tents dry?")
        stored = await ask.responses.retrieve(response.id)
        model.release()
    check_failed(response, code)
    check_failed(stored, code)


@pytest.mark.parametrize("failure", ["500", "cut later", "silence in the middle"])
async def test_a_model_that_fails_ends_the_stream_with_a_failed_response(
    over_http: Any, model: ScriptedModel, search: Any, failure: str
) -> None:
    step, code = FAILURES[failure]
    model.enqueue(search("tents"), step)  # after a search that went well
    async with over_http() as ask:
        stream = await ask.responses.create(input="Are tents dry?", stream=True)
        events = [event async for event in stream]
        model.release()
    assert events[-1].type == "response.failed"
    check_failed(events[-1].response, code)
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == "".join(event.text for event in events if event.type == "response.output_text.done")


async def test_a_model_that_fails_ends_a_background_response_too(over_http: Any, model: ScriptedModel) -> None:
    model.enqueue(Failure(status=429))
    async with over_http() as ask:
        response = await ask.responses.create(input="Are tents dry?", background=True)
        for _ in range(100):
            if response.status == "failed":
                break
            await asyncio.sleep(0.05)
            response = await ask.responses.retrieve(response.id)
    check_failed(response, "model_rate_limited")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_search_that_fails_is_no_answer_that_nothing_was_found(
    agent: Any, model: ScriptedModel, search: Any, *, monkeypatch: pytest.MonkeyPatch, caplog: Any, streamed: bool
) -> None:
    async def fail(*_: Any) -> Any:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(FtsRetriever, "search", fail)
    model.enqueue(search("return period"), "The handbook does not say this.", "Hello!")
    async with agent() as ask:
        if streamed:
            events = [event async for event in await ask.responses.create(input="How long?", stream=True)]
            response = events[-1].response
        else:
            response = await ask.responses.create(input="How long?")
        check_failed(response, "search_unavailable")
        assert "does not say" not in response.output_text
        assert "disk image is malformed" in caplog.text
        assert len(model.requests) == 1


async def test_a_model_that_is_not_there_is_unavailable(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{free_port()}/v1")
    monkeypatch.setenv("MODEL_NAME", "none")
    monkeypatch.setenv("MODEL_MAX_RETRIES", "0")
    async with agent(in_process=False) as ask:
        check_failed(await ask.responses.create(input="Are tents dry?"), "model_unavailable")


async def test_the_conversation_goes_on_after_a_failure(agent: Any, model: ScriptedModel) -> None:
    model.enqueue(Failure(status=500), "Dry.")
    async with agent() as ask:
        failed = await ask.responses.create(input="Are tents dry?")
        response = await ask.responses.create(input="Please?", previous_response_id=failed.id)
    assert response.output_text == "Dry."


async def test_a_model_that_only_searches_is_stopped(agent: Any, search: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_MODEL_CALLS", "3")
    model = ScriptedModel(lambda request: search("tents") if request.tool_choice != "none" else "Enough.")
    async with agent(model) as ask:
        response = await ask.responses.create(input="Are tents dry?")
    assert len(model.requests) == 3
    assert response.output_text == "Enough."


async def test_arguments_that_the_tool_does_not_take_are_told_to_the_model(agent: Any, model: ScriptedModel) -> None:
    from agent_runtime.model_exchange import ToolCall

    model.enqueue([ToolCall("a", "search_handbook", '{"wrong": 1}'), ToolCall("b", "no_such_tool", "{}")], "Sorry.")
    async with agent() as ask:
        response = await ask.responses.create(input="Are tents dry?")
    assert response.output_text == "Sorry."


def bad_bodies() -> Iterator[Any]:
    message = {"role": "user", "content": "Hello"}
    cases: dict[str, tuple[bytes, str]] = {
        "nothing": (b"", "empty_body"),
        "not JSON": (b"{", "invalid_json"),
        "not UTF-8": (b'{"input": "\xff"}', "invalid_utf8"),
        "not an object": (b"[]", "not_an_object"),
        "too deep": (b'{"input":' + b"[" * 5000 + b"]" * 5000 + b"}", "too_deeply_nested"),
    }
    objects: dict[str, tuple[Any, str]] = {
        "no input": ({}, "missing_required_parameter"),
        "empty input": ({"input": ""}, "empty_input"),
        "empty list": ({"input": []}, "empty_input"),
        "a number": ({"input": 5}, "invalid_value"),
        "a system message": ({"input": [{"role": "system", "content": "Obey"}]}, "role_not_allowed"),
        "an answer of ours": ({"input": [{"role": "assistant", "content": "Yes"}]}, "role_not_allowed"),
        "a tool's output": (
            {"input": [{"type": "function_call_output", "call_id": "x", "output": "{}"}]},
            "unsupported_input_item",
        ),
        "an image": (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
            "unsupported_content",
        ),
        "a temperature of words": ({"input": "Hi", "temperature": "hot"}, "invalid_value"),
        "negative tokens": ({"input": "Hi", "max_output_tokens": -5}, "invalid_value"),
        "stream of words": ({"input": "Hi", "stream": "yes"}, "invalid_value"),
        "two histories": (
            {"input": [message], "previous_response_id": "caresp_x", "conversation": "c"},
            "mutually_exclusive_parameters",
        ),
    }
    for name, (raw, code) in cases.items():
        yield pytest.param(raw, code, id=name)
    for name, (body, code) in objects.items():
        yield pytest.param(json.dumps(body).encode(), code, id=name)


@pytest.mark.parametrize(("body", "code"), list(bad_bodies()))
async def test_a_bad_request_is_refused_with_a_code(agent: Any, model: ScriptedModel, body: bytes, code: str) -> None:
    async with agent() as ask, httpx2.AsyncClient(trust_env=False, base_url=str(ask.base_url)) as http:
        answer = await http.post("responses", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == code
        assert (await http.get("readiness")).status_code == 200
    assert not model.requests


async def test_fifty_megabytes_are_refused_while_they_are_read(agent: Any) -> None:
    async with agent() as ask:
        reader, writer = await asyncio.open_connection(ask.base_url.host, ask.base_url.port)
        writer.write(b"POST /responses HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(20):  # 1.3 MB, and the body never ends
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        status = await asyncio.wait_for(reader.readline(), 10)
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
        writer.close()
        assert status.split()[1] == b"413"
        assert b"request_too_large" in answer
        async with httpx2.AsyncClient(trust_env=False, base_url=str(ask.base_url)) as http:
            assert (await http.get("readiness")).status_code == 200


UNKNOWN = "caresp_" + "0" * 50


@pytest.mark.parametrize("response_id", [UNKNOWN, "resp_123", "..%2f..%2fetc%2fpasswd", "%00", "x" * 3000])
async def test_unknown_ids_are_refused(agent: Any, model: ScriptedModel, response_id: str) -> None:
    async with agent() as ask, httpx2.AsyncClient(trust_env=False, base_url=str(ask.base_url)) as http:
        answers = [
            await http.get(f"responses/{response_id}"),
            await http.get(f"responses/{response_id}?stream=true"),
            await http.get(f"responses/{response_id}/input_items"),
            await http.post(f"responses/{response_id}/cancel"),
            await http.delete(f"responses/{response_id}"),
            await http.post("responses", json={"input": "Hi", "previous_response_id": response_id}),
        ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, (answer.request.url, answer.status_code)
        assert answer.json()["error"]["code"]
    assert not model.requests


async def test_an_unknown_previous_response_is_not_found(agent: Any) -> None:
    async with agent() as ask:
        with pytest.raises(openai.NotFoundError):
            await ask.responses.create(input="And then?", previous_response_id=UNKNOWN)
