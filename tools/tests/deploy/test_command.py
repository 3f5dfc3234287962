"""The verb `deploy` and list, show, delete, by the SDK and by REST, against a local server."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from repo_tools.__main__ import main
from repo_tools.deploy import command
from repo_tools.repository import ROOT

from .conftest import Deploy
from .projects import one_agent, write
from .service import ENDPOINT, Answer, FoundryService, NoLogin, error

IMAGE = "desk.azurecr.io/rag-chat:1.4.0"
PRINCIPAL = "22222222-0000-0000-0000-000000000000"
VERSIONS = "/agents/rag-chat/versions"
both_ways = pytest.mark.parametrize("via", ["sdk", "rest"])


def version(status: str, number: str = "3", name: str = "rag-chat", **more: Any) -> dict[str, Any]:
    """AgentVersionDetails of azure-ai-projects 2.10; `error` as azd's AgentVersionObject has it."""
    definition = {
        "kind": "hosted",
        "cpu": "0.5",
        "memory": "1Gi",
        "container_configuration": {"image": IMAGE},
        "protocol_versions": [{"protocol": "responses", "version": "2.0.0"}],
        "environment_variables": {"LOG_LEVEL": "info", "TOKEN": "not-to-be-shown"},
    }
    return {
        "object": "agent.version",
        "id": f"{name}:{number}",
        "name": name,
        "version": number,
        "created_at": 1795000000,
        "metadata": {},
        "definition": definition,
        "status": status,
        "instance_identity": {"principal_id": PRINCIPAL, "client_id": PRINCIPAL},
        **more,
    }


def agent(name: str, status: str = "active", **more: Any) -> dict[str, Any]:
    return {
        "object": "agent",
        "id": name,
        "name": name,
        "state": "enabled",
        "configuration_state": "enabled",
        "versions": {"latest": version(status, name=name, **more)},
    }


def create(deploy: Deploy, via: str, *more: str) -> int:
    options = ["--image", IMAGE, "--interval", "0.01", "--timeout", "20", "--no-doctor"]
    return deploy("--via", via, *options, "rag-chat", *more)


@both_ways
def test_a_version_is_made_and_waited_for_until_it_is_active(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", VERSIONS, version("creating"))
    foundry.on("GET", f"{VERSIONS}/3", *[version(each) for each in ("creating", "active", "creating", "active")])
    assert create(deploy, via) == 0
    # One that was active wavered, so it counts only the second time in a row.
    asked = [(each.method, each.path) for each in foundry.asked]
    assert asked == [("POST", VERSIONS), *[("GET", f"{VERSIONS}/3")] * 5, ("GET", "/agents/rag-chat")]
    out = capsys.readouterr()
    assert f"deploy: {ENDPOINT} by {via}" in out.err
    lines = out.out.splitlines()
    assert lines[0] == f"rag-chat  version 3 is made of {IMAGE}"
    assert [line.partition(" (")[0] for line in lines[1:5]] == [
        f"rag-chat  version 3: {status}" for status in ("creating", "active", "creating", "active")
    ]
    assert lines[5] == f"rag-chat 3 is active; its identity is {PRINCIPAL}"
    assert "invoke rag-chat" in lines[6]
    assert set(foundry.login.scopes) == {"https://ai.azure.com/.default"}


@both_ways
@pytest.mark.parametrize(
    ("code", "message", "cause", "fix"),
    [
        ("ImageError", "registry authentication failed", "managed identity may not pull", "--cloud --rule cloud-registry-pull"),
        ("image_pull_failed", "manifest unknown: 1.4.0", "no such tag or digest", "az acr repository show-tags"),
        ("ImageError", "no such host desk.azurecr.io", "private registry cannot be resolved", "private endpoint and DNS"),
        ("ImageError", "exec format error", "not built for linux/amd64", "--rule image-architecture"),
        ("session_not_ready", "424", "did not answer GET /readiness", "azd ai agent monitor"),
        ("ProvisioningError", "internal", "the platform could not make", "request id"),
    ],
)  # fmt: skip
def test_a_version_that_fails_says_why_and_what_to_do(  # noqa: PLR0917 - a row of the table, and fixtures
    via: str,
    code: str,
    message: str,
    cause: str,
    fix: str,
    deploy: Deploy,
    foundry: FoundryService,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foundry.on("POST", VERSIONS, version("creating"))
    foundry.on("GET", f"{VERSIONS}/3", version("failed", error={"code": code, "message": message}))
    assert create(deploy, via) == 1
    said = capsys.readouterr().err
    assert f"deploy: rag-chat 3 failed: [{code}] {message}" in said
    assert cause in said.partition("likely cause: ")[2].partition("\n")[0]
    assert fix in said.partition("fix: ")[2]


@both_ways
@pytest.mark.parametrize(
    ("answer", "said", "advice"),
    [
        (error(401, "Unauthorized", "wrong audience"), "rag-chat: 401 [Unauthorized]", "in the tenant of the project"),
        (
            error(403, "PermissionDenied", "no data action", x_request_id="r-1"),
            "rag-chat: 403 [PermissionDenied] no data action (request id r-1)",
            "--role 53ca6127-db72-4b80-b1b0-d745d6d5456d",
        ),
        (
            error(403, "Forbidden", "Public access is disabled. Use the private endpoint."),
            "rag-chat: 403",
            "peered one",
        ),
        (error(404, "NotFound", "no project"), "rag-chat: 404", "the endpoint names no project"),
        (error(400, "UserError", "X is reserved for platform use"), "rag-chat: 400", "--rule env-reserved"),
        (error(400, "image_pull_failed", "no"), "rag-chat: 400", "--rule cloud-registry-pull"),
        (error(403, "UnauthorizedAcrPull", "no"), "rag-chat: 403", "--rule cloud-registry-pull"),
        (error(404, "AcrImageNotFound", "no"), "rag-chat: 404", "no such tag or digest"),
        (error(400, "unsupported_protocol_version", "1.0.0"), "rag-chat: 400", "--rule protocol-1-0"),
        (error(429, "QuotaExceeded", "50 of 50"), "rag-chat: 429 [QuotaExceeded]", "quota of concurrent sessions"),
        (error(409, "conflict", "busy"), "rag-chat: 409", "delete with --force"),
        (Answer(500, "<html>"), "rag-chat: 500 no reason given", ""),
    ],
    ids=lambda value: value.body["error"]["code"] if isinstance(value, Answer) and isinstance(value.body, dict) else "",
)
def test_a_refusal_names_what_is_missing(  # noqa: PLR0917 - a row of the table, and fixtures
    via: str,
    answer: Answer,
    said: str,
    advice: str,
    deploy: Deploy,
    foundry: FoundryService,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foundry.on("POST", VERSIONS, answer)
    assert create(deploy, via) == 1
    told = capsys.readouterr().err
    assert said in told
    assert advice in told
    assert len(foundry.asked) == 1, "a version must not be asked for twice"


@both_ways
def test_polling_outlives_what_passes_and_stops_at_what_stays(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", VERSIONS, version("creating"))
    passing = [error(404, "not_found", "not yet"), error(503, "busy", "later"), version("active")]
    foundry.on("GET", f"{VERSIONS}/3", *passing)
    assert create(deploy, via) == 0
    assert "not asked: 404 not_found" in capsys.readouterr().out
    foundry.on("GET", f"{VERSIONS}/3", error(403, "PermissionDenied", "taken away"))
    assert create(deploy, via) == 1
    assert "rag-chat 3, which was creating when last seen: 403 [PermissionDenied] taken away" in capsys.readouterr().err


@both_ways
def test_one_that_takes_too_long_is_not_called_failed(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", VERSIONS, version("creating"))
    foundry.on("GET", f"{VERSIONS}/3", version("creating"))
    assert create(deploy, via, "--timeout", "0.05") == 1
    said = capsys.readouterr().err
    assert "rag-chat 3 is still creating after 0.05 s; it may become active yet" in said
    assert "deploy show rag-chat" in said


@both_ways
def test_a_new_version_that_gets_no_request_is_told(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = [{"type": "FixedRatio", "agent_version": "2", "traffic_percentage": 100}]
    endpoint = {"agent_endpoint": {"version_selector": {"version_selection_rules": rules}}}
    foundry.on("POST", VERSIONS, version("creating"))
    foundry.on("GET", f"{VERSIONS}/3", version("active"))
    foundry.on("GET", "/agents/rag-chat", agent("rag-chat") | endpoint)
    foundry.on("GET", VERSIONS, {"object": "list", "data": [], "has_more": False})
    assert create(deploy, via) == 0
    assert "but requests go to version 2 (100 %)" in capsys.readouterr().out
    assert deploy("show", "rag-chat", "--via", via) == 0
    assert "traffic    2 (100 %)" in capsys.readouterr().out


def test_interrupted_it_says_that_they_go_on(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("repo_tools.deploy.waiting.time.sleep", interrupted)
    foundry.on("POST", VERSIONS, version("creating"))
    foundry.on("GET", f"{VERSIONS}/3", version("creating"))
    assert create(deploy, "rest") == 130
    assert "they go on being made" in capsys.readouterr().err


@both_ways
def test_several_are_made_and_the_others_go_on_where_one_is_refused(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", VERSIONS, error(429, "QuotaExceeded", "full"))
    other = "/agents/langgraph-planner/versions"
    foundry.on("POST", other, version("creating", "1", "langgraph-planner"))
    foundry.on("GET", f"{other}/1", version("active", "1", "langgraph-planner"))
    images = [f"--image={each}=desk.azurecr.io/{each}:1" for each in ("rag-chat", "langgraph-planner")]
    assert deploy("--via", via, *images, "--interval", "0.01", "rag-chat", "langgraph-planner") == 1
    out = capsys.readouterr()
    assert "rag-chat: 429 [QuotaExceeded] full" in out.err
    assert "langgraph-planner 1 is active" in out.out


def test_all_agents_are_deployed_from_the_images_of_the_azd_environment(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(path.parent.name for path in ROOT.glob("agents/*/agent.yaml"))
    for name in names:
        monkeypatch.setenv(
            f"SERVICE_{name.upper().replace('-', '_')}_IMAGE_NAME", f"desk.azurecr.io/{name}@sha256:{'a' * 64}"
        )
    assert deploy("--dry-run") == 0
    bodies = json.loads(capsys.readouterr().out)
    assert sorted(bodies) == names
    images = {name: body["definition"]["container_configuration"]["image"] for name, body in bodies.items()}
    assert images == {name: f"desk.azurecr.io/{name}@sha256:{'a' * 64}" for name in names}


def test_the_values_of_azds_environment_are_used(
    tmp_path: Path, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    env = f'FOUNDRY_PROJECT_ENDPOINT="{ENDPOINT}"\nSERVICE_DESK_IMAGE_NAME="{IMAGE}"\n'
    project = write(one_agent() | {".azure/staging/.env": env}, tmp_path)
    foundry.on("POST", "/agents/desk/versions", version("creating", name="desk"))
    arguments = ["--project", str(project), "--environment", "staging", "--no-doctor", "--no-wait"]
    assert command.main(arguments, credential=foundry.login, network=foundry.network) == 0
    (sent,) = foundry.sent("POST", "/agents/desk/versions")
    assert sent.body["definition"]["container_configuration"] == {"image": IMAGE}


def test_nothing_is_sent_while_the_doctor_finds_errors(
    tmp_path: Path, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    project = write(one_agent(), tmp_path)  # it has no Dockerfile
    assert deploy("--image", IMAGE, "--project", project) == 2
    said = capsys.readouterr().err
    assert "error [dockerfile-missing]" in said
    assert "--no-doctor deploys all the same" in said
    assert foundry.asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no agent is called nobody. There are: rag-chat, webhook-extractor"),
        (["--via", "rest", "list"], "`list` goes first"),
        (["rag-chat"], "no image is named for rag-chat"),
        (["--image", IMAGE], "say whose it is, --image <agent>="),
        (["--image", f"nobody={IMAGE}", "rag-chat"], "nobody is not deployed now"),
        (["--image", IMAGE, "--endpoint", "https://example.com/api/projects/x", "rag-chat"], "is not https://<account>"),
        (["delete", "rag-chat"], "this deletes rag-chat, all its versions and its identity; say --yes"),
        (["--project", "/nowhere/at/all"], "is not a folder"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_before_anything_is_sent(
    arguments: list[str], said: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(*arguments) == 2
    assert said in capsys.readouterr().err
    assert foundry.asked == []


def test_without_an_endpoint_it_says_where_it_comes_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["deploy", "list", "--project", str(tmp_path)]) == 2
    assert "FOUNDRY_PROJECT_ENDPOINT is not set: run `azd provision`" in capsys.readouterr().err


@both_ways
@pytest.mark.parametrize("verb", [["rag-chat", "--image", IMAGE], ["list"], ["show", "rag-chat"]])
def test_without_a_login_it_says_what_it_needs(
    via: str, verb: list[str], deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(*verb, "--via", via, login=NoLogin()) == 2
    assert (
        "deploy: it needs a login: run `azd auth login` or `az login` (Please run 'az login')"
        in capsys.readouterr().err
    )
    assert foundry.asked == []


def test_the_real_sign_in_without_azd_and_az_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["deploy", "list", "--endpoint", ENDPOINT]) == 2
    assert "it needs a login: run `azd auth login` or `az login`" in capsys.readouterr().err


@both_ways
def test_a_project_out_of_reach_is_said(via: str, capsys: pytest.CaptureFixture[str], foundry: FoundryService) -> None:
    network = type(foundry)(port=1).network
    arguments = ["list", "--via", via, "--endpoint", ENDPOINT]
    assert command.main(arguments, credential=foundry.login, network=network) == 1
    assert "likely cause: the project cannot be reached" in capsys.readouterr().err


@both_ways
def test_list_shows_every_page(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on(
        "GET",
        "/agents",
        {"object": "list", "data": [agent("rag-chat")], "first_id": "a", "last_id": "rag-chat", "has_more": True},
        {"object": "list", "data": [agent("ag-ui-streamer", "failed")], "has_more": False},
    )
    assert deploy("list", "--via", via) == 0
    assert [each.query for each in foundry.asked] == [
        {"api-version": "v1", "limit": "100"},
        {"api-version": "v1", "limit": "100", "after": "rag-chat"},
    ]
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["agent", "version", "status", "made", "protocols"]
    assert first.split() == ["rag-chat", "3", "active", "2026-11-18", "11:06", "responses", "2.0.0"]
    assert second.split()[:3] == ["ag-ui-streamer", "3", "failed"]


@both_ways
def test_show_tells_all_but_the_values_of_variables(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("GET", "/agents/rag-chat", agent("rag-chat"))
    foundry.on(
        "GET", VERSIONS, {"object": "list", "data": [version("active"), version("failed", "2")], "has_more": False}
    )
    assert deploy("show", "rag-chat", "--via", via) == 0
    said = capsys.readouterr().out
    for line in (
        "agent      rag-chat (enabled)",
        "version    3, active, 2026-11-18 11:06",
        f"image      {IMAGE}",
        "size       0.5 vCPU, 1Gi",
        "protocols  responses 2.0.0",
        "variables  LOG_LEVEL, TOKEN",
        f"identity   {PRINCIPAL} (object id, for roles)",
        "traffic    latest",
        "versions   3 active, 2 failed",
    ):
        assert line in said.splitlines()
    assert "not-to-be-shown" not in said
    assert deploy("show", "rag-chat", "--via", via, "--json") == 0
    assert json.loads(capsys.readouterr().out)["agent"]["name"] == "rag-chat"


@both_ways
def test_show_explains_a_failed_version(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = {"code": "ImageError", "message": "registry authentication failed"}
    foundry.on("GET", "/agents/rag-chat", agent("rag-chat", "failed", error=failure))
    foundry.on("GET", VERSIONS, {"object": "list", "data": [], "has_more": False})
    assert deploy("show", "rag-chat", "--via", via) == 1
    assert "likely cause: the project's managed identity may not pull the image" in capsys.readouterr().err


@both_ways
def test_show_of_an_agent_that_is_not_there(via: str, deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("show", "rag-chat", "--via", via) == 1
    said = capsys.readouterr().err
    assert "deploy: 404 [not_found]" in said
    assert "fix: deploy list shows them." in said


@both_ways
def test_delete_takes_an_agent_or_one_version(
    via: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"object": "agent.deleted", "name": "rag-chat", "deleted": True}
    foundry.on("DELETE", "/agents/rag-chat", gone)
    foundry.on("DELETE", f"{VERSIONS}/2", gone | {"object": "agent.version.deleted", "version": "2"})
    assert deploy("delete", "rag-chat", "--yes", "--via", via) == 0
    assert deploy("delete", "rag-chat", "--version", "2", "--force", "--yes", "--via", via) == 0
    assert [(each.path, each.query) for each in foundry.asked] == [
        ("/agents/rag-chat", {"api-version": "v1"}),
        (f"{VERSIONS}/2", {"api-version": "v1", "force": "true"}),
    ]
    assert "deleted version 2 of rag-chat" in capsys.readouterr().out


def test_help_says_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["list", "--help"], ["show", "--help"], ["delete", "--help"], ["invoke", "--help"]):
        with pytest.raises(SystemExit, match="0"):
            main(["deploy", *arguments])
    said = capsys.readouterr().out
    for part in (
        "FOUNDRY_PROJECT_ENDPOINT",
        "SERVICE_RAG_CHAT_IMAGE_NAME",
        "Foundry User",
        "--resume",
        "azd auth login",
    ):
        assert part in said


def test_every_command_of_the_page_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\.venv/bin/python -m repo_tools deploy ?(.*)$", page, re.MULTILINE)
    assert len(commands) == 12
    for line in commands:
        verb, *rest = shlex.split(line) or [""]
        known = verb in ("list", "show", "delete", "invoke")
        command._parser(verb if known else "").parse_intermixed_args(rest if known else shlex.split(line))


def test_the_page_shows_what_is_printed(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    failure = {"code": "ImageError", "message": "registry authentication failed"}
    foundry.on("POST", VERSIONS, version("creating"))
    foundry.on("GET", f"{VERSIONS}/3", version("failed", error=failure))
    assert create(deploy, "sdk") == 1
    said = capsys.readouterr().err
    assert said[said.index("deploy: rag-chat 3 failed") :] in page
    foundry.on("GET", f"{VERSIONS}/3", version("active"))
    assert create(deploy, "sdk") == 0
    for line in capsys.readouterr().out.splitlines():
        assert re.sub(r"\(\d+ s\)", "", line.replace("desk.azurecr.io", "example.azurecr.io")) in page
