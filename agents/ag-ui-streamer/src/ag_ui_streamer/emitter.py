"""AG-UI events in an order that is right by construction.

The caller says what happens; the emitter opens and closes what must be opened and closed around it, and ends the run
with exactly one terminal event. What comes after is ignored, so no path through the caller can make a wrong stream.
Rules: AG-UI 1.0, https://docs.ag-ui.com/spec/1.0, as `verifyEvents` of `@ag-ui/client` 1.0 holds them.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from ag_ui.core import (
    PROTOCOL_VERSION,
    BaseEvent,
    ReasoningEndEvent,
    ReasoningMessageContentEvent,
    ReasoningMessageEndEvent,
    ReasoningMessageStartEvent,
    ReasoningStartEvent,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    StateSnapshotEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    TokenUsage,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from ag_ui.encoder import EventEncoder

from ag_ui_streamer.progress import (
    Finished,
    Progress,
    ReasoningDelta,
    StateChanged,
    TextDelta,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
)

_encode = EventEncoder().encode


class RunEmitter:
    """The events of one run. Each method returns them encoded; nothing where nothing is to be said."""

    def __init__(self, thread_id: str, run_id: str) -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._started = False
        self._ended = False
        self._message_id: str | None = None
        self._reasoning_id: str | None = None
        self._open_calls: list[str] = []
        self._calls: set[str] = set()

    @property
    def ended(self) -> bool:
        return self._ended

    def start(self) -> bytes:
        """RUN_STARTED, with the protocol version that 1.0 requires; sent before the model is called."""
        return self._send(())

    def progress(self, happened: Progress) -> bytes:
        """Write what happened."""
        match happened:
            case TextDelta(text):
                return self._send(self._text(text)) if text else b""
            case ReasoningDelta(text):
                return self._send(self._reasoning(text)) if text else b""
            case ToolCallStarted(call_id, name):
                return self._send(self._call_started(call_id, name))
            case ToolCallArguments(call_id, delta):
                if call_id not in self._open_calls or not delta:
                    return b""
                return self._send((ToolCallArgsEvent(tool_call_id=call_id, delta=delta),))
            case ToolCallEnded(call_id):
                return self._send(self._call_ended(call_id))
            case ToolResult(call_id, content):
                return self._send(self._result(call_id, content))
            case StateChanged(state):
                return self._send((StateSnapshotEvent(snapshot=state),))
            case Finished():
                return self.finish(happened)

    def finish(self, finished: Finished) -> bytes:
        """RUN_FINISHED with success, the usage, and the page's tool calls that wait for their results."""
        pending = [call_id for call_id in finished.pending_tool_calls if call_id in self._calls]
        outcome = RunFinishedSuccessOutcome(type="success", pending_tool_call_ids=pending or None)
        usage = TokenUsage(
            model=finished.model or None,
            input_tokens=finished.input_tokens,
            output_tokens=finished.output_tokens,
            total_tokens=finished.input_tokens + finished.output_tokens,
        )
        return self._end(self._finished(outcome=outcome, usage=[usage]))

    def cancelled(self) -> bytes:
        """RUN_FINISHED for a run that was told to stop."""
        return self._end(self._finished(outcome=RunFinishedCancelledOutcome(type="cancelled")))

    def fail(self, code: str, message: str) -> bytes:
        """RUN_ERROR. `message` is shown to the user: it must hold no internals."""
        return self._end(RunErrorEvent(code=code, message=message))

    def _finished(self, **fields: Any) -> RunFinishedEvent:
        return RunFinishedEvent(thread_id=self._thread_id, run_id=self._run_id, **fields)

    def _end(self, terminal: BaseEvent) -> bytes:
        if self._ended:
            return b""
        closing = [*self._close_speech()]
        for call_id in list(self._open_calls):
            closing += self._call_ended(call_id)
        sent = self._send((*closing, terminal))
        self._ended = True
        return sent

    def _send(self, events: Sequence[BaseEvent]) -> bytes:
        if self._ended:
            return b""
        if not self._started:
            self._started = True
            first = RunStartedEvent(thread_id=self._thread_id, run_id=self._run_id, protocol_version=PROTOCOL_VERSION)
            events = (first, *events)
        return "".join(map(_encode, events)).encode()

    def _text(self, text: str) -> list[BaseEvent]:
        events: list[BaseEvent] = []
        if self._message_id is None:
            events = self._close_speech()
            self._message_id = f"msg_{uuid4().hex}"
            events.append(TextMessageStartEvent(message_id=self._message_id, role="assistant"))
        events.append(TextMessageContentEvent(message_id=self._message_id, delta=text))
        return events

    def _reasoning(self, text: str) -> list[BaseEvent]:
        events: list[BaseEvent] = []
        if self._reasoning_id is None:
            events = self._close_speech()
            self._reasoning_id = f"rsn_{uuid4().hex}"
            events.append(ReasoningStartEvent(message_id=self._reasoning_id))
            events.append(ReasoningMessageStartEvent(message_id=self._reasoning_id, role="reasoning"))
        events.append(ReasoningMessageContentEvent(message_id=self._reasoning_id, delta=text))
        return events

    def _close_speech(self) -> list[BaseEvent]:
        events: list[BaseEvent] = []
        if self._message_id is not None:
            events.append(TextMessageEndEvent(message_id=self._message_id))
            self._message_id = None
        if self._reasoning_id is not None:
            events.append(ReasoningMessageEndEvent(message_id=self._reasoning_id))
            events.append(ReasoningEndEvent(message_id=self._reasoning_id))
            self._reasoning_id = None
        return events

    def _call_started(self, call_id: str, name: str) -> list[BaseEvent]:
        if call_id in self._calls:
            return []
        self._calls.add(call_id)
        self._open_calls.append(call_id)
        return [*self._close_speech(), ToolCallStartEvent(tool_call_id=call_id, tool_call_name=name)]

    def _call_ended(self, call_id: str) -> list[BaseEvent]:
        if call_id not in self._open_calls:
            return []
        self._open_calls.remove(call_id)
        return [ToolCallEndEvent(tool_call_id=call_id)]

    def _result(self, call_id: str, content: str) -> list[BaseEvent]:
        if call_id not in self._calls:
            return []
        result = ToolCallResultEvent(
            message_id=f"res_{uuid4().hex}", tool_call_id=call_id, content=content, role="tool"
        )
        return [*self._call_ended(call_id), result]
