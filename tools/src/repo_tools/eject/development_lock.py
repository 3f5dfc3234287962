"""What an agent's tests need beyond the agent: found in their imports, pinned as in the development lock."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, requires
from itertools import pairwise
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from repo_tools.repository import ROOT, local_packages, project_name

# pytest is imported by name, its plugins are not; hatchling and editables install the agent without an index.
ALWAYS = ("pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist", "hatchling", "editables")


def entries(lock: Path) -> dict[str, list[str]]:
    """The entries of a lock by package; a package has several where markers choose among versions."""
    found: dict[str, list[str]] = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip()):
        found.setdefault(canonicalize_name(entry.split("==", 1)[0]), []).append(entry)
    return found


def imported(folders: Iterable[Path]) -> set[str]:
    """The modules, with dots, that Python files import, wherever in the file, or start with `-m` as a process."""
    found: set[str] = set()
    for path in (path for folder in folders for path in ([folder] if folder.is_file() else folder.rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                # `from a import b` may import the module a.b.
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.List | ast.Tuple):
                words = [each.value if isinstance(each, ast.Constant) else None for each in node.elts]
                started = [after for option, after in pairwise(words) if option == "-m"]
                found |= {name for name in started if isinstance(name, str)}
    return found


def distributions_of(modules: set[str]) -> set[str]:
    """The installed distributions that have these modules, without this repository's."""
    known = packages_distributions()
    found: set[str] = set()
    for module in modules:
        owners = set(known.get(module.partition(".")[0], ()))
        # A namespace (`azure`, `langgraph`) has several owners: the one with the module's file is meant.
        found |= {name for name in owners if len(owners) == 1 or _has(name, module)}
    ours = {canonicalize_name(project_name(folder)) for folder in local_packages()}
    canonical: set[str] = {canonicalize_name(name) for name in found}
    return canonical - ours


def _has(distribution_name: str, module: str) -> bool:
    path = module.replace(".", "/")
    files = _files(distribution_name)
    return f"{path}.py" in files or f"{path}/__init__.py" in files


@cache
def _files(distribution_name: str) -> frozenset[str]:
    return frozenset(each.as_posix() for each in distribution(distribution_name).files or ())


def with_dependencies(names: Iterable[str]) -> Iterator[str]:
    """The packages and all that they require, on any platform."""
    seen: set[tuple[str, str]] = set()
    ahead = [Requirement(name) for name in names]
    while ahead:
        wanted = ahead.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            yield name
            try:
                listed = requires(name) or []
            except PackageNotFoundError:  # another platform's
                continue
            for each in map(Requirement, listed):
                asks_extra = each.marker is not None and "extra" in str(each.marker)
                if asks_extra == bool(extra) and (
                    not extra or (each.marker and each.marker.evaluate({"extra": extra}))
                ):
                    ahead.append(each)


def development_lock(agent_lock: Path, tests: Iterable[Path]) -> str:
    """The lines of a hashed requirements file that adds, to `requirements.lock`, what the tests need."""
    development = entries(ROOT / "requirements-dev.lock")
    wanted = {*ALWAYS, *distributions_of(imported(tests))}
    missing = set(with_dependencies(sorted(wanted))) & development.keys() - entries(agent_lock).keys()
    lines = [entry for name in sorted(missing) for entry in development[name]]
    return "\n".join(["-r requirements.lock", *lines]) + "\n"
