"""What a model was given to answer from: tool outputs and texts, read into passages, records and errors.

The shapes are told by structure alone: a list of objects with `text` holds passages, `error` with a message is an
error, any other object is a record. Which of it answers a question is left to `answering`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

# A sentence that only says where to read on.
_POINTER = re.compile(
    r"^(?:see|refer to|read)\b"
    r"|^(?:the |all )?(?:rules|details|steps|conditions|exceptions|rest|procedure|list) (?:is|are) (?:\w+ )?in\b",
    re.IGNORECASE,
)
_NUMBERED_BLOCK = re.compile(r"^[ \t]*\[(\d{1,3})\]\s*", re.MULTILINE)
_OPENING = re.compile(r"[{\[]")
_MAX_TRIES = 50
_MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to quote from. `number` is what it is cited by, if anything."""

    text: str
    title: str = ""
    heading: str = ""
    number: int | None = None


@dataclass(slots=True)
class Sources:
    """All that was given. `searched` says that a search came back, be it empty-handed."""

    passages: list[Passage] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    searched: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.passages or self.records or self.errors or self.searched)


def read_outputs(outputs: Iterable[str]) -> Sources:
    """Read tool outputs, JSON or plain text."""
    sources = Sources()
    for output in outputs:
        try:
            value = json.loads(output)
        except (ValueError, RecursionError):
            value = output
        _sort_in(value, sources, 0)
    return sources


def read_context(text: str) -> Sources:
    """Read passages out of a text that carries them: JSON, `[n]` blocks, or simply text."""
    sources = Sources()
    value = embedded_json(text)
    if isinstance(value, dict | list):
        _sort_in(value, sources, 0)
        if sources.passages:
            return sources
        sources = Sources()
    starts = list(_NUMBERED_BLOCK.finditer(text))
    if not starts:
        _sort_in(text, sources, 0)
        return sources
    for at, start in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        first, _, rest = text[start.end() : end].strip().partition("\n")
        # A first line without a full stop is the block's title.
        titled = bool(rest.strip()) and not first.rstrip().endswith((".", "!", "?"))
        body = rest if titled else f"{first}\n{rest}"
        sources.passages.append(Passage(body.strip(), title=first if titled else "", number=int(start[1])))
    return sources


def is_pointer(sentence: str) -> bool:
    """Whether a sentence only says where to read on."""
    return bool(_POINTER.search(sentence))


def has_numbered_blocks(text: str) -> bool:
    """Whether a text carries passages in `[n]` blocks."""
    return bool(_NUMBERED_BLOCK.search(text))


def embedded_json(text: str) -> Any:
    """The JSON object or array that a text is or holds (the longest one), or None."""
    found = max(_json_in(text), key=lambda one: one[1] - one[0], default=None)
    return found[2] if found else None


def without_json(text: str) -> str:
    """A text without the JSON objects and arrays of objects that stand in it."""
    kept: list[str] = []
    at = 0
    for start, end, _ in _json_in(text):
        kept.append(text[at:start])
        at = end
    return "".join([*kept, text[at:]])


def _json_in(text: str) -> Iterator[tuple[int, int, Any]]:
    decoder = json.JSONDecoder()
    at = 0
    for _ in range(_MAX_TRIES):
        found = _OPENING.search(text, at)
        if found is None:
            return
        try:
            value, at = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            at = found.end()
            continue
        if value and (isinstance(value, dict) or _objects(value)):
            yield found.start(), at, value


def _objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _sort_in(value: Any, sources: Sources, depth: int) -> None:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        if value.strip():
            sources.passages.append(Passage(value.strip()))
        else:
            sources.searched = True
    elif isinstance(value, list):
        if not value:
            sources.searched = True
        for one in value:
            _sort_in(one, sources, depth + 1)
    elif isinstance(value, dict):
        _sort_in_object(value, sources, depth)
    elif value is not None:
        sources.records.append({"result": value})


def _sort_in_object(value: dict[str, Any], sources: Sources, depth: int) -> None:
    error = value.get("error")
    if error and (message := error.get("message") if isinstance(error, dict) else error):
        sources.errors.append(str(message).strip())
        return
    if isinstance(value.get("text"), str):
        # Content parts of a tool's protocol wrap their JSON as text.
        inner = embedded_json(value["text"]) if set(value) <= {"type", "text", "annotations", "meta"} else None
        if inner is not None:
            _sort_in(inner, sources, depth + 1)
        elif value["text"].strip():
            sources.passages.append(_passage(value))
        return
    lists = {name: one for name, one in value.items() if isinstance(one, list)}
    passages = [one for many in lists.values() for one in many if isinstance(one, dict) and _is_passage(one)]
    if passages:
        for one in passages:
            _sort_in(one, sources, depth + 1)
        return
    if lists and all(not many for many in lists.values()) and not isinstance(value.get("summary"), str):
        echoed = {"query", "question", "search", "count", "total"}
        if set(value) - set(lists) <= echoed:
            sources.searched = True
            return
    if value:
        sources.records.append(value)


def _is_passage(value: dict[str, Any]) -> bool:
    return isinstance(value.get("text"), str)


def _passage(value: dict[str, Any]) -> Passage:
    number = value.get("number")
    heading = value.get("heading")
    if isinstance(heading, list):
        heading = " > ".join(str(one) for one in heading)
    return Passage(
        text=value["text"].strip(),
        title=str(value.get("title") or ""),
        heading=str(heading or ""),
        number=number if isinstance(number, int) and not isinstance(number, bool) else None,
    )


def scalar_text(value: Any) -> str | None:
    """A scalar as a reader wants it; None for what is no scalar."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    return None


def record_lines(record: dict[str, Any]) -> list[str]:
    """A record to read: its `summary`, or `field: value` of its scalars, and a line for each object in its lists."""
    summary = record.get("summary")
    if isinstance(summary, str) and summary.strip():
        return [summary.strip()]
    lines = [f"{_label(name)}: {text}" for name, value in record.items() if (text := scalar_text(value)) is not None]
    for name, value in record.items():
        if isinstance(value, dict):
            amount = _flat(value)
            if amount:
                lines.append(f"{_label(name)}: {amount}")
        elif isinstance(value, list):
            shown = list(_list_lines(value))
            if shown:
                lines.append(f"{_label(name)}:")
                lines.extend(f"- {one}" for one in shown[:10])
    return lines


def _list_lines(values: list[Any]) -> Iterator[str]:
    for one in values:
        if isinstance(one, dict):
            summary = one.get("summary")
            text: str | None = summary if isinstance(summary, str) and summary.strip() else _flat(one)
        else:
            text = scalar_text(one)
        if text:
            yield text


def _flat(value: dict[str, Any]) -> str:
    pairs = ((name, scalar_text(one)) for name, one in value.items())
    return ", ".join(f"{_label(name)} {text}" for name, text in pairs if text is not None)


def _label(name: str) -> str:
    return name.replace("_", " ")
