"""`make ingest` as its users know it: a folder in, documents out, again and only what changed; and nothing takes it down."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repo_tools.__main__ import main
from repo_tools.ingest.collection import Collection, Outcome
from repo_tools.ingest.limits import Limits

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "manuals"
    (folder / "ice").mkdir(parents=True)
    (folder / "tents.md").write_text("# Tents\n\nTents weigh 3 kg.\n")
    (folder / "ice" / "axes.txt").write_text("Axes are long.\n\nThey are sharp.\n")
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    return tmp_path / "state" / "rag-chat" / "documents"


def made(documents: Path) -> list[str]:
    """Everything that is there, but for what ingest keeps its own books in."""
    files = (path for path in documents.rglob("*") if path.is_file())
    return sorted(path.relative_to(documents).as_posix() for path in files if not path.name.startswith("."))


def ingest(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What the command printed, without the time that it took."""
    assert main(["ingest", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    return re.split(r" in \d", printed.err if code == 2 else printed.out)[0]


def test_a_folder_becomes_documents_and_again_does_only_what_changed(
    folder: Path, documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(capsys, folder) == (
        "1/2  added    ice/axes.txt\n2/2  added    tents.md\n"
        "manuals: 2 added, 0 changed, 0 removed, 0 unchanged, 0 skipped"
    )
    assert made(documents) == ["manuals/ice/axes.txt.md", "manuals/tents.md"]
    before = {path: path.stat().st_mtime_ns for path in documents.rglob("*.md")}

    assert ingest(capsys, folder) == "manuals: 0 added, 0 changed, 0 removed, 2 unchanged, 0 skipped"
    (folder / "tents.md").write_text("# Tents\n\nTents weigh 4 kg.\n")
    os.utime(folder / "ice" / "axes.txt", (1, 1))  # touched, and the same
    assert ingest(capsys, folder) == (
        "2/2  changed  tents.md\nmanuals: 0 added, 1 changed, 0 removed, 1 unchanged, 0 skipped"
    )
    after = {path: path.stat().st_mtime_ns for path in documents.rglob("*.md")}
    assert [path.name for path in before if before[path] != after[path]] == ["tents.md"]
    assert "4 kg" in (documents / "manuals/tents.md").read_text()

    (folder / "tents.md").rename(folder / "Zelte.md")
    assert ingest(capsys, folder) == (
        "1/3  removed  tents.md\n2/3  added    Zelte.md\nmanuals: 1 added, 0 changed, 1 removed, 1 unchanged, 0 skipped"
    )
    assert made(documents) == ["manuals/Zelte.md", "manuals/ice/axes.txt.md"]


def test_documents_that_somebody_deleted_come_back(
    folder: Path, documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(capsys, folder)
    (documents / "manuals/tents.md").unlink()
    (documents / "manuals/stray.md").write_text("Not of any file.")
    assert "1 changed, 0 removed, 1 unchanged" in ingest(capsys, folder)
    assert made(documents) == ["manuals/ice/axes.txt.md", "manuals/tents.md"]


def test_what_cannot_be_read_is_skipped_with_the_reason(
    folder: Path, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outside.md").write_text("# Secret\n\nNot yours.\n")
    (tmp_path / "outside").mkdir()
    (folder / "a-link.md").symlink_to(tmp_path / "outside.md")
    (folder / "b-link").symlink_to(tmp_path / "outside")
    (folder / "c-link").symlink_to(folder / "ice")
    (folder / "d-link.md").symlink_to(folder / "none.md")
    (folder / "e.xlsx").write_text("1")
    (folder / "f.md").write_text("")
    (folder / "g.txt").write_bytes(b"caf\xe9")
    (folder / "h.txt").write_text("x" * 3000)
    (folder / "i\n.md").write_text("# Title\n")
    os.mkfifo(folder / "j.md")
    (folder / ".hidden.md").write_text("# Hidden\n")
    (folder / "~$k.docx").write_text("lock file of a word processor")
    lines = ingest(capsys, folder, "--max-mb", "0.002").splitlines()
    assert [line.split("skipped  ")[1] for line in lines if "  skipped  " in line] == [
        "a-link.md: symbolic link that leaves the folder",
        "b-link: symbolic link that leaves the folder",
        "c-link: symbolic link to a folder, whose files are taken where they are",
        "d-link.md: broken symbolic link",
        "e.xlsx: unsupported type",
        "i\N{REPLACEMENT CHARACTER}.md: its name holds characters that cannot be shown",
        "j.md: not a regular file",
        "f.md: empty",
        "g.txt: not text in UTF-8; save it as UTF-8",
        "h.txt: larger than 0.002 MB",
    ]
    assert made(documents) == ["manuals/ice/axes.txt.md", "manuals/tents.md"]
    (folder / "g.txt").write_text("café")
    assert "added    g.txt" in ingest(capsys, folder)
    assert "added    h.txt" not in ingest(capsys, folder)  # the line above had no limit, and added it


def test_a_file_that_becomes_unreadable_keeps_its_earlier_version_and_an_emptied_one_does_not(
    folder: Path, documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(capsys, folder)
    (folder / "ice" / "axes.txt").write_bytes(b"caf\xe9")
    (folder / "tents.md").write_text("")
    for _ in range(2):  # the second time from the manifest
        printed = ingest(capsys, folder)
        assert "ice/axes.txt: not text in UTF-8; save it as UTF-8 (its earlier version stays)" in printed
        assert "tents.md: empty\n" in printed
        assert made(documents) == ["manuals/ice/axes.txt.md"]
    (folder / "ice" / "axes.txt").write_text("Axes are short.")
    assert "changed  ice/axes.txt" in ingest(capsys, folder)


def test_folders_are_collections_that_are_listed_and_removed(
    folder: Path, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "manuals"
    other.mkdir(parents=True)
    (other / "tents.md").write_text("# Other tents\n\nThey weigh 1 kg.\n")
    assert "Nothing was ingested yet" in ingest(capsys, "--list")
    ingest(capsys, folder)
    assert f"the collection 'manuals' holds the documents of {folder}" in ingest(capsys, other, code=2)
    ingest(capsys, other, "--name", "others")
    assert made(documents) == ["manuals/ice/axes.txt.md", "manuals/tents.md", "others/tents.md"]
    assert ingest(capsys, "--list") == (f"manuals  2 documents of {folder}\nothers  1 documents of {other}\n")
    assert "manuals: 2 removed" in ingest(capsys, "--remove", "manuals")
    assert "There are: others" in ingest(capsys, "--remove", "manuals", code=2)
    assert [path.name for path in documents.iterdir() if path.is_dir()] == ["others"]


def test_a_mistake_is_one_line_that_says_what_to_do(
    folder: Path, documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "name a folder: make ingest DOCS=path/to/folder" in ingest(capsys, code=2)
    assert "none is not a folder" in ingest(capsys, tmp_path / "none", code=2)
    assert "tents.md is not a folder" in ingest(capsys, folder / "tents.md", code=2)
    assert "cannot be the name" in ingest(capsys, folder, "--name", "../x", code=2)
    assert "cannot be the name" in ingest(capsys, folder, "--name", ".x", code=2)
    (documents / "mine").mkdir(parents=True)
    (documents / "mine" / "page.md").write_text("Mine.")
    assert "was not made by ingest" in ingest(capsys, folder, "--name", "mine", code=2)
    assert made(documents) == ["mine/page.md"]
    ingest(capsys, folder)
    assert "holds documents made by ingest" in ingest(capsys, documents / "manuals", code=2)
    for name in ("tents.md", "ice/axes.txt"):
        (folder / name).unlink()
    (folder / "ice").rmdir()
    assert "is empty" in ingest(capsys, folder, code=2)  # as where a disk is not mounted
    assert len(made(documents)) == 3
    monkeypatch.setenv("DOCUMENTS_DIR", str(tmp_path / "elsewhere"))
    assert "Nothing was ingested yet" in ingest(capsys, "--list")


def test_no_document_at_all_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_text("x")
    assert "0 added" in ingest(capsys, tmp_path / "pictures", code=1)


def test_the_folder_may_hold_the_documents_of_ingest(
    tmp_path: Path, documents: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(capsys, tmp_path, "--name", "all")
    ingest(capsys, tmp_path, "--name", "all")
    assert made(documents) == ["all/manuals/ice/axes.txt.md", "all/manuals/tents.md"]


def test_a_folder_that_cannot_be_read_keeps_its_documents(
    folder: Path, documents: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(capsys, folder)
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path) == str(folder / "ice"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)  # root may read every folder, so that a mode would not do
        assert "ice/: Permission denied (what it held stays)" in ingest(capsys, folder)
    assert made(documents) == ["manuals/ice/axes.txt.md", "manuals/tents.md"]


@pytest.mark.parametrize("damage", ["", "{", '{"format": 0}', "[]", '{"format": 1}'])
def test_a_damaged_manifest_is_made_again(
    folder: Path, documents: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(capsys, folder)
    manifest = documents / "manuals" / ".manifest.json"
    good = manifest.read_text()
    manifest.write_text(damage)
    assert "2 added" in ingest(capsys, folder)
    assert manifest.read_text() == good


def test_two_runs_do_not_mix(folder: Path, documents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fcntl = pytest.importorskip("fcntl")
    documents.mkdir(parents=True)
    with (documents / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another ingest is running" in ingest(capsys, folder, code=2)
    assert "2 added" in ingest(capsys, folder)


# A file that its reader cannot take. `sitecustomize` puts such a reader into the child process only.
HOSTILE = """
import sys
if "repo_tools.ingest.reader_process" in " ".join(sys.orig_argv):
    import ctypes, os, time
    from repo_tools.ingest import conversion

    def hostile(content):
        if b"hang" in content:
            time.sleep(600)
        if b"burn" in content:
            while True:
                pass
        if b"crash" in content:
            os.abort()
        if b"leave" in content:
            os._exit(3)
        if b"memory" in content:
            return bytearray(4_000_000_000)
        if b"print" in content:
            print("noise", flush=True)
            os.write(1, b"noise\\n")
        if b"raise" in content:
            raise ZeroDivisionError("line one\\nline two")
        if b"deep" in content:
            return hostile(content)
        return conversion._Converted(content.decode())

    conversion._CONVERTERS[".txt"] = hostile
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HOSTILE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


@POSIX
@pytest.mark.usefixtures("hostile")
def test_a_file_that_hangs_or_crashes_its_reader_takes_nothing_else_down(documents: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    names = ["burn", "crash", "deep", "fine", "hang", "leave", "memory", "print", "raise", "text"]
    for name in names:
        (folder / f"{name}.txt").write_text(f"This is {name}.")
    outcomes: list[Outcome] = []
    limits = Limits(seconds=6, memory_megabytes=1500)
    Collection(documents, "c").update(folder, limits, lambda outcome, number, total: outcomes.append(outcome))
    assert {outcome.name.removesuffix(".txt"): outcome.reason or outcome.kind for outcome in outcomes} == {
        "burn": "took longer than 6 s",
        "crash": "its reader was ended by SIGABRT",
        "deep": "is nested too deeply",
        "fine": "added",
        "hang": "took longer than 6 s",
        "leave": "its reader ended with exit code 3",
        "memory": "needs more than 1500 MB of memory to be read",
        "print": "added",
        "raise": "its reader failed: ZeroDivisionError: line one",
        "text": "added",
    }
    assert made(documents) == ["c/fine.txt.md", "c/print.txt.md", "c/text.txt.md"]
    again: list[Outcome] = []
    for name in ("burn", "hang"):
        (folder / f"{name}.txt").unlink()
    Collection(documents, "c").update(folder, limits, lambda outcome, number, total: again.append(outcome))
    assert [outcome.kind for outcome in again].count("unchanged") == 3


@POSIX
@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_whole_documents_and_the_next_one_does_the_rest(
    folder: Path, documents: Path, capsys: pytest.CaptureFixture[str], how: signal.Signals
) -> None:
    slow = folder / "z.txt"
    slow.write_text("Please hang.")
    # A background job's children ignore SIGINT, and this test may run in one.
    heeding = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + (
        "runpy.run_module('repo_tools', run_name='__main__', alter_sys=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", heeding, "ingest", str(folder), "--max-seconds", "30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    assert "added    tents.md" in lines[1]
    start = time.monotonic()
    process.send_signal(how)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - start < 10
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "2 added" in out
        assert "the same command does the rest" in err
        assert "Traceback" not in err
    assert made(documents) == ["manuals/ice/axes.txt.md", "manuals/tents.md"]
    slow.write_text("Quick now.")
    assert "0 skipped" in ingest(capsys, folder)
    assert made(documents) == ["manuals/ice/axes.txt.md", "manuals/tents.md", "manuals/z.txt.md"]
    entries = json.loads((documents / "manuals" / ".manifest.json").read_text())["files"]
    assert [entry["problem"] for entry in entries.values()] == ["", "", ""]
    assert sorted(path.name for path in (documents / "manuals").iterdir()) == [
        ".manifest.json", "ice", "tents.md", "z.txt.md",
    ]  # fmt: skip
