"""The emitter against the ordering rules of AG-UI 1.0, whatever is told to it in whatever order."""

import json
from typing import Any

import jsonpatch
from ag_ui_streamer.emitter import RunEmitter
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
    state: Any = None
    results: set[str] = set()
    for number, event in enumerate(events):
        kind = event["type"]
        last = number == len(events) - 1
        if (kind in {"RUN_FINISHED", "RUN_ERROR"}) != last:
            return "exactly one terminal event, at the end"
        if number and kind == "RUN_STARTED":
            return "one RUN_STARTED"
        if kind == "RUN_FINISHED" and open_things:
            return f"nothing is open at the end: {open_things}"
        # STEP_STARTED and STEP_FINISHED, TOOL_CALL_START and TOOL_CALL_END: what comes before the last word.
        thing = (kind.rpartition("_")[0], event.get("messageId") or event.get("toolCallId") or event.get("stepName"))
        if kind in {
            "TEXT_MESSAGE_START",
            "TOOL_CALL_START",
            "REASONING_START",
            "REASONING_MESSAGE_START",
            "STEP_STARTED",
        }:
            if thing in open_things:
                return f"{kind} opens what is open"
            open_things.add(thing)
        if kind in {"TEXT_MESSAGE_CONTENT", "TOOL_CALL_ARGS", "REASONING_MESSAGE_CONTENT"} and thing not in open_things:
            return f"{kind} continues what is not open"
        if kind in {"TEXT_MESSAGE_END", "TOOL_CALL_END", "REASONING_END", "REASONING_MESSAGE_END", "STEP_FINISHED"}:
            if thing not in open_things:
                return f"{kind} closes what is not open"
            open_things.remove(thing)
        if kind == "STATE_SNAPSHOT":
            state = event["snapshot"]
        if kind == "STATE_DELTA":
            if state is None:
                return "a delta follows a snapshot"
            state = jsonpatch.apply_patch(state, event["delta"])
        if kind == "TOOL_CALL_RESULT":
            if event["toolCallId"] in results or ("TOOL_CALL", event["toolCallId"]) in open_things:
                return "a call that has ended has one result"
            results.add(event["toolCallId"])
        outcome = event.get("outcome", {})
        if outcome.get("type") == "interrupt" and not outcome["interrupts"]:
            return "an interrupt says what it waits for"
        if results & set(outcome.get("pendingToolCallIds", ())):
            return "a pending call has no result"
        if None in event.values():
            return "no nulls on the wire"
    return None


IDS = st.sampled_from(["c1", "c2", "c3"])
TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b/c", "d~e", ""]), inner),
    max_leaves=8,
)
STATES = st.dictionaries(st.sampled_from(["sources", "orders", "plan"]), JSON)
QUESTIONS = st.builds(
    Question, IDS, st.just("tool_approval"), TEXT, IDS, st.just({"type": "object"}), st.just("2026-01-01T00:00:00Z")
)
STEPS: st.SearchStrategy[Progress] = st.one_of(
    st.builds(TextDelta, TEXT),
    st.builds(ReasoningDelta, TEXT),
    st.builds(ToolCallStarted, IDS, st.just("lookup_order")),
    st.builds(ToolCallArguments, IDS, TEXT),
    st.builds(ToolCallEnded, IDS),
    st.builds(ToolResult, IDS, TEXT),
    st.builds(StateChanged, STATES),
    st.builds(StepStarted, IDS),
    st.builds(StepEnded, IDS),
    st.builds(ActivityChanged, IDS, st.just("plan"), STATES),
    st.builds(Interrupted, st.lists(QUESTIONS, max_size=2).map(tuple)),
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


@given(JSON, JSON)
def test_a_patch_turns_one_value_into_the_other(before: Any, after: Any) -> None:
    operations = patch_between(before, after)
    changed = jsonpatch.apply_patch(before, operations)
    assert json.dumps(changed, sort_keys=True) == json.dumps(after, sort_keys=True)
    assert bool(operations) == (json.dumps(before, sort_keys=True) != json.dumps(after, sort_keys=True))


def test_a_run_that_asks_ends_with_the_interrupt_and_its_schema() -> None:
    emitter = RunEmitter("t", "r")
    schema = {"type": "object", "properties": {"approved": {"type": "boolean"}}}
    emitter.progress(ToolCallStarted("c1", "issue_refund"))
    question = Question("int_1", "tool_approval", "Refund?", "c1", schema, "2026-01-01T00:00:00Z")
    (closed, finished) = decoded(emitter.progress(Interrupted((question,))))
    assert closed["type"] == "TOOL_CALL_END"
    (interrupt,) = finished["outcome"]["interrupts"]
    assert (interrupt["id"], interrupt["toolCallId"], interrupt["responseSchema"]) == ("int_1", "c1", schema)


def test_the_result_of_a_call_of_an_earlier_run_is_sent_and_that_of_an_unknown_call_is_not() -> None:
    emitter = RunEmitter("t", "r", earlier_calls={"c0"})
    events = decoded(emitter.progress(ToolResult("c0", "{}")) + emitter.progress(ToolResult("c9", "{}")))
    assert [event["type"] for event in events] == ["RUN_STARTED", "TOOL_CALL_RESULT"]


def test_later_states_are_sent_as_what_changed() -> None:
    emitter = RunEmitter("t", "r")
    emitter.progress(StateChanged({"orders": []}))
    (delta,) = decoded(emitter.progress(StateChanged({"orders": ["NP-10001"]})))
    assert delta == {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/orders/-", "value": "NP-10001"}]}
    assert emitter.progress(StateChanged({"orders": ["NP-10001"]})) == b""
