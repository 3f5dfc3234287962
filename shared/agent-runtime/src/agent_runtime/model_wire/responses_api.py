"""The Responses API: its request as a `ModelRequest`, and a `ModelReply` as its body or its event stream."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from agent_runtime.model_exchange import FunctionTool, Message, ModelReply, ModelRequest, OutputSchema, Role, ToolCall
from agent_runtime.model_wire.fields import (
    WireError,
    as_array,
    as_object,
    check_number,
    content_text,
    function_kind,
    function_tool,
    invalid_type,
    invalid_value,
    known_tool,
    missing,
    narrow,
    optional_count,
    optional_flag,
    optional_text,
    plain_choice,
    refuse,
    required_text,
    unsupported,
)
from agent_runtime.model_wire.tokens import count_tokens, fit_to_limit, measure_usage, pieces

_TEXT_PARTS = ("input_text", "output_text", "text")
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_STATELESS = "this server keeps nothing between requests. Send the whole conversation in 'input'."
_REFUSED = {
    "previous_response_id": _STATELESS,
    "conversation": _STATELESS,
    "background": _STATELESS,
    "prompt": "there are no stored prompts. Send 'instructions' and 'input'.",
    "top_logprobs": "there are no token probabilities.",
}

Event = dict[str, Any]


def parse_responses_request(body: object) -> ModelRequest:
    """Read the body of `POST /responses`. `store`, `include`, `reasoning`, `metadata` and sampling change nothing.

    Raises:
        WireError: what OpenAI would refuse, and what this server cannot do (each with its own code).
    """
    fields = as_object(body, "body")
    refuse(fields, _REFUSED)
    check_number(fields, "temperature", 0, 2)
    check_number(fields, "top_p", 0, 1)
    model = required_text(fields, "model", "model")
    optional_flag(fields, "stream", False)
    optional_flag(fields, "store", True)
    tools = tuple(_tools(fields))
    tools, choice = _tool_choice(fields.get("tool_choice"), tools)
    return ModelRequest(
        messages=tuple(_messages(fields)),
        model=model,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=optional_flag(fields, "parallel_tool_calls", True),
        output_schema=_output_schema(fields),
        max_output_tokens=optional_count(fields, "max_output_tokens"),
        body=fields,
    )


def _messages(fields: Mapping[str, Any]) -> list[Message]:
    messages: list[Message] = []
    instructions = optional_text(fields, "instructions", "instructions")
    if instructions:
        messages.append(Message("system", instructions))
    given = fields.get("input")
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        return [*messages, Message("user", given)]
    if not isinstance(given, list):
        raise invalid_type("input", "a string or an array of items", given)
    if not given:
        raise WireError(400, "empty_array", "Invalid 'input': expected at least one item.", "input")
    for index, value in enumerate(given):
        _add_item(messages, as_object(value, f"input[{index}]"), f"input[{index}]")
    _check_calls_are_answered(messages)
    return messages


def _add_item(messages: list[Message], item: Mapping[str, Any], where: str) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        role = required_text(item, "role", f"{where}.role")
        if role not in _ROLES:
            raise invalid_value(f"{where}.role", _ROLES)
        if item.get("content") is None:
            raise missing(f"{where}.content")
        messages.append(Message(_ROLES[role], content_text(item["content"], f"{where}.content", _TEXT_PARTS)))
    elif kind == "function_call":
        call = ToolCall(
            call_id=required_text(item, "call_id", f"{where}.call_id"),
            name=required_text(item, "name", f"{where}.name"),
            arguments=required_text(item, "arguments", f"{where}.arguments"),
        )
        # Calls, and the text before them, are one turn of the model, as in chat completions.
        if messages and messages[-1].role == "assistant":
            messages[-1] = replace(messages[-1], tool_calls=(*messages[-1].tool_calls, call))
        else:
            messages.append(Message("assistant", tool_calls=(call,)))
    elif kind == "function_call_output":
        call_id = required_text(item, "call_id", f"{where}.call_id")
        if item.get("output") is None:
            raise missing(f"{where}.output")
        text = content_text(item["output"], f"{where}.output", _TEXT_PARTS)
        messages.append(Message("tool", text, call_id=call_id))
    elif kind == "item_reference":
        raise unsupported(where, f"Item references are not supported here: {_STATELESS}")
    elif kind != "reasoning":
        raise WireError(400, "unsupported_item", f"Input items of type '{kind}' are not supported here.", where)


def _check_calls_are_answered(messages: list[Message]) -> None:
    """The service refuses a history with a call or an output that stands alone; so a cut history shows in tests too."""
    called = {call.call_id for message in messages for call in message.tool_calls}
    answered = {message.call_id for message in messages if message.role == "tool"}
    for call_id in [message.call_id for message in messages if message.role == "tool"]:
        if call_id not in called:
            message = f"No tool call found for function call output with call_id {call_id}."
            raise WireError(400, None, message, "input")
    for call_id in [call.call_id for message in messages for call in message.tool_calls]:
        if call_id not in answered:
            raise WireError(400, None, f"No tool output found for function call {call_id}.", "input")


def _tools(fields: Mapping[str, Any]) -> Iterator[FunctionTool]:
    for index, value in enumerate(as_array(fields.get("tools") or [], "tools")):
        where = f"tools[{index}]"
        tool = as_object(value, where)
        function_kind(tool, where)
        yield function_tool(tool, where)


def _tool_choice(choice: object, tools: tuple[FunctionTool, ...]) -> tuple[tuple[FunctionTool, ...], str]:
    if choice is None:
        return tools, "auto"
    if isinstance(choice, str):
        return tools, plain_choice(choice, tools)
    chosen = as_object(choice, "tool_choice")
    if chosen.get("type") == "allowed_tools":
        names = []
        for index, value in enumerate(as_array(chosen.get("tools"), "tool_choice.tools")):
            where = f"tool_choice.tools[{index}]"
            allowed = as_object(value, where)
            function_kind(allowed, where)
            names.append(required_text(allowed, "name", f"{where}.name"))
        return narrow(tools, chosen.get("mode"), names, "tool_choice")
    function_kind(chosen, "tool_choice")
    return tools, known_tool(tools, required_text(chosen, "name", "tool_choice.name"), "tool_choice")


def _output_schema(fields: Mapping[str, Any]) -> OutputSchema | None:
    text = as_object(fields.get("text") or {}, "text")
    form = as_object(text.get("format") or {"type": "text"}, "text.format")
    kind = required_text(form, "type", "text.format.type")
    if kind == "text":
        return None
    if kind == "json_object":
        raise unsupported("text.format", "JSON mode is not supported here: use a 'json_schema' format.")
    if kind != "json_schema":
        raise invalid_value("text.format.type", ("text", "json_schema"))
    if form.get("schema") is None:
        raise missing("text.format.schema")
    return OutputSchema(
        name=required_text(form, "name", "text.format.name"), schema=as_object(form["schema"], "text.format.schema")
    )


class ResponsesAnswer:
    """One reply as the Responses API writes it. `body()` and `events()` of one answer carry the same items and ids."""

    def __init__(self, request: ModelRequest, reply: ModelReply) -> None:
        self._request = request
        self._reply = reply = fit_to_limit(request, reply)
        self._id = f"resp_{_hex()}"
        self._created_at = int(time.time())
        self._status = "incomplete" if reply.finish_reason == "length" else "completed"
        self._output: list[dict[str, Any]] = []
        if reply.reasoning:
            summary = [{"type": "summary_text", "text": reply.reasoning}]
            self._output.append({"id": f"rs_{_hex()}", "type": "reasoning", "summary": summary})
        if reply.text or not reply.tool_calls:
            self._output.append(
                {
                    "id": f"msg_{_hex()}",
                    "type": "message",
                    "status": self._status,
                    "role": "assistant",
                    "content": [_text_part(reply.text)],
                }
            )
        for call in reply.tool_calls:
            self._output.append(
                {
                    "id": f"fc_{_hex()}",
                    "type": "function_call",
                    "status": "completed",
                    "call_id": call.call_id,
                    "name": call.name,
                    "arguments": call.arguments,
                }
            )

    def body(self) -> dict[str, Any]:
        usage = measure_usage(self._request, self._reply)
        reasoning = count_tokens(self._reply.reasoning)
        counted: dict[str, Any] = {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": min(reasoning, usage.output_tokens)},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        return self._snapshot(self._status, self._output, counted)

    def events(self) -> Iterator[Event]:
        """The stream: each event with its `sequence_number` from 0; deltas concatenate exactly to the `done` text."""
        for number, event in enumerate(self._events()):
            yield {"type": event.pop("type"), "sequence_number": number, **event}

    def stream(self) -> Iterator[bytes]:
        """The events as server-sent events."""
        for event in self.events():
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()

    def _events(self) -> Iterator[Event]:
        yield {"type": "response.created", "response": self._snapshot("in_progress", [], None)}
        yield {"type": "response.in_progress", "response": self._snapshot("in_progress", [], None)}
        for index, item in enumerate(self._output):
            write = {"message": _message_events, "reasoning": _reasoning_events, "function_call": _call_events}
            yield from write[item["type"]](item, index)
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        yield {"type": f"response.{self._status}", "response": self.body()}

    def _snapshot(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        sent = self._request.body
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": sent.get("instructions"),
            "max_output_tokens": self._request.max_output_tokens,
            "metadata": sent.get("metadata") or {},
            "model": self._request.model,
            "output": output,
            "parallel_tool_calls": self._request.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": sent.get("temperature", 1.0),
            "text": sent.get("text") or {"format": {"type": "text"}},
            "tool_choice": sent.get("tool_choice") or "auto",
            "tools": sent.get("tools") or [],
            "top_p": sent.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": usage,
            "user": sent.get("user"),
        }


def _message_events(item: Mapping[str, Any], index: int) -> Iterator[Event]:
    text = item["content"][0]["text"]
    where = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield _added({**item, "status": "in_progress", "content": []}, index)
    yield {"type": "response.content_part.added", **where, "part": _text_part("")}
    for piece in pieces(text):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": _text_part(text)}


def _reasoning_events(item: Mapping[str, Any], index: int) -> Iterator[Event]:
    text = item["summary"][0]["text"]
    where = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    yield _added({**item, "summary": []}, index)
    yield {"type": "response.reasoning_summary_part.added", **where, "part": {"type": "summary_text", "text": ""}}
    for piece in pieces(text):
        yield {"type": "response.reasoning_summary_text.delta", **where, "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", **where, "text": text}
    yield {"type": "response.reasoning_summary_part.done", **where, "part": {"type": "summary_text", "text": text}}


def _call_events(item: Mapping[str, Any], index: int) -> Iterator[Event]:
    where = {"item_id": item["id"], "output_index": index}
    yield _added({**item, "status": "in_progress", "arguments": ""}, index)
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **where, **done}


def _added(item: dict[str, Any], index: int) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _hex() -> str:
    # Agent Framework's host merges the deltas of one reasoning item only when its id's body is 48 or 50 characters.
    return secrets.token_hex(24)
