"""What is kept of a thread between its runs: the messages, the state, and what it waits for a person to decide.

A page sends the whole conversation with each run; this is for the next page, the next process and the next sandbox. A
thread belongs to its user: the same thread id of another user is another thread.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from agent_runtime.state_store import JSON, StateConflict, StateStore
from agent_runtime.state_store.items import MAX_VALUE_BYTES

from ag_ui_streamer.history import Message

_MOST_LISTED = 200
_LONGEST_TITLE = 80
_MOST_BYTES = MAX_VALUE_BYTES - 10_000
"""For the messages of a thread; older ones are dropped."""


@dataclass(slots=True)
class Thread:
    thread_id: str
    title: str = ""
    updated: float = 0.0
    """Seconds since 1970."""
    messages: list[Message] = field(default_factory=list)
    state: Any = None
    pending: list[dict[str, Any]] = field(default_factory=list)
    """What waits for a person: `progress.Question` as JSON."""
    answered: list[str] = field(default_factory=list)
    """The ids of earlier questions."""


class Threads:
    """All methods raise `StateStoreError` where the records cannot be reached."""

    def __init__(self, store: StateStore, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    async def get(self, user: str, thread_id: str) -> Thread:
        """The thread; an empty one where the user has none of this id."""
        item = await self._store.get(_body(user, thread_id))
        return Thread(**item.value) if item else Thread(thread_id)

    async def put(self, user: str, thread: Thread) -> None:
        """Keep the thread as it is now. Of two writers the last one wins."""
        thread.updated = self._now()
        if not thread.title:
            thread.title = _title(thread.messages)
        await self._write(_body(user, thread.thread_id), _fitting(thread))
        # What is listed is apart, so that a list reads no messages.
        head = Thread(thread.thread_id, thread.title, thread.updated)
        await self._write(_head(user, thread.thread_id), asdict(head), tags={"user": digest(user)})

    async def _write(self, key: str, value: JSON, *, tags: dict[str, str] | None = None) -> None:
        while True:
            new, item = await self._store.put_if_absent(key, value, tags=tags)
            if new:
                return
            try:
                await self._store.compare_and_set(key, value, etag=item.etag)
            except StateConflict:
                continue
            return

    async def list(self, user: str) -> list[Thread]:
        """The user's threads without what was said in them, the one that was used last first."""
        found: list[Thread] = []
        after: str | None = None
        while True:
            page = await self._store.list({"user": digest(user)}, after=after)
            found += [Thread(**item.value) for item in page.items]
            after = page.after
            if after is None:
                break
        return sorted(found, key=lambda thread: thread.updated, reverse=True)[:_MOST_LISTED]


def digest(text: str) -> str:
    """A user or a thread as part of a key, whatever characters its id has."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _body(user: str, thread_id: str) -> str:
    return f"thread/{digest(user)}/{digest(thread_id)}"


def _head(user: str, thread_id: str) -> str:
    return f"listed/{digest(user)}/{digest(thread_id)}"


def _title(messages: list[Message]) -> str:
    """The first thing that the user said."""
    for message in messages:
        content = message.get("content")
        if message["role"] == "user" and content:
            text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
            line = " ".join(text.split())
            return line if len(line) <= _LONGEST_TITLE else line[: _LONGEST_TITLE - 1] + "…"
    return ""


def _fitting(thread: Thread) -> JSON:
    """The thread as JSON, without its oldest messages where all of them would not fit into an item."""
    messages = list(thread.messages)
    sizes = [len(json.dumps(message, ensure_ascii=False).encode()) for message in messages]
    spent = sum(sizes) + len(json.dumps([thread.state, thread.pending], ensure_ascii=False).encode())
    while messages and spent > _MOST_BYTES:
        messages.pop(0)
        spent -= sizes.pop(0)
    while len(messages) < len(thread.messages) and messages and messages[0]["role"] != "user":
        messages.pop(0)
    return asdict(thread) | {"messages": messages}
