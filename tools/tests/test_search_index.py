"""The verb search-index, against a local server that checks requests by the models of the SDK."""

import asyncio
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.testing.azure_search_service import (
    ENDPOINT,
    AzureSearchService,
    LoopbackTransport,
    TestCredential,
)
from repo_tools.search_index import command


@pytest.fixture
def service() -> Iterator[tuple[AzureSearchService, str]]:
    """In a thread: the verb has an event loop of its own."""
    server, started = AzureSearchService(), threading.Event()
    state: dict[str, Any] = {}

    async def serve() -> None:
        state["loop"], state["stop"] = asyncio.get_running_loop(), asyncio.Event()
        async with server.serve() as url:
            state["url"] = url
            started.set()
            await state["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(20)
    yield server, state["url"]
    state["loop"].call_soon_threadsafe(state["stop"].set)
    thread.join(20)


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "load_dotenv", lambda _: None)
    monkeypatch.setenv("MODEL_PROVIDER", "offline")
    monkeypatch.setenv("AZURE_SEARCH_ENDPOINT", ENDPOINT)
    monkeypatch.setenv("AZURE_SEARCH_INDEX", "handbook")
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "care.md").write_text("# Care\n\n## Wool\n\nWool is washed at thirty degrees.\n")
    (folder / "tents.md").write_text("# Tents\n\nA tent is dried within a day.\n")
    return folder


def run(url: str, action: str, docs: Path, *, dry_run: bool = False) -> int:
    options = Namespace(action=action, docs=docs, dry_run=dry_run)
    return command.run(options, credential=TestCredential(), transport=LoopbackTransport(url))


def test_only_what_changed_is_pushed_and_what_is_gone_is_deleted(
    service: tuple[AzureSearchService, str], documents: Path
) -> None:
    server, url = service
    assert run(url, "create", documents) == 0
    assert run(url, "push", documents, dry_run=True) == 0
    assert server.batches == []
    assert run(url, "push", documents) == 0
    first = set(server.documents["handbook"])
    assert len(first) == 2
    server.batches.clear()
    assert run(url, "push", documents) == 0
    assert server.batches == []
    (documents / "tents.md").unlink()
    (documents / "care.md").write_text("# Care\n\n## Wool\n\nWool is washed by hand.\n")
    assert run(url, "push", documents) == 0
    assert [[action["@search.action"] for action in batch] for batch in server.batches] == [["upload"], ["delete"]]
    (left,) = server.documents["handbook"].values()
    assert "by hand" in left["text"]
    assert run(url, "delete", documents) == 0
    assert server.indexes == {}


def test_failed_documents_are_named(
    service: tuple[AzureSearchService, str], documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, url = service
    run(url, "create", documents)
    run(url, "push", documents)
    (key, *_) = server.documents["handbook"]
    server.documents["handbook"].clear()
    server.fail_keys = {key}
    assert run(url, "push", documents) == 1
    assert f"{key}: 422" in capsys.readouterr().err
    assert key not in server.documents["handbook"]


@pytest.mark.parametrize(("status", "words"), [(403, "Search Index Data Contributor"), (404, "search-index create")])
def test_a_refusal_says_what_to_do(
    service: tuple[AzureSearchService, str],
    documents: Path,
    capsys: pytest.CaptureFixture[str],
    status: int,
    words: str,
) -> None:
    server, url = service
    server.refuse = status
    assert run(url, "push", documents) == 1
    assert words in capsys.readouterr().err


def test_an_endpoint_without_tls_is_refused(
    documents: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZURE_SEARCH_ENDPOINT", "http://search.example")
    assert command.run(Namespace(action="push", docs=documents, dry_run=False)) == 2
    assert "https://" in capsys.readouterr().err
