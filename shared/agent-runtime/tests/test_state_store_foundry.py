"""Foundry's state store as it behaves over HTTP: the SDK's client and its retries, against a small stand-in of the service."""

from collections.abc import AsyncIterator

import pytest
from agent_runtime.state_store import StateConflict, StateStoreUnavailable
from agent_runtime.state_store.foundry import FoundryItems
from agent_runtime.testing.foundry_state import StateService, serve_foundry_items


@pytest.fixture
def service() -> StateService:
    return StateService()


@pytest.fixture
async def store(service: StateService, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FoundryItems]:
    monkeypatch.setenv("FOUNDRY_HOSTING_ENVIRONMENT", "sandbox")
    monkeypatch.setenv("AZURE_AI_AGENTSERVER_DISABLE_EXPERIMENTAL_WARNING", "true")
    async with serve_foundry_items(service) as items:
        yield items


async def test_an_item_goes_over_the_wire_under_the_hash_of_its_key_and_comes_back(
    store: FoundryItems, service: StateService
) -> None:
    stored, item = await store.put_if_absent("delivery/ü/1", {"a": 1}, tags={"state": "new"})
    assert stored
    assert await store.get("delivery/ü/1") == item
    [key] = service.items
    assert len(key) == 64
    page = await store.list({"state": "new"})
    assert (page.items, page.after) == ([item], None)


async def test_a_conflict_with_ones_own_repeated_write_is_a_win(store: FoundryItems, service: StateService) -> None:
    await store.get("warm-up")
    service.fail_after = ["POST"]
    stored, item = await store.put_if_absent("k", 1)
    assert (stored, item.value) == (True, 1)
    service.fail_after = ["PUT"]
    changed = await store.compare_and_set("k", 2, etag=item.etag)
    assert service.fail_after == []
    assert changed == await store.get("k")


@pytest.mark.parametrize("by_etag", [True, False])
async def test_a_delete_that_was_sent_twice_is_one_that_was_done(
    store: FoundryItems, service: StateService, by_etag: bool
) -> None:
    _, item = await store.put_if_absent("k", 1)
    service.fail_after = ["DELETE"]
    assert await store.delete("k", etag=item.etag if by_etag else None) is True
    assert service.fail_after == []
    assert await store.delete("k") is False


async def test_a_conflict_with_another_writer_is_a_conflict(store: FoundryItems, service: StateService) -> None:
    _, item = await store.put_if_absent("k", 1)
    await store.compare_and_set("k", 2, etag=item.etag)
    with pytest.raises(StateConflict):
        await store.compare_and_set("k", 3, etag=item.etag)
    assert (await store.put_if_absent("k", 4))[0] is False


async def test_pages_follow_the_services_cursor(store: FoundryItems) -> None:
    for n in range(5):
        await store.put_if_absent(f"k{n}", n)
    first = await store.list({}, limit=3)
    second = await store.list({}, limit=3, after=first.after)
    assert [item.value for item in first.items + second.items] == [0, 1, 2, 3, 4]
    assert second.after is None


async def test_a_failing_service_is_unavailable_and_names_no_internals(
    store: FoundryItems, service: StateService
) -> None:
    await store.get("warm-up")
    service.down = True
    for operation in (store.get("k"), store.put_if_absent("k", 1), store.list({}), store.delete("k")):
        with pytest.raises(StateStoreUnavailable) as caught:
            await operation
        assert "127.0.0.1" not in str(caught.value)
