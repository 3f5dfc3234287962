"""Writes each agent's `agent.manifest.yaml`, which `azd ai agent init -m` starts a new project from.

It is made from `agent.yaml` and the agent's service in `azure.yaml`. The manifest has the older snake_case shape and
three things of its own (Azure/azure-dev, azure.ai.agents, internal/pkg/agents/agent_yaml/yaml.go: AgentManifest and
ContainerAgent): the definition stands below `template`, variables are a list, and a model is a resource whose
deployment's name replaces `{{name}}` (internal/cmd/init_models.go: ProcessModels). There is no startup command in it:
init looks for main.py.
"""

import re
from typing import Any

import yaml

from repo_tools.repository import ROOT, Agent, agents

FILE = "agent.manifest.yaml"
# What a manifest says as agent.yaml says it. Below the keys of `_SNAKE_CASE`, names change their case.
_SAME = ("kind", "name", "displayName", "description", "metadata", "protocols")
_SNAKE_CASE = ("agentEndpoint", "agentCard", "policies", "sessionConfiguration")
_NOT_IN_A_MANIFEST = ("startupCommand",)
_HEADER = """\
# Written by `make manifests` from agent.yaml and azure.yaml; a test compares them. For `azd ai agent init -m`, which
# copies the folder of this file: use the one that `make eject AGENT={agent}` makes, with the shared packages in it.
"""


def render(agent: Agent, azure: dict[str, Any]) -> str:
    """The manifest of one agent; `azure` is azure.yaml as written.

    Raises:
        ValueError: the definition has a key that no manifest has a place for.
    """
    definition = yaml.safe_load((agent.folder / "agent.yaml").read_text(encoding="utf-8"))
    unknown = definition.keys() - {*_SAME, *_SNAKE_CASE, *_NOT_IN_A_MANIFEST, "container"}
    if unknown:
        raise ValueError(f"{agent.name}/agent.yaml has {', '.join(sorted(unknown))}, which no manifest has a place for")
    deployments = [
        deployment
        for service in azure["services"].values()
        if service["host"] == "azure.ai.project"
        for deployment in service.get("deployments", ())
    ]
    env: dict[str, str] = azure["services"][agent.name].get("env", {})
    asked = [deployment for deployment in deployments if deployment["name"] in env.values()]
    names = {deployment["name"] for deployment in asked}

    template = {key: definition[key] for key in _SAME if key in definition}
    if "container" in definition:
        template["resources"] = definition["container"]["resources"]
    if env:
        template["environment_variables"] = [
            {"name": name, "value": f"{{{{{value}}}}}" if value in names else value} for name, value in env.items()
        ]
    template |= {_snake(key): _snake_keys(definition[key]) for key in _SNAKE_CASE if key in definition}
    manifest = {key: definition[key] for key in ("name", "displayName", "description") if key in definition}
    manifest["template"] = template
    manifest["resources"] = [
        {"kind": "model", "name": deployment["name"], "id": deployment["model"]["name"]} for deployment in asked
    ]
    header = _HEADER.format(agent=agent.name)
    return header + yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=118)


def write_all() -> int:
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
    for agent in agents():
        (agent.folder / FILE).write_text(render(agent, azure), encoding="utf-8")
        print(f"manifests: {(agent.folder / FILE).relative_to(ROOT)}")
    return 0


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name)


def _snake_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake(key): _snake_keys(member) for key, member in value.items()}
    return [_snake_keys(member) for member in value] if isinstance(value, list) else value
