"""`deploy invoke` over Responses: the `openai` client that azure-ai-projects makes, against a local server."""

from typing import Any

import pytest

from .conftest import Deploy
from .service import Answer, FoundryService, NoLogin, error, events

OPENAI = "/agents/rag-chat/endpoint/protocols/openai"
RESPONSES = f"{OPENAI}/responses"
TEXT = "Within 30 days of delivery."


def response(status: str = "completed", text: str = TEXT, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    return {
        "id": "caresp_1",
        "object": "response",
        "created_at": 1795000000,
        "status": status,
        "output": [message] if text else [],
        "agent_session_id": "session-1",
        **more,
    }


def stream(first: int = 0) -> list[dict[str, Any]]:
    """The events of a whole answer, from number `first` on."""
    deltas = [TEXT[:10], TEXT[10:20], TEXT[20:]]
    payloads = [
        {"type": "response.created", "response": response("in_progress", "")},
        *(
            {
                "type": "response.output_text.delta",
                "item_id": "msg_1",
                "output_index": 0,
                "content_index": 0,
                "delta": each,
            }
            for each in deltas
        ),
        {"type": "response.completed", "response": response()},
    ]
    return [each | {"sequence_number": number} for number, each in enumerate(payloads)][first:]


def ask(deploy: Deploy, *more: str) -> int:
    return deploy("invoke", "rag-chat", "How long can boots be returned?", "--interval", "0.01", *more)


def test_an_answer_is_streamed_from_the_agents_own_endpoint(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", RESPONSES, events(*stream()))
    assert ask(deploy) == 0
    (sent,) = foundry.asked
    assert sent.body == {"input": "How long can boots be returned?", "background": False, "stream": True}
    out = capsys.readouterr()
    assert out.out == TEXT + "\n"
    assert "deploy: caresp_1 is completed, session session-1" in out.err


def test_text_is_shown_as_it_comes(deploy: Deploy, foundry: FoundryService, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("repo_tools.deploy.command._write", written.append)
    foundry.on("POST", RESPONSES, events(*stream()))
    assert ask(deploy) == 0
    assert [each for each in written if each] == [TEXT[:10], TEXT[10:20], TEXT[20:], "\n"]


def test_what_goes_on_is_named_in_the_request(deploy: Deploy, foundry: FoundryService) -> None:
    foundry.on("POST", RESPONSES, response())
    assert ask(deploy, "--no-stream", "--previous", "caresp_0", "--session", "session-1") == 0
    foundry.on(
        "POST", f"{OPENAI}/conversations", {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
    )
    assert ask(deploy, "--no-stream", "--conversation", "new") == 0
    assert ask(deploy, "--no-stream", "--conversation", "conv_0") == 0
    first, second, third = (each.body for each in foundry.sent("POST", RESPONSES))
    assert first["previous_response_id"] == "caresp_0"
    assert first["agent_session_id"] == "session-1"
    assert second["conversation"] == "conv_1"
    assert third["conversation"] == "conv_0"


def test_a_background_stream_that_breaks_is_taken_up_after_the_last_event(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", RESPONSES, events(*stream()[:2], broken=True))
    # The second connection breaks without a new event; the third ends in time but not with the response.
    foundry.on("GET", f"{RESPONSES}/caresp_1", events(broken=True), events(*stream()[2:3]), events(*stream(3)))
    assert ask(deploy, "--background") == 0
    assert foundry.asked[0].body["background"] is True
    resumed = foundry.sent("GET", f"{RESPONSES}/caresp_1")
    assert [(each.query["stream"], each.query["starting_after"]) for each in resumed] == [
        ("true", "1"),
        ("true", "1"),
        ("true", "2"),
    ]
    out = capsys.readouterr()
    assert out.out == TEXT + "\n", "each piece is shown once"
    assert "taking it up after event 1" in out.err


def test_where_the_stream_cannot_be_taken_up_the_end_is_polled_for(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", RESPONSES, events(*stream()[:2], broken=True))
    foundry.on(
        "GET",
        f"{RESPONSES}/caresp_1",
        error(400, "invalid_request", "not streamed"),
        response("in_progress", ""),
        response("in_progress", ""),
        response(),
    )
    assert ask(deploy, "--background") == 0
    assert [each.query.get("stream") for each in foundry.asked] == [None, "true", None, None, None]
    out = capsys.readouterr()
    assert out.out == TEXT + "\n", "what the stream had not shown is added"
    assert "its end is waited for" in out.err


def test_an_agent_that_began_anew_is_shown_whole_at_the_end(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    anew = [
        {"type": "response.in_progress", "sequence_number": 4, "response": response("in_progress", "")},
        {"type": "response.completed", "sequence_number": 5, "response": response(text="At once.")},
    ]
    foundry.on("POST", RESPONSES, events(*stream()[:3], broken=True))
    foundry.on("GET", f"{RESPONSES}/caresp_1", events(*anew))
    assert ask(deploy, "--background") == 0
    assert capsys.readouterr().out == f"{TEXT[:20]}\n\nAt once.\n"


def test_without_a_stream_a_background_response_is_polled(deploy: Deploy, foundry: FoundryService) -> None:
    foundry.on("POST", RESPONSES, response("queued", ""))
    foundry.on("GET", f"{RESPONSES}/caresp_1", response("in_progress", ""), response())
    assert ask(deploy, "--background", "--no-stream") == 0
    assert foundry.asked[0].body == {
        "input": "How long can boots be returned?", "background": True, "stream": False,
    }  # fmt: skip
    assert len(foundry.sent("GET", f"{RESPONSES}/caresp_1")) == 2


def test_a_foreground_stream_that_breaks_is_not_asked_again(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", RESPONSES, events(*stream()[:2], broken=True))
    assert ask(deploy) == 1
    assert len(foundry.asked) == 1
    assert "with --background it could be taken up again" in capsys.readouterr().err


def test_interrupted_it_says_how_to_go_on_and_goes_on(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    foundry.on("POST", RESPONSES, events(*stream()))
    with monkeypatch.context() as patched:
        patched.setattr("repo_tools.deploy.command._write", interrupted)
        assert ask(deploy, "--background") == 130
    assert "follow it with: deploy invoke rag-chat --resume caresp_1 --after 1" in capsys.readouterr().err
    foundry.on("GET", f"{RESPONSES}/caresp_1", events(*stream(2)))
    assert deploy("invoke", "rag-chat", "--resume", "caresp_1", "--after", "1") == 0
    (resumed,) = foundry.sent("GET", f"{RESPONSES}/caresp_1")
    assert (resumed.query["stream"], resumed.query["starting_after"]) == ("true", "1")
    # The second connection knows what it has shown itself, so the text is whole again.
    assert capsys.readouterr().out.endswith(TEXT + "\n")


def test_one_that_takes_too_long_says_how_to_go_on(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    foundry.on("POST", RESPONSES, response("queued", ""))
    foundry.on("GET", f"{RESPONSES}/caresp_1", response("in_progress", ""))
    assert ask(deploy, "--background", "--no-stream", "--timeout", "0.05") == 1
    said = capsys.readouterr().err
    assert "no end after 0.05 seconds; follow it with: deploy invoke rag-chat --resume caresp_1" in said
    assert "likely cause" not in said


def test_an_approval_is_asked_for_and_answered(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "type": "mcp_approval_request",
        "id": "apr_1",
        "name": "issue_refund",
        "server_label": "desk",
        "arguments": '{"amount":"117.50"}',
    }
    foundry.on("POST", RESPONSES, response(text="", output=[asked]), response(text="Done."))
    assert ask(deploy, "--no-stream") == 0
    said = capsys.readouterr().err
    assert 'it asks for your approval: issue_refund {"amount": "117.50"}' in said
    assert "--previous caresp_1 --approve apr_1" in said
    assert deploy("invoke", "rag-chat", "--previous", "caresp_1", "--approve", "apr_1", "--no-stream") == 0
    assert deploy("invoke", "rag-chat", "too much", "--previous", "caresp_1", "--reject", "apr_1", "--no-stream") == 0
    _, approved, rejected = (each.body for each in foundry.asked)
    answer = {"type": "mcp_approval_response", "approval_request_id": "apr_1"}
    assert approved["input"] == [answer | {"approve": True}]
    assert rejected["input"] == [answer | {"approve": False, "reason": "too much"}]
    assert approved["previous_response_id"] == "caresp_1"


def test_a_file_is_a_text_or_a_list_of_items(deploy: Deploy, foundry: FoundryService, tmp_path: Any) -> None:
    foundry.on("POST", RESPONSES, response())
    file = tmp_path / "question"
    for content in ("Plain text.", '{"not": "a list"}', '[{"role": "user", "content": "Hello"}]'):
        file.write_text(content)
        assert deploy("invoke", "rag-chat", "--file", file, "--no-stream") == 0
    assert [each.body["input"] for each in foundry.asked] == [
        "Plain text.",
        '{"not": "a list"}',
        [{"role": "user", "content": "Hello"}],
    ]


@pytest.mark.parametrize(
    ("final", "said"),
    [
        (
            response("failed", "", error={"code": "server_error", "message": "the model is away"}),
            "the response is failed: the model is away (server_error)",
        ),
        (
            response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "the response is incomplete: max_output_tokens",
        ),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_response_that_did_not_complete_fails(  # noqa: PLR0917 - a row of the table, and fixtures
    final: dict[str, Any],
    said: str,
    streamed: bool,
    deploy: Deploy,
    foundry: FoundryService,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """azd of this generation ends with 0 and without a word (azd 1.31.2 with azure.ai.agents 1.0.0-beta.11)."""
    end = {"type": f"response.{final['status']}", "sequence_number": 1, "response": final}
    foundry.on("POST", RESPONSES, events(stream()[0], end) if streamed else final)
    assert ask(deploy, *([] if streamed else ["--no-stream"])) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "said", "advice"),
    [
        (error(424, "session_not_ready", "not ready"), "424 [session_not_ready]", "Wait half a minute and try again"),
        (
            error(502, "upstream", "no answer", x_adc_response_details="ReadinessTimeout"),
            "502 [ReadinessTimeout] no answer",
            "did not answer GET /readiness",
        ),
        (
            error(429, "rate", "full", x_adc_response_details="QuotaExceeded"),
            "429 [QuotaExceeded] full",
            "quota of concurrent sessions",
        ),
        (error(504, "timeout", "late", x_adc_response_details="ProxyTimeout"), "504 [ProxyTimeout]", "--background"),
        (error(409, "conversation_locked", "busy"), "409 [conversation_locked]", "still running"),
        (error(403, "PermissionDenied", "no"), "403", "--role eed3b665-ab3a-47b6-8f48-c9382fb1dad6"),
        (error(404, "not_found", "no agent"), "404", "deploy list shows them"),
        (Answer(502, "<html>"), "502", ""),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_refusal_names_its_cause(  # noqa: PLR0917 - a row of the table, and fixtures
    answer: Answer,
    said: str,
    advice: str,
    streamed: bool,
    deploy: Deploy,
    foundry: FoundryService,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foundry.on("POST", RESPONSES, answer)
    assert ask(deploy, *([] if streamed else ["--no-stream"])) == 1
    told = capsys.readouterr().err
    assert said in told
    assert advice in told
    assert len(foundry.asked) == 1, "what a question sets off is not undone, so it is not sent again"


def test_an_error_inside_of_the_stream_fails(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = {
        "type": "error",
        "sequence_number": 1,
        "code": "model_error",
        "message": "the model is away",
        "param": None,
    }
    foundry.on("POST", RESPONSES, events(stream()[0], failure))
    assert ask(deploy) == 1
    assert "deploy: [model_error] the model is away" in capsys.readouterr().err


def test_without_a_login_it_says_what_it_needs(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy("invoke", "rag-chat", "hello", login=NoLogin()) == 2
    assert "it needs a login: run `azd auth login` or `az login`" in capsys.readouterr().err
    assert foundry.asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rag-chat"], "what to ask?"),
        (["rag-chat", "--approve", "apr_1"], "answer a request of --previous"),
        (["rag-chat", "--file", "/nowhere/at/all"], "cannot be read"),
        (["ag-ui-streamer", "hello"], "ag-ui-streamer declares invocations and responses: choose by --protocol"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_sent(
    arguments: list[str], said: str, deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy("invoke", *arguments) == 2
    assert said in capsys.readouterr().err
    assert foundry.asked == []


def test_the_protocol_of_a_foreign_agent_is_that_of_its_deployed_version(
    deploy: Deploy, foundry: FoundryService
) -> None:
    definition = {"kind": "hosted", "protocol_versions": [{"protocol": "responses", "version": "2.0.0"}]}
    foundry.on("GET", "/agents/stranger", {"name": "stranger", "versions": {"latest": {"definition": definition}}})
    foundry.on("POST", "/agents/stranger/endpoint/protocols/openai/responses", events(*stream()))
    assert deploy("invoke", "stranger", "hello") == 0
    assert [each.method for each in foundry.asked] == ["GET", "POST"]
