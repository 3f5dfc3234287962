"""Hosted, an agent runs in many sandboxes, and a delivery may reach any of them. Here two hosts share one ledger."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

from agent_runtime.settings import load_settings
from agent_runtime.state_store import open_state_store
from agent_runtime.testing.scripted_model import Hang, ScriptedModel
from webhook_extractor.ledger_inbox import LedgerInbox
from webhook_extractor.settings import WebhookExtractorSettings


def ledger() -> LedgerInbox:
    store = open_state_store(load_settings(WebhookExtractorSettings), "deliveries", expires_after=timedelta(days=1))
    return LedgerInbox(store, lease_seconds=60)


async def test_a_delivery_sent_to_two_sandboxes_has_one_invocation_and_one_result(agent: Any, answer: Any) -> None:
    model = ScriptedModel(lambda _: str(answer(category="damaged_item")))
    async with agent(model, ledger()) as one, agent(model, ledger()) as two:
        sent = await asyncio.gather(
            *(where.github(delivery=f"d-{number}", prefer="wait=20") for number in range(6) for where in (one, two))
        )
        records = [answer.json() for answer in sent]
        assert {record["status"] for record in records} == {"completed"}
        assert all(first == second for first, second in zip(records[::2], records[1::2], strict=True))
        assert len(model.requests) == 6


def cases_opened() -> int:
    """What the desk has been made to do, read from its own store."""
    state = load_settings(WebhookExtractorSettings).state_root / "state" / "support-desk.sqlite"
    with closing(sqlite3.connect(state)) as db:
        return int(db.execute("SELECT count(*) FROM items WHERE key LIKE 'case/%'").fetchone()[0])


async def test_what_another_sandbox_cancelled_while_the_model_was_asked_opens_no_case(agent: Any, answer: Any) -> None:
    model = ScriptedModel(lambda _: Hang(reply=answer(category="damaged_item")))
    async with agent(model, ledger(), WORKERS="1") as one:
        cancelled = (await one.github(delivery="cancelled")).json()["invocation_id"]
        await asyncio.wait_for(model.hanging.wait(), 10)
        other = ledger()
        assert (await other.cancel(cancelled))[0] is True
        await other.close()
        model.release()
        # There is one worker: when the next delivery is done, so is the job that nobody could stop.
        assert (await one.github(delivery="later", prefer="wait=20")).json()["status"] == "completed"
        assert (await one.get(cancelled))["status"] == "cancelled"
        assert cases_opened() == 1


async def test_any_sandbox_shows_and_cancels_what_another_one_accepted(agent: Any) -> None:
    model = ScriptedModel(lambda _: Hang())
    async with agent(model, ledger()) as one, agent(model, ledger()) as two:
        invocation_id = (await one.github()).json()["invocation_id"]
        assert (await two.get(invocation_id))["invocation_id"] == invocation_id
        assert (await two.client.post(f"/invocations/{invocation_id}/cancel")).json()["status"] == "cancelled"
        model.release()
        assert (await one.get(invocation_id))["status"] == "cancelled"
