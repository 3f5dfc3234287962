"""What is recorded of an answer: model, tokens and time, for both APIs, streamed or not, and no text."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from agent_runtime.model_client import create_model_client
from agent_runtime.settings import AgentSettings, load_settings

QUESTION = "How long can unworn boots be returned?"


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("MODEL_PROVIDER", "offline")
    made = create_model_client(load_settings(AgentSettings))
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def recorded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent_runtime.model_usage")


def attributes(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    [record] = [each for each in caplog.records if each.name == "agent_runtime.model_usage"]
    found = {key: value for key, value in vars(record).items() if key.startswith("gen_ai.")}
    assert QUESTION not in json.dumps(found) + record.getMessage()
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_an_answer_is_recorded_once_with_its_tokens(
    client: Any, caplog: pytest.LogCaptureFixture, api: str, stream: bool
) -> None:
    if api == "responses":
        answer = await client.responses.create(model="offline-extractive", input=QUESTION, stream=stream)
    else:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        asked = [{"role": "user", "content": QUESTION}]
        answer = await client.chat.completions.create(
            model="offline-extractive", messages=asked, stream=stream, **options
        )
    if stream:
        last = [event async for event in answer][-1]
        usage = last.response.usage if api == "responses" else last.usage
    else:
        usage = answer.usage
    found = attributes(caplog)
    sent, received = (
        (usage.input_tokens, usage.output_tokens)
        if api == "responses"
        else (usage.prompt_tokens, usage.completion_tokens)
    )
    assert sent > 0
    assert found.pop("gen_ai.client.operation.duration") >= 0
    assert found == {
        "gen_ai.response.model": "offline-extractive",
        "gen_ai.usage.input_tokens": sent,
        "gen_ai.usage.output_tokens": received,
    }


async def chunked(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_events_are_read_however_the_network_cuts_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", "offline")
    response = {"id": "r", "object": "response", "model": "m", "output": [], "status": "completed"}
    usage = {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": response | {"usage": None}},
        {"type": "response.completed", "sequence_number": 1, "response": response | {"usage": usage}},
    ]
    body = b"".join(f"event: {each['type']}\r\ndata: {json.dumps(each)}\r\n\r\n".encode() for each in events)
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=chunked(body, size))
    )
    client = create_model_client(load_settings(AgentSettings), transport=transport)
    async for _ in await client.responses.create(model="m", input=QUESTION, stream=True):
        pass
    await client.close()
    found = attributes(caplog)
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (11, 3)


@pytest.mark.parametrize("usage", [None, {}, "many", {"input_tokens": "11"}])
async def test_a_server_that_reports_no_usage_has_no_tokens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, usage: Any
) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", "offline")
    body = {"id": "r", "object": "response", "output": [], "status": "completed", "usage": usage}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=body))
    client = create_model_client(load_settings(AgentSettings), transport=transport)
    await client.post("/responses", body={}, cast_to=httpx2.Response)
    await client.close()
    assert attributes(caplog).keys() == {"gen_ai.client.operation.duration"}
