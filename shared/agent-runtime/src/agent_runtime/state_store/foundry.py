"""The state store of a deployed agent: Foundry's, which all sandboxes of the agent reach.

Each value travels in an envelope with what the service does not keep for us: the key (it is stored by its hash, because
keys there are short), the time of creation below a second, the end of life, and a token for each write. The SDK sends a
request again after a 503, so a conflict can be with one's own write: the token tells.
"""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.ai.agentserver.core.storage import (
    FoundryStateStore,
    FoundryStorageConflictError,
    FoundryStorageError,
    FoundryStorageNotFoundError,
    FoundryStoragePreconditionError,
)
from azure.core.exceptions import AzureError

from agent_runtime.state_store.items import (
    JSON,
    Page,
    StateConflict,
    StateStoreUnavailable,
    StoredItem,
    check_key,
    check_limit,
    check_tags,
    encode_value,
)

_LARGEST_PAGE = 100
_CALLS_AT_ONCE = 8
_ROUNDS = 5


async def open_foundry_store(name: str, expires_after: timedelta | None) -> FoundryStateStore:
    """Connect to the store, made with this lifetime if it is new. A present one keeps its own."""
    seconds = -1 if expires_after is None else max(1, int(expires_after.total_seconds()))
    return await FoundryStateStore.get_or_create(name, item_ttl_seconds=seconds)


class FoundryItems:
    """A `StateStore` over the SDK's client, which `connect` makes at the first operation."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[FoundryStateStore]],
        *,
        expires_after: timedelta | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._lifetime = expires_after.total_seconds() if expires_after is not None else None
        self._now = now
        self._client: FoundryStateStore | None = None
        self._connecting = asyncio.Lock()

    async def put_if_absent(
        self, key: str, value: JSON, *, tags: Mapping[str, str] | None = None
    ) -> tuple[bool, StoredItem]:
        check_key(key)
        encode_value(value)
        checked = check_tags(tags or {})
        token = secrets.token_hex(8)
        now = self._now()
        envelope = self._envelope(key, value, token, created=now, now=now)
        for _ in range(_ROUNDS):
            try:
                etag = await self._create(key, envelope, checked)
            except StateConflict:
                raw = await self._get_raw(key)
                if raw is None:
                    continue  # deleted meanwhile
                if raw.value["write"] == token:
                    return True, _item(raw)
                if not self._expired(raw):
                    return False, _item(raw)
                try:
                    etag = await self._replace(key, envelope, checked, raw.etag)
                except StateConflict:
                    continue
            return True, _as_item(envelope, etag, checked)
        raise StateConflict(f"'{key}' changes too fast to be stored")

    async def compare_and_set(
        self, key: str, value: JSON, *, etag: str, tags: Mapping[str, str] | None = None
    ) -> StoredItem:
        check_key(key)
        encode_value(value)
        checked = None if tags is None else check_tags(tags)
        raw = await self._get_raw(key)
        if raw is None or self._expired(raw):
            raise StateConflict(f"'{key}' is not there")
        if raw.etag != etag:
            raise StateConflict(f"'{key}' was changed by someone else")
        kept = dict(raw.tags or {}) if checked is None else checked
        envelope = self._envelope(key, value, secrets.token_hex(8), created=raw.value["created"], now=self._now())
        return _as_item(envelope, await self._replace(key, envelope, kept, etag), kept)

    async def get(self, key: str) -> StoredItem | None:
        check_key(key)
        raw = await self._get_raw(key)
        return None if raw is None or self._expired(raw) else _item(raw)

    async def delete(self, key: str, *, etag: str | None = None) -> bool:
        check_key(key)
        raw = await self._get_raw(key)
        if raw is None or self._expired(raw):
            return False
        if etag is not None and raw.etag != etag:
            raise StateConflict(f"'{key}' was changed by someone else")
        client = await self._connected()
        try:
            await client.delete_item(_hashed(key), if_match=etag)
        except (FoundryStoragePreconditionError, FoundryStorageNotFoundError):
            # A delete that was sent twice finds nothing the second time: then it was ours.
            if await self._get_raw(key) is None:
                return True
            raise StateConflict(f"'{key}' was changed by someone else") from None
        except (FoundryStorageError, AzureError, OSError) as error:
            raise _unavailable(error) from error
        return True

    async def delete_all(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        slots = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def delete(key: str) -> None:
            async with slots:
                await self.delete(key)

        await asyncio.gather(*map(delete, keys))

    async def list(self, tags: Mapping[str, str], *, limit: int = 100, after: str | None = None) -> Page:
        """As `StateStore.list`, but the order is by second of creation; within a second it is arbitrary and stable."""
        checked = check_tags(tags)
        check_limit(limit)
        client = await self._connected()
        try:
            page = await client.list_keys(
                tags=checked or None, limit=min(limit, _LARGEST_PAGE), after=after, order="asc"
            )
            slots = asyncio.Semaphore(_CALLS_AT_ONCE)

            async def read(hashed: str) -> Any:
                async with slots:
                    return await client.get_item(hashed)

            found = await asyncio.gather(*(read(entry.key) for entry in page.keys))
        except (FoundryStorageError, AzureError, OSError) as error:
            raise _unavailable(error) from error
        items = [_item(raw) for raw in found if raw is not None and not self._expired(raw)]
        return Page(items, after=page.last_id if page.has_more else None)

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _connected(self) -> FoundryStateStore:
        async with self._connecting:
            if self._client is None:
                try:
                    self._client = await self._connect()
                except (FoundryStorageError, AzureError, OSError) as error:
                    raise _unavailable(error) from error
            return self._client

    async def _get_raw(self, key: str) -> Any:
        client = await self._connected()
        try:
            return await client.get_item(_hashed(key))
        except FoundryStorageNotFoundError:
            return None
        except (FoundryStorageError, AzureError, OSError) as error:
            raise _unavailable(error) from error

    async def _create(self, key: str, envelope: dict[str, Any], tags: dict[str, str]) -> str:
        client = await self._connected()
        try:
            return str((await client.create_item(_hashed(key), envelope, tags=tags or None)).etag)
        except FoundryStorageConflictError:
            raise StateConflict(f"'{key}' is there already") from None
        except (FoundryStorageError, AzureError, OSError) as error:
            raise _unavailable(error) from error

    async def _replace(self, key: str, envelope: dict[str, Any], tags: dict[str, str], etag: str) -> str:
        client = await self._connected()
        try:
            return str((await client.set_item(_hashed(key), envelope, tags=tags or None, if_match=etag)).etag)
        except (FoundryStoragePreconditionError, FoundryStorageConflictError):
            present = await self._get_raw(key)
            if present is not None and present.value["write"] == envelope["write"]:
                return str(present.etag)
            raise StateConflict(f"'{key}' was changed by someone else") from None
        except (FoundryStorageError, AzureError, OSError) as error:
            raise _unavailable(error) from error

    def _envelope(self, key: str, value: JSON, token: str, *, created: float, now: float) -> dict[str, Any]:
        return {
            "key": key,
            "value": value,
            "write": token,
            "created": created,
            "expires": None if self._lifetime is None else now + self._lifetime,
        }

    def _expired(self, raw: Any) -> bool:
        expires = raw.value["expires"]
        return expires is not None and expires <= self._now()


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _item(raw: Any) -> StoredItem:
    return _as_item(raw.value, str(raw.etag), dict(raw.tags or {}))


def _as_item(envelope: Mapping[str, Any], etag: str, tags: dict[str, str]) -> StoredItem:
    expires = envelope["expires"]
    return StoredItem(
        key=envelope["key"],
        value=json.loads(json.dumps(envelope["value"])),  # the caller's own objects may change later
        etag=etag,
        tags=tags,
        created_at=datetime.fromtimestamp(envelope["created"], UTC),
        expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
    )


def _unavailable(error: Exception) -> StateStoreUnavailable:
    return StateStoreUnavailable(f"Foundry's state store did not do it: {type(error).__name__}")
