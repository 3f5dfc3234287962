"""AG-UI events in an order that is right by construction.

The caller says what happens; the emitter opens and closes what must be opened and closed around it, and ends the run
with exactly one terminal event. What comes after is ignored, so no path through the caller can make a wrong stream.
Rules: AG-UI 1.0, https://docs.ag-ui.com/spec/1.0, as `verifyEvents` of `@ag-ui/client` 1.0 holds them.
"""

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Any
from uuid import uuid4

from ag_ui.core import (
    PROTOCOL_VERSION,
    ActivitySnapshotEvent,
    BaseEvent,
    Interrupt,
    ReasoningEndEvent,
    ReasoningMessageContentEvent,
    ReasoningMessageEndEvent,
    ReasoningMessageStartEvent,
    ReasoningStartEvent,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    StateDeltaEvent,
    StateSnapshotEvent,
    StepFinishedEvent,
    StepStartedEvent,
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

from ag_ui_streamer.json_patch import patch_between
from ag_ui_streamer.progress import (
    ActivityChanged,
    Finished,
    Interrupted,
    Progress,
    Question,
    ReasoningDelta,
    StateChanged,
    StepEnded,
    StepStarted,
    TextDelta,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
)

_encode = EventEncoder().encode


class RunEmitter:
    """The events of one run. Each method returns them encoded; nothing where nothing is to be said.

    `earlier_calls` are tool calls of earlier runs whose results this run may bring.
    """

    def __init__(self, thread_id: str, run_id: str, *, earlier_calls: Collection[str] = ()) -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._started = False
        self._ended = False
        self._message_id: str | None = None
        self._reasoning_id: str | None = None
        self._open_calls: list[str] = []
        self._calls: set[str] = set(earlier_calls)
        self._earlier_calls = frozenset(earlier_calls)
        self._answered: set[str] = set()
        self._steps: list[str] = []
        self._state: Any = None

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
                return self._send(self._state_changed(state))
            case StepStarted(name):
                return self._send(self._step_started(name))
            case StepEnded(name):
                return self._send(self._step_ended(name))
            case ActivityChanged(activity_id, kind, content):
                return self._send(
                    (ActivitySnapshotEvent(message_id=activity_id, activity_type=kind, content=content, replace=True),)
                )
            case Interrupted():
                return self.interrupt(happened)
            case Finished():
                return self.finish(happened)

    def finish(self, finished: Finished) -> bytes:
        """RUN_FINISHED with success, the usage, and the page's tool calls that wait for their results."""
        named = dict.fromkeys(finished.pending_tool_calls)
        pending = [call for call in named if call in self._calls - self._earlier_calls - self._answered]
        outcome = RunFinishedSuccessOutcome(type="success", pending_tool_call_ids=pending or None)
        return self._end(self._finished(outcome=outcome, usage=_usage(finished)))

    def interrupt(self, asked: Interrupted) -> bytes:
        """RUN_FINISHED for a run that stops to ask. Without a question it would be a run that fails to say what it
        waits for, which 1.0 does not allow: that ends as an error."""
        if not asked.questions:
            return self.fail("internal_error", "The run ended without a result.")
        interrupts = [as_interrupt(question) for question in asked.questions]
        outcome = RunFinishedInterruptOutcome(type="interrupt", interrupts=interrupts)
        return self._end(self._finished(outcome=outcome, usage=_usage(asked)))

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
        closing += [StepFinishedEvent(step_name=name) for name in reversed(self._steps)]
        self._steps.clear()
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
        if call_id not in self._calls or call_id in self._answered:
            return []
        self._answered.add(call_id)
        result = ToolCallResultEvent(
            message_id=f"res_{uuid4().hex}", tool_call_id=call_id, content=content, role="tool"
        )
        return [*self._close_speech(), *self._call_ended(call_id), result]

    def _state_changed(self, state: dict[str, Any]) -> list[BaseEvent]:
        """The first state of a run whole, later ones as what changed: a delta that does not apply is only a warning
        in the client, which then shows a wrong state, so each run starts from a snapshot."""
        before, self._state = self._state, deepcopy(state)
        if before is None:
            return [StateSnapshotEvent(snapshot=self._state)]
        changes = patch_between(before, self._state)
        return [StateDeltaEvent(delta=changes)] if changes else []

    def _step_started(self, name: str) -> list[BaseEvent]:
        if name in self._steps:
            return []
        self._steps.append(name)
        return [*self._close_speech(), StepStartedEvent(step_name=name)]

    def _step_ended(self, name: str) -> list[BaseEvent]:
        """Ends the steps inside it too."""
        if name not in self._steps:
            return []
        ended: list[BaseEvent] = self._close_speech()
        while True:
            inner = self._steps.pop()
            ended.append(StepFinishedEvent(step_name=inner))
            if inner == name:
                return ended


def as_interrupt(question: Question) -> Interrupt:
    return Interrupt(
        id=question.interrupt_id,
        reason=question.reason,
        message=question.message,
        tool_call_id=question.call_id,
        response_schema=question.response_schema,
        expires_at=question.expires_at or None,
    )


def _usage(ended: Finished | Interrupted) -> list[TokenUsage]:
    return [
        TokenUsage(
            model=ended.model or None,
            input_tokens=ended.input_tokens,
            output_tokens=ended.output_tokens,
            total_tokens=ended.input_tokens + ended.output_tokens,
        )
    ]
