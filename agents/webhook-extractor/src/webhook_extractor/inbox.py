"""The inbox: accepted means stored. A delivery is durable before it is answered, and its record stays as the dedupe,
the status and the result until it expires.

This is the interface and what both implementations share: `sqlite_inbox` on one machine, `ledger_inbox` over the state
store that all sandboxes of a hosted agent reach. An inbox stores and hands out; checking deliveries is for `sources`,
processing them for `processing`. Every method raises `InboxUnavailable` when the storage fails.
"""

import asyncio
import hashlib
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

State = Literal["new", "busy", "done", "dead", "cancelled"]
"""`new` waits for its turn or its next attempt, `dead` is a dead letter. The last three are ends."""

ENDED = ("done", "dead", "cancelled")
_MOST_SECONDS_BETWEEN_LOOKS = 1.0
"""How late a waiting caller notices an end that another process wrote."""


class InboxUnavailable(Exception):
    """The file could not be written (disk full, locked, damaged). Nothing was accepted; the sender should try again."""


class DeliveryConflict(Exception):
    """The same delivery id came with another body, or from another user. The first one stands."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A delivery to store. `owner` is the user who may read the record; empty for deliveries of signed sources."""

    id: str
    source: str
    delivery_id: str
    owner: str
    event: str
    content_type: str
    body: bytes
    max_attempts: int
    identity: bytes | None = None
    """What must be the same when the delivery comes again; by default the body."""


@dataclass(frozen=True, slots=True)
class Record:
    """A delivery as stored. Times are seconds since the epoch. `extracted` and `result` are JSON text.

    `extracted` is what the model gave, kept from before the side effect on: from then on the job only goes forward.
    """

    id: str
    source: str
    delivery_id: str
    owner: str
    event: str
    content_type: str
    body: bytes
    state: State
    attempts: int
    max_attempts: int
    due: float
    claim: str | None
    extracted: str | None
    result: str | None
    error_code: str | None
    error_message: str | None
    accepted_at: float
    ended_at: float | None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def invocation_id_of(source: str, delivery_id: str) -> str:
    """The invocation id of a signed delivery: always the same for the same delivery, in every process and sandbox."""
    return RESERVED_PREFIX + hashlib.sha256(f"{source}\n{delivery_id}".encode()).hexdigest()[:40]


RESERVED_PREFIX = "whd_"
"""Invocation ids of signed deliveries. No caller may choose such an id, or it could occupy a delivery's place."""


class Inbox(ABC):
    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @abstractmethod
    async def open(self, *, to_work: bool = True) -> int:
        """Make ready. Returns how many deliveries a killed process had left in the middle of their processing.

        `to_work=False` is for a look from outside, which takes nothing back.
        """

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def accept(self, incoming: Incoming) -> tuple[Record, bool]:
        """Store a delivery, once. Returns its record and whether it is new.

        Raises:
            DeliveryConflict: the id is taken by another body or another user.
        """

    @abstractmethod
    async def get(self, invocation_id: str) -> Record | None: ...

    async def wait_for_end(self, invocation_id: str, seconds: float, stop: asyncio.Event) -> Record | None:
        """The record once it has ended; or as it is after `seconds`, or when `stop` is set."""
        event = asyncio.Event()
        self._waiting.setdefault(invocation_id, set()).add(event)
        deadline = time.monotonic() + seconds
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while True:
                record = await self.get(invocation_id)
                left = deadline - time.monotonic()
                if record is None or record.ended or left <= 0 or stop.is_set():
                    return record
                ended = asyncio.ensure_future(event.wait())
                await asyncio.wait(
                    {ended, stopped},
                    timeout=min(left, _MOST_SECONDS_BETWEEN_LOOKS),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                ended.cancel()
        finally:
            stopped.cancel()
            self._waiting[invocation_id].discard(event)
            if not self._waiting[invocation_id]:
                del self._waiting[invocation_id]

    @abstractmethod
    async def claim(self, claim: str, limit: int) -> list[Record]:
        """Up to `limit` deliveries that are due, marked busy for the holder of `claim`. A claim is an attempt."""

    @abstractmethod
    async def keep_extracted(self, record: Record, extracted: str) -> bool:
        """Note what is about to be done. False when the delivery was cancelled or taken over meanwhile: then do not."""

    @abstractmethod
    async def finish(self, record: Record, result: str) -> bool:
        """The delivery is done. False when it was taken over meanwhile."""

    @abstractmethod
    async def retry(self, record: Record, seconds: float, code: str, message: str) -> bool:
        """Try again in `seconds`."""

    @abstractmethod
    async def bury(self, record: Record, code: str, message: str) -> bool:
        """Make it a dead letter with its cause."""

    @abstractmethod
    async def give_back(self, record: Record) -> bool:
        """Not processed after all (shutdown): due at once, and the attempt does not count."""

    @abstractmethod
    async def cancel(self, invocation_id: str) -> tuple[bool, Record | None]:
        """Cancel a delivery that has not reached its side effect. Returns whether that was done, and the record."""

    @abstractmethod
    async def dead_letters(self, limit: int = 100) -> list[Record]:
        """The newest dead letters first."""

    @abstractmethod
    async def replay(self, invocation_id: str | None) -> int:
        """Queue a dead letter again with all its attempts, or every one of them with None. Returns how many."""

    @abstractmethod
    async def seconds_until_due(self) -> float | None:
        """Until the next delivery may be claimed; None when nothing waits."""

    @abstractmethod
    async def sweep(self) -> None:
        """Take back what is held beyond its lease, and drop expired records."""

    def _announce_end(self, invocation_id: str) -> None:
        for event in self._waiting.get(invocation_id, ()):
            event.set()


def new_record(incoming: Incoming, now: float) -> Record:
    return Record(
        id=incoming.id,
        source=incoming.source,
        delivery_id=incoming.delivery_id,
        owner=incoming.owner,
        event=incoming.event,
        content_type=incoming.content_type,
        body=incoming.body,
        state="new",
        attempts=0,
        max_attempts=incoming.max_attempts,
        due=now,
        claim=None,
        extracted=None,
        result=None,
        error_code=None,
        error_message=None,
        accepted_at=now,
        ended_at=None,
    )
