"""What happens while the assistant works, in terms of neither protocol. AG-UI and Responses each write it their way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the summary of the model's reasoning, as far as the model shares one."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    call_id: str
    delta: str
    """A fragment of JSON text."""


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    call_id: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    content: str
    """JSON text, as the model sees it."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The state that the page shows beside the conversation, whole."""

    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last thing of a run that ends well."""

    pending_tool_calls: tuple[str, ...] = ()
    """Calls of the page's own tools, whose results the next run brings."""
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = field(default="")


Progress = (
    TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolCallArguments
    | ToolCallEnded
    | ToolResult
    | StateChanged
    | Finished
)


class Stopped(Exception):
    """Somebody asked for the run to stop before it had ended."""


async def until(stop: asyncio.Event, source: AsyncIterator[Progress]) -> AsyncIterator[Progress]:
    """Pass `source` on until it ends or `stop` is set, which also cancels what `source` is waiting for.

    At most one item is read ahead, so a slow reader slows the source down.

    Raises:
        Stopped: when `stop` was set first.
    """
    ahead: asyncio.Queue[Progress | None] = asyncio.Queue(maxsize=1)

    async def pump() -> None:
        try:
            async with aclosing(source):  # type: ignore[type-var]
                async for item in source:
                    await ahead.put(item)
        finally:
            # After an error or the end the reader must wake; when it has gone there is nobody to tell.
            with suppress(asyncio.QueueFull):
                ahead.put_nowait(None)

    pumping = asyncio.create_task(pump())
    stopping = asyncio.create_task(stop.wait())
    try:
        while True:
            reading = asyncio.create_task(ahead.get())
            await asyncio.wait({reading, stopping, pumping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                reading.cancel()
                raise Stopped
            if not reading.done() and pumping.done() and ahead.empty():
                reading.cancel()
                break
            item = await reading
            if item is None:
                break
            yield item
        await pumping
    finally:
        stopping.cancel()
        pumping.cancel()
        await asyncio.gather(pumping, stopping, return_exceptions=True)
