"""The local store of responses: one for each user, unknown ids are 404, old responses are deleted.

The SDK's file store ignores who asks: any user could read, continue and delete any response, and an unknown
`previous_response_id` silently starts afresh. In Foundry the platform's own store does all this, so hosted agents pass
none. Locally the user is whatever the caller says (see `hosting.identity`).
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from azure.ai.agentserver.responses import FileResponseStore, FoundryResourceNotFoundError

from agent_runtime.settings import AgentSettings

logger = logging.getLogger(__name__)

_RESPONSE_ID = re.compile(r"\w{1,200}", re.ASCII)
_DAY = 86_400.0
_SWEPT = ".swept"


def open_response_store(settings: AgentSettings) -> "LocalResponseStore | None":
    """What to pass as a Responses host's store: ours locally, None (the platform's) when hosted.

    Deletes what is older than `RESPONSES_KEPT_DAYS` first, at most once a day.
    """
    if settings.hosted:
        return None
    root = settings.state_directory / "responses"
    delete_old_responses(root, older_than_days=settings.responses_kept_days)
    return LocalResponseStore(root)


def user_folder(root: Path, user_id: str | None) -> Path:
    """The folder of one user below `root`. Without a user it is that of nobody, which is a user like any other."""
    return root / (hashlib.sha256(user_id.encode()).hexdigest() if user_id else "nobody")


class LocalResponseStore:
    """The SDK's `ResponseProviderProtocol` over one `FileResponseStore` for each user."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stores: dict[Path, FileResponseStore] = {}

    async def get_response(self, response_id: str, *, context: Any = None) -> Any:
        try:
            return await self._of(context).get_response(response_id, context=context)
        except (KeyError, ValueError):  # not there, or an id that no response can have
            raise FoundryResourceNotFoundError(f"response '{response_id}' not found") from None

    def is_taken(self, response_id: str) -> bool:
        """Whether any user has a response with this id. Reads the disk."""
        if not _RESPONSE_ID.fullmatch(response_id):
            return False  # the SDK's to refuse
        return next(self.root.glob(f"*/responses/{response_id}.json"), None) is not None

    async def get_history_item_ids(
        self, previous_response_id: str | None, conversation_id: str | None, limit: int, *, context: Any = None
    ) -> list[str]:
        """The history, cut to `limit` items so that it begins with a turn of the user: a tool's result whose call was
        cut away is an error to every model."""
        if previous_response_id is not None:
            await self.get_response(previous_response_id, context=context)  # unknown: 404 before the handler runs
        store = self._of(context)
        ids = await store.get_history_item_ids(previous_response_id, conversation_id, limit, context=context)
        for position, item_id in enumerate(ids):
            item: Any = (await store.get_items([item_id], context=context))[0]
            if item is not None and item.get("type") == "message" and item.get("role") == "user":
                return ids[position:]
        return []

    async def create_response(
        self,
        response: Any,
        input_items: Iterable[Any] | None,
        history_item_ids: Iterable[str] | None,
        *,
        context: Any = None,
    ) -> None:
        await self._of(context).create_response(response, input_items, history_item_ids, context=context)

    async def update_response(self, response: Any, *, context: Any = None) -> None:
        await self._of(context).update_response(response, context=context)

    async def delete_response(self, response_id: str, *, context: Any = None) -> None:
        await self._of(context).delete_response(response_id, context=context)

    async def get_input_items(
        self,
        response_id: str,
        limit: int = 20,
        ascending: bool = False,
        after: str | None = None,
        before: str | None = None,
        *,
        context: Any = None,
    ) -> list[Any]:
        return await self._of(context).get_input_items(response_id, limit, ascending, after, before, context=context)

    async def get_items(self, item_ids: Iterable[str], *, context: Any = None) -> list[Any]:
        return await self._of(context).get_items(item_ids, context=context)

    def _of(self, context: Any) -> FileResponseStore:
        folder = user_folder(self.root, getattr(context, "user_id_key", None))
        store = self._stores.get(folder)
        if store is None:
            store = self._stores[folder] = FileResponseStore(storage_dir=folder)
        return store


def delete_old_responses(root: Path, *, older_than_days: int) -> int:
    """Delete every file below `root` that was last written before, and say how many. At most once a day: a call on the
    same day does nothing."""
    marker = root / _SWEPT
    now = time.time()
    if not root.is_dir() or (marker.exists() and now - marker.stat().st_mtime < _DAY):
        root.mkdir(parents=True, exist_ok=True)
        return 0
    marker.touch()
    oldest = now - older_than_days * _DAY
    deleted = 0
    for path in root.rglob("*"):
        try:
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
                deleted += 1
        except FileNotFoundError:  # another process of the same agent deletes too
            continue
    if deleted:
        logger.info("deleted %d files of responses older than %d days", deleted, older_than_days)
    return deleted
