"""One runner for each thread, whichever process or sandbox it is in: two that resume one checkpoint would each go on
with half of what was decided."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from agent_runtime.state_store import JSON, StateConflict, StateStore, StateStoreError, StoredItem

_SECONDS = 10.0
"""How long a lease lasts whose holder does not renew it: others wait so long for one that died."""
_RENEWED_EVERY = 3.0
_FIRST_WAIT = 0.02
_LONGEST_WAIT = 0.5


@dataclass(slots=True)
class Lease:
    item: StoredItem
    is_lost: bool = False
    """Whether somebody else holds the thread now, because this process slept for longer than the lease lasts."""


class Leases:
    def __init__(self, store: StateStore) -> None:
        self._store = store

    @asynccontextmanager
    async def hold(self, thread_id: str, holder: str) -> AsyncIterator[Lease]:
        """Wait until nobody else holds the thread, and hold it. The same holder, in a next process, takes it over."""
        key = f"lease/{thread_id}"
        wait = _FIRST_WAIT
        while (item := await self._take(key, holder)) is None:
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        lease = Lease(item)
        renewing = asyncio.create_task(self._renew(lease, holder))
        try:
            yield lease
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(StateStoreError):  # then it runs out
                await self._store.delete(key, etag=lease.item.etag)

    async def is_held(self, thread_id: str, *, but_by: str = "") -> bool:
        """Whether somebody holds the thread, other than `but_by`."""
        item = await self._store.get(f"lease/{thread_id}")
        return item is not None and item.value["holder"] != but_by and item.value["until"] > time.time()

    async def _take(self, key: str, holder: str) -> StoredItem | None:
        lease = _lease(holder)
        new, present = await self._store.put_if_absent(key, lease)
        if new:
            return present
        if present.value["holder"] != holder and present.value["until"] > time.time():
            return None
        try:
            return await self._store.compare_and_set(key, lease, etag=present.etag)
        except StateConflict:
            return None

    async def _renew(self, lease: Lease, holder: str) -> None:
        while not lease.is_lost:
            await asyncio.sleep(_RENEWED_EVERY)
            try:
                lease.item = await self._store.compare_and_set(lease.item.key, _lease(holder), etag=lease.item.etag)
            except StateConflict:
                lease.is_lost = True
            except StateStoreError:
                continue


def _lease(holder: str) -> JSON:
    return {"holder": holder, "until": time.time() + _SECONDS}
