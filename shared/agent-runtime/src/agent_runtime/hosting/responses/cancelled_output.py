"""What a cancelled response did is not lost: the SDK empties the output of a response that is cancelled, in its store
and in every answer (azure-ai-agentserver-responses 2.3, `models/runtime.py`, `_apply_cancelled_terminal`).

The handler keeps the items when it is told to stop, which the SDK does not wait for. The answers to
`GET /responses/{id}` and
`POST /responses/{id}/cancel` get them back. Who may read a response was decided by then: the SDK answers 404 to others.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

from azure.ai.agentserver.core.streaming import EventStreamNotFoundError, streams
from starlette.datastructures import MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.state_store import InvalidStateItem, StateStore

_STOPPING_SECONDS = 1.0
_POLL_SECONDS = 0.005
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
_PATHS = re.compile(r"/responses/(\w+)(/cancel)?", re.ASCII)


class CancelledOutputs:
    """The output items of cancelled responses, in a state store, for as long as that keeps its items."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._running: dict[str, asyncio.Event] = {}

    @contextmanager
    def running(self, response_id: str) -> Iterator[None]:
        """To be held by the handler while it works on a response: who asks what a cancelled one did waits for it."""
        ended = self._running[response_id] = asyncio.Event()
        try:
            yield
        finally:
            ended.set()
            del self._running[response_id]

    async def keep(self, response_id: str, output: Sequence[Any]) -> None:
        """Keep the output of a response that is being cancelled. Of an output too large for the store the last item is
        kept, which says what was done."""
        items = [dict(item) for item in output]
        try:
            await self._store.put_if_absent(_key(response_id), {"output": items})
        except InvalidStateItem:
            await self._store.put_if_absent(_key(response_id), {"output": items[-1:]})

    async def of(self, response_id: str) -> list[dict[str, Any]]:
        """The output items, none where none were kept. Waits for a handler in this process to stop, up to a second."""
        if response_id in self._running:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._running[response_id].wait(), _STOPPING_SECONDS)
        kept = await self._store.get(_key(response_id))
        return list(kept.value["output"]) if kept else []


def _key(response_id: str) -> str:
    return f"cancelled/{response_id}"


async def let_readers_finish(response_id: str) -> None:
    """Have the last event of a streamed response that is being cancelled wait for its readers. To be called by the
    handler before the events with which it ends.

    The SDK deletes the stream of a cancelled response right after its last event, and what a reader has not taken by
    then is lost to it: on Python 3.13 the end of the stream, every time (azure-ai-agentserver-responses 2.3,
    `_orchestrator.py`, `_finalize_stream`; core 2.2, `streaming/_concrete.py`, `_ReplayIterator`).
    """
    try:
        stream: Any = await streams.get(response_id)
    except EventStreamNotFoundError:
        return
    emit = stream.emit

    async def emit_and_wait(payload: Any, *, close: bool = False) -> None:
        await emit(payload, close=close)
        if payload["type"] in _LAST:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOPPING_SECONDS):
                    while any(  # noqa: ASYNC110  the queues tell nobody that they are empty
                        not queue.empty() for queue in getattr(stream, "_subscriber_queues", ())
                    ):
                        await asyncio.sleep(_POLL_SECONDS)

    stream.emit = emit_and_wait


class RestoreCancelledOutput:
    """Middleware: fills the empty output of a cancelled response."""

    def __init__(self, app: ASGIApp, *, outputs: CancelledOutputs) -> None:
        self.app = app
        self.outputs = outputs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response_id = _asked_for(scope)
        if response_id is None:
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def hold(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                if start["status"] == HTTPStatus.OK:
                    body = await self._restored(response_id, body)
                MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
                await send(start)
                await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, hold)

    async def _restored(self, response_id: str, body: bytes) -> bytes:
        if b'"cancelled"' not in body:
            return body
        response = json.loads(body)
        if response.get("status") != "cancelled" or response.get("output"):
            return body
        response["output"] = await self.outputs.of(response_id)
        return json.dumps(response, ensure_ascii=False, separators=(",", ":")).encode()


def _asked_for(scope: Scope) -> str | None:
    """The id of the response whose body is asked for, or None for any other request."""
    if scope["type"] != "http" or not (found := _PATHS.fullmatch(scope["path"])):
        return None
    if (scope["method"], bool(found[2])) not in (("GET", False), ("POST", True)):
        return None
    return None if "stream" in QueryParams(scope["query_string"]) else str(found[1])
