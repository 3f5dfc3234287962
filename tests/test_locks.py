"""The hashed locks: one version of a package everywhere, no index, none of our own, nothing unneeded."""

import re
from pathlib import Path

import pytest
from repo_tools.repository import local_packages, project_name

ROOT = Path(__file__).parents[1]
LOCKS = [ROOT / "requirements-dev.lock", *sorted(ROOT.glob("agents/*/requirements.lock"))]
ALL_LOCKS = sorted({*ROOT.glob("*.lock"), *LOCKS})
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    found = dict(PINNED.findall(lock.read_text(encoding="utf-8")))
    assert len(found) > 10, f"{lock} is not a lock"
    return found


@pytest.mark.parametrize("lock", ALL_LOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_lock_names_no_index_and_no_file(lock: Path) -> None:
    assert not re.search(r"https?://|file:|--index|--find-links", lock.read_text(encoding="utf-8"))


@pytest.mark.parametrize("lock", ALL_LOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_pin_of_a_lock_has_a_hash(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip())
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", ALL_LOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_lock_pins_a_package_of_this_repository(lock: Path) -> None:
    assert pins(lock).keys() & {project_name(folder) for folder in local_packages()} == set()


@pytest.mark.parametrize("lock", LOCKS[1:], ids=lambda path: path.parent.name)
def test_an_agent_pins_the_versions_of_the_development_lock(lock: Path) -> None:
    development = pins(LOCKS[0])
    assert {name: version for name, version in pins(lock).items() if development.get(name) != version} == {}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_the_protocol_libraries_are_stable_releases(lock: Path) -> None:
    """An unpinned install takes pre-releases of these, which differ in behaviour."""
    libraries = {name: version for name, version in pins(lock).items() if name.startswith("azure-ai-agentserver")}
    assert libraries
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in libraries.values()), libraries


@pytest.mark.parametrize(
    ("agent", "foreign"),
    [
        ("rag-chat", {"langgraph", "ag-ui-protocol"}),
        (
            "webhook-extractor",
            {"langgraph", "ag-ui-protocol", "azure-ai-agentserver-responses", "agent-framework-core"},
        ),
        ("langgraph-planner", {"ag-ui-protocol", "azure-ai-agentserver-invocations", "agent-framework-core"}),
        ("ag-ui-streamer", {"langgraph", "agent-framework-core"}),
    ],
)
def test_an_agent_lock_holds_no_framework_of_another_agent_and_no_development_tool(
    agent: str, foreign: set[str]
) -> None:
    tools = {"pytest", "ruff", "mypy", "uv", "hypothesis", "azure-ai-projects", "standardwebhooks"}
    assert pins(ROOT / f"agents/{agent}/requirements.lock").keys() & (foreign | tools) == set()
