"""The style checks as one call each, so that `make lint` and an editor task mean the same."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from repo_tools.repository import ROOT


def _all(commands: Sequence[Sequence[str]], root: Path) -> int:
    codes = [subprocess.run([sys.executable, "-m", *command], cwd=root, check=False).returncode for command in commands]
    return max(codes)


def lint(root: Path = ROOT) -> int:
    """Every check runs even when an earlier one fails, so that one call shows all there is to mend."""
    return _all([("ruff", "check", "."), ("ruff", "format", "--check", ".")], root)


def format_code(root: Path = ROOT) -> int:
    return _all([("ruff", "check", "--fix", "."), ("ruff", "format", ".")], root)
