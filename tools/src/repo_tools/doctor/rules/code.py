"""What starts an agent: `startupCommand` for `azd ai agent run`, and deployments of code without an image."""

import re
from collections.abc import Iterator
from pathlib import Path

from repo_tools.doctor.documents import path_from
from repo_tools.doctor.project import Agent, Project
from repo_tools.doctor.rule import Finding, rule
from repo_tools.doctor.rules.images import startup

_SERVERS = {"uvicorn", "gunicorn", "hypercorn", "granian", "flask", "quart", "streamlit", "chainlit"}
"""Programs that start an agent's application; without a lock it is not seen which package brings them."""
_RUNTIME = re.compile(r"python_3_(?:1[2-9])|dotnet_(?:9|[1-9]\d)")


@rule(
    "startup-missing",
    "warning",
    "azd cannot find out how to start the agent",
    fix="Add `startupCommand: python -m <package>`.",
)
def startup_missing(project: Project) -> Iterator[Finding]:
    """Without `startupCommand` azd looks for main.py in the service's folder, not below it: "could not determine the
    entry point" (Azure/azure-dev, azure.ai.agents, internal/cmd/helpers.go)."""
    for agent in project.agents:
        known = any((agent.folder / name).is_file() for name in ("main.py", "package.json"))
        hosted = agent.is_python and not agent.managed
        if hosted and agent.service and not agent.code and not startup(agent).text and not known:
            yield Finding(
                agent.service.file, agent.service.line, f"{agent.key} has neither `startupCommand` nor main.py"
            )


@rule(
    "startup-shell",
    "error",
    "The startup command needs a shell",
    fix="Write one program with its arguments; set variables in `env`.",
)
def startup_shell(project: Project) -> Iterator[Finding]:
    """azd runs it without a shell, in the service's folder: `&&`, pipes, variables and `cd` are passed on as words
    (Azure/azure-dev, azure.ai.agents, internal/cmd/run.go)."""
    for agent in project.agents:
        local = startup(agent)
        if re.search(r"&&|\|\||[|;<>`]|\$[A-Za-z_{(]|^\s*(?:cd|export|source)\s|^\w+=", local.text):
            yield Finding(local.file, local.line, f"`{local.text}` is not run by a shell")


@rule(
    "startup-target",
    "error",
    "The startup command names nothing that is there",
    fix="Name a file of the service's folder, or a package below it or below src/.",
)
def startup_target(project: Project) -> Iterator[Finding]:
    """azd runs it in the service's folder (Azure/azure-dev, azure.ai.agents, internal/cmd/run.go)."""
    for agent in project.agents:
        local = startup(agent)
        words = local.text.split()
        if (
            not words
            or not Path(words[0]).name.startswith("python")
            or not agent.is_python
            or not agent.folder.is_dir()
        ):
            continue
        if words[1:2] == ["-m"] and len(words) > 2:
            if not _is_module(agent, words[2]):
                yield Finding(local.file, local.line, f"{agent.key} has no module {words[2]}")
        elif len(words) > 1 and words[1].endswith(".py") and not path_from(agent.folder, words[1]).is_file():
            yield Finding(local.file, local.line, f"{agent.key} has no file {words[1]}")


def _is_module(agent: Agent, name: str) -> bool:
    """A module of the agent, or of a package that it installs (uvicorn), which is not looked into."""
    top = re.sub(r"[-.]", "_", name.split(".", maxsplit=1)[0]).lower()
    installed = {each.name.replace("-", "_") for each in (*agent.requirements.declared, *agent.requirements.locked)}
    path = path_from(Path(), name.replace(".", "/"))
    places = [base / path for base in (agent.folder, agent.folder / "src")]
    unseen = not agent.requirements.locked and top in _SERVERS
    return (
        unseen
        or top in installed
        or any((place / "__main__.py").is_file() or place.with_suffix(".py").is_file() for place in places)
    )


@rule(
    "code-and-image",
    "error",
    "Code and an image are both given",
    fix="Keep codeConfiguration, or docker and image, not both.",
)
def code_and_image(project: Project) -> Iterator[Finding]:
    """A version has a container or code: the service validates that exactly one is set (azure-ai-projects 2.10,
    HostedAgentDefinition)."""
    for agent in project.agents:
        for key in ("docker", "image"):
            value = agent.service[key]
            if agent.code and value:
                yield Finding(value.file, value.line, f"{agent.key} has codeConfiguration and `{key}`")


@rule(
    "code-runtime",
    "error",
    "The runtime of a code deployment does not exist",
    fix="Use python_3_13 or python_3_14, or dotnet_10.",
)
def code_runtime(project: Project) -> Iterator[Finding]:
    """azd offers python_3_13, python_3_14 and dotnet_10, the schema names python_3_12 and dotnet_9 as examples, and
    requires runtime and entryPoint (Azure/azure-dev, azure.ai.agents, internal/cmd/init.go and
    schemas/azure.ai.agent.json)."""
    for agent in project.agents:
        if agent.code and not _RUNTIME.fullmatch(agent.code["runtime"].text):
            value = agent.code["runtime"]
            yield Finding(agent.code.file, value.line, f"{agent.key} asks for the runtime {value.text!r}")


@rule(
    "code-entry-point",
    "error",
    "The entry point of a code deployment is not a file",
    fix="Name a .py file in the service's folder, main.py for example.",
)
def code_entry_point(project: Project) -> Iterator[Finding]:
    """The container runs `python <entryPoint>`: a file, not `-m package` (Azure/azure-dev, azure.ai.agents, map.go)."""
    for agent in project.agents:
        entry = agent.code.first("entryPoint", "entry_point")
        python = agent.folder.is_dir() and agent.code["runtime"].text.startswith("python")
        if python and (not entry.text or not path_from(agent.folder, entry.text).is_file()):
            message = f"{agent.key} starts {entry.text!r}, which is no file of its folder"
            yield Finding(agent.code.file, entry.line, message)


@rule(
    "code-resolution",
    "error",
    "Nobody installs the dependencies of a code deployment",
    fix="Use remote_build with a requirements.txt in the folder, or bundled with the packages in it.",
)
def code_resolution(project: Project) -> Iterator[Finding]:
    """dependencyResolution is remote_build (the default) or bundled; remote_build installs what the folder's
    requirements say (Azure/azure-dev, azure.ai.agents, map.go; internal/cmd/init.go)."""
    for agent in project.agents:
        if not agent.code:
            continue
        mode = agent.code.first("dependencyResolution", "dependency_resolution")
        if mode.text not in ("", "remote_build", "bundled"):
            yield Finding(mode.file, mode.line, f"{mode.text!r} is no way to resolve dependencies")
            continue
        python = agent.folder.is_dir() and agent.code["runtime"].text.startswith("python")
        listed = any((agent.folder / name).is_file() for name in ("requirements.txt", "pyproject.toml"))
        if python and not listed and mode.text != "bundled":
            yield Finding(agent.code.file, agent.code.line, f"{agent.key} has no requirements.txt to install")


@rule(
    "code-outside",
    "error",
    "A code deployment needs files outside of its folder",
    fix="Deploy an image with the root as `docker.context`, or put a wheel into the folder.",
)
def code_outside(project: Project) -> Iterator[Finding]:
    """The archive holds the service's folder only; `-e ../shared` is not in it (Azure/azure-dev, azure.ai.agents,
    internal/project/service_target_agent.go)."""
    for agent in project.agents:
        for each in agent.requirements.declared if agent.code else ():
            if re.search(r"(?:^|[\s/=])\.\./", each.text):
                yield Finding(each.file, each.line, f"{each.text} is not in the archive of {agent.key}")
