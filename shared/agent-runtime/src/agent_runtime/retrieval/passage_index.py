"""The full-text index of folders of markdown documents: one SQLite file with FTS5.

Building it again reads every document but rewrites only those whose content changed, in one transaction: several
agents may start on one file at once, and readers see the old index or the new one, never half of it.
"""

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent_runtime.retrieval.markdown import chunk_markdown, read_front_matter
from agent_runtime.retrieval.passages import Passage, embedded_text

VERSION = 2
"""Of the tables and of the way documents are cut. A file of another version is built anew."""

Folder: TypeAlias = Path | tuple[str, Path]
"""A folder of documents; with a prefix for their ids, such as `documents/`, where two folders must not collide."""

_BUSY_SECONDS = 60.0
_SUFFIXES = (".md", ".markdown")
_TABLES = """
CREATE TABLE documents (id TEXT PRIMARY KEY, hash TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE passages (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    document_id TEXT NOT NULL,
    title TEXT NOT NULL,
    heading TEXT NOT NULL,  -- the path, one heading a line
    text TEXT NOT NULL,
    anchor TEXT NOT NULL,
    hash BLOB NOT NULL  -- of what an embedding of it is made of
);
CREATE INDEX passages_by_document ON passages (document_id);
CREATE INDEX passages_by_hash ON passages (hash);
CREATE VIRTUAL TABLE search USING fts5 (
    title, heading, text,
    content = 'passages', content_rowid = 'number',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER passage_added AFTER INSERT ON passages BEGIN
    INSERT INTO search (rowid, title, heading, text) VALUES (new.number, new.title, new.heading, new.text);
END;
CREATE TRIGGER passage_removed AFTER DELETE ON passages BEGIN
    INSERT INTO search (search, rowid, title, heading, text)
    VALUES ('delete', old.number, old.title, old.heading, old.text);
END;
"""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What building the index did. Documents are counted as against the index that was there."""

    added: int
    changed: int
    removed: int
    unchanged: int
    passages: int
    """All that the index holds now."""
    seconds: float

    def __str__(self) -> str:
        documents = self.added + self.changed + self.unchanged
        return (
            f"{documents} documents in {self.passages} passages ({self.added} added, {self.changed} changed, "
            f"{self.removed} removed, {self.unchanged} unchanged) in {self.seconds:.2f} s"
        )


def build_index(path: Path, folders: Sequence[Folder]) -> IndexReport:
    """Make the index at `path` hold the markdown documents below `folders`, and only them.

    A document's id is its folder's prefix and its path below that folder, without the suffix. One of a later folder
    replaces one of the same id of an earlier folder. Hidden files and folders are left out, and documents with
    `search: false` in their front matter.
    """
    with closing(PassageIndex(path)) as index:
        return index.refresh(_documents(folders))


class PassageIndex:
    """The index file, open for writing. Readers use `FtsRetriever`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            _wait_while_locked(self._connection, "PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def refresh(self, documents: Iterable[tuple[str, bytes]]) -> IndexReport:
        """Make the index hold `documents` (id, content as UTF-8), and only them."""
        start = time.monotonic()
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")  # whoever else builds waits here, then finds everything unchanged
        try:
            _create_tables(connection)
            known: dict[str, str] = dict(connection.execute("SELECT id, hash FROM documents"))
            seen: set[str] = set()
            added = changed = 0
            for document_id, content in documents:
                seen.add(document_id)
                digest = hashlib.sha256(content).hexdigest()
                if known.get(document_id) == digest:
                    continue
                if document_id in known:
                    changed += 1
                    _remove(connection, document_id)
                else:
                    added += 1
                _add(connection, document_id, digest, chunk_markdown(document_id, content.decode(errors="replace")))
            gone = known.keys() - seen
            for document_id in gone:
                _remove(connection, document_id)
            (passages,) = connection.execute("SELECT count(*) FROM passages").fetchone()
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        unchanged = len(seen) - added - changed
        return IndexReport(added, changed, len(gone), unchanged, int(passages), time.monotonic() - start)


def _create_tables(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    for table in ("search", "passages", "documents"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _statements(_TABLES):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION:d}")


def _statements(script: str) -> Iterator[str]:
    """`executescript` would commit the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _add(connection: sqlite3.Connection, document_id: str, digest: str, passages: Iterable[Passage]) -> None:
    connection.execute("INSERT INTO documents VALUES (?, ?)", (document_id, digest))
    connection.executemany(
        "INSERT INTO passages (id, document_id, title, heading, text, anchor, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (
                passage.id,
                document_id,
                passage.title,
                "\n".join(passage.heading_path),
                passage.text,
                passage.anchor,
                hashlib.sha256(embedded_text(passage).encode()).digest(),
            )
            for passage in passages
        ),
    )


def _remove(connection: sqlite3.Connection, document_id: str) -> None:
    connection.execute("DELETE FROM passages WHERE document_id = ?", (document_id,))
    connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))


def _documents(folders: Sequence[Folder]) -> Iterator[tuple[str, bytes]]:
    files: dict[str, Path] = {}
    for entry in folders:
        prefix, folder = entry if isinstance(entry, tuple) else ("", entry)
        for file in sorted(folder.rglob("*")):
            parts = file.relative_to(folder).parts
            if file.suffix.lower() in _SUFFIXES and not any(part.startswith(".") for part in parts) and file.is_file():
                files[prefix + file.relative_to(folder).with_suffix("").as_posix()] = file
    for document_id, file in files.items():
        content = file.read_bytes()
        properties, _ = read_front_matter(content.decode(errors="replace"))
        if properties.get("search", "").lower() not in ("false", "no"):
            yield document_id, content


def _wait_while_locked(connection: sqlite3.Connection, statement: str) -> None:
    """SQLite does not wait for the lock by itself where it changes the journal mode."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
