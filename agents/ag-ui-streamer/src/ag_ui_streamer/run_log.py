"""The events of each run on disk, numbered from 1, so that a stream is replayed after a lost connection or a restart.

One SQLite file below the state root: a run is read where it ran, in its session's sandbox. Events are written in the
background of the stream, many at once; after a crash the last few that a client has seen may be missing. A replay ends
with the terminal event whatever the reader's cursor is, so nobody waits for them.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
Row = tuple[int, int, bytes]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  user TEXT NOT NULL,
  run_id TEXT NOT NULL,
  invocation_id TEXT NOT NULL,
  thread_id TEXT NOT NULL,
  given TEXT NOT NULL,
  begun REAL NOT NULL,
  ended INTEGER NOT NULL DEFAULT 0,
  UNIQUE (user, run_id)
);
CREATE INDEX IF NOT EXISTS runs_by_invocation ON runs (user, invocation_id);
CREATE INDEX IF NOT EXISTS runs_unended ON runs (user) WHERE NOT ended;
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (begun);
CREATE TABLE IF NOT EXISTS events (
  run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  event BLOB NOT NULL,
  PRIMARY KEY (run, number)
) WITHOUT ROWID;
"""
_ONE = "SELECT seq, user, run_id, invocation_id, thread_id, ended, given FROM runs WHERE user = ? AND run_id = ?"
_ANY = (
    "SELECT seq, user, run_id, invocation_id, thread_id, ended, given FROM runs"
    " WHERE user = ? AND ? IN (run_id, invocation_id)"
    " ORDER BY run_id = ? DESC, seq DESC LIMIT 1"
)
_UNENDED = (
    "SELECT seq, user, run_id, invocation_id, thread_id, ended, given FROM runs"
    " WHERE user = ? AND NOT ended AND ? IN (thread_id, '') ORDER BY seq"
)
_INSERT = "INSERT INTO events (run, number, event) VALUES {} ON CONFLICT DO NOTHING"
_BUSY_SECONDS = 15.0
_MOST_ROWS = 256
_SWEPT_EVERY = 200
"""How many runs begin between two looks for old ones."""


@dataclass(frozen=True, slots=True)
class LoggedRun:
    seq: int
    user: str
    run_id: str
    invocation_id: str
    thread_id: str
    ended: bool
    given: str
    """JSON of what the run began with: what its thread is made up from, if its process dies. Empty once it ended."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a run's events."""

    run: LoggedRun
    number: int
    """Of the first of them."""
    events: Sequence[bytes]
    ended: bool = False
    """Whether the last of them is the run's terminal event."""


class RunLog:
    """All methods raise `sqlite3.Error` where the disk fails. The file is opened by the first of them."""

    def __init__(self, path: Path, *, kept_for: timedelta, now: Callable[[], float] = time.time) -> None:
        self._kept_for = kept_for.total_seconds()
        self._now = now
        self._writer = _Connection(path)
        # Its own, so that the first event of a run does not wait while the events of many others are written.
        self._reader = _Connection(path)
        self._begun = 0

    async def begin(self, user: str, run_id: str, *, invocation_id: str, thread_id: str, given: str) -> LoggedRun:
        """Keep that the run has begun, unless it is known already."""

        def begin(db: sqlite3.Connection) -> LoggedRun:
            if self._begun % _SWEPT_EVERY == 0:
                db.execute("DELETE FROM runs WHERE begun < ?", (self._now() - self._kept_for,))
            self._begun += 1
            values = (user, run_id, invocation_id, thread_id, given, self._now())
            db.execute(
                "INSERT INTO runs (user, run_id, invocation_id, thread_id, given, begun) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                values,
            )
            return _run(db.execute(_ONE, (user, run_id)).fetchone())

        return await self._writer.do(begin)

    async def append(self, parts: Sequence[Part]) -> None:
        """Write events of any number of runs, in one transaction. What is there already stays as it is."""

        def append(db: sqlite3.Connection) -> None:
            rows = [
                (part.run.seq, part.number + place, event) for part in parts for place, event in enumerate(part.events)
            ]
            for some in _in_powers_of_two(rows):
                places = ", ".join(["(?, ?, ?)"] * len(some))
                db.execute(_INSERT.format(places), [value for row in some for value in row])
            ended = [(part.run.seq,) for part in parts if part.ended]
            # The thread has it now; each run would keep the whole conversation once more.
            db.executemany("UPDATE runs SET ended = 1, given = '' WHERE seq = ?", ended)

        await self._writer.do(append)

    async def find(self, user: str, run_or_invocation_id: str) -> LoggedRun | None:
        """The user's run with this `runId`, or else the newest with this invocation id."""

        def find(db: sqlite3.Connection) -> LoggedRun | None:
            wanted = run_or_invocation_id
            row = db.execute(_ANY, (user, wanted, wanted)).fetchone()
            return _run(row) if row else None

        return await self._reader.do(find)

    async def unended(self, user: str, thread_id: str = "") -> list[LoggedRun]:
        """The user's runs, of one thread or of all, that have not ended: they are in progress, or died with their
        process."""

        def read(db: sqlite3.Connection) -> list[LoggedRun]:
            return _unended(db, user, thread_id)

        return await self._reader.do(read)

    async def look(self, user: str, run_id: str, thread_id: str) -> tuple[LoggedRun | None, list[LoggedRun]]:
        """The user's run of this id, and their runs of this thread that have not ended."""

        def read(db: sqlite3.Connection) -> tuple[LoggedRun | None, list[LoggedRun]]:
            row = db.execute(_ONE, (user, run_id)).fetchone()
            return _run(row) if row else None, _unended(db, user, thread_id)

        return await self._reader.do(read)

    async def events(self, run: LoggedRun, after: int = 0, *, most: int = -1) -> list[bytes]:
        """The events of a run from the one after number `after` on; at most `most`, or all."""

        def read(db: sqlite3.Connection) -> list[bytes]:
            query = "SELECT event FROM events WHERE run = ? AND number > ? ORDER BY number LIMIT ?"
            return [bytes(event) for (event,) in db.execute(query, (run.seq, after, most))]

        return await self._reader.do(read)

    async def close(self) -> None:
        await asyncio.gather(self._writer.close(), self._reader.close())


class _Connection:
    """One connection in a thread of its own, opened with its first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="run-log")
        self._opened: sqlite3.Connection | None = None

    async def do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do the work in one transaction."""

        def run() -> Result:
            if self._opened is None:
                self._opened = _open(self._path)
            with self._opened as db:
                return work(db)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def close(self) -> None:
        def close() -> None:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=False)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; {_SCHEMA}")
    return db


def _in_powers_of_two(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Each statement takes the interpreter's lock from the event loop, so one writes many rows; and few different
    statements are kept prepared."""
    start = 0
    while start < len(rows):
        size = min(_MOST_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        yield rows[start : start + size]
        start += size


def _unended(db: sqlite3.Connection, user: str, thread_id: str) -> list[LoggedRun]:
    return [_run(row) for row in db.execute(_UNENDED, (user, thread_id))]


def _run(row: tuple[int, str, str, str, str, int, str]) -> LoggedRun:
    seq, user, run_id, invocation_id, thread_id, ended, given = row
    return LoggedRun(seq, user, run_id, invocation_id, thread_id, bool(ended), given)
