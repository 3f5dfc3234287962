"""A project of hosted agents as azd would read it: azure.yaml, the definitions, Dockerfiles, ignore files and locks.

Reading never fails on what a rule can report: broken files become problems. Only a folder that holds no agent at all is
refused, with `NotAProject`.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from repo_tools.doctor.dockerfile import Dockerfile, read_dockerfile
from repo_tools.doctor.documents import Problem, Value, path_from, read_document, real_path, resolve_includes
from repo_tools.doctor.ignore_file import IgnoreFile, read_ignore_file
from repo_tools.doctor.requirements import Requirements, read_requirements

AGENT_HOST = "azure.ai.agent"
RESOURCE_HOSTS = (
    "azure.ai.project azure.ai.connection azure.ai.toolbox azure.ai.skill azure.ai.routine microsoft.foundry".split()
)
PACKAGE_SOURCES = {".venv", "venv", "node_modules", "site-packages", "__pycache__", "bin", "obj"}
_SOURCE_BYTES = 400_000
_SOURCE_FILES = 400


class NotAProject(Exception):
    """The folder holds no hosted agent; the message says what was looked for."""


@dataclass(frozen=True)
class Agent:
    """One hosted agent: a service of azure.yaml, or a folder with an agent.yaml where there is no azure.yaml."""

    root: Path
    key: str
    """of the service; the folder's name without azure.yaml"""
    service: Value
    """the service with its includes resolved; absent without azure.yaml"""
    written: Value
    """the service as it stands in azure.yaml"""
    folder: Path
    on_disk: Value
    """agent.yaml in the folder, in the older snake_case shape or not; absent where there is none"""

    @cached_property
    def inline(self) -> bool:
        return bool(self.service["kind"])

    @cached_property
    def definition(self) -> Value:
        """What azd takes as the definition: inline, then `config`, then agent.yaml on disk, whose `template` older
        generations nested (Azure/azure-dev, azure.ai.agents, internal/project/agent_definition.go)."""
        if self.inline:
            return self.service
        if self.service.at("config", "kind"):
            return self.service["config"]
        if self.on_disk:
            return self.on_disk["template"] if self.on_disk["template"] else self.on_disk
        return self.service

    @cached_property
    def name(self) -> Value:
        return self.definition["name"]

    @property
    def protocols(self) -> tuple[Value, ...]:
        return self.definition["protocols"].elements

    @cached_property
    def environment(self) -> tuple[tuple[str, Value], ...]:
        """Every variable that any of the places declares, in azd's order of precedence."""
        found: list[tuple[str, Value]] = list(self.service["env"].members.items())
        found += self.service.at("config", "env").members.items()
        for holder in {id(each): each for each in (self.service, self.definition)}.values():
            listed = holder.first("environmentVariables", "environment_variables")
            found += listed.members.items()
            for entry in listed.elements:
                if entry["name"]:
                    value = entry["value"]
                    # A finding belongs on the line of the name; the list's value may stand below it.
                    found.append((entry["name"].text, value if value else entry["name"]))
        return tuple(found)

    @property
    def code(self) -> Value:
        return self.definition.first("codeConfiguration", "code_configuration")

    @cached_property
    def docker(self) -> Value:
        return self.service["docker"]

    @cached_property
    def builds_image(self) -> bool:
        """Neither a zip of the folder, nor an image that exists already, nor an agent without code."""
        return not (self.code or self.service["image"] or self.definition["image"] or self.managed)

    @property
    def managed(self) -> bool:
        """Whether Foundry runs the agent from its definition alone, with no code of ours."""
        return self.definition["kind"].text in ("prompt", "voice", "prompt-voice")

    @cached_property
    def dockerfile_path(self) -> Path:
        return Path(os.path.normpath(path_from(self.folder, self.docker["path"].text or "Dockerfile")))

    @cached_property
    def context(self) -> Path:
        return Path(os.path.normpath(path_from(self.folder, self.docker["context"].text or ".")))

    @cached_property
    def dockerfile(self) -> Dockerfile | None:
        if self.builds_image and self.dockerfile_path.is_file():
            return read_dockerfile(self.dockerfile_path)
        return None

    @cached_property
    def ignore_file(self) -> IgnoreFile | None:
        """The one that azd's remote build honours: beside the Dockerfile under its name, else in the context's root
        (Azure/azure-dev, pkg/containerregistry/pack_source.go)."""
        own = self.dockerfile_path.with_name(self.dockerfile_path.name + ".dockerignore")
        path = own if own.is_file() else self.context / ".dockerignore"
        return read_ignore_file(path) if path.is_file() else None

    @cached_property
    def requirements(self) -> Requirements:
        return read_requirements(self.folder, self.root)

    @cached_property
    def sources(self) -> tuple[tuple[Path, str], ...]:
        """The folder's Python files without its tests; none of a folder outside of the project."""
        return tuple(python_files(self.folder)) if self.folder.is_relative_to(self.root) else ()

    @cached_property
    def is_python(self) -> bool:
        return bool(self.sources) or bool(self.requirements)


@dataclass(frozen=True)
class Project:
    root: Path
    azure: Value
    """azure.yaml with its includes resolved; absent where there is none"""
    written: Value
    """azure.yaml as written"""
    agents: tuple[Agent, ...]
    problems: tuple[Problem, ...]
    manifests: tuple[Value, ...] = ()
    stray_definitions: tuple[Value, ...] = field(default=())
    """agent.yaml files beside the agents' folders that no service includes"""

    def services(self, *hosts: str) -> list[tuple[str, Value]]:
        return [(key, each) for key, each in self.azure["services"].members.items() if each["host"].text in hosts]

    @cached_property
    def documents(self) -> tuple[Value, ...]:
        """Every YAML document of the project once, as written, with no include resolved."""
        found = {self.written.file: self.written} if self.written else {}
        for reference in references(self.written):
            path = _target(reference)
            if path.is_file() and path not in found:
                found[path] = read_document(path)[0]
        for agent in self.agents:
            if agent.on_disk:
                found.setdefault(agent.on_disk.file, agent.on_disk)
        return tuple(found.values())

    @cached_property
    def tracked(self) -> frozenset[str] | None:
        """What git tracks, relative to the root; None outside a repository."""
        # The examined repository's configuration may name a program for fsmonitor: it is not started.
        command = ["git", "-c", "core.fsmonitor=false", "-C", str(self.root), "ls-files", "-z"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        return frozenset(done.stdout.decode(errors="replace").split("\0")) - {""}

    @cached_property
    def infrastructure(self) -> tuple[tuple[Path, str], ...]:
        """Bicep and parameter files."""
        files = [path for path in (self.root / "infra").rglob("*") if path.suffix in (".bicep", ".bicepparam", ".json")]
        files = [path for path in sorted(files) if path.is_file()][:200]
        return tuple((path, path.read_text(encoding="utf-8-sig", errors="replace")) for path in files)

    def relative(self, path: Path) -> str:
        resolved = Path(os.path.normpath(path))
        return resolved.relative_to(self.root).as_posix() if resolved.is_relative_to(self.root) else resolved.as_posix()


def references(value: Value) -> Iterator[Value]:
    for key, member in value.members.items():
        if key == "$ref" and member.is_text:
            yield member
        yield from references(member)
    for element in value.elements:
        yield from references(element)


def _target(reference: Value) -> Path:
    return real_path(path_from(reference.file.parent, reference.text))


def read_project(root: Path) -> Project:
    """Read the project at `root`.

    Raises:
        NotAProject: the folder does not exist or holds no hosted agent.
    """
    root = root.resolve()
    if not root.is_dir():
        raise NotAProject(f"{root} is not a folder")
    problems: list[Problem] = []
    azure_path = next((root / name for name in ("azure.yaml", "azure.yml") if (root / name).is_file()), None)
    if azure_path is None:
        return _without_azure_yaml(root)
    written, found = read_document(azure_path)
    problems += found
    azure = resolve_includes(written, problems)
    agents = []
    broken = {problem.file for problem in problems if problem.rule == "yaml-syntax"}
    dangling = {(problem.file, problem.line) for problem in problems if problem.rule.startswith("ref-")}
    for key, service in azure["services"].members.items():
        if service["host"].text == AGENT_HOST:
            includes = list(references(written.at("services", key)))
            if any((each.file, each.line) in dangling or _target(each) in broken for each in includes):
                continue  # without its definition every rule would complain; the problem is reported
            folder = Path(os.path.normpath(path_from(root, service["project"].text or ".")))
            on_disk = _definition_on_disk(folder, problems)
            agents.append(Agent(root, key, service, written.at("services", key), folder, on_disk))
    if not agents and not problems:
        raise NotAProject(f"{azure_path} has no service with `host: {AGENT_HOST}`")
    included = {_target(each) for each in references(written)}
    known = included | {agent.on_disk.file for agent in agents if agent.on_disk}
    siblings = sorted({agent.folder.parent for agent in agents if agent.folder != root})
    stray = [
        document
        for parent in siblings
        for path in sorted(parent.glob("*/agent.yaml"))
        if real_path(path) not in known and (document := read_document(path)[0])["kind"].text == "hosted"
    ]
    return Project(root, azure, written, tuple(agents), tuple(problems), _manifests(agents, problems), tuple(stray))


def _without_azure_yaml(root: Path) -> Project:
    """Folders with an agent.yaml each, as the samples of the initial preview came."""
    problems: list[Problem] = []
    agents = []
    absent = Value(root / "azure.yaml", 1)
    for pattern in ("agent.yaml", "agent.yml", "*/agent.yaml", "*/*/agent.yaml"):
        for path in sorted(root.glob(pattern)):
            document, found = read_document(path)
            kind = document["kind"].text or document.at("template", "kind").text
            if found or kind == "hosted":
                problems += found
                agents.append(Agent(root, path.parent.name, absent, absent, path.parent, document))
    if not agents:
        raise NotAProject(f"{root} has neither an azure.yaml nor an agent.yaml of `kind: hosted`")
    return Project(root, absent, absent, tuple(agents), tuple(problems), _manifests(agents, problems))


def _definition_on_disk(folder: Path, problems: list[Problem]) -> Value:
    for name in ("agent.yaml", "agent.yml"):
        if (folder / name).is_file():
            document, found = read_document(folder / name)
            problems += [problem for problem in found if problem not in problems]
            return document
    return Value(folder / "agent.yaml", 1)


def _manifests(agents: list[Agent], problems: list[Problem]) -> tuple[Value, ...]:
    found = []
    for folder in dict.fromkeys(agent.folder for agent in agents):
        if (folder / "agent.manifest.yaml").is_file():
            document, broken = read_document(folder / "agent.manifest.yaml")
            problems += broken
            found += [document] if not broken else []
    return tuple(found)


def python_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Python files below a folder, without environments, tests and what is too large to be written by hand."""
    count = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name not in PACKAGE_SOURCES | {"tests", "test"} and not name.startswith(".")
        )
        for name in sorted(files):
            path = Path(place) / name
            if not name.endswith(".py") or not path.is_file() or path.stat().st_size > _SOURCE_BYTES:
                continue
            if count == _SOURCE_FILES:
                return
            count += 1
            yield path, path.read_text(encoding="utf-8", errors="replace")


def line_of(text: str, pattern: str) -> int | None:
    """The line of the first match of a regular expression."""
    found = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None
