"""Readers of one run, at any pace, from any event: each sees every event once; what is in the log leaves the memory."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from ag_ui_streamer import live_runs
from ag_ui_streamer.live_runs import LiveRun, LiveRuns, ThreadBusy
from ag_ui_streamer.run_log import RunLog

EVENTS = 3000


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[RunLog]:
    log = RunLog(tmp_path / "runs.sqlite", kept_for=timedelta(days=1))
    yield log
    await log.close()


def event(number: int) -> bytes:
    return b"data: %d\n\n" % number


def numbers(stream: bytes) -> list[int]:
    """The events of a stream, whose ids must be theirs."""
    found = []
    for frame in stream.split(b"\n\n")[:-1]:
        identity, data = frame.split(b"\n")
        assert identity.removeprefix(b"id: ") == data.removeprefix(b"data: ")
        found.append(int(data.removeprefix(b"data: ")))
    return found


async def says(run: LiveRun) -> bytes:
    for number in range(1, EVENTS):
        run.publish(event(number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    return event(EVENTS)


async def leaves_nothing(run: LiveRun, events: list[bytes]) -> None:
    assert [int(one.split(b" ")[1]) for one in events] == list(range(1, EVENTS + 1))


async def read(run: LiveRun, after: int, chance: random.Random) -> list[int]:
    text = b""
    async for chunk in run.read(after):
        text += chunk
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.02)
    return numbers(text)


@pytest.mark.parametrize("seed", range(4))
async def test_each_reader_sees_every_event_after_its_cursor_once(log: RunLog, seed: int) -> None:
    chance = random.Random(seed)
    runs = LiveRuns(log)
    run = LiveRun(log, "ada", "t1", "r1", invocation_id="i1")
    runs.start(run, says, leaves_nothing)
    cursors = [0, 0, 1, EVENTS - 1, EVENTS, EVENTS + 50, *(chance.randrange(EVENTS) for _ in range(10))]
    seen = await asyncio.gather(*(read(run, cursor, chance) for cursor in cursors))
    for cursor, found in zip(cursors, seen, strict=True):
        assert found == list(range(min(cursor + 1, EVENTS), EVENTS + 1)), cursor
    assert runs.get("ada", "r1") is None
    logged = await log.find("ada", "r1")
    assert logged is not None
    assert logged.ended
    assert await log.events(logged) == [event(number) for number in range(1, EVENTS + 1)]


async def test_a_reader_that_stalls_holds_no_events(log: RunLog) -> None:
    runs = LiveRuns(log)
    run = LiveRun(log, "ada", "t1", "r1", invocation_id="i1")
    runs.start(run, says, leaves_nothing)
    stalled = run.read()
    first = await anext(stalled)
    assert run.task is not None
    await run.task
    assert run.count == EVENTS
    assert len(run._events) < 300
    rest = [chunk async for chunk in stalled]
    assert numbers(first + b"".join(rest)) == list(range(1, EVENTS + 1))
    assert max(map(len, rest)) < 20_000


async def test_many_runs_send_their_groups_one_after_the_other(log: RunLog) -> None:
    forever = asyncio.Event()

    async def waits(run: LiveRun) -> bytes:
        await forever.wait()
        return event(1)

    async def keeps(run: LiveRun, events: list[bytes]) -> None:
        pass

    loop = asyncio.get_running_loop()
    runs = LiveRuns(log)
    many = [LiveRun(log, "ada", f"t{number}", f"r{number}", invocation_id=f"i{number}") for number in range(100)]
    for run in many:
        runs.start(run, waits, keeps)
    between = len(many) * live_runs._PAUSE_EACH
    # All look at the same moment, as they do after one in which nothing could be sent.
    places = sorted((loop.time() + run.pause()) % between for run in many)
    gaps = [after - before for before, after in zip(places, [*places[1:], places[0] + between], strict=True)]
    assert max(gaps) < between / 10
    assert all(0 < run.pause() <= between for run in many)
    forever.set()
    await asyncio.gather(*(run.task for run in many if run.task is not None))
    assert many[0].pause() == 0


async def test_a_thread_that_is_read_is_busy_and_another_users_is_not(log: RunLog) -> None:
    forever = asyncio.Event()
    ended: list[str] = []

    async def waits(run: LiveRun) -> bytes:
        run.publish(event(1))
        try:
            await forever.wait()
        except asyncio.CancelledError:
            ended.append("stopped" if run.is_stopped else "cut")
        return event(2)

    async def keeps(run: LiveRun, events: list[bytes]) -> None:
        ended.append(run.run_id)

    runs = LiveRuns(log)
    run = LiveRun(log, "ada", "t1", "r1", invocation_id="i1")
    runs.start(run, waits, keeps)
    reading = run.read()
    await anext(reading)
    with pytest.raises(ThreadBusy):
        await runs.free("ada", "t1")
    await runs.free("eve", "t1")
    assert runs.get("eve", "r1") is None
    assert runs.get("ada", "i1") is run
    await reading.aclose()
    await runs.free("ada", "t1")
    assert ended == ["stopped", "r1"]
    assert runs.of_thread("ada", "t1") is None
