"""What happens to a delivery after it was accepted: retries, dead letters, replay, cancelling, time limits."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.model_exchange import ModelRequest
from agent_runtime.settings import load_settings
from agent_runtime.testing.scripted_model import CutStream, Failure, Garbage, Hang, ScriptedModel, Step
from agent_runtime.testing.serving import free_port
from webhook_extractor import dead_letters
from webhook_extractor.settings import WebhookExtractorSettings


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (Failure(status=500), "model_unavailable"),
        (Failure(status=429), "model_rate_limited"),
        (Failure(status=401), "model_misconfigured"),
        (CutStream(), "model_stream_interrupted"),
        (Garbage(), "model_invalid_response"),
        ("This is no JSON.", "model_invalid_response"),
        ('{"category": "nonsense"}', "model_invalid_response"),
        ("[]", "model_invalid_response"),
        (Hang(), "model_timeout"),
    ],
)
async def test_each_way_a_model_can_fail_ends_in_a_dead_letter_with_its_code_that_can_be_replayed(
    agent: Any, answer: Any, step: Step, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = ScriptedModel(lambda _: step)
    async with agent(broken, MAX_ATTEMPTS="2", MODEL_TIMEOUT_SECONDS="0.3") as deliveries:
        invocation_id = (await deliveries.github()).json()["invocation_id"]
        record = await deliveries.ended(invocation_id)
        assert (record["status"], record["error"]["code"]) == ("failed", code)
        assert record["attempts"] == (1 if code == "model_misconfigured" else 2)
        assert "upstream" not in str(record)
        assert "Traceback" not in str(record)
        broken.release()

    assert await asyncio.to_thread(dead_letters.main, ["list"]) == 0
    assert invocation_id in (listed := capsys.readouterr().out)
    assert code in listed
    assert await asyncio.to_thread(dead_letters.main, ["show", invocation_id]) == 0
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert await asyncio.to_thread(dead_letters.main, ["replay", invocation_id]) == 0
    mended = ScriptedModel(lambda _: answer(category="damaged_item"))
    async with agent(mended, MAX_ATTEMPTS="2") as deliveries:
        record = await deliveries.ended(invocation_id)
        assert (record["status"], record["attempts"]) == ("completed", 1)
        assert "error" not in record


async def test_a_refused_connection_ends_in_a_dead_letter(agent: Any) -> None:
    refusing = f"http://127.0.0.1:{free_port()}/v1"
    async with agent(None, MAX_ATTEMPTS="2", OPENAI_BASE_URL=refusing, MODEL_NAME="m") as deliveries:
        record = (await deliveries.github(prefer="wait=20")).json()
        assert (record["status"], record["error"]["code"]) == ("failed", "model_unavailable")


async def test_deliveries_are_accepted_while_the_model_is_down_and_complete_when_it_is_back(
    agent: Any, answer: Any
) -> None:
    down = True

    def script(_: ModelRequest) -> Step:
        return Failure(status=503) if down else str(answer(category="delivery"))

    async with agent(ScriptedModel(script), MAX_ATTEMPTS="50") as deliveries:
        accepted = [await deliveries.github(delivery=f"d-{number}") for number in range(5)]
        ids = [answer.json()["invocation_id"] for answer in accepted]
        for invocation_id in ids:
            waiting = await deliveries.until(invocation_id, lambda record: "last_error" in record)
            assert waiting["last_error"]["code"] == "model_unavailable"
        down = False
        for invocation_id in ids:
            record = await deliveries.ended(invocation_id)
            assert record["status"] == "completed"
            assert "last_error" not in record


async def test_a_model_that_is_down_for_a_while_costs_no_delivery(
    agent: Any, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accepted while it is down; done when it is back; those past their retries are dead letters and replay."""
    down = True

    def script(_: ModelRequest) -> Step:
        return Failure(status=503) if down else str(answer(category="delivery"))

    async with agent(ScriptedModel(script), MAX_ATTEMPTS="50", DIRECT_MAX_ATTEMPTS="2") as deliveries:
        patient = [(await deliveries.github(delivery=f"d-{number}")).json()["invocation_id"] for number in range(6)]
        headers = {"prefer": "respond-async"}
        called = [
            await deliveries.client.post("/invocations", json={"message": f"Where is {number}?"}, headers=headers)
            for number in range(4)
        ]
        assert {call.status_code for call in called} == {202}
        impatient = [call.json()["invocation_id"] for call in called]
        for invocation_id in impatient:
            record = await deliveries.ended(invocation_id)
            assert (record["status"], record["error"]["code"]) == ("failed", "model_unavailable")
        for invocation_id in patient:
            waiting = await deliveries.until(invocation_id, lambda record: record["attempts"] > 1)
            assert waiting["status"] in {"queued", "in_progress"}

        down = False
        for invocation_id in patient:
            assert (await deliveries.ended(invocation_id))["status"] == "completed"
        assert await asyncio.to_thread(dead_letters.main, ["list"]) == 0
        listed = capsys.readouterr().out
        assert all(invocation_id in listed for invocation_id in impatient)
        assert not any(invocation_id in listed for invocation_id in patient)

        # One, then all that are left, while the agent runs.
        assert await asyncio.to_thread(dead_letters.main, ["replay", impatient[0]]) == 0
        assert (await deliveries.ended(impatient[0]))["status"] == "completed"
        capsys.readouterr()
        assert await asyncio.to_thread(dead_letters.main, ["replay", "--all"]) == 0
        assert capsys.readouterr().out == "Queued again: 3\n"
        for invocation_id in impatient[1:]:
            assert (await deliveries.until(invocation_id, lambda record: "result" in record))["status"] == "completed"
        assert await asyncio.to_thread(dead_letters.main, ["list"]) == 0
        assert capsys.readouterr().out == "No dead letters.\n"


async def test_what_waits_for_its_next_attempt_can_be_cancelled_and_a_dead_letter_cannot(agent: Any) -> None:
    model = ScriptedModel(lambda _: Failure(status=503))
    async with agent(
        model, FIRST_RETRY_SECONDS="60", LONGEST_RETRY_SECONDS="60", DIRECT_MAX_ATTEMPTS="1"
    ) as deliveries:
        waiting = (await deliveries.github()).json()["invocation_id"]
        await deliveries.until(waiting, lambda record: "next_attempt_at" in record)
        answer = await deliveries.client.post(f"/invocations/{waiting}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        dead = (await deliveries.client.post("/invocations", json={"message": "Where is it?"})).json()
        assert dead["status"] == "failed"
        answer = await deliveries.client.post(f"/invocations/{dead['invocation_id']}/cancel")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_cancellable")
        assert "failed" in answer.json()["error"]["message"]


async def test_an_attempt_that_takes_too_long_is_ended_and_counted(agent: Any) -> None:
    model = ScriptedModel(lambda _: Hang())
    async with agent(model, MAX_ATTEMPTS="2", JOB_TIMEOUT_SECONDS="0.2") as deliveries:
        record = await deliveries.ended((await deliveries.github()).json()["invocation_id"])
        assert (record["error"]["code"], record["attempts"]) == ("attempt_timed_out", 2)
        model.release()


async def test_a_running_invocation_is_cancelled_at_once_and_stays_cancelled(agent: Any) -> None:
    model = ScriptedModel(lambda _: Hang())
    async with agent(model, WORKERS="1") as deliveries:
        running = (await deliveries.github(delivery="running")).json()["invocation_id"]
        await asyncio.wait_for(model.hanging.wait(), 10)
        waiting = (await deliveries.github(delivery="waiting")).json()["invocation_id"]
        for invocation_id in (waiting, running):
            for _ in range(2):
                answer = await deliveries.client.post(f"/invocations/{invocation_id}/cancel", timeout=2)
                assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        model.release()
        again = (await deliveries.github(delivery="running", prefer="wait=2")).json()
        assert (again["status"], "result" in again) == ("cancelled", False)


async def test_what_has_ended_cannot_be_cancelled_and_says_so(agent: Any) -> None:
    async with agent() as deliveries:
        done = (await deliveries.github(prefer="wait=20")).json()
        answer = await deliveries.client.post(f"/invocations/{done['invocation_id']}/cancel")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_cancellable")
        assert "completed" in answer.json()["error"]["message"]


async def test_a_crash_between_the_side_effect_and_its_note_opens_the_same_case_and_asks_no_model_again(
    agent: Any,
) -> None:
    async with agent() as deliveries:
        first = (await deliveries.github(prefer="wait=20")).json()
    settings = load_settings(WebhookExtractorSettings)
    # What such a crash leaves behind.
    with closing(sqlite3.connect(settings.inbox_file)) as db:
        db.execute("UPDATE deliveries SET state = 'busy', result = NULL, ended_at = NULL, expires_at = NULL")
        db.commit()
    asked = ScriptedModel()
    async with agent(asked) as deliveries:
        again = await deliveries.ended(first["invocation_id"])
        assert again["case_file"] == first["case_file"]
        assert (again["status"], again["attempts"], asked.requests) == ("completed", 2, [])
    with closing(sqlite3.connect(settings.state_root / "state" / "support-desk.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM items WHERE key LIKE 'case/%'").fetchone() == (1,)


async def test_an_order_that_the_desk_does_not_know_is_reported_and_the_case_is_opened(agent: Any, issue: Any) -> None:
    issue["issue"]["body"] = "Where is NP-99999?"
    async with agent() as deliveries:
        record = (await deliveries.github(issue, prefer="wait=20")).json()
        assert record["result"]["order_id"] == "NP-99999"
        assert record["case_file"]["order_id"] is None
        assert [remark["field"] for remark in record["remarks"]] == ["order_id"]


async def test_records_expire_by_the_setting(agent: Any) -> None:
    async with agent(RECORD_DAYS="0.000001") as deliveries:
        invocation_id = (await deliveries.github()).json()["invocation_id"]
        for _ in range(200):
            if (await deliveries.client.get(f"/invocations/{invocation_id}")).status_code == 404:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the record is still there")


def test_dead_letters_without_an_inbox_says_where_it_looked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENTSERVER_STATE_ROOT", str(tmp_path / "nowhere"))
    assert dead_letters.main(["list"]) == 2
    assert str(tmp_path / "nowhere") in capsys.readouterr().err
