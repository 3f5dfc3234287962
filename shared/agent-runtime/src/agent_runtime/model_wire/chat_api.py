"""Chat completions: its request as a `ModelRequest`, and a `ModelReply` as its body or its chunks.

The API has no place for a reasoning summary, so a reply's `reasoning` shows only in the usage.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
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
    invalid_value,
    known_tool,
    missing,
    narrow,
    optional_count,
    optional_flag,
    plain_choice,
    refuse,
    required_text,
    unsupported,
)
from agent_runtime.model_wire.tokens import count_tokens, fit_to_limit, measure_usage, pieces

_TEXT_PARTS = ("text",)
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_REFUSED = {
    "functions": "use 'tools'.",
    "function_call": "use 'tool_choice'.",
    "logprobs": "there are no token probabilities.",
    "top_logprobs": "there are no token probabilities.",
    "stop": "stop sequences are not cut out. Cut the answer yourself.",
    "audio": "this model writes text.",
    "prediction": "there are no predicted outputs.",
    "web_search_options": "this model does not search the web.",
}


def parse_chat_request(body: object) -> ModelRequest:
    """Read the body of `POST /chat/completions`. `store`, `metadata`, `seed` and sampling change nothing.

    Raises:
        WireError: what OpenAI would refuse, and what this server cannot do (each with its own code).
    """
    fields = as_object(body, "body")
    refuse(fields, _REFUSED)
    if fields.get("n") not in (None, 1):
        raise unsupported("n", "'n' is not supported here: one answer is written for each request.")
    if fields.get("modalities") not in (None, ["text"]):
        raise unsupported("modalities", "'modalities' is not supported here: this model writes text.")
    check_number(fields, "temperature", 0, 2)
    check_number(fields, "top_p", 0, 1)
    model = required_text(fields, "model", "model")
    streamed = optional_flag(fields, "stream", False)
    if fields.get("stream_options") is not None and not streamed:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise WireError(400, None, message, "stream_options")
    _wants_usage(fields)
    tools = tuple(_tools(fields))
    tools, choice = _tool_choice(fields.get("tool_choice"), tools)
    limit = optional_count(fields, "max_completion_tokens")
    return ModelRequest(
        messages=tuple(_messages(fields)),
        model=model,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=optional_flag(fields, "parallel_tool_calls", True),
        output_schema=_output_schema(fields),
        max_output_tokens=limit if limit is not None else optional_count(fields, "max_tokens"),
        body=fields,
    )


def _messages(fields: Mapping[str, Any]) -> list[Message]:
    if fields.get("messages") is None:
        raise missing("messages")
    messages: list[Message] = []
    unanswered: set[str] = set()
    given = as_array(fields["messages"], "messages")
    if not given:
        raise WireError(400, "empty_array", "Invalid 'messages': expected at least one message.", "messages")
    for index, value in enumerate(given):
        where = f"messages[{index}]"
        message = _message(as_object(value, where), where)
        if message.role == "tool":
            if message.call_id not in unanswered:
                text = "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise WireError(400, None, text, where)
            unanswered.discard(message.call_id)
        elif unanswered:
            raise _unanswered(unanswered, where)
        unanswered |= {call.call_id for call in message.tool_calls}
        messages.append(message)
    if unanswered:
        raise _unanswered(unanswered, "messages")
    return messages


def _unanswered(call_ids: set[str], where: str) -> WireError:
    text = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(sorted(call_ids))}"
    )
    return WireError(400, None, text, where)


def _message(item: Mapping[str, Any], where: str) -> Message:
    role = required_text(item, "role", f"{where}.role")
    if role not in _ROLES:
        raise invalid_value(f"{where}.role", _ROLES)
    calls = _calls(item, where) if role == "assistant" else ()
    content = item.get("content")
    if content is None and role == "assistant":
        content = item.get("refusal") or ""
        if not content and not calls:
            raise missing(f"{where}.content")
    if content is None:
        raise missing(f"{where}.content")
    return Message(
        role=_ROLES[role],
        text=content_text(content, f"{where}.content", _TEXT_PARTS),
        tool_calls=calls,
        call_id=required_text(item, "tool_call_id", f"{where}.tool_call_id") if role == "tool" else None,
    )


def _calls(item: Mapping[str, Any], where: str) -> tuple[ToolCall, ...]:
    calls = []
    for index, value in enumerate(as_array(item.get("tool_calls") or [], f"{where}.tool_calls")):
        at = f"{where}.tool_calls[{index}]"
        call = as_object(value, at)
        function_kind(call, at)
        function = as_object(call.get("function"), f"{at}.function")
        calls.append(
            ToolCall(
                call_id=required_text(call, "id", f"{at}.id"),
                name=required_text(function, "name", f"{at}.function.name"),
                arguments=required_text(function, "arguments", f"{at}.function.arguments"),
            )
        )
    return tuple(calls)


def _tools(fields: Mapping[str, Any]) -> Iterator[FunctionTool]:
    for index, value in enumerate(as_array(fields.get("tools") or [], "tools")):
        where = f"tools[{index}]"
        tool = as_object(value, where)
        function_kind(tool, where)
        yield function_tool(as_object(tool.get("function"), f"{where}.function"), f"{where}.function")


def _tool_choice(choice: object, tools: tuple[FunctionTool, ...]) -> tuple[tuple[FunctionTool, ...], str]:
    if choice is None:
        return tools, "auto"
    if isinstance(choice, str):
        return tools, plain_choice(choice, tools)
    chosen = as_object(choice, "tool_choice")
    if chosen.get("type") == "allowed_tools":
        where = "tool_choice.allowed_tools"
        allowed = as_object(chosen.get("allowed_tools"), where)
        names = []
        for index, value in enumerate(as_array(allowed.get("tools"), f"{where}.tools")):
            names.append(_function_name(as_object(value, f"{where}.tools[{index}]"), f"{where}.tools[{index}]"))
        return narrow(tools, allowed.get("mode"), names, where)
    return tools, known_tool(tools, _function_name(chosen, "tool_choice"), "tool_choice")


def _function_name(holder: Mapping[str, Any], where: str) -> str:
    function_kind(holder, where)
    function = as_object(holder.get("function"), f"{where}.function")
    return required_text(function, "name", f"{where}.function.name")


def _output_schema(fields: Mapping[str, Any]) -> OutputSchema | None:
    form = as_object(fields.get("response_format") or {"type": "text"}, "response_format")
    kind = required_text(form, "type", "response_format.type")
    if kind == "text":
        return None
    if kind == "json_object":
        raise unsupported("response_format", "JSON mode is not supported here: use a 'json_schema' format.")
    if kind != "json_schema":
        raise invalid_value("response_format.type", ("text", "json_schema"))
    where = "response_format.json_schema"
    schema = as_object(form.get("json_schema"), where)
    if schema.get("schema") is None:
        raise missing(f"{where}.schema")
    return OutputSchema(
        name=required_text(schema, "name", f"{where}.name"), schema=as_object(schema["schema"], f"{where}.schema")
    )


def _wants_usage(fields: Mapping[str, Any]) -> bool:
    return optional_flag(as_object(fields.get("stream_options") or {}, "stream_options"), "include_usage", False)


class ChatAnswer:
    """One reply as chat completions write it. `body()` and `chunks()` of one answer say the same."""

    def __init__(self, request: ModelRequest, reply: ModelReply) -> None:
        self._request = request
        self._reply = fit_to_limit(request, reply)
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": request.model,
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def body(self) -> dict[str, Any]:
        calls = [_tool_call(call) for call in self._reply.tool_calls]
        message = {
            "role": "assistant",
            "content": self._reply.text or (None if calls else ""),
            "refusal": None,
            "annotations": [],
            **({"tool_calls": calls} if calls else {}),
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The stream's chunks, without the closing `[DONE]`; with a last one for the usage where it was asked for."""
        calls = self._reply.tool_calls
        opening = None if calls and not self._reply.text else ""
        yield self._chunk({"role": "assistant", "content": opening, "refusal": None})
        for piece in pieces(self._reply.text):
            yield self._chunk({"content": piece})
        for index, call in enumerate(calls):
            yield self._chunk({"tool_calls": [{"index": index, **_tool_call(call, arguments="")}]})
            for piece in pieces(call.arguments):
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield self._chunk({}, self._finish_reason)
        if _wants_usage(self._request.body):
            yield {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()}

    def stream(self) -> Iterator[bytes]:
        """The chunks as server-sent events, up to `[DONE]`."""
        for chunk in self.chunks():
            yield f"data: {json.dumps(chunk)}\n\n".encode()
        yield b"data: [DONE]\n\n"

    @property
    def _finish_reason(self) -> str:
        if self._reply.finish_reason == "length":
            return "length"
        return "tool_calls" if self._reply.tool_calls else "stop"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if _wants_usage(self._request.body) else {}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **usage}

    def _usage(self) -> dict[str, Any]:
        usage = measure_usage(self._request, self._reply)
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": min(count_tokens(self._reply.reasoning), usage.output_tokens)
            },
        }


def _tool_call(call: ToolCall, arguments: str | None = None) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments if arguments is None else arguments}
    return {"id": call.call_id, "type": "function", "function": function}
