"""How much of a conversation the model sees: the newest turns that fit, each whole, the one being answered always.

A turn begins with the user's message and holds the calls, results and answers up to the next one. What is cut between
them would leave a tool's result without its call, which models refuse; the platform's store cuts by items, so that a
history may begin within a turn.
"""

import json
from collections.abc import Awaitable, Callable, Sequence

from agent_framework import CharacterEstimatorTokenizer, ChatContext, ChatMiddleware, Content, Message

_ESTIMATE = CharacterEstimatorTokenizer()


class HistoryLimit(ChatMiddleware):
    """`most_tokens` are estimated, four characters each: what a model counts differs by language and tokenizer."""

    def __init__(self, most_tokens: int) -> None:
        self._most = most_tokens

    async def process(self, context: ChatContext, call_next: Callable[[], Awaitable[None]]) -> None:
        context.messages = newest_turns(context.messages, self._most)
        await call_next()


def newest_turns(messages: Sequence[Message], most_tokens: int) -> list[Message]:
    """`messages` without the oldest turns, so that what stays is within `most_tokens`. System messages stay."""
    system = [message for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    starts = [place for place, message in enumerate(others) if message.role == "user"]
    if not starts:
        return [*system, *others]
    kept = starts[-1]
    left = most_tokens - sum(map(_tokens, others[kept:]))
    for start in reversed(starts[:-1]):
        left -= sum(map(_tokens, others[start:kept]))
        if left < 0:
            break
        kept = start
    return [*system, *others[kept:]]


def _tokens(message: Message) -> int:
    return sum(_ESTIMATE.count_tokens(_written(content)) for content in message.contents)


def _written(content: Content) -> str:
    for value in (content.text, content.arguments, content.result):
        if value:
            return value if isinstance(value, str) else json.dumps(value, default=str)
    return ""
