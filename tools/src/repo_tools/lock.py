"""Writes the hashed locks: one for development, one per agent that holds only what its image needs, and one for what
`make ingest` reads documents with.

The development lock is resolved first and constrains the others, so a package has one version everywhere. The locks are
universal (any platform) and name no index. Our own packages stay out: they are installed from the tree.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from repo_tools.repository import ROOT, agents, local_packages, project_name

DEVELOPMENT_LOCK = Path("requirements-dev.lock")
INGEST_LOCK = Path("requirements-ingest.lock")


def compile_command(sources: Sequence[Path | str], output: Path, *, root: Path, extra: Sequence[str]) -> list[str]:
    ours = [part for folder in local_packages(root) for part in ("--no-emit-package", project_name(folder))]
    return [
        sys.executable, "-m", "uv", "pip", "compile", *map(str, sources),
        "--universal", "--python-version", "3.11", "--generate-hashes",
        "--no-emit-index-url", "--no-annotate", "--no-header", "--quiet",
        *ours, *extra, "--output-file", str(output),
    ]  # fmt: skip


def lock(*, upgrade: bool = False, root: Path = ROOT) -> int:
    """Write all locks; returns the exit code of the first resolution that fails, else 0."""
    again = ["--upgrade"] if upgrade else []
    sources = [folder.relative_to(root) / "pyproject.toml" for folder in local_packages(root)]
    development = compile_command(sources, DEVELOPMENT_LOCK, root=root, extra=["--group", "pyproject.toml:dev", *again])
    commands = [(DEVELOPMENT_LOCK, development)]
    extra = ["--constraint", str(DEVELOPMENT_LOCK), *again]
    ingest = compile_command([], INGEST_LOCK, root=root, extra=["--group", "pyproject.toml:ingest", *extra])
    commands.append((INGEST_LOCK, ingest))
    for agent in agents(root):
        folder = agent.folder.relative_to(root)
        output = folder / "requirements.lock"
        commands.append((output, compile_command([folder / "pyproject.toml"], output, root=root, extra=extra)))
    for output, command in commands:
        done = subprocess.run(command, cwd=root, check=False, stdout=subprocess.DEVNULL)
        if done.returncode:
            print(f"lock: {output} could not be resolved; the lines above say why", file=sys.stderr)
            return done.returncode
        print(f"lock: {output}")
    return 0
