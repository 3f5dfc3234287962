"""The event stream of a background response that its next process goes on with, so that a client which reconnects with
`starting_after` sees every event once.

The SDK replays what was stored, and then adds what the handler of the next process sends: a second
`response.in_progress`, each item again that was begun but not checkpointed, and a gap in the numbers, because the
second `response.created` takes one and is not shown (azure-ai-agentserver-responses 2.3, `_orchestrator.py`,
`_run_resilient_stream_body`). Here the stored events are left out, and what follows takes the next number. It needs a
handler that writes the same items again with the same ids: `item_id`.
"""

import asyncio
import hashlib
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from azure.ai.agentserver.core.streaming import EventStreamNotFoundError, streams
from azure.ai.agentserver.responses import ResponseContext, ResponseEventStream

_NO_WAIT_SECONDS = 0.2
_LIFECYCLE = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDED = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ENDS = frozenset({"completed", "incomplete", "failed", "cancelled"})


def item_id(response_id: str, number: int, prefix: str) -> str:
    """The id of output item `number` of a response, the same in every process.

    It has the form of the SDK's own ids: a prefix, the response's partition key (18 characters), 32 characters.
    """
    partition = response_id.partition("_")[2][:18]
    return f"{prefix}_{partition}{hashlib.sha256(f'{response_id}/{number}'.encode()).hexdigest()[:32]}"


def ended_before(context: ResponseContext) -> dict[str, Any] | None:
    """The stored response, if it had ended before the process did. The SDK calls the handler again all the same; what
    follows the response may have begun by then, so nothing may be done again."""
    stored: Any = context.persisted_response if context.is_recovery else None
    return dict(stored) if stored is not None and stored["status"] in _ENDS else None


def repeat_end(stream: ResponseEventStream, stored: Mapping[str, Any]) -> Any:
    """The last event once more, as the response ended before."""
    match stored["status"]:
        case "completed":
            return stream.emit_completed(usage=stored.get("usage"))
        case "incomplete":
            details = stored.get("incomplete_details") or {}
            return stream.emit_incomplete(reason=details.get("reason"), usage=stored.get("usage"))
        case "cancelled":
            # The SDK has no event of its own for it, and takes this one (`streaming/_state_machine.py`).
            return {"type": "response.failed", "response": dict(stored)}
    error = stored.get("error") or {}
    code, message = error.get("code", "server_error"), error.get("message", "The response had failed.")
    return stream.emit_failed(code=code, message=message, usage=stored.get("usage"))


async def resume_stream(response_id: str) -> None:
    """Go on with the stored events of this response. To be called by the handler of a recovered response before its
    first event; does nothing for a response that is not streamed."""
    try:
        stream: Any = await streams.get(response_id)
        last = await stream.last_cursor()
    except EventStreamNotFoundError:
        return
    if last is None:
        return
    stream.emit = _Continuation(stream.emit, await _stored_events(stream, last), last)


async def _stored_events(stream: Any, last: int) -> list[Any]:
    """The events that the stream still has, up to number `last`. The SDK drops those older than ten minutes, also of a
    response that has not ended, and has a reader wait for the next one then: so this does not wait."""
    stored: list[Any] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_NO_WAIT_SECONDS):
            async for event in stream.subscribe():
                stored.append(event)
                if event["sequence_number"] >= last:
                    break
    return stored


class _Continuation:
    """Emits what was not emitted before, under the numbers that follow the last."""

    def __init__(self, emit: Any, stored: list[Any], last: int) -> None:
        self._emit = emit
        self._last = last
        self._lifecycle = {event["type"] for event in stored}
        self._of_item: defaultdict[int, deque[tuple[str, str]]] = defaultdict(deque)
        for event in stored:
            if "output_index" in event:
                self._of_item[event["output_index"]].append(_identity(event))

    async def __call__(self, payload: Any, *, close: bool = False) -> None:
        if self._was_sent(payload):
            return
        self._last += 1
        numbered = payload.copy()
        numbered["sequence_number"] = self._last
        await self._emit(numbered, close=close)

    def _was_sent(self, payload: Any) -> bool:
        kind = payload["type"]
        if kind in _LIFECYCLE:
            return kind in self._lifecycle
        if kind in _ENDED:
            return bool(self._lifecycle & _ENDED)
        sent = self._of_item[payload["output_index"]] if "output_index" in payload else deque[tuple[str, str]]()
        return bool(sent) and sent.popleft() == _identity(payload)


def _identity(event: Any) -> tuple[str, str]:
    """What an event of an item is: its kind, and the item's id."""
    return event["type"], event["item_id"] if "item_id" in event else event["item"]["id"]
