"""The arrows between the rooms: who may import whom. Read from the source, so a lazy import counts too."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = {"agent_runtime", "support_desk"}
TOOLS = {"repo_tools"}
AGENTS = {path.name for path in ROOT.glob("agents/*/src/*") if path.is_dir() and path.suffix != ".egg-info"}
FRAMEWORKS = {"agent_framework", "agent_framework_openai", "agent_framework_foundry_hosting", "langgraph", "ag_ui"}


def imports_of(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def imports_below(folder: Path) -> dict[str, set[str]]:
    """Imported modules, each with the files that import it."""
    found: dict[str, set[str]] = {}
    files = list(folder.rglob("*.py"))
    assert files, f"{folder} holds no source; has it moved?"
    for path in files:
        for name in imports_of(path.read_text(encoding="utf-8")):
            found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


def violations(folder: Path, forbidden: set[str]) -> list[str]:
    return [
        f"{path} imports {name}"
        for name, paths in imports_below(folder).items()
        if name.partition(".")[0] in forbidden
        for path in sorted(paths)
    ]


def test_agent_runtime_imports_no_agent_framework_and_nothing_of_the_domain() -> None:
    folder = ROOT / "shared/agent-runtime/src/agent_runtime"
    assert violations(folder, FRAMEWORKS | AGENTS | TOOLS | {"support_desk"}) == []


def test_support_desk_imports_agent_runtime_only() -> None:
    assert violations(ROOT / "shared/support-desk/src/support_desk", FRAMEWORKS | AGENTS | TOOLS) == []


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_an_agent_imports_shared_packages_but_no_other_agent(agent: str) -> None:
    folder = ROOT / "agents" / agent.replace("_", "-") / "src" / agent
    assert violations(folder, (AGENTS - {agent}) | TOOLS) == []


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_an_agent_has_the_rooms_that_every_agent_has(agent: str) -> None:
    folder = ROOT / "agents" / agent.replace("_", "-")
    expected = ["agent.yaml", "Dockerfile", "pyproject.toml", "requirements.lock", "README.md", "tests"]
    expected += [f"src/{agent}/{name}" for name in ("__main__.py", "app.py")]
    assert [name for name in expected if not (folder / name).exists()] == []
    assert any((folder / "src" / agent / name).exists() for name in ("agent.py", "graph.py"))


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "manager"])
def test_no_module_has_a_name_that_says_nothing(name: str) -> None:
    found = [path for room in ("agents", "shared", "tools") for path in (ROOT / room).glob(f"**/src/**/{name}.py")]
    assert found == []


def test_our_packages_name_each_other_by_direct_reference_only() -> None:
    """Their names on the public index belong to strangers, whose code a plain name would install."""
    files = [path for pattern in ("shared/*", "tools", "agents/*") for path in ROOT.glob(f"{pattern}/pyproject.toml")]
    projects = [tomllib.loads(path.read_text(encoding="utf-8"))["project"] for path in files]
    ours = {project["name"] for project in projects}
    plain = [
        f"{project['name']} names {dependency}"
        for project in projects
        for dependency in project.get("dependencies", [])
        if any(dependency.startswith(name) and f"{name} @ {{root:uri}}/" not in dependency for name in ours)
    ]
    assert plain == []


def test_the_check_sees_a_forbidden_import_wherever_it_hides() -> None:
    source = "def late():\n    from langgraph.graph import StateGraph\n    import ag_ui.core as core\n"
    assert set(imports_of(source)) == {"langgraph.graph", "ag_ui.core"}
