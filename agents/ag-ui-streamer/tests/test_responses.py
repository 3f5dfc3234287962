"""The same assistant for the official `openai` client, on the host that also speaks AG-UI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from agent_runtime.model_exchange import ModelReply, ToolCall
from agent_runtime.testing.azd_invoke import AzdLocalInvoke
from agent_runtime.testing.scripted_model import Failure, ScriptedModel


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as client:
        yield client


async def test_an_answer_shows_the_tool_call_its_result_and_the_text(served) -> None:
    async with served() as url, client_of(url) as client:
        response = await client.responses.create(model="any", input="How long can a customer return unworn boots?")
        stored = await client.responses.retrieve(response.id)
    assert response.status == "completed"
    assert [item.type for item in response.output] == ["function_call", "function_call_output", "message"]
    assert "30 days" in response.output_text
    assert stored.output_text == response.output_text
    assert response.usage is not None
    assert response.usage.total_tokens > 0


async def test_a_stream_concatenates_to_the_final_text(served) -> None:
    async with served() as url, client_of(url) as client:
        deltas, final = [], ""
        async with await client.responses.create(
            model="any", input="Can worn boots be returned?", stream=True
        ) as stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    deltas.append(event.delta)
                if event.type == "response.completed":
                    final = event.response.output_text
    assert len(deltas) > 1
    assert "".join(deltas) == final != ""


@pytest.mark.parametrize("chain", ["previous_response_id", "conversation"])
async def test_the_next_turn_knows_the_last_one(served, chain: str) -> None:
    model = ScriptedModel()
    model.enqueue(
        [ToolCall("call_1", "lookup_order", '{"order_id": "NP-10001"}')], "It is on its way.", "Since Monday."
    )
    async with served(model) as url, client_of(url) as client:
        extra = {"conversation": "6f1c2a52-7a0e-4f0b-9a53-2f2f4e0a9c11"} if chain == "conversation" else {}
        first = await client.responses.create(model="any", input="Where is NP-10001?", **extra)
        if chain == "previous_response_id":
            extra = {"previous_response_id": first.id}
        second = await client.responses.create(model="any", input="Since when?", **extra)
    assert second.output_text == "Since Monday."
    roles = [message.role for message in model.requests[2].messages if message.role != "system"]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_a_model_failure_is_a_failed_response_with_a_code(served) -> None:
    model = ScriptedModel()
    model.enqueue(Failure(500))
    async with served(model) as url, client_of(url) as client:
        response = await client.responses.create(model="any", input="Hello?")
    assert response.status == "failed"
    assert response.error is not None
    assert response.error.code == "model_unavailable"


async def test_azd_prints_the_answer_over_responses_too(served) -> None:
    async with served() as url:
        shown = await AzdLocalInvoke(url).responses("How long can a customer return unworn boots?")
    assert "30 days" in shown


async def test_bad_input_on_responses_is_a_4xx_with_a_code(served) -> None:
    async with served() as url, client_of(url) as client:
        with pytest.raises(openai.BadRequestError) as empty:
            await client.responses.create(model="any", input="")
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.responses.retrieve("caresp_" + "0" * 48)
    assert empty.value.code
    assert unknown.value.code


async def test_another_user_can_neither_read_nor_continue_a_response(served) -> None:
    model = ScriptedModel(lambda request: ModelReply("Hello."))
    async with served(model) as url, client_of(url) as client:
        response = await client.responses.create(model="any", input="Hello", extra_headers={"x-agent-user-id": "alice"})
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response.id, extra_headers={"x-agent-user-id": "bob"})
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(
                model="any", input="Go on", previous_response_id=response.id, extra_headers={"x-agent-user-id": "bob"}
            )
        own = await client.responses.retrieve(response.id, extra_headers={"x-agent-user-id": "alice"})
    assert own.output_text == "Hello."
