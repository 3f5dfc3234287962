"""Writes what happens in the graph as output items of a response, streamed as it happens.

Ids follow from the response and the item's place in it: an item that a crash has cut is written again by the next
process as the same item, so that a client which reconnects goes on in the middle of it
(`agent_runtime.hosting.responses.resumption`).

An approval is asked for twice, as LangGraph's own Foundry host does, so that clients of the one work with the other: as
`mcp_approval_request`, and as a call of `__hosted_agent_adapter_interrupt__` (langchain-azure-ai, `agents/hosting`).
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from agent_runtime.hosting.responses.resumption import item_id
from azure.ai.agentserver.responses import ResponseEventStream

from langgraph_planner.progress import (
    ApprovalNeeded,
    InterruptRaised,
    PlanMade,
    Progress,
    StepEnded,
    StepStarted,
    Thought,
    Told,
)

INTERRUPT_CALL = "__hosted_agent_adapter_interrupt__"
SERVER_LABEL = "langgraph"
_PIECE = re.compile(r"\S*\s*")


class OutputItems:
    """The items of one response."""

    def __init__(self, stream: ResponseEventStream) -> None:
        self._stream = stream
        self._response_id = str(stream.response["id"])
        self._number = len(stream.response["output"])

    @property
    def count(self) -> int:
        """How many items the response has."""
        return self._number

    def id_of_next(self, happened: Progress) -> str:
        """The id that the next item gets if it shows this."""
        return item_id(self._response_id, self._number, _PREFIXES[type(happened)])

    def write(self, happened: Progress) -> Iterator[Any]:
        """The events of the one item that shows what happened."""
        item, parts = _item(happened)
        item = {"id": self.id_of_next(happened), **item}
        self._number += 1
        builder = self._stream.add_output_item(item["id"])
        yield builder.emit_added(item | _unfinished(item))
        for part in parts:
            yield {"item_id": item["id"], "output_index": builder.output_index, **part}
        yield builder.emit_done(item)


_PREFIXES: dict[type[Progress], str] = {
    Thought: "rs",
    PlanMade: "fco",
    StepStarted: "fc",
    StepEnded: "fco",
    InterruptRaised: "fc",
    ApprovalNeeded: "mcpr",
    Told: "msg",
}
"""As the SDK's builders choose them (azure-ai-agentserver-responses, `_id_generator.py`)."""


def _item(happened: Progress) -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
    """The finished item, and the events between its beginning and its end."""
    match happened:
        case Thought(text):
            part = {"type": "summary_text", "text": text}
            return {"type": "reasoning", "summary": [part], "status": "completed"}, _summary_events(text)
        case PlanMade(plan):
            return {"type": "structured_outputs", "output": plan}, ()
        case StepStarted(call_id, tool, arguments):
            return _call(tool, call_id, arguments)
        case StepEnded(call_id, output):
            written = json.dumps(output, ensure_ascii=False)
            return {"type": "function_call_output", "call_id": call_id, "output": written, "status": "completed"}, ()
        case InterruptRaised(interrupt_id, value):
            return _call(INTERRUPT_CALL, interrupt_id, value)
        case ApprovalNeeded(_, tool, arguments, expires_at):
            written = json.dumps(arguments, ensure_ascii=False)
            request = {"type": "mcp_approval_request", "server_label": SERVER_LABEL, "name": tool, "arguments": written}
            return request | ({"expires_at": expires_at} if expires_at else {}), ()
        case Told(text):
            content = [_text(text)]
            return {"type": "message", "role": "assistant", "content": content, "status": "completed"}, _told(text)


def _unfinished(item: dict[str, Any]) -> dict[str, Any]:
    """What of an item is not there yet when it begins."""
    begun = {"status": "in_progress"} if "status" in item else {}
    match item["type"]:
        case "reasoning":
            return begun | {"summary": []}
        case "function_call":
            return begun | {"arguments": ""}
        case "message":
            return begun | {"content": []}
    return begun


def _call(name: str, call_id: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
    written = json.dumps(arguments, ensure_ascii=False)
    item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": written, "status": "completed"}
    kind = "response.function_call_arguments"
    return item, (
        {"type": f"{kind}.delta", "delta": written},
        {"type": f"{kind}.done", "name": name, "arguments": written},
    )


def _summary_events(text: str) -> Sequence[dict[str, Any]]:
    kind = "response.reasoning_summary"
    place = {"summary_index": 0}
    return (
        {"type": f"{kind}_part.added", **place, "part": {"type": "summary_text", "text": ""}},
        {"type": f"{kind}_text.delta", **place, "delta": text},
        {"type": f"{kind}_text.done", **place, "text": text},
        {"type": f"{kind}_part.done", **place, "part": {"type": "summary_text", "text": text}},
    )


def _told(text: str) -> Sequence[dict[str, Any]]:
    place = {"content_index": 0}
    deltas = [
        {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        for piece in _PIECE.findall(text)
        if piece
    ]
    return (
        {"type": "response.content_part.added", **place, "part": _text("")},
        *deltas,
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": _text(text)},
    )


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
