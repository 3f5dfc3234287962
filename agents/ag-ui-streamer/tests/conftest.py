"""One agent on a free loopback port, with a model that the test scripts, and a reader of its event streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx2
import jsonpatch
import pytest
from ag_ui_streamer.app import build_app
from ag_ui_streamer.settings import AgUiSettings
from agent_runtime.settings import load_settings
from agent_runtime.testing.scripted_model import ScriptedModel
from agent_runtime.testing.serving import serve
from support_desk.desk import open_desk
from support_desk.handbook_index import open_handbook

NODE_CLIENT = Path(__file__).parent / "ag_ui_client"


class Serve(Protocol):
    def __call__(self, model: ScriptedModel | None = None) -> AbstractAsyncContextManager[str]: ...


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serves the agent; without a scripted model, on the offline model."""

    @asynccontextmanager
    async def run(model: ScriptedModel | None = None) -> AsyncIterator[str]:
        monkeypatch.setenv("MODEL_TIMEOUT_SECONDS", "5")
        monkeypatch.setenv("MODEL_MAX_RETRIES", "0")
        host = build_app(load_settings(AgUiSettings), transport=model.transport if model else None)
        async with serve(host) as url:
            yield url

    return run


def run_input(*texts: str, **fields: Any) -> dict[str, Any]:
    """A RunAgentInput whose messages alternate between user and assistant, ending with the user's."""
    roles = ["user", "assistant"]
    messages = [{"id": f"m{number}", "role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return {"threadId": "t1", "runId": uuid4().hex, "messages": messages, "tools": [], "context": []} | fields


@pytest.fixture
def say() -> Any:
    return run_input


async def read_events(url: str, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.post(f"{url}/invocations", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def parse(text: str, *, after: int = 0) -> list[dict[str, Any]]:
    """The events of a stream that begins after number `after`; checks its framing and that no number is missing."""
    assert "\r" not in text
    frames = [frame for frame in text.split("\n\n") if frame and not frame.startswith(":")]
    lines = [frame.split("\n") for frame in frames]
    assert [identity for identity, _ in lines] == [
        f"id: {number}" for number in range(after + 1, after + 1 + len(frames))
    ]
    assert all(data.startswith("data: ") for _, data in lines)
    return [json.loads(data.removeprefix("data: ")) for _, data in lines]


@pytest.fixture
def parsed() -> Any:
    return parse


@pytest.fixture
def events_of() -> Any:
    return read_events


def read_state(events: list[dict[str, Any]]) -> Any:
    """The state that a client has after `events`."""
    state: Any = None
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            state = event["snapshot"]
        if event["type"] == "STATE_DELTA":
            state = jsonpatch.apply_patch(state, event["delta"])
    return state


@pytest.fixture
def state_of() -> Any:
    return read_state


async def talk(url: str, turns: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    assert (NODE_CLIENT / "node_modules").is_dir(), "the client is not installed: make setup"
    script = {"url": f"{url}/invocations", "threadId": "thread-node", "turns": turns} | fields
    process = await asyncio.create_subprocess_exec(
        "node", str(NODE_CLIENT / "converse.mjs"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, errors = await asyncio.wait_for(process.communicate(json.dumps(script).encode()), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen


@pytest.fixture(name="converse")
def node_client() -> Any:
    return talk


async def refunded() -> list[str]:
    """The amounts of the desk's refunds."""
    settings = load_settings(AgUiSettings)
    page = await open_desk(settings, open_handbook(settings)).ledger.entries()
    return [entry.arguments["amount"] for entry in page.entries if entry.tool == "issue_refund"]


@pytest.fixture
def refunds() -> Any:
    return refunded
