"""Fills a JSON schema from a text: what the text says in the form that the schema asks for, and null for the rest.

Values are found by their written form (patterns, formats), by the names and descriptions of the schema, and by fields
of the same name when the text holds JSON or `key: value` lines. What the text does not say is left null, or is the
emptiest value that the schema allows.
"""

import html
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent_runtime.english.sentences import split_sentences
from agent_runtime.english.tokens import has_stem, is_content, same_stem, stem, stem_set, words

from . import values
from .answering import informative_sentences
from .cannot_do import CannotDo
from .json_schema import (
    Schema,
    allows_null,
    find_by_pattern,
    fits_number,
    fits_string,
    kind_of,
    patterns,
    properties,
    resolve,
    variants,
)
from .orders import is_order_to_assistant
from .schema_checks import keeps_to
from .sources import embedded_json, without_json

_MOST = 0.7
_LINE = re.compile(
    r"^[ \t]*(?:[-*][ \t]+)?\**(?P<name>[A-Za-z][\w /-]{0,38}?)\**\s*[:=]\**[ \t]+(?P<value>\S.*)$", re.MULTILINE
)
_EXAMPLE = re.compile(r"(?<![\w-])(?=[\w-]*\d)[A-Za-z]{1,8}-?[\w-]*\d[\w-]*(?![\w-])")
_REQUEST = re.compile(
    r"\b(?:please|could you|can you|would you|will you|i(?:'d| would) like|i want|i need|we (?:want|need)"
    r"|i(?:'m| am) asking|let me know|asking (?:for|to)|hoping)\b",
    re.IGNORECASE,
)
_CODED = re.compile(r"\bBCP\b|\bISO\b|\bcode\b", re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_MARKUP = re.compile(r"</(?:p|div|body|html|table|td|span|a|b|blockquote|script|style)>|<br\b|<!--", re.IGNORECASE)
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(r"<br\b[^>]*>|</(?:p|div|tr|table|blockquote|li)>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:p|div|body|html|head|table|tbody|tr|td|th|span|a|b|i|u|em|strong|img|ul|ol|li|font|h[1-6]|blockquote)\b[^>]*>",
    re.IGNORECASE,
)
_MAX_TEXT = 20_000
_MAX_DEPTH = 12
_MAX_FIELDS = 5_000
EMPTY_VALUES = ("unknown", "unspecified", "not_specified", "none", "other", "normal", "medium", "general", "na", "n/a")
_MONEY_NAMES = stem_set("amount price total fee cost value sum money budget charge balance payment")
_TEXT_NAMES = stem_set(
    "summary title subject headline description details problem text message note notes body content topic comment "
    "context report complaint goal query"
) | {"issue", "reason", "question", "detail", "describ", "descript", "explan"}
_TITLE_NAMES = frozenset(stem(word) for word in ("title", "subject", "headline", "label"))
_LONG_NAMES = frozenset(
    stem(word) for word in ("description", "details", "body", "message", "content", "text", "report", "notes")
)
_REQUEST_NAMES = frozenset(stem(word) for word in ("request", "action", "wish", "desired", "wanted", "ask"))
_IDENTIFIER_NAMES = frozenset({"id", "identifier", "number", "reference", "ref", "code"})


@dataclass(frozen=True, slots=True)
class Found:
    """A value for a schema. `told` is False where the text did not tell it and it is the emptiest value allowed."""

    value: Any
    told: bool


@dataclass(slots=True)
class Filler:
    """Fills schemas from one text. `known` has values by name, which are taken before the text is read."""

    root: Schema
    text: str
    known: dict[str, Any] = field(default_factory=dict)
    prose: bool = True
    """Whether sentences of the text may fill fields such as a summary or a reason."""
    _optional: bool = False
    """Whether the field that is being filled may be null."""
    _depth: int = 0
    _count: int = 0

    def __post_init__(self) -> None:
        self.text = self.text[:_MAX_TEXT]

    def fill(self, schema: Any, name: str = "", known: dict[str, Any] | None = None) -> Found:
        """The value for a schema that is called `name` where it stands. Raises `CannotDo` for one without end."""
        self._count += 1
        if self._count > _MAX_FIELDS:
            raise CannotDo("The offline model cannot fill a schema that nests without end or has this many fields.")
        known = self.known if known is None else known
        schema = resolve(schema, self.root)
        if "const" in schema:
            return Found(schema["const"], told=False)
        options = variants(schema, self.root)
        nullable = allows_null(schema, self.root)
        given = _by_name(name, known) if name else None
        if given is not None:
            for option in options:
                fitted = self._fit(given, option, name)
                if fitted is not None and keeps_to(fitted, schema, self.root):
                    return Found(fitted, told=True)
        best: Found | None = None
        for option in options:
            self._optional = nullable
            found = self._find(option, name, known)
            if found is not None and found.told and keeps_to(found.value, schema, self.root):
                # Of object variants the one with the most told is meant.
                more = best is None or _told_count(found.value) > _told_count(best.value)
                if best is None or (isinstance(found.value, dict) and more):
                    best = found
                if not isinstance(found.value, dict):
                    break
        if best is not None:
            return best
        if nullable:
            return Found(None, told=False)
        if "default" in schema and keeps_to(schema["default"], schema, self.root):
            return Found(schema["default"], told=False)
        last: Any = None
        for option in options or [{}]:
            last = self._emptiest(option, name, known)
            if keeps_to(last, schema, self.root):
                break
        return Found(last, told=False)

    def fill_object(self, schema: Schema, known: dict[str, Any], *, whole: bool = True) -> tuple[dict[str, Any], bool]:
        """The object for an object schema, and whether the text told any of it. Optional untold values are left out."""
        if self._depth >= _MAX_DEPTH:
            return {}, False
        self._depth += 1
        try:
            return self._fill_fields(resolve(schema, self.root), known, whole=whole)
        finally:
            self._depth -= 1

    def _fill_fields(self, schema: Schema, known: dict[str, Any], *, whole: bool) -> tuple[dict[str, Any], bool]:
        fields = properties(schema, self.root)
        required = schema.get("required", []) if whole else list(fields)
        filled: dict[str, Any] = {}
        any_told = False
        for name, one in fields.items():
            # A schema that holds itself is filled once; what it may leave out ends there.
            deep = self._depth > _MAX_DEPTH // 2
            if deep and name not in required:
                continue
            if deep and allows_null(one, self.root):
                filled[name] = None
                continue
            found = self.fill(one, name, known)
            if found.told or name in required:
                filled[name] = found.value
            any_told = any_told or found.told
        return filled, any_told

    def _find(self, schema: Schema, name: str, known: dict[str, Any]) -> Found | None:
        if "const" in schema:
            return Found(schema["const"], told=False)
        kind = kind_of(schema)
        if kind == "object":
            inner = _by_name(name, known) if name else None
            value, told = self.fill_object(schema, inner if isinstance(inner, dict) else known)
            return Found(value, told)
        if kind == "array":
            found = self._find_array(schema, name, known)
            return Found(found, told=True) if found else None
        if kind == "boolean":
            flag = self._find_boolean(schema, name)
            return None if flag is None else Found(flag, told=True)
        if kind in ("number", "integer"):
            number = self._find_number(schema, name, kind)
            return None if number is None else Found(number, told=True)
        text = self._find_string(schema, name)
        return None if text is None else Found(text, told=True)

    def _find_string(self, schema: Schema, name: str) -> str | None:
        found = self._string_candidates(schema, name)
        return next((one for one in found if fits_string(one, schema)), None)

    def _string_candidates(self, schema: Schema, name: str) -> list[str]:
        description = str(schema.get("description", ""))
        if isinstance(schema.get("enum"), list):
            closed = [one for one in schema["enum"] if isinstance(one, str)]
            if "currenc" in name.lower():
                return [one.currency for one in values.amounts(self.text)]
            best = values.best_enum(closed, self.text, description)
            return [best] if best else []
        named = {stem(word) for word in words(name)}
        if "languag" in named:
            code = values.language(self.text)
            if code is None:
                return []
            coded = schema.get("maxLength", 9) < 7 or "pattern" in schema or _CODED.search(description)
            return [code] if coded else [values.LANGUAGE_NAMES[code], code]
        if isinstance(schema.get("pattern"), str) and (found := find_by_pattern(schema["pattern"], self.text)):
            return found
        shape = str(schema.get("format", ""))
        by_shape: dict[str, Callable[[str], list[str]]] = {
            "date": values.dates,
            "date-time": values.date_times,
            "email": values.EMAIL.findall,
            "uri": values.URL.findall,
            "url": values.URL.findall,
            "uuid": values.UUID.findall,
        }
        if shape in by_shape:
            return list(by_shape[shape](self.text))
        if named & _MONEY_NAMES and "currency" not in name.lower():
            money = self._meant_amounts()
            with_currency = "pattern" not in schema and "currency" in description.lower()
            return [f"{one.figure} {one.currency}" if with_currency else one.figure for one in money[:1]]
        if "currenc" in "".join(named):
            return [one.currency for one in values.amounts(self.text)]
        if "email" in named or {"mail", "address"} <= set(words(name)):
            return values.EMAIL.findall(self.text)
        if named & {"phone", "telephon", "mobil"}:
            return [one[0].strip() for one in values.PHONE.finditer(self.text) if not values.dates(one[0])]
        if named & {"url", "uri", "link", "websit"}:
            return values.URL.findall(self.text)
        if "dat" in named or "date" in words(name):
            return values.dates(self.text)
        if "pattern" in schema:
            return [self._clip(one, schema) for one in self._text_for(named, schema)] if named & _TEXT_NAMES else []
        if set(words(name)) & _IDENTIFIER_NAMES:
            return self._meant(self._identifiers(name, f"{description} {json.dumps(schema.get('examples', []))}"))
        if words(name)[-1:] == ["name"] or "person" in named:
            bearer = values.person(self.text)
            return [bearer] if bearer else []
        if named & _REQUEST_NAMES or named & _TEXT_NAMES:
            return [self._clip(one, schema) for one in self._text_for(named, schema)]
        return []

    def _text_for(self, named: set[str], schema: Schema) -> list[str]:
        if not self.prose:
            return []
        body = self.body
        if named & _REQUEST_NAMES:
            asked = [one for one in split_sentences(body) if _REQUEST.search(one) and not is_order_to_assistant(one)]
            return asked[:1]
        limit = 1 if named & _TITLE_NAMES else 3 if named & _LONG_NAMES else 2
        room = schema.get("maxLength")
        for count in range(limit, 0, -1):
            text = " ".join(informative_sentences(body, count))
            if text and (not isinstance(room, int) or len(text) <= room):
                return [text]
        return informative_sentences(body, 1)

    @property
    def body(self) -> str:
        """The text without a first line that only introduces it and without lines that are fields."""
        first, _, rest = self.text.strip().partition("\n")
        text = rest if rest.strip() and first.rstrip().endswith(":") else self.text
        prose = _LINE.sub("", text)
        return prose if any(is_content(word) for word in words(prose)) and len(prose.split()) > 3 else text

    def _identifiers(self, name: str, description: str) -> list[str]:
        for example in _EXAMPLE.findall(description):
            shape = re.sub(r"\d+", lambda _: r"\d+", re.escape(example))
            if found := re.findall(rf"(?<![\w-]){shape}(?![\w-])", self.text, re.IGNORECASE):
                return [str(one).upper() if example.isupper() else str(one) for one in found]
        kinds = [stem(word) for word in words(name) if word not in _IDENTIFIER_NAMES]
        near: list[str] = []
        for one in re.finditer(r"(?<![\w.-])#?((?=[\w-]*\d)[A-Za-z0-9][\w-]*\w)(?![\w-])", self.text):
            before = [stem(word) for word in words(self.text[max(0, one.start() - 30) : one.start()])][-4:]
            if any(has_stem(kind, before) for kind in kinds):
                near.append(one[1])
        return near

    def _meant(self, found: list[str]) -> list[str]:
        """Of several values first the one that a request names; none where that is open and null will do."""
        distinct = list(dict.fromkeys(found))
        if len(distinct) < 2:
            return distinct
        asked = "\n".join(one for one in split_sentences(self.text) if _REQUEST.search(one))
        named = [one for one in distinct if re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", asked, re.IGNORECASE)]
        if len(named) == 1 or not self._optional:
            return [*named, *(one for one in distinct if one not in named)]
        return []

    def _meant_amounts(self) -> list[values.Amount]:
        """The sum that is meant: the one of a request, if there are several; none where null will do and it is open."""
        every = values.amounts(self.text)
        if len({(one.figure, one.currency) for one in every}) < 2 or not self._optional:
            return every
        asked = [one for part in split_sentences(self.text) if _REQUEST.search(part) for one in values.amounts(part)]
        return asked if len({(one.figure, one.currency) for one in asked}) == 1 else []

    def _find_number(self, schema: Schema, name: str, kind: str) -> float | int | None:
        named = {stem(word) for word in words(name)}
        figures: list[str] = []
        if named & _MONEY_NAMES or re.search(r"currenc|\bmoney\b|\bprice\b", str(schema.get("description", "")), re.I):
            figures = [one.figure for one in values.amounts(self.text)]
        near = values.number_near(self.text, [name]) if not figures else None
        if near is not None:
            figures = [near]
        for figure in figures:
            number = float(figure)
            if kind == "integer" and not number.is_integer():
                continue
            exact = int(number) if kind == "integer" or number.is_integer() else number
            if fits_number(exact, schema):
                return exact
        return None

    def _find_boolean(self, schema: Schema, name: str) -> bool | None:
        wanted = [one for one in stem_set(name) if one not in {"is", "has", "flag"}]
        if not wanted:
            return None
        for sentence in split_sentences(self.text):
            if all(has_stem(one, stem_set(sentence)) for one in wanted):
                value = not values.is_negated(sentence)
                return value if schema.get("enum", [value]).count(value) else None
        return None

    def _find_array(self, schema: Schema, name: str, known: dict[str, Any]) -> list[Any]:
        items = resolve(schema.get("items", {}), self.root)
        options = variants(items, self.root)
        limit = schema.get("maxItems", 20)
        found: list[Any] = []
        for option in options:
            kind = kind_of(option)
            named = {stem(word) for word in words(name)}
            if kind == "string" and isinstance(option.get("enum"), list):
                found = [one for one in option["enum"] if isinstance(one, str) and values.best_enum([one], self.text)]
            elif kind == "string" and patterns(option, self.root):
                found = find_by_pattern(option["pattern"], self.text)
            elif kind == "string" and "question" in " ".join(words(name)):
                found = [one for one in split_sentences(self.body) if one.endswith("?")]
            elif kind == "string" and named & (_TEXT_NAMES | {"point", "fact", "highlight", "sentenc", "quot"}):
                found = informative_sentences(self.body, 3)
            elif kind == "string":
                found = [one for one in self._string_candidates(option, name) if fits_string(one, option)]
            elif kind == "object":
                value, told = self.fill_object(option, known)
                found = [value] if told and self._has_anchor(option, value) else []
            found = [one for one in found if keeps_to(one, items, self.root)]
            if found:
                break
        while found and len(found) < min(schema.get("minItems", 0), 20):
            found.append(self.fill(items, name, known).value)
        return list(found)[:limit]

    def _has_anchor(self, schema: Schema, value: dict[str, Any]) -> bool:
        """Whether an object in a list stands for something in the text: an id or an amount, not only a summary."""
        fields = properties(resolve(schema, self.root), self.root)
        return any(
            patterns(one, self.root) or kind_of(variants(one, self.root)[0]) == "number"
            for name, one in fields.items()
            if value.get(name) is not None
        )

    def _fit(self, given: Any, schema: Schema, name: str) -> Any:
        """A known value in the form that the schema asks for; None when it cannot be had."""
        kind = kind_of(schema)
        if kind == "object":
            return self.fill_object(schema, given)[0] if isinstance(given, dict) else None
        if kind == "array":
            parts = given if isinstance(given, list) else re.split(r"[,;]\s*", given) if isinstance(given, str) else []
            items = variants(resolve(schema.get("items", {}), self.root), self.root)
            fitted = [self._fit(one, items[0], name) for one in parts] if items else []
            return [one for one in fitted if one is not None][: schema.get("maxItems", 100)] or None
        if kind == "boolean":
            if isinstance(given, bool):
                return given
            return {"yes": True, "true": True, "no": False, "false": False}.get(str(given).strip().lower())
        if isinstance(given, dict | list) or given is None:
            return None
        inner = Filler(self.root, str(given))
        if kind in ("number", "integer"):
            plain = re.fullmatch(r"\s*-?\d[\d,. ]*\s*", str(given))
            figure = values.plain_figure(str(given).strip()) if plain else None
            money = values.amounts(str(given))
            loose = values.numbers(str(given))
            figure = figure or (money[0].figure if money else loose[0][0] if loose else None)
            try:
                number = float(figure) if figure is not None else None
            except ValueError:
                return None
            if number is None or (kind == "integer" and not number.is_integer()) or not fits_number(number, schema):
                return None
            return int(number) if number.is_integer() else number
        if isinstance(given, str) and fits_string(given.strip(), schema) and not schema.get("format"):
            return given.strip()
        found = inner._find_string(schema, name)
        if found is None and isinstance(given, str) and not {"enum", "pattern", "format"} & set(schema):
            found = self._clip(given.strip(), schema)
        elif found is None and isinstance(given, int | float) and fits_string(str(given), schema):
            found = str(given)
        return found

    def _clip(self, text: str, schema: Schema) -> str:
        room = schema.get("maxLength")
        if not isinstance(room, int) or len(text) <= room:
            return text
        cut = text[:room]
        return cut.rsplit(" ", 1)[0] if " " in cut and text[room : room + 1].strip() else cut.rstrip()

    def _emptiest(self, schema: Schema, name: str, known: dict[str, Any]) -> Any:
        if "const" in schema:
            return schema["const"]
        closed = schema.get("enum")
        if isinstance(closed, list) and closed:
            as_words = {str(one).lower(): one for one in closed}
            return next((as_words[one] for one in EMPTY_VALUES if one in as_words), closed[0])
        kind = kind_of(schema)
        if kind == "object":
            return self.fill_object(schema, known)[0]
        if kind == "array":
            items = resolve(schema.get("items", {}), self.root)
            return [self.fill(items, name, known).value for _ in range(min(schema.get("minItems", 0), 20))]
        if kind == "boolean":
            return False
        if kind in ("number", "integer"):
            return _smallest_number(schema, kind)
        if kind == "null":
            return None
        return self._emptiest_string(schema, name)

    def _emptiest_string(self, schema: Schema, name: str) -> str:
        shapes = {
            "date": "1970-01-01",
            "date-time": "1970-01-01T00:00:00Z",
            "email": "unknown@example.com",
            "uri": "https://example.com/",
            "uuid": "00000000-0000-0000-0000-000000000000",
        }
        if schema.get("format") in shapes:
            return shapes[schema["format"]]
        wanted = stem_set(name, str(schema.get("description", "")))
        sentences = split_sentences(self.body)
        about = [one for one in sentences if any(has_stem(each, stem_set(one)) for each in wanted)]
        first = sentences[:1]
        candidates = ["", *(self._clip(one, schema) for one in [*about[:1], *first]), "unknown", *_probes(schema)]
        return next((one for one in candidates if fits_string(one, schema)), "unknown")


def _smallest_number(schema: Schema, kind: str) -> float | int:
    rules = {"minimum": schema.get("exclusiveMinimum", 0), "multipleOf": 1, **schema}
    low: float = rules["minimum"]
    high: float = rules.get("maximum", rules.get("exclusiveMaximum", low))
    step: float = rules["multipleOf"]
    steps = [math.ceil(low / step) * step, (math.floor(low / step) + 1) * step, math.floor(high / step) * step]
    middle = (low + high) / 2
    for candidate in (0, 1, schema.get("minimum"), *steps, (math.ceil(high / step) - 1) * step, high, middle):
        if candidate is None or (kind == "integer" and candidate != int(candidate)):
            continue
        if keeps_to(candidate, {name: one for name, one in schema.items() if name != "type"}, schema):
            return int(candidate) if kind == "integer" else candidate
    return 0


def _probes(schema: Schema) -> list[str]:
    """Strings of the shape of a simple pattern, for a required value that the text does not tell."""
    pattern = schema.get("pattern")
    if not isinstance(pattern, str):
        return ["-" * max(1, schema.get("minLength", 1))]
    probe = re.sub(r"^\^|\$$|[()]", "", pattern)

    def repeated(found: re.Match[str]) -> str:
        filler = "0" if found[1] in (r"\d", "[0-9]") else "A" if "A-Z" in found[1] else "a"
        count = 1 if found[2] in ("+", None) else 0 if found[2] in ("*", "?") else int(found[3])
        return filler * count

    probe = re.sub(r"(\\d|\\w|\[[^\]]+\])(\+|\*|\?|\{(\d+)(?:,\d*)?\})?", repeated, probe)
    return [probe, probe.replace("\\", ""), "0", "0.00", "EUR"]


def read_known(text: str) -> dict[str, Any]:
    """The fields that a text states outright: as the JSON object that it is, or in `key: value` lines."""
    value = embedded_json(text)
    if isinstance(value, dict) and _is_json(text):
        return value
    return {one["name"].strip(): one["value"].strip() for one in _LINE.finditer(text)}


def _is_json(text: str) -> bool:
    """Whether a text is JSON with at most a label or a fence around it. An object inside of prose is something that the
    prose speaks of, or a form that its writer would like to be taken for the reader's."""
    return len(without_json(text).strip()) < (1 - _MOST) * len(text)


def _said(text: str) -> str:
    """What a text says itself: without markup, orders to its reader, and quoted lines unless it has no others."""
    if _MARKUP.search(text):
        text = html.unescape(_TAG.sub(" ", _BREAK.sub("\n", _UNSEEN.sub(" ", text))))
    if not _is_json(text):
        text = without_json(text)
    own = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(">"))
    return "\n\n".join(filter(str.strip, map(_before_orders, _PARAGRAPH.split(own if own.strip() else text))))


def _before_orders(paragraph: str) -> str:
    """A paragraph up to the first sentence that tries to steer its reader: what follows there belongs to the order."""
    for line in paragraph.splitlines():
        # A mark such as <system> begins something of its own.
        for sentence in (one for piece in re.split(r"(?=<)", line) for one in split_sentences(piece)):
            if is_order_to_assistant(sentence):
                at = paragraph.find(sentence)
                return paragraph[:at].rstrip() if at >= 0 else ""
    return paragraph


def fill_schema(schema: Schema, text: str) -> Any:
    """The value for an output schema, from one text."""
    text = _said(text)
    known = read_known(text)
    filler = Filler(schema, text, known)
    return filler.fill(schema).value


def _by_name(name: str, known: dict[str, Any]) -> Any:
    """The known value whose name is most like this one; None when none is like it."""
    if name in known:
        return known[name]
    wanted = [stem(word) for word in words(name)]
    best: tuple[float, Any] = (0.0, None)
    for other, value in known.items():
        names = [stem(word) for word in words(other)]
        if not names or not wanted:
            continue
        met = sum(any(same_stem(one, two) for two in names) for one in wanted)
        likeness = met / (len(wanted) + len(names) - met)
        if likeness >= 0.5 and likeness > best[0]:
            best = (likeness, value)
    return best[1]


def _told_count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_told_count(one) for one in value.values())
    if isinstance(value, list):
        return sum(_told_count(one) for one in value)
    return value is not None
