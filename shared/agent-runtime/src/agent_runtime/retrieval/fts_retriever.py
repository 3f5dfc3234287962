"""Full-text search of the passage index by SQLite FTS5: candidates by BM25, ranked again by what of the question they
speak of. The default retriever: no model, no service.

The index is opened for reading only and stays on disk: memory does not grow with it.
"""

import asyncio
import queue
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from agent_runtime.retrieval.fts_query import match_expression
from agent_runtime.retrieval.passages import Passage, SearchHit
from agent_runtime.retrieval.reranking import rerank

CANDIDATES = 60
"""Hits of the first ranking that are looked at again."""
TITLE_WEIGHT, HEADING_WEIGHT, TEXT_WEIGHT = 3.0, 2.0, 1.0
"""A word in the title or a heading says more about a passage than the same word in its text."""

# The ranking first, the texts of the few best after: reading the text of every match would be most of the work.
SEARCH = f"""
SELECT passages.id, document_id, title, heading, text, anchor, best.rank
FROM (
    SELECT rowid, rank FROM search
    WHERE search MATCH ? AND rank MATCH 'bm25({TITLE_WEIGHT}, {HEADING_WEIGHT}, {TEXT_WEIGHT})'
    ORDER BY rank LIMIT ?
) AS best
JOIN passages ON passages.number = best.rowid
ORDER BY best.rank, passages.number
"""  # noqa: S608 - three constants of this module


class FtsRetriever:
    """Searches the index that `build_index` made at `path`; sees what later builds put there.

    Raises:
        FileNotFoundError: there is no index at `path`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"There is no passage index at {path}. Build it with build_index().")
        self._uri = f"{path.resolve().as_uri()}?mode=ro"
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._closed = False

    async def search(self, query: str, limit: int = 5) -> list[SearchHit]:
        """The best passages, best first. A query without words finds nothing."""
        expression = match_expression(query)
        if not expression or limit < 1:
            return []
        return (await asyncio.to_thread(self._search, query, expression, max(limit, CANDIDATES)))[:limit]

    def close(self) -> None:
        """Close the connections that no search uses at the moment; the others close after theirs."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    async def aclose(self) -> None:
        self.close()

    def _search(self, query: str, expression: str, limit: int) -> list[SearchHit]:
        connection = self._take()
        try:
            rows = connection.execute(SEARCH, (expression, limit)).fetchall()
        except BaseException:
            connection.close()
            raise
        if self._closed:
            connection.close()
        else:
            self._idle.put(connection)
        return rerank(query, [SearchHit(passage_of(columns), -rank) for *columns, rank in rows])

    def _take(self) -> sqlite3.Connection:
        """One connection for each search at a time: at most as many as the event loop has worker threads."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return sqlite3.connect(self._uri, uri=True, timeout=30.0, check_same_thread=False)


def passage_of(columns: Sequence[str]) -> Passage:
    """The passage of a row of the index: id, document, title, headings, text, anchor."""
    identity, document_id, title, heading, text, anchor = columns
    return Passage(identity, document_id, title, tuple(heading.split("\n")) if heading else (), text, anchor)
