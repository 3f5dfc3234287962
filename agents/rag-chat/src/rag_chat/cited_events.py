"""Citations in every form of a response: the events of the host, with markers taken out and annotations put in.

The host neither sends `url_citation` annotations nor keeps them: `response.output_text.annotation.added` is never
sent, and the parts, items and responses of all later events say `annotations: []`. What is stored, and what GET and the
next turn see, is the response of the last event, so that one is corrected too. `tests/test_sdk_workarounds.py` fails
when the host keeps annotations by itself.
"""

import copy
from collections.abc import AsyncIterator, Mapping
from typing import Any

from rag_chat.citations import MarkerFilter, annotations
from rag_chat.turn import Turn

Event = Mapping[str, Any]
_Key = tuple[str, int]

TERMINAL = ("response.completed", "response.failed", "response.incomplete")


async def with_citations(events: AsyncIterator[Event], turn: Turn) -> AsyncIterator[Event]:
    """`events` as users are to see them. Numbers of events are the host's to give again."""
    cited = _CitedTexts(turn)
    async for event in events:
        for shown in cited.take(event):
            yield shown


class _CitedTexts:
    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._open: dict[_Key, MarkerFilter] = {}
        self._done: dict[_Key, tuple[str, list[dict[str, Any]]]] = {}

    def take(self, event: Event) -> list[Event]:
        match event.get("type"):
            case "response.output_text.delta":
                text = self._filter(event).feed(event["delta"])
                return [{**event, "delta": text}] if text else []
            case "response.output_text.done":
                return self._finish(event)
            case "response.content_part.done":
                part = copy.deepcopy(dict(event["part"]))
                self._correct(part, _key(event))
                return [{**event, "part": part}]
            case "response.output_item.done":
                item = copy.deepcopy(dict(event["item"]))
                self._correct_item(item)
                return [{**event, "item": item}]
            case kind if kind in TERMINAL:
                response = copy.deepcopy(dict(event["response"]))
                for item in response.get("output") or []:
                    self._correct_item(item)
                return [{**event, "response": response}]
        return [event]

    def _filter(self, event: Event) -> MarkerFilter:
        return self._open.setdefault(_key(event), MarkerFilter())

    def _finish(self, event: Event) -> list[Event]:
        key = _key(event)
        text = self._filter(event)
        rest = text.finish() if key in self._done or text.text or text.markers else text.feed(event["text"])
        rest += text.finish()
        found = annotations(text.text, text.markers, self._turn.sources, self._turn.asked)
        self._done[key] = (text.text, found)
        place = {name: event[name] for name in ("item_id", "output_index", "content_index")}
        late = [{"type": "response.output_text.delta", **place, "delta": rest, "logprobs": []}] if rest else []
        added = [
            {
                "type": "response.output_text.annotation.added",
                **place,
                "annotation_index": index,
                "annotation": dict(annotation),
            }
            for index, annotation in enumerate(found)
        ]
        return [*late, {**event, "text": text.text}, *added]

    def _correct_item(self, item: dict[str, Any]) -> None:
        if item.get("type") == "message":
            for index, part in enumerate(item.get("content") or []):
                self._correct(part, (item.get("id", ""), index))

    def _correct(self, part: dict[str, Any], key: _Key) -> None:
        if key in self._done and part.get("type") == "output_text":
            text, found = self._done[key]
            part["text"] = text
            part["annotations"] = copy.deepcopy(found)


def _key(event: Event) -> _Key:
    return event["item_id"], event["content_index"]
