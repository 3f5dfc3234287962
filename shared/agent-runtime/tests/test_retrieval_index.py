"""The index over folders of documents, and searching it."""

import asyncio
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from agent_runtime.retrieval import FtsRetriever, IndexReport, build_index, match_expression


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "staff").mkdir(parents=True)
    (folder / "returns.md").write_text(
        "# Returns\n\nReturn a tent within 60 days.\n\n## Norway\n\nA label costs NOK 99.\n"
    )
    (folder / "warranty.md").write_text("# Warranty\n\nTents are covered for ten years.\n")
    (folder / "staff" / "keys.md").write_text("# Keys\n\nThe keys hang in the office.\n")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "state" / "index.sqlite"


def counts(report: IndexReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.removed, report.unchanged


async def titles(index: Path, query: str, limit: int = 5) -> list[str]:
    return [hit.passage.title for hit in await FtsRetriever(index).search(query, limit)]


async def test_a_question_finds_the_passage_that_answers_it(folder: Path, index: Path) -> None:
    build_index(index, [folder])
    first, *_ = await FtsRetriever(index).search("What does a return label cost in Norway?")
    assert first.passage.id == "returns#norway:1"
    assert first.passage.heading_path == ("Norway",)
    assert first.passage.text == "A label costs NOK 99."
    assert (await titles(index, "where are the office keys"))[0] == "Keys"


async def test_other_forms_of_a_word_are_found(folder: Path, index: Path) -> None:
    build_index(index, [folder])
    assert (await titles(index, "returning"))[0] == "Returns"
    assert (await titles(index, "COVERS"))[0] == "Warranty"


async def test_hits_come_best_first_and_no_more_than_asked_for(folder: Path, index: Path) -> None:
    build_index(index, [folder])
    hits = await FtsRetriever(index).search("tent", 1)
    assert len(hits) == 1
    scores = [hit.score for hit in await FtsRetriever(index).search("tents returned years keys norway")]
    assert scores == sorted(scores, reverse=True)


def test_building_again_does_only_what_changed(folder: Path, index: Path) -> None:
    assert counts(build_index(index, [folder])) == (3, 0, 0, 0)
    assert counts(build_index(index, [folder])) == (0, 0, 0, 3)
    (folder / "returns.md").write_text("# Returns\n\nWithin 30 days.\n")
    (folder / "warranty.md").unlink()
    (folder / "new.md").write_text("# New\n\nBoots.\n")
    report = build_index(index, [folder])
    assert counts(report) == (1, 1, 1, 1)
    assert report.passages == 3
    assert str(report).startswith("3 documents in 3 passages (1 added, 1 changed, 1 removed, 1 unchanged) in ")


async def test_an_open_retriever_sees_what_is_built_later(folder: Path, index: Path) -> None:
    build_index(index, [folder])
    retriever = FtsRetriever(index)
    assert await retriever.search("60 days")
    (folder / "returns.md").write_text("# Returns\n\nWithin a month.\n")
    (folder / "new.md").write_text("# Crampons\n\nSharpen crampons by hand.\n")
    build_index(index, [folder])
    assert not await retriever.search("60 days")
    assert (await retriever.search("crampons"))[0].passage.title == "Crampons"
    retriever.close()


async def test_a_document_of_a_later_folder_replaces_its_namesake(folder: Path, index: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "warranty.md").write_text("# Warranty\n\nTents are covered for life.\n")
    assert counts(build_index(index, [folder, own])) == (3, 0, 0, 0)
    assert "life" in (await FtsRetriever(index).search("tents covered"))[0].passage.text


def test_a_document_can_ask_not_to_be_found(folder: Path, index: Path) -> None:
    before = build_index(index, [folder])
    (folder / "steps.md").write_text("---\ntitle: Steps\nsearch: false\n---\n# Steps\n\nTurn the valve.\n")
    assert build_index(index, [folder]).passages == before.passages
    (folder / "steps.md").write_text("---\ntitle: Steps\nsearch: true\n---\n# Steps\n\nTurn the valve.\n")
    assert build_index(index, [folder]).added == 1


def test_hidden_files_and_other_kinds_are_left_out(folder: Path, index: Path) -> None:
    (folder / ".draft.md").write_text("# Draft\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.md").write_text("# X\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    assert build_index(index, [folder]).added == 3


async def test_bytes_that_are_not_text_do_no_harm(folder: Path, index: Path) -> None:
    (folder / "latin.md").write_bytes("# Möbel\n\nGrüner Schlafsack.\n".encode("latin-1"))
    build_index(index, [folder])
    assert await titles(index, "Schlafsack")


async def test_an_index_of_another_version_is_built_anew(folder: Path, index: Path) -> None:
    build_index(index, [folder])
    connection = sqlite3.connect(index)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert counts(build_index(index, [folder])) == (3, 0, 0, 0)
    assert await titles(index, "keys") == ["Keys"]


async def test_a_build_that_fails_leaves_the_old_index(
    folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(index, [folder])
    shutil.rmtree(folder / "staff")
    (folder / "new.md").write_text("# New\n")
    (folder / "zz.md").symlink_to(folder / "missing.md")
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    with pytest.raises(FileNotFoundError):
        build_index(index, [folder])
    monkeypatch.undo()
    assert await titles(index, "keys") == ["Keys"]


async def test_processes_that_start_at_once_build_one_index(folder: Path, index: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from agent_runtime.retrieval import build_index; "
        "report = build_index(Path(sys.argv[1]), [Path(sys.argv[2])]); print(report.added, report.unchanged)"
    )

    async def build() -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(index), str(folder), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        return output.decode().strip()

    assert sorted(await asyncio.gather(*(build() for _ in range(3)))) == ["0 3", "0 3", "3 0"]


@pytest.mark.parametrize(
    "query",
    [
        '"', "'", "tent*", "NEAR(", "title:tent", "a AND", "^", "-", "{x}", "(((", "tent\x00s", "\ud800 tent",
        "🎒", "", "   ", "the of and", "x" * 100_000, "word " * 100_000, "?" * 1000, "OR", "col : 1", "NP-10001",
    ],
)  # fmt: skip
async def test_any_text_is_a_valid_query(folder: Path, index: Path, query: str) -> None:
    build_index(index, [folder])
    assert isinstance(await FtsRetriever(index).search(query), list)


def test_words_without_a_subject_are_not_searched() -> None:
    assert match_expression("What's the zipline period for the cairn's poles?") == (
        '"zipline" OR "period" OR "cairn" OR "poles"'
    )
    assert match_expression("what is it") == '"what" OR "is" OR "it"'
    assert match_expression("?!") == ""


def test_synonyms_are_searched_after_the_words_themselves() -> None:
    assert match_expression("hire a cairn") == '"hire" OR "cairn" OR "lease" OR "rent" OR "rental"'
    assert '"refund"' in match_expression("I want my money back")


def test_a_retriever_without_an_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Build it with build_index"):
        FtsRetriever(tmp_path / "none.sqlite")


async def test_a_retriever_cannot_write(folder: Path, index: Path) -> None:
    build_index(index, [folder])
    connection = FtsRetriever(index)._take()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM passages")
    connection.close()


async def test_searching_does_not_block_the_event_loop(folder: Path, index: Path) -> None:
    for number in range(300):
        (folder / f"many-{number}.md").write_text("# Tents\n\n" + f"Tents of kind {number} are dry. " * 40)
    build_index(index, [folder])
    retriever = FtsRetriever(index)
    searches = asyncio.gather(*(retriever.search("which tents are dry") for _ in range(20)))
    longest, before = 0.0, time.monotonic()
    while not searches.done():
        await asyncio.sleep(0.001)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    assert all(len(hits) == 5 for hits in await searches)
    assert longest < 0.5
    retriever.close()
