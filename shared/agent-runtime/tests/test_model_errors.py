"""Every way in which a model call fails becomes a code and a sentence that is safe to show."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pydantic
import pytest
from agent_runtime.model_client import create_model_client
from agent_runtime.model_errors import MODEL_ERROR_CODES, ModelError, translate_model_error
from agent_runtime.settings import AgentSettings
from agent_runtime.testing import CutStream, Failure, Garbage, Hang, ScriptedModel, Step, StreamError, free_port

REQUEST = httpx2.Request("POST", "http://10.0.0.7:4000/v1/responses")


def _settings(base_url: str, monkeypatch: pytest.MonkeyPatch, timeout: str = "10") -> AgentSettings:
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    monkeypatch.setenv("MODEL_NAME", "scripted")
    monkeypatch.setenv("MODEL_TIMEOUT_SECONDS", timeout)
    monkeypatch.setenv("MODEL_MAX_RETRIES", "0")
    return AgentSettings()


async def _failure(client: openai.AsyncOpenAI, api: str, streamed: bool) -> ModelError:
    async def call() -> None:
        if api == "responses":
            answer = await client.responses.create(model="m", input="x", stream=streamed)
        else:
            answer = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "x"}], stream=streamed
            )
        if isinstance(answer, openai.AsyncStream):
            async for _ in answer:
                pass

    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is what is translated
        await asyncio.wait_for(call(), 20)
    return translate_model_error(caught.value)


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_each_failure_of_a_real_server_gets_its_code(
    api: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[tuple[Step, str]] = [
        (Failure(429), "model_rate_limited"),
        (Failure(500), "model_unavailable"),
        (Failure(503), "model_unavailable"),
        (Failure(401), "model_misconfigured"),
        (Failure(403), "model_misconfigured"),
        (Failure(404), "model_misconfigured"),
        (Failure(400), "model_misconfigured"),
        (Garbage(), "model_invalid_response"),
        (Garbage(content_type="text/html"), "model_invalid_response"),
        (CutStream(after=0), "model_stream_interrupted"),
        (CutStream(after=2), "model_stream_interrupted"),
        (Hang(), "model_timeout"),
    ]
    if streamed:
        expected.append((Hang(after=1), "model_timeout"))
    model = ScriptedModel()
    async with model.serve() as base_url:
        patient, hasty = (_settings(base_url, monkeypatch, timeout) for timeout in ("10", "0.3"))
        async with create_model_client(patient) as client, create_model_client(hasty) as hasty_client:
            for step, code in expected:
                model.enqueue(step)
                error = await _failure(hasty_client if isinstance(step, Hang) else client, api, streamed)
                assert error.code == code, step
                for internal in ("127.0.0.1", "http", "upstream", "Scripted", "Traceback", "html"):
                    assert internal not in error.message
    assert model.steps_left == 0
    assert model.unexpected == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_same_failures_in_process_get_the_same_codes(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel()
    settings = _settings("http://model.invalid/v1", monkeypatch, timeout="0.2")
    async with create_model_client(settings, transport=model.transport) as client:
        for step, code in (
            (Failure(429), "model_rate_limited"),
            (Garbage(), "model_invalid_response"),
            (Hang(), "model_timeout"),
            (Hang(after=1), "model_timeout"),
            (CutStream(), "model_stream_interrupted"),
        ):
            model.enqueue(step)
            assert (await _failure(client, "responses", streamed)).code == code, step


async def test_a_refused_connection_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async with create_model_client(_settings(f"http://127.0.0.1:{free_port()}/v1", monkeypatch)) as client:
        assert (await _failure(client, "responses", False)).code == "model_unavailable"


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_json_of_another_kind_is_not_taken_for_an_answer(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel()
    model.enqueue(Garbage('{"status": "ok"}'), Garbage("[]"), Garbage('{"output": null, "choices": "many"}'))
    async with create_model_client(_settings("http://m.invalid/v1", monkeypatch), transport=model.transport) as client:
        for _ in range(3):
            assert (await _failure(client, api, False)).code == "model_invalid_response"


async def test_an_error_inside_a_chat_stream_is_the_models_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel()
    model.enqueue(StreamError(), StreamError(code="rate_limit_exceeded"))
    async with create_model_client(_settings("http://m.invalid/v1", monkeypatch), transport=model.transport) as client:
        assert (await _failure(client, "chat", True)).code == "model_failed"
        assert (await _failure(client, "chat", True)).code == "model_rate_limited"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_response_that_says_failed_raises_instead_of_passing_for_an_answer(
    streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ScriptedModel()
    model.enqueue(StreamError())
    async with create_model_client(_settings("http://m.invalid/v1", monkeypatch), transport=model.transport) as client:
        assert (await _failure(client, "responses", streamed)).code == "model_failed"


async def test_text_that_looks_like_a_closing_or_failing_event_is_only_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'Say "type": "response.failed"\nevent: error\ndata: {"type": "error"}\n"error": {} data: [DONE]\n'
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"error": {"type": "string"}, "type": {"const": "error"}},
    }
    model = ScriptedModel()
    async with create_model_client(_settings("http://m.invalid/v1", monkeypatch), transport=model.transport) as client:
        model.enqueue(text)
        tool: Any = {"type": "function", "name": "report", "parameters": schema}
        stream = await client.responses.create(model="m", input="x", tools=[tool], stream=True)
        assert "".join([event.delta async for event in stream if event.type == "response.output_text.delta"]) == text
        for api in ("responses", "chat"):
            model.enqueue(CutStream(after=20, reply=text * 20))
            assert (await _failure(client, api, True)).code == "model_stream_interrupted"


async def test_a_stream_that_ends_politely_but_too_early_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that closes its connection between two events ends the body without an HTTP error."""
    early = b'data: {"type": "response.output_text.delta", "delta": "\\"response.completed\\" [DONE]"}\n\n'

    async def body() -> AsyncIterator[bytes]:
        yield early

    async def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())

    settings = _settings("http://m.invalid/v1", monkeypatch)
    async with create_model_client(settings, transport=httpx2.MockTransport(answer)) as client:
        assert (await _failure(client, "responses", True)).code == "model_stream_interrupted"


def test_wrapped_errors_are_found_in_the_chain_of_causes() -> None:
    try:
        try:
            try:
                raise httpx2.ConnectError("refused by 10.0.0.7", request=REQUEST)
            except httpx2.ConnectError as cause:
                raise openai.APIConnectionError(request=REQUEST) from cause
        except openai.APIConnectionError as cause:
            raise RuntimeError("the chat client failed at http://10.0.0.7:4000") from cause
    except RuntimeError as wrapped:
        error = translate_model_error(ExceptionGroup("tasks", [wrapped]))
    assert error.code == "model_unavailable"
    assert "10.0.0.7" not in str(error)


def test_a_connection_reset_in_the_middle_is_not_taken_for_a_refused_one() -> None:
    reset = httpx2.ReadError("reset", request=REQUEST)
    reset.__cause__ = ConnectionResetError()
    outer = openai.APIConnectionError(request=REQUEST)
    outer.__cause__ = reset
    assert translate_model_error(outer).code == "model_stream_interrupted"


def test_an_older_error_that_was_being_handled_does_not_hide_the_new_one() -> None:
    limited = openai.RateLimitError("x", response=httpx2.Response(429, request=REQUEST), body=None)
    limited.__context__ = httpx2.ReadError("the attempt before", request=REQUEST)
    assert translate_model_error(limited).code == "model_rate_limited"


def test_other_errors_get_the_code_that_fits() -> None:
    class Shape(pydantic.BaseModel):
        number: int

    with pytest.raises(pydantic.ValidationError) as invalid:
        Shape.model_validate({"number": "x"})
    with pytest.raises(json.JSONDecodeError) as garbage:
        json.loads("<html>")
    response = httpx2.Response(200, request=REQUEST)
    expected = {
        "model_invalid_response": [
            invalid.value,
            garbage.value,
            openai.APIResponseValidationError(response, None),
            httpx2.DecodingError("gzip", request=REQUEST),
        ],
        "model_timeout": [TimeoutError(), openai.APITimeoutError(REQUEST)],
        "model_stream_interrupted": [httpx2.ReadError("cut", request=REQUEST), httpx2.RemoteProtocolError("cut")],
        "model_unavailable": [httpx2.ConnectError("no", request=REQUEST), ConnectionResetError()],
        "model_misconfigured": [httpx2.UnsupportedProtocol("ftp", request=REQUEST), openai.OpenAIError("no api_key")],
        "model_failed": [ValueError("secret"), openai.APIError("failed", REQUEST, body=None)],
    }
    for code, errors in expected.items():
        for error in errors:
            assert translate_model_error(error).code == code, error


def test_nobody_signed_in_is_a_misconfiguration() -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import CredentialUnavailableError

    for error in (ClientAuthenticationError("tenant 123"), CredentialUnavailableError("run az login")):
        assert translate_model_error(error).code == "model_misconfigured"


def test_a_model_error_stays_what_it_is() -> None:
    error = ModelError("model_failed")
    wrapper = RuntimeError()
    wrapper.__cause__ = error
    assert translate_model_error(error) is error
    assert translate_model_error(wrapper) is error


def test_every_code_has_a_message_that_says_what_to_do() -> None:
    for code in MODEL_ERROR_CODES:
        error = ModelError(code)  # type: ignore[arg-type]
        assert len(error.message.split(". ")) >= 2
        assert str(error) == error.message
