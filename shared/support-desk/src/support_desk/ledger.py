"""Side effects, each done once per idempotency key, in a store that all processes and sandboxes of the desk reach.

An effect has three steps: the key is claimed, the effect is written under an id derived from the key, the entry gets
its result. A process may die between any two: the same call with the same key finds what is there and completes it,
because the effect recognises its own id. A refused effect (`ToolError`) gives the key back; nothing has happened then.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from agent_runtime.state_store import StateConflict, StateStore, StoredItem
from pydantic import BaseModel, ConfigDict

from support_desk.errors import ToolError
from support_desk.orders import UtcTime

Clock = Callable[[], datetime]

_TAGS = {"kind": "ledger"}
_LONGEST_KEY = 512


def utc_now() -> datetime:
    return datetime.now(UTC)


class EntryState(StrEnum):
    STARTED = "started"
    DONE = "done"
    FENCED = "fenced"
    """Never begun, and never to begin: `Ledger.fence`."""


class LedgerEntry(BaseModel):
    """One side effect. `started` means that its process died or still works; the same call again completes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idempotency_key: str
    tool: str
    arguments: dict[str, Any]
    state: EntryState
    claimed_at: UtcTime
    done_at: UtcTime | None = None
    result: dict[str, Any] | None = None


class LedgerPage(BaseModel):
    entries: tuple[LedgerEntry, ...]
    after: str | None
    """Where the next page starts; None at the end."""


def derived_id(prefix: str, idempotency_key: str) -> str:
    """An id that the same key always leads to, such as RF-3F9A2B7C41: a repeated effect meets its first self."""
    return f"{prefix}-{hashlib.sha256(f'{prefix} {idempotency_key}'.encode()).hexdigest()[:10].upper()}"


class Ledger:
    def __init__(self, store: StateStore, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def once(
        self,
        idempotency_key: str,
        tool: str,
        arguments: dict[str, Any],
        effect: Callable[[], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        """Do `effect` unless this key has done it, and return its first result.

        `effect` must be safe to repeat with the same key, also concurrently, and return JSON.

        Raises:
            ToolError: `idempotency_conflict` when the key was used for another tool or other arguments, `stopped` when
                the key is fenced, and what `effect` raises.
            ValueError: the key is empty or longer than 512 characters.
        """
        if not 0 < len(idempotency_key) <= _LONGEST_KEY:
            raise ValueError(f"an idempotency key has 1 to {_LONGEST_KEY} characters, not {len(idempotency_key)}")
        claim = LedgerEntry(
            idempotency_key=idempotency_key,
            tool=tool,
            arguments=arguments,
            state=EntryState.STARTED,
            claimed_at=self._clock(),
        )
        created, item = await self._store.put_if_absent(_key(idempotency_key), _json(claim), tags=_TAGS)
        entry = claim if created else self._same(claim, item)
        if entry.result is not None:
            return entry.result
        try:
            result = await effect()
        except ToolError:
            await self._give_back(item)
            raise
        return await self._finish(item, entry, result)

    async def fence(self, idempotency_key: str, tool: str) -> LedgerEntry | None:
        """The entry of a call that was cut, or None: it had not begun, and from now on no call with this key begins,
        also none that is already on its way in a thread or another process."""
        fence = LedgerEntry(
            idempotency_key=idempotency_key,
            tool=tool,
            arguments={},
            state=EntryState.FENCED,
            claimed_at=self._clock(),
        )
        # Without the tags of an entry: it is no side effect.
        _, item = await self._store.put_if_absent(_key(idempotency_key), _json(fence))
        entry = LedgerEntry.model_validate(item.value)
        return None if entry.state is EntryState.FENCED else entry

    async def entry(self, idempotency_key: str) -> LedgerEntry | None:
        item = await self._store.get(_key(idempotency_key))
        return LedgerEntry.model_validate(item.value) if item else None

    async def entries(self, *, limit: int = 100, after: str | None = None) -> LedgerPage:
        """One page of entries, in the order of the store."""
        page = await self._store.list(_TAGS, limit=limit, after=after)
        return LedgerPage(
            entries=tuple(LedgerEntry.model_validate(item.value) for item in page.items), after=page.after
        )

    def _same(self, claim: LedgerEntry, item: StoredItem) -> LedgerEntry:
        entry = LedgerEntry.model_validate(item.value)
        if entry.state is EntryState.FENCED:
            raise ToolError("stopped", f"The run that called {entry.tool} was stopped before it had begun.")
        if (entry.tool, _canonical(entry.arguments)) != (claim.tool, _canonical(claim.arguments)):
            raise ToolError(
                "idempotency_conflict",
                f"This call's key was used for {entry.tool} with other arguments. Make a new call with its own key.",
            )
        return entry

    async def _give_back(self, item: StoredItem) -> None:
        try:
            await self._store.delete(item.key, etag=item.etag)
        except StateConflict:
            # Another process with the same key went further in the meantime; the entry is its to keep.
            return

    async def _finish(self, item: StoredItem, entry: LedgerEntry, result: dict[str, Any]) -> dict[str, Any]:
        done = entry.model_copy(update={"state": EntryState.DONE, "done_at": self._clock(), "result": result})
        try:
            await self._store.compare_and_set(item.key, _json(done), etag=item.etag, tags=_TAGS)
        except StateConflict:
            # A twin of this call finished first, or gave the key back after a refusal that this call was not met with.
            created, present = await self._store.put_if_absent(item.key, _json(done), tags=_TAGS)
            if not created:
                return self._same(entry, present).result or result
        return result


def _key(idempotency_key: str) -> str:
    return f"ledger/{idempotency_key}"


def _json(entry: LedgerEntry) -> dict[str, Any]:
    return entry.model_dump(mode="json")


def _canonical(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False)
