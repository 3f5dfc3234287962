"""Agent Framework's Responses host, with what it leaves undone done through its public hooks.

It registers its handler and its shutdown through the same two methods that an application calls. Overridden, they wrap
what is registered: the events on their way out, and one shutdown beside the other.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from agent_framework_foundry_hosting import ResponsesHostServer
from azure.ai.agentserver.responses import ResponseContext

from rag_chat.cited_events import Event, with_citations
from rag_chat.ended_events import with_true_endings
from rag_chat.request_fields import with_request_fields
from rag_chat.turn import begin_turn

Shutdown = Callable[[], Awaitable[None]]


class RagChatHost(ResponsesHostServer):
    """`model` is the name that responses give for what answered; all else is for `ResponsesHostServer`."""

    def __init__(self, *arguments: Any, model: str, **options: Any) -> None:
        self._at_shutdown: list[Shutdown] = []
        self._model = model
        super().__init__(*arguments, **options)

    def shutdown_handler(self, fn: Shutdown) -> Shutdown:
        """Keep every handler: the SDK has one place, and the framework's would take that of the SDK's own, which tells
        background responses that the server stops."""
        self._at_shutdown.append(fn)

        async def all_in_turn() -> None:
            for handler in self._at_shutdown:
                await handler()

        super().shutdown_handler(all_in_turn)
        return fn

    def response_handler(self, fn: Any) -> Any:
        async def respond(
            request: Any, context: ResponseContext, cancellation_signal: asyncio.Event
        ) -> AsyncIterator[Any]:
            turn = begin_turn(asked=_text(request.get("input")))
            turn.recall(await context.get_history())
            events: AsyncGenerator[Event, None] = fn(request, context, cancellation_signal)
            shown = with_true_endings(with_citations(events, turn), turn, stopping=context.shutdown)
            try:
                async for event in with_request_fields(shown, request, self._model):
                    yield event
            finally:
                await events.aclose()

        super().response_handler(respond)
        return fn


def _text(given: Any) -> str:
    """All that the user wrote in the input of a request."""
    if isinstance(given, list):
        return "\n".join(map(_text, given))
    if isinstance(given, Mapping):
        return _text(given.get("content") or given.get("text"))
    return given if isinstance(given, str) else ""
