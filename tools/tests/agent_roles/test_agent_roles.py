"""The hook against a small server that answers as Azure Resource Manager does, and checks what it is sent."""

import json
import os
import shlex
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from repo_tools.agent_roles.__main__ import run
from repo_tools.agent_roles.grant import Assignment, ResourceManager
from repo_tools.agent_roles.needs import KEY_VAULT_SECRETS_USER, MONITORING_METRICS_PUBLISHER

GROUP = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-test"
INSIGHTS = f"{GROUP}/providers/Microsoft.Insights/components/appi-test"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv-test"
RAG, WEBHOOK = (f"00000000-0000-4000-8000-00000000010{n}" for n in (1, 2))
DEPLOYED = {
    "AGENT_RAG_CHAT_NAME": "rag-chat",
    "AGENT_RAG_CHAT_INSTANCE_IDENTITY_PRINCIPAL_ID": RAG,
    "AGENT_WEBHOOK_EXTRACTOR_NAME": "webhook-extractor",
    "AGENT_WEBHOOK_EXTRACTOR_INSTANCE_IDENTITY_PRINCIPAL_ID": WEBHOOK,
}
CREATED = {"APPLICATIONINSIGHTS_RESOURCE_ID": INSIGHTS, "AZURE_KEY_VAULT_ID": VAULT, "AZURE_SEARCH_SERVICE_ID": ""}
EXPECTED = {
    (RAG, MONITORING_METRICS_PUBLISHER.id, INSIGHTS),
    (WEBHOOK, MONITORING_METRICS_PUBLISHER.id, INSIGHTS),
    (WEBHOOK, KEY_VAULT_SECRETS_USER.id, VAULT),
}


class StandIn:
    """Role assignments by scope and name; `answers` go before them, each once."""

    def __init__(self) -> None:
        self.assigned: dict[tuple[str, str], dict[str, str]] = {}
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.refuses: set[str] = set()
        self.writes = 0
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(*stand_in.listed(*self.asked()))

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(*stand_in.put(*self.asked(), body))

            def asked(self) -> tuple[str, str, dict[str, list[str]]]:
                assert self.headers["Authorization"] == "Bearer the-token"
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                assert query["api-version"] == ["2022-04-01"]
                scope, _, name = parts.path.partition("/providers/Microsoft.Authorization/roleAssignments")
                return scope, name.removeprefix("/"), query

            def answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def listed(self, scope: str, _: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        (asked,) = query["$filter"]
        found = [
            {"properties": each}
            for (at, _), each in self.assigned.items()
            if scope.startswith(at) and asked == f"atScope() and assignedTo('{each['principalId']}')"
        ]
        return 200, {"value": found}

    def put(self, scope: str, name: str, _: dict[str, list[str]], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.writes += 1
        if self.answers:
            return self.answers.pop(0)
        if scope in self.refuses:
            return 403, {"error": {"code": "AuthorizationFailed", "message": "no roleAssignments/write"}}
        asked = body["properties"]
        assert asked["principalType"] == "ServicePrincipal"
        if asked in [each for (at, _), each in self.assigned.items() if at == scope]:
            return 409, {"error": {"code": "RoleAssignmentExists", "message": "it exists"}}
        self.assigned[scope, name] = asked
        return 201, {"properties": asked}

    @property
    def granted(self) -> set[tuple[str, str, str]]:
        return {
            (each["principalId"], each["roleDefinitionId"].rpartition("/")[2], scope)
            for (scope, _), each in self.assigned.items()
        }


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, with an `azd` on PATH that has a token for it and nothing else."""
    azd = tmp_path / "azd"
    azd.write_text(
        '#!/bin/sh\ncase "$*" in *management.azure.com/.default*) echo \'{"token": "the-token"}\';; *) exit 1;; esac\n'
    )
    azd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    stand_in = StandIn()
    thread = threading.Thread(target=stand_in.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield stand_in
    stand_in.server.shutdown()
    thread.join()
    stand_in.server.server_close()


def hook(azure: StandIn, environment: dict[str, str] | None = None) -> int:
    return run(environment or DEPLOYED | CREATED, partial(ResourceManager, url=azure.url))


def test_each_agent_gets_what_it_needs_and_no_more(azure: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert hook(azure) == 0
    assert azure.granted == EXPECTED
    assert "webhook-extractor: Key Vault Secrets User on kv-test: granted" in capsys.readouterr().out


def test_a_second_run_writes_nothing(azure: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert (hook(azure), hook(azure)) == (0, 0)
    assert azure.writes == len(EXPECTED)
    assert capsys.readouterr().out.count("was there") == len(EXPECTED)


def test_a_role_that_an_administrator_granted_above_is_enough(azure: StandIn) -> None:
    azure.refuses = {INSIGHTS}
    for principal in (RAG, WEBHOOK):
        definition = f"/providers/Microsoft.Authorization/roleDefinitions/{MONITORING_METRICS_PUBLISHER.id.upper()}"
        azure.assigned[GROUP, principal] = {"principalId": principal, "roleDefinitionId": definition}
    assert hook(azure) == 0
    assert azure.writes == 1


def test_a_role_that_may_not_be_assigned_ends_with_the_command_for_an_administrator(
    azure: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.refuses = {VAULT}
    assert hook(azure) == 1
    assert azure.granted == {each for each in EXPECTED if each[2] != VAULT}, "the others are granted all the same"
    said = capsys.readouterr().err
    (command,) = [line for line in said.splitlines() if line.startswith("az ")]
    assert shlex.split(command) == [
        *"az role assignment create --assignee-object-id".split(),
        WEBHOOK,
        *"--assignee-principal-type ServicePrincipal --role".split(),
        KEY_VAULT_SECRETS_USER.id,
        "--scope",
        VAULT,
    ]
    assert "it cannot read the secrets of its sources without it" in said
    assert "the-token" not in said


@pytest.mark.parametrize(
    ("status", "code"), [(400, "PrincipalNotFound"), (429, "TooManyRequests"), (503, "ServerUnavailable")]
)
def test_what_passes_is_tried_again(azure: StandIn, status: int, code: str) -> None:
    azure.answers = [(status, {"error": {"code": code, "message": "later"}})] * 2
    assert hook(azure) == 0
    assert azure.granted == EXPECTED


def test_an_assignment_made_in_between_is_no_error(azure: StandIn) -> None:
    wanted = Assignment(RAG, MONITORING_METRICS_PUBLISHER.id, INSIGHTS)
    manager = ResourceManager("the-token", azure.url)
    manager.grant(wanted)
    manager.grant(wanted)
    assert manager.has(wanted)


def test_any_other_answer_is_told(azure: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    azure.answers = [(400, {"error": {"code": "RoleDefinitionDoesNotExist", "message": "no such role"}})]
    assert hook(azure) == 1
    assert "400 RoleDefinitionDoesNotExist: no such role" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"AGENT_RAG_CHAT_INSTANCE_IDENTITY_PRINCIPAL_ID": ""}, "rag-chat: azd has no identity of it"),
        ({"AGENT_RAG_CHAT_INSTANCE_IDENTITY_PRINCIPAL_ID": "me"}, "'me' is no object id"),
        ({"AZURE_KEY_VAULT_ID": "kv-test"}, "'kv-test' is no resource id"),
    ],
)
def test_an_environment_that_lost_a_value_is_told(
    azure: StandIn, capsys: pytest.CaptureFixture[str], change: dict[str, str], said: str
) -> None:
    assert hook(azure, DEPLOYED | CREATED | change) == 1
    assert said in capsys.readouterr().err


def test_without_a_deployed_agent_or_a_login_it_says_so(
    azure: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert hook(azure, CREATED) == 1
    (tmp_path / "azd").write_text("#!/bin/sh\necho 'not logged in' >&2\nexit 1\n")
    assert hook(azure) == 1
    said = capsys.readouterr().err
    assert "names no deployed agent" in said
    assert "azd: not logged in" in said


def test_nothing_created_needs_no_role(azure: StandIn) -> None:
    assert hook(azure, DEPLOYED) == 0
    assert azure.writes == 0


def test_the_token_goes_by_https_only() -> None:
    with pytest.raises(ValueError, match="https only"):
        ResourceManager("the-token", "http://management.azure.com")
