"""What the agent answers from: the handbook, and as `documents/...` the user's own documents, made by `make ingest`."""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from agent_runtime.retrieval import Folder, SearchHit

from rag_chat.settings import RagChatSettings

OWN = "documents/"
"""What the ids of the user's own documents start with, so that none replaces a page of the handbook."""


def folders(settings: RagChatSettings) -> list[Folder]:
    """The folders to index. That of the user's own documents need not exist."""
    own = settings.documents_folder
    return [settings.handbook_dir, (OWN, own)] if own.is_dir() else [settings.handbook_dir]


def with_addresses(hits: Iterable[SearchHit], settings: RagChatSettings) -> list[SearchHit]:
    """The hits, those of the user's own documents with an address below `DOCUMENTS_BASE_URL` where that is set."""
    base = settings.documents_base_url
    return [
        replace(hit, passage=replace(hit.passage, address=base + quote(hit.passage.document_id.removeprefix(OWN))))
        if base and hit.passage.document_id.startswith(OWN)
        else hit
        for hit in hits
    ]
