"""A turn tells the same whenever it is told again, also when the run has gone on, and moves nothing that is not its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.settings import SettingsError, load_settings
from agent_runtime.state_store import StateConflict, StateStore, StateStoreUnavailable
from agent_runtime.state_store.sqlite import SqliteItems
from agent_runtime.testing.scripted_model import ScriptedModel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph_planner import leases
from langgraph_planner.checkpointer import StateStoreSaver
from langgraph_planner.leases import Leases
from langgraph_planner.progress import ApprovalNeeded, InterruptRaised, Told
from langgraph_planner.runs import Runs, Turn
from langgraph_planner.settings import PlannerSettings

CASE = "Order NP-10274 arrived broken."


@pytest.fixture
def runs(script: Any, new_process: Any, state_store: StateStore, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("MAX_REPLANS", "0")
    model = ScriptedModel()
    model.enqueue(
        script.chosen("damaged-on-arrival"),
        script.planned(
            script.looked_up("NP-10274"),
            script.refunded("NP-10274", "1.50", "CHF"),
            script.looked_up("NP-10231"),
            script.refunded("NP-10274", "0.50", "CHF"),
        ),
    )
    started: Runs = new_process(model, state_store)
    return started


@pytest.fixture
def state_store(tmp_path: Path) -> StateStore:
    return SqliteItems(tmp_path / "items.sqlite")


async def told(runs: Runs, turn: Turn) -> list[Any]:
    return [entry async for entry in runs.follow(turn)]


async def test_a_turn_that_asked_is_told_the_same_after_its_answer_moved_the_run_on(runs: Runs, ledger) -> None:
    first = Turn("response-1", "thread", CASE)
    asked = await told(runs, first)
    interrupt, request, message = asked[-3:]
    assert isinstance(interrupt, InterruptRaised)
    assert isinstance(request, ApprovalNeeded)
    assert isinstance(message, Told)

    answer = await runs.answer("response-2", "thread", {request.interrupt_id: {"approve": True}})
    going_on = runs.follow(answer)
    assert (await anext(going_on)).call_id  # type: ignore[attr-defined]
    # The first process died before its task's record was gone: the next one tells the first turn again, meanwhile.
    assert await told(runs, first) == asked
    rest = [entry async for entry in going_on]
    assert isinstance(rest[-2], ApprovalNeeded)
    assert rest[-2].interrupt_id != request.interrupt_id
    assert await told(runs, first) == asked
    assert (await told(runs, answer))[1:] == rest
    assert [entry.tool for entry in await ledger()] == ["issue_refund"]


async def test_a_runner_that_slept_lets_the_next_one_run_and_then_tells_the_rest(
    runs: Runs, state_store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_RENEWED_EVERY", 0.01)
    turn = Turn("response-1", "thread", CASE)
    entries = runs.follow(turn)
    shown = [await anext(entries)]
    async with asyncio.timeout(10):
        while not await _taken_over(state_store, "response-2"):
            pass
    async with asyncio.timeout(10), Leases(state_store).hold("thread", "response-2"):
        rest = asyncio.create_task(_all(entries))
        await asyncio.wait([rest], timeout=0.5)
        assert not rest.done(), "two drive one run"
    shown += await asyncio.wait_for(rest, 30)
    assert isinstance(shown[-2], ApprovalNeeded)
    assert await told(runs, turn) == shown


async def _taken_over(store: StateStore, holder: str) -> bool:
    """Whether the lease is the holder's now. The one that has it may renew it in between."""
    held = await store.get("lease/thread")
    assert held is not None
    with suppress(StateConflict):
        await store.compare_and_set(held.key, leases._lease(holder), etag=held.etag)
        return True
    return False


async def _all(entries: AsyncIterator[Any]) -> list[Any]:
    return [entry async for entry in entries]


async def test_of_a_turn_that_has_ended_only_the_newest_checkpoint_is_kept(runs: Runs) -> None:
    request = (await told(runs, Turn("response-1", "thread", CASE)))[-2]
    assert runs._pruned is not None
    config: Any = {"configurable": {"thread_id": "thread"}}
    assert len([one async for one in runs._pruned.alist(config)]) == 1
    answers = {request.interrupt_id: {"approve": True}}
    await told(runs, await runs.answer("response-2", "thread", answers))
    assert len([one async for one in runs._pruned.alist(config)]) == 1


def test_an_approval_cannot_outlive_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_DAYS", "2")
    with pytest.raises(SettingsError, match="APPROVAL_HOURS"):
        load_settings(PlannerSettings)
    monkeypatch.setenv("APPROVAL_HOURS", "48")
    assert load_settings(PlannerSettings).run_days == 2


async def test_a_response_that_answers_gets_the_same_turn_again(runs: Runs) -> None:
    request = (await told(runs, Turn("response-1", "thread", CASE)))[-2]
    answers = {request.interrupt_id: {"approve": True}}
    answer = await runs.answer("response-2", "thread", answers)
    assert not answer.late
    assert await runs.answer("response-2", "thread", answers) == answer
    late = await runs.answer("response-3", "thread", answers)
    assert late.late
    assert [type(entry) for entry in await told(runs, late)] == [Told]


async def test_of_a_tasks_writes_all_are_stored_or_none(state_store: StateStore) -> None:
    """LangGraph takes a task with some of its writes for one that has ended."""
    saver = StateStoreSaver(state_store)
    config: Any = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}
    checkpoint = empty_checkpoint()
    place = await saver.aput(config, checkpoint, {}, {})
    writes = [("facts", {"order_id": "NP-10274"}), ("log", []), ("branch:to:find_runbook", None)]

    puts = state_store.put_if_absent
    done: list[str] = []

    async def dies_after_the_first(key: str, value: Any, **more: Any) -> Any:
        if done:
            raise StateStoreUnavailable("killed")
        done.append(key)
        return await puts(key, value, **more)

    state_store.put_if_absent = dies_after_the_first  # type: ignore[method-assign]
    with suppress(StateStoreUnavailable):
        await saver.aput_writes(place, writes, "task")
    found = await saver.aget_tuple(place)
    assert found is not None
    assert [(channel, value) for _, channel, value in found.pending_writes or ()] in (writes, [])
