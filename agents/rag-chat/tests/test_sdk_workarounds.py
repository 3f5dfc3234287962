"""The defects that this agent works around, shown on the bare host. One that fails here is mended: delete what it names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_framework import Agent, ChatContext, ChatMiddleware, FunctionTool
from agent_framework_foundry_hosting import ResponsesHostServer
from agent_framework_openai import OpenAIChatClient
from agent_runtime.hosting import host_options
from agent_runtime.model_client import create_model_client
from agent_runtime.settings import load_settings
from agent_runtime.testing import Failure, Hang, ScriptedModel, serve
from openai import AsyncOpenAI
from rag_chat.settings import RagChatSettings


class Annotate(ChatMiddleware):
    """Gives every text a citation, as clients of models with built-in search do."""

    async def process(self, context: ChatContext, call_next: Any) -> None:
        context.stream_update_transforms.append(self._annotate)
        await call_next()

    def _annotate(self, update: Any) -> Any:
        for content in update.contents:
            if content.type == "text" and content.text:
                region = {"type": "text_span", "start_index": 0, "end_index": 1}
                citation = {"type": "citation", "url": "https://x.test", "title": "X", "annotated_regions": [region]}
                content.annotations = [citation]
        return update


@pytest.fixture
def bare(model: ScriptedModel, tmp_path: Path) -> Any:
    """The host as it comes, with an agent of one tool; gives the host and a client."""

    @asynccontextmanager
    async def running() -> AsyncIterator[tuple[Any, AsyncOpenAI]]:
        settings = load_settings(RagChatSettings)
        client = create_model_client(settings, transport=model.transport)
        tool = FunctionTool(name="search_handbook", description="Search.", func=lambda query: "[]")
        chat = OpenAIChatClient(model="m", async_client=client)
        host = ResponsesHostServer(Agent(chat, tools=[tool], middleware=[Annotate()]), **host_options(settings))
        async with serve(host) as url, AsyncOpenAI(base_url=url, api_key="x", max_retries=0, timeout=20) as ask:
            yield host, ask

    return running


async def test_the_host_drops_citations__cited_events(bare: Any, model: ScriptedModel) -> None:
    model.enqueue("Dry.")
    async with bare() as (_, ask):
        stream = await ask.responses.create(input="Tents?", stream=True)
        events = [event async for event in stream]
    assert not [event for event in events if event.type == "response.output_text.annotation.added"]
    assert events[-1].response.output[0].content[0].annotations == []


async def test_the_host_repeats_arguments__model_stream_guard(bare: Any, model: ScriptedModel, search: Any) -> None:
    model.enqueue(search("tents"), "Dry.")
    async with bare() as (_, ask):
        response = await ask.responses.create(input="Tents?")
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert call.arguments == '{"query": "tents"}{"query": "tents"}'


async def test_the_host_does_not_say_what_failed__ended_events(bare: Any, model: ScriptedModel) -> None:
    model.enqueue(Failure(status=429))
    async with bare() as (_, ask):
        response = await ask.responses.create(input="Tents?")
    assert (response.error.code, response.error.message) == ("server_error", "An internal server error occurred.")


async def test_the_host_ends_a_cut_answer_as_complete__ended_events(bare: Any, model: ScriptedModel) -> None:
    model.enqueue(Hang(after=2))
    async with bare() as (host, ask):
        stream = await ask.responses.create(input="Tents?", stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                host.request_shutdown()
        assert event.type == "response.completed"


async def test_the_host_takes_the_place_of_the_sdks_shutdown__host(bare: Any) -> None:
    async with bare() as (host, _):
        assert host._shutdown_fn.__qualname__.startswith("ResponsesHostServer.")


async def test_the_host_leaves_fields_of_the_request_empty__request_fields(bare: Any, model: ScriptedModel) -> None:
    model.enqueue("Dry.", "Yes.")
    async with bare() as (_, ask):
        first = await ask.responses.create(input="Tents?", metadata={"ticket": "7"})
        second = await ask.responses.create(input="Sure?", previous_response_id=first.id)
    assert (first.metadata, first.model, second.previous_response_id) == (None, "", None)
