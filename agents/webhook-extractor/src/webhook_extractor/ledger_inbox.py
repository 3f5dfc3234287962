"""The inbox of a hosted agent: one item per delivery in the state store, which all sandboxes of the agent reach.

The store has put-if-absent and compare-and-set and no transactions, so each change is read, checked, and written only
if nothing changed in between. Whichever sandbox has room claims a delivery, with a lease that another may take over.
"""

import base64
import hashlib
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

from agent_runtime.hosting import BadRequest
from agent_runtime.state_store import InvalidStateItem, StateConflict, StateStore, StateStoreError, StoredItem

from webhook_extractor.inbox import DeliveryConflict, Inbox, InboxUnavailable, Incoming, Record, new_record

_MOST_TRIES = 20
"""A change that loses this many races in a row is not a race."""
_PAGE = 100

Change = Callable[[Record], Record | None]


class LedgerInbox(Inbox):
    def __init__(self, store: StateStore, *, lease_seconds: float) -> None:
        super().__init__()
        self._store = store
        self._lease_seconds = lease_seconds

    async def open(self, *, to_work: bool = True) -> int:
        if to_work:
            await self.sweep()
        return 0

    async def close(self) -> None:
        await self._store.close()

    async def accept(self, incoming: Incoming) -> tuple[Record, bool]:
        identity = hashlib.sha256(incoming.identity or incoming.body).hexdigest()
        record = new_record(incoming, time.time())
        try:
            async with _available():
                new, item = await self._store.put_if_absent(
                    _key(incoming.id), _json(record, identity, 0.0), tags=_tags(record)
                )
        except InvalidStateItem:
            raise BadRequest("request_too_large", "The payload is too large to be stored.", status=413) from None
        present = _record(item)
        if item.value["identity"] != identity or present.owner != incoming.owner:
            raise DeliveryConflict
        return present, new

    async def get(self, invocation_id: str) -> Record | None:
        async with _available():
            item = await self._store.get(_key(invocation_id))
        return _record(item) if item else None

    async def claim(self, claim: str, limit: int) -> list[Record]:
        claimed: list[Record] = []
        now = time.time()
        async for item in self._in_state("new"):
            if len(claimed) == limit:
                break
            record = _record(item)
            if record.due > now:
                continue
            taken = replace(record, state="busy", claim=claim, attempts=record.attempts + 1)
            if await self._write(item, taken, lease=now + self._lease_seconds):
                claimed.append(taken)
        return claimed

    async def keep_extracted(self, record: Record, extracted: str) -> bool:
        return await self._held(record, lambda held: replace(held, extracted=extracted))

    async def finish(self, record: Record, result: str) -> bool:
        return await self._held(
            record, lambda held: replace(_ended(held, "done"), result=result, error_code=None, error_message=None)
        )

    async def retry(self, record: Record, seconds: float, code: str, message: str) -> bool:
        due = time.time() + seconds
        return await self._held(
            record,
            lambda held: replace(held, state="new", claim=None, due=due, error_code=code, error_message=message),
        )

    async def bury(self, record: Record, code: str, message: str) -> bool:
        return await self._held(
            record, lambda held: replace(_ended(held, "dead"), error_code=code, error_message=message)
        )

    async def give_back(self, record: Record) -> bool:
        return await self._held(record, lambda held: replace(held, state="new", claim=None, attempts=held.attempts - 1))

    async def cancel(self, invocation_id: str) -> tuple[bool, Record | None]:
        def cancelled(record: Record) -> Record | None:
            return None if record.ended or record.extracted is not None else _ended(record, "cancelled")

        return await self._change(invocation_id, cancelled)

    async def dead_letters(self, limit: int = 100) -> list[Record]:
        dead = [_record(item) async for item in self._in_state("dead")]
        return sorted(dead, key=lambda record: record.ended_at or 0, reverse=True)[:limit]

    async def replay(self, invocation_id: str | None) -> int:
        def again(record: Record) -> Record | None:
            return (
                replace(record, state="new", attempts=0, due=time.time(), ended_at=None)
                if record.state == "dead"
                else None
            )

        ids = [invocation_id] if invocation_id else [_record(item).id async for item in self._in_state("dead")]
        return sum([(await self._change(dead, again))[0] for dead in ids])

    async def seconds_until_due(self) -> float | None:
        dues = [_record(item).due async for item in self._in_state("new")]
        return max(0.0, min(dues) - time.time()) if dues else None

    async def sweep(self) -> None:
        """Expired records drop out of the store by themselves."""
        async for item in self._in_state("busy"):
            if item.value["lease"] <= time.time():
                await self._write(item, replace(_record(item), state="new", claim=None, due=time.time()))

    async def _held(self, record: Record, change: Change) -> bool:
        """Change a record only while it is held by the claim it was handed out under."""

        def checked(present: Record) -> Record | None:
            same = (present.state, present.claim, present.attempts) == ("busy", record.claim, record.attempts)
            return change(present) if same else None

        return (await self._change(record.id, checked))[0]

    async def _change(self, invocation_id: str, change: Change) -> tuple[bool, Record | None]:
        """Apply `change` unless it gives None. Returns whether it was made, and the record as it is now."""
        for _ in range(_MOST_TRIES):
            async with _available():
                item = await self._store.get(_key(invocation_id))
            if item is None:
                return False, None
            present = _record(item)
            wanted = change(present)
            if wanted is None:
                return False, present
            if await self._write(item, wanted, lease=item.value["lease"]):
                if wanted.ended:
                    self._announce_end(wanted.id)
                return True, wanted
        raise InboxUnavailable(f"{invocation_id} was changed by others {_MOST_TRIES} times in a row")

    async def _write(self, item: StoredItem, record: Record, *, lease: float = 0.0) -> bool:
        """False when someone else changed the item first."""
        try:
            async with _available():
                value = _json(record, item.value["identity"], lease)
                await self._store.compare_and_set(item.key, value, etag=item.etag, tags=_tags(record))
        except StateConflict:
            return False
        return True

    async def _in_state(self, state: str) -> AsyncIterator[StoredItem]:
        after: str | None = None
        while True:
            async with _available():
                page = await self._store.list({"state": state}, limit=_PAGE, after=after)
            for item in page.items:
                yield item
            after = page.after
            if after is None:
                return


@asynccontextmanager
async def _available() -> AsyncIterator[None]:
    try:
        yield
    except (StateConflict, InvalidStateItem):
        raise
    except StateStoreError as error:
        raise InboxUnavailable(str(error)) from error


def _ended(record: Record, state: Any) -> Record:
    return replace(record, state=state, claim=None, ended_at=time.time())


def _key(invocation_id: str) -> str:
    return f"delivery/{invocation_id}"


def _tags(record: Record) -> dict[str, str]:
    return {"state": record.state}


def _json(record: Record, identity: str, lease: float) -> dict[str, Any]:
    """The body is compressed: an item has less room than a request."""
    value = asdict(record) | {"identity": identity, "lease": lease}
    value["body"] = base64.b85encode(zlib.compress(record.body)).decode()
    return value


def _record(item: StoredItem) -> Record:
    value = {name: item.value[name] for name in Record.__slots__}
    return Record(**value | {"body": zlib.decompress(base64.b85decode(value["body"]))})
