"""The planner on a free loopback port, with a model that the test scripts, and the real handbook and order book."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import openai
import pytest
from agent_runtime.model_exchange import ModelReply
from agent_runtime.settings import load_settings
from agent_runtime.state_store import StateStore
from agent_runtime.testing.scripted_model import ScriptedModel
from agent_runtime.testing.serving import serve
from langgraph_planner.app import build_app
from langgraph_planner.checkpointer import StateStoreSaver
from langgraph_planner.graph import Planner, compile_graph
from langgraph_planner.model_calls import Model
from langgraph_planner.runs import Runs
from langgraph_planner.settings import PlannerSettings
from support_desk.desk import Desk, open_desk
from support_desk.handbook import load_runbooks
from support_desk.handbook_index import open_handbook
from support_desk.ledger import LedgerEntry


class Served(Protocol):
    def __call__(
        self, model: ScriptedModel | None = None, *, now: Callable[[], float] = time.time
    ) -> AbstractAsyncContextManager[openai.AsyncOpenAI]: ...


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Serves the agent, and gives an official client; without a scripted model, on the offline model."""

    @asynccontextmanager
    async def run(
        model: ScriptedModel | None = None, *, now: Callable[[], float] = time.time
    ) -> AsyncIterator[openai.AsyncOpenAI]:
        monkeypatch.setenv("MODEL_TIMEOUT_SECONDS", "5")
        monkeypatch.setenv("MODEL_MAX_RETRIES", "0")
        host = build_app(load_settings(PlannerSettings), transport=model.transport if model else None, now=now)
        async with serve(host) as url, openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as client:
            yield client

    return run


def chosen(runbook: str | None) -> ModelReply:
    return ModelReply(json.dumps({"runbook": runbook}))


def planned(*steps: dict[str, Any]) -> ModelReply:
    """A plan whose steps wait for each other, where they do not say otherwise."""
    numbered = [
        {"id": f"s{number}", "reason": "because", "depends_on": [f"s{number - 1}"] if number > 1 else []} | step
        for number, step in enumerate(steps, start=1)
    ]
    return ModelReply(json.dumps({"goal": "help", "assumptions": [], "steps": numbered}))


def looked_up(order_id: str) -> dict[str, Any]:
    return {"tool": "lookup_order", "arguments": {"order_id": order_id}}


def refunded(order_id: str, amount: str, currency: str) -> dict[str, Any]:
    arguments = {"order_id": order_id, "amount": amount, "currency": currency, "reason": "damaged", "note": "n"}
    return {"tool": "issue_refund", "arguments": arguments}


@pytest.fixture
def script() -> Any:
    """The replies of a model that plans: `script.chosen(...)`, `script.planned(...)`."""

    class Script:
        chosen = staticmethod(chosen)
        planned = staticmethod(planned)
        looked_up = staticmethod(looked_up)
        refunded = staticmethod(refunded)

    return Script


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    settings = load_settings(PlannerSettings)
    opened = open_desk(settings, open_handbook(settings))
    yield opened
    await opened.close()


class NewProcess(Protocol):
    def __call__(self, model: ScriptedModel, store: StateStore) -> Runs: ...


@pytest.fixture
def new_process(desk: Desk) -> NewProcess:
    """Makes runs below the protocol, which know nothing but what is stored, with the settings of the environment."""

    def start(model: ScriptedModel, store: StateStore) -> Runs:
        settings = load_settings(PlannerSettings)
        runbooks = load_runbooks(settings.handbook_dir)
        planner = Planner(Model(settings, transport=model.transport), desk, runbooks, settings)
        saver = StateStoreSaver(store)
        return Runs(compile_graph(planner, saver), store, most_seconds=300, pruned=saver)

    return start


@pytest.fixture
def ledger() -> Any:
    """What was done for real: the desk's ledger, read after the agent has stopped."""

    async def entries() -> list[LedgerEntry]:
        desk = open_desk(load_settings(PlannerSettings))
        try:
            return list((await desk.ledger.entries(limit=100)).entries)
        finally:
            await desk.close()

    return entries


@pytest.fixture
def empty_handbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    monkeypatch.setenv("HANDBOOK_DIR", str(folder))
    return folder
