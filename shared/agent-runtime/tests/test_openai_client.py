"""Sending a response's input as it is: the same body as the package's own client sends, and files still encoded."""

import json
from typing import Any

import httpx2
import openai
import pytest
from agent_runtime.openai_client import PlainInputClient
from openai.types.responses import ResponseOutputMessage, ResponseOutputText


async def sent(client_class: type[openai.AsyncOpenAI], **request: Any) -> dict[str, Any]:
    bodies: list[dict[str, Any]] = []

    async def answer(given: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(await given.aread()))
        return httpx2.Response(200, json={"id": "resp_1", "object": "response", "output": []})

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with client_class(api_key="k", base_url="http://model.test/v1", http_client=http_client) as client:
        await client.with_options(max_retries=0).responses.create(model="m", **request)
        await client.responses.with_raw_response.create(model="m", **request)
    first, second = bodies
    assert first == second
    return first


PLAIN = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tents?"}]},
    {"type": "function_call", "call_id": "c", "name": "search", "arguments": "{}", "status": "completed"},
    {"type": "function_call_output", "call_id": "c", "output": "[1, 2]"},
    {"role": "assistant", "content": "Dry.", "made_up": {"by": ["nobody", 1, 2.5, None, True]}},
]
MODEL = ResponseOutputMessage(
    id="msg_1",
    type="message",
    role="assistant",
    status="completed",
    content=[ResponseOutputText(type="output_text", text="Dry.", annotations=[])],
)


@pytest.mark.parametrize("given", ["Tents?", PLAIN, [*PLAIN, MODEL], []])
async def test_the_body_is_what_the_package_sends(given: Any) -> None:
    assert await sent(PlainInputClient, input=given) == await sent(openai.AsyncOpenAI, input=given)


async def test_a_request_without_input_or_with_fields_of_its_own_is_left_to_the_package() -> None:
    for request in ({"instructions": "Greet."}, {"input": PLAIN, "extra_body": {"prompt_id": "p"}}):
        body = await sent(PlainInputClient, **request)
        assert body == await sent(openai.AsyncOpenAI, **request)


async def test_what_cannot_be_sent_is_refused_as_ever() -> None:
    with pytest.raises(TypeError):
        await sent(PlainInputClient, input=[{"type": "message", "content": object()}])
