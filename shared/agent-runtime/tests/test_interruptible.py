"""Stopping work that waits."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from agent_runtime.interruptible import Stopped, until


async def numbers(count: int, closed: asyncio.Event | None = None, fail: bool = False) -> AsyncIterator[int]:
    try:
        for number in range(count):
            yield number
        if fail:
            raise ValueError("no more numbers")
    finally:
        if closed:
            closed.set()


@pytest.mark.parametrize("count", [0, 1, 2, 50])
async def test_every_item_arrives_in_order(count: int) -> None:
    assert [number async for number in until(numbers(count), asyncio.Event())] == list(range(count))


@pytest.mark.parametrize("count", [0, 1, 7])
async def test_an_error_of_the_source_arrives_after_its_items(count: int) -> None:
    seen = []
    with pytest.raises(ValueError, match="no more"):
        async for number in until(numbers(count, fail=True)):
            seen.append(number)
    assert seen == list(range(count))


async def test_a_stop_cancels_what_the_source_waits_for_at_once() -> None:
    stop, closed, waiting = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def press() -> None:
        await waiting.wait()
        stop.set()

    pressing = asyncio.create_task(press())
    with pytest.raises(Stopped):
        async with asyncio.timeout(5):
            async for _ in until(source(), asyncio.Event(), stop):
                pass
    await pressing
    assert closed.is_set()


async def test_a_reader_that_goes_away_closes_the_source() -> None:
    closed = asyncio.Event()
    reading = until(numbers(1000, closed))
    assert await anext(reading) == 0
    await reading.aclose()
    assert closed.is_set()


async def test_a_slow_reader_slows_the_source_down() -> None:
    made = 0

    async def source() -> AsyncIterator[int]:
        nonlocal made
        for made in range(1000):
            yield made

    reading = until(source())
    await anext(reading)
    await asyncio.sleep(0.05)
    assert made <= 3
    await reading.aclose()


async def test_a_reader_that_is_cancelled_at_any_moment_leaves_no_task_behind() -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))

    async def read(count: int, fail: bool) -> None:
        async for _ in until(numbers(count, fail=fail)):
            await asyncio.sleep(0)

    for moment in range(20):
        for count in range(4):
            for fail in (False, True):
                task = asyncio.create_task(read(count, fail))
                for _ in range(moment):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait({task})
                if not task.cancelled():
                    task.exception()
    gc.collect()
    assert complaints == []
