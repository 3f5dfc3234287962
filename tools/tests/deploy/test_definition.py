"""One agent.yaml, three requests: what the SDK sends, what plain REST sends, and what azd sends are the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from repo_tools.deploy.by_rest import ByRest
from repo_tools.deploy.by_sdk import BySdk
from repo_tools.deploy.definition import CannotDeploy, VersionRequest, image_variable, version_request
from repo_tools.doctor.project import read_project
from repo_tools.repository import ROOT, agents

from .projects import AZURE_YAML, one_agent, write
from .service import ENDPOINT, FoundryService

IMAGE = "desk.azurecr.io/support/agent:1.4.0"
EVERYTHING = """\
kind: hosted
name: desk
description: Answers questions of the desk.
metadata:
  authors: [Support, Platform]
  team: desk
  tags: [not, a, text]
protocols:
  - {protocol: invocations, version: 2.0.0}
  - {protocol: responses, version: 2.0.0}
policies:
  - type: rai_policy
    raiPolicyName: /subscriptions/1/raiPolicies/strict
container:
  resources: {cpu: "1", memory: 2Gi}
sessionConfiguration: {idleTimeoutSeconds: 1800}
startupCommand: python -m desk
"""
VARIABLES = """\
      LOG_LEVEL: info
      REGION: ${AZURE_LOCATION}
      PEER: ${PEER_URL:-http://nobody.test}
      COSTS: 5$$
      KEY: $${{connections.search.credentials.key}}
"""


def as_azd_sends_it(service: dict[str, Any], image: str, environment: dict[str, str]) -> dict[str, Any]:
    """Written from azd's source and from nothing of ours: Azure/azure-dev, azure.ai.agents 1.0.0-beta.11,
    agent_yaml/map.go (CreateHostedAgentAPIRequest), agent_api/models.go (names and omitempty),
    project/service_target_agent.go (prepareDeploy, createAgent, applyAgentMetadata). `environment` is what core expanded."""
    resources = service.get("container", {}).get("resources", {})
    definition: dict[str, Any] = {
        "kind": "hosted",
        "protocol_versions": [
            {"protocol": each["protocol"], "version": str(each["version"])} for each in service["protocols"]
        ],
        "cpu": resources.get("cpu", "0.5"),
        "memory": resources.get("memory", "1Gi"),
        "container_configuration": {"image": image},
    }
    if environment:
        definition["environment_variables"] = environment
    if "sessionConfiguration" in service:
        definition["session_configuration"] = {
            "idle_timeout_seconds": service["sessionConfiguration"]["idleTimeoutSeconds"]
        }
    policies = [each for each in service.get("policies", []) if each["type"] == "rai_policy"]
    if policies:
        definition["rai_config"] = {"rai_policy_name": policies[0]["raiPolicyName"]}
    metadata = {key: value for key, value in service.get("metadata", {}).items() if isinstance(value, str)}
    if isinstance(service.get("metadata", {}).get("authors"), list):
        metadata["authors"] = ",".join(service["metadata"]["authors"])
    body = {"definition": definition, "metadata": metadata | {"enableVnextExperience": "true"}}
    return body | ({"description": service["description"]} if service.get("description") else {})


def on_the_wire(foundry: FoundryService, request: VersionRequest) -> list[dict[str, Any]]:
    """The bodies that arrive, by the SDK and by REST."""
    path = f"/agents/{request.name}/versions"
    foundry.on("POST", path, {"object": "agent.version", "name": request.name, "version": "1", "status": "creating"})
    for way in (BySdk, ByRest):
        client = way(ENDPOINT, foundry.login, foundry.network)
        assert client.create_version(request)["version"] == "1"
        client.close()
    sdk, rest = foundry.sent("POST", path)
    assert sdk.query == rest.query == {"api-version": "v1"}
    assert sdk.headers["accept"] == rest.headers["accept"] == "application/json"
    assert set(foundry.login.scopes) == {"https://ai.azure.com/.default"}
    return [sdk.body, rest.body]


@pytest.mark.parametrize("vault", ["", "https://kv-desk.vault.azure.net/"])
@pytest.mark.parametrize("name", [agent.name for agent in agents()])
def test_sdk_rest_and_azd_send_the_same_for_each_agent_of_this_repository(
    name: str, vault: str, foundry: FoundryService
) -> None:
    (agent,) = (each for each in read_project(ROOT).agents if each.key == name)
    service = yaml.safe_load((ROOT / "azure.yaml").read_text())["services"][name]
    service |= yaml.safe_load((ROOT / service["$ref"]).read_text())
    unset = {"${AZURE_KEY_VAULT_ENDPOINT:-}": vault, "${PLANNER_ENDPOINT:-}": ""}
    expanded = {name: unset.get(value, value) for name, value in service["env"].items()}
    azd = as_azd_sends_it(service, IMAGE, expanded)
    values = {"AZURE_KEY_VAULT_ENDPOINT": vault} if vault else {}
    sdk, rest = on_the_wire(foundry, version_request(agent, values, image=IMAGE))
    assert sdk == azd
    assert rest == azd
    own = {"webhook-extractor": {"AZURE_KEY_VAULT_ENDPOINT": vault}, "ag-ui-streamer": {"PLANNER_ENDPOINT": ""}}
    assert azd["definition"]["environment_variables"] == {
        "AZURE_AI_MODEL_DEPLOYMENT_NAME": "chat",
        "LOG_LEVEL": "info",
        **own.get(name, {}),
    }


def test_sdk_rest_and_azd_send_the_same_of_all_that_a_definition_may_say(
    tmp_path: Path, foundry: FoundryService
) -> None:
    files = one_agent() | {"agents/desk/agent.yaml": EVERYTHING}
    files["azure.yaml"] = AZURE_YAML.replace("      LOG_LEVEL: info\n", VARIABLES)
    (agent,) = read_project(write(files, tmp_path)).agents
    values = {"AZURE_LOCATION": "swedencentral", image_variable("desk"): IMAGE}
    expanded = {
        "AZURE_AI_MODEL_DEPLOYMENT_NAME": "chat",
        "LOG_LEVEL": "info",
        "REGION": "swedencentral",
        "PEER": "http://nobody.test",
        "COSTS": "5$",
        "KEY": "${{connections.search.credentials.key}}",
    }
    azd = as_azd_sends_it(yaml.safe_load(EVERYTHING), IMAGE, expanded)
    sdk, rest = on_the_wire(foundry, version_request(agent, values))
    assert sdk == azd
    assert rest == azd
    assert azd["metadata"] == {"authors": "Support,Platform", "team": "desk", "enableVnextExperience": "true"}


def test_sdk_rest_and_azd_send_the_same_of_the_least_definition(tmp_path: Path, foundry: FoundryService) -> None:
    least = "kind: hosted\nname: desk\nprotocols: [{protocol: responses, version: 2.0.0}]\n"
    env = "    env:\n      AZURE_AI_MODEL_DEPLOYMENT_NAME: chat\n      LOG_LEVEL: info\n"
    files = one_agent() | {"agents/desk/agent.yaml": least, "azure.yaml": AZURE_YAML.replace(env, "")}
    (agent,) = read_project(write(files, tmp_path)).agents
    azd = as_azd_sends_it(yaml.safe_load(least), IMAGE, {})
    sdk, rest = on_the_wire(foundry, version_request(agent, {}, image=IMAGE))
    assert sdk == azd
    assert rest == azd


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("azure.yaml", "LOG_LEVEL: info", "LOG_LEVEL: ${LEVEL}", "azure.yaml:12: LEVEL is not set: azd env set LEVEL"),
        ("azure.yaml", "LOG_LEVEL: info", "LOG_LEVEL: ${LEVEL:=info}", r"write \$\{NAME\}"),
        ("azure.yaml", "LOG_LEVEL: info", "KEY: '${{connections.a.credentials.key}}'", r"\$\$\{\{…\}\} for Foundry"),
        ("azure.yaml", "LOG_LEVEL: info", "LOG_LEVEL: [a]", "LOG_LEVEL is not text"),
        ("azure.yaml", "LOG_LEVEL: info", "LOG_LEVEL:", "LOG_LEVEL is not text"),
        ("azure.yaml", "LOG_LEVEL: info", r"PATTERN: '\d${X:-1}'", "backslash"),
        ("agents/desk/agent.yaml", "name: desk", "name: desk_agent", "agent.yaml:2: 'desk_agent' is not an agent's name"),
        ("agents/desk/agent.yaml", "900", "60", "idleTimeoutSeconds is 60: whole seconds from 300 to 3600"),
        ("agents/desk/agent.yaml", "kind: hosted", "kind: hosted\nagentCard: {version: '1'}", "`agentCard` is not sent"),
        (
            "agents/desk/agent.yaml",
            "kind: hosted",
            "kind: hosted\npolicies: [{type: rai_policy, raiPolicyName: x, invocationsModeration: {responseMode: both}}]",
            "`invocationsModeration` is not sent",
        ),
    ],
)  # fmt: skip
def test_what_would_be_sent_wrong_is_refused_with_its_line(
    file: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    files = one_agent()
    assert old in files[file]
    files[file] = files[file].replace(old, new)
    (agent,) = read_project(write(files, tmp_path)).agents
    with pytest.raises(CannotDeploy, match=said):
        version_request(agent, {}, image=IMAGE)


def test_code_is_left_to_azd(tmp_path: Path) -> None:
    code = "\ncodeConfiguration: {runtime: python_3_13, entryPoint: main.py}\n"
    files = one_agent() | {"agents/desk/agent.yaml": one_agent()["agents/desk/agent.yaml"] + code}
    (agent,) = read_project(write(files, tmp_path)).agents
    with pytest.raises(CannotDeploy, match="deployed as code, which only azd does: azd deploy desk"):
        version_request(agent, {}, image=IMAGE)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "no image is named for desk: .*azd env set SERVICE_DESK_IMAGE_NAME"),
        ("agent:1", "is not an image"),
        ("https://desk.azurecr.io/agent:1", "is not an image"),
        ("desk.azurecr.io/agent", "would not be told from the last one. Name a tag that changes"),
        ("desk.azurecr.io/agent:latest", "would not be told from the last one. Name a tag that changes"),
    ],
)
def test_an_image_has_a_registry_and_a_tag_of_its_own(image: str | None, said: str, tmp_path: Path) -> None:
    (agent,) = read_project(write(one_agent(), tmp_path)).agents
    with pytest.raises(CannotDeploy, match=said):
        version_request(agent, {}, image=image)


def test_the_image_is_the_given_one_then_the_services_then_that_of_the_environment(tmp_path: Path) -> None:
    values = {"SERVICE_DESK_IMAGE_NAME": "desk.azurecr.io/agent:3", "TAG": "2"}
    (plain,) = read_project(write(one_agent(), tmp_path / "plain")).agents
    assert version_request(plain, values).image == "desk.azurecr.io/agent:3"
    files = one_agent() | {
        "azure.yaml": AZURE_YAML.replace("    env:", "    image: desk.azurecr.io/agent:${TAG}\n    env:")
    }
    (named,) = read_project(write(files, tmp_path / "named")).agents
    assert version_request(named, values).image == "desk.azurecr.io/agent:2"
    digest = "desk.azurecr.io/agent@sha256:" + "a" * 64
    assert version_request(named, values, image=digest).image == digest
