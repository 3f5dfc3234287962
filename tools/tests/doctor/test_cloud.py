"""--cloud against a local server that stands for Azure: it checks every request (host, path, API version, token) and plays
back what the documentation shows. Nothing here was tried against Azure."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from azure.core.exceptions import ClientAuthenticationError
from repo_tools.__main__ import main
from repo_tools.doctor import cloud, command
from repo_tools.repository import ROOT

from .projects import one_agent, write

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
ACCOUNT = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/desk"
PROJECT = f"{ACCOUNT}/projects/desk"
REGISTRY = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/desk"
LOCATION = f"{SUBSCRIPTION}/providers/Microsoft.CognitiveServices/locations/swedencentral"
ROLES = "/providers/Microsoft.Authorization/roleAssignments"
FOUNDRY, ARM = "desk.services.ai.azure.com", "management.azure.com"
CALLER, IDENTITY = "11111111-0000-0000-0000-000000000000", "22222222-0000-0000-0000-000000000000"
FOUNDRY_USER, ACR_PULL = "53ca6127-db72-4b80-b1b0-d745d6d5456d", "7f951dda-4ed3-4680-a7ca-43fe172d538d"
VALUES = {
    "FOUNDRY_PROJECT_ENDPOINT": f"https://{FOUNDRY}/api/projects/desk",
    "AZURE_AI_PROJECT_ID": PROJECT,
    "AZURE_CONTAINER_REGISTRY_RESOURCE_ID": REGISTRY,
    "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION.rpartition("/")[2],
    "AZURE_LOCATION": "swedencentral",
}


def role(identity: str) -> dict[str, Any]:
    definition = f"{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{identity}"
    return {"value": [{"properties": {"roleDefinitionId": definition}}]}


def answers() -> dict[tuple[str, str, str], tuple[int, Any]]:
    """(host, path, API version) → status and body of a project where all is well."""
    latest = {
        "version": "3",
        "status": "active",
        "definition": {
            "protocol_versions": [{"protocol": "responses", "version": "2.0.0"}],
            "environment_variables": {"AZURE_AI_MODEL_DEPLOYMENT_NAME": "chat", "LOG_LEVEL": "info"},
        },
    }
    model = {"name": "gpt-5.4-mini", "version": "2026-03-17"}
    sku = {"name": "GlobalStandard", "usageName": "OpenAI.GlobalStandard.gpt-5.4-mini"}
    usage = {"name": {"value": "OpenAI.GlobalStandard.gpt-5.4-mini"}, "currentValue": 60.0, "limit": 100.0}
    return {
        (FOUNDRY, "/api/projects/desk/agents", "v1"): (200, {"data": []}),
        (FOUNDRY, "/api/projects/desk/agents/desk", "v1"): (200, {"name": "desk", "versions": {"latest": latest}}),
        (ARM, ACCOUNT, "2025-06-01"): (200, {"properties": {"publicNetworkAccess": "Enabled"}}),
        (ARM, PROJECT, "2025-06-01"): (200, {"identity": {"principalId": IDENTITY}}),
        (ARM, f"{PROJECT}{ROLES}", "2022-04-01"): (200, role(FOUNDRY_USER)),
        (ARM, REGISTRY, "2025-11-01"): (200, {"properties": {"roleAssignmentMode": "LegacyRegistryPermissions"}}),
        (ARM, f"{REGISTRY}{ROLES}", "2022-04-01"): (200, role(ACR_PULL)),
        (ARM, f"{ACCOUNT}/deployments", "2025-06-01"): (200, {"value": [{"name": "chat", "sku": {"capacity": 30}}]}),
        (ARM, f"{LOCATION}/models", "2025-06-01"): (200, {"value": [{"model": model | {"skus": [sku]}}]}),
        (ARM, f"{LOCATION}/usages", "2025-06-01"): (200, {"value": [usage]}),
    }


@dataclass
class Login:
    """Tokens that say for whom and for what they are."""

    scopes: list[str] = field(default_factory=list)

    def get_token(self, *scopes: str) -> Any:
        self.scopes += scopes
        claims = base64.urlsafe_b64encode(json.dumps({"oid": CALLER, "scope": scopes[0]}).encode()).decode().rstrip("=")
        return type("AccessToken", (), {"token": f"x.{claims}.x"})()


class NoLogin:
    def get_token(self, *scopes: str) -> Any:
        raise ClientAuthenticationError("Please run 'az login'\nand much more")


@dataclass
class StandIn:
    """The local server, and the way of its requests to it."""

    port: int
    known: dict[tuple[str, str, str], tuple[int, Any]]
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    login: Login = field(default_factory=Login)

    def transport(self) -> httpx2.BaseTransport:
        port = self.port

        class ToLoopback(httpx2.HTTPTransport):
            def handle_request(self, request: httpx2.Request) -> httpx2.Response:
                assert request.url.scheme == "https", "a token must not travel in clear text"
                request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=port)
                return super().handle_request(request)

        return ToLoopback()

    def check(self, handler: BaseHTTPRequestHandler) -> tuple[int, Any]:
        parts = urlsplit(handler.path)
        host, query = handler.headers["Host"], {name: value[0] for name, value in parse_qs(parts.query).items()}
        scope = "https://management.azure.com/.default" if host == ARM else "https://ai.azure.com/.default"
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != self.login.get_token(scope).token:
            self.wrong.append(f"the token for {host} is not for {scope}")
        if parts.path.endswith(ROLES):
            principal = CALLER if parts.path.startswith(PROJECT) else IDENTITY
            if query.get("$filter") != f"atScope() and assignedTo('{principal}')":
                self.wrong.append(f"$filter={query.get('$filter')}")
        key = (host, parts.path, query.get("api-version", ""))
        self.asked.append(parts.path)
        if key not in self.known:
            self.wrong.append(str(key))
        return self.known.get(key, (404, {"error": {"code": "NotFound"}}))


@pytest.fixture
def azure() -> Iterator[StandIn]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = stand_in.check(self)
            content = json.dumps(body).encode() if not isinstance(body, bytes) else body
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in = StandIn(server.server_port, answers())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    env = "".join(f'{name}="{value}"\n' for name, value in VALUES.items())
    files = {".azure/config.json": '{"version": 1, "defaultEnvironment": "dev"}', ".azure/dev/.env": env}
    return write(one_agent() | files, tmp_path / "project")


def doctor(folder: Path, azure: StandIn, *options: str, login: Any = None) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser, ROOT)
    chosen = parser.parse_args([str(folder), "--cloud", "--json", *options])
    return command.run(chosen, credential=login or azure.login, transport=azure.transport())


def test_all_is_asked_with_the_right_token_and_version_and_nothing_is_found(
    project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(project, azure) == 0
    report = json.loads(capsys.readouterr().out)
    assert azure.wrong == []
    assert set(azure.asked) == {path for _, path, _ in azure.known}
    assert (report["findings"], report["not_checked"], report["deployed"]) == ([], [], ["desk 3: active"])


def latest(azure: StandIn) -> dict[str, Any]:
    found: dict[str, Any] = azure.known[FOUNDRY, "/api/projects/desk/agents/desk", "v1"][1]["versions"]["latest"]
    return found


def refuse_endpoint(azure: StandIn) -> None:
    azure.known[FOUNDRY, "/api/projects/desk/agents", "v1"] = (403, {"error": {"code": "PermissionDenied"}})


def take_role_of_developer(azure: StandIn) -> None:
    azure.known[ARM, f"{PROJECT}{ROLES}", "2022-04-01"] = (200, role(ACR_PULL))


def take_role_of_project(azure: StandIn) -> None:
    azure.known[ARM, f"{REGISTRY}{ROLES}", "2022-04-01"] = (200, {"value": []})


def registry_by_repository(azure: StandIn) -> None:
    mode = {"roleAssignmentMode": "AbacRepositoryPermissions"}
    azure.known[ARM, REGISTRY, "2025-11-01"] = (200, {"properties": mode})


def registry_refuses_tokens(azure: StandIn) -> None:
    policies = {"azureADAuthenticationAsArmPolicy": {"status": "disabled"}}
    azure.known[ARM, REGISTRY, "2025-11-01"] = (200, {"properties": {"policies": policies}})


def no_identity(azure: StandIn) -> None:
    azure.known[ARM, PROJECT, "2025-06-01"] = (200, {})


def little_quota(azure: StandIn) -> None:
    azure.known[ARM, f"{LOCATION}/usages", "2025-06-01"][1]["value"][0]["currentValue"] = 81.0


def model_not_offered(azure: StandIn) -> None:
    azure.known[ARM, f"{LOCATION}/models", "2025-06-01"][1]["value"][0]["model"]["version"] = "2025-01-01"


def no_deployment(azure: StandIn) -> None:
    azure.known[ARM, f"{ACCOUNT}/deployments", "2025-06-01"] = (200, {"value": [{"name": "gpt"}]})
    azure.known[ARM, f"{LOCATION}/usages", "2025-06-01"][1]["value"][0]["currentValue"] = 30.0


def version_failed(azure: StandIn) -> None:
    latest(azure).update(status="failed", error={"code": "image_pull_failed", "message": "manifest unknown"})


def agent_disabled(azure: StandIn) -> None:
    desk = azure.known[FOUNDRY, "/api/projects/desk/agents/desk", "v1"][1]
    desk.update(state="disabled", configuration_state="enabled", state_source="agent_blueprint")


def traffic_elsewhere(azure: StandIn) -> None:
    rules = [{"type": "FixedRatio", "agent_version": "2", "traffic_percentage": 100}]
    desk = azure.known[FOUNDRY, "/api/projects/desk/agents/desk", "v1"][1]
    desk["agent_endpoint"] = {"version_selector": {"version_selection_rules": rules}}


def private_project(azure: StandIn) -> None:
    azure.known[ARM, ACCOUNT, "2025-06-01"] = (200, {"properties": {"publicNetworkAccess": "Disabled"}})


def version_of_the_preview(azure: StandIn) -> None:
    latest(azure)["definition"]["protocol_versions"][0]["version"] = "1.0.0"


def variable_lost(azure: StandIn) -> None:
    del latest(azure)["definition"]["environment_variables"]["LOG_LEVEL"]


FAULTS: list[tuple[Callable[[StandIn], None], str, int, str]] = [
    (refuse_endpoint, "cloud-endpoint", 9, "answered with 403 (PermissionDenied)"),
    (take_role_of_developer, "cloud-developer-role", 9, f"{CALLER} has none of Foundry User"),
    (take_role_of_project, "cloud-registry-pull", 9, f"{IDENTITY} may not pull from desk"),
    (registry_by_repository, "cloud-registry-pull", 9, f"{IDENTITY} may not pull from desk"),
    (registry_refuses_tokens, "cloud-registry-pull", 9, "refuses tokens"),
    (no_identity, "cloud-registry-pull", 9, "no managed identity"),
    (little_quota, "cloud-model-quota", 15, "asks for 50, 30 are there and 19 are left"),
    (model_not_offered, "cloud-model-quota", 13, "is not offered in swedencentral"),
    (no_deployment, "cloud-model-deployment", 25, "desk asks for chat; there are: gpt"),
    (version_failed, "cloud-agent-status", 16, "version 3 of desk is failed (image_pull_failed: manifest unknown)"),
    (agent_disabled, "cloud-agent-disabled", 16, "desk is disabled by its blueprint"),
    (traffic_elsewhere, "cloud-agent-traffic", 16, "version 3 of desk gets no request; they go to 2 (100 %)"),
    (private_project, "cloud-public-access", 9, "public access to desk is disabled"),
    (version_of_the_preview, "cloud-agent-protocol", 16, "deployed with responses 1.0.0"),
    (variable_lost, "cloud-agent-env", 26, "LOG_LEVEL of desk did not arrive"),
]


def test_every_check_of_the_cloud_has_an_answer_that_it_finds_fault_with() -> None:
    assert {rule for _, rule, *_ in FAULTS} == set(cloud.CHECKS)


@pytest.mark.parametrize(
    ("change", "rule", "line", "said"), FAULTS, ids=lambda value: value.__name__ if callable(value) else ""
)
def test_what_azure_says_is_a_finding_with_its_line(  # noqa: PLR0917 - a row of the table, and fixtures
    change: Any, rule: str, line: int, said: str, project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    change(azure)
    code = doctor(project, azure, "--strict")
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (code, finding["rule"], finding["file"], finding["line"]) == (1, rule, "azure.yaml", line)
    assert finding["why"].strip()
    assert finding["fix"].strip()
    assert said in finding["message"]
    assert azure.wrong == []


def test_a_missing_role_is_answered_with_the_command_for_an_administrator(
    project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    take_role_of_project(azure)
    doctor(project, azure)
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["fix"] == (
        f"az role assignment create --assignee-object-id {IDENTITY} --assignee-principal-type ServicePrincipal "
        f"--role {ACR_PULL} --scope {REGISTRY}"
    )


def test_a_failed_version_is_told_with_its_likely_cause(
    project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    version_failed(azure)
    doctor(project, azure)
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["fix"].startswith("Likely cause: the registry has no such tag or digest. Push the image")


@pytest.mark.parametrize("shares", [{"3": 10, "2": 90}, {"latest": 100}, {}])
def test_a_version_that_gets_some_traffic_is_no_fault(
    shares: dict[str, int], project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    traffic_elsewhere(azure)
    rules = [{"type": "FixedRatio", "agent_version": each, "traffic_percentage": shares[each]} for each in shares]
    desk = azure.known[FOUNDRY, "/api/projects/desk/agents/desk", "v1"][1]
    desk["agent_endpoint"]["version_selector"]["version_selection_rules"] = rules
    assert doctor(project, azure, "--strict") == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


def test_a_list_is_read_to_its_last_page(project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    page = azure.known[ARM, f"{LOCATION}/models", "2025-06-01"][1]
    more = f"https://{ARM}{LOCATION}/models/more?api-version=2025-06-01"
    azure.known[ARM, f"{LOCATION}/models/more", "2025-06-01"] = (200, page)
    azure.known[ARM, f"{LOCATION}/models", "2025-06-01"] = (200, {"value": [], "nextLink": more})
    assert doctor(project, azure) == 0
    assert json.loads(capsys.readouterr().out)["not_checked"] == []
    assert azure.wrong == []


def test_no_token_follows_a_page_to_another_host(
    project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    following = {"value": [], "nextLink": "https://management.azure.com.example.com/models"}
    azure.known[ARM, f"{LOCATION}/models", "2025-06-01"] = (200, following)
    assert doctor(project, azure) == 0
    assert "is not at https://management.azure.com" in json.loads(capsys.readouterr().out)["not_checked"][0]
    assert azure.wrong == []


def test_an_agent_that_was_never_deployed_is_no_fault(
    project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.known[FOUNDRY, "/api/projects/desk/agents/desk", "v1"] = (404, {"error": {"code": "not_found"}})
    assert doctor(project, azure) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["deployed"], report["not_checked"]) == ([], [])


@pytest.mark.parametrize(
    "answer", [(500, b"<html>"), (200, {"value": [7]}), (403, {"error": {"code": "AuthorizationFailed"}})]
)
def test_what_cannot_be_checked_is_said_and_not_passed(
    answer: tuple[int, Any], project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.known[ARM, f"{LOCATION}/usages", "2025-06-01"] = answer
    assert doctor(project, azure) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == []
    assert len(report["not_checked"]) == 1
    assert report["not_checked"][0].startswith("cloud-model-quota: ")


def test_a_value_that_is_missing_is_named(project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    env = project / ".azure/dev/.env"
    env.write_text(env.read_text().replace("AZURE_LOCATION", "SOMETHING"))
    assert doctor(project, azure, "--rule", "cloud-model-quota", "--rule", "cloud-endpoint") == 0
    assert json.loads(capsys.readouterr().out)["not_checked"] == ["cloud-model-quota: AZURE_LOCATION is not set"]


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://desk.services.ai.azure.com/api/projects/desk",
        "https://services.ai.azure.com.example.com/api/projects/desk",
        "https://desk.services.ai.azure.com:8443/api/projects/desk",
        "https://desk.services.ai.azure.com@example.com/",
        "https://example.com/.services.ai.azure.com",
        "https://desk.services.ai.azure.com:port/",
    ],
)
def test_no_token_goes_to_a_host_that_is_not_azures(
    endpoint: str, project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".azure/dev/.env").write_text(f'FOUNDRY_PROJECT_ENDPOINT="{endpoint}"\n')
    assert doctor(project, azure) == 2
    assert azure.asked == []
    assert azure.login.scopes == []
    assert "FOUNDRY_PROJECT_ENDPOINT is not https://<account>.services.ai.azure.com" in capsys.readouterr().out


@pytest.mark.parametrize("only", [[], *(["--rule", name] for name in cloud.CHECKS)], ids=lambda only: "".join(only[1:]))
def test_without_a_login_it_says_what_it_needs(
    only: list[str], project: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(project, azure, *only, login=NoLogin()) == 2
    said = capsys.readouterr().err
    assert said.startswith("doctor: --cloud needs a login: run `azd auth login` or `az login`")
    assert said.count("\n") == 1


def test_the_real_sign_in_without_azd_and_az_says_what_it_needs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor", str(project), "--cloud"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("doctor: --cloud needs a login: run `azd auth login` or `az login`")
    assert said.count("\n") == 1


def test_without_an_azd_environment_it_says_what_it_needs(
    tmp_path: Path, azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(write(one_agent(), tmp_path), azure) == 2
    assert "azd env new" in capsys.readouterr().err


def test_azure_out_of_reach_is_not_a_clean_bill(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = StandIn(port=1, known={})
    assert doctor(project, nobody) == 2
    out = capsys.readouterr()
    assert len(json.loads(out.out)["not_checked"]) == len(cloud.CHECKS)
    assert "Azure was not reached" in out.err


def test_a_check_of_the_cloud_wants_cloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--rule", "cloud-endpoint"]) == 2
    assert "want --cloud" in capsys.readouterr().err
