"""The parts of JSON schema that matter for filling one in: references, variants, nullability and types.

It reads schemas and checks values against a schema's plain rules. What goes into a schema is left to
`schema_filling` and `planning`.
"""

import re
from typing import Any

Schema = dict[str, Any]


def target_of(reference: Any, root: Schema) -> Any:
    """What a `$ref` within `root` points to; None when that is not there."""
    target: Any = root
    for part in str(reference).lstrip("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if name:
            target = target.get(name) if isinstance(target, dict) else None
    return target


def resolve(schema: Any, root: Schema) -> Schema:
    """A schema with its `$ref` followed (within `root`) and a sole `allOf` member merged in."""
    seen = 0
    while isinstance(schema, dict) and "$ref" in schema and seen < 20:
        seen += 1
        target = target_of(schema["$ref"], root)
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        schema = {**target, **rest} if isinstance(target, dict) else rest
    if not isinstance(schema, dict):
        return {}
    if isinstance(schema.get("allOf"), list):
        merged: Schema = {name: value for name, value in schema.items() if name != "allOf"}
        for part_schema in schema["allOf"]:
            for name, value in resolve(part_schema, root).items():
                if name == "properties" and isinstance(merged.get("properties"), dict):
                    merged["properties"] = {**merged["properties"], **value}
                elif name == "required":
                    merged["required"] = [*merged.get("required", []), *value]
                else:
                    merged.setdefault(name, value)
        return merged
    return schema


def variants(schema: Schema, root: Schema) -> list[Schema]:
    """The schemas that a value may have, resolved, null left out; a list with the schema itself without variants."""
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            rest = {key: value for key, value in schema.items() if key not in (name, "default")}
            found: list[Schema] = []
            for one in schema[name]:
                merged = {**rest, **resolve(one, root)}
                if rest.get("description") and isinstance(one, dict) and one.get("description"):
                    merged["description"] = f"{rest['description']} {one['description']}"
                found.extend(variants(merged, root))
            return [one for one in found if one.get("type") != "null"]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return [{**schema, "type": kind} for kind in kinds if kind != "null"]
    return [schema]


def allows_null(schema: Schema, root: Schema) -> bool:
    """Whether null is a value of the schema."""
    schema = resolve(schema, root)
    kinds = schema.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return True
    if "const" in schema:
        return schema["const"] is None
    if isinstance(schema.get("enum"), list) and kinds is None:
        return None in schema["enum"]
    return any(
        allows_null(one, root)
        for name in ("anyOf", "oneOf")
        if isinstance(schema.get(name), list)
        for one in schema[name]
    )


def kind_of(schema: Schema) -> str:
    """The type of a schema without variants, told by its other keywords where it names none."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if values and all(isinstance(one, bool) for one in values):
        return "boolean"
    if values and all(isinstance(one, int | float) for one in values):
        return "number"
    return "string"


def properties(schema: Schema, root: Schema) -> dict[str, Schema]:
    """The properties of an object schema, each resolved."""
    found = schema.get("properties")
    return {name: resolve(one, root) for name, one in found.items()} if isinstance(found, dict) else {}


def patterns(schema: Schema, root: Schema) -> list[str]:
    """The regular expressions that a string of the schema may have to match."""
    found = [one.get("pattern") for one in variants(resolve(schema, root), root)]
    return [one for one in found if isinstance(one, str)]


# A repeated group that repeats inside can take a time that doubles with each character of a text, unless each round
# begins with a mark that the rest of the group cannot be, as in `[a-z]+(-[a-z]+)*`.
_REPEAT = r"(?:[+*]|\{\d+,\d*\})"
_REPEATED_GROUP = re.compile(rf"\((?:\?:)?(?P<inside>[^()]*)\){_REPEAT}")
_INNER_REPEAT = re.compile(rf"(?<!\\){_REPEAT}")
_MARKED_ROUND = re.compile(r"\\?(?P<mark>[-./:, ])(?!\?|\*)(?:(?!(?P=mark)|\\[WDS]|\[\^|(?<!\\)\.|\|).)*")
_GROUP_AROUND_GROUPS = re.compile(rf"\){_REPEAT}?[^()]*\){_REPEAT}")
_CLASS_RANGE = re.compile(r"(\w)-(\w)")
_MAX_PATTERN = 500


def is_safe_pattern(pattern: str) -> bool:
    """Whether a pattern is a regular expression that may be tried on a text without running away."""
    if len(pattern) > _MAX_PATTERN or _GROUP_AROUND_GROUPS.search(pattern):
        return False
    for group in _REPEATED_GROUP.finditer(pattern):
        inside = _CLASS_RANGE.sub(r"\1\2", group["inside"])
        if _INNER_REPEAT.search(inside) and not _MARKED_ROUND.fullmatch(inside):
            return False
        starts = [one[:1] for one in inside.split("|")]
        if len(starts) > 1 and (len(set(starts)) < len(starts) or not all(one.isalnum() for one in starts)):
            return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def find_by_pattern(pattern: str, text: str) -> list[str]:
    """The pieces of a text that match a pattern in full, anchors aside, each once; none for a loose pattern."""
    # Of a pattern such as `.*` or `\S` everything is a match, which tells nothing.
    if not is_safe_pattern(pattern):
        return []
    try:
        compiled = re.compile(pattern)
        if any(compiled.search(probe) for probe in ("", "a", "the words", "zebra")):
            return []
        bare = re.sub(r"^\^|(?<!\\)\$$|^\\A|\\[zZ]$", "", pattern)
        loose = re.compile(rf"(?<![\w-])(?:{bare})(?![\w-])", re.IGNORECASE)
    except re.error:
        return []
    found: list[str] = []
    for one in loose.finditer(text):
        for written in (one[0], one[0].upper(), one[0].lower()):
            # A plain word that happens to have the length of a code is none.
            if compiled.search(written) and not written.isalpha():
                found.append(written)
                break
    return list(dict.fromkeys(found))


def fits_string(value: str, schema: Schema) -> bool:
    """Whether a string keeps to the schema's pattern, lengths, enum and const."""
    if "const" in schema and value != schema["const"]:
        return False
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        return False
    if len(value) < schema.get("minLength", 0) or len(value) > schema.get("maxLength", len(value)):
        return False
    pattern = schema.get("pattern")
    return not isinstance(pattern, str) or not is_safe_pattern(pattern) or re.search(pattern, value) is not None


def fits_number(value: float, schema: Schema) -> bool:
    """Whether a number keeps to the schema's bounds."""
    if "const" in schema and value != schema["const"]:
        return False
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        return False
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        return False
    low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    return not ((low is not None and value <= low) or (high is not None and value >= high))
