"""What a request asks: its user turns, the results since the last of them, and follow-ups made whole.

A short follow-up ("and for Norway?") says little without the turn before it; `Conversation.question` completes it.
What to do with the question is left to `tool_selection` and `answering`.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from agent_runtime.english.tokens import content_words, has_stem, stem, words
from agent_runtime.model_exchange import Message, ModelRequest, ToolCall

_OPENERS = re.compile(
    r"^\s*(?:and|but|or|so|also|what about|how about|what if|for|same|then|ok(?:ay)?,? and)\b", re.IGNORECASE
)
# "And in Switzerland?" asks the same of another place: what stood in that place before is not asked any more.
_INSTEAD = re.compile(
    r"^\W*(?:and|but|or|so|what about|how about)?\s*(?:(?P<word>in|for|from|to|with|by|on)\s+)?"
    r"(?:the\s+)?(?P<name>[A-Z][\w-]+(?:\s+[A-Z][\w-]+)*)\W*$",
    re.IGNORECASE,
)
_POINTERS = frozenset({"it", "that", "this", "they", "them", "those", "these", "there", "one", "ones", "then"})
_SHORT = 3
"""Content words of a question that may say too little by itself."""
_MAY_POINT = _POINTERS.union(
    "also again else he her him his instead its meanwhile otherwise same she their too".split()
)


@dataclass(frozen=True)
class Conversation:
    """The messages of a request, seen from its last user turn."""

    request: ModelRequest

    @cached_property
    def last_user_index(self) -> int:
        """Where the last user message is; -1 without one."""
        return max((at for at, one in enumerate(self.request.messages) if one.role == "user"), default=-1)

    @cached_property
    def user_text(self) -> str:
        """The last user message."""
        return self.request.messages[self.last_user_index].text if self.last_user_index >= 0 else ""

    @cached_property
    def since(self) -> tuple[Message, ...]:
        """What came after the last user message."""
        return self.request.messages[self.last_user_index + 1 :]

    @cached_property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls made since the last user message."""
        return tuple(call for message in self.since for call in message.tool_calls)

    @cached_property
    def results(self) -> tuple[str, ...]:
        """The tool outputs that came since the last user message."""
        return tuple(message.text for message in self.since if message.role == "tool")

    @cached_property
    def earlier_turns(self) -> tuple[str, ...]:
        """User messages before the last one, newest first."""
        earlier = self.request.messages[: max(self.last_user_index, 0)]
        return tuple(message.text for message in reversed(earlier) if message.role == "user" and message.text.strip())

    @cached_property
    def turn_before(self) -> str:
        """The user message before the last one, where the last may point back to it; else empty."""
        said = _MAY_POINT.intersection(words(self.user_text))
        if len(content_words(self.user_text)) > _SHORT:
            said -= {"it"}  # "What does it cost to rent a tent for a week?"
        return self.earlier_turns[0] if self.earlier_turns and said else ""

    @cached_property
    def is_follow_up(self) -> bool:
        """Whether the last turn leans on the one before: it opens so, or points back and says little itself."""
        if not self.earlier_turns:
            return False
        said = content_words(self.user_text)
        count = len(words(self.user_text))
        if _OPENERS.match(self.user_text) and count <= 10:
            return True
        return len(said) <= _SHORT and count <= 12 and (not said or bool(_POINTERS & set(words(self.user_text))))

    @cached_property
    def completion(self) -> list[str]:
        """Content words of the turns that a follow-up leans on; none when it stands by itself."""
        if not self.is_follow_up:
            return []
        own = {stem(word) for word in content_words(self.user_text)}
        return [word for word in content_words(self.leans_on) if not has_stem(stem(word), own)][:12]

    @cached_property
    def leans_on(self) -> str:
        """The earlier turns that a follow-up leans on, oldest first; empty when it stands by itself."""
        if not self.is_follow_up:
            return ""
        turns: list[str] = []
        newer = self.user_text
        for turn in self.earlier_turns:
            turns.insert(0, _without_replaced(turn, newer))
            newer = turn
            if len(content_words(turn)) > 2 and not _OPENERS.match(turn):
                break
        return "\n".join(turns)

    @cached_property
    def question(self) -> str:
        """The last turn, made whole with the words that it leans on."""
        return " ".join([self.user_text.strip(), *self.completion]).strip()


def _without_replaced(turn: str, follow_up: str) -> str:
    """The turn without the name that the follow-up puts another one in place of."""
    instead = _INSTEAD.match(follow_up)
    if instead is None or not instead["word"] or not instead["name"][0].isupper():
        return turn
    return re.sub(rf"\b{re.escape(instead['word'])} (?:the )?[A-Z][\w-]+(?: [A-Z][\w-]+)*", "", turn)
