"""Full text and embeddings together, fused by reciprocal rank: what says it in other words is found as well.

Embeddings help where they are there and never stand in the way: while passages have no vectors yet, or the provider
does not answer, full text answers alone.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runtime.retrieval.embeddings import EmbeddingError, Embeddings
from agent_runtime.retrieval.fts_retriever import FtsRetriever, passage_of
from agent_runtime.retrieval.passages import Passage, SearchHit
from agent_runtime.retrieval.vectors import VectorFiller, VectorSearch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

DEPTH = 50
"""Hits of each of the two rankings that are fused."""
QUERY_SECONDS = 5.0
"""Longest wait for the embedding of a query; a person waits for it."""
_CACHED_QUERIES = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds without asking after a query that got no embedding: a server that hangs must not hold up every search."""


class HybridRetriever:
    """Searches the index at `path`, which `build_index` made, and embeds what has no vector in the background.

    Args:
        make_embeddings: called once for each event loop that embeds: the background's and the caller's.
    """

    def __init__(
        self,
        path: Path,
        make_embeddings: Callable[[], Embeddings],
        *,
        fts_weight: float = 1.0,
        embedding_weight: float = 1.0,
        rank_constant: int = 60,
    ) -> None:
        self._path = path
        self._weights = (fts_weight, embedding_weight)
        self._constant = rank_constant
        self._full_text = FtsRetriever(path)
        self._embeddings = make_embeddings()
        self._vectors = VectorSearch(path, self._embeddings.key)
        self._lock = threading.Lock()
        self._queries: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._pause = 0.0
        self._ask_from = 0.0
        self._filler = VectorFiller(path, make_embeddings)
        self._filler.start()

    async def search(self, query: str, limit: int = 5) -> list[SearchHit]:
        """The best passages, best first. A query without words finds nothing."""
        if limit < 1 or not query.strip():
            return []
        depth = max(limit, DEPTH)
        found, near = await asyncio.gather(self._full_text.search(query, depth), self._nearest(query, depth))
        if not near:
            return found[:limit]
        return fuse([found, near], self._weights, self._constant)[:limit]

    def wait_until_embedded(self, seconds: float) -> bool:
        """Whether every passage had its vector within `seconds`: for evaluations, which compare like with like."""
        return self._filler.wait(seconds)

    def close(self) -> None:
        self._filler.stop()
        self._full_text.close()
        with self._lock:
            self._vectors.close()

    async def aclose(self) -> None:
        self.close()
        await self._embeddings.aclose()

    async def _nearest(self, query: str, limit: int) -> list[SearchHit]:
        vector = await self._vector(query)
        return [] if vector is None else await asyncio.to_thread(self._passages, vector, limit)

    async def _vector(self, query: str) -> "NDArray[np.float32] | None":
        if query in self._queries:
            self._queries.move_to_end(query)
            return self._queries[query]
        if time.monotonic() < self._ask_from:
            return None
        try:
            vector: NDArray[np.float32] = (await self._embeddings.embed([query], QUERY_SECONDS))[0]
        except EmbeddingError as error:
            if not self._pause:
                logger.warning("embeddings: no vector for a query, full text alone until there is one: %s", error)
            self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
            self._ask_from = time.monotonic() + self._pause
            return None
        self._pause = 0.0
        self._queries[query] = vector
        if len(self._queries) > _CACHED_QUERIES:
            self._queries.popitem(last=False)
        return vector

    def _passages(self, vector: "NDArray[np.float32]", limit: int) -> list[SearchHit]:
        with self._lock:
            ids = self._vectors.nearest(vector, limit)
            dimensions = self._vectors.dimensions
        if dimensions not in (None, len(vector)):
            logger.warning("embeddings: vectors have %d numbers now, had %s: made again", len(vector), dimensions)
            self._filler.start(len(vector))
        passages = _read(self._path, ids)
        return [SearchHit(passages[one], 0.0) for one in ids if one in passages]


def fuse(rankings: Sequence[Sequence[SearchHit]], weights: Sequence[float], constant: int) -> list[SearchHit]:
    """Reciprocal rank fusion: score = sum of weight / (constant + rank), ranks from 1; ties by the first ranking's."""
    scores: dict[str, float] = {}
    passages: dict[str, Passage] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        if not weight:
            continue
        for rank, hit in enumerate(ranking, 1):
            passages.setdefault(hit.passage.id, hit.passage)
            scores[hit.passage.id] = scores.get(hit.passage.id, 0.0) + weight / (constant + rank)
    return [SearchHit(passages[one], score) for one, score in sorted(scores.items(), key=lambda item: -item[1])]


def _read(path: Path, ids: Sequence[str]) -> Mapping[str, Passage]:
    places = ", ".join("?" * len(ids))
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)) as connection:
        rows = connection.execute(
            "SELECT id, document_id, title, heading, text, anchor FROM passages "  # noqa: S608 - only `?` is put in
            f"WHERE id IN ({places})",
            list(ids),
        ).fetchall()
    return {columns[0]: passage_of(columns) for columns in rows}
