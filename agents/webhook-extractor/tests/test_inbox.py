"""The inbox: nothing accepted is lost, nothing is done twice, and every end is kept."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from agent_runtime.hosting import BadRequest
from agent_runtime.settings import load_settings
from agent_runtime.state_store import open_state_store
from webhook_extractor.inbox import DeliveryConflict, Inbox, InboxUnavailable, Incoming, invocation_id_of
from webhook_extractor.ledger_inbox import LedgerInbox
from webhook_extractor.settings import WebhookExtractorSettings
from webhook_extractor.sqlite_inbox import SqliteInbox


def incoming(number: int = 1, body: bytes = b"{}", owner: str = "") -> Incoming:
    return Incoming(
        id=invocation_id_of("github", str(number)),
        source="github",
        delivery_id=str(number),
        owner=owner,
        event="issues",
        content_type="application/json",
        body=body,
        max_attempts=3,
    )


@asynccontextmanager
async def opened(path: Path, *, record_seconds: float = 3600, lease_seconds: float = 60) -> AsyncIterator[Inbox]:
    """The inbox in the file `path`; a path without a suffix names a state store instead."""
    inbox: Inbox
    if path.suffix:
        inbox = SqliteInbox(path, record_seconds=record_seconds, lease_seconds=lease_seconds)
    else:
        kept = timedelta(seconds=record_seconds)
        store = open_state_store(load_settings(WebhookExtractorSettings), path.name, expires_after=kept)
        inbox = LedgerInbox(store, lease_seconds=lease_seconds)
    await inbox.open()
    try:
        yield inbox
    finally:
        await inbox.close()


@pytest.fixture(params=["inbox.sqlite", "deliveries"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One for each kind of inbox."""
    return tmp_path / str(request.param)


async def test_what_was_accepted_is_in_the_file_by_the_time_the_caller_knows(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    async with opened(path) as inbox:
        record, new = await inbox.accept(incoming(body=b"\x00\xff raw"))
        other = sqlite3.connect(path)
        assert other.execute("SELECT body FROM deliveries WHERE id = ?", (record.id,)).fetchone() == (b"\x00\xff raw",)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.close()
        assert new


async def test_the_same_delivery_is_stored_once_in_sequence_at_once_and_after_a_restart(place: Path) -> None:
    async with opened(place) as inbox:
        answers = await asyncio.gather(*(inbox.accept(incoming()) for _ in range(50)))
        assert sum(new for _, new in answers) == 1
        assert len({record.id for record, _ in answers}) == 1
    async with opened(place) as inbox:
        assert (await inbox.accept(incoming()))[1] is False


@pytest.mark.parametrize("other", [incoming(body=b"{ }"), incoming(owner="bob")])
async def test_the_same_id_with_another_body_or_user_is_a_conflict_and_changes_nothing(
    place: Path, other: Incoming
) -> None:
    async with opened(place) as inbox:
        first, _ = await inbox.accept(incoming())
        with pytest.raises(DeliveryConflict):
            await inbox.accept(other)
        assert await inbox.get(first.id) == first


async def test_one_refused_operation_does_not_spoil_those_of_the_same_commit(place: Path) -> None:
    async with opened(place) as inbox:
        await inbox.accept(incoming())
        answers = await asyncio.gather(
            inbox.accept(incoming(2)), inbox.accept(incoming(1, b"other")), inbox.accept(incoming(3)),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(answer) for answer in answers] == [tuple, DeliveryConflict, tuple]


async def test_each_delivery_is_handed_out_once_however_many_ask(place: Path) -> None:
    async with opened(place) as one, opened(place) as two:
        for number in range(20):
            await one.accept(incoming(number))
        claimed = await asyncio.gather(*(inbox.claim("c", 3) for inbox in (one, two) for _ in range(6)))
        ids = [record.id for records in claimed for record in records]
        assert len(ids) == len(set(ids)) == 20


async def test_what_a_killed_process_left_busy_is_queued_again_at_start_and_the_attempt_counts(tmp_path: Path) -> None:
    async with opened(tmp_path / "inbox.sqlite") as inbox:
        await inbox.accept(incoming())
        await inbox.claim("gone", 1)
    inbox = SqliteInbox(tmp_path / "inbox.sqlite", record_seconds=60, lease_seconds=60)
    assert await inbox.open() == 1
    (record,) = await inbox.claim("here", 1)
    assert record.attempts == 2
    await inbox.close()


async def test_a_second_process_leaves_alone_what_the_first_one_works_on(tmp_path: Path) -> None:
    async with opened(tmp_path / "inbox.sqlite") as first:
        await first.accept(incoming())
        (record,) = await first.claim("first", 1)
        second = SqliteInbox(tmp_path / "inbox.sqlite", record_seconds=60, lease_seconds=60)
        assert await second.open() == 0
        assert await second.claim("second", 1) == []
        await second.close()
        assert await first.finish(record, "{}")


async def test_an_expired_lease_is_taken_over_and_the_late_first_holder_changes_nothing(place: Path) -> None:
    async with opened(place, lease_seconds=0) as inbox:
        await inbox.accept(incoming())
        (late,) = await inbox.claim("late", 1)
        await inbox.sweep()
        (current,) = await inbox.claim("current", 1)
        assert await inbox.finish(late, '"late"') is False
        assert await inbox.finish(current, '"current"') is True
        record = await inbox.get(current.id)
        assert record is not None
        assert (record.state, record.result) == ("done", '"current"')


async def test_a_retry_waits_for_its_time(place: Path) -> None:
    async with opened(place) as inbox:
        await inbox.accept(incoming())
        (record,) = await inbox.claim("c", 1)
        await inbox.retry(record, 100, "model_unavailable", "…")
        assert await inbox.claim("c", 1) == []
        due = await inbox.seconds_until_due()
        assert due is not None
        assert 95 < due <= 100


async def test_a_dead_letter_keeps_its_cause_and_can_be_replayed_with_all_attempts(place: Path) -> None:
    async with opened(place) as inbox:
        await inbox.accept(incoming())
        (record,) = await inbox.claim("c", 1)
        await inbox.bury(record, "model_misconfigured", "…")
        assert [(dead.id, dead.error_code) for dead in await inbox.dead_letters()] == [
            (record.id, "model_misconfigured")
        ]
        assert await inbox.replay("unknown") == 0
        assert await inbox.replay(None) == 1
        (again,) = await inbox.claim("c", 1)
        assert again.attempts == 1


async def test_cancelling_is_refused_once_the_side_effect_may_have_begun(place: Path) -> None:
    async with opened(place) as inbox:
        await inbox.accept(incoming(1))
        await inbox.accept(incoming(2))
        claimed = await inbox.claim("c", 2)
        first, second = sorted(claimed, key=lambda record: record.delivery_id)
        assert await inbox.keep_extracted(first, "{}") is True
        assert (await inbox.cancel(first.id))[0] is False
        assert (await inbox.cancel(second.id))[0] is True
        assert await inbox.keep_extracted(second, "{}") is False
        assert await inbox.cancel("unknown") == (False, None)


async def test_ended_records_expire_and_open_ones_do_not(tmp_path: Path) -> None:
    async with opened(tmp_path / "inbox.sqlite", record_seconds=0) as inbox:
        for number in (1, 2):
            await inbox.accept(incoming(number))
        (record,) = await inbox.claim("c", 1)
        await inbox.finish(record, "{}")
        assert await inbox.get(record.id) is None
        await inbox.sweep()
        assert await inbox.counts() == {"new": 1}
        assert (await inbox.accept(incoming(int(record.delivery_id), b"another body")))[1] is True


async def test_a_waiting_caller_learns_of_the_end_from_its_own_and_from_another_process(place: Path) -> None:
    stop = asyncio.Event()
    async with opened(place) as inbox, opened(place) as other:
        for worker in (inbox, other):
            number = 1 if worker is inbox else 2
            record, _ = await inbox.accept(incoming(number))
            waiting = asyncio.create_task(inbox.wait_for_end(record.id, 10, stop))
            (claimed,) = await worker.claim("c", 1)
            await worker.finish(claimed, "{}")
            ended = await asyncio.wait_for(waiting, 5)
            assert ended is not None
            assert ended.state == "done"


async def test_waiting_ends_when_the_process_is_about_to_stop(place: Path) -> None:
    stop = asyncio.Event()
    async with opened(place) as inbox:
        record, _ = await inbox.accept(incoming())
        waiting = asyncio.create_task(inbox.wait_for_end(record.id, 60, stop))
        stop.set()
        assert await asyncio.wait_for(waiting, 5) == record


async def test_a_file_that_cannot_be_written_accepts_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "inbox.sqlite").write_bytes(b"this is no database, and long enough to be noticed" * 100)
    inbox = SqliteInbox(tmp_path / "inbox.sqlite", record_seconds=60, lease_seconds=60)
    with pytest.raises(InboxUnavailable):
        await inbox.open()
    await inbox.close()


async def test_a_look_from_outside_takes_nothing_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "inbox.sqlite") as inbox:
        await inbox.accept(incoming())
        await inbox.claim("c", 1)
    outside = SqliteInbox(tmp_path / "inbox.sqlite", record_seconds=60, lease_seconds=60)
    assert await outside.open(to_work=False) == 0
    assert await outside.counts() == {"busy": 1}
    await outside.close()


async def test_ended_records_of_the_ledger_expire_with_their_store(tmp_path: Path) -> None:
    async with opened(tmp_path / "short", record_seconds=0.3) as inbox:
        await inbox.accept(incoming())
        (record,) = await inbox.claim("c", 1)
        await inbox.finish(record, "{}")
        for _ in range(100):
            if await inbox.get(record.id) is None:
                break
            await asyncio.sleep(0.02)
        assert (await inbox.accept(incoming(1, b"another body")))[1] is True


async def test_two_sandboxes_share_one_ledger(tmp_path: Path) -> None:
    async with opened(tmp_path / "shared") as one, opened(tmp_path / "shared") as two:
        answers = await asyncio.gather(*(inbox.accept(incoming()) for inbox in (one, two) for _ in range(10)))
        assert sum(new for _, new in answers) == 1
        (record,) = await two.claim("two", 1)
        assert await one.claim("one", 1) == []
        await two.finish(record, '{"a": 1}')
        seen = await one.get(record.id)
        assert seen is not None
        assert (seen.state, seen.result) == ("done", '{"a": 1}')


async def test_a_payload_too_large_for_the_ledger_is_refused_and_not_cut(tmp_path: Path) -> None:
    async with opened(tmp_path / "large") as inbox:
        with pytest.raises(BadRequest) as refusal:
            await inbox.accept(incoming(body=os.urandom(900_000)))
        assert refusal.value.status == 413
