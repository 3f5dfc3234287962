"""What a state store promises, held for both backends: SQLite, and Foundry's client over the SDK's own local backend."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from agent_runtime.settings import AgentSettings, load_settings
from agent_runtime.state_store import (
    InvalidStateItem,
    StateConflict,
    StateStore,
    StateStoreUnavailable,
    StoredItem,
    open_state_store,
)
from agent_runtime.state_store.foundry import FoundryItems, open_foundry_store
from agent_runtime.state_store.sqlite import SqliteItems

LIFETIME = timedelta(seconds=100)


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


Opener = Callable[[], StateStore]


@pytest.fixture(params=["sqlite", "foundry"])
async def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opener]:
    monkeypatch.setenv("AZURE_AI_AGENTSERVER_DISABLE_EXPERIMENTAL_WARNING", "true")
    opened: list[Any] = []

    def opener() -> StateStore:
        store: Any
        if request.param == "sqlite":
            store = SqliteItems(tmp_path / "items.sqlite", expires_after=LIFETIME, now=clock)
        else:
            # Its own lifetime is none, so that ours, which `clock` moves, is what ends an item.
            store = FoundryItems(lambda: open_foundry_store("items", None), expires_after=LIFETIME, now=clock)
        opened.append(store)
        return store

    yield opener
    for store in opened:
        await store.close()


@pytest.fixture
def store(open_store: Opener) -> StateStore:
    return open_store()


async def test_an_item_comes_back_as_it_was_put(store: StateStore, open_store: Opener) -> None:
    value = {"text": "grüße 😀", "list": [1, 2.5, None, True], "nested": {"a": {}}}
    stored, item = await store.put_if_absent("case/1", value, tags={"state": "new"})
    assert stored
    assert item == await store.get("case/1") == await open_store().get("case/1")
    assert (item.key, item.value, dict(item.tags)) == ("case/1", value, {"state": "new"})


@pytest.mark.parametrize("value", [None, 0, "text", [], {}, False])
async def test_any_json_value_can_be_stored(store: StateStore, value: Any) -> None:
    await store.put_if_absent("k", value)
    item = await store.get("k")
    assert item is not None
    assert item.value == value


async def test_what_was_never_put_is_none(store: StateStore) -> None:
    assert await store.get("nothing") is None
    assert await store.delete("nothing") is False


async def test_the_first_put_wins_and_the_second_learns_what_is_there(store: StateStore) -> None:
    _, first = await store.put_if_absent("k", 1)
    stored, present = await store.put_if_absent("k", 2, tags={"a": "b"})
    assert (stored, present) == (False, first)


async def test_of_many_puts_at_once_one_wins(store: StateStore) -> None:
    results = await asyncio.gather(*(store.put_if_absent("k", n) for n in range(20)))
    assert sum(stored for stored, _ in results) == 1
    assert len({item.value for _, item in results}) == 1


async def test_compare_and_set_needs_the_current_etag(store: StateStore) -> None:
    _, first = await store.put_if_absent("k", 1, tags={"state": "new"})
    second = await store.compare_and_set("k", 2, etag=first.etag)
    assert (second.value, second.etag != first.etag, dict(second.tags)) == (2, True, {"state": "new"})
    assert second.created_at == first.created_at
    with pytest.raises(StateConflict):
        await store.compare_and_set("k", 3, etag=first.etag)
    with pytest.raises(StateConflict):
        await store.compare_and_set("other", 3, etag=first.etag)
    assert await store.get("k") == second


async def test_increments_by_compare_and_set_lose_nothing(open_store: Opener) -> None:
    stores = [open_store(), open_store()]
    await stores[0].put_if_absent("k", 0)

    async def add_ten(store: StateStore) -> None:
        done = 0
        while done < 10:
            item = await store.get("k")
            assert item is not None
            try:
                await store.compare_and_set("k", item.value + 1, etag=item.etag)
                done += 1
            except StateConflict:
                continue

    await asyncio.wait_for(asyncio.gather(*(add_ten(store) for store in stores)), 30)
    item = await stores[0].get("k")
    assert item is not None
    assert item.value == 20


async def test_delete_removes_the_item_and_respects_an_etag(store: StateStore) -> None:
    _, item = await store.put_if_absent("k", 1, tags={"a": "b"})
    with pytest.raises(StateConflict):
        await store.delete("k", etag="wrong")
    assert await store.delete("k", etag=item.etag) is True
    assert await store.get("k") is None
    assert (await store.list({"a": "b"})).items == []
    stored, again = await store.put_if_absent("k", 2)
    assert stored
    assert again.etag != item.etag


async def test_many_items_are_deleted_at_once_and_those_that_are_not_there_do_not_matter(store: StateStore) -> None:
    for number in range(12):
        await store.put_if_absent(f"k{number}", number, tags={"kind": "old"})
    await store.delete_all([f"k{number}" for number in range(1, 12)] + ["never"])
    await store.delete_all([])
    assert [item.key for item in (await store.list({"kind": "old"})).items] == ["k0"]
    assert (await store.put_if_absent("k1", "again"))[0]
    with pytest.raises(InvalidStateItem):
        await store.delete_all(["k0", ""])
    assert await store.get("k0") is not None


async def test_an_item_expires_after_its_last_write_and_its_key_is_free_again(store: StateStore, clock: Clock) -> None:
    _, item = await store.put_if_absent("k", 1, tags={"a": "b"})
    assert item.expires_at == item.created_at + LIFETIME
    clock.time += 60
    item = await store.compare_and_set("k", 2, etag=item.etag)
    clock.time += 99
    assert await store.get("k") == item
    clock.time += 1
    assert await store.get("k") is None
    assert (await store.list({"a": "b"})).items == []
    assert await store.delete("k") is False
    with pytest.raises(StateConflict):
        await store.compare_and_set("k", 3, etag=item.etag)
    stored, new = await store.put_if_absent("k", 4)
    assert (stored, new.value, dict(new.tags)) == (True, 4, {})


async def keys(store: StateStore, tags: dict[str, str], limit: int) -> list[str]:
    found: list[StoredItem] = []
    after: str | None = None
    while True:
        page = await store.list(tags, limit=limit, after=after)
        found += page.items
        after = page.after
        if after is None:
            return [item.key for item in found]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_list_gives_each_item_with_all_the_tags_once(store: StateStore, limit: int) -> None:
    for n in range(7):
        await store.put_if_absent(f"k{n}", n, tags={"state": "new" if n % 2 else "done", "kind": "case"})
    assert sorted(await keys(store, {"state": "new", "kind": "case"}, limit)) == ["k1", "k3", "k5"]
    assert len(await keys(store, {}, limit)) == 7
    assert await keys(store, {"state": "neither"}, limit) == []


async def test_new_tags_move_an_item_to_another_list(store: StateStore) -> None:
    _, item = await store.put_if_absent("k", 1, tags={"state": "new"})
    await store.compare_and_set("k", 1, etag=item.etag, tags={"state": "done"})
    assert await keys(store, {"state": "new"}, 10) == []
    assert await keys(store, {"state": "done"}, 10) == ["k"]


async def test_a_key_may_be_long_and_of_any_characters(store: StateStore) -> None:
    for key in ("x" * 1024, "ü/../\n😀 %", "a", "A"):
        stored, _ = await store.put_if_absent(key, key)
        item = await store.get(key)
        assert stored
        assert item is not None
        assert item.key == item.value == key


@pytest.mark.parametrize(
    ("key", "value", "tags"),
    [
        ("", 1, {}),
        ("x" * 1025, 1, {}),
        ("\ud800", 1, {}),
        ("k", "x" * 1_000_001, {}),
        ("k", float("nan"), {}),
        ("k", {"a": datetime.now(UTC)}, {}),
        ("k", "\ud800", {}),
        ("k", 1, {str(n): "" for n in range(17)}),
        ("k", 1, {"": "x"}),
        ("k", 1, {"a": 5}),
        ("k", 1, {"a": "x" * 257}),
    ],
)
async def test_what_breaks_a_limit_is_refused_alike(store: StateStore, key: str, value: Any, tags: Any) -> None:
    with pytest.raises(InvalidStateItem):
        await store.put_if_absent(key, value, tags=tags)


async def test_nearly_a_megabyte_and_sixteen_tags_are_stored(store: StateStore) -> None:
    stored, _ = await store.put_if_absent("k", "x" * 989_000, tags={str(n): "v" for n in range(16)})
    assert stored


# SQLite alone


async def test_sqlite_lists_in_the_order_of_creation_even_when_items_are_written_meanwhile(tmp_path: Path) -> None:
    store = SqliteItems(tmp_path / "items.sqlite")
    items = [(await store.put_if_absent(f"k{9 - n}", n))[1] for n in range(10)]
    page = await store.list({}, limit=4)
    await store.compare_and_set(items[0].key, "changed", etag=items[0].etag)
    await store.compare_and_set(items[7].key, "changed", etag=items[7].etag)
    rest = await store.list({}, limit=100, after=page.after)
    assert [item.key for item in page.items + rest.items] == [item.key for item in items]
    with pytest.raises(InvalidStateItem):
        await store.list({}, after="not a cursor")
    await store.close()


async def test_sqlite_owners_do_not_see_each_other(tmp_path: Path) -> None:
    alice, bob = (SqliteItems(tmp_path / "items.sqlite", owner=name) for name in ("alice", "bob"))
    _, item = await alice.put_if_absent("k", "hers", tags={"a": "b"})
    assert await bob.get("k") is None
    assert (await bob.list({"a": "b"})).items == []
    assert await bob.delete("k") is False
    assert (await bob.put_if_absent("k", "his"))[0]
    assert await alice.get("k") == item
    await alice.close()
    await bob.close()


async def test_sqlite_expired_items_leave_the_file(tmp_path: Path, clock: Clock) -> None:
    import sqlite3

    store = SqliteItems(tmp_path / "items.sqlite", expires_after=LIFETIME, now=clock)
    for n in range(5):
        await store.put_if_absent(f"old{n}", n, tags={"a": "b"})
    clock.time += 1000
    await store.put_if_absent("new", 1)
    await store.close()
    with sqlite3.connect(tmp_path / "items.sqlite") as db:
        assert db.execute("SELECT key FROM items").fetchall() == [("new",)]
        assert db.execute("SELECT count(*) FROM tags").fetchone() == (0,)
    db.close()


async def test_sqlite_survives_a_crash_of_the_writer_after_each_acknowledgement(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, pathlib, signal, sys\n"
        "from agent_runtime.state_store.sqlite import SqliteItems\n"
        "async def main():\n"
        "    store = SqliteItems(pathlib.Path(sys.argv[1]))\n"
        "    await store.put_if_absent('k', 'acknowledged')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "items.sqlite"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path))
    assert await asyncio.wait_for(process.wait(), 30) == -9
    store = SqliteItems(path)
    item = await store.get("k")
    assert item is not None
    assert item.value == "acknowledged"
    await store.close()


async def test_sqlite_put_if_absent_is_exclusive_between_processes(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from agent_runtime.state_store.sqlite import SqliteItems\n"
        "async def main():\n"
        "    store = SqliteItems(pathlib.Path(sys.argv[1]))\n"
        "    for n in range(100):\n"
        "        stored, item = await store.put_if_absent(f'k{n}', sys.argv[2])\n"
        "        assert stored == (item.value == sys.argv[2])\n"
        "        print(int(stored))\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "items.sqlite"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(path), f"process {n}", stdout=asyncio.subprocess.PIPE
        )
        for n in range(4)
    ]
    outputs = await asyncio.wait_for(asyncio.gather(*(process.communicate() for process in processes)), 60)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    wins = [[int(line) for line in output.split()] for output, _ in outputs]
    assert [sum(column) for column in zip(*wins, strict=True)] == [1] * 100


async def test_sqlite_says_when_its_file_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "items.sqlite").write_text("this is not a database, it is a text of some length" * 100)
    store = SqliteItems(tmp_path / "items.sqlite")
    with pytest.raises(StateStoreUnavailable):
        await store.get("k")
    await store.close()


# Opening


async def test_a_local_store_is_a_private_file_below_the_state_root_and_shared_by_name() -> None:
    settings = load_settings(AgentSettings)
    one, same, other = (open_state_store(settings, name) for name in ("desk", "desk", "plans"))
    await one.put_if_absent("k", 1)
    assert await same.get("k") is not None
    assert await other.get("k") is None
    path = settings.state_root / "state" / "desk.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    for store in (one, same, other):
        await store.close()


async def test_a_store_of_a_user_is_not_that_of_another() -> None:
    settings = load_settings(AgentSettings)
    alice, bob, nobody = (open_state_store(settings, "desk", user_id=user) for user in ("alice", "bob", None))
    await alice.put_if_absent("k", 1)
    assert await bob.get("k") is None
    assert await nobody.get("k") is None
    for store in (alice, bob, nobody):
        await store.close()


@pytest.mark.parametrize("name", ["", "../x", "Desk", "a/b", "x" * 65])
def test_a_store_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        open_state_store(load_settings(AgentSettings), name)


def test_a_hosted_agent_gets_foundrys_store_without_touching_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_HOSTING_ENVIRONMENT", "sandbox")
    monkeypatch.setenv("FOUNDRY_PROJECT_ENDPOINT", "https://x.example/api/projects/p")
    monkeypatch.setenv("AZURE_AI_MODEL_DEPLOYMENT_NAME", "gpt")
    settings = load_settings(AgentSettings)
    assert isinstance(open_state_store(settings, "desk"), FoundryItems)


async def test_a_store_that_is_closed_during_its_first_operation_leaves_no_file_open(tmp_path: Path) -> None:
    store = SqliteItems(tmp_path / "early.sqlite")
    first = asyncio.create_task(store.get("k"))
    await asyncio.sleep(0)
    first.cancel()
    await store.close()
    await store.close()
    assert [file.path for file in psutil.Process().open_files() if "early.sqlite" in file.path] == []
