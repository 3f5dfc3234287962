"""Removes what running, testing and setting up leave behind in the tree: `.venv`, `.state` and caches. Standard library
only, so that it works without `.venv`. Files that git tracks are never touched.

usage: python3 tools/clean.py
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_THE_ROOT = (".venv", ".state", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")
ANYWHERE = ("__pycache__", ".pytest_cache", ".hypothesis")
ROOMS = ("agents", "shared", "tools", "tests")


def main() -> None:
    found = [ROOT / name for name in AT_THE_ROOT]
    found += [path for room in ROOMS for name in ANYWHERE for path in (ROOT / room).rglob(name)]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
            print(f"removed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
