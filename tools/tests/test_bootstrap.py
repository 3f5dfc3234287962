"""Setup's first lines, which every Python of the last years must be able to run: they say which one is needed."""

import ast
import shutil
import subprocess

import pytest
from repo_tools.repository import ROOT

BOOTSTRAP = ROOT / "tools/bootstrap.py"
OLD = [path for name in ("python3.8", "python3.9", "python3.10") if (path := shutil.which(name))]


def test_an_older_python_can_read_it() -> None:
    module = ast.parse(BOOTSTRAP.read_text(encoding="utf-8"), feature_version=(3, 8))
    # Annotations such as `list[str | Path]` are errors for it, unless they are not evaluated.
    futures = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert [name.name for node in futures for name in node.names] == ["annotations"]


@pytest.mark.skipif(not OLD, reason="needs a Python older than 3.11")
@pytest.mark.parametrize("python", OLD)
def test_an_older_python_is_told_which_one_is_needed(python: str) -> None:
    done = subprocess.run([python, BOOTSTRAP], capture_output=True, text=True, check=False, timeout=30)
    if "command not found" in done.stderr:
        pytest.skip(f"{python} only stands in for one that is not chosen")
    assert done.returncode == 1
    assert done.stderr.startswith("setup needs Python 3.11 or newer and found 3.")
