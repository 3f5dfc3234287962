"""The shared packages that an agent needs, as wheels that name each other by nothing but what is beside them."""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from repo_tools.repository import ROOT

_REFERENCE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+) @ \{root:uri\}/(?P<path>.+)$")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "tests", ".pytest_cache")


def references(folder: Path) -> dict[str, Path]:
    """The local packages that a pyproject.toml names by direct reference, with their folders."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [_REFERENCE.match(dependency) for dependency in project.get("dependencies", [])]
    return {each["name"]: (folder / each["path"]).resolve() for each in found if each}


def needed_packages(folder: Path) -> dict[str, Path]:
    """The local packages that the package in `folder` needs, directly or through others; the deepest first."""
    found: dict[str, Path] = {}
    for name, place in references(folder).items():
        found |= needed_packages(place) | {name: place}
    return found


def build_wheels(packages: dict[str, Path], target: Path) -> dict[str, Path]:
    """Build each package into `target`; nothing is asked of an index.

    Raises:
        subprocess.CalledProcessError: a build failed; its output says why.
    """
    built: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="eject-") as temporary:
        for name, folder in packages.items():
            copy = Path(temporary) / name
            shutil.copytree(folder, copy, ignore=_IGNORED)
            # hatchling would write this machine's path into the wheel: who installs it names its packages instead.
            pyproject = copy / "pyproject.toml"
            text = pyproject.read_text(encoding="utf-8")
            pyproject.write_text(re.sub(r'^\s*"[^"]+ @ \{root:uri\}/[^"]+",\n', "", text, flags=re.MULTILINE))
            command = [
                sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel",
                "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(target), str(copy),
            ]  # fmt: skip
            before = set(target.glob("*.whl"))
            subprocess.run(command, check=True, cwd=ROOT)
            [built[name]] = set(target.glob("*.whl")) - before
    return built
