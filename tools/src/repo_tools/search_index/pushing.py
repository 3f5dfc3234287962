"""Make an index of Azure AI Search hold the passages of folders of documents, and only them."""

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_runtime.retrieval import Folder, Passage, RetrievalSettings, build_index
from agent_runtime.retrieval.azure_search_index import VECTOR_FIELD, as_document, has_vectors, key_of
from agent_runtime.retrieval.passages import embedded_text

if TYPE_CHECKING:
    from agent_runtime.retrieval.embeddings import Embeddings
    from azure.search.documents.aio import SearchClient

BATCH = 1000
"""Actions of one request, and its bytes below: learn.microsoft.com/azure/search/search-limits-quotas-capacity."""
BATCH_BYTES = 15_000_000
_EMBEDDED_AT_ONCE = 64


@dataclass
class PushReport:
    uploaded: int = 0
    deleted: int = 0
    unchanged: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.uploaded} passages uploaded, {self.deleted} deleted, {self.unchanged} unchanged, "
            f"{len(self.failures)} failed"
        )


def read_passages(folders: Sequence[Folder]) -> list[Passage]:
    """What the local index would hold: cut by the same code, so that ids and citations are the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "passages.sqlite"
        build_index(path, folders)
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT id, document_id, title, heading, text, anchor FROM passages").fetchall()
    return [
        Passage(id, document, title, tuple(heading.split("\n")) if heading else (), text, anchor)
        for id, document, title, heading, text, anchor in rows
    ]


async def push(
    client: "SearchClient",
    passages: Sequence[Passage],
    settings: RetrievalSettings,
    *,
    embeddings: "Embeddings | None" = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = print,
) -> PushReport:
    """Upload what is new or changed, then delete what is gone."""
    if has_vectors(settings) and embeddings is None and not dry_run:
        raise ValueError("the index has vectors: embeddings are needed")
    model = f"{settings.embedding_name}|{settings.embedding_dimensions}" if has_vectors(settings) else ""
    known = {key: digest async for key, digest in _known(client)}
    wanted = {key_of(one.id): (one, _content_hash(one, model)) for one in passages}
    stale = [entry for key, entry in wanted.items() if known.get(key) != entry[1]]
    gone = sorted(known.keys() - wanted.keys())
    report = PushReport(unchanged=len(wanted) - len(stale))
    if dry_run:
        report.uploaded, report.deleted = len(stale), len(gone)
        return report
    for start in range(0, len(stale), BATCH):
        documents = [as_document(one, digest) for one, digest in stale[start : start + BATCH]]
        if embeddings is not None and model:
            for at in range(0, len(documents), _EMBEDDED_AT_ONCE):
                texts = [
                    embedded_text(one) for one, _ in stale[start + at : start + min(at + _EMBEDDED_AT_ONCE, BATCH)]
                ]
                vectors = await embeddings.embed(texts)
                for document, vector in zip(documents[at : at + _EMBEDDED_AT_ONCE], vectors, strict=True):
                    document[VECTOR_FIELD] = vector.tolist()
        for batch in _batches(documents):
            report.uploaded += _count(await client.upload_documents(batch), report)
            progress(f"{report.uploaded + len(report.failures)}/{len(stale)} uploaded")
    for batch in _batches([{"key": key} for key in gone]):
        report.deleted += _count(await client.delete_documents(batch), report)
    return report


def _content_hash(passage: Passage, model: str) -> str:
    return hashlib.sha256(json.dumps([as_document(passage, ""), model], sort_keys=True).encode()).hexdigest()


async def _known(client: "SearchClient") -> AsyncIterator[tuple[str, str]]:
    """By ranges of keys: the service skips 100,000 documents at most."""
    last = ""
    while True:
        options: dict[str, Any] = {"filter": f"key gt '{last}'"} if last else {}
        page = await client.search("*", select=["key", "hash"], order_by=["key asc"], top=BATCH, **options)
        rows = [(row["key"], row["hash"]) async for row in page]
        for row in rows:
            yield row
        if not rows:
            return
        last = rows[-1][0]


def _batches(documents: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for document in documents:
        length = len(json.dumps(document)) + 40  # with the name of the action
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += length
    if batch:
        yield batch


def _count(results: Sequence[Any], report: PushReport) -> int:
    failed = [one for one in results if not one.succeeded]
    report.failures += [f"{one.key}: {one.status_code} {one.error_message}" for one in failed]
    return len(results) - len(failed)
