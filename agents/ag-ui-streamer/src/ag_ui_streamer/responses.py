"""The same assistant over the Responses protocol, for any `openai` client: text, tool calls and results as items."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from agent_runtime.interruptible import Stopped, until
from agent_runtime.model_errors import ModelError
from azure.ai.agentserver.responses import ResponseContext, ResponseEventStream, ResponsesAgentServerHost

from ag_ui_streamer.agent import Assistant, AssistantError, Item
from ag_ui_streamer.progress import (
    Finished,
    Progress,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
)

logger = logging.getLogger(__name__)


def register_responses(host: ResponsesAgentServerHost, assistant: Assistant) -> None:
    """Register the assistant as the response handler of `host`."""

    @host.response_handler
    async def respond(
        request: Mapping[str, Any], context: ResponseContext, cancellation_signal: asyncio.Event
    ) -> AsyncIterator[Any]:
        stream = ResponseEventStream(response_id=context.response_id, request=request)
        yield stream.emit_created()
        yield stream.emit_in_progress()
        items = _Items(stream)
        try:
            conversation = _conversation([*await context.get_history(), *await context.get_input_items()])
            progress = until(assistant.run(conversation), cancellation_signal)
            async with aclosing(progress):  # type: ignore[type-var]
                async for happened in progress:
                    for event in items.write(happened):
                        yield event
        except Stopped:
            return  # The host ends a cancelled response itself.
        except (ModelError, AssistantError) as error:
            logger.warning("response failed: %s", error.code, extra={"error.type": error.code})
            for event in items.close():
                yield event
            yield stream.emit_failed(code=error.code, message=error.message)
            return
        except Exception:
            logger.exception("response failed")
            yield stream.emit_failed(code="server_error", message="Something went wrong in the agent. Try again.")
            return
        for event in items.close():
            yield event
        yield stream.emit_completed(usage=items.usage)


class _Items:
    """Writes progress as output items: opens each with its first piece and closes it before the next begins."""

    def __init__(self, stream: ResponseEventStream) -> None:
        self._stream = stream
        self._message: Any = None
        self._content: Any = None
        self._text = ""
        self._reasoning = ""
        self._calls: dict[str, tuple[Any, str]] = {}
        self.usage: dict[str, Any] | None = None

    def write(self, happened: Progress) -> list[Any]:
        match happened:
            case TextDelta(text):
                return [*self._flush_reasoning(), *self._add_text(text)]
            case ReasoningDelta(text):
                self._reasoning += text
                return self._close_message()
            case ToolCallStarted(call_id, name):
                call = self._stream.add_output_item_function_call(name, call_id)
                self._calls[call_id] = (call, "")
                return [*self.close(), call.emit_added()]
            case ToolCallArguments(call_id, delta):
                call, arguments = self._calls[call_id]
                self._calls[call_id] = (call, arguments + delta)
                return [call.emit_arguments_delta(delta)]
            case ToolCallEnded(call_id):
                call, arguments = self._calls.pop(call_id)
                return [call.emit_arguments_done(arguments), call.emit_done()]
            case ToolResult(call_id, content):
                return [*self.close(), *self._stream.output_item_function_call_output(call_id, content)]
            case Finished():
                total = happened.input_tokens + happened.output_tokens
                self.usage = {
                    "input_tokens": happened.input_tokens,
                    "input_tokens_details": {"cached_tokens": 0},
                    "output_tokens": happened.output_tokens,
                    "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": total,
                }
        return []

    def close(self) -> list[Any]:
        return [*self._flush_reasoning(), *self._close_message()]

    def _add_text(self, text: str) -> list[Any]:
        events = []
        if self._message is None:
            self._message = self._stream.add_output_item_message()
            events.append(self._message.emit_added())
            self._content = self._message.add_text_content()
            events.append(self._content.emit_added())
        self._text += text
        return [*events, self._content.emit_delta(text)]

    def _close_message(self) -> list[Any]:
        if self._message is None:
            return []
        events = [self._content.emit_text_done(self._text), self._content.emit_done(), self._message.emit_done()]
        self._message, self._content, self._text = None, None, ""
        return events

    def _flush_reasoning(self) -> list[Any]:
        if not self._reasoning:
            return []
        events = list(self._stream.output_item_reasoning_item(self._reasoning))
        self._reasoning = ""
        return events


def _conversation(items: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Stored and new items as the model's input: messages as plain text, tool calls with their outputs."""
    conversation: list[Item] = []
    for item in items:
        match item.get("type", "message"):
            case "message":
                content = item.get("content") or ""
                if not isinstance(content, str):
                    content = "\n".join(part.get("text") or "" for part in content)
                conversation.append({"type": "message", "role": item["role"], "content": content})
            case "function_call":
                kept = ("type", "call_id", "name", "arguments")
                conversation.append({key: item[key] for key in kept})
            case "function_call_output":
                conversation.append({key: item[key] for key in ("type", "call_id", "output")})
    answered = {item["call_id"] for item in conversation if item["type"] == "function_call_output"}
    called = {item["call_id"] for item in conversation if item["type"] == "function_call"}
    return [item for item in conversation if "call_id" not in item or item["call_id"] in answered & called]
