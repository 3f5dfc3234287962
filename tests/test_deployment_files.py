"""azure.yaml and what it includes: one composition, one definition per agent, names that agree, and azd's own schemas.

The published schemas of azd are looked for in the folder that `AZD_SCHEMAS` names (`azure.yaml.json` and the folders of
the extensions, from Azure/azure-dev); without it that check is reported as skipped.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, validators
from referencing import Registry, Resource
from repo_tools.eject import eject
from repo_tools.repository import Agent, agents

ROOT = Path(__file__).parents[1]
AZURE = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
AGENTS = {name: service for name, service in AZURE["services"].items() if service["host"] == "azure.ai.agent"}
SOURCE = "https://raw.githubusercontent.com/Azure/azure-dev/main/"


def definition(agent: str) -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / AGENTS[agent]["$ref"]).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def resolved() -> dict[str, Any]:
    """azure.yaml as azd sees it: each included file below the keys that stand beside the `$ref`."""
    services = dict(AZURE["services"])
    for name, service in AGENTS.items():
        services[name] = definition(name) | {key: value for key, value in service.items() if key != "$ref"}
    return AZURE | {"services": services}


def test_every_agent_folder_is_a_service_of_the_same_name() -> None:
    assert set(AGENTS) == {path.parent.name for path in ROOT.glob("agents/*/agent.yaml")}
    assert all(definition(name)["name"] == name for name in AGENTS)
    assert all(service["project"] == f"./agents/{name}" for name, service in AGENTS.items())


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_an_agent_builds_from_the_root_with_its_own_dockerfile(agent: str) -> None:
    docker = AGENTS[agent]["docker"]
    folder = ROOT / AGENTS[agent]["project"]
    assert (folder / docker["path"]).is_file()
    assert (folder / docker["context"]).resolve() == ROOT


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_an_agent_speaks_protocol_2_and_what_its_image_installs(agent: str) -> None:
    protocols = {entry["protocol"]: entry["version"] for entry in definition(agent)["protocols"]}
    assert set(protocols.values()) == {"2.0.0"}
    lock = (ROOT / f"agents/{agent}/requirements.lock").read_text(encoding="utf-8")
    installed = {name for name in ("responses", "invocations") if f"\nazure-ai-agentserver-{name}==" in lock}
    # rag-chat's host library brings invocations along, unused.
    assert installed >= set(protocols)


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_an_agent_declares_no_variable_of_the_platform(agent: str) -> None:
    """FOUNDRY_*, AGENT_* and Application Insights are injected; a version that declares them is refused."""
    names = AGENTS[agent].get("env", {})
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names)
    assert [
        name for name in names if name.startswith(("FOUNDRY_", "AGENT_", "APPLICATIONINSIGHTS_")) or name == "PORT"
    ] == []


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_the_image_and_azd_start_the_agent_by_the_same_command(agent: str) -> None:
    dockerfile = (ROOT / f"agents/{agent}/Dockerfile").read_text(encoding="utf-8")
    command = json.loads(re.findall(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)[-1])
    assert " ".join(command) == definition(agent)["startupCommand"] == f"python -m {agent.replace('-', '_')}"


def test_the_dockerfiles_differ_in_nothing_but_the_name() -> None:
    shapes = {
        (ROOT / f"agents/{agent}/Dockerfile")
        .read_text(encoding="utf-8")
        .replace(agent, "A")
        .replace(agent.replace("-", "_"), "A")
        for agent in AGENTS
    }
    assert len(shapes) == 1


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_an_image_says_what_it_is_and_what_it_stands_on(agent: str) -> None:
    """Keys of the OCI image specification, annotations.md."""
    text = (ROOT / f"agents/{agent}/Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', text))
    assert len({*bases}) == 1, "the virtual environment of the first stage needs the same Python in the last"
    assert labels == {
        "title": agent,
        "version": "$VERSION",
        "revision": "$REVISION",
        "base.name": f"docker.io/library/{bases[0]}",
    }


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_an_image_has_no_pip_and_no_tests_of_the_packages_it_installs(agent: str) -> None:
    text = (ROOT / f"agents/{agent}/Dockerfile").read_text(encoding="utf-8")
    build = text.split("\nFROM ")[1]
    assert "/opt/agent/bin/pip uninstall -qy pip" in build
    assert "find /opt/agent/lib -type d -name tests -prune -exec rm -r {} +" in build


def test_the_build_context_is_an_allow_list_without_secrets_and_tests() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert [rule for rule in rules if rule.startswith("!")] == ["!agents", "!shared"]
    assert {"**/.env*", "**/.venv", "**/tests"} <= set(rules)


def test_the_model_deployment_that_the_agents_ask_for_is_the_one_that_is_made() -> None:
    made = {entry["name"] for entry in AZURE["services"]["ai-project"]["deployments"]}
    assert {service["env"]["AZURE_AI_MODEL_DEPLOYMENT_NAME"] for service in AGENTS.values()} == made


def test_no_service_uses_another_so_that_azd_deploys_one_by_one() -> None:
    """In parallel, azd loses variables such as AGENT_RAG_CHAT_NAME, and `azd ai agent invoke` then finds no agent."""
    assert [name for name, service in AZURE["services"].items() if "uses" in service] == []


@pytest.mark.skipif(os.name == "nt", reason="the posix hook")
def test_the_postdeploy_hook_starts_with_any_python_and_says_what_is_missing(tmp_path: Path) -> None:
    hook = AZURE["hooks"]["postdeploy"]
    assert "repo_tools.agent_roles" in hook["posix"]["run"]
    assert "repo_tools.agent_roles" in hook["windows"]["run"]
    assert not any("continueOnError" in hook[system] for system in ("posix", "windows")), "nothing is swallowed"
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys._base_executable)
    done = subprocess.run(
        ["/bin/sh", "-c", hook["posix"]["run"]],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "names no deployed agent" in done.stderr, "it runs without .venv and without any package"


def schema_registry(folder: Path) -> tuple[dict[str, Any], Registry[Any]]:
    root = json.loads((folder / "azure.yaml.json").read_text(encoding="utf-8"))
    resources = []
    for path in sorted(folder.rglob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        address = SOURCE + (
            "schemas/v1.0/azure.yaml.json"
            if path.parent == folder
            else f"cli/azd/extensions/{path.parent.name}/schemas/{path.name}"
        )
        resource = Resource.from_contents(schema)
        resources += [(identity, resource) for identity in {address, schema.get("$id", address)}]
    return root, Registry().with_resources(resources)


@pytest.mark.parametrize("name", ["azure.yaml", "azure.code.yaml"])
@pytest.mark.parametrize("agent", agents(), ids=lambda agent: agent.name)
def test_an_ejected_project_fits_the_published_schemas_of_azd(agent: Agent, name: str, tmp_path: Path) -> None:
    folder = os.environ.get("AZD_SCHEMAS")
    if not folder:
        pytest.skip("needs AZD_SCHEMAS: a folder with azd's published schemas")
    schema, registry = schema_registry(Path(folder))
    eject(agent, tmp_path / "ejected")
    document = yaml.safe_load((tmp_path / "ejected" / name).read_text(encoding="utf-8"))
    included = yaml.safe_load((tmp_path / "ejected" / "agent.yaml").read_text(encoding="utf-8"))
    service = document["services"][agent.name]
    whole = included | {key: value for key, value in service.items() if key != "$ref"}
    checker = validators.validator_for(schema, default=Draft7Validator)(schema, registry=registry)
    for form in (document, document | {"services": document["services"] | {agent.name: whole}}):
        assert [error.message for error in checker.iter_errors(form)] == []


@pytest.mark.parametrize("form", ["as written", "with its includes resolved"])
def test_azure_yaml_fits_the_published_schemas_of_azd(form: str) -> None:
    folder = os.environ.get("AZD_SCHEMAS")
    if not folder:
        pytest.skip("needs AZD_SCHEMAS: a folder with azd's published schemas")
    schema, registry = schema_registry(Path(folder))
    document = AZURE if form == "as written" else resolved()
    checker = validators.validator_for(schema, default=Draft7Validator)(schema, registry=registry)
    assert [error.message for error in checker.iter_errors(document)] == []
    broken = document | {
        "services": document["services"] | {"rag-chat": {"host": "azure.ai.agent", "docker": {"file": "x"}}}
    }
    assert list(checker.iter_errors(broken)), "the schemas accept anything; were they found?"
