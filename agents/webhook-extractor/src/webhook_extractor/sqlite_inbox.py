"""The inbox on one machine: one SQLite file in WAL mode with `synchronous=FULL`, written by one thread.

Operations that arrive while a commit runs share the next one, so a burst costs a few fsyncs instead of one each. Many
processes may use the file: work is claimed with a lease, and a process that finds itself alone at start takes back what
a killed one left behind.
"""

import asyncio
import fcntl
import hashlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from webhook_extractor.inbox import DeliveryConflict, Inbox, InboxUnavailable, Incoming, Record, new_record

_LARGEST_BATCH = 256
_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA busy_timeout=10000;
CREATE TABLE IF NOT EXISTS deliveries(
  id TEXT PRIMARY KEY, source TEXT NOT NULL, delivery_id TEXT NOT NULL, owner TEXT NOT NULL,
  event TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL, body_hash BLOB NOT NULL,
  state TEXT NOT NULL DEFAULT 'new', attempts INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL,
  due REAL NOT NULL, claim TEXT, lease REAL NOT NULL DEFAULT 0,
  extracted TEXT, result TEXT, error_code TEXT, error_message TEXT,
  accepted_at REAL NOT NULL, ended_at REAL, expires_at REAL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries(due) WHERE state = 'new';
CREATE INDEX IF NOT EXISTS deliveries_lease ON deliveries(lease) WHERE state = 'busy';
CREATE INDEX IF NOT EXISTS deliveries_dead ON deliveries(ended_at) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS deliveries_expiry ON deliveries(expires_at) WHERE expires_at IS NOT NULL;
"""
_COLUMNS = (
    "id, source, delivery_id, owner, event, content_type, body, state, attempts, max_attempts, due, claim, extracted,"
    " result, error_code, error_message, accepted_at, ended_at"
)
T = TypeVar("T")


class SqliteInbox(Inbox):
    def __init__(self, path: Path, *, record_seconds: float, lease_seconds: float) -> None:
        super().__init__()
        self._path = path
        self._record_seconds = record_seconds
        self._lease_seconds = lease_seconds
        self._operations: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._presence: int | None = None

    async def open(self, *, to_work: bool = True) -> int:
        """Start the writer. Returns how many deliveries a killed process had left in the middle of their processing.

        `to_work=False` is for a look from outside, which takes nothing back.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Customers' words are for the owner's eyes; SQLite follows the umask, and its side files follow this one.
        self._path.touch(mode=0o600)
        self._thread = threading.Thread(target=self._write, name="inbox", daemon=True)
        self._thread.start()
        if not to_work:
            return 0
        # Held until the process ends, however it ends: whoever gets it alone knows that no other process works here.
        self._presence = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        recovered = await self._run(_recover_all if _is_alone(self._presence) else _recover_expired)
        await asyncio.to_thread(fcntl.flock, self._presence, fcntl.LOCK_SH)
        return recovered

    async def close(self) -> None:
        if self._thread is not None:
            self._operations.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._presence is not None:
            os.close(self._presence)
            self._presence = None

    async def accept(self, incoming: Incoming) -> tuple[Record, bool]:
        """Store a delivery, once. Returns its record and whether it is new.

        Raises:
            DeliveryConflict: the id is taken by another body or another user.
            InboxUnavailable: it could not be stored.
        """
        body_hash = hashlib.sha256(incoming.identity or incoming.body).digest()
        now = time.time()

        def store(db: sqlite3.Connection) -> tuple[Record, bool]:
            db.execute("DELETE FROM deliveries WHERE id = ? AND expires_at <= ?", (incoming.id, now))
            # Not INSERT OR IGNORE: that also hides rows refused for other reasons, which would then not be stored.
            new = db.execute(
                "INSERT INTO deliveries(id, source, delivery_id, owner, event, content_type, body, body_hash,"
                " max_attempts, due, accepted_at) VALUES(?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO NOTHING",
                (
                    incoming.id,
                    incoming.source,
                    incoming.delivery_id,
                    incoming.owner,
                    incoming.event,
                    incoming.content_type,
                    incoming.body,
                    body_hash,
                    incoming.max_attempts,
                    now,
                    now,
                ),
            )
            if new.rowcount == 1:
                return new_record(incoming, now), True
            record = _get(db, incoming.id)
            same_body = db.execute("SELECT body_hash FROM deliveries WHERE id = ?", (incoming.id,)).fetchone()[0]
            if record is None or same_body != body_hash or record.owner != incoming.owner:
                raise DeliveryConflict
            return record, False

        return await self._run(store)

    async def get(self, invocation_id: str) -> Record | None:
        return await self._run(lambda db: _get(db, invocation_id))

    async def claim(self, claim: str, limit: int) -> list[Record]:
        """Up to `limit` deliveries that are due, marked busy for the holder of `claim`. A claim is an attempt."""
        now = time.time()
        due = "SELECT id FROM deliveries WHERE state = 'new' AND due <= ? ORDER BY due LIMIT ?"
        statement = (
            "UPDATE deliveries SET state = 'busy', claim = ?, lease = ?, attempts = attempts + 1"  # noqa: S608
            f" WHERE id IN ({due}) RETURNING {_COLUMNS}"
        )

        def take(db: sqlite3.Connection) -> list[Record]:
            rows = db.execute(statement, (claim, now + self._lease_seconds, now, limit)).fetchall()
            return [Record(*row) for row in rows]

        return await self._run(take)

    async def keep_extracted(self, record: Record, extracted: str) -> bool:
        """Note what is about to be done. False when the delivery was cancelled or taken over meanwhile: then do not."""
        return await self._change(record, "extracted = ?", extracted)

    async def finish(self, record: Record, result: str) -> bool:
        """The delivery is done. False when it was taken over meanwhile."""
        return await self._end(record, "state = 'done', result = ?, error_code = NULL, error_message = NULL", result)

    async def retry(self, record: Record, seconds: float, code: str, message: str) -> bool:
        """Try again in `seconds`."""
        return await self._change(
            record, "state = 'new', claim = NULL, due = ?, error_code = ?, error_message = ?",
            time.time() + seconds, code, message,
        )  # fmt: skip

    async def bury(self, record: Record, code: str, message: str) -> bool:
        """Make it a dead letter with its cause."""
        return await self._end(record, "state = 'dead', error_code = ?, error_message = ?", code, message)

    async def give_back(self, record: Record) -> bool:
        """Not processed after all (shutdown): due at once, and the attempt does not count."""
        return await self._change(record, "state = 'new', claim = NULL, attempts = attempts - 1")

    async def cancel(self, invocation_id: str) -> tuple[bool, Record | None]:
        """Cancel a delivery that has not reached its side effect. Returns whether that was done, and the record."""
        now = time.time()

        def end(db: sqlite3.Connection) -> tuple[bool, Record | None]:
            changed = db.execute(
                "UPDATE deliveries SET state = 'cancelled', claim = NULL, ended_at = ?, expires_at = ?"
                " WHERE id = ? AND state IN ('new', 'busy') AND extracted IS NULL",
                (now, now + self._record_seconds, invocation_id),
            )
            return changed.rowcount == 1, _get(db, invocation_id)

        done, record = await self._run(end)
        if done:
            self._announce_end(invocation_id)
        return done, record

    async def dead_letters(self, limit: int = 100) -> list[Record]:
        """The newest dead letters first."""
        return await self._run(
            lambda db: [
                Record(*row)
                for row in db.execute(
                    f"SELECT {_COLUMNS} FROM deliveries WHERE state = 'dead' ORDER BY ended_at DESC LIMIT ?",  # noqa: S608
                    (limit,),
                )
            ]
        )

    async def replay(self, invocation_id: str | None) -> int:
        """Queue a dead letter again with all its attempts, or every one of them with None. Returns how many."""
        return await self._run(
            lambda db: (
                db.execute(
                    "UPDATE deliveries SET state = 'new', attempts = 0, due = ?, ended_at = NULL, expires_at = NULL"
                    " WHERE state = 'dead' AND (? IS NULL OR id = ?)",
                    (time.time(), invocation_id, invocation_id),
                ).rowcount
            )
        )

    async def counts(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        return await self._run(
            lambda db: dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
        )

    async def seconds_until_due(self) -> float | None:
        """Until the next delivery may be claimed; None when nothing waits."""
        due = await self._run(
            lambda db: db.execute("SELECT min(due) FROM deliveries WHERE state = 'new'").fetchone()[0]
        )
        return None if due is None else max(0.0, due - time.time())

    async def sweep(self) -> None:
        """Take back what is held beyond its lease, and drop expired records."""

        def clean(db: sqlite3.Connection) -> None:
            _recover_expired(db)
            db.execute(
                "DELETE FROM deliveries WHERE rowid IN (SELECT rowid FROM deliveries WHERE expires_at <= ? LIMIT 1000)",
                (time.time(),),
            )

        await self._run(clean)

    async def _change(self, record: Record, assignments: str, *values: Any) -> bool:
        """Change a record only while it is held by the claim it was handed out under."""
        held = "id = ? AND state = 'busy' AND claim = ? AND attempts = ?"
        statement = f"UPDATE deliveries SET {assignments} WHERE {held}"  # noqa: S608 - our own column names
        parameters = (*values, record.id, record.claim, record.attempts)
        changed = await self._run(lambda db: db.execute(statement, parameters).rowcount)
        return changed == 1

    async def _end(self, record: Record, assignments: str, *values: Any) -> bool:
        now = time.time()
        assignments += ", claim = NULL, ended_at = ?, expires_at = ?"
        ended = await self._change(record, assignments, *values, now, now + self._record_seconds)
        if ended:
            self._announce_end(record.id)
        return ended

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writer's connection. Returns after the commit that holds it is on disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._operations.put(_Operation(work, future, loop))
        return await future

    def _write(self) -> None:
        try:
            db = sqlite3.connect(self._path, isolation_level=None)
            db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._refuse_everything(error)
            return
        stopping = False
        while not stopping:
            batch = [self._operations.get()]
            while len(batch) < _LARGEST_BATCH:
                try:
                    batch.append(self._operations.get_nowait())
                except queue.Empty:
                    break
            stopping = None in batch
            operations = [operation for operation in batch if operation is not None]
            if operations:
                _resolve(operations, _commit(db, operations))
        db.close()

    def _refuse_everything(self, error: sqlite3.Error) -> None:
        while (operation := self._operations.get()) is not None:
            _resolve([operation], [InboxUnavailable(str(error))])


@dataclass(slots=True)
class _Operation:
    work: Callable[[sqlite3.Connection], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


def _commit(db: sqlite3.Connection, operations: list[_Operation]) -> list[Any]:
    """Run all in one transaction. When one fails, each runs again in its own, so that it fails alone."""
    try:
        db.execute("BEGIN IMMEDIATE")
        results = [operation.work(db) for operation in operations]
        db.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - handed to the one who waits for it
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        if len(operations) == 1:
            return [InboxUnavailable(str(error)) if isinstance(error, sqlite3.Error) else error]
        return [result for operation in operations for result in _commit(db, [operation])]
    return results


def _resolve(operations: list[_Operation], results: list[Any]) -> None:
    """Wake each event loop once for the whole batch."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for operation, result in zip(operations, results, strict=True):
        by_loop.setdefault(operation.loop, []).append((operation.future, result))
    for loop, answers in by_loop.items():
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _get(db: sqlite3.Connection, invocation_id: str) -> Record | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM deliveries WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)",  # noqa: S608
        (invocation_id, time.time()),
    ).fetchone()
    return None if row is None else Record(*row)


def _recover_all(db: sqlite3.Connection) -> int:
    return db.execute(
        "UPDATE deliveries SET state = 'new', claim = NULL, due = ? WHERE state = 'busy'", (time.time(),)
    ).rowcount


def _recover_expired(db: sqlite3.Connection) -> int:
    now = time.time()
    return db.execute(
        "UPDATE deliveries SET state = 'new', claim = NULL, due = ? WHERE state = 'busy' AND lease <= ?", (now, now)
    ).rowcount


def _is_alone(presence: int) -> bool:
    try:
        fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
