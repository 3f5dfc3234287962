"""What goes wrong between the model and the framework, put right once, below the tools and the host.

The model client sends the arguments of a tool call in pieces and then once more whole; the host adds them up, shows
`{"q": 1}{"q": 1}` and sends that to the model in the next turn. And whatever a model call raises reaches the caller as
an internal error, so the reason is kept in the turn, for the end of the response to tell it.
`tests/test_sdk_workarounds.py` fails when the framework no longer repeats arguments.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from agent_framework import ChatContext, ChatMiddleware, ChatResponseUpdate, ResponseStream
from agent_runtime.model_errors import translate_model_error

from rag_chat.turn import Turn, current_turn

logger = logging.getLogger(__name__)


class ModelStreamGuard(ChatMiddleware):
    async def process(self, context: ChatContext, call_next: Callable[[], Awaitable[None]]) -> None:
        turn = current_turn()
        if turn.failure is not None:
            raise turn.failure  # of the search: what a model makes of it would look like an answer
        if context.stream:
            context.stream_update_transforms.append(_RepeatedArguments())
        with _failures_noted(turn):
            await call_next()
        if isinstance(context.result, ResponseStream):
            context.result.with_pull_context_manager(lambda: _failures_noted(turn))


class _RepeatedArguments:
    """Takes whole arguments out where their pieces came before."""

    def __init__(self) -> None:
        self._in_pieces: set[str] = set()

    def __call__(self, update: ChatResponseUpdate) -> ChatResponseUpdate:
        kept = []
        for content in update.contents:
            if content.type == "function_call" and content.call_id:
                if content.merge_mode == "replace" and content.call_id in self._in_pieces:
                    continue
                if content.merge_mode != "replace" and content.arguments:
                    self._in_pieces.add(content.call_id)
            kept.append(content)
        update.contents = kept
        return update


@contextmanager
def _failures_noted(turn: Turn) -> Iterator[None]:
    try:
        yield
    except StopAsyncIteration:
        raise
    except Exception as error:
        failure = turn.failure = translate_model_error(error)
        # Here alone, because the host logs only the error's type. The operator needs the upstream's own words.
        words = " ".join(str(error).split())[:500]
        logger.warning("model call failed: %s: %s", failure.code, words, extra={"error.type": failure.code})
        raise
