"""A change to one JSON document in the state store that loses nothing when several processes make theirs at once."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from agent_runtime.state_store import StateConflict, StateStore

from support_desk.errors import ToolError

Document = dict[str, Any]

_ATTEMPTS = 30
_jitter = Random()  # noqa: S311 - spreads retries, no secret


async def edit_document(
    store: StateStore,
    key: str,
    change: Callable[[Document | None], Document],
    *,
    tags: Mapping[str, str],
) -> Document:
    """Apply `change` to the document at `key` (None where there is none) by compare-and-set, and return the outcome.

    `change` sees the newest document at every attempt, so a rule that it checks holds for what is stored. Returning the
    document unchanged stores nothing.

    Raises:
        ToolError: `busy` when others changed the document at every attempt; what `change` raises.
    """
    for attempt in range(_ATTEMPTS):
        present = await store.get(key)
        before = present.value if present else None
        after = change(before)
        if after == before:
            return after
        if present is None:
            created, _ = await store.put_if_absent(key, after, tags=dict(tags))
            if created:
                return after
        else:
            try:
                await store.compare_and_set(key, after, etag=present.etag, tags=dict(tags))
            except StateConflict:
                pass
            else:
                return after
        await asyncio.sleep(_jitter.random() * min(0.2, 0.002 * 2**attempt))
    raise ToolError("busy", "Others are changing the same record at this moment. Try the same call again.")
