"""Searches in Azure AI Search, against a local server that checks them by the models of the SDK."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from agent_runtime.retrieval import Passage, RetrievalSettings
from agent_runtime.retrieval.azure_search import AzureSearchRetriever
from agent_runtime.retrieval.azure_search_index import as_document, as_passage, index_definition, key_of
from agent_runtime.retrieval.passages import SearchUnavailable
from agent_runtime.testing.azure_search_service import (
    ENDPOINT,
    AzureSearchService,
    LoopbackTransport,
    TestCredential,
)
from azure.search.documents.aio import SearchClient
from azure.search.documents.indexes.aio import SearchIndexClient

PASSAGES = [
    Passage("care/ä#wool:1", "care/ä", "Care", ("Washing", "Wool"), "Wool is washed at thirty degrees.", "wool"),
    Passage("tents#:1", "tents", "Tents", (), "A tent is dried within a day.", ""),
]
FOUNDRY = {
    "MODEL_PROVIDER": "foundry",
    "FOUNDRY_PROJECT_ENDPOINT": "https://a.services.ai.azure.com/api/projects/p",
    "AZURE_AI_MODEL_DEPLOYMENT_NAME": "chat",
    "AZURE_AI_EMBEDDING_DEPLOYMENT_NAME": "embedding",
    "EMBEDDING_MODEL": "text-embedding-3-small",
    "EMBEDDING_DIMENSIONS": "8",
}


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> RetrievalSettings:
    defaults = {"RETRIEVER": "azure-search", "AZURE_SEARCH_ENDPOINT": ENDPOINT, "AZURE_SEARCH_INDEX": "handbook"}
    for name, value in (defaults | variables).items():
        monkeypatch.setenv(name, value)
    return RetrievalSettings()


@pytest.fixture
async def service() -> AsyncIterator[tuple[AzureSearchService, str]]:
    server = AzureSearchService()
    async with server.serve() as url:
        yield server, url


async def fill(chosen: RetrievalSettings, url: str) -> None:
    async with SearchIndexClient(ENDPOINT, TestCredential(), transport=LoopbackTransport(url)) as indexes:
        await indexes.create_or_update_index(index_definition(chosen))
    async with SearchClient(ENDPOINT, "handbook", TestCredential(), transport=LoopbackTransport(url)) as client:
        await client.upload_documents([as_document(one, "h") for one in PASSAGES])


def retriever(chosen: RetrievalSettings, url: str, **options: Any) -> AzureSearchRetriever:
    return AzureSearchRetriever(chosen, credential=TestCredential(), transport=LoopbackTransport(url), **options)


def test_a_passage_comes_back_as_it_was() -> None:
    assert [as_passage(as_document(one, "h")) for one in PASSAGES] == PASSAGES
    assert len({key_of(one.id) for one in PASSAGES}) == 2


@pytest.mark.parametrize("semantic", [True, False])
async def test_found_passages_are_those_pushed(
    service: tuple[AzureSearchService, str], monkeypatch: pytest.MonkeyPatch, semantic: bool
) -> None:
    server, url = service
    chosen = settings(monkeypatch)
    await fill(chosen, url)
    searcher = retriever(chosen, url, semantic=semantic)
    hits = await searcher.search("washed wool", 1)
    await searcher.aclose()
    assert [hit.passage for hit in hits] == [PASSAGES[0]]
    assert hits[0].score == (2.0 if semantic else 0.2)
    assert ("semanticConfiguration" in server.searches[-1]) is semantic
    assert "vectorQueries" not in server.searches[-1]


async def test_the_service_embeds_the_query(
    service: tuple[AzureSearchService, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = service
    chosen = settings(monkeypatch, **FOUNDRY)
    await fill(chosen, url)
    searcher = retriever(chosen, url)
    await searcher.search("wool")
    await searcher.aclose()
    assert server.searches[-1]["vectorQueries"] == [{"kind": "text", "text": "wool", "fields": "vector", "k": 50}]
    (vectorizer,) = server.indexes["handbook"]["vectorSearch"]["vectorizers"]
    assert vectorizer["kind"] == "azureOpenAI"
    assert "apiKey" not in vectorizer["azureOpenAIParameters"]


def test_vectors_without_the_model_s_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(monkeypatch, **{**FOUNDRY, "EMBEDDING_MODEL": ""})
    with pytest.raises(ValueError, match="EMBEDDING_MODEL"):
        index_definition(chosen)


@pytest.mark.parametrize(("status", "words"), [(403, "Search Index Data Reader"), (404, "search-index create")])
async def test_a_refusal_says_what_to_do(
    service: tuple[AzureSearchService, str], monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    server, url = service
    server.refuse = status
    searcher = retriever(settings(monkeypatch), url)
    with pytest.raises(SearchUnavailable, match=words):
        await searcher.search("wool")
    await searcher.aclose()


async def test_no_server_is_search_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = retriever(settings(monkeypatch), "http://127.0.0.1:9", seconds=0.5)
    with pytest.raises(SearchUnavailable):
        await searcher.search("wool")
    await searcher.aclose()


@pytest.mark.parametrize(
    ("version", "headers", "body", "status"),
    [
        ("2026-04-01", {}, {"search": "wool", "select": "key"}, 401),
        ("2026-04-01", {"authorization": "Bearer a-token", "api-key": "k"}, {"search": "wool", "select": "key"}, 401),
        ("2019-05-06", {"authorization": "Bearer a-token"}, {"search": "wool", "select": "key"}, 400),
        ("2026-04-01", {"authorization": "Bearer a-token"}, {"query": "wool", "select": "key"}, 400),
        ("2026-04-01", {"authorization": "Bearer a-token"}, {"search": "w", "select": "k"}, 400),
        ("2026-04-01", {"authorization": "Bearer a-token"}, {"search": "w", "queryType": "semantic"}, 400),
        ("2026-04-01", {"authorization": "Bearer a-token"}, {"search": "wool", "select": "key"}, 200),
    ],
)
async def test_the_local_server_refuses_what_the_service_would(  # noqa: PLR0917 - one row of a table
    service: tuple[AzureSearchService, str],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    headers: dict[str, str],
    body: dict[str, str],
    status: int,
) -> None:
    _, url = service
    await fill(settings(monkeypatch), url)
    async with httpx2.AsyncClient(trust_env=False) as client:
        address = f"{url}/indexes('handbook')/docs/search.post.search?api-version={version}"
        answer = await client.post(address, headers=headers, json=body)
    assert answer.status_code == status
