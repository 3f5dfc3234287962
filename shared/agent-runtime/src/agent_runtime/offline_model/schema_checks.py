"""Whether a value keeps to a JSON schema, and whether a schema asks for more than this model understands.

The last look at what `schema_filling` and `planning` made: what leaves the offline model fits its schema, or is refused
with the place that does not. Only the rules that the model can fill in are read; a schema with others is named by
`unsupported_rule`.
"""

import math
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from .json_schema import Schema, fits_number, fits_string, is_safe_pattern, resolve, target_of

_UNSUPPORTED = (
    "not", "if", "then", "else", "patternProperties", "propertyNames", "minProperties", "contains", "minContains",
    "prefixItems", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties",
    "unevaluatedItems", "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_MAX_DEPTH = 60
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


def unsupported_rule(schema: Schema) -> str | None:
    """The first rule of a schema that the offline model does not understand, in words; None when it has none."""
    if loops(schema):
        return "a $ref that leads back to itself"
    waiting: list[Any] = [schema]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict):
            continue
        for name in _UNSUPPORTED:
            if name in one:
                return f"the keyword {name!r}"
        if isinstance(reference := one.get("$ref"), str) and not reference.startswith("#"):
            return f"a $ref to another document ({reference!r})"
        if isinstance(pattern := one.get("pattern"), str) and not is_safe_pattern(pattern):
            return f"the pattern {pattern!r}"
        waiting.extend(_subschemas(one))
    return None


def loops(root: Schema) -> bool:
    """Whether a schema's references lead back to themselves with no property or item between, and so say nothing."""
    ended: set[str] = set()

    def lead_back(schema: Any, through: frozenset[str]) -> bool:
        if not isinstance(schema, dict):
            return False
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in through:
                return True
            if reference not in ended:
                found = lead_back(target_of(reference, root), through | {reference})
                ended.add(reference)
                if found:
                    return True
        return any(
            lead_back(one, through)
            for name in ("anyOf", "oneOf", "allOf")
            if isinstance(schema.get(name), list)
            for one in schema[name]
        )

    waiting: list[Any] = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if lead_back(one, frozenset({"#"} if one is root else ())):
                return True
            waiting.extend(_subschemas(one))
    return False


def _subschemas(schema: Schema) -> Iterator[Any]:
    for name in ("properties", "$defs", "definitions"):
        if isinstance(schema.get(name), dict):
            yield from schema[name].values()
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(name), list):
            yield from schema[name]
    for name in ("items", "additionalProperties"):
        yield schema.get(name)


def keeps_to(value: Any, schema: Any, root: Schema) -> bool:
    """Whether a value keeps to a schema whose references are looked up in `root`."""
    return breach(value, schema, root) is None


def breach(value: Any, schema: Any, root: Schema, place: str = "", depth: int = 0) -> str | None:
    """Where a value does not keep to its schema and the rule that it breaks, as `place: rule`; None where it does."""
    here = place or "the value"
    if schema is False:
        return f"{here}: nothing is allowed"
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    for one in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
        if found := breach(value, one, root, place, depth + 1):
            return found
    schema = resolve(schema, root)
    if "const" in schema and not _same(value, schema["const"]):
        return f"{here}: const"
    if isinstance(schema.get("enum"), list) and not any(_same(value, one) for one in schema["enum"]):
        return f"{here}: enum"
    kinds = schema.get("type")
    if kinds is not None and not any(_is_a(value, one) for one in (kinds if isinstance(kinds, list) else [kinds])):
        return f"{here}: type"
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            met = sum(breach(value, one, root, place, depth + 1) is None for one in schema[name])
            if met == 0 or (name == "oneOf" and met > 1):
                return f"{here}: {name}"
    if isinstance(value, str):
        return _string_breach(value, schema, here)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_breach(value, schema, here)
    if isinstance(value, list):
        return _array_breach(value, schema, root, place, depth)
    if isinstance(value, dict):
        return _object_breach(value, schema, root, place, depth)
    return None


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer" and isinstance(value, float) and not value.is_integer():
        return False
    return isinstance(value, _KINDS.get(str(kind), (object,)))


def _string_breach(value: str, schema: Schema, here: str) -> str | None:
    if not fits_string(value, {name: rule for name, rule in schema.items() if name not in ("const", "enum")}):
        return f"{here}: pattern or length"
    return None if _has_format(value, schema.get("format")) else f"{here}: format {schema['format']}"


def _has_format(value: str, shape: Any) -> bool:
    try:
        if shape == "date":
            return bool(_DATE.fullmatch(value)) and date.fromisoformat(value) is not None
        if shape == "date-time":
            return bool(_DATE_TIME.fullmatch(value)) and datetime.fromisoformat(value.upper()) is not None
    except ValueError:
        return False
    if shape == "email":
        return "@" in value
    if shape == "uuid":
        return bool(_UUID.fullmatch(value))
    return shape not in ("uri", "url") or bool(_URI.fullmatch(value))


def _number_breach(value: float, schema: Schema, here: str) -> str | None:
    if not fits_number(value, {name: rule for name, rule in schema.items() if name not in ("const", "enum")}):
        return f"{here}: bounds"
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0:
        whole = value / step
        if not math.isclose(whole, round(whole), rel_tol=1e-12, abs_tol=1e-9):
            return f"{here}: multipleOf"
    return None


def _array_breach(value: list[Any], schema: Schema, root: Schema, place: str, depth: int) -> str | None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{place or 'the value'}: number of items"
    if schema.get("uniqueItems") and any(_same(one, two) for at, one in enumerate(value) for two in value[:at]):
        return f"{place or 'the value'}: uniqueItems"
    for at, one in enumerate(value):
        if found := breach(one, schema.get("items"), root, f"{place}[{at}]", depth + 1):
            return found
    return None


def _object_breach(value: dict[str, Any], schema: Schema, root: Schema, place: str, depth: int) -> str | None:
    inside = f"{place}." if place else ""
    declared = schema.get("properties")
    fields = declared if isinstance(declared, dict) else {}
    for name in schema.get("required", []):
        if name not in value:
            return f"{inside}{name}: required"
    for name, one in value.items():
        rule = fields.get(name, schema.get("additionalProperties"))
        if found := breach(one, rule, root, f"{inside}{name}", depth + 1):
            return found
    most = schema.get("maxProperties")
    return f"{place or 'the value'}: maxProperties" if isinstance(most, int) and len(value) > most else None
