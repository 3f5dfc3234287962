"""Makes `.venv` from the hashed lock, with the packages of this repository as editable installs. Standard library only:
it runs before anything is installed. Does nothing when `.venv` already fits the lock.

usage: python3 tools/bootstrap.py [--with-node-clients] [--with-document-readers]

The first option also installs the Node packages that some tests drive agents with, where Node is there; the second what
`make ingest` reads HTML, PDF and DOCX with.
"""

from __future__ import annotations  # a Python that is too old must get as far as being told so

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed-from"
LOCK = ROOT / "requirements-dev.lock"
INGEST_LOCK = ROOT / "requirements-ingest.lock"
INGEST_STAMP = VENV / "document-readers-installed-from"
MINIMUM = (3, 11)


def packages() -> list[Path]:
    return sorted(
        path.parent for pattern in ("shared/*", "tools", "agents/*") for path in ROOT.glob(f"{pattern}/pyproject.toml")
    )


def fingerprint() -> str:
    digest = hashlib.sha256(str(ROOT).encode())
    for path in [LOCK, *(folder / "pyproject.toml" for folder in packages())]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def python_of_venv() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pip() -> list[str | Path]:
    return [python_of_venv(), "-m", "pip", "--disable-pip-version-check", "--quiet"]


def step(message: str, *command: str | Path) -> None:
    print(message, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(
            f"setup stopped with exit code {done.returncode}. The lines above say why; then run `make setup` again."
        )


def install_node_clients() -> None:
    """Without Node nothing is installed, and the tests that need it are reported as skipped."""
    npm = shutil.which("npm")
    locks = [*ROOT.glob("agents/*/tests/*/package-lock.json"), *ROOT.glob("agents/*/page/package-lock.json")]
    for lock in sorted(locks) if npm else []:
        installed = lock.parent / "node_modules" / "installed-from"
        wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
        if installed.is_file() and installed.read_text() == wanted:
            continue
        where = lock.parent.relative_to(ROOT).as_posix()
        step(f"setup: the Node packages of {where}", npm, "ci", "--silent", "--prefix", lock.parent)
        installed.write_text(wanted)


def install_document_readers() -> None:
    wanted = hashlib.sha256(INGEST_LOCK.read_bytes()).hexdigest()
    if INGEST_STAMP.is_file() and INGEST_STAMP.read_text() == wanted:
        return
    step(
        "setup: what reads HTML, PDF and DOCX (a few seconds)",
        *pip(), "install", "--require-hashes", "-r", INGEST_LOCK,
    )  # fmt: skip
    INGEST_STAMP.write_text(wanted)


def main() -> None:
    install()
    if "--with-document-readers" in sys.argv[1:]:
        install_document_readers()
    if "--with-node-clients" in sys.argv[1:]:
        install_node_clients()


def install() -> None:
    if sys.version_info < MINIMUM:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"setup needs Python 3.11 or newer and found {found}. Name another: make setup PYTHON=python3.13")
    wanted = fingerprint()
    if STAMP.is_file() and STAMP.read_text() == wanted and python_of_venv().exists():
        return
    version = ".".join(map(str, sys.version_info[:2]))
    step(
        f"setup 1/3: a virtual environment of Python {version} in .venv", sys.executable, "-m", "venv", "--clear", VENV
    )
    step(
        "setup 2/3: the locked dependencies, checked by hash (about a minute)",
        *pip(), "install", "--require-hashes", "-r", LOCK,
    )  # fmt: skip
    editable = [part for folder in packages() for part in ("--editable", folder)]
    # From the tree and without a look-up: our packages' names on the public index belong to strangers.
    step(
        "setup 3/3: the packages of this repository",
        *pip(),
        "install",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        *editable,
    )
    STAMP.write_text(wanted)


if __name__ == "__main__":
    main()
