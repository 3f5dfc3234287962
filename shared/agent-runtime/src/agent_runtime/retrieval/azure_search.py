"""Passages from an index of Azure AI Search: full text and vectors, ranked again by the semantic ranker.

The service embeds the query (`VectorizableTextQuery`). Requests are made by `azure-search-documents` 12.0 (REST
2026-04-01), signed in as the agent, which needs the role `Search Index Data Reader`.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from agent_runtime.retrieval.azure_search_index import (
    PASSAGE_FIELDS,
    SEMANTIC_CONFIGURATION,
    VECTOR_FIELD,
    as_passage,
    has_vectors,
)
from agent_runtime.retrieval.passages import SearchHit, SearchUnavailable
from agent_runtime.retrieval.settings import RetrievalSettings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.search.documents.aio import SearchClient

SECONDS = 20.0
"""For one search with its retries."""
_NEIGHBOURS = 50
"""What the semantic ranker takes at most (learn.microsoft.com/azure/search/semantic-search-overview)."""
_CAUSES = {
    401: "the sign-in was refused; let the service accept Entra tokens (role-based access)",
    403: "the agent's identity may not read; assign it the role Search Index Data Reader",
    404: "there is no such index; make it with: python -m repo_tools search-index create",
}


class AzureSearchRetriever:
    """A `Retriever`. Nothing is imported and no sign-in happens before the first search. Close it with `aclose`."""

    def __init__(
        self,
        settings: RetrievalSettings,
        *,
        semantic: bool = True,
        credential: "AsyncTokenCredential | None" = None,
        transport: Any = None,
        seconds: float = SECONDS,
    ) -> None:
        self._settings = settings
        self._vectors = has_vectors(settings)
        self._semantic = semantic
        self._credential = credential
        self._own: AsyncTokenCredential | None = None
        self._transport = transport
        self._seconds = seconds
        self._client: SearchClient | None = None

    async def search(self, query: str, limit: int = 5) -> list[SearchHit]:
        if not query.strip():
            return []
        # With the first search: an idle agent does not need it.
        from azure.core.exceptions import AzureError, HttpResponseError  # noqa: PLC0415
        from azure.search.documents.models import VectorizableTextQuery  # noqa: PLC0415

        options: dict[str, Any] = {}
        if self._semantic:
            options = {"query_type": "semantic", "semantic_configuration_name": SEMANTIC_CONFIGURATION}
        if self._vectors:
            options["vector_queries"] = [
                VectorizableTextQuery(text=query, fields=VECTOR_FIELD, k_nearest_neighbors=_NEIGHBOURS)
            ]
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._open().search(query, top=limit, select=PASSAGE_FIELDS, **options)
                return [_as_hit(document) async for document in answer]
        except TimeoutError as error:
            raise SearchUnavailable(f"Azure AI Search did not answer within {self._seconds:g} s.") from error
        except HttpResponseError as error:
            cause = _CAUSES.get(error.status_code or 0, " ".join((error.message or "").split())[:200])
            raise SearchUnavailable(f"Azure AI Search answered {error.status_code}: {cause}") from error
        except AzureError as error:  # no connection, or no token
            raise SearchUnavailable(f"Azure AI Search: {type(error).__name__}: {str(error)[:200]}") from error

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._own is not None:
            await self._own.close()

    def _open(self) -> "SearchClient":
        if self._client is None:
            from azure.search.documents.aio import SearchClient  # noqa: PLC0415

            if self._credential is None:
                from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415

                self._credential = self._own = DefaultAzureCredential()
            options = {"transport": self._transport} if self._transport else {}
            self._client = SearchClient(
                self._settings.azure_search_endpoint or "",
                self._settings.azure_search_index or "",
                self._credential,
                retry_total=2,  # of the SDK's 10: somebody waits for the answer
                **options,
            )
        return self._client


def _as_hit(document: dict[str, Any]) -> SearchHit:
    ranked = document.get("@search.reranker_score")
    return SearchHit(as_passage(document), float(document["@search.score"] if ranked is None else ranked))


def open_azure_search(settings: RetrievalSettings) -> AzureSearchRetriever:
    """The index that the settings name."""
    return AzureSearchRetriever(settings, semantic=settings.azure_search_semantic)
