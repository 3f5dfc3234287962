"""Dependencies: whether the lock says what is installed, and whether it fits what is declared."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from repo_tools.doctor.project import PACKAGE_SOURCES, Agent, Project
from repo_tools.doctor.requirements import Dependency, project_table
from repo_tools.doctor.rule import Finding, rule

_OTHER_LOCKS = ("poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock")
"""Known to be locks, and not read."""


@rule("pyproject-syntax", "error", "pyproject.toml is not valid", fix="Correct the line.")
def pyproject_syntax(project: Project) -> Iterator[Finding]:
    """Neither pip nor azd can install the agent (https://toml.io/en/v1.0.0; PyPA specifications,
    pyproject.toml)."""
    for agent in project.agents:
        for path, line, message in agent.requirements.broken:
            yield Finding(path, line, message)


@rule(
    "lock-missing",
    "warning",
    "The dependencies are not locked",
    fix="Write a requirements.lock with hashes (`uv pip compile --generate-hashes`) and install it in the image.",
)
def lock_missing(project: Project) -> Iterator[Finding]:
    """Two builds of one commit then differ, and an unpinned install took pre-releases of the agent server libraries
    (pip, repeatable installs)."""
    for agent in project.agents:
        requirements = agent.requirements
        if any((agent.folder / name).is_file() for name in _OTHER_LOCKS):
            continue
        if requirements.declared and not requirements.locked and not requirements.broken:
            place = requirements.declared[0]
            yield Finding(place.file, place.line, f"{agent.key} has no lock")


@rule("lock-hash", "error", "A locked package has no hash", fix="Write the lock again with hashes.")
def lock_hash(project: Project) -> Iterator[Finding]:
    """With --require-hashes, and as soon as one line has a hash, pip refuses every line without (pip, hash-checking
    mode)."""
    for agent in project.agents:
        locked = [each for each in agent.requirements.locked if each.requirement]
        strict = any(each.hashed for each in locked) or any(
            "--require-hashes" in each.arguments
            for each in (agent.dockerfile.instructions("RUN") if agent.dockerfile else ())
        )
        for each in locked:
            if strict and not each.hashed:
                yield Finding(each.file, each.line, f"{each.text} has no hash")


@rule(
    "lock-drift", "error", "The lock is not that of pyproject.toml", fix="Lock again (`make lock` in this repository)."
)
def lock_drift(project: Project) -> Iterator[Finding]:
    """The image installs the lock, so a dependency that is missing there is missing at the start, and a version outside
    of the range was not what the author tested (pip, requirements files)."""
    local = _local_names(project)
    for agent in project.agents:
        locked = {each.name: each for each in agent.requirements.locked if each.name}
        pyproject = _pyproject_text(agent)
        for wanted in agent.requirements.declared if agent.requirements.lock else ():
            requirement = wanted.requirement
            if requirement is None or requirement.url or wanted.file == agent.requirements.lock:
                continue
            if requirement.marker is not None or wanted.name in local or _has_source(pyproject, wanted):
                continue
            found = locked.get(wanted.name)
            if found is None:
                yield Finding(
                    wanted.file,
                    wanted.line,
                    f"{wanted.name} is not in {project.relative(_lock(agent.requirements.lock))}",
                )
            elif found.version and not requirement.specifier.contains(found.version, prereleases=True):
                yield Finding(
                    found.file, found.line, f"{found.name} {found.version} is locked, but {requirement} is wanted"
                )


def _lock(path: Path | None) -> Path:
    return path or Path()


@rule(
    "lock-index",
    "warning",
    "A lock or requirements file names an index",
    fix="Leave the index to the machine's configuration; never use --extra-index-url.",
)
def lock_index(project: Project) -> Iterator[Finding]:
    """An extra index makes pip take the highest version from any of them, and a stranger can publish the name of your
    package with a higher one (pip documentation, --extra-index-url)."""
    for agent in project.agents:
        for each in dict.fromkeys((*agent.requirements.declared, *agent.requirements.locked)):
            if re.match(r"(?:-i|--index-url|--extra-index-url|-f|--find-links)\b", each.text):
                yield Finding(
                    each.file, each.line, f"{each.text.split('=')[0].split()[0]} in the requirements of {agent.key}"
                )


@rule(
    "lock-agents-differ",
    "warning",
    "Agents lock different versions of the agent server libraries",
    fix="Lock all agents against one constraints file.",
)
def lock_agents_differ(project: Project) -> Iterator[Finding]:
    """They share code, which is tested with one of the versions only; the protocol comes from these libraries (PyPI,
    azure-ai-agentserver-core)."""
    seen: dict[str, tuple[Version, str]] = {}
    for agent in project.agents:
        for each in agent.requirements.locked:
            if not each.name.startswith("azure-ai-agentserver") or each.version is None:
                continue
            version, other = seen.setdefault(each.name, (each.version, agent.key))
            if version != each.version:
                yield Finding(each.file, each.line, f"{agent.key} locks {each.name} {each.version}, {other} {version}")


@rule(
    "local-package-by-name",
    "error",
    "A package of this repository is looked up on the index",
    fix='Write `"<name> @ {root:uri}/../<folder>"` (hatchling, allow-direct-references), or leave it out.',
)
def local_package_by_name(project: Project) -> Iterator[Finding]:
    """`azd ai agent run` does `pip install -e .`, which asks the public index for every plain name: who owns that name
    there runs their code on your machine (pip, direct references; Azure/azure-dev, internal/cmd/run.go)."""
    names = _local_names(project)
    for agent in project.agents:
        own = canonicalize_name(agent.folder.name)
        text = _pyproject_text(agent)
        for each in agent.requirements.declared:
            plain = each.requirement is not None and not each.requirement.url
            if plain and each.name in names and each.name != own and not _has_source(text, each):
                yield Finding(
                    each.file, each.line, f"{agent.key} takes {each.name} from an index; it is {names[each.name]} here"
                )


def _pyproject_text(agent: Agent) -> str:
    path = agent.requirements.pyproject
    return path.read_text(encoding="utf-8", errors="replace") if path else ""


def _has_source(pyproject: str, dependency: Dependency) -> bool:
    """uv takes the package from the tree when [tool.uv.sources] says so; pip does not read that."""
    return "[tool.uv.sources]" in pyproject and bool(
        re.search(rf"^{re.escape(dependency.name)}\s*=\s*\{{", pyproject, re.M)
    )


def _local_names(project: Project) -> dict[str, str]:
    """The names of the packages in the repository, with their folders."""
    found: dict[str, str] = {}
    for pattern in ("*/pyproject.toml", "*/*/pyproject.toml"):
        for path in project.root.glob(pattern):
            if PACKAGE_SOURCES & set(path.parts[len(project.root.parts) :]):
                continue
            try:
                name = project_table(path.read_text(encoding="utf-8")).get("name")
            except (tomllib.TOMLDecodeError, UnicodeDecodeError):
                continue
            if name:
                found[canonicalize_name(str(name))] = project.relative(path.parent)
    return found


@rule(
    "python-version",
    "error",
    "The image's Python is not one that the agent supports",
    fix="Raise the base image, or widen requires-python.",
)
def python_version(project: Project) -> Iterator[Finding]:
    """pip refuses to install a package whose requires-python excludes the interpreter (packaging specification,
    Requires-Python)."""
    for agent in project.agents:
        wanted = agent.requirements.requires_python
        if not wanted or not agent.dockerfile:
            continue
        try:
            supported = SpecifierSet(wanted)
        except InvalidSpecifier:
            path = agent.requirements.pyproject or agent.folder
            yield Finding(
                path, agent.requirements.requires_python_line, f"requires-python {wanted!r} is not a specifier"
            )
            continue
        for stage in agent.dockerfile.base_images():
            found = re.match(r"(?:.*/)?python:(\d+\.\d+)(\.\d+)?", stage.image)
            # 3.12 stands for its newest patch release.
            version = found and (found[1] + (found[2] or ".99"))
            if found and version and not supported.contains(version, prereleases=True):
                yield Finding(
                    agent.dockerfile.file,
                    stage.line,
                    f"{stage.image} does not fit requires-python {wanted} of {agent.key}",
                )


@rule("python-run", "warning", "`azd ai agent run` cannot install the agent", fix="Let requires-python include 3.13.")
def python_run(project: Project) -> Iterator[Finding]:
    """It makes an environment of Python 3.13 or newer: "Python 3.13+ is required" (Azure/azure-dev, azure.ai.agents,
    internal/cmd/run.go)."""
    for agent in project.agents:
        wanted = agent.requirements.requires_python
        try:
            fits = not wanted or any(SpecifierSet(wanted).contains(f"3.{minor}.99") for minor in range(13, 30))
        except InvalidSpecifier:
            continue
        if not fits and agent.requirements.pyproject:
            line = agent.requirements.requires_python_line
            yield Finding(
                agent.requirements.pyproject, line, f"requires-python {wanted} of {agent.key} excludes 3.13 and newer"
            )
