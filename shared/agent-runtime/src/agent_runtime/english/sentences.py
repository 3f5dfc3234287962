"""Markdown text as units that can be quoted on their own: sentences, list items and table rows.

A list item keeps the sentence that leads into its list, and a table row keeps its column headers, as context to be
found by; what is quoted stays verbatim. Which unit answers a question is left to `answering`.
"""

import re
from dataclasses import dataclass

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')\]]*\s+(?=[\"“'(\[*`]*[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|approx|no|nos|mr|mrs|ms|dr|st|vs|incl|max|min|p|pp)|\b[A-Z])\.$", re.I
)
_LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,3}[.)])\s+(?P<text>.+)$")
_HEADING = re.compile(r"^\s{0,3}(#{1,6})\s+(?P<text>.+?)\s*#*$")
_TABLE_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*$")
_LINK = re.compile(r"!?\[([^\]\n]{1,200})\]\([^)\s]{0,500}\)")
# A sentence with such a word may speak of what the sentence before it names.
_POINTS_BACK = re.compile(
    r"^\W*(?:these|those|this|that|its|their|then|otherwise|later|both|neither|(?:after|beyond|before) (?:that|this))\b"
    r"|\b(?:it|they|them)\b",
    re.IGNORECASE,
)
_MAX_BEFORE = 300
_MARKUP = re.compile(r"(\*\*|__|(?<!\w)[*_](?=\w)|(?<=[\w.!?])[*_](?!\w))")


@dataclass(frozen=True, slots=True)
class Unit:
    """One quotable piece. `context` is the lead-in that it is read with; `heading` is the nearest one.

    `before` are the sentences of its paragraph that it points back to with a word such as `it`.
    """

    text: str
    context: str = ""
    heading: str = ""
    is_question: bool = False
    before: tuple[str, ...] = ()
    is_row: bool = False
    """Whether it is a row of a table: what other rows say is not said of it."""


def split_sentences(text: str) -> list[str]:
    """The sentences of one paragraph, white space made single."""
    flat = " ".join(text.split())
    sentences: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(flat):
        sentence = flat[start : end.end()].strip()
        if _ABBREVIATION.search(sentence) and not sentence.endswith(("etc.",)):
            continue
        sentences.append(sentence)
        start = end.end()
    if rest := flat[start:].strip():
        sentences.append(rest)
    return sentences


def split_units(text: str) -> list[Unit]:
    """The quotable units of a markdown text, in order."""
    units: list[Unit] = []
    paragraph: list[str] = []
    heading = ""
    lead_in = ""
    item: list[str] = []

    def end_item() -> None:
        if item:
            units.append(Unit(_plain(" ".join(item)), context=lead_in, heading=heading))
            item.clear()

    def end_paragraph() -> None:
        nonlocal lead_in
        if paragraph:
            sentences = split_sentences(_plain(" ".join(paragraph)))
            lead_in = sentences[-1] if sentences and sentences[-1].endswith(":") else ""
            before: tuple[str, ...] = ()
            for at, sentence in enumerate(sentences):
                points_back = at > 0 and _POINTS_BACK.search(sentence)
                before = _last_of((*before, sentences[at - 1])) if points_back else ()
                if not sentence.endswith(":"):
                    units.append(Unit(sentence, "", heading, sentence.endswith("?"), before))
            paragraph.clear()

    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if found := _HEADING.match(line):
            end_item()
            end_paragraph()
            heading, lead_in = _plain(found["text"]), ""
        elif "|" in line and at + 1 < len(lines) and "|" in lines[at + 1] and _TABLE_RULE.match(lines[at + 1]):
            end_item()
            end_paragraph()
            headers = _cells(line)
            at += 2
            while at < len(lines) and "|" in lines[at]:
                cells = _cells(lines[at])
                row = "; ".join(
                    f"{header}: {cell}" if header else cell
                    for header, cell in zip(headers, cells, strict=False)
                    if cell
                )
                if row:
                    units.append(Unit(row, context=lead_in, heading=heading, is_row=True))
                at += 1
            continue
        elif found := _LIST_ITEM.match(line):
            end_paragraph()
            end_item()
            item.append(found["text"].strip())
        elif not line.strip():
            end_item()
            end_paragraph()
        elif item and line.startswith((" ", "\t")):
            item.append(line.strip())
        else:
            end_item()
            paragraph.append(line.strip().lstrip("> "))
        at += 1
    end_item()
    end_paragraph()
    return [unit for unit in units if any(char.isalnum() for char in unit.text)]


def _last_of(sentences: tuple[str, ...]) -> tuple[str, ...]:
    """The last of the sentences that are short enough to be quoted along."""
    while sum(map(len, sentences)) > _MAX_BEFORE:
        sentences = sentences[1:]
    return sentences


def _cells(line: str) -> list[str]:
    return [_plain(cell.strip()) for cell in line.strip().strip("|").split("|")]


def _plain(text: str) -> str:
    """The text as a reader sees it: without marks for bold and italics, and of a link only its words."""
    return _MARKUP.sub("", _LINK.sub(r"\1", text)).strip()
