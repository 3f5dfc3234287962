"""Full-text search over many passages: its time against the bare SQL query, its memory against a small index.

The passages are random words of the handbook, frequent ones more often, as in any text (Zipf's law); the same at each
run. The bare query is the retriever's own statement on one connection, without threads, objects or a pool.
"""

import asyncio
import itertools
import multiprocessing
import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
from agent_runtime.retrieval import FtsRetriever, PassageIndex, match_expression
from agent_runtime.retrieval.fts_retriever import SEARCH
from support_desk.handbook import handbook_folder

PASSAGES = 100_000
_SEARCHES = 200
_PER_DOCUMENT = 20
_LIMIT = 5


def run(passages: int | None = None) -> int:
    wanted = passages or PASSAGES
    with tempfile.TemporaryDirectory(prefix="bench-retrieval-") as folder:
        large, small = Path(folder, "large.sqlite"), Path(folder, "small.sqlite")
        words = _vocabulary()
        for path, size in ((small, max(1, wanted // 20)), (large, wanted)):
            with closing(PassageIndex(path)) as index:
                report = index.refresh(_documents(words, size))
                again = index.refresh(_documents(words, size))
            rate, rate_again = report.passages / report.seconds, again.passages / again.seconds
            megabytes = path.stat().st_size / 1e6
            print(
                f"index of {report.passages} passages, {megabytes:.0f} MB: built at {rate:,.0f} passages/s, "
                f"read again unchanged at {rate_again:,.0f} passages/s ({rate_again / rate:.1f} x)"
            )
        queries = _queries(words, _SEARCHES)
        bare, ours = asyncio.run(_times(large, queries))
        for share, name in ((0.5, "p50"), (0.95, "p95")):
            one, other = _quantile(bare, share), _quantile(ours, share)
            print(f"search {name}: {other * 1e3:.1f} ms, bare SQL {one * 1e3:.1f} ms: {other / one:.2f} x")
        memory = {path: _in_new_process(path, queries) for path in (small, large)}
        print(
            f"memory after {len(queries)} searches: {memory[large]:.0f} MB, with a twentieth of the passages "
            f"{memory[small]:.0f} MB: {memory[large] / memory[small]:.2f} x"
        )
    return 0


def _vocabulary() -> list[str]:
    text = " ".join(file.read_text() for file in sorted(handbook_folder().rglob("*.md")))
    return sorted(set(re.findall(r"[a-z]{3,}", text.lower())))


def _documents(words: list[str], passages: int) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(20261123)  # noqa: S311 - the same text at each run
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(words))))
    for number in range(-(-passages // _PER_DOCUMENT)):
        sections = [
            f"## {' '.join(chance.choices(words, cum_weights=weights, k=4))}\n\n"
            f"{' '.join(chance.choices(words, cum_weights=weights, k=60))}.\n"
            for _ in range(min(_PER_DOCUMENT, passages - number * _PER_DOCUMENT))
        ]
        yield f"document-{number}", "\n".join([f"# Document {number}\n", *sections]).encode()


def _queries(words: list[str], count: int) -> list[str]:
    chance = random.Random(7)  # noqa: S311
    return [" ".join(chance.choices(words, k=chance.randint(2, 7))) for _ in range(count)]


async def _times(path: Path, queries: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of the bare statement and of the retriever for each query, turn by turn, so that noise meets both."""
    bare: list[float] = []
    ours: list[float] = []
    retriever = FtsRetriever(path)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        for number, query in enumerate(queries):
            for kind in (bare, ours) if number % 2 else (ours, bare):
                start = time.perf_counter()
                if kind is bare:
                    connection.execute(SEARCH, (match_expression(query), _LIMIT)).fetchall()
                else:
                    await retriever.search(query, _LIMIT)
                kind.append(time.perf_counter() - start)
    retriever.close()
    return bare, ours


def _quantile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _in_new_process(path: Path, queries: list[str]) -> float:
    """Resident memory in MB (10^6 bytes) of a process that has done all searches."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_memory, (path, queries))


def _memory(path: Path, queries: list[str]) -> float:
    async def search() -> None:
        retriever = FtsRetriever(path)
        for query in queries:
            await retriever.search(query, _LIMIT)
        retriever.close()

    asyncio.run(search())
    return float(psutil.Process().memory_info().rss) / 1e6
