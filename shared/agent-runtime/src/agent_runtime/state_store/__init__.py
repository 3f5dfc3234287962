"""State that outlives a process: put-if-absent, compare-and-set, get, delete, list by tag, expiry.

One interface over two backends: SQLite on one machine, Foundry's state store in the cloud, where every sandbox of an
agent reaches the same items. What a backend cannot do is not offered: there is no listing by prefix and no transaction
over several items. Both enforce the same limits, so that what works on a laptop works when deployed.
"""

import hashlib
from datetime import timedelta

from agent_runtime.settings import AgentSettings
from agent_runtime.state_store.items import (
    JSON,
    InvalidStateItem,
    Page,
    StateConflict,
    StateStore,
    StateStoreError,
    StateStoreUnavailable,
    StoredItem,
    check_name,
)

__all__ = [
    "JSON",
    "InvalidStateItem",
    "Page",
    "StateConflict",
    "StateStore",
    "StateStoreError",
    "StateStoreUnavailable",
    "StoredItem",
    "open_state_store",
]


def open_state_store(
    settings: AgentSettings,
    name: str,
    *,
    user_id: str | None = None,
    expires_after: timedelta | None = timedelta(days=30),
) -> StateStore:
    """A store called `name` (lower-case letters, digits and `. _ -`), private to `user_id` where one is given.

    Stores of the same name are the same store in all processes (locally) and all sandboxes (hosted). An item expires
    `expires_after` its last write; None keeps it. Opening does no input or output: the first operation does.
    """
    check_name(name)
    if settings.hosted:
        from agent_runtime.state_store.foundry import FoundryItems, open_foundry_store  # noqa: PLC0415

        # A store for each user, as the platform advises: "encode that scope into the name".
        scope = f"{name}/{hashlib.sha256(user_id.encode()).hexdigest()[:40]}" if user_id else name
        return FoundryItems(lambda: open_foundry_store(scope, expires_after), expires_after=expires_after)

    from agent_runtime.state_store.sqlite import SqliteItems  # noqa: PLC0415

    path = settings.state_root / "state" / f"{name}.sqlite"
    return SqliteItems(path, owner=user_id or "", expires_after=expires_after)
