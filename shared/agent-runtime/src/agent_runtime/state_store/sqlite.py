"""The state store of one machine: a SQLite file that any number of processes may use at once.

A write is on disk when it is acknowledged (WAL with `synchronous=FULL`). Every store object has one thread and one
connection, opened by its first operation, so that the event loop never waits for the disk.
"""

import asyncio
import contextlib
import functools
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from agent_runtime.state_store.items import (
    JSON,
    InvalidStateItem,
    Page,
    StateConflict,
    StateStoreUnavailable,
    StoredItem,
    check_key,
    check_limit,
    check_tags,
    encode_value,
)

Result = TypeVar("Result")

_BUSY_SECONDS = 15.0
_SWEEP_SECONDS = 600.0
_SWEEP_ROWS = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  etag TEXT NOT NULL,
  tags TEXT NOT NULL,
  created REAL NOT NULL,
  expires REAL,
  UNIQUE (owner, key)
);
CREATE INDEX IF NOT EXISTS items_by_expiry ON items (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS tags (
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  item INTEGER NOT NULL REFERENCES items (seq) ON DELETE CASCADE,
  PRIMARY KEY (owner, name, value, item)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_by_item ON tags (item);
"""
_COLUMNS = "key, value, etag, tags, created, expires, seq"


class SqliteItems:
    """A `StateStore` in the file `path`. `owner` partitions it: items of one owner do not exist for another."""

    def __init__(
        self,
        path: Path,
        *,
        owner: str = "",
        expires_after: timedelta | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._owner = owner
        self._lifetime = expires_after.total_seconds() if expires_after is not None else None
        self._now = now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"state-{path.stem}")
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._next_sweep = 0.0

    async def put_if_absent(
        self, key: str, value: JSON, *, tags: Mapping[str, str] | None = None
    ) -> tuple[bool, StoredItem]:
        check_key(key)
        return await self._run(self._put_if_absent, key, encode_value(value), check_tags(tags or {}))

    async def compare_and_set(
        self, key: str, value: JSON, *, etag: str, tags: Mapping[str, str] | None = None
    ) -> StoredItem:
        check_key(key)
        checked = None if tags is None else check_tags(tags)
        return await self._run(self._compare_and_set, key, encode_value(value), etag, checked)

    async def get(self, key: str) -> StoredItem | None:
        check_key(key)
        return await self._run(self._get, key)

    async def delete(self, key: str, *, etag: str | None = None) -> bool:
        check_key(key)
        return await self._run(self._delete, key, etag)

    async def delete_all(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        if keys:
            await self._run(self._delete_all, keys)

    async def list(self, tags: Mapping[str, str], *, limit: int = 100, after: str | None = None) -> Page:
        check_limit(limit)
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 19):
            raise InvalidStateItem("'after' is not a cursor of this store")
        return await self._run(self._list, check_tags(tags), limit, int(after or 0))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # In the thread's own order: an operation whose caller was cancelled may be opening the connection just now.
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _run(self, operation: Callable[..., Result], *arguments: Any) -> Result:
        loop = asyncio.get_running_loop()
        # An operation that has begun is finished even if the caller is cancelled: its outcome must not stay open.
        return await loop.run_in_executor(self._thread, functools.partial(self._guarded, operation, *arguments))

    def _guarded(self, operation: Callable[..., Result], *arguments: Any) -> Result:
        try:
            if self._connection is None:
                self._connection = _open(self._path)
            return operation(self._connection, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise StateStoreUnavailable(f"{self._path}: {error}") from error

    def _put_if_absent(
        self, db: sqlite3.Connection, key: str, value: str, tags: dict[str, str]
    ) -> tuple[bool, StoredItem]:
        with _transaction(db):
            self._sweep(db)
            present = self._find(db, key)
            if present is not None:
                return False, _item(present)
            db.execute("DELETE FROM items WHERE owner = ? AND key = ?", (self._owner, key))  # expired
            now = self._now()
            row = db.execute(
                "INSERT INTO items (owner, key, value, etag, tags, created, expires)"  # noqa: S608
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                f" RETURNING {_COLUMNS}",
                (self._owner, key, value, secrets.token_hex(8), json.dumps(tags), now, self._expiry(now)),
            ).fetchone()
            self._index_tags(db, row[6], tags)
            return True, _item(row)

    def _compare_and_set(
        self, db: sqlite3.Connection, key: str, value: str, etag: str, tags: dict[str, str] | None
    ) -> StoredItem:
        with _transaction(db):
            present = self._find(db, key)
            if present is None:
                raise StateConflict(f"'{key}' is not there")
            if present[2] != etag:
                raise StateConflict(f"'{key}' was changed by someone else")
            row = db.execute(
                "UPDATE items SET value = ?, etag = ?, tags = ?, expires = ? WHERE seq = ?"  # noqa: S608
                f" RETURNING {_COLUMNS}",
                (
                    value,
                    secrets.token_hex(8),
                    present[3] if tags is None else json.dumps(tags),
                    self._expiry(self._now()),
                    present[6],
                ),
            ).fetchone()
            if tags is not None:
                db.execute("DELETE FROM tags WHERE item = ?", (row[6],))
                self._index_tags(db, row[6], tags)
            return _item(row)

    def _get(self, db: sqlite3.Connection, key: str) -> StoredItem | None:
        row = self._find(db, key)
        return None if row is None else _item(row)

    def _delete(self, db: sqlite3.Connection, key: str, etag: str | None) -> bool:
        with _transaction(db):
            present = self._find(db, key)
            if present is None:
                return False
            if etag is not None and present[2] != etag:
                raise StateConflict(f"'{key}' was changed by someone else")
            db.execute("DELETE FROM items WHERE seq = ?", (present[6],))
            return True

    def _delete_all(self, db: sqlite3.Connection, keys: Sequence[str]) -> None:
        with _transaction(db):
            rows = [(self._owner, key) for key in keys]
            db.executemany("DELETE FROM items WHERE owner = ? AND key = ?", rows)

    def _list(self, db: sqlite3.Connection, tags: dict[str, str], limit: int, after: int) -> Page:
        conditions = ["i.owner = ?", "i.seq > ?", "(i.expires IS NULL OR i.expires > ?)"]
        parameters: list[str | float] = [self._owner, after, self._now()]
        for name, value in tags.items():
            conditions.append("i.seq IN (SELECT item FROM tags WHERE owner = ? AND name = ? AND value = ?)")
            parameters += [self._owner, name, value]
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM items i WHERE {' AND '.join(conditions)} ORDER BY i.seq LIMIT ?",  # noqa: S608
            (*parameters, limit + 1),
        ).fetchall()
        page = rows[:limit]
        return Page([_item(row) for row in page], after=str(page[-1][6]) if len(rows) > limit else None)

    def _find(self, db: sqlite3.Connection, key: str) -> Any:
        return db.execute(
            f"SELECT {_COLUMNS} FROM items WHERE owner = ? AND key = ? AND (expires IS NULL OR expires > ?)",  # noqa: S608
            (self._owner, key, self._now()),
        ).fetchone()

    def _index_tags(self, db: sqlite3.Connection, seq: int, tags: dict[str, str]) -> None:
        rows = [(self._owner, name, value, seq) for name, value in tags.items()]
        db.executemany("INSERT INTO tags (owner, name, value, item) VALUES (?, ?, ?, ?)", rows)

    def _expiry(self, now: float) -> float | None:
        return None if self._lifetime is None else now + self._lifetime

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Delete some expired items of all owners, now and then. Reads do not depend on it."""
        now = self._now()
        if now < self._next_sweep:
            return
        swept = db.execute(
            "DELETE FROM items WHERE seq IN (SELECT seq FROM items WHERE expires <= ? LIMIT ?)", (now, _SWEEP_ROWS)
        )
        self._next_sweep = now if swept.rowcount == _SWEEP_ROWS else now + _SWEEP_SECONDS


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        # The pool's one thread is the only user, but `close` may come from another when the loop is gone.
        db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            # The switch to WAL does not wait for other processes that start at the same moment.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA foreign_keys=ON")
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            path.chmod(0o600)
        except sqlite3.OperationalError as error:
            db.close()
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _item(row: Any) -> StoredItem:
    key, value, etag, tags, created, expires, _ = row
    return StoredItem(
        key=key,
        value=json.loads(value),
        etag=etag,
        tags=json.loads(tags),
        created_at=datetime.fromtimestamp(created, UTC),
        expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
    )
