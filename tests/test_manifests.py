"""agent.manifest.yaml: what `azd ai agent init -m` starts from says what agent.yaml and azure.yaml say."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from repo_tools.manifest import FILE, render
from repo_tools.repository import ROOT, Agent, agents

AZURE = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
AGENTS = agents()


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_a_manifest_is_what_make_manifests_writes(agent: Agent) -> None:
    assert (agent.folder / FILE).read_text(encoding="utf-8") == render(agent, AZURE), "run `make manifests`"


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_a_manifest_asks_for_the_model_deployment_and_puts_its_name_into_the_variable(agent: Agent) -> None:
    manifest = yaml.safe_load((agent.folder / FILE).read_text(encoding="utf-8"))
    [deployment] = AZURE["services"]["ai-project"]["deployments"][:1]
    variables = {entry["name"]: entry["value"] for entry in manifest["template"]["environment_variables"]}
    [model] = manifest["resources"]
    assert model == {"kind": "model", "name": deployment["name"], "id": deployment["model"]["name"]}
    assert variables["AZURE_AI_MODEL_DEPLOYMENT_NAME"] == f"{{{{{model['name']}}}}}"
    assert variables.keys() == AZURE["services"][agent.name]["env"].keys()


def test_the_definition_is_in_the_snake_case_that_manifests_have(tmp_path: Path) -> None:
    definition: dict[str, Any] = {
        "kind": "hosted",
        "name": "one",
        "protocols": [{"protocol": "responses", "version": "2.0.0"}],
        "metadata": {"ownTeam": "desk"},
        "container": {"resources": {"cpu": "1", "memory": "2Gi"}},
        "sessionConfiguration": {"idleTimeoutSeconds": 600},
        "agentEndpoint": {"authorizationSchemes": [{"type": "Entra", "isolationKeySource": {"kind": "Entra"}}]},
        "startupCommand": "python -m one",
    }
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(definition))
    written = yaml.safe_load(
        render(Agent("one", tmp_path, 8088, ()), {"services": {"one": {"host": "azure.ai.agent"}}})
    )
    assert written["resources"] == []
    assert written["template"] == {
        "kind": "hosted",
        "name": "one",
        "metadata": {"ownTeam": "desk"},
        "protocols": definition["protocols"],
        "resources": {"cpu": "1", "memory": "2Gi"},
        "session_configuration": {"idle_timeout_seconds": 600},
        "agent_endpoint": {
            "authorization_schemes": [{"type": "Entra", "isolation_key_source": {"kind": "Entra"}}],
        },
    }


def test_a_key_that_a_manifest_has_no_place_for_is_not_dropped_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("kind: hosted\nname: one\nmemoryStores: []\n")
    with pytest.raises(ValueError, match="memoryStores"):
        render(Agent("one", tmp_path, 8088, ()), {"services": {"one": {"host": "azure.ai.agent"}}})
