"""Writes the project. What is generated comes from this repository's files of the same name, changed where one folder
differs from a monorepo; a file that no longer has the place to change is an error, not a silent copy.
"""

import hashlib
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import yaml

from repo_tools import manifest
from repo_tools.eject import texts
from repo_tools.eject.development_lock import development_lock, imported
from repo_tools.eject.wheels import build_wheels, needed_packages, references
from repo_tools.repository import ROOT, Agent

# Of the agent's own folder, and not of folders below it: written anew, or of no use without this repository.
_NOT_COPIED = ("Dockerfile", "README.md", "pyproject.toml", "requirements.txt", "evaluation", manifest.FILE)
_ROLES = "tools/src/repo_tools/agent_roles"
_INFRASTRUCTURE_TESTS = ("test_infrastructure.py", "test_telemetry.py")
_NEVER = shutil.ignore_patterns(
    "__pycache__", "*.egg-info", "node_modules", ".venv", ".state", ".*_cache", ".hypothesis", "*.sqlite*",
    ".env", ".env.*", ".azure", ".git",
)  # fmt: skip


class _Readable(yaml.SafeDumper):
    """Writes a text of several lines, such as a hook, as such."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


class EjectRefused(Exception):
    """Nothing was written; the message says what to do."""


def eject(agent: Agent, target: Path, *, root: Path = ROOT) -> None:
    """Write the project of one agent into the folder `target`, which may exist if it is empty.

    Raises:
        EjectRefused: the folder holds something, or this repository's files have changed their shape.
        subprocess.CalledProcessError: a wheel cannot be built.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise EjectRefused(f"{target} is there already. Name another folder with TO=…, or empty it.")
    azure = yaml.safe_load((root / "azure.yaml").read_text(encoding="utf-8"))
    # All that may refuse comes before anything is written.
    pyproject = _pyproject(agent, root)
    dockerfile = _dockerfile(agent, root)
    readme = _readme(agent, root)
    infrastructure = _infrastructure_readme(root)

    def left_behind(folder: str, names: list[str]) -> set[str]:
        here = set(_NOT_COPIED) if Path(folder) == agent.folder else set()
        return set(_NEVER(folder, names)) | here.intersection(names) | _tests_of_this_repository(Path(folder), names)

    shutil.copytree(agent.folder, target, ignore=left_behind, dirs_exist_ok=True)
    wheels = target / "wheels"
    wheels.mkdir()
    built = build_wheels(needed_packages(agent.folder), wheels)
    hashed = [
        f"./wheels/{path.name} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in built.values()
    ]
    _copy_infrastructure(root, target)
    testing = root / "shared/agent-runtime/src/agent_runtime/testing"
    conftest = root / "conftest.py"
    shutil.copy(conftest, target / "conftest.py")
    names = {name: f"wheels/{path.name}" for name, path in built.items()}
    files = {
        "README.md": readme,
        "infra/README.md": infrastructure,
        "pyproject.toml": pyproject.replace("@WHEELS@", texts.wheel_dependencies(names)),
        "requirements.txt": texts.REQUIREMENTS + "\n".join(["-r requirements.lock", *hashed]) + "\n",
        "requirements-dev.lock": development_lock(
            agent.folder / "requirements.lock", [target / "tests", testing, conftest]
        ),
        "Dockerfile": dockerfile,
        "main.py": texts.MAIN.format(module=agent.module),
        "Makefile": texts.MAKEFILE.format(module=agent.module, port=agent.local_port),
        "azure.yaml": _azure_yaml(agent, azure, code=False),
        "azure.code.yaml": _azure_yaml(agent, azure, code=True),
        manifest.FILE: _manifest(agent, azure),
        ".agentignore": texts.AGENTIGNORE,
        ".azdignore": texts.AZDIGNORE,
        ".dockerignore": texts.DOCKERIGNORE,
        ".gitattributes": texts.GITATTRIBUTES,
        ".gitignore": texts.GITIGNORE,
    }
    for name, text in files.items():
        (target / name).write_text(text, encoding="utf-8")
    for path in target.rglob("*.py"):
        if path.is_relative_to(target / "tests"):
            path.write_text(_inside(path.read_text(encoding="utf-8"), agent), encoding="utf-8")


def _copy_infrastructure(root: Path, target: Path) -> None:
    """The Bicep layer, the hook that grants roles, and their tests. Switches leave out what an agent does not need."""
    shutil.copytree(root / "infra", target / "infra")
    shutil.copytree(root / _ROLES, target / "tools/agent_roles", ignore=_NEVER)
    for name in _INFRASTRUCTURE_TESTS:
        shutil.copy(root / "tests" / name, target / "tests" / name)
    for path in (*target.glob("tools/agent_roles/*.py"), *(target / "tests" / name for name in _INFRASTRUCTURE_TESTS)):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("repo_tools.agent_roles", "agent_roles"), encoding="utf-8")


def _infrastructure_readme(root: Path) -> str:
    """What `docs/deploy.md` says of the layers and their switches, with its links out made plain text."""
    page = (root / "docs/deploy.md").read_text(encoding="utf-8")
    part = re.search(r"^## With azd: what is made\n.*?(?=^## )", page, re.MULTILINE | re.DOTALL)
    if not part:
        raise EjectRefused("docs/deploy.md has no part about what is made any more: change repo_tools.eject with it")
    text = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", part[0])
    return re.sub(r"^#(#+)", r"\1", text, flags=re.MULTILINE).rstrip() + "\n"


def _tests_of_this_repository(folder: Path, names: list[str]) -> set[str]:
    """Test modules of the agent that run this repository's own tools."""
    tests = [name for name in names if name.startswith("test_") and name.endswith(".py")]
    return {name for name in tests if any(each.split(".")[0] == "repo_tools" for each in imported([folder / name]))}


def _inside(text: str, agent: Agent) -> str:
    """The agent's folder is the root now."""
    return text.replace(f"agents/{agent.name}/", "")


def _replaced(text: str, old: str, new: str, *, of: str) -> str:
    if old not in text:
        raise EjectRefused(f"{of} has no {old!r} any more, which eject replaces: change repo_tools.eject with it")
    return text.replace(old, new)


def _pyproject(agent: Agent, root: Path) -> str:
    path = agent.folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    text, removed = re.subn(r'^\s*"[^"]+ @ \{root:uri\}/\.\./[^"]+",\n', "", text, flags=re.MULTILINE)
    text, changed = re.subn(r"(?:^#.*\n)+dependencies = \[\n", texts.DEPENDENCIES, text, flags=re.MULTILINE)
    if not changed or removed != len(references(agent.folder)) or not removed:
        raise EjectRefused(f"{path} names the shared packages in another way: change repo_tools.eject with it")
    text = re.sub(r"\n\[tool\.repo-tools\]\n(?:[^\[].*\n)*", "", text)
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    settings.pop("markers", None)
    return text + texts.pytest_settings(settings | {"testpaths": ["tests"], "pythonpath": ["tools"]})


def _dockerfile(agent: Agent, root: Path) -> str:
    path = agent.folder / "Dockerfile"
    text = path.read_text(encoding="utf-8")
    of, here = path.relative_to(root).as_posix(), f"agents/{agent.name}"
    text = re.sub(r"\A(?:#.*\n)+", texts.DOCKERFILE_HEADER, text)
    text = _replaced(text, f"COPY {here}/requirements.lock ./\n", "COPY requirements.lock ./\n", of=of)
    text = _replaced(
        text,
        f"COPY shared shared\nCOPY {here} {here}\n",
        "COPY wheels wheels\nCOPY pyproject.toml ./\nCOPY src src\n",
        of=of,
    )
    folders = [f"./shared/{place.name}" for place in needed_packages(agent.folder).values()]
    text = _replaced(text, f"-w wheels {' '.join(folders)} ./{here} ", "-w wheels . ", of=of)
    return _replaced(text, "packages from the tree, never", "packages from wheels, never", of=of)


def _azure_yaml(agent: Agent, azure: dict[str, Any], *, code: bool) -> str:
    project = {key: service for key, service in azure["services"].items() if service["host"] == "azure.ai.project"}
    service = azure["services"][agent.name]
    how: dict[str, Any] = (
        {
            "language": "python",
            "codeConfiguration": {
                "runtime": "python_3_13",
                "entryPoint": "main.py",
                "dependencyResolution": "remote_build",
            },
        }
        if code
        else {"language": "docker", "docker": {"path": "./Dockerfile", "context": ".", "remoteBuild": True}}
    )
    own = {"host": service["host"], "project": ".", **how, "env": service.get("env", {}), "$ref": "./agent.yaml"}
    document = {
        "name": agent.name,
        "requiredVersions": azure["requiredVersions"],
        "infra": azure["infra"],
        "hooks": _hooks(azure["hooks"]),
        "services": project | {agent.name: own},
    }
    header = texts.AZURE_CODE if code else texts.AZURE
    return header + yaml.dump(document, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=118)


def _hooks(hooks: dict[str, Any]) -> dict[str, Any]:
    text = yaml.safe_dump(hooks, sort_keys=False)
    text = _replaced(text, "tools/src", "tools", of="azure.yaml")
    found = yaml.safe_load(_replaced(text, "repo_tools.agent_roles", "agent_roles", of="azure.yaml"))
    assert isinstance(found, dict)  # noqa: S101 - as it was written
    return found


def _manifest(agent: Agent, azure: dict[str, Any]) -> str:
    return re.sub(r"\A(?:#.*\n)+", texts.MANIFEST_HEADER, manifest.render(agent, azure))


def _readme(agent: Agent, root: Path) -> str:
    """How to use the project, then the agent's own README with the links out of it made plain text."""
    text = (agent.folder / "README.md").read_text(encoding="utf-8")
    title, _, rest = text.partition("\n")
    rest = _inside(rest, agent).replace(f"make run AGENT={agent.name}", "make run")
    rest = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", rest)
    if f"agents/{agent.name}" in rest:
        raise EjectRefused(f"the README of {agent.name} names its folder in a way that eject does not know")
    packages = list(needed_packages(agent.folder))
    own = texts.readme(agent, packages, manifest_file=manifest.FILE)
    return f"{title}\n\n{own}\n{rest.lstrip()}"
