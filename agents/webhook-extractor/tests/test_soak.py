"""Many deliveries, many of them twice, while the process is killed again and again: each has exactly one result.

`make soak` runs the long form, 1,000 deliveries and ten kills; `SOAK_DELIVERIES` and `SOAK_KILLS` say otherwise.
"""

import asyncio
import hashlib
import hmac
import json
import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import httpx2
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.scripted_model import ScriptedModel

LONG = os.environ.get("SOAK") == "long"
DELIVERIES = int(os.environ.get("SOAK_DELIVERIES", "1000" if LONG else "90"))
KILLS = int(os.environ.get("SOAK_KILLS", "10" if LONG else "3"))
SECRET = "a secret of this test"


async def deliver(client: httpx2.AsyncClient, url: str, issue: Any, number: int) -> str:
    """Send until it is answered 202, as a sender with retries does; gives the invocation id."""
    issue = issue | {"issue": issue["issue"] | {"number": number, "title": f"Delivery {number}"}}
    body = json.dumps(issue).encode()
    headers = {
        "content-type": "application/json",
        "x-github-event": "issues",
        "x-github-delivery": f"soak-{number}",
        "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
    }
    for _ in range(400):
        try:
            answer = await client.post(f"{url}/invocations", content=body, headers=headers)
        except httpx2.TransportError:
            await asyncio.sleep(0.05)
            continue
        assert answer.status_code == 202, answer.text
        return str(answer.json()["invocation_id"])
    raise TimeoutError(f"delivery {number} was never accepted")


async def test_no_delivery_is_lost_or_done_twice_though_the_process_is_killed(
    issue: Any, answer: Any, tmp_path: Path
) -> None:
    chance = random.Random(20261123)
    # A third of what is sent are duplicates: every second delivery comes twice.
    numbers = [number for number in range(DELIVERIES * 2 // 3) for _ in range(1 + (number % 2 == 0))]
    chance.shuffle(numbers)

    async def read(_: ModelRequest) -> ModelReply:
        await asyncio.sleep(chance.uniform(0, 0.02))
        return ModelReply(answer(category="damaged_item"))

    state = tmp_path / "state"
    async with ScriptedModel(read).serve() as base_url:
        environment = {
            "GITHUB_WEBHOOK_SECRET": SECRET, "MODEL_NAME": "m", "OPENAI_BASE_URL": base_url, "MAX_ATTEMPTS": "50",
            "FIRST_RETRY_SECONDS": "0.05", "AGENTSERVER_STATE_ROOT": str(state), "LOG_LEVEL": "warning",
        }  # fmt: skip
        limit = asyncio.Semaphore(8)
        accepted: dict[int, set[str]] = {}

        async with (
            AgentProcess("webhook_extractor", env=environment) as agent,
            httpx2.AsyncClient(trust_env=False, timeout=10) as client,
        ):

            async def one(number: int) -> None:
                async with limit:
                    await asyncio.sleep(chance.uniform(0, 0.15))
                    accepted.setdefault(number, set()).add(await deliver(client, agent.url, issue, number))

            sending = asyncio.gather(*(one(number) for number in numbers))
            killed_while_sending = 0
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.05, 0.8))
                killed_while_sending += not sending.done()
                await agent.kill()
                await agent.start()
            await sending
            assert killed_while_sending >= KILLS * 2 // 3, "too few kills met deliveries under way: send more"
            assert len(accepted) == len(set(numbers))
            assert all(len(ids) == 1 for ids in accepted.values())
            for ids in accepted.values():
                for _ in range(600):
                    record = (await client.get(f"{agent.url}/invocations/{next(iter(ids))}")).json()
                    if record["status"] == "completed":
                        break
                    assert record["status"] in {"queued", "in_progress"}, record
                    await asyncio.sleep(0.05)
                else:
                    raise TimeoutError(record)

    with sqlite3.connect(state / "webhook-extractor" / "inbox.sqlite") as db:
        assert db.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall() == [
            ("done", len(accepted))
        ]
        results = [json.loads(result) for (result,) in db.execute("SELECT result FROM deliveries")]
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    with sqlite3.connect(state / "state" / "support-desk.sqlite") as db:
        opened = [key for (key,) in db.execute("SELECT key FROM items WHERE key LIKE 'case/%'")]
    db.close()
    # One case for each delivery, and it is the one that the record names.
    assert sorted(opened) == sorted(f"case/{result['case_file']['case_id']}" for result in results)
