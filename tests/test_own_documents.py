"""Documents of the user's own: `make ingest`, and rag-chat answers from them after a restart, with citations."""

from pathlib import Path

import pytest
from agent_runtime.settings import SettingsError, load_settings
from agent_runtime.testing import serve
from openai import AsyncOpenAI
from openai.types.responses import Response
from rag_chat.app import build_app
from rag_chat.settings import RagChatSettings
from repo_tools.__main__ import main

QUESTION = "How often must the chain of the Fjell e-bike be oiled?"
MANUAL = """<!doctype html><title>Fjell e-bike</title><h1>Fjell e-bike</h1><h2>Looking after it</h2>
<p>The chain of the Fjell e-bike must be oiled every {} kilometres.</p>"""


@pytest.fixture
def manuals(tmp_path: Path) -> Path:
    folder = tmp_path / "bike manuals"
    folder.mkdir()
    (folder / "fjell.html").write_text(MANUAL.format(200))
    (folder / "returns-and-exchanges.md").write_text("# Bikes\n\nAn e-bike weighs 24 kg.\n")  # a name of the handbook's
    return folder


async def asked(question: str) -> Response:
    """What rag-chat answers when it is started now."""
    async with (
        serve(build_app(load_settings(RagChatSettings))) as url,
        AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as ask,
    ):
        return await ask.responses.create(input=question)


def citations(response: Response) -> list[tuple[str, str]]:
    message = response.output[-1]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    return [(one.title, one.url) for one in message.content[0].annotations if one.type == "url_citation"]


async def test_rag_chat_answers_from_ingested_documents_as_they_are_at_its_start(manuals: Path) -> None:
    assert citations(await asked(QUESTION)) == []

    assert main(["ingest", str(manuals)]) == 0
    answer = await asked(QUESTION)
    assert "every 200 kilometres" in answer.output_text
    address = "https://handbook.northpeak.example/documents/bike%20manuals/fjell.html#looking-after-it"
    assert citations(answer) == [("Fjell e-bike > Looking after it", address)]
    handbook = await asked("How many days does a customer have to return unworn boots?")
    assert citations(handbook)[0][0].startswith("Returns and exchanges")  # and the handbook is still all there

    (manuals / "fjell.html").write_text(MANUAL.format(300))
    assert main(["ingest", str(manuals)]) == 0
    assert "every 300 kilometres" in (await asked(QUESTION)).output_text

    assert main(["ingest", "--remove", manuals.name]) == 0
    assert citations(await asked(QUESTION)) == []


async def test_documents_can_lie_elsewhere_and_have_an_address_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCUMENTS_DIR", str(tmp_path))
    monkeypatch.setenv("DOCUMENTS_BASE_URL", "https://docs.test/all")
    (tmp_path / "fjell.md").write_text("# Fjell\n\n## Chain\n\nThe chain is oiled every 250 kilometres.\n")
    assert citations(await asked("How often is the chain oiled?")) == [
        ("Fjell > Chain", "https://docs.test/all/fjell#chain")
    ]


@pytest.mark.parametrize(("name", "value"), [("DOCUMENTS_DIR", "/nowhere/at/all"), ("DOCUMENTS_BASE_URL", "docs")])
def test_a_setting_that_cannot_be_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: must be a "):
        load_settings(RagChatSettings)
