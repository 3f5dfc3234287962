"""Reads an AG-UI `RunAgentInput` into what the assistant understands, and refuses the rest before a run starts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from ag_ui.core import RunAgentInput
from agent_runtime.hosting.errors import BadRequest
from agent_runtime.hosting.json_body import parse_json_object
from pydantic import ValidationError

from ag_ui_streamer.agent import Item
from ag_ui_streamer.approvals import Answer

MOST_ID_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class RunRequest:
    thread_id: str
    run_id: str
    messages: tuple[dict[str, Any], ...]
    """AG-UI messages, as JSON."""
    page_tools: tuple[dict[str, Any], ...] = ()
    context: tuple[str, ...] = ()
    """What the page says about itself."""
    answers: tuple[Answer, ...] = ()
    is_text: bool = False
    """Whether the message goes on with the thread as the server knows it, for a client that sends no history."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A call that waited for a person, with its output."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]
    output: str


def read_run_request(raw: bytes, content_type: str, session_id: str) -> RunRequest:
    """The run that a body asks for: AG-UI's JSON, or plain text as `azd ai agent invoke` sends it.

    Plain text is one user message on the thread of the session.

    Raises:
        BadRequest: for a body that is no valid input, or that has nothing to answer.
    """
    if content_type.partition(";")[0].strip().lower() == "text/plain":
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise BadRequest("invalid_utf8", "The text is not valid UTF-8.") from None
        if not text.strip():
            raise BadRequest("empty_body", "The message is empty.")
        said = {"id": str(uuid4()), "role": "user", "content": text}
        return RunRequest(session_id, str(uuid4()), (said,), is_text=True)
    document = parse_json_object(raw)
    try:
        given = RunAgentInput.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"])
        raise BadRequest("invalid_run_input", f"{param}: {first['msg']}", param=param) from None
    for name, identity in (("threadId", given.thread_id), ("runId", given.run_id)):
        if not identity or len(identity) > MOST_ID_CHARACTERS:
            message = f"{name} must have 1 to {MOST_ID_CHARACTERS} characters."
            raise BadRequest("invalid_run_input", message, param=name)
    dumped = given.model_dump(mode="json", by_alias=True, exclude_none=True)
    tools = [
        {
            "name": tool["name"],
            "description": tool.get("description", ""),
            "parameters": tool.get("parameters") or {"type": "object", "properties": {}},
        }
        for tool in dumped.get("tools", [])
    ]
    answers = [Answer(one["interruptId"], one["status"], one.get("payload")) for one in dumped.get("resume", [])]
    return RunRequest(
        given.thread_id,
        given.run_id,
        tuple(dumped["messages"]),
        page_tools=tuple(tools),
        context=tuple(f"{entry['description']}: {entry['value']}" for entry in dumped.get("context", [])),
        answers=tuple(answers),
    )


def conversation_of(
    messages: Sequence[dict[str, Any]], context: Sequence[str] = (), decided: Sequence[Decided] = ()
) -> list[Item]:
    """The input of a model. `decided` are the calls that waited for a person: their outputs take the place of whatever
    the messages say of them.

    Raises:
        BadRequest: `nothing_to_answer`, `unknown_tool_call` or `unsupported_content`.
    """
    conversation = _conversation(messages)
    for call in decided:
        said = [item for item in conversation if item.get("call_id") == call.call_id]
        if not said:
            arguments = json.dumps(call.arguments)
            item = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": arguments}
            # What the user says now comes after it.
            end = len(conversation) - (1 if conversation and conversation[-1].get("role") == "user" else 0)
            conversation[end:end] = [item, _output(call.call_id, call.output)]
        for item in said:
            if item["type"] == "function_call_output":
                item["output"] = call.output
    if not conversation or not _is_to_be_answered(conversation[-1]):
        message = "The last message must be the user's or the result of a tool."
        raise BadRequest("nothing_to_answer", message, param="messages")
    if context:
        conversation.insert(0, _said("user", "What the page says about itself:\n" + "\n".join(context)))
    return conversation


def _conversation(messages: Sequence[dict[str, Any]]) -> list[Item]:
    items: list[Item] = []
    open_calls: dict[str, None] = {}
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        match message["role"]:
            case "tool":
                call_id = message["toolCallId"]
                if call_id not in open_calls:
                    raise BadRequest("unknown_tool_call", f"No open tool call has the id {call_id!r}.", param=where)
                del open_calls[call_id]
                items.append(_output(call_id, message.get("error") or _text(message["content"], where)))
            case "activity" | "reasoning":
                continue  # For the page only.
            case role:
                items += [_unanswered(call_id) for call_id in open_calls]
                open_calls.clear()
                if role == "assistant":
                    for call in message.get("toolCalls", []):
                        open_calls[call["id"]] = None
                    items += _assistant(message)
                else:
                    # A page's system and developer messages are heard like the user's: they do not instruct the agent.
                    items.append(_said("user", _text(message["content"], where)))
    return items + [_unanswered(call_id) for call_id in open_calls]


def _assistant(message: dict[str, Any]) -> list[Item]:
    items = [_said("assistant", message["content"])] if message.get("content") else []
    for call in message.get("toolCalls", []):
        function = call["function"]
        arguments = function["arguments"] if _is_json(function["arguments"]) else "{}"
        items.append({"type": "function_call", "call_id": call["id"], "name": function["name"], "arguments": arguments})
    return items


def _text(content: str | list[dict[str, Any]], where: str) -> str:
    if isinstance(content, str):
        return content
    other = next((part["type"] for part in content if part["type"] != "text"), None)
    if other:
        raise BadRequest("unsupported_content", f"This agent reads text only, and was sent {other}.", param=where)
    return "\n".join(part["text"] for part in content)


def _said(role: str, text: str) -> Item:
    return {"type": "message", "role": role, "content": text}


def _output(call_id: str, output: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _unanswered(call_id: str) -> Item:
    """An aborted run leaves calls without results in the page's history; models refuse such a history."""
    return _output(call_id, json.dumps({"error": {"code": "cancelled", "message": "The call was cancelled."}}))


def _is_to_be_answered(item: Item) -> bool:
    return item["type"] == "function_call_output" or (item.get("role") == "user" and bool(item["content"].strip()))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
