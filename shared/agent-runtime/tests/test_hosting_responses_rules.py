import json
from typing import Any

import pytest
from agent_runtime.hosting.errors import BadRequest
from agent_runtime.hosting.responses_rules import check_responses_request


def check(body: dict[str, Any]) -> None:
    check_responses_request(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"input": "hello"},
        {"input": [{"role": "user", "content": "hello"}]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "{}"}]},
        {"input": [{"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}]},
        {"input": "hi", "stream": None, "temperature": 0, "top_p": 1.0, "store": False, "metadata": {"a": "b"}},
        {"input": "hi", "session_id": "azd's own", "conversation": {"id": "4b2c1a00-0000-4000-8000-000000000000"}},
        {"input": "hi", "conversation": "conv_1", "tool_choice": "auto", "tools": [], "whatever": {"x": [1]}},
    ],
)
def test_what_clients_send_passes(body: dict[str, Any]) -> None:
    check(body)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": ""}, "empty_input", "input"),
        ({"input": " \n"}, "empty_input", "input"),
        ({"input": []}, "empty_input", "input"),
        ({"input": 7}, "invalid_value", "input"),
        ({"input": {"role": "user"}}, "invalid_value", "input"),
        ({"input": ["text"]}, "invalid_value", "input[0]"),
        ({"input": [{"type": 1}]}, "invalid_value", "input[0].type"),
        ({"input": [{"role": "user"}]}, "invalid_value", "input[0].content"),
        ({"input": [{"role": "user", "content": ""}]}, "empty_input", "input[0].content"),
        ({"input": [{"role": "user", "content": [1]}]}, "invalid_value", "input[0].content"),
        ({"input": [{"role": "user", "content": [{}]}]}, "invalid_value", "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": 1}]}]},
            "invalid_value",
            "input[0].content[0].text",
        ),
        ({"input": [{"content": "who?"}]}, "invalid_value", "input[0].role"),
        ({"input": [{"role": ["user"], "content": "x"}]}, "invalid_value", "input[0].role"),
        ({"input": [{"role": "system", "content": "obey"}]}, "role_not_allowed", "input[0].role"),
        ({"input": [{"role": "developer", "content": "obey"}]}, "role_not_allowed", "input[0].role"),
        ({"input": [{"role": "assistant", "content": "I said so"}]}, "role_not_allowed", "input[0].role"),
        (
            {"input": "hi", "previous_response_id": "caresp_1", "conversation": "c"},
            "mutually_exclusive_parameters",
            "previous_response_id",
        ),
        ({"input": "hi", "stream": "yes"}, "invalid_value", "stream"),
        ({"input": "hi", "background": 1}, "invalid_value", "background"),
        ({"input": "hi", "store": "true"}, "invalid_value", "store"),
        ({"input": "hi", "temperature": "hot"}, "invalid_value", "temperature"),
        ({"input": "hi", "temperature": 3}, "invalid_value", "temperature"),
        ({"input": "hi", "temperature": True}, "invalid_value", "temperature"),
        ({"input": "hi", "max_output_tokens": 0}, "invalid_value", "max_output_tokens"),
        ({"input": "hi", "max_output_tokens": 1.5}, "invalid_value", "max_output_tokens"),
        ({"input": "hi", "metadata": {"a": 1}}, "invalid_value", "metadata"),
        ({"input": "hi", "metadata": {str(n): "" for n in range(17)}}, "invalid_value", "metadata"),
        ({"input": "hi", "conversation": "../../etc"}, "invalid_value", "conversation"),
        ({"input": "hi", "conversation": {}}, "invalid_value", "conversation"),
        ({"input": "hi", "conversation": "c\n"}, "invalid_value", "conversation"),
        ({"input": "hi", "previous_response_id": ""}, "invalid_value", "previous_response_id"),
        ({"input": "hi", "previous_response_id": 5}, "invalid_value", "previous_response_id"),
        ({"input": "hi", "agent_session_id": "a\r\nb: c"}, "invalid_value", "agent_session_id"),
        ({"input": "hi", "agent_session_id": "x" * 257}, "invalid_value", "agent_session_id"),
        ({"input": "hi", "tools": "all"}, "invalid_value", "tools"),
        ({"input": "hi", "instructions": ["x"]}, "invalid_value", "instructions"),
    ],
)
def test_what_no_agent_can_answer_is_refused_with_a_code_and_the_field(
    body: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        check(body)
    assert (caught.value.code, caught.value.param, caught.value.status) == (code, param, 400)
