"""Stop work that is waiting for something: a model, a tool, a slow reader.

The SDK's cancellation is a signal that the handler must watch; a handler that only looks between two steps keeps on
running long after its caller was told that it stopped (azure-ai-agentserver-responses 2.3, `cancel`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar, cast

Item = TypeVar("Item")
_END = object()


class Stopped(Exception):
    """The work was told to stop before it had ended."""


async def until(source: AsyncIterator[Item], *stops: asyncio.Event) -> AsyncIterator[Item]:
    """Pass `source` on until it ends or one of `stops` is set, which also cancels what `source` is waiting for.

    At most one item is read ahead, so a slow reader slows the source down. What `source` raises is raised here.

    Raises:
        Stopped: when one of `stops` was set first.
    """
    ahead: asyncio.Queue[object] = asyncio.Queue(maxsize=1)

    async def pump() -> None:
        try:
            async for item in source:
                await ahead.put(item)
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
            # After an error or the end the reader must wake; when an item waits there, it is awake.
            with suppress(asyncio.QueueFull):
                ahead.put_nowait(_END)

    pumping = asyncio.create_task(pump())
    stopping = [asyncio.create_task(stop.wait()) for stop in stops]
    reading: asyncio.Task[object] | None = None
    try:
        while True:
            reading = asyncio.create_task(ahead.get())
            await asyncio.wait({reading, pumping, *stopping}, return_when=asyncio.FIRST_COMPLETED)
            if any(stop.is_set() for stop in stops):
                raise Stopped
            if not reading.done() and pumping.done() and ahead.empty():
                break
            item = await reading
            if item is _END:
                break
            yield cast(Item, item)
        await pumping
    finally:
        tasks = [pumping, *stopping, *([reading] if reading is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
