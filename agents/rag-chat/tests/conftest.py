"""A small handbook, an agent that answers from it by a scripted model, and the official client to ask it with."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from agent_runtime.model_exchange import ToolCall
from agent_runtime.settings import load_settings
from agent_runtime.testing import ScriptedModel, serve
from openai import AsyncOpenAI
from rag_chat.app import build_app
from rag_chat.settings import RagChatSettings

DOCUMENTS = {
    "returns": "---\ntitle: Returns\nupdated: 2026-03-01\n---\n# Returns\n\n## Period\n\n"
    "Unused gear can be returned within 60 days.\n\n## Costs\n\nA return label for Norway costs NOK 99.\n",
    "warranty": "---\ntitle: Warranty\n---\n# Warranty\n\nTents are covered for ten years.\n",
}


Search = Callable[..., list[ToolCall]]


@pytest.fixture
def search() -> Search:
    """`search(query)` is the step of a model that searches."""

    def step(query: str, call_id: str = "call_1") -> list[ToolCall]:
        return [ToolCall(call_id, "search_handbook", json.dumps({"query": query}))]

    return step


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=20.0)


@pytest.fixture
def handbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folder / f"{name}.md").write_text(text)
    monkeypatch.setenv("HANDBOOK_DIR", str(folder))
    monkeypatch.setenv("HANDBOOK_BASE_URL", "https://handbook.test/")
    return folder


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


Agent = Callable[..., AbstractAsyncContextManager[AsyncOpenAI]]


@pytest.fixture
def agent(handbook: Path, model: ScriptedModel) -> Agent:
    """`async with agent() as ask:` an `openai` client of an agent, whose model is in this process unless told otherwise."""

    @asynccontextmanager
    async def running(other: ScriptedModel | None = None, *, in_process: bool = True) -> AsyncIterator[AsyncOpenAI]:
        transport = (other or model).transport if in_process else None
        app = build_app(load_settings(RagChatSettings), transport=transport)
        async with serve(app) as url, client(url) as ask:
            yield ask

    return running
