"""Both APIs through the real `openai` client: what is sent arrives, what is answered comes back, streamed or not."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from agent_runtime.model_client import create_model_client
from agent_runtime.model_exchange import FunctionTool, Message, ModelReply, ModelRequest, OutputSchema, ToolCall, Usage
from agent_runtime.model_transport import ModelTransport
from agent_runtime.model_wire import ChatAnswer, ResponsesAnswer, count_tokens, parse_chat_request
from agent_runtime.settings import AgentSettings
from agent_runtime.testing import ScriptedModel
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
RESPONSES_TOOL: Any = {"type": "function", "name": "weather", "description": "Tell it.", "parameters": PARAMETERS}
CHAT_TOOL: Any = {"type": "function", "function": {k: v for k, v in RESPONSES_TOOL.items() if k != "type"}}
OTHER_TOOL: Any = {"type": "function", "name": "clock", "description": None, "parameters": None}
CALLS = (ToolCall("call_1", "weather", '{"city": "Oslo in the far north"}'), ToolCall("call_2", "clock", "{}"))
TEXT = "The parcel left the warehouse on Monday, and it is expected at your door on Thursday.\n\n— Northpeak ⛰️ "


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
async def client(model: ScriptedModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with create_model_client(AgentSettings(), transport=model.transport) as client:
        yield client


class TestResponses:
    async def test_a_text_comes_back_with_the_tokens_counted(
        self, model: ScriptedModel, client: openai.AsyncOpenAI
    ) -> None:
        model.enqueue("It ships today.")
        response = await client.responses.create(model="any-model", input="Where is it?", instructions="Be brief.")
        assert response.output_text == "It ships today."
        assert response.status == "completed"
        assert response.model == "any-model"
        assert response.usage is not None
        # "Be brief." "Where is it?" and "It ships today.": words and punctuation marks.
        assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 4, 11)
        assert model.requests[0].messages == (Message("system", "Be brief."), Message("user", "Where is it?"))

    async def test_usage_that_the_reply_names_is_passed_on(
        self, model: ScriptedModel, client: openai.AsyncOpenAI
    ) -> None:
        model.enqueue(ModelReply("Hi.", usage=Usage(input_tokens=100, output_tokens=20)))
        response = await client.responses.create(model="m", input="Hello")
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (100, 20)

    async def test_the_text_streams_in_pieces_that_make_up_the_whole(
        self, model: ScriptedModel, client: openai.AsyncOpenAI
    ) -> None:
        model.enqueue(TEXT)
        stream = await client.responses.create(model="m", input="Where is it?", stream=True)
        events = [event async for event in stream]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        names = [event.type for event in events]
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert len(deltas) > 3
        assert names == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * len(deltas),
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        done = next(event for event in events if event.type == "response.output_text.done")
        assert "".join(deltas) == done.text == TEXT
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text == TEXT
        assert events[-1].response.usage is not None

    async def test_reasoning_streams_as_an_item_of_its_own_before_the_text(
        self, model: ScriptedModel, client: openai.AsyncOpenAI
    ) -> None:
        model.enqueue(ModelReply("Done.", reasoning="First I look at the order, then at the policy."))
        async with client.responses.stream(model="m", input="Think") as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
        deltas = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
        assert "".join(deltas) == "First I look at the order, then at the policy."
        reasoning = final.output[0]
        assert reasoning.type == "reasoning"
        assert reasoning.summary[0].text == "".join(deltas)
        assert reasoning.id.startswith("rs_")
        assert len(reasoning.id) == 3 + 48
        assert final.output_text == "Done."
        assert final.usage is not None
        assert final.usage.output_tokens_details.reasoning_tokens == 12

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_parallel_tool_calls_come_back_whole_and_their_outputs_arrive(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, streamed: bool
    ) -> None:
        model.enqueue(CALLS, "Cold.")
        if streamed:
            async with client.responses.stream(
                model="m", input="Weather?", tools=[RESPONSES_TOOL, OTHER_TOOL]
            ) as stream:
                response: Any = await stream.get_final_response()
        else:
            response = await client.responses.create(model="m", input="Weather?", tools=[RESPONSES_TOOL, OTHER_TOOL])
        assert [(item.type, item.call_id, item.name, item.arguments) for item in response.output] == [
            ("function_call", call.call_id, call.name, call.arguments) for call in CALLS
        ]
        assert model.requests[0].tools == (
            FunctionTool("weather", "Tell it.", PARAMETERS),
            FunctionTool("clock", "", {"type": "object", "properties": {}}),
        )
        history: Any = [
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
            *[item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output],
            {"type": "function_call_output", "call_id": "call_1", "output": "-3 °C"},
            {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "noon"}]},
        ]
        await client.responses.create(model="m", input=history, tools=[RESPONSES_TOOL])
        assert model.requests[1].messages == (
            Message("user", "Weather?"),
            Message("assistant", "Let me look.", tool_calls=CALLS),
            Message("tool", "-3 °C", call_id="call_1"),
            Message("tool", "noon", call_id="call_2"),
        )

    async def test_a_schema_reaches_the_model_and_its_json_is_parsed(
        self, model: ScriptedModel, client: openai.AsyncOpenAI
    ) -> None:
        class Case(BaseModel):
            order: str | None

        model.enqueue('{"order": "NP-10001"}')
        response = await client.responses.parse(model="m", input="About NP-10001", text_format=Case)
        assert response.output_parsed == Case(order="NP-10001")
        asked = model.requests[0].output_schema
        assert asked is not None
        assert asked.name == "Case"
        assert asked.schema["properties"].keys() == {"order"}

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_reply_over_the_limit_is_cut_and_says_so(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, streamed: bool
    ) -> None:
        model.enqueue(ModelReply("one two three four five.", tool_calls=CALLS))
        if streamed:
            events = [
                event
                async for event in await client.responses.create(model="m", input="x", max_output_tokens=3, stream=True)
            ]
            assert events[-1].type == "response.incomplete"
            response = events[-1].response
        else:
            response = await client.responses.create(model="m", input="x", max_output_tokens=3)
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output_text == "one two three"
        assert [item.type for item in response.output] == ["message"]
        assert response.usage is not None
        assert response.usage.output_tokens == 3

    @pytest.mark.parametrize(
        ("choice", "tools", "expected"),
        [
            ("none", ["weather", "clock"], "none"),
            ("required", ["weather", "clock"], "required"),
            ({"type": "function", "name": "clock"}, ["weather", "clock"], "clock"),
            (
                {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "clock"}]},
                ["clock"],
                "required",
            ),
        ],
    )
    async def test_every_form_of_tool_choice_is_understood(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, choice: Any, tools: list[str], expected: str
    ) -> None:
        model.enqueue("ok")
        await client.responses.create(
            model="m", input="x", tools=[RESPONSES_TOOL, OTHER_TOOL], tool_choice=choice, parallel_tool_calls=False
        )
        request = model.requests[0]
        assert [tool.name for tool in request.tools] == tools
        assert request.tool_choice == expected
        assert request.parallel_tool_calls is False

    @pytest.mark.parametrize(
        ("fields", "code", "param"),
        [
            ({"input": None}, "missing_required_parameter", "input"),
            ({"input": 7}, "invalid_type", "input"),
            ({"input": []}, "empty_array", "input"),
            ({"input": ["text"]}, "invalid_type", "input[0]"),
            ({"input": [{"role": "robot", "content": "x"}]}, "invalid_value", "input[0].role"),
            ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
            (
                {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x"}]}]},
                "unsupported_content",
                "input[0].content[0]",
            ),
            (
                {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
                "unsupported_content",
                "input[0].content[0]",
            ),
            ({"input": [{"type": "computer_call"}]}, "unsupported_item", "input[0]"),
            ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "unsupported_parameter", "input[0]"),
            ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, None, "input"),
            ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, None, "input"),
            ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
            ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
            ({"background": True}, "unsupported_parameter", "background"),
            ({"tools": [{"type": "web_search"}]}, "unsupported_tool", "tools[0]"),
            ({"tools": "weather"}, "invalid_type", "tools"),
            ({"tool_choice": "sometimes"}, "invalid_value", "tool_choice"),
            ({"tool_choice": "required"}, None, "tool_choice"),
            ({"tool_choice": {"type": "function", "name": "absent"}}, None, "tool_choice"),
            ({"text": {"format": {"type": "json_object"}}}, "unsupported_parameter", "text.format"),
            (
                {"text": {"format": {"type": "json_schema", "name": "x"}}},
                "missing_required_parameter",
                "text.format.schema",
            ),
            ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens"),
            ({"max_output_tokens": "many"}, "invalid_type", "max_output_tokens"),
            ({"temperature": 3}, "decimal_out_of_range", "temperature"),
            ({"stream": "yes"}, "invalid_type", "stream"),
            ({"model": None}, "missing_required_parameter", "model"),
        ],
    )
    async def test_what_cannot_be_served_is_refused_by_name(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, fields: dict[str, Any], code: str | None, param: str
    ) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post("/responses", body={"model": "m", "input": "x", **fields}, cast_to=object)
        assert (caught.value.code, caught.value.param) == (code, param)
        assert caught.value.type == "invalid_request_error"
        assert model.requests == []


class TestChatCompletions:
    async def test_a_text_comes_back_with_the_tokens_counted(
        self, model: ScriptedModel, client: openai.AsyncOpenAI
    ) -> None:
        model.enqueue("It ships today.")
        completion = await client.chat.completions.create(
            model="any-model",
            messages=[
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
            ],
        )
        choice = completion.choices[0]
        assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (
            "It ships today.",
            None,
            "stop",
        )
        assert completion.usage is not None
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (7, 4)
        assert model.requests[0].messages == (Message("system", "Be brief."), Message("user", "Where is it?"))

    async def test_the_text_streams_in_pieces_and_usage_comes_last_when_asked_for(
        self, model: ScriptedModel, client: openai.AsyncOpenAI
    ) -> None:
        model.enqueue(TEXT, TEXT)
        messages: Any = [{"role": "user", "content": "Where is it?"}]
        stream = await client.chat.completions.create(
            model="m", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == TEXT
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert all(chunk.usage is None for chunk in chunks[:-1])
        stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
        assert all("usage" not in chunk.model_dump(exclude_unset=True) for chunk in [chunk async for chunk in stream])

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_parallel_tool_calls_come_back_whole_and_their_outputs_arrive(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, streamed: bool
    ) -> None:
        model.enqueue(CALLS, "Cold.")
        messages: Any = [{"role": "user", "content": "Weather?"}]
        if streamed:
            async with client.chat.completions.stream(model="m", messages=messages, tools=[CHAT_TOOL]) as stream:
                completion: Any = await stream.get_final_completion()
        else:
            completion = await client.chat.completions.create(model="m", messages=messages, tools=[CHAT_TOOL])
        choice = completion.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls] == [
            (call.call_id, call.name, call.arguments) for call in CALLS
        ]
        sent = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in CALLS
        ]
        messages += [
            {"role": "assistant", "content": "Let me look.", "tool_calls": sent},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "-3 °C"},
        ]
        await client.chat.completions.create(model="m", messages=messages, tools=[CHAT_TOOL])
        assert model.requests[1].messages == (
            Message("user", "Weather?"),
            Message("assistant", "Let me look.", tool_calls=CALLS),
            Message("tool", "noon", call_id="call_2"),
            Message("tool", "-3 °C", call_id="call_1"),
        )
        assert model.requests[1].tools == (FunctionTool("weather", "Tell it.", PARAMETERS),)

    async def test_a_schema_reaches_the_model(self, model: ScriptedModel, client: openai.AsyncOpenAI) -> None:
        model.enqueue("{}")
        schema: dict[str, object] = {"type": "object", "properties": {}}
        await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "x"}],
            response_format={"type": "json_schema", "json_schema": {"name": "case", "schema": schema, "strict": True}},
        )
        assert model.requests[0].output_schema == OutputSchema("case", schema)

    @pytest.mark.parametrize("limit", [{"max_tokens": 3}, {"max_completion_tokens": 3}])
    async def test_a_reply_over_the_limit_is_cut_and_says_so(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, limit: dict[str, Any]
    ) -> None:
        model.enqueue("one two three four")
        completion = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], **limit
        )
        assert completion.choices[0].finish_reason == "length"
        assert completion.choices[0].message.content == "one two three"

    @pytest.mark.parametrize(
        ("choice", "tools", "expected"),
        [
            ("none", 2, "none"),
            ("required", 2, "required"),
            ({"type": "function", "function": {"name": "weather"}}, 2, "weather"),
            (
                {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "weather"}}],
                    },
                },
                1,
                "auto",
            ),
        ],
    )
    async def test_every_form_of_tool_choice_is_understood(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, choice: Any, tools: int, expected: str
    ) -> None:
        model.enqueue("ok")
        other: Any = {"type": "function", "function": {"name": "clock"}}
        await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], tools=[CHAT_TOOL, other], tool_choice=choice
        )
        assert (len(model.requests[0].tools), model.requests[0].tool_choice) == (tools, expected)

    @pytest.mark.parametrize(
        ("fields", "code", "param"),
        [
            ({"messages": None}, "missing_required_parameter", "messages"),
            ({"messages": []}, "empty_array", "messages"),
            ({"messages": "hi"}, "invalid_type", "messages"),
            ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]},
                "unsupported_content",
                "messages[0].content[0]",
            ),
            ({"messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]}, None, "messages[0]"),
            (
                {
                    "messages": [
                        {
                            "role": "assistant",
                            "tool_calls": [
                                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                            ],
                        },
                        {"role": "user", "content": "and?"},
                    ]
                },
                None,
                "messages[1]",
            ),
            ({"n": 2}, "unsupported_parameter", "n"),
            ({"stop": ["."]}, "unsupported_parameter", "stop"),
            ({"functions": [{}]}, "unsupported_parameter", "functions"),
            ({"tools": [{"type": "custom"}]}, "unsupported_tool", "tools[0]"),
            ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
            ({"stream_options": {"include_usage": True}}, None, "stream_options"),
            ({"max_tokens": True}, "invalid_type", "max_tokens"),
        ],
    )
    async def test_what_cannot_be_served_is_refused_by_name(
        self, model: ScriptedModel, client: openai.AsyncOpenAI, fields: dict[str, Any], code: str | None, param: str
    ) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post("/chat/completions", body=body, cast_to=object)
        assert (caught.value.code, caught.value.param) == (code, param)
        assert model.requests == []


def test_a_token_is_a_word_or_a_punctuation_mark() -> None:
    assert count_tokens("Order NP-10001, shipped — twice!") == 9
    assert count_tokens("") == 0


texts = st.text(max_size=200)
replies = st.builds(
    ModelReply,
    text=texts,
    tool_calls=st.lists(
        st.builds(
            ToolCall,
            call_id=st.uuids().map(str),
            name=st.sampled_from(["weather", "clock"]),
            arguments=st.dictionaries(texts, texts, max_size=3).map(json.dumps),
        ),
        max_size=3,
    ).map(tuple),
    reasoning=texts,
)
limits = st.none() | st.integers(1, 40)


def _sent_events(stream: bytes) -> list[dict[str, Any]]:
    data = [event.split(b"data: ", 1)[1] for event in stream.split(b"\n\n") if event]
    return [json.loads(item) for item in data if item != b"[DONE]"]


@settings(deadline=None, max_examples=60)
@given(reply=replies, limit=limits)
async def test_streamed_responses_say_exactly_what_whole_ones_say(reply: ModelReply, limit: int | None) -> None:
    http_client = httpx2.AsyncClient(transport=ModelTransport(lambda _: reply), trust_env=False)
    client = openai.AsyncOpenAI(api_key="none", http_client=http_client)
    whole = await client.responses.create(model="m", input="x", max_output_tokens=limit)
    events = [
        e async for e in await client.responses.create(model="m", input="x", max_output_tokens=limit, stream=True)
    ]
    streamed = events[-1].response  # type: ignore[union-attr]
    await client.close()

    def comparable(response: Any) -> dict[str, Any]:
        ignored = {"id", "created_at", "completed_at"}
        dumped: dict[str, Any] = response.model_dump(mode="json", warnings=False, exclude=ignored)
        for item in dumped["output"]:
            item.pop("id")
            item.pop("parsed_arguments", None)
            for part in item.get("content") or []:
                part.pop("parsed", None)
        return dumped

    assert comparable(streamed) == comparable(whole)


@settings(deadline=None)
@given(reply=replies, limit=limits)
def test_what_the_deltas_of_responses_add_up_to_is_the_final_item(reply: ModelReply, limit: int | None) -> None:
    answer = ResponsesAnswer(ModelRequest((), max_output_tokens=limit), reply)
    events = _sent_events(b"".join(answer.stream()))
    final = events[-1]["response"]["output"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == final
    for item in final:
        text = "".join(event["delta"] for event in events if event.get("item_id") == item["id"] and "delta" in event)
        held = {"message": "content", "reasoning": "summary"}.get(item["type"])
        assert text == (item[held][0]["text"] if held else item["arguments"])


@settings(deadline=None)
@given(reply=replies, limit=limits)
def test_streamed_chat_says_exactly_what_a_whole_one_says(reply: ModelReply, limit: int | None) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": limit, "stream": True}
    request = parse_chat_request({**body, "stream_options": {"include_usage": True}})
    answer = ChatAnswer(request, reply)
    whole = answer.body()
    stream = b"".join(answer.stream())
    assert stream.endswith(b"data: [DONE]\n\n")
    chunks = _sent_events(stream)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    message = whole["choices"][0]["message"]
    assert "".join(delta.get("content") or "" for delta in deltas) == (message["content"] or "")
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        for piece in delta.get("tool_calls", []):
            index = piece.pop("index")
            if index in calls:
                calls[index]["function"]["arguments"] += piece["function"]["arguments"]
            else:
                calls[index] = piece
    assert list(calls.values()) == message.get("tool_calls", [])
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]]
    assert [reason for reason in reasons if reason] == [whole["choices"][0]["finish_reason"]]
    assert chunks[-1]["usage"] == whole["usage"]
