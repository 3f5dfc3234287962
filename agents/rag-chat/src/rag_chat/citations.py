"""From the markers that the model writes to citations that point at sentences.

The model ends a sentence with `[2]` for the passage numbered 2. Users never see the markers: they are taken out while
the text streams, and become annotations of the sentence they stood at. Numbers that no passage has are dropped, and so
are those of passages that cannot support the sentence (`support.py`).
Positions count Unicode code points of the final text, the end excluded, as Python slices do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_chat.support import supports
from rag_chat.turn import Source

# [1]  [1, 2]  [^1], and the lenticular brackets that some models were trained to use. Four digits are a year. Spaces
# are counted, because models that go astray write thousands, and each would be tried as the first.
_MARKER = re.compile(r"[ \t]{0,8}(?:\[\^?(\d{1,3}(?: ?[,;] ?\d{1,3}){0,7})\]|【(\d{1,3})(?:†[^】\n]{0,40})?】)")
# What could become a marker when more text comes, with the space before it.
_PARTIAL = re.compile(r"[ \t]{0,8}(?:\[\^?[\d,; ]{0,40}|【(?:\d{1,3}(?:†[^】\n]{0,40})?)?)?\Z")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]*_]*(?:\s+(?=[\"'“‘(\[*_]*[^\W\d_a-z])|\s*\Z)|\n+")  # noqa: RUF001
_CLOSING = re.compile(r"[\"'”’)*_]*[.!?…:;]?[\"'”’)*_]*")  # noqa: RUF001
_NOT_SENTENCE = re.compile(r"(?:[\s,;:.!?…]|[-*+>#|]+ |\d{1,3}[.)] )*")


@dataclass(frozen=True, slots=True)
class Marker:
    position: int
    """In the text without markers."""
    numbers: tuple[int, ...]


@dataclass(slots=True)
class MarkerFilter:
    """Takes markers out of a text that comes in pieces. Holds back only what may still become one."""

    text: str = ""
    """What was let through so far."""
    markers: list[Marker] = field(default_factory=list)
    _held: str = ""

    def feed(self, piece: str) -> str:
        """The next piece, without markers; what is empty needs not be sent."""
        waiting = self._held + piece
        start, before = 0, len(self.text)
        for match in _MARKER.finditer(waiting):
            self._let_through(waiting[start : match.start()])
            numbers = re.findall(r"\d+", match[1] or match[2])
            self.markers.append(Marker(len(self.text), tuple(int(number) for number in numbers)))
            start = match.end()
        rest = waiting[start:]
        partial = _PARTIAL.search(rest)
        cut = partial.start() if partial else len(rest)
        self._let_through(rest[:cut])
        self._held = rest[cut:]
        return self.text[before:]

    def finish(self) -> str:
        """What was held back and did not become a marker."""
        before = len(self.text)
        self._let_through(self._held)
        self._held = ""
        return self.text[before:]

    def _let_through(self, text: str) -> None:
        # A marker that began a line leaves no space behind.
        after_marker = bool(self.markers) and self.markers[-1].position == len(self.text)
        if after_marker and (not self.text or self.text.endswith("\n")):
            text = text.lstrip(" \t")
        self.text += text


def annotations(
    text: str, markers: Sequence[Marker], sources: Mapping[int, Source], asked: str = ""
) -> list[dict[str, Any]]:
    """The `url_citation` annotations for `text`, an answer to `asked`: in its order, each once, and none that points at
    a passage on which the sentence cannot rest."""
    found: dict[tuple[int, int, str], dict[str, Any]] = {}
    previous = 0
    for position in dict.fromkeys(marker.position for marker in markers):
        start, end = _sentence(text, position, previous)
        previous = end
        numbers = [number for marker in markers if marker.position == position for number in marker.numbers]
        for number in numbers:
            source = sources.get(number)
            if source is None or start >= end:
                continue
            if not supports(f"{source.title}\n{source.text}", text[start:end], asked):
                continue
            found[start, end, source.url] = {
                "type": "url_citation",
                "url": source.url,
                "title": source.title,
                "start_index": start,
                "end_index": end,
            }
    return list(found.values())


def _sentence(text: str, position: int, previous: int) -> tuple[int, int]:
    """The part of `text` that a marker at `position` stands for: the sentence it ends or follows, from the last marker
    on where that was in the same sentence."""
    ending = len(text[:position].rstrip())
    start = previous
    for boundary in _SENTENCE_END.finditer(text, previous, ending):
        if boundary.end() < ending:
            start = boundary.end()
    skipped = _NOT_SENTENCE.match(text, start, ending)
    start = skipped.end() if skipped else start
    closing = _CLOSING.match(text, ending) if ending == position else None
    return start, closing.end() if closing else ending
