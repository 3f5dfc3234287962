"""The embeddings of the passages, in the file of the index: made in the background, and searched in memory.

A vector is kept by the hash of what was embedded and by the model, so that only new and changed passages are embedded
again, and those of two models never meet. Several processes may fill one file: a vector that is already there stays.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_runtime.retrieval.embeddings import BATCH, EmbeddingError, Embeddings
from agent_runtime.retrieval.fts_retriever import passage_of
from agent_runtime.retrieval.passages import embedded_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_POLL_SECONDS = 0.1
_RELOAD_SECONDS = 2.0
_TABLE = """
CREATE TABLE IF NOT EXISTS vectors (
    model TEXT NOT NULL,
    hash BLOB NOT NULL,
    vector BLOB NOT NULL,  -- float32, little endian, of length 1
    PRIMARY KEY (model, hash)
) WITHOUT ROWID
"""
_MISSING = """
SELECT hash, id, document_id, title, heading, text, anchor FROM passages
WHERE NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.model = ? AND vectors.hash = passages.hash)
GROUP BY hash ORDER BY min(number) LIMIT ?
"""


class VectorFiller:
    """Embeds the passages that have no vector yet, in a thread of its own, until all have one or `stop` is called.

    A provider that does not answer is asked again after a growing pause: searches go on without it. A passage that it
    refuses is left out until the next start.
    """

    def __init__(self, path: Path, make_embeddings: Callable[[], Embeddings]) -> None:
        self._path = path
        self._make = make_embeddings
        self._stopped = threading.Event()
        self._filled = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, dimensions: int | None = None) -> None:
        """Begin, unless it is under way. With `dimensions`, vectors of another length are made again: the model is
        another one than its name says."""
        if self._thread is None or not self._thread.is_alive():
            self._filled.clear()
            self._thread = threading.Thread(target=self._run, args=(dimensions,), name="embeddings", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; what it has embedded is kept. Does not wait for a request under way."""
        self._stopped.set()

    def wait(self, seconds: float) -> bool:
        """Whether every passage that the provider takes had a vector within `seconds`."""
        return self._filled.wait(seconds)

    def _run(self, dimensions: int | None) -> None:
        try:
            asyncio.run(self._fill(dimensions))
        except Exception:
            logger.exception("embeddings: given up; searches go on with full text and the vectors that are there")

    async def _fill(self, dimensions: int | None) -> None:
        embeddings = self._make()
        start, made, pause = time.monotonic(), 0, _FIRST_PAUSE
        refused: set[bytes] = set()
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
                connection.execute(_TABLE)
                if dimensions is not None:
                    connection.execute(
                        "DELETE FROM vectors WHERE model = ? AND length(vector) != ?", (embeddings.key, 4 * dimensions)
                    )
                while not self._stopped.is_set():
                    rows = connection.execute(_MISSING, (embeddings.key, BATCH + len(refused))).fetchall()
                    rows = [row for row in rows if row[0] not in refused][:BATCH]
                    if not rows:
                        break
                    if not made:
                        logger.info("embeddings: being made by %s; until then full text answers", embeddings.model)
                    try:
                        vectors = await self._embed(embeddings, rows, refused)
                    except EmbeddingError as error:
                        if pause == _FIRST_PAUSE:
                            logger.warning("embeddings: %s; asked again until it answers", error)
                        for _ in range(round(pause / _POLL_SECONDS)):
                            if not self._stopped.is_set():
                                await asyncio.sleep(_POLL_SECONDS)
                        pause = min(pause * 2, _LONGEST_PAUSE)
                        continue
                    pause = _FIRST_PAUSE
                    connection.executemany(
                        "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)",
                        [(embeddings.key, digest, vector) for digest, vector in vectors.items()],
                    )
                    made += len(vectors)
                else:
                    return
                connection.execute("DELETE FROM vectors WHERE hash NOT IN (SELECT hash FROM passages)")
                logger.info(
                    "embeddings: %d made by %s in %.1f s, %d passages refused",
                    made, embeddings.model, time.monotonic() - start, len(refused),
                )  # fmt: skip
                self._filled.set()
        finally:
            await embeddings.aclose()

    async def _embed(
        self, embeddings: Embeddings, rows: list[tuple[Any, ...]], refused: set[bytes]
    ) -> dict[bytes, bytes]:
        """The vectors by hash. Of texts that are refused together each is asked for alone, and notes the refused."""
        try:
            vectors = await embeddings.embed([embedded_text(passage_of(columns)) for _, *columns in rows])
        except EmbeddingError as error:
            if not error.refused:
                raise
            if len(rows) == 1:
                refused.add(rows[0][0])
                logger.warning("embeddings: %s is found by full text alone: %s", rows[0][1], error)
                return {}
            middle = len(rows) // 2
            first = await self._embed(embeddings, rows[:middle], refused)
            return first | await self._embed(embeddings, rows[middle:], refused)
        return {digest: vector.astype("<f4").tobytes() for (digest, *_), vector in zip(rows, vectors, strict=True)}


class VectorSearch:
    """The vectors of one model, in memory, as the file has them: 4 bytes for each dimension of each passage.

    Not safe for several threads at once; `HybridRetriever` holds a lock around it.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._uri = f"{path.resolve().as_uri()}?mode=ro"
        self._key = key
        self._connection: sqlite3.Connection | None = None
        self._version: object = None
        self._loaded = 0.0
        self._ids: list[str] = []
        self._matrix: NDArray[np.float32] | None = None

    @property
    def dimensions(self) -> int | None:
        """Of the vectors that were searched last; None where there were none."""
        return None if self._matrix is None else int(self._matrix.shape[1])

    def nearest(self, vector: "NDArray[np.float32]", limit: int) -> list[str]:
        """The ids of the passages whose vectors are nearest by cosine, nearest first; ties by place in the index. None
        where the vectors have another length than `vector`."""
        import numpy as np  # noqa: PLC0415 - loaded with the embeddings

        self._refresh(at_once=self.dimensions not in (None, len(vector)))
        if self._matrix is None or self._matrix.shape[1] != len(vector):
            return []
        near = self._matrix @ vector
        count = min(limit, len(near))
        found = np.argpartition(-near, count - 1)[:count]
        return [self._ids[at] for at in sorted(found.tolist(), key=lambda at: (-near[at], at))]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _refresh(self, *, at_once: bool) -> None:
        """Read the vectors again where another connection has changed the file, but not at every batch of them."""
        import numpy as np  # noqa: PLC0415

        if self._connection is None:
            self._connection = sqlite3.connect(self._uri, uri=True, timeout=30.0, check_same_thread=False)
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        now = time.monotonic()
        if version == self._version or (self._ids and not at_once and now - self._loaded < _RELOAD_SECONDS):
            return
        try:
            rows = self._connection.execute(
                "SELECT id, vector FROM passages JOIN vectors USING (hash) WHERE model = ? ORDER BY number",
                (self._key,),
            ).fetchall()
        except sqlite3.OperationalError as error:  # nothing was embedded yet
            if "no such table" not in str(error):
                raise
            return
        self._version, self._loaded = version, now
        size = len(rows[0][1]) if rows else 0
        rows = [row for row in rows if len(row[1]) == size]
        self._ids = [identity for identity, _ in rows]
        self._matrix = (
            np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f4").reshape(len(rows), -1) if rows else None
        )
