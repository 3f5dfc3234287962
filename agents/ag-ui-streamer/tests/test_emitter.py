"""The emitter against the ordering rules of AG-UI 1.0, whatever is told to it in whatever order."""

import json
from typing import Any

from ag_ui_streamer.emitter import RunEmitter
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
from hypothesis import given
from hypothesis import strategies as st


def decoded(frames: bytes) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in frames.decode().split("\n\n") if line]


def broken_rule(events: list[dict[str, Any]]) -> str | None:
    """The first rule of `verifyEvents` (@ag-ui/client 1.0.0) that the stream breaks, or that it does not end."""
    if not events or events[0]["type"] != "RUN_STARTED":
        return "the first event is RUN_STARTED"
    if not events[0].get("protocolVersion"):
        return "RUN_STARTED says the protocol version"
    open_things: set[tuple[str, str]] = set()
    for number, event in enumerate(events):
        kind = event["type"]
        last = number == len(events) - 1
        if (kind in {"RUN_FINISHED", "RUN_ERROR"}) != last:
            return "exactly one terminal event, at the end"
        if number and kind == "RUN_STARTED":
            return "one RUN_STARTED"
        if kind == "RUN_FINISHED" and open_things:
            return f"nothing is open at the end: {open_things}"
        thing = (kind.rpartition("_")[0], event.get("messageId") or event.get("toolCallId") or "")
        if kind in {"TEXT_MESSAGE_START", "TOOL_CALL_START", "REASONING_START", "REASONING_MESSAGE_START"}:
            if thing in open_things:
                return f"{kind} opens what is open"
            open_things.add(thing)
        if kind in {"TEXT_MESSAGE_CONTENT", "TOOL_CALL_ARGS", "REASONING_MESSAGE_CONTENT"} and thing not in open_things:
            return f"{kind} continues what is not open"
        if kind in {"TEXT_MESSAGE_END", "TOOL_CALL_END", "REASONING_END", "REASONING_MESSAGE_END"}:
            if thing not in open_things:
                return f"{kind} closes what is not open"
            open_things.remove(thing)
        if None in event.values():
            return "no nulls on the wire"
    return None


IDS = st.sampled_from(["c1", "c2", "c3"])
TEXT = st.text(max_size=12)
STEPS: st.SearchStrategy[Progress] = st.one_of(
    st.builds(TextDelta, TEXT),
    st.builds(ReasoningDelta, TEXT),
    st.builds(ToolCallStarted, IDS, st.just("lookup_order")),
    st.builds(ToolCallArguments, IDS, TEXT),
    st.builds(ToolCallEnded, IDS),
    st.builds(ToolResult, IDS, TEXT),
    st.builds(StateChanged, st.just({"sources": []})),
    st.builds(Finished, st.lists(IDS, max_size=3).map(tuple)),
)


@given(st.lists(STEPS, max_size=30), st.sampled_from(["finish", "fail", "cancel", "twice"]), st.booleans())
def test_any_sequence_makes_a_stream_that_keeps_every_ordering_rule(
    steps: list[Progress], end: str, start: bool
) -> None:
    emitter = RunEmitter("t", "r")
    frames = emitter.start() if start else b""
    for step in steps:
        frames += emitter.progress(step)
    if end in {"finish", "twice"}:
        frames += emitter.finish(Finished())
    if end in {"fail", "twice"}:
        frames += emitter.fail("model_failed", "The model failed.")
    if end in {"cancel", "twice"}:
        frames += emitter.cancelled()
    assert broken_rule(decoded(frames)) is None
    assert emitter.ended
    assert b"\r" not in frames


@given(st.lists(st.builds(TextDelta, TEXT), max_size=10))
def test_the_text_of_a_message_arrives_whole(steps: list[TextDelta]) -> None:
    emitter = RunEmitter("t", "r")
    events = decoded(b"".join(emitter.progress(step) for step in steps))
    assert "".join(event.get("delta", "") for event in events) == "".join(step.text for step in steps)


def test_the_rules_of_this_test_see_a_wrong_stream() -> None:
    start = {"type": "RUN_STARTED", "protocolVersion": "1.0"}
    finish = {"type": "RUN_FINISHED"}
    text = {"type": "TEXT_MESSAGE_START", "messageId": "m"}
    assert broken_rule([text, finish]) is not None
    assert broken_rule([start]) is not None
    assert broken_rule([start, text, finish]) is not None
    assert broken_rule([start, finish, finish]) is not None
    assert broken_rule([start, {"type": "TOOL_CALL_ARGS", "toolCallId": "c"}, finish]) is not None
    assert broken_rule([start, finish]) is None


def test_a_pending_call_of_the_page_is_named_in_the_outcome() -> None:
    emitter = RunEmitter("t", "r")
    emitter.progress(ToolCallStarted("c1", "open_panel"))
    (_, finished) = decoded(emitter.progress(Finished(("c1", "never-started"), 3, 4, "offline-extractive")))
    assert finished["outcome"] == {"type": "success", "pendingToolCallIds": ["c1"]}
    assert finished["usage"][0]["totalTokens"] == 7
