"""Cut a markdown document into passages along its structure.

A passage belongs to one section and keeps the path of headings above it. Tables, lists and code stay whole, and with
the line that introduces them; long prose is cut between sentences, with the last sentence repeated, so that a thought
that crosses the cut is whole in one of the two. Anchors are GitHub's, so that they work wherever the documents are
shown. What a passage of another kind of document is, is for whoever turns it into markdown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent_runtime.retrieval.passages import Passage

PASSAGE_CHARACTERS = 1200
"""What prose is packed to: some 200 words, enough for a rule with its exceptions."""
_WHOLE_CHARACTERS = 6000
"""A table, list or block of code is kept whole up to here; beyond, it is cut between rows or items."""
_OVERLAP_CHARACTERS = 250

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)(?:^|\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})")
_TABLE_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_SENTENCE_END = re.compile(
    r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’)\]]))\s+(?=[\"'“‘(\[]*[A-Z0-9])"  # noqa: RUF001 - quotation marks of prose
)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(\*{1,3}|(?<!\w)_{1,3}(?=\S))(.+?)\1")
_NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")

_Kind = Literal["prose", "list", "table", "code"]


@dataclass(frozen=True, slots=True)
class _Block:
    kind: _Kind
    text: str


@dataclass(slots=True)
class _Section:
    path: tuple[str, ...]
    anchor: str
    blocks: list[_Block] = field(default_factory=list)


def read_front_matter(text: str) -> tuple[dict[str, str], str]:
    """The flat `key: value` lines between `---` lines at the top of `text`, and the rest of it."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}, text
    lines = (line.partition(":") for line in match[1].splitlines() if not line.lstrip().startswith("#"))
    values = {key.strip(): value.strip().strip("\"'") for key, colon, value in lines if colon}
    return values, text[match.end() :]


def chunk_markdown(document_id: str, text: str) -> list[Passage]:
    """The passages of a document in reading order.

    The title is the front matter's, else the first heading of level 1, else the document's name.
    """
    front_matter, body = read_front_matter(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    sections = list(_sections(_COMMENT.sub("", body)))
    first_heading = next((section.path[0] for section in sections if section.path and section.path[0]), "")
    title = front_matter.get("title") or first_heading or _name_as_title(document_id)
    passages: list[Passage] = []
    ordinals: dict[str, int] = {}
    for section in sections:
        # The title is shown with every passage already.
        path = tuple(heading for level, heading in enumerate(section.path) if heading and (level or heading != title))
        for piece in _pieces(section.blocks):
            ordinal = ordinals[section.anchor] = ordinals.get(section.anchor, 0) + 1
            identity = f"{document_id}#{section.anchor}:{ordinal}"
            passages.append(Passage(identity, document_id, title, path, piece, section.anchor))
    return passages


def anchor_of(heading: str, used: dict[str, int]) -> str:
    """GitHub's anchor for a heading; `used` counts those given in the same document, which get `-1`, `-2`, ..."""
    plain = _NOT_IN_ANCHOR.sub("", heading.strip().lower()).replace(" ", "-")
    anchor = plain
    while anchor in used:
        used[plain] = used.get(plain, 0) + 1
        anchor = f"{plain}-{used[plain]}"
    used[anchor] = 0
    return anchor


def _name_as_title(document_id: str) -> str:
    return document_id.rpartition("/")[2].replace("-", " ").replace("_", " ").strip().capitalize()


def _plain(heading: str) -> str:
    heading = _LINK.sub(r"\1", heading)
    heading = _EMPHASIS.sub(r"\2", heading)
    return heading.replace("`", "").strip()


def _sections(body: str) -> Iterator[_Section]:
    headings: list[str] = []
    anchors: dict[str, int] = {}
    section = _Section((), "")
    for block in _blocks(body.split("\n")):
        if isinstance(block, _Block):
            section.blocks.append(block)
            continue
        level, heading = block
        yield section
        headings = [*headings[: level - 1], *[""] * (level - 1 - len(headings)), heading]
        section = _Section(tuple(headings), anchor_of(heading, anchors))
    yield section


def _blocks(lines: list[str]) -> Iterator[_Block | tuple[int, str]]:
    """Blocks, and headings as (level, text)."""
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif heading := _HEADING.fullmatch(line):
            yield len(heading[1]), _plain(heading[2] or "")
            at += 1
        elif fence := _FENCE.match(line):
            end = at + 1
            while end < len(lines) and not lines[end].strip().startswith(fence[1]):
                end += 1
            yield _block("code", lines[at : end + 1])
            at = end + 1
        elif _starts_table(lines, at):
            end = at + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            yield _block("table", lines[at:end])
            at = end
        elif _RULE.fullmatch(line):
            at += 1
        elif _LIST_ITEM.match(line):
            end = _list_end(lines, at)
            yield _block("list", lines[at:end])
            at = end
        else:
            end = at + 1
            while end < len(lines) and not _ends_prose(lines, end):
                end += 1
            if end < len(lines) and (underline := _UNDERLINE.fullmatch(lines[end])):
                yield 1 if underline[1][0] == "=" else 2, _plain(" ".join(lines[at:end]))
                end += 1
            else:
                yield _block("prose", lines[at:end])
            at = end


def _block(kind: _Kind, lines: list[str]) -> _Block:
    return _Block(kind, "\n".join(line.rstrip() for line in lines).strip("\n"))


def _starts_table(lines: list[str], at: int) -> bool:
    return (
        "|" in lines[at]
        and at + 1 < len(lines)
        and "|" in lines[at + 1]
        and _TABLE_DELIMITER.fullmatch(lines[at + 1]) is not None
    )


def _ends_prose(lines: list[str], at: int) -> bool:
    line = lines[at]
    return (
        not line.strip()
        or any(pattern.fullmatch(line) for pattern in (_HEADING, _UNDERLINE, _RULE))
        or any(pattern.match(line) for pattern in (_FENCE, _LIST_ITEM))
        or _starts_table(lines, at)
    )


def _list_end(lines: list[str], at: int) -> int:
    """Items, what is indented below them, and the lines that lazily continue one; blank lines between items too."""
    end = at + 1
    while end < len(lines):
        line = lines[end]
        if line.strip():
            if _HEADING.fullmatch(line) or (_FENCE.match(line) and not line.startswith("  ")):
                break
            end += 1
            continue
        following = next((number for number in range(end, len(lines)) if lines[number].strip()), len(lines))
        if following == len(lines) or not (
            lines[following].startswith(("  ", "\t")) or _LIST_ITEM.match(lines[following])
        ):
            break
        end = following
    return end


def _pieces(blocks: list[_Block]) -> Iterator[str]:
    """Texts of passages: blocks packed up to the size, in order."""
    held: list[_Block] = []
    for block in _joined_with_introductions(blocks):
        for part in _parts(block):
            if held and _size(held) + len(part.text) > PASSAGE_CHARACTERS:
                yield _text(held)
                repeated = _overlap(held[-1]) if held[-1].kind == part.kind == "prose" else None
                held = [repeated] if repeated is not None and not part.text.startswith(repeated.text) else []
            held.append(part)
    if held:
        yield _text(held)


def _joined_with_introductions(blocks: list[_Block]) -> Iterator[_Block]:
    """A line that ends with a colon belongs to the list, table or code that it introduces."""
    introduction = ""
    for number, block in enumerate(blocks):
        following = blocks[number + 1].kind if number + 1 < len(blocks) else "prose"
        text = introduction + block.text
        if block.kind == "prose" and following != "prose" and block.text.rstrip("*_ ").endswith(":"):
            introduction = f"{text}\n\n"
            continue
        introduction = ""
        yield _Block(block.kind, text)


def _parts(block: _Block) -> Iterator[_Block]:
    most = PASSAGE_CHARACTERS if block.kind == "prose" else _WHOLE_CHARACTERS
    if len(block.text) <= most:
        yield block
        return
    head, units = _units(block)
    glue = " " if block.kind == "prose" else "\n"
    held: list[str] = []
    for unit in units:
        if held and len(head) + sum(len(one) + 1 for one in held) + len(unit) > PASSAGE_CHARACTERS:
            yield _Block(block.kind, head + glue.join(held))
            repeated = held[-1] if block.kind == "prose" and len(held[-1]) <= _OVERLAP_CHARACTERS else ""
            held = [repeated] if repeated and len(held) > 1 else []
        held.append(unit)
    if held:
        yield _Block(block.kind, head + glue.join(held))


def _units(block: _Block) -> tuple[str, list[str]]:
    """What a large block may be cut between, and what each of its parts begins with."""
    if block.kind == "prose":
        return "", [piece for sentence in _SENTENCE_END.split(block.text) for piece in _wrapped(sentence)]
    lines = block.text.split("\n")
    if block.kind == "table":
        start = next(number for number in range(len(lines)) if _starts_table(lines, number))
        return "\n".join(lines[: start + 2]) + "\n", lines[start + 2 :]
    if block.kind == "code":
        return "", lines
    units: list[str] = []
    for line in lines:
        if units and not re.match(r"(?:[-*+]|\d{1,9}[.)])\s", line):
            units[-1] += f"\n{line}"
        else:
            units.append(line)
    return "", units


def _wrapped(sentence: str) -> list[str]:
    """A sentence, or the pieces of one without end, cut between words where there are any."""
    pieces = []
    while len(sentence) > PASSAGE_CHARACTERS:
        cut = sentence.rfind(" ", PASSAGE_CHARACTERS // 2, PASSAGE_CHARACTERS)
        cut = PASSAGE_CHARACTERS if cut < 0 else cut
        pieces.append(sentence[:cut])
        sentence = sentence[cut:].lstrip()
    return [*pieces, sentence] if sentence else pieces


def _overlap(block: _Block) -> _Block | None:
    last = _SENTENCE_END.split(block.text)[-1]
    return _Block("prose", last) if len(last) <= _OVERLAP_CHARACTERS and last != block.text else None


def _size(blocks: list[_Block]) -> int:
    return sum(len(block.text) + 2 for block in blocks)


def _text(blocks: list[_Block]) -> str:
    return "\n\n".join(block.text for block in blocks)
