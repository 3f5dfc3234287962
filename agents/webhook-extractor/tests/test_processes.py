"""The agent as a process: killed, restarted, stopped, started wrongly."""

import asyncio
import base64
import hashlib
import hmac
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agent_runtime.model_exchange import ModelRequest
from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.scripted_model import Hang, ScriptedModel, Step

SECRET = "a secret of this test"
ENVIRONMENT = {
    "GITHUB_WEBHOOK_SECRET": SECRET,
    "MODEL_NAME": "m",
    "MODEL_MAX_RETRIES": "0",
    "FIRST_RETRY_SECONDS": "0.05",
}


async def send(client: httpx2.AsyncClient, url: str, issue: Any, delivery: str) -> httpx2.Response:
    body = json.dumps(issue).encode()
    headers = {
        "content-type": "application/json",
        "x-github-event": "issues",
        "x-github-delivery": delivery,
        "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }
    return await client.post(f"{url}/invocations", content=body, headers=headers)


async def ended(client: httpx2.AsyncClient, url: str, invocation_id: str) -> dict[str, Any]:
    for _ in range(400):
        record: dict[str, Any] = (await client.get(f"{url}/invocations/{invocation_id}")).json()
        if record["status"] in {"completed", "failed", "cancelled"}:
            return record
        await asyncio.sleep(0.05)
    raise TimeoutError(record)


def case_ids(state: Path) -> list[str]:
    """What the desk has been made to do, read from its own store."""
    with sqlite3.connect(state / "state" / "support-desk.sqlite") as db:
        rows = db.execute("SELECT key FROM items WHERE key LIKE 'case/%'").fetchall()
    db.close()
    return [key for (key,) in rows]


async def test_a_process_killed_while_it_works_leaves_every_delivery_to_be_done_exactly_once(
    issue: Any, answer: Any, tmp_path: Path
) -> None:
    hang = True

    def script(_: ModelRequest) -> Step:
        return Hang() if hang else str(answer(category="damaged_item"))

    model = ScriptedModel(script)
    state = tmp_path / "state"
    async with model.serve() as base_url, httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        environment = ENVIRONMENT | {"OPENAI_BASE_URL": base_url, "AGENTSERVER_STATE_ROOT": str(state)}
        async with AgentProcess("webhook_extractor", env=environment) as agent:
            sent = [await send(client, agent.url, issue, f"d-{number}") for number in range(8)]
            assert {answer.status_code for answer in sent} == {202}
            ids = [answer.json()["invocation_id"] for answer in sent]
            await asyncio.wait_for(model.hanging.wait(), 20)
            await agent.kill()
            hang = False
            await agent.start()
            assert "queued again" in agent.output()
            duplicates = [await send(client, agent.url, issue, f"d-{number}") for number in range(8)]
            assert [answer.json()["invocation_id"] for answer in duplicates] == ids
            records = [await ended(client, agent.url, invocation_id) for invocation_id in ids]
            assert {record["status"] for record in records} == {"completed"}
            # The four that were being worked on when the process was killed needed a second attempt.
            assert sorted(record["attempts"] for record in records) == [1] * 4 + [2] * 4
            assert len(set(case_ids(state))) == len(case_ids(state)) == 8
        model.release()


async def test_a_stop_answers_those_who_wait_and_keeps_what_is_not_done(issue: Any, tmp_path: Path) -> None:
    model = ScriptedModel(lambda _: Hang())
    async with model.serve() as base_url, httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        environment = ENVIRONMENT | {"OPENAI_BASE_URL": base_url, "AGENTSERVER_STATE_ROOT": str(tmp_path / "state")}
        async with AgentProcess("webhook_extractor", env=environment) as agent:
            waiting = asyncio.create_task(client.post(f"{agent.url}/invocations", content="Where is NP-10001?"))
            await asyncio.wait_for(model.hanging.wait(), 20)
            assert await agent.terminate(timeout=10) == 0
            answer = await waiting
            assert (answer.status_code, answer.json()["status"]) == (202, "in_progress")
        model.release()
    with sqlite3.connect(tmp_path / "state" / "webhook-extractor" / "inbox.sqlite") as db:
        assert db.execute("SELECT state, attempts FROM deliveries").fetchall() == [("new", 0)]
    db.close()


async def test_with_nothing_configured_it_starts_quietly_with_development_secrets(issue: Any, tmp_path: Path) -> None:
    payload = tmp_path / "issue.json"
    payload.write_text(json.dumps(issue))
    async with AgentProcess("webhook_extractor") as agent:
        assert agent.rss_mb() < 120
        lines = agent.output().splitlines()
        assert 3 <= len(lines) <= 10
        assert "development-secrets.json" in lines[-1]
        for source in ("github", "standard-webhooks"):
            body = payload.read_bytes()
            sign = [sys.executable, "-m", "webhook_extractor.sign", source, "--file", str(payload), "--headers-only"]
            done = await asyncio.to_thread(subprocess.run, sign, capture_output=True, text=True, timeout=30, check=True)
            headers = dict(line.split(": ", 1) for line in done.stdout.splitlines())
            async with httpx2.AsyncClient(trust_env=False) as client:
                accepted = await client.post(f"{agent.url}/invocations", content=body, headers=headers)
            # Verified by either source; as a contact form it is an event that nobody reads.
            assert accepted.status_code == (202 if source == "github" else 422), accepted.text


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"GITHUB_WEBHOOK_SECRET": "  "}, "GITHUB_WEBHOOK_SECRET: is blank"),
        ({"STANDARD_WEBHOOKS_SECRET": "whsec_"}, "STANDARD_WEBHOOKS_SECRET: holds an empty key"),
        ({"STANDARD_WEBHOOKS_SECRET": "whsec_not base64"}, "STANDARD_WEBHOOKS_SECRET: is not base64"),
        ({"GITHUB_WEBHOOK_SECRET_NEXT": "only this"}, "GITHUB_WEBHOOK_SECRET_NEXT is set and"),
    ],
)
async def test_a_bad_secret_stops_the_start_with_one_line_that_does_not_show_it(
    environment: dict[str, str], said: str
) -> None:
    with pytest.raises(RuntimeError, match="exit code 2") as ended:
        async with AgentProcess("webhook_extractor", env=environment):
            pass
    assert said in str(ended.value)
    assert "only this" not in str(ended.value)
    assert "Traceback" not in str(ended.value)


def test_the_sign_command_prints_a_curl_command_with_headers_that_verify(issue: Any, tmp_path: Path) -> None:
    from webhook_extractor.sign import main

    payload = tmp_path / "it's an issue.json"
    payload.write_text(json.dumps(issue))
    key = base64.b64encode(b"a key of some twenty bytes").decode()
    for source, secret in (("github", SECRET), ("standard-webhooks", f"whsec_{key}")):
        assert main([source, "--file", str(payload), "--secret", secret]) == 0
    assert main(["github", "--file", str(tmp_path / "none"), "--secret", SECRET]) == 2
