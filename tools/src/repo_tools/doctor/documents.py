"""YAML and JSON documents whose every value knows its file and line, so that a finding can point at it.

A broken document is a `Problem`, never an exception. Scalars keep their text as written: `version: 1.0` is "1.0"
here, as it is for azd, and not a float.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

_MAX_DEPTH = 60
_MAX_VALUES = 50_000


@dataclass(frozen=True, slots=True)
class Problem:
    """What kept a file from being read as it was meant: `rule` is the id of the rule that reports it."""

    rule: str
    file: Path
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a document: a mapping, a sequence, a scalar, or nothing where a key is absent.

    An absent value has the line of the mapping that lacks it, so that a rule can always point somewhere.
    """

    file: Path
    line: int
    kind: str = "absent"
    """mapping, sequence, scalar or absent"""
    text: str = ""
    tag: str = ""
    """of a scalar: str, int, float, bool, null …"""
    quoted: bool = False
    column: int | None = None
    """where a scalar of one line begins on `line`; None where it does not stand beside its key"""
    members: Mapping[str, "Value"] = field(default_factory=dict)
    elements: tuple["Value", ...] = ()

    def __bool__(self) -> bool:
        return self.kind != "absent"

    def __getitem__(self, key: str) -> "Value":
        return self.members.get(key) or Value(self.file, self.line)

    def at(self, *path: str) -> "Value":
        found = self
        for key in path:
            found = found[key]
        return found

    def first(self, *keys: str) -> "Value":
        """The value of the first key that is there: a key was spelled differently in older shapes."""
        return next((self.members[key] for key in keys if key in self.members), Value(self.file, self.line))

    @property
    def is_text(self) -> bool:
        return self.kind == "scalar" and self.tag != "null"

    def scalars(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], "Value"]]:
        """Every scalar below this value with the path of keys that leads to it."""
        if self.kind == "scalar":
            yield path, self
        for key, value in self.members.items():
            yield from value.scalars((*path, key))
        for number, value in enumerate(self.elements):
            yield from value.scalars((*path, str(number)))


def read_document(path: Path) -> tuple[Value, list[Problem]]:
    """The file's document; an absent value and one problem where it cannot be parsed."""
    nothing = Value(path, 1)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return nothing, [Problem("yaml-syntax", path, 1, f"the file cannot be read as UTF-8 text: {error}")]
    try:
        # Only composed, never constructed: no tag of a stranger's file makes a Python object.
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        return nothing, [Problem("yaml-syntax", path, line, f"not valid YAML: {error.problem or error.context}")]
    except (yaml.YAMLError, RecursionError) as error:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        return nothing, [Problem("yaml-syntax", path, line, "not valid YAML: " + str(error).splitlines()[0])]
    if node is None:
        return nothing, [Problem("yaml-syntax", path, 1, "the file is empty")]
    converter = _Converter(path)
    try:
        value = converter.value(node, node.start_mark.line + 1)
    except _TooLarge:
        return nothing, [
            Problem("yaml-syntax", path, 1, "too large, too deep, or with aliases that contain themselves")
        ]
    if value.kind != "mapping":
        said = "the document is not a mapping of keys to values"
        return nothing, [*converter.problems, Problem("yaml-syntax", path, value.line, said)]
    return value, converter.problems


class _TooLarge(Exception):
    """An alias that contains itself, or aliases of aliases that multiply."""


class _Converter:
    """Turns nodes into values, aliases written out, within limits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MAX_VALUES
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, line: int, depth: int = 0) -> Value:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise _TooLarge
        if isinstance(node, yaml.ScalarNode):
            beside = node.start_mark.line == node.end_mark.line == line - 1
            column = node.start_mark.column if beside else None
            quoted = node.style in ("'", '"', "|", ">")
            return Value(self._path, line, "scalar", node.value, node.tag.rpartition(":")[2], quoted, column)
        if isinstance(node, yaml.SequenceNode):
            elements = tuple(self.value(item, item.start_mark.line + 1, depth + 1) for item in node.value)
            return Value(self._path, line, "sequence", elements=elements)
        return Value(self._path, line, "mapping", members=self._members(node, depth))

    def _members(self, node: yaml.Node, depth: int) -> dict[str, Value]:
        members: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key, item in node.value:
            at = key.start_mark.line + 1
            value = self.value(item, at, depth + 1)
            if key.tag.endswith(":merge"):
                for source in reversed(value.elements or (value,)):
                    merged.update(source.members)
                continue
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if name in members:
                said = f"the key {name!r} is already on line {members[name].line}"
                self.problems.append(Problem("yaml-duplicate-key", self._path, at, said))
            members[name] = value
        return merged | members


def path_from(folder: Path, text: str) -> Path:
    """A path that a document names, or one that is not there for text that no file system takes as a path."""
    usable = "\0" not in text and len(text.encode(errors="replace")) < 200
    return folder / text if usable else folder / "(not a path)"


def real_path(path: Path) -> Path:
    """The path without its links, also where links lead in a circle: `Path.resolve` raises there up to Python 3.12."""
    return Path(os.path.realpath(path))


def resolve_includes(value: Value, problems: list[Problem], seen: tuple[Path, ...] = ()) -> Value:
    """The value with every `$ref` replaced by the file it names, and the keys beside the `$ref` laid over it. A `$ref`
    that cannot be followed stays.

    Relative paths start at the file that holds the `$ref` (Azure/azure-dev, azure.ai.agents/schemas/FileRef.json).
    """
    elements = tuple(resolve_includes(item, problems, seen) for item in value.elements)
    members = {key: resolve_includes(item, problems, seen) for key, item in value.members.items() if key != "$ref"}
    reference = value["$ref"]
    if reference and reference.is_text:
        members = _included(reference, problems, seen) | members
    return replace(value, members=members, elements=elements)


def _included(reference: Value, problems: list[Problem], seen: tuple[Path, ...]) -> dict[str, Value]:
    unresolved = {"$ref": reference}
    if "://" in reference.text:
        problems.append(
            Problem("ref-remote", reference.file, reference.line, f"$ref names an address: {reference.text}")
        )
        return unresolved
    path = real_path(path_from(reference.file.parent, reference.text))
    if not path.is_file():
        problems.append(
            Problem("ref-missing", reference.file, reference.line, f"$ref names {reference.text}, which is not there")
        )
        return unresolved
    if path in seen or path == real_path(reference.file):
        problems.append(Problem("ref-missing", reference.file, reference.line, f"{reference.text} includes itself"))
        return unresolved
    document, found = read_document(path)
    problems.extend(problem for problem in found if problem not in problems)
    return dict(resolve_includes(document, problems, (*seen, path)).members)
