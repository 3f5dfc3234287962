"""The events of a response that a second process goes on with: what was sent is not sent again, numbers have no gap."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.hosting.responses.resumption import item_id, resume_stream
from azure.ai.agentserver.core.streaming import streams
from azure.ai.agentserver.responses._id_generator import IdGenerator

RESPONSE = "caresp_resumption"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[None]:
    streams.use_file_backed_replay(cursor_fn=lambda event: int(event["sequence_number"]), storage_dir=tmp_path)
    yield
    await streams.delete(RESPONSE)


def item(number: int, *kinds: str) -> list[dict[str, Any]]:
    return [{"type": f"response.{kind}", "output_index": number, "item_id": f"item-{number}"} for kind in kinds]


WHOLE = [
    {"type": "response.in_progress"},
    *item(0, "output_item.added", "output_item.done"),
    *item(1, "output_item.added", "content_part.added", "output_text.delta", "content_part.done", "output_item.done"),
    {"type": "response.completed"},
]
"""What a handler sends after `response.created`."""


async def stored() -> list[Any]:
    stream = await streams.get(RESPONSE)
    await stream.close()
    return [event async for event in stream.subscribe()]


@pytest.mark.parametrize("cut", range(1, len(WHOLE) + 1))
@pytest.mark.parametrize("checkpointed", [0, 1])
async def test_wherever_it_was_cut_each_event_is_there_once(registry, cut: int, checkpointed: int) -> None:
    created = {"type": "response.created"}
    stream = await streams.get_or_create(RESPONSE)
    for number, event in enumerate([created, *WHOLE[:cut]]):
        await stream.emit(event | {"sequence_number": number})

    await resume_stream(RESPONSE)
    # The SDK begins after `response.created`, which it counts and does not show, and the handler after its checkpoint.
    again = [WHOLE[0], *(WHOLE[1:] if checkpointed == 0 or cut < 3 else WHOLE[3:])]
    for number, event in enumerate(again, start=cut + 2):
        await stream.emit(event | {"sequence_number": number})

    seen = await stored()
    assert [event["sequence_number"] for event in seen] == list(range(len(WHOLE) + 1))
    assert [(event["type"], event.get("output_index")) for event in seen] == [
        (event["type"], event.get("output_index")) for event in [created, *WHOLE]
    ]


async def test_a_response_that_is_taken_up_after_its_events_have_expired_goes_on(
    registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await streams.get_or_create(RESPONSE)
    for number, event in enumerate([{"type": "response.created"}, WHOLE[0]]):
        await stream.emit(event | {"sequence_number": number})
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 601)
    async with asyncio.timeout(10):
        await resume_stream(RESPONSE)
    await stream.emit(WHOLE[1] | {"sequence_number": 3})
    assert [(event["type"], event["sequence_number"]) for event in await stored()] == [(WHOLE[1]["type"], 2)]


async def test_another_item_at_the_same_place_is_not_taken_for_the_one_that_was_sent(registry) -> None:
    stream = await streams.get_or_create(RESPONSE)
    for number, event in enumerate([{"type": "response.created"}, *WHOLE[:2]]):
        await stream.emit(event | {"sequence_number": number})
    await resume_stream(RESPONSE)
    other = {"type": "response.output_item.added", "output_index": 0, "item": {"id": "another"}}
    await stream.emit(other | {"sequence_number": 5})
    assert [event["sequence_number"] for event in await stored()] == [0, 1, 2, 3]


async def test_a_response_without_a_stream_or_without_events_is_left_as_it_is(registry) -> None:
    await resume_stream(RESPONSE)
    stream = await streams.get_or_create(RESPONSE)
    await resume_stream(RESPONSE)
    await stream.emit({"type": "response.created", "sequence_number": 0})
    assert [event["type"] for event in await stored()] == ["response.created"]


def test_an_items_id_follows_from_the_response_and_its_place() -> None:
    response_id = IdGenerator.new_response_id()
    ids = [item_id(response_id, number, "msg") for number in range(3)]
    assert ids == [item_id(response_id, number, "msg") for number in range(3)]
    assert len(set(ids)) == 3
    assert item_id(IdGenerator.new_response_id(), 0, "msg") not in ids
    for one in ids:
        assert IdGenerator.is_valid(one, ["msg"]) == (True, None)
        assert IdGenerator.extract_partition_key(one) == IdGenerator.extract_partition_key(response_id)
