"""One holder of a thread at a time: others wait, one that died is waited for ten seconds, its next process not at all."""

import asyncio
from pathlib import Path

import pytest
from agent_runtime.state_store.sqlite import SqliteItems
from langgraph_planner import leases
from langgraph_planner.leases import Leases


@pytest.fixture
def store(tmp_path: Path) -> SqliteItems:
    return SqliteItems(tmp_path / "items.sqlite")


async def test_another_waits_until_the_first_has_ended(store: SqliteItems) -> None:
    here, elsewhere = Leases(store), Leases(store)
    order: list[str] = []

    async def second() -> None:
        async with elsewhere.hold("thread", "second"):
            order.append("second")

    async with here.hold("thread", "first"):
        waiting = asyncio.create_task(second())
        async with elsewhere.hold("another thread", "second"):
            order.append("another")
        assert await elsewhere.is_held("thread")
        assert not await elsewhere.is_held("thread", but_by="first")
        order.append("first")
    await asyncio.wait_for(waiting, 10)
    assert order == ["another", "first", "second"]
    assert not await here.is_held("thread")


async def test_a_holder_that_died_is_followed_by_its_next_process_at_once_and_by_others_later(
    store: SqliteItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Leases(store)
    assert await dead._take("lease/thread", "first") is not None
    async with asyncio.timeout(5), Leases(store).hold("thread", "first"):
        pass
    assert await dead._take("lease/thread", "first") is not None
    assert await Leases(store)._take("lease/thread", "second") is None
    now = leases.time.time
    monkeypatch.setattr(leases.time, "time", lambda: now() + 11)
    async with asyncio.timeout(5), Leases(store).hold("thread", "second"):
        assert await dead.is_held("thread", but_by="first")


async def test_a_holder_that_lives_keeps_it(store: SqliteItems, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_SECONDS", 0.3)
    monkeypatch.setattr(leases, "_RENEWED_EVERY", 0.02)
    async with Leases(store).hold("thread", "first"):
        etags = set()
        async with asyncio.timeout(10):
            while len(etags) < 3:
                item = await store.get("lease/thread")
                assert item is not None
                etags.add(item.etag)
                await asyncio.sleep(0.01)
    assert await store.get("lease/thread") is None


async def test_a_holder_that_slept_too_long_sees_that_another_has_it(
    store: SqliteItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_RENEWED_EVERY", 0.02)
    async with Leases(store).hold("thread", "first") as lease:
        await store.compare_and_set("lease/thread", leases._lease("second"), etag=lease.item.etag)
        async with asyncio.timeout(10):
            while not lease.is_lost:
                await store.get("lease/thread")
    assert await Leases(store).is_held("thread", but_by="first"), "the lease of the other is left alone"
