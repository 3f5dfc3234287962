"""How a response ends when it does not end well: in words for the caller, and never as if it were complete.

The host says `An internal server error occurred.` whatever went wrong with the model, and ends an answer that a
shutdown cut short as `completed`. `tests/test_sdk_workarounds.py` fails when it no longer does.
"""

import asyncio
from collections.abc import AsyncIterator

from rag_chat.cited_events import Event
from rag_chat.turn import Turn

STOPPED = {"code": "server_shutdown", "message": "The server stopped before the answer was complete. Ask again."}


async def with_true_endings(
    events: AsyncIterator[Event], turn: Turn, *, stopping: asyncio.Event
) -> AsyncIterator[Event]:
    """`events`, the last one with the code and message of what happened."""
    async for event in events:
        if event.get("type") == "response.completed" and stopping.is_set():
            # Also one that was just complete: its end cannot be told from a cut here, and asking again does no harm.
            response = {**event["response"], "status": "failed", "error": dict(STOPPED)}
            response.pop("completed_at", None)
            yield {"type": "response.failed", "response": response}
        elif event.get("type") == "response.failed" and turn.failure is not None:
            error = {"code": turn.failure.code, "message": turn.failure.message}
            yield {**event, "response": {**event["response"], "error": error}}
        else:
            yield event
