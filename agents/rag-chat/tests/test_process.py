"""The agent as its users start it: a process, its start, its memory, its end."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agent_runtime.testing import AgentProcess, Hang, ScriptedModel
from openai import APIError, AsyncOpenAI


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=20.0)


@pytest.fixture
def searching(search: Any) -> ScriptedModel:
    """A model that searches for what it is asked, and answers with the text of the best passage."""

    def script(request: Any) -> Any:
        last = request.messages[-1]
        if last.role == "user":
            return search(last.text)
        passages = json.loads(last.text)["passages"]
        return f"{passages[0]['text']} [{passages[0]['number']}]" if passages else "Not there."

    return ScriptedModel(script)


async def test_a_document_added_to_the_folder_is_answered_from_after_a_restart(
    handbook: Path, searching: ScriptedModel
) -> None:
    question = "How often must crampons be sharpened?"
    async with searching.serve() as base_url:
        process = AgentProcess("rag_chat", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "scripted"})
        async with process, client(process.url) as ask:
            assert (await ask.responses.create(input=question)).output_text == "Not there."
        (handbook / "crampons.md").write_text("# Crampons\n\n## Care\n\nSharpen them by hand after ten days on ice.\n")
        async with process, client(process.url) as ask:
            response = await ask.responses.create(input=question)
            (citation,) = response.output[-1].content[0].annotations
            assert response.output_text == "Sharpen them by hand after ten days on ice."
            assert citation.url == "https://handbook.test/crampons#care"
            assert "1 added, 0 changed, 0 removed, 2 unchanged" in process.output()


async def test_it_starts_with_a_few_plain_lines_and_idles_in_little_memory(handbook: Path) -> None:
    async with AgentProcess("rag_chat") as process:
        lines = process.output().splitlines()
        assert len(lines) <= 6
        assert not any("{" in line or "WARNING" in line.upper() for line in lines)
        assert process.rss_mb() < 120
        assert await process.terminate() == 0


@pytest.mark.parametrize("background", [True, False])
async def test_an_answer_that_a_shutdown_cuts_is_failed_and_keeps_its_text(handbook: Path, background: bool) -> None:
    model = ScriptedModel()
    model.enqueue(Hang(after=2, reply="These words come before the end, and " * 50 + "never."))
    seen: list[Any] = []
    text_came = asyncio.Event()

    async def read(stream: Any) -> None:
        with contextlib.suppress(httpx2.TransportError, APIError):  # the connection may end with the process
            async for event in stream:
                seen.append(event)
                if event.type == "response.output_text.delta":
                    text_came.set()

    async with model.serve() as base_url:
        env = {"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m", "AGENTSERVER_GRACEFUL_SHUTDOWN_TIMEOUT_SECONDS": "3"}
        process = AgentProcess("rag_chat", env=env)
        async with process, client(process.url) as ask:
            stream = await ask.responses.create(input="Hello?", background=background, stream=True)
            reading = asyncio.create_task(read(stream))
            await asyncio.wait_for(text_came.wait(), 10)
            assert await process.terminate() == 0
            await asyncio.wait_for(reading, 10)
        async with process, client(process.url) as ask:
            stored = await ask.responses.retrieve(seen[0].response.id)
    assert (stored.status, stored.error.code) == ("failed", "server_shutdown")
    assert stored.output_text.startswith("These words")
    assert "never" not in stored.output_text
