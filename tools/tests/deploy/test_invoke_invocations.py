"""`deploy invoke` over Invocations, against a local server."""

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Deploy
from .service import Answer, FoundryService, NoLogin, error

INVOCATIONS = "/agents/webhook-extractor/endpoint/protocols/invocations"
ACCEPTED = Answer(202, {"status": "running"}, {"x-agent-invocation-id": "inv-1", "x-agent-session-id": "session-1"})


def ask(deploy: Deploy, *more: str) -> int:
    return deploy("invoke", "webhook-extractor", "--interval", "0.01", *more)


def test_a_body_goes_as_what_it_is_and_the_answer_is_shown(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(200, {"result": "gültig"}, {"x-agent-session-id": "session-1", "x-agent-invocation-id": "inv-1"})
    foundry.on("POST", INVOCATIONS, answer, Answer(200, "plain", {"Content-Type": "text/plain"}))
    assert ask(deploy, '{"a": 1}', "--session", "session-1") == 0
    assert ask(deploy, "Hello!") == 0
    first, second = foundry.asked
    assert (first.content, first.headers["content-type"]) == (b'{"a": 1}', "application/json")
    assert first.query == {"api-version": "v1", "agent_session_id": "session-1"}
    assert (second.content, second.headers["content-type"]) == (b"Hello!", "text/plain")
    assert second.query == {"api-version": "v1"}
    out = capsys.readouterr()
    assert out.out == '{\n  "result": "gültig"\n}\nplain\n'
    assert "deploy: invocation inv-1, session session-1" in out.err


def test_the_bytes_of_a_file_are_sent_unchanged(deploy: Deploy, foundry: FoundryService, tmp_path: Path) -> None:
    file = tmp_path / "delivery"
    file.write_bytes(b'{"signed": "\xc3\xa4"}\r\n')
    foundry.on("POST", INVOCATIONS, {})
    assert ask(deploy, "--file", str(file)) == 0
    assert foundry.asked[0].content == file.read_bytes()


def test_events_are_shown_line_by_line_as_they_come(
    deploy: Deploy, foundry: FoundryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr("repo_tools.deploy.command._write", written.append)
    pieces = ['data: {"type":"RUN_STARTED"}\n\n', ": keep-alive\n\n", 'event: x\ndata: {"type":', '"RUN_FINISHED"}\n\n']
    foundry.on("POST", INVOCATIONS, Answer(200, [*pieces, "data: [DONE]\n\n"], {"Content-Type": "text/event-stream"}))
    assert ask(deploy, "hello") == 0
    assert written == ['{"type":"RUN_STARTED"}\n', '{"type":"RUN_FINISHED"}\n']


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"type": "RUN_ERROR", "message": "the model is away"}, "the model is away"),
        ({"error": {"code": "model_error", "message": "the model is away"}}, "the model is away (model_error)"),
    ],
)
def test_an_error_inside_of_the_events_fails(
    data: dict[str, Any], said: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Answer(200, [f"data: {json.dumps(data)}\n\n"], {"Content-Type": "text/event-stream"})
    foundry.on("POST", INVOCATIONS, stream)
    assert ask(deploy, "hello") == 1
    assert f"the agent says: {said}" in capsys.readouterr().err


def test_a_broken_stream_is_said(deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]) -> None:
    foundry.on("POST", INVOCATIONS, Answer(200, ["data: {}\n\n"], {"Content-Type": "text/event-stream"}, broken=True))
    assert ask(deploy, "hello") == 1
    assert "RemoteProtocolError" in capsys.readouterr().err


def test_what_is_accepted_is_polled_in_its_session_until_it_has_ended(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", INVOCATIONS, ACCEPTED)
    foundry.on(
        "GET",
        f"{INVOCATIONS}/inv-1",
        error(404, "not_found", "not yet"),
        {"status": "running"},
        error(502, "bad_gateway", "away"),
        {"status": "completed", "result": 1},
    )
    assert ask(deploy, "hello") == 0
    polls = foundry.sent("GET", f"{INVOCATIONS}/inv-1")
    assert len(polls) == 4
    assert all(each.query == {"api-version": "v1", "agent_session_id": "session-1"} for each in polls)
    out = capsys.readouterr()
    assert json.loads(out.out) == {"status": "completed", "result": 1}
    assert "inv-1 is running" in out.err


def test_the_server_says_how_long_to_wait(
    deploy: Deploy, foundry: FoundryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("repo_tools.deploy.invocations.time.sleep", waited.append)
    foundry.on("POST", INVOCATIONS, Answer(202, {"invocation_id": "inv-1"}, {"Retry-After": "5"}))
    later = [Answer(200, {"status": "running"}, {"Retry-After": each}) for each in ("7", "600", "soon")]
    foundry.on("GET", f"{INVOCATIONS}/inv-1", *later, {"status": "completed"})
    assert ask(deploy, "hello") == 0
    assert waited == [5.0, 7.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"status": "failed", "error": {"code": "no_order", "message": "there is none"}}, "there is none (no_order)"),
        ({"status": "failed"}, "the invocation was failed"),
        ({"status": "cancelled"}, "the invocation was cancelled"),
    ],
)
def test_an_invocation_that_did_not_complete_fails(
    end: dict[str, Any], said: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", INVOCATIONS, ACCEPTED)
    foundry.on("GET", f"{INVOCATIONS}/inv-1", end)
    assert ask(deploy, "hello") == 1
    assert f"the agent says: {said}" in capsys.readouterr().err


def test_one_that_takes_too_long_can_be_waited_for_later(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", INVOCATIONS, ACCEPTED)
    foundry.on("GET", f"{INVOCATIONS}/inv-1", {"status": "running"})
    assert ask(deploy, "hello", "--timeout", "0.05") == 1
    later = "--resume inv-1 --session session-1"
    assert f"wait on with: deploy invoke webhook-extractor {later}" in capsys.readouterr().err
    foundry.on("GET", f"{INVOCATIONS}/inv-1", {"status": "completed"})
    assert ask(deploy, *later.split()) == 0
    assert len(foundry.sent("POST", INVOCATIONS)) == 1, "what was sent is not sent again"
    assert foundry.asked[-1].query == {"api-version": "v1", "agent_session_id": "session-1"}


def test_interrupted_it_says_how_to_wait_on(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    foundry.on("POST", INVOCATIONS, ACCEPTED)
    foundry.on("GET", f"{INVOCATIONS}/inv-1", {"status": "completed"})
    monkeypatch.setattr("repo_tools.deploy.invocations._show", interrupted)
    assert ask(deploy, "hello") == 130
    assert "wait for it with: deploy invoke webhook-extractor --resume inv-1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "said", "advice"),
    [
        (error(424, "session_not_ready", "not ready"), "424 [session_not_ready]", "Wait half a minute"),
        (error(403, "PermissionDenied", "no"), "403", "--role eed3b665-ab3a-47b6-8f48-c9382fb1dad6"),
        (
            error(429, "rate", "full", x_adc_response_details="RegionalQuotaExceeded"),
            "429 [RegionalQuotaExceeded]",
            "another region",
        ),
        (error(403, "session_not_accessible", "not yours"), "403 [session_not_accessible]", "belongs to another user"),
        (Answer(202, {}), "neither x-agent-invocation-id nor the body names", ""),
        (
            Answer(200, {"error": {"message": "no order", "code": "no_order"}}),
            "the agent says: no order (no_order)",
            "",
        ),
    ],
    ids=["424", "403", "429", "session", "202", "200"],
)
def test_a_refusal_names_its_cause(  # noqa: PLR0917 - a row of the table, and fixtures
    answer: Answer,
    said: str,
    advice: str,
    deploy: Deploy,
    foundry: FoundryService,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foundry.on("POST", INVOCATIONS, answer)
    assert ask(deploy, "hello") == 1
    told = capsys.readouterr().err
    assert said in told
    assert advice in told
    assert len(foundry.asked) == 1


def test_without_a_login_nothing_is_sent(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy("invoke", "webhook-extractor", "hello", login=NoLogin()) == 2
    assert "it needs a login" in capsys.readouterr().err
    assert foundry.asked == []


def test_options_of_responses_are_refused(deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(deploy, "hello", "--background") == 2
    assert "--background is for Responses" in capsys.readouterr().err
