"""The style checks as one call each, so that `make lint` and an editor task mean the same."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from repo_tools.repository import ROOT


def run_all(commands: Sequence[Sequence[str]], root: Path) -> int:
    """Run every module of `commands`; 1 where one failed."""
    codes = [subprocess.run([sys.executable, "-m", *command], cwd=root, check=False).returncode for command in commands]
    return 1 if any(codes) else 0  # one that a signal ended has a negative code, below that of success


def lint(root: Path = ROOT) -> int:
    """Every check runs even when an earlier one fails, so that one call shows all there is to mend."""
    return run_all([("ruff", "check", "."), ("ruff", "format", "--check", ".")], root)


def format_code(root: Path = ROOT) -> int:
    return run_all([("ruff", "check", "--fix", "."), ("ruff", "format", ".")], root)
