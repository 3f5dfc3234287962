"""What a state store holds and promises, whatever the backend.

StateStoreError
    StateConflict           the item is not as expected: someone else wrote, deleted or never wrote it
    InvalidStateItem        a key, value or tag is outside the limits; also a ValueError
    StateStoreUnavailable   the backend did not answer, or refused
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

JSON = Any
"""None, bool, int, float, str, and lists and string-keyed dicts of these."""

# Foundry's limits are 1 MB an item and 16 tags (Microsoft Learn, "agent state store"); the rest of the megabyte holds
# the envelope of `foundry`.
MAX_VALUE_BYTES = 990_000
MAX_TAGS = 16
MAX_KEY_LENGTH = 1024
MAX_TAG_NAME_LENGTH = 64
MAX_TAG_VALUE_LENGTH = 256
MAX_PAGE = 1000
_STORE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class StateStoreError(Exception):
    """Base of everything that a state store raises."""


class StateConflict(StateStoreError):
    """The item is not as expected. Read it again and decide anew."""


class InvalidStateItem(StateStoreError, ValueError):
    """A key, value or tag cannot be stored. The text says which limit it breaks."""


class StateStoreUnavailable(StateStoreError):
    """The backend did not answer, or refused. Worth trying again later."""


@dataclass(frozen=True, slots=True)
class StoredItem:
    key: str
    value: JSON
    etag: str
    tags: Mapping[str, str]
    created_at: datetime
    """UTC; kept by later writes."""
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    items: list[StoredItem]
    after: str | None
    """Pass it to the next `list` call; None when this is the last page. A page may hold fewer items than asked for."""


class StateStore(Protocol):
    """All methods raise `InvalidStateItem` for what breaks a limit and `StateStoreUnavailable` for a failing backend.
    An expired item is absent for every method."""

    async def put_if_absent(
        self, key: str, value: JSON, *, tags: Mapping[str, str] | None = None
    ) -> tuple[bool, StoredItem]:
        """Store the item unless the key is taken. Of any number of callers, in any processes, one gets True.

        Returns: whether this call stored it, and the item that is there now.
        """
        ...

    async def compare_and_set(
        self, key: str, value: JSON, *, etag: str, tags: Mapping[str, str] | None = None
    ) -> StoredItem:
        """Replace the item if it still has this etag. Without `tags` it keeps those it has.

        Raises:
            StateConflict: it was changed or is gone.
        """
        ...

    async def get(self, key: str) -> StoredItem | None: ...

    async def delete(self, key: str, *, etag: str | None = None) -> bool:
        """Delete the item and say whether there was one.

        Raises:
            StateConflict: `etag` is given and the item has another.
        """
        ...

    async def delete_all(self, keys: Sequence[str]) -> None:
        """Delete what is there of these items, faster than one by one. A crash may leave some of them."""
        ...

    async def list(self, tags: Mapping[str, str], *, limit: int = 100, after: str | None = None) -> Page:
        """Items that have all of `tags` (all items for none), oldest first. An item that is written while pages are
        read keeps its place. Whether a cursor outlives its item is not promised: delete after the last page."""
        ...

    async def close(self) -> None: ...


def check_name(name: str) -> None:
    """A store's name becomes a file name.

    Raises:
        ValueError: it is not made of 1 to 64 lower-case letters, digits and `. _ -`.
    """
    if not _STORE_NAME.fullmatch(name):
        raise ValueError(f"a state store's name is made of lower-case letters, digits and . _ -, not {name!r}")


def check_key(key: str) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise InvalidStateItem(f"a key must be a string of 1 to {MAX_KEY_LENGTH} characters")
    _check_text(key, "the key")


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise InvalidStateItem(f"{len(tags)} tags: at most {MAX_TAGS} are allowed")
    for name, value in tags.items():
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_TAG_NAME_LENGTH:
            raise InvalidStateItem(f"a tag's name must be a string of 1 to {MAX_TAG_NAME_LENGTH} characters")
        if not isinstance(value, str) or len(value) > MAX_TAG_VALUE_LENGTH:
            raise InvalidStateItem(f"tag '{name}' must be a string of at most {MAX_TAG_VALUE_LENGTH} characters")
        _check_text(name + value, f"tag '{name!a}'")
    return dict(tags)


def check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidStateItem(f"a page holds 1 to {MAX_PAGE} items, not {limit}")


def encode_value(value: JSON) -> str:
    """The value as compact JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:  # an unpaired surrogate is a ValueError too
        raise InvalidStateItem(f"the value is not JSON: {error}") from None
    if size > MAX_VALUE_BYTES:
        raise InvalidStateItem(f"the value has {size:,} bytes as JSON: at most {MAX_VALUE_BYTES:,} are allowed")
    return text


def _check_text(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidStateItem(f"{what} holds an unpaired surrogate") from None
