import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from agent_runtime.settings import SettingsError, load_settings
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.handbook import HandbookError, handbook_folder, load_runbooks
from support_desk.settings import SupportDeskSettings

PACKAGE = Path(__file__).parents[1]

RUNBOOK = """---
id: lost-parcel
title: Lost parcel
updated: 2026-09-01
kind: runbook
when: A parcel has not arrived and the carrier cannot find it.
---

# Lost parcel

1. This list is not part of the steps.

## Steps

1. `lookup_order` — find the order and its parcel,
   and read the tracking.
2. `search_handbook` — check the waiting time.
3) Decide.

## Notes

1. Nor is this one.
"""


def write(folder: Path, name: str, text: str) -> None:
    (folder / "runbooks").mkdir(exist_ok=True)
    (folder / "runbooks" / name).write_text(text, encoding="utf-8")


def test_a_runbook_is_read_with_its_steps_in_order(tmp_path: Path) -> None:
    write(tmp_path, "lost-parcel.md", RUNBOOK)
    (runbook,) = load_runbooks(tmp_path)
    assert (runbook.id, runbook.title) == ("lost-parcel", "Lost parcel")
    assert runbook.when == "A parcel has not arrived and the carrier cannot find it."
    assert runbook.steps == (
        "`lookup_order` — find the order and its parcel, and read the tracking.",
        "`search_handbook` — check the waiting time.",
        "Decide.",
    )
    assert runbook.tools == ("lookup_order", "search_handbook")
    assert runbook.text.startswith("# Lost parcel")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# No front matter\n", "does not start with front matter"),
        ("---\nid: x\n", "does not start with front matter"),
        ("---\nid: x\ntitle: X\n---\n## Steps\n1. One\n", "lacks when"),
        ("---\nid: x\ntitle: X\nwhen: Always\n---\n## Procedure\n1. One\n", "no numbered list"),
    ],
)
def test_a_runbook_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "broken.md", text)
    with pytest.raises(HandbookError, match=f"broken.md: .*{message}"):
        load_runbooks(tmp_path)


def test_two_runbooks_cannot_share_an_id(tmp_path: Path) -> None:
    write(tmp_path, "one.md", RUNBOOK)
    write(tmp_path, "two.md", RUNBOOK)
    with pytest.raises(HandbookError, match=r"two\.md: another runbook has the id"):
        load_runbooks(tmp_path)


def test_the_packages_runbooks_are_at_least_eight_and_name_the_desks_tools() -> None:
    runbooks = load_runbooks()
    assert len(runbooks) >= 8
    for runbook in runbooks:
        assert runbook.tools, runbook.id
        assert set(runbook.tools) <= set(TOOLS_BY_NAME), runbook.id


def test_the_handbook_is_as_large_as_a_real_companys() -> None:
    documents = list(handbook_folder().rglob("*.md"))
    assert len(documents) >= 25
    assert sum(len(document.read_text(encoding="utf-8").split()) for document in documents) >= 12_000


def test_the_wheel_holds_the_handbook(tmp_path: Path) -> None:
    """Images install the package as a wheel; a handbook that stays behind in the source would be missed there only."""
    target = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run([sys.executable, *target], cwd=PACKAGE, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".md")}
    root = PACKAGE / "src"
    assert packed == {path.relative_to(root).as_posix() for path in handbook_folder().rglob("*.md")}
    assert packed


def test_another_handbook_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDBOOK_DIR", str(tmp_path))
    monkeypatch.setenv("HANDBOOK_BASE_URL", "http://localhost:9000/docs")
    settings = load_settings(SupportDeskSettings)
    assert settings.handbook_dir == tmp_path
    assert settings.handbook_base_url == "http://localhost:9000/docs/"


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [("HANDBOOK_DIR", "/does/not/exist", "must be a folder"), ("HANDBOOK_BASE_URL", "docs", "must be a URL")],
)
def test_a_setting_that_cannot_work_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, fix: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: {fix}"):
        load_settings(SupportDeskSettings)
