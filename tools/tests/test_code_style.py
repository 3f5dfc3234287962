"""The style checks' exit codes."""

from pathlib import Path

import pytest
from repo_tools.code_style import run_all


@pytest.mark.parametrize(
    ("first", "code"), [("", 0), ("raise SystemExit(2)", 1), ("import os, signal; os.kill(os.getpid(), 9)", 1)]
)
def test_one_check_that_fails_or_is_killed_fails_the_whole(first: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(first)
    (tmp_path / "second.py").write_text("print('fine')")
    assert run_all([("first",), ("second",)], tmp_path) == code
