"""The scripted model does what a test tells it to, and fails loudly where it was told nothing."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
from agent_runtime.model_client import create_model_client
from agent_runtime.model_exchange import ModelReply, ModelRequest, ToolCall
from agent_runtime.settings import AgentSettings
from agent_runtime.testing import CutStream, Failure, Hang, ScriptedModel, Step


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture(params=["in process", "over HTTP"])
async def client(
    request: pytest.FixtureRequest, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[openai.AsyncOpenAI]:
    monkeypatch.setenv("MODEL_NAME", "scripted")
    if request.param == "in process":
        async with create_model_client(AgentSettings(), transport=model.transport) as client:
            yield client
    else:
        async with model.serve() as base_url:
            monkeypatch.setenv("OPENAI_BASE_URL", base_url)
            async with create_model_client(AgentSettings()) as client:
                yield client


async def test_steps_answer_in_order_and_requests_are_kept(model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
    model.enqueue("First.", [ToolCall("c1", "f", "{}")], ModelReply("Third.", reasoning="Because."))
    first = await client.responses.create(model="m", input="one")
    second = await client.responses.create(model="m", input="two")
    third = await client.responses.create(model="m", input="three")
    assert first.output_text == "First."
    assert [item.type for item in second.output] == ["function_call"]
    assert [item.type for item in third.output] == ["reasoning", "message"]
    assert [request.messages[-1].text for request in model.requests] == ["one", "two", "three"]
    assert model.headers[0]["content-type"] == "application/json"
    assert model.steps_left == 0


async def test_a_call_without_a_step_fails_loudly(model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
    model.enqueue("Only one.")
    await client.responses.create(model="m", input="one")
    with pytest.raises(openai.BadRequestError, match=r"no step left for call 2.*'what now\?'") as caught:
        await client.responses.create(model="m", input="what now?")
    assert caught.value.code == "script_exhausted"
    assert [request.messages[-1].text for request in model.unexpected] == ["what now?"]


async def test_a_failure_holds_for_the_whole_call_and_once_for_one_attempt(
    model: ScriptedModel, client: openai.AsyncOpenAI
) -> None:
    model.enqueue(Failure(503), Failure(503, once=True), "Back again.")
    with pytest.raises(openai.InternalServerError):
        await client.responses.create(model="m", input="x")
    assert (await client.responses.create(model="m", input="x")).output_text == "Back again."


async def test_a_cut_stream_delivers_its_first_pieces(model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
    reply = "One two three four five six seven eight nine ten eleven twelve."
    for after in (0, 1, 2):
        model.enqueue(CutStream(after=after, reply=reply))
        got = []
        with pytest.raises(openai.APIConnectionError):
            async for event in await client.responses.create(model="m", input="x", stream=True):
                if event.type == "response.output_text.delta":
                    got.append(event.delta)
        assert len(got) == after
        model.enqueue(CutStream(after=after, reply=reply))
        got = []
        with pytest.raises(openai.APIConnectionError):
            async for chunk in await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "x"}], stream=True
            ):
                if chunk.choices[0].delta.content:
                    got.append(chunk.choices[0].delta.content)
        assert len(got) == after
        assert reply.startswith("".join(got))


async def test_a_hanging_stream_goes_on_when_released(model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
    reply = "One two three four five six seven eight nine ten."
    model.enqueue(Hang(after=1, reply=reply))
    text = seen_at_the_pause = ""

    async def release() -> None:
        nonlocal seen_at_the_pause
        await asyncio.wait_for(model.hanging.wait(), 5)
        seen_at_the_pause = text
        model.release()

    releasing = asyncio.create_task(release())
    async for event in await client.responses.create(model="m", input="x", stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
    await releasing
    assert text == reply
    assert seen_at_the_pause != reply


async def test_a_function_makes_the_step_from_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(request: ModelRequest) -> Step:
        if request.messages[-1].text == "fail":
            return Failure(429)
        if request.messages[-1].text == "raise":
            raise LookupError("the test's own mistake")
        return f"You said {request.messages[-1].text}."

    model = ScriptedModel(script)
    async with create_model_client(AgentSettings(), transport=model.transport) as client:
        assert (await client.responses.create(model="m", input="hi")).output_text == "You said hi."
        with pytest.raises(openai.RateLimitError):
            await client.responses.create(model="m", input="fail")
        with pytest.raises(openai.BadRequestError, match="LookupError: the test's own mistake"):
            await client.responses.create(model="m", input="raise")


async def test_the_server_stops_while_a_call_hangs(model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.enqueue(Hang())
    monkeypatch.setenv("MODEL_NAME", "scripted")
    async with asyncio.timeout(10):
        async with model.serve() as base_url:
            monkeypatch.setenv("OPENAI_BASE_URL", base_url)
            client = create_model_client(AgentSettings())
            call = asyncio.create_task(client.responses.create(model="m", input="x"))
            await model.hanging.wait()
        await call
        await client.close()
