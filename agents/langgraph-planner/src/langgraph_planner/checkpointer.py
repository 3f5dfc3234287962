"""LangGraph's checkpoints in the agent's state store: SQLite on one machine, Foundry's store when hosted, where an
approval may arrive in another sandbox than the one that asked.

Checkpoints are read with strict msgpack: the default serializer runs code from a crafted checkpoint. State is therefore
plain JSON. Only the asynchronous methods exist: the graph runs in an event loop.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from agent_runtime.state_store import StateConflict, StateStore, StoredItem
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

_PAGE = 100


class StateStoreSaver(BaseCheckpointSaver[str]):
    """A checkpoint is one item; so are the pending writes of one task. A thread's items are found by their tag."""

    def __init__(self, store: StateStore) -> None:
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._store = store

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        thread, namespace = _place(config)
        value = {
            "id": checkpoint["id"],
            "namespace": namespace,
            "parent": get_checkpoint_id(config),
            "checkpoint": self._pack(checkpoint),
            "metadata": self._pack(known := get_checkpoint_metadata(config, metadata)),
        }
        tags = {"thread": _digest(thread), "kind": "checkpoint"}
        if run_id := known.get("run_id"):
            tags["run"] = _digest(str(run_id))
        await self._put(_key(thread, namespace, checkpoint["id"]), value, tags)
        return _config(thread, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        thread, namespace = _place(config)
        checkpoint = str(get_checkpoint_id(config))
        tags = _write_tags(thread, namespace, checkpoint)
        place = {"namespace": namespace, "id": checkpoint, "task": task_id}
        packed = [
            {"task": task_id, "path": task_path, "index": index, "channel": channel, "value": self._pack(value)}
            for index, (channel, value) in enumerate(writes)
        ]
        if not all(channel in WRITES_IDX_MAP for channel, _ in writes):
            # One item. LangGraph takes a task with some of its writes for one that has ended, so a process that dies
            # between two items would lose the rest, such as where the graph goes next.
            key = _key(thread, namespace, checkpoint, task_id, "writes")
            await self._store.put_if_absent(key, place | {"writes": packed}, tags=tags)
            return
        for (channel, _), write in zip(writes, packed, strict=True):
            index = WRITES_IDX_MAP[channel]
            key = _key(thread, namespace, checkpoint, task_id, str(index))
            await self._put(key, place | {"writes": [write | {"index": index}]}, tags)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread, namespace = _place(config)
        wanted = get_checkpoint_id(config)
        if wanted:
            item = await self._store.get(_key(thread, namespace, wanted))
            return await self._tuple(thread, item.value) if item else None
        found = [value for value in await self._checkpoints(thread) if value["namespace"] == namespace]
        return await self._tuple(thread, max(found, key=lambda value: value["id"])) if found else None

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        if config is None:
            return
        thread = str(config["configurable"]["thread_id"])
        namespace = config["configurable"].get("checkpoint_ns")
        wanted, newest = get_checkpoint_id(config), get_checkpoint_id(before) if before else None
        given = 0
        for value in sorted(await self._checkpoints(thread), key=lambda value: value["id"], reverse=True):
            if namespace is not None and value["namespace"] != namespace:
                continue
            if (wanted and value["id"] != wanted) or (newest and value["id"] >= newest):
                continue
            found = await self._tuple(thread, value)
            if filter and any(found.metadata.get(name) != wish for name, wish in filter.items()):
                continue
            if limit is not None and given >= limit:
                return
            given += 1
            yield found

    async def adelete_thread(self, thread_id: str) -> None:
        await self._delete([item async for item in self._items({"thread": _digest(thread_id)})])

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            tags = {"kind": "checkpoint", "run": _digest(str(run_id))}
            for checkpoint in [item async for item in self._items(tags)]:
                writes = {"kind": "write", "checkpoint": _digest(checkpoint.key)}
                await self._delete([checkpoint] + [item async for item in self._items(writes)])

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        async for item in self._items({"thread": _digest(source_thread_id)}):
            value = item.value
            where = (target_thread_id, value["namespace"], value["id"])
            if item.tags["kind"] == "checkpoint":
                await self._put(_key(*where), value, {**item.tags, "thread": _digest(target_thread_id)})
            else:
                # The last part of a key says which of a task's writes these are.
                key = _key(*where, value["task"], item.key.rpartition("/")[2])
                await self._put(key, value, _write_tags(*where))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the checkpoints of these threads with their writes: `delete` all of them, `keep_latest` all but the
        newest of each namespace.

        A graph with a `DeltaChannel` must not be pruned: its newest checkpoint needs the older ones.

        Raises:
            ValueError: another strategy.
        """
        if strategy not in {"keep_latest", "delete"}:
            raise ValueError(f"strategy is keep_latest or delete, not {strategy!r}")
        for thread in thread_ids:
            items = [item async for item in self._items({"thread": _digest(thread)})]
            kept: dict[str, str] = {}
            for item in items:
                if strategy == "keep_latest" and item.tags["kind"] == "checkpoint":
                    namespace = item.value["namespace"]
                    kept[namespace] = max(kept.get(namespace, ""), item.value["id"])
            # Writes newer than what was listed belong to a checkpoint that was written meanwhile.
            await self._delete([one for one in items if one.value["id"] < kept.get(one.value["namespace"], "~")])

    async def _delete(self, items: Sequence[StoredItem]) -> None:
        """The writes first: those of a checkpoint that is gone would never be found again."""
        for kind in ("write", "checkpoint"):
            await self._store.delete_all([item.key for item in items if item.tags["kind"] == kind])

    async def _checkpoints(self, thread: str) -> list[dict[str, Any]]:
        tags = {"thread": _digest(thread), "kind": "checkpoint"}
        return [item.value async for item in self._items(tags)]

    async def _tuple(self, thread: str, value: dict[str, Any]) -> CheckpointTuple:
        place = _key(thread, value["namespace"], value["id"])
        items = self._items({"kind": "write", "checkpoint": _digest(place)})
        writes = [write async for item in items for write in item.value["writes"]]
        writes.sort(key=lambda write: (write["path"], write["task"], write["index"]))
        parent = _config(thread, value["namespace"], value["parent"]) if value["parent"] else None
        return CheckpointTuple(
            config=_config(thread, value["namespace"], value["id"]),
            checkpoint=self._unpack(value["checkpoint"]),
            metadata=self._unpack(value["metadata"]),
            parent_config=parent,
            pending_writes=[(write["task"], write["channel"], self._unpack(write["value"])) for write in writes],
        )

    async def _items(self, tags: dict[str, str]) -> AsyncIterator[StoredItem]:
        after: str | None = None
        while True:
            page = await self._store.list(tags, limit=_PAGE, after=after)
            for item in page.items:
                yield item
            after = page.after
            if after is None:
                return

    async def _put(self, key: str, value: dict[str, Any], tags: dict[str, str]) -> None:
        """Write whatever was there before; LangGraph writes one checkpoint from one process at a time."""
        while True:
            new, present = await self._store.put_if_absent(key, value, tags=tags)
            if new:
                return
            try:
                await self._store.compare_and_set(key, value, etag=present.etag, tags=tags)
            except StateConflict:
                continue
            return

    def _pack(self, value: Any) -> list[str]:
        kind, raw = self.serde.dumps_typed(value)
        return [kind, base64.b64encode(raw).decode()]

    def _unpack(self, packed: list[str]) -> Any:
        kind, raw = packed
        return self.serde.loads_typed((kind, base64.b64decode(raw)))


def _place(config: RunnableConfig) -> tuple[str, str]:
    return str(config["configurable"]["thread_id"]), str(config["configurable"].get("checkpoint_ns", ""))


def _config(thread: str, namespace: str, checkpoint: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint}}


def _key(*parts: str) -> str:
    return "/".join(parts)


def _write_tags(thread: str, namespace: str, checkpoint: str) -> dict[str, str]:
    place = _digest(_key(thread, namespace, checkpoint))
    return {"thread": _digest(thread), "kind": "write", "checkpoint": place}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
