"""JSON schemas of pydantic models in the form that strict function calling accepts.

Strict mode wants every property required (null stands for "not given"), `additionalProperties: false` everywhere, and
neither defaults nor siblings of `$ref`: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from typing import Any

from pydantic import BaseModel

_LEFT_OUT = frozenset({"title", "default", "$defs", "minLength", "maxLength"})


def strict_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema with references written out. The model must not contain itself."""
    schema = model.model_json_schema()
    strict = _strict(schema, schema.get("$defs", {}))
    # The docstring of an input model is for its reader; the tool has its own description.
    strict.pop("description", None)
    return strict


def _strict(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        node = definitions[node["$ref"].rsplit("/", 1)[-1]] | {k: v for k, v in node.items() if k != "$ref"}
    result: dict[str, Any] = {}
    for name, value in node.items():
        if name in _LEFT_OUT:
            continue
        if name == "properties":
            result[name] = {key: _strict(part, definitions) for key, part in value.items()}
        elif name == "items":
            result[name] = _strict(value, definitions)
        elif name == "anyOf":
            result[name] = [_strict(part, definitions) for part in value]
        else:
            result[name] = value
    if result.get("type") == "object":
        result["required"] = list(result.get("properties", {}))
        result["additionalProperties"] = False
    return result
