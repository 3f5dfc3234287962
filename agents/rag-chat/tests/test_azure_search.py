"""rag-chat on an index of Azure AI Search: the same answers, the same citations, and a failing search that says so."""

from pathlib import Path
from typing import Any

import pytest
from agent_runtime.retrieval import Passage, RetrievalSettings, azure_search, chunk_markdown
from agent_runtime.retrieval.azure_search_index import as_document, index_definition
from agent_runtime.testing import ScriptedModel
from agent_runtime.testing.azure_search_service import ENDPOINT, AzureSearchService, LoopbackTransport, TestCredential
from azure.search.documents.aio import SearchClient
from azure.search.documents.indexes.aio import SearchIndexClient
from openai.types.responses import Response

QUESTION = "What does a return label cost in Norway?"
ANSWER = "A label costs NOK 99. [1]"


def passages_of(handbook: Path) -> list[Passage]:
    return [one for file in handbook.glob("*.md") for one in chunk_markdown(file.stem, file.read_text())]


async def fill(chosen: RetrievalSettings, url: str, passages: list[Passage]) -> None:
    async with SearchIndexClient(ENDPOINT, TestCredential(), transport=LoopbackTransport(url)) as indexes:
        await indexes.create_or_update_index(index_definition(chosen))
    async with SearchClient(ENDPOINT, "handbook", TestCredential(), transport=LoopbackTransport(url)) as client:
        await client.upload_documents([as_document(one, "hash") for one in passages])


def cited(response: Response) -> list[Any]:
    message = response.output[-1]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    return [annotation.model_dump() for annotation in message.content[0].annotations]


async def test_citations_are_those_of_the_local_index(
    agent: Any, model: ScriptedModel, search: Any, handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.enqueue(search("return label Norway"), ANSWER)
    async with agent() as ask:
        local = await ask.responses.create(input=QUESTION)

    service = AzureSearchService()
    async with service.serve() as url:
        for name, value in {"ENDPOINT": ENDPOINT, "INDEX": "handbook"}.items():
            monkeypatch.setenv(f"AZURE_SEARCH_{name}", value)
        monkeypatch.setenv("RETRIEVER", "azure-search")
        await fill(RetrievalSettings(), url, passages_of(handbook))
        monkeypatch.setattr(
            azure_search,
            "open_azure_search",
            lambda chosen: azure_search.AzureSearchRetriever(
                chosen, credential=TestCredential(), transport=LoopbackTransport(url)
            ),
        )
        model.enqueue(search("return label Norway"), ANSWER)
        async with agent() as ask:
            remote = await ask.responses.create(input=QUESTION)
    assert remote.output_text == local.output_text == "A label costs NOK 99."
    assert cited(remote) == cited(local)
    assert cited(remote)[0]["url"] == "https://handbook.test/returns#costs"


async def test_a_service_that_does_not_answer_fails_the_answer_with_a_code(
    agent: Any, model: ScriptedModel, search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVER", "azure-search")
    monkeypatch.setenv("AZURE_SEARCH_ENDPOINT", ENDPOINT)
    monkeypatch.setenv("AZURE_SEARCH_INDEX", "handbook")
    monkeypatch.setattr(
        azure_search,
        "open_azure_search",
        lambda chosen: azure_search.AzureSearchRetriever(
            chosen, credential=TestCredential(), transport=LoopbackTransport("http://127.0.0.1:1")
        ),
    )
    model.enqueue(search("return label Norway"), ANSWER)
    async with agent() as ask:
        response = await ask.responses.create(input=QUESTION)
    assert response.status == "failed"
    assert response.error is not None
    assert response.error.code == "search_unavailable"
