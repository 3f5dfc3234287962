"""Where things are in this repository, read from the tree itself, so that a new agent is one new folder."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Agent:
    """One folder below `agents/`: its name is the folder's, the azd service's and the agent's."""

    name: str
    folder: Path
    local_port: int
    """The port on a developer's machine; inside a container every agent listens on 8088."""
    protocols: tuple[str, ...]

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


def agents(root: Path = ROOT) -> tuple[Agent, ...]:
    """All agents in the order of their local ports.

    Raises:
        ValueError: where an agent's `pyproject.toml` has no `[tool.repo-tools] local-port`.
    """
    found = [_read(path.parent) for path in root.glob("agents/*/agent.yaml")]
    return tuple(sorted(found, key=lambda agent: agent.local_port))


def local_packages(root: Path = ROOT) -> tuple[Path, ...]:
    """The folders of every Python package of this repository."""
    patterns = ("shared/*", "tools", "agents/*")
    return tuple(sorted(path.parent for pattern in patterns for path in root.glob(f"{pattern}/pyproject.toml")))


def shared_packages(root: Path = ROOT) -> tuple[Path, ...]:
    """The folders of the packages that every image has in it."""
    return tuple(sorted(path.parent for path in root.glob("shared/*/pyproject.toml")))


def project_version(folder: Path) -> str:
    return str(_pyproject(folder)["project"]["version"])


def project_name(folder: Path) -> str:
    return str(_pyproject(folder)["project"]["name"])


def _read(folder: Path) -> Agent:
    definition = yaml.safe_load((folder / "agent.yaml").read_text(encoding="utf-8"))
    port = _pyproject(folder).get("tool", {}).get("repo-tools", {}).get("local-port")
    if not isinstance(port, int):
        raise ValueError(f"{folder}/pyproject.toml has no [tool.repo-tools] local-port; give the agent a free port")
    return Agent(folder.name, folder, port, tuple(entry["protocol"] for entry in definition["protocols"]))


def _pyproject(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
