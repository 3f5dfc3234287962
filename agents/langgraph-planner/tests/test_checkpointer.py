"""LangGraph's own tests of checkpointers, all of them, over the state store that the planner uses; and what they leave out."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.state_store import StateStore
from agent_runtime.state_store.sqlite import SqliteItems
from agent_runtime.testing.foundry_state import StateService, serve_foundry_items
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph_planner.checkpointer import StateStoreSaver


@checkpointer_test(name="StateStoreSaver over SQLite")
async def over_sqlite() -> AsyncIterator[StateStoreSaver]:
    with tempfile.TemporaryDirectory() as folder:
        items = SqliteItems(Path(folder) / "items.sqlite")
        yield StateStoreSaver(items)
        await items.close()


@checkpointer_test(name="StateStoreSaver over Foundry's store")
async def over_foundry() -> AsyncIterator[StateStoreSaver]:
    async with serve_foundry_items(StateService()) as items:
        yield StateStoreSaver(items)


@pytest.fixture
def _hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDK's client wants to see before it connects."""
    monkeypatch.setenv("FOUNDRY_HOSTING_ENVIRONMENT", "sandbox")
    monkeypatch.setenv("AZURE_AI_AGENTSERVER_DISABLE_EXPERIMENTAL_WARNING", "true")


@pytest.mark.parametrize("saver", [over_sqlite, over_foundry], ids=["sqlite", "foundry"])
@pytest.mark.usefixtures("_hosted")
async def test_it_passes_langgraphs_conformance_tests_with_every_capability(saver: Any) -> None:
    report = await validate(saver)
    failures = {name: result.failures for name, result in report.results.items() if not result.passed}
    assert failures == {}
    assert {name for name, result in report.results.items() if result.tests_passed} == {
        "put",
        "put_writes",
        "get_tuple",
        "list",
        "delete_thread",
        "delete_for_runs",
        "copy_thread",
        "prune",
    }


@pytest.fixture(params=["sqlite", "foundry"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, _hosted: None) -> AsyncIterator[StateStore]:
    if request.param == "foundry":
        async with serve_foundry_items(StateService()) as items:
            yield items
    else:
        yield SqliteItems(tmp_path / "items.sqlite")


async def filled(store: StateStore, thread: str, checkpoints: int) -> StateStoreSaver:
    one = StateStoreSaver(store)
    place: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    for number in range(checkpoints):
        place = await one.aput(place, empty_checkpoint(), {"step": number}, {})
        await one.aput_writes(place, [("log", number), ("branch:to:report", None)], f"task-{number}")
    return one


async def test_pruning_leaves_no_writes_behind_and_touches_no_other_thread(store: StateStore) -> None:
    one = await filled(store, "finished", 5)
    await filled(store, "other", 3)
    await one.aprune(["finished"])
    left = [item async for item in one._items({})]
    assert sorted(item.tags["kind"] for item in left) == ["checkpoint"] * 4 + ["write"] * 4
    newest = await one.aget_tuple({"configurable": {"thread_id": "finished"}})
    assert newest is not None
    assert newest.metadata["step"] == 4
    assert [value for _, channel, value in newest.pending_writes or () if channel == "log"] == [4]
    await one.aprune(["finished", "other"], strategy="delete")
    assert [item async for item in one._items({})] == []
    with pytest.raises(ValueError, match="keep_latest"):
        await one.aprune(["other"], strategy="keep_some")


async def test_a_thread_of_several_pages_is_pruned_and_deleted_whole(store: StateStore) -> None:
    """A page's cursor is the last item of it, which must still be there when the next page is read."""
    one = await filled(store, "long", 60)
    await one.aprune(["long"])
    assert sorted([item.tags["kind"] async for item in one._items({})]) == ["checkpoint", "write"]
    await filled(store, "long", 60)
    await one.adelete_thread("long")
    assert [item async for item in one._items({})] == []
