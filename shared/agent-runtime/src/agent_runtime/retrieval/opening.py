"""The retriever that the settings choose, over an index that is brought up to date first."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent_runtime.retrieval.fts_retriever import FtsRetriever
from agent_runtime.retrieval.passage_index import Folder, build_index
from agent_runtime.retrieval.passages import Retriever
from agent_runtime.retrieval.settings import RetrievalSettings

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)


class OpenRetriever(Retriever, Protocol):
    async def aclose(self) -> None: ...


def open_retriever(
    settings: RetrievalSettings,
    index: Path,
    folders: Sequence[Folder],
    *,
    transport: "httpx2.AsyncBaseTransport | None" = None,
) -> OpenRetriever:
    """`settings.retriever`, over the markdown documents below `folders`; close it with `aclose`.

    Args:
        index: the file of the local index; made where it is not there. Azure AI Search has its index elsewhere, which
            `python -m repo_tools search-index` fills.
        transport: replaces the network below the embeddings, for tests.
    """
    if settings.retriever == "azure-search":
        from agent_runtime.retrieval.azure_search import open_azure_search  # noqa: PLC0415 - with its SDK

        logger.info("passages: index %s of %s", settings.azure_search_index, settings.azure_search_endpoint)
        return open_azure_search(settings)

    index.parent.mkdir(parents=True, exist_ok=True)
    logger.info("passages: %s", build_index(index, folders))
    if settings.retriever == "fts":
        return FtsRetriever(index)

    from agent_runtime.retrieval.embeddings import Embeddings  # noqa: PLC0415 - with the model client
    from agent_runtime.retrieval.hybrid_retriever import HybridRetriever  # noqa: PLC0415

    return HybridRetriever(
        index,
        lambda: Embeddings(settings, transport=transport),
        fts_weight=settings.fts_weight,
        embedding_weight=settings.embedding_weight,
        rank_constant=settings.rank_constant,
    )
