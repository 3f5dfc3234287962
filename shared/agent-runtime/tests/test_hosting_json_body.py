import json
import time

import pytest
from agent_runtime.hosting.errors import BadRequest
from agent_runtime.hosting.json_body import parse_json_object


def test_an_object_is_parsed() -> None:
    assert parse_json_object('{"a": [1, 2.5, "ü", null, true], "b": "\\ud83d\\ude00"}'.encode()) == {
        "a": [1, 2.5, "ü", None, True],
        "b": "😀",
    }


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty_body"),
        (b" \n", "empty_body"),
        (b"\xff\xfe", "invalid_utf8"),
        (b'{"a": "\xc3("}', "invalid_utf8"),
        (b"hello", "invalid_json"),
        (b'{"a": 1', "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": -Infinity}', "invalid_json"),
        (b'{"a": 1e999}', "invalid_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_json"),
        (b'{"\\udfff": 1}', "invalid_json"),
        (b"[1]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "too_deeply_nested"),
        (b"[" * 500_000, "too_deeply_nested"),
    ],
)
def test_what_is_not_a_plain_object_is_refused_with_a_code(raw: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_json_object(raw)
    assert (caught.value.code, caught.value.status) == (code, 400)


def test_nesting_up_to_the_limit_passes() -> None:
    raw = b'{"a":' * 64 + b"1" + b"}" * 64
    assert json.dumps(parse_json_object(raw), separators=(",", ":")).encode() == raw


def test_brackets_inside_strings_do_not_count() -> None:
    text = '[{"' * 200 + "\\"
    assert parse_json_object(json.dumps({"a": text}).encode()) == {"a": text}


@pytest.mark.parametrize(
    "raw", [b'"' + b'\\"' * 400_000, b'{"a": "' + b"\\" * 800_001, b'"a' * 300_000, b"[]" * 400_000]
)
def test_hostile_text_is_judged_in_linear_time(raw: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(BadRequest):
        parse_json_object(raw)
    assert time.monotonic() - began < 5
