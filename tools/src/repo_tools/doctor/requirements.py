"""What an agent needs and what is locked for it: pyproject.toml, requirement files and uv.lock, with line numbers."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_OPTION = re.compile(r"\s(?=--(?:hash|config-settings|global-option)\b)")


@dataclass(frozen=True, slots=True)
class Dependency:
    """One line that names a package: `requirement` is None for a path, an address or an option such as `-e ../x`."""

    file: Path
    line: int
    text: str
    requirement: Requirement | None
    hashed: bool = False

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name) if self.requirement else ""

    @property
    def version(self) -> Version | None:
        """The one version that `==` names."""
        pins = (
            [each.version for each in self.requirement.specifier if each.operator == "=="] if self.requirement else []
        )
        try:
            return Version(pins[0]) if len(pins) == 1 else None
        except InvalidVersion:
            return None


@dataclass(frozen=True, slots=True)
class Requirements:
    """The dependencies of one agent folder."""

    declared: tuple[Dependency, ...]
    """by pyproject.toml and requirements.txt, ranges and all"""
    locked: tuple[Dependency, ...]
    """by the lock, one version each; empty without a lock"""
    lock: Path | None
    requires_python: str = ""
    requires_python_line: int = 1
    pyproject: Path | None = None
    broken: tuple[tuple[Path, int, str], ...] = ()

    def locked_version(self, name: str) -> Version | None:
        return next((each.version for each in self.locked if each.name == name), None)

    def find(self, name: str) -> Dependency | None:
        """The locked dependency of that name, else the declared one."""
        return next((each for each in (*self.locked, *self.declared) if each.name == name), None)

    def __bool__(self) -> bool:
        return bool(self.declared or self.locked)


def read_requirements(folder: Path, root: Path) -> Requirements:
    declared: list[Dependency] = []
    broken: list[tuple[Path, int, str]] = []
    python, python_line = "", 1
    pyproject = folder / "pyproject.toml"
    if pyproject.is_file():
        text = pyproject.read_text(encoding="utf-8-sig", errors="replace")
        try:
            project = project_table(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            broken.append((pyproject, int(found[1]) if found else 1, str(error)))
            project = {}
        python = str(project.get("requires-python", ""))
        python_line = _line_of(text, "requires-python")
        wanted = project.get("dependencies", [])
        if isinstance(wanted, list) and all(isinstance(each, str) for each in wanted):
            declared += [_dependency(pyproject, _line_of(text, each), each) for each in wanted]
        else:
            broken.append((pyproject, _line_of(text, "dependencies"), "`dependencies` is not a list of texts"))
    plain = folder / "requirements.txt"
    texts = list(read_requirement_file(plain)) if plain.is_file() else []
    lock = _lock(folder, root)
    locked: tuple[Dependency, ...] = ()
    if lock is not None:
        locked = tuple(_uv_lock(lock) if lock.name == "uv.lock" else read_requirement_file(lock))
    elif texts and all(each.requirement is None or each.version for each in texts) and any(e.version for e in texts):
        lock, locked = plain, tuple(texts)
    return Requirements(
        tuple(declared) + tuple(texts), locked, lock, python, python_line,
        pyproject if pyproject.is_file() else None, tuple(broken),
    )  # fmt: skip


def project_table(pyproject: str) -> dict[str, Any]:
    """[project] of a pyproject.toml; empty where there is none.

    Raises:
        tomllib.TOMLDecodeError: the text is not TOML.
    """
    project = tomllib.loads(pyproject).get("project")
    return project if isinstance(project, dict) else {}


def read_requirement_file(path: Path) -> Iterator[Dependency]:
    """The lines of a requirements file, continuation lines joined."""
    lines = iter(enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1))
    for number, raw in lines:
        line = raw.strip()
        while line.endswith("\\"):
            line = line[:-1] + " " + next(lines, (0, ""))[1].strip()
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            yield _dependency(path, number, line)


def _dependency(path: Path, number: int, line: str) -> Dependency:
    text = _OPTION.split(line, maxsplit=1)[0].strip()
    try:
        # hatchling fills {root:uri} in before anyone parses the requirement.
        requirement = Requirement(re.sub(r"\{\w+:uri\}", "file:///root", text))
    except InvalidRequirement:
        requirement = None
    return Dependency(path, number, text, requirement, hashed="--hash=" in line)


def _lock(folder: Path, root: Path) -> Path | None:
    own = next((folder / name for name in ("requirements.lock", "uv.lock") if (folder / name).is_file()), None)
    shared = root / "uv.lock"
    # The root's lock may be that of something else: it counts where the agent is a member of its workspace.
    if own or not shared.is_file() or not folder.is_relative_to(root):
        return own
    return shared if _is_member(shared, folder.relative_to(root).as_posix()) else None


def _is_member(lock: Path, folder: str) -> bool:
    sources = [source for _, source in _uv_packages(lock.read_text(encoding="utf-8-sig", errors="replace"))]
    return any(folder in (source.get("editable"), source.get("virtual")) for source in sources)


def _uv_packages(text: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The packages of a uv.lock, each with its source; none where the file is not one."""
    try:
        packages = tomllib.loads(text).get("package")
    except tomllib.TOMLDecodeError:
        return []
    tables = [each for each in packages if isinstance(each, dict)] if isinstance(packages, list) else []
    return [(each, each["source"]) for each in tables if isinstance(each.get("source"), dict)]


def _uv_lock(path: Path) -> Iterator[Dependency]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for package, source in _uv_packages(text):
        pinned = _dependency(path, 1, f"{package.get('name')}=={package.get('version')}")
        if pinned.version and "registry" in source:
            line = _line_of(text, f'name = "{package["name"]}"')
            yield replace(pinned, line=line, hashed=True)


def _line_of(text: str, part: str) -> int:
    position = text.find(part)
    return text.count("\n", 0, position) + 1 if position >= 0 else 1
