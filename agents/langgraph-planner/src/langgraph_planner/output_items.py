"""Writes what happens in the graph as output items of a response, streamed as it happens.

An approval is asked for twice, as LangGraph's own Foundry host does, so that clients of the one work with the other: as
`mcp_approval_request`, and as a call of `__hosted_agent_adapter_interrupt__` (langchain-azure-ai, `agents/hosting`).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

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
        self.approval_id = ""
        """The id of the last `mcp_approval_request`, which a client answers with."""

    def write(self, happened: Progress) -> Iterator[Any]:
        """The events of the one item that shows what happened."""
        match happened:
            case Thought(text):
                yield from self._stream.output_item_reasoning_item(text)
            case PlanMade(plan):
                yield from self._stream.output_item_structured_outputs(plan)
            case StepStarted(call_id, tool, arguments):
                written = json.dumps(arguments, ensure_ascii=False)
                yield from self._stream.output_item_function_call(tool, call_id, written)
            case StepEnded(call_id, output):
                written = json.dumps(output, ensure_ascii=False)
                yield from self._stream.output_item_function_call_output(call_id, written)
            case Told(text):
                yield from self._message(text)
            case InterruptRaised(interrupt_id, value):
                written = json.dumps(value, ensure_ascii=False)
                yield from self._stream.output_item_function_call(INTERRUPT_CALL, interrupt_id, written)
            case ApprovalNeeded(_, tool, arguments):
                written = json.dumps(arguments, ensure_ascii=False)
                for event in self._stream.output_item_mcp_approval_request(SERVER_LABEL, tool, written):
                    self.approval_id = event["item"]["id"]
                    yield event

    def _message(self, text: str) -> Iterator[Any]:
        message = self._stream.add_output_item_message()
        yield message.emit_added()
        content = message.add_text_content()
        yield content.emit_added()
        for piece in _PIECE.findall(text):
            if piece:
                yield content.emit_delta(piece)
        yield content.emit_text_done(text)
        yield content.emit_done()
        yield message.emit_done()
