"""Read a request body as a JSON object, and refuse with a code whatever later code could stumble over.

Stricter than `json.loads` where it is lenient or fragile: nesting is bounded before the recursive parser sees it, NaN
and numbers beyond a float are refused, and so are lone surrogates, which parse but cannot be written out again.
"""

import json
import math
import re
from typing import Any, NoReturn

from agent_runtime.hosting.errors import BadRequest

# A string (or the rest of the text, where it is not closed), or one bracket. Possessive, so that it stays linear.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json_object(raw: bytes, *, max_depth: int = 64) -> dict[str, Any]:
    """Parse `raw` as one JSON object.

    Raises:
        BadRequest: `empty_body`, `invalid_utf8`, `too_deeply_nested`, `invalid_json` or `not_an_object`.
    """
    if not raw.strip():
        raise BadRequest("empty_body", "The request has no body. Send a JSON object.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("invalid_utf8", f"The body is not valid UTF-8 (byte {error.start}).") from None
    _check_depth(raw, max_depth)
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
        if _SURROGATE_ESCAPE.search(raw):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        message = f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise BadRequest("invalid_json", message) from None
    except UnicodeEncodeError:
        raise BadRequest("invalid_json", "The body holds an escaped surrogate without its other half.") from None
    except ValueError:
        raise BadRequest("invalid_json", "The body holds a number that cannot be represented.") from None
    if not isinstance(value, dict):
        raise BadRequest("not_an_object", "The body must be a JSON object.")
    return value


def _check_depth(raw: bytes, max_depth: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        first = raw[match.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise BadRequest("too_deeply_nested", f"The body is nested more than {max_depth} levels deep.")
        elif first in b"]}":
            depth -= 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
