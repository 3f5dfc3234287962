"""Embeddings beside full text: made once, found by meaning, and never in the way of a search."""

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agent_runtime.retrieval import OpenRetriever, Passage, RetrievalSettings, SearchHit, open_retriever
from agent_runtime.retrieval.embeddings import EmbeddingError, Embeddings
from agent_runtime.retrieval.hybrid_retriever import HybridRetriever, fuse
from agent_runtime.settings import SettingsError, load_settings
from agent_runtime.testing import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

DOCUMENTS = {
    "care": "# Care\n\n## Washing\n\nWool is washed at thirty degrees.\n\n## Mildew\n\nA tent is dried within a day.\n",
    "rota": "# Hours\n\n## Planning\n\nShifts are published four weeks ahead.\n",
}
# What a model would know: each line is one direction of meaning.
MEANINGS = (
    ("wool", "washed", "laundering", "jumper"),
    ("tent", "dried", "mouldy", "shelter"),
    ("shifts", "rota", "published", "roster"),
    ("degrees", "hot"),
)


class Model:
    """An `/embeddings` server that knows `MEANINGS`."""

    def __init__(self) -> None:
        self.down = False
        self.dimensions = len(MEANINGS)
        self.texts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.longest = 10_000
        self.keys: set[str] = set()
        self.hold: asyncio.Event | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async with serve(Starlette(routes=[Route("/v1/embeddings", self._answer, methods=["POST"])])) as url:
            yield f"{url}/v1"

    async def _answer(self, request: Request) -> Response:
        if self.down:
            return JSONResponse({"error": {"message": "loading"}}, 503, {"x-should-retry": "false"})
        self.keys.add(request.headers["authorization"])
        if self.hold:
            await self.hold.wait()
        body = await request.json()
        if max(map(len, body["input"])) > self.longest:
            return JSONResponse({"error": {"message": "the input is too long"}}, 400)
        self.bodies.append(body)
        self.texts += body["input"]
        data = [
            {"object": "embedding", "index": number, "embedding": self._vector(text)}
            for number, text in enumerate(body["input"])
        ]
        # In any order: the index tells which is which.
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return JSONResponse({"object": "list", "model": body["model"], "data": data[::-1], "usage": usage})

    def _vector(self, text: str) -> list[float]:
        said = set(text.lower().replace(".", " ").replace("?", " ").split())
        vector = [float(len(said.intersection(one))) for one in MEANINGS]
        return (vector + [0.01] * self.dimensions)[: self.dimensions]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folder / f"{name}.md").write_text(text)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture(autouse=True)
def _hybrid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVER", "hybrid")
    monkeypatch.setenv("EMBEDDING_MODEL", "meaning-1")


@asynccontextmanager
async def opened(
    index: Path, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[HybridRetriever]:
    monkeypatch.setenv("EMBEDDING_BASE_URL", url)
    retriever = open_retriever(load_settings(RetrievalSettings), index, [folder])
    assert isinstance(retriever, HybridRetriever)
    try:
        yield retriever
    finally:
        await retriever.aclose()


async def embedded(retriever: HybridRetriever) -> bool:
    return await asyncio.to_thread(retriever.wait_until_embedded, 20)


async def found(retriever: OpenRetriever, query: str) -> list[str]:
    return [hit.passage.anchor for hit in await retriever.search(query)]


async def test_what_is_said_in_other_words_is_found(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with model.serve() as url, opened(index, folder, url, monkeypatch) as retriever:
        assert await embedded(retriever)
        assert (await found(retriever, "laundering a jumper"))[0] == "washing"
        assert (await found(retriever, "roster?"))[0] == "planning"
        assert (await found(retriever, "tent"))[0] == "mildew"  # both agree
        assert await found(retriever, " ") == []
        (hit, *_) = await retriever.search("roster?", 1)
    assert hit.passage == Passage(
        "rota#planning:1", "rota", "Hours", ("Planning",), "Shifts are published four weeks ahead.", "planning"
    )


async def test_only_what_is_new_or_changed_is_embedded(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with model.serve() as url:
        async with opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
        assert sorted(model.texts) == [
            "Care\nMildew\nA tent is dried within a day.",
            "Care\nWashing\nWool is washed at thirty degrees.",
            "Hours\nPlanning\nShifts are published four weeks ahead.",
        ]
        model.texts.clear()
        (folder / "care.md").write_text(DOCUMENTS["care"].replace("thirty", "forty"))
        (folder / "rota.md").unlink()
        async with opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
            assert await found(retriever, "laundering") == ["washing", "mildew"]
    assert model.texts == ["Care\nWashing\nWool is washed at forty degrees.", "laundering"]
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (2,)


async def test_vectors_of_another_model_are_not_mixed_in(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with model.serve() as url:
        async with opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
        monkeypatch.setenv("EMBEDDING_MODEL", "meaning-2")
        model.dimensions = 7
        async with opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
            assert (await found(retriever, "roster"))[0] == "planning"
        model.dimensions = 4
        monkeypatch.setenv("EMBEDDING_MODEL", "meaning-1")  # whose vectors another process may still use
        model.texts.clear()
        async with opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
    assert model.texts == []


async def test_a_model_that_changed_behind_its_name_is_asked_for_all_vectors_again(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with model.serve() as url:
        async with opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
        model.dimensions = 7
        async with opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
            with caplog.at_level(logging.WARNING, "agent_runtime.retrieval"):
                assert await found(retriever, "tent") == ["mildew"]  # full text, this once
            assert await embedded(retriever)
            assert (await found(retriever, "roster"))[0] == "planning"
    assert "vectors have 7 numbers now, had 4" in caplog.text
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT DISTINCT length(vector) FROM vectors").fetchall() == [(28,)]


async def test_a_passage_that_is_refused_does_not_keep_the_others_from_being_embedded(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "long.md").write_text("# Long\n\n## List\n\n- " + "\n- ".join(["a heavy kettle"] * 100))
    model.longest = 1000
    with caplog.at_level(logging.WARNING, "agent_runtime.retrieval"):
        async with model.serve() as url, opened(index, folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
            assert (await found(retriever, "roster"))[0] == "planning"
            assert (await found(retriever, "kettle"))[0] == "list"
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("embeddings: long#list:1 is found by full text alone: meaning-1: BadRequestError")


async def test_a_server_that_hangs_holds_up_one_search_and_not_the_next(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.retrieval.hybrid_retriever.QUERY_SECONDS", 0.3)
    async with model.serve() as url, opened(index, folder, url, monkeypatch) as retriever:
        assert await embedded(retriever)
        model.hold = asyncio.Event()
        assert await found(retriever, "tent") == ["mildew"]
        asked = len(model.keys), len(model.texts)
        monkeypatch.setattr("agent_runtime.retrieval.hybrid_retriever.QUERY_SECONDS", 60.0)
        assert await asyncio.wait_for(found(retriever, "tents"), 20) == ["mildew"]
        assert (len(model.keys), len(model.texts)) == asked
        model.hold.set()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "Bearer not-needed"),
        ({"EMBEDDING_API_KEY": "of-embeddings"}, "Bearer of-embeddings"),
        ({"OPENAI_BASE_URL": "EMBEDDING_BASE_URL"}, "Bearer of-the-chat-model"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "Bearer not-needed"),
    ],
)
async def test_the_key_of_the_chat_model_goes_to_its_own_server_alone(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-chat-model")
    monkeypatch.setenv("MODEL_NAME", "chat")
    async with model.serve() as url:
        for name, value in environment.items():
            monkeypatch.setenv(name, url if value == "EMBEDDING_BASE_URL" else value)
        async with opened(folder.parent / "index.sqlite", folder, url, monkeypatch) as retriever:
            assert await embedded(retriever)
    assert model.keys == {expected}


async def test_a_deployment_of_the_foundry_project_is_asked_as_the_chat_model_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = {
        "FOUNDRY_PROJECT_ENDPOINT": "https://a.services.ai.azure.com/api/projects/p",
        "AZURE_AI_MODEL_DEPLOYMENT_NAME": "chat",
        "AZURE_AI_EMBEDDING_DEPLOYMENT_NAME": "embedding",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={"data": [{"index": 0, "embedding": [3.0, 4.0]}]})

    async def token(*_: Any) -> str:
        return "a token"

    monkeypatch.setattr("agent_runtime.model_client.EntraToken.__call__", token)
    embeddings = Embeddings(load_settings(RetrievalSettings), transport=httpx2.MockTransport(answer))
    assert (await embeddings.embed(["tent"])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    await embeddings.aclose()
    assert str(sent[0].url) == "https://a.services.ai.azure.com/api/projects/p/openai/v1/embeddings"
    assert sent[0].headers["authorization"] == "Bearer a token"
    assert json.loads(sent[0].content) == {"model": "embedding", "input": ["tent"], "encoding_format": "float"}


async def test_a_server_that_is_down_leaves_full_text_and_is_asked_again(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model.down = True
    with caplog.at_level(logging.WARNING, "agent_runtime.retrieval"):
        async with model.serve() as url, opened(index, folder, url, monkeypatch) as retriever:
            assert await found(retriever, "tent") == ["mildew"]
            assert await found(retriever, "tents dried") == ["mildew"]
            assert await found(retriever, "roster") == []
            model.down = False
            assert await embedded(retriever)
            retriever._ask_from = 0.0  # as after the pause
            assert (await found(retriever, "roster"))[0] == "planning"
    warnings = [record.getMessage() for record in caplog.records]
    assert len([one for one in warnings if "query" in one]) == 1, warnings  # not one of each search
    assert len(warnings) <= 2, warnings  # and one at most of the passages, where they met it
    assert all("meaning-1" in one and "503" in one and "tent" not in one for one in warnings), warnings


async def test_a_search_does_not_wait_for_the_passages_to_be_embedded(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.hold = asyncio.Event()
    async with model.serve() as url, opened(index, folder, url, monkeypatch) as retriever:
        searching = asyncio.create_task(found(retriever, "tent"))
        await asyncio.sleep(0)
        start = time.monotonic()
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
        assert time.monotonic() - start < 5
        model.hold.set()
        assert await embedded(retriever)
        assert (await found(retriever, "tent"))[0] == "mildew"


async def test_two_processes_that_embed_at_once_keep_one_vector_for_each_passage(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "many.md").write_text("# Many\n\n" + "".join(f"## Part {n}\n\nText {n}.\n\n" for n in range(150)))
    async with (
        model.serve() as url,
        opened(index, folder, url, monkeypatch) as one,
        opened(index, folder, url, monkeypatch) as other,
    ):
        assert await embedded(one)
        assert await embedded(other)
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (153,)
    assert max(len(body["input"]) for body in model.bodies) == 64


async def test_a_query_is_embedded_once_and_dimensions_are_asked_for(
    model: Model, folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", "8")
    async with model.serve() as url, opened(index, folder, url, monkeypatch) as retriever:
        assert await embedded(retriever)
        await retriever.search("roster")
        await retriever.search("roster")
    assert model.texts.count("roster") == 1
    assert {body["dimensions"] for body in model.bodies} == {8}


@pytest.mark.parametrize("answer", [{"data": []}, {"data": [{"index": 0, "embedding": ["x"]}]}, {"no": "data"}])
async def test_what_is_no_embedding_is_an_error(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answered(_: Request) -> Response:
        return JSONResponse(answer)

    async with serve(Starlette(routes=[Route("/v1/embeddings", answered, methods=["POST"])])) as url:
        monkeypatch.setenv("EMBEDDING_BASE_URL", f"{url}/v1")
        embeddings = Embeddings(load_settings(RetrievalSettings))
        with pytest.raises(EmbeddingError, match=r"^meaning-1: "):
            await embeddings.embed(["tent"])
        await embeddings.aclose()


def hits(*names: str) -> list[SearchHit]:
    return [SearchHit(Passage(name, "d", "D", (), name, ""), 1.0) for name in names]


def test_rankings_are_fused_by_reciprocal_rank_with_weights() -> None:
    one, other = hits("a", "b", "c"), hits("c", "d")
    fused = fuse([one, other], (1.0, 1.0), 60)
    assert [hit.passage.id for hit in fused] == ["c", "a", "b", "d"]
    assert fused[0].score == pytest.approx(1 / 63 + 1 / 61)
    assert [hit.passage.id for hit in fuse([one, other], (1.0, 0.0), 60)] == ["a", "b", "c"]
    assert [hit.passage.id for hit in fuse([one, other], (0.1, 1.0), 60)] == ["c", "d", "a", "b"]
    assert [hit.passage.id for hit in fuse([hits("x"), hits("y")], (1.0, 1.0), 60)] == ["x", "y"]  # a tie


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"EMBEDDING_MODEL": ""},
            "EMBEDDING_BASE_URL and EMBEDDING_MODEL must be set for RETRIEVER=hybrid. The offline",
        ),
        ({"EMBEDDING_BASE_URL": "http://127.0.0.1:1/v1", "EMBEDDING_MODEL": ""}, "EMBEDDING_MODEL must be set for"),
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "MODEL_NAME": "m", "EMBEDDING_MODEL": ""},
            "EMBEDDING_MODEL must",
        ),
        (
            {"FOUNDRY_PROJECT_ENDPOINT": "https://a.example", "AZURE_AI_MODEL_DEPLOYMENT_NAME": "m"},
            "AZURE_AI_EMBEDDING_DEPLOYMENT_NAME must be set for RETRIEVER=hybrid",
        ),
        ({"EMBEDDING_BASE_URL": "http://127.0.0.1:1", "FTS_WEIGHT": "0", "EMBEDDING_WEIGHT": "0"}, "are both 0"),
        ({"RETRIEVER": "azure-search"}, "AZURE_SEARCH_ENDPOINT and AZURE_SEARCH_INDEX must be set"),
        (
            {"RETRIEVER": "azure-search", "AZURE_SEARCH_ENDPOINT": "http://a.example", "AZURE_SEARCH_INDEX": "i"},
            "AZURE_SEARCH_ENDPOINT: must be a URL that starts with https://",
        ),
        ({"RETRIEVER": "best"}, "RETRIEVER: input should be 'fts', 'hybrid' or 'azure-search'"),
        ({"EMBEDDING_BASE_URL": "embeddings"}, "EMBEDDING_BASE_URL: must be a URL"),
    ],
)
def test_settings_that_cannot_work_end_the_start(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=expected):
        load_settings(RetrievalSettings)


def test_full_text_alone_loads_no_numerics(tmp_path: Path, folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from agent_runtime.retrieval import *; "
        "open_retriever(RetrievalSettings(), Path(sys.argv[1]), [Path(sys.argv[2])]); "
        "print([name for name in ('numpy', 'openai', 'httpx2') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "i.sqlite"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env={"RETRIEVER": "fts"})
    assert done.stdout.strip() == "[]"
