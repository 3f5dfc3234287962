"""The public AG-UI client (`@ag-ui/client` 1.0 under Node) against the agent: it throws where the protocol is broken."""

import asyncio
import shutil
from typing import Any

import pytest
from agent_runtime.model_exchange import ToolCall
from agent_runtime.testing.scripted_model import CutStream, ScriptedModel

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20 or newer")


def kinds(turn: dict[str, Any]) -> list[str]:
    return [event["type"] for event in turn["events"]]


async def test_text_a_backend_tool_with_its_result_and_the_state_arrive(served, converse) -> None:
    async with served() as url:
        seen = await converse(url, [{"user": "How long can a customer return unworn boots?"}])
    (turn,) = seen["turns"]
    assert "error" not in turn
    assert {"TOOL_CALL_RESULT", "STATE_SNAPSHOT", "TEXT_MESSAGE_CONTENT"} <= set(kinds(turn))
    assert kinds(turn)[-1] == "RUN_FINISHED"
    assert seen["state"]["sources"]
    assert "30 days" in seen["messages"][-1]["content"]


async def test_the_next_turn_carries_the_tool_call_and_its_result(served, converse) -> None:
    model = ScriptedModel()
    model.enqueue([ToolCall("call_1", "lookup_order", '{"order_id": "NP-10001"}')], "It is on its way.", "Yes.")
    async with served(model) as url:
        seen = await converse(url, [{"user": "Where is NP-10001?"}, {"user": "Really?"}])
    assert [kinds(turn)[-1] for turn in seen["turns"]] == ["RUN_FINISHED", "RUN_FINISHED"]
    roles = [message.role for message in model.requests[2].messages]
    assert roles[-4:] == ["assistant", "tool", "assistant", "user"]


async def test_a_tool_of_the_page_is_left_pending_and_its_result_is_answered(served, converse) -> None:
    tool = {
        "name": "confirm_address",
        "description": "Ask the customer",
        "parameters": {"type": "object", "properties": {}},
    }
    model = ScriptedModel()
    model.enqueue([ToolCall("call_1", "confirm_address", "{}")], "Thank you.")
    async with served(model) as url:
        turns = [{"user": "Check my address"}, {"toolResults": [{"toolCallId": "call_1", "content": "yes"}]}]
        seen = await converse(url, turns, tools=[tool])
    finished = seen["turns"][0]["events"][-1]
    assert finished["outcome"] == {"type": "success", "pendingToolCallIds": ["call_1"]}
    assert seen["messages"][-1]["content"] == "Thank you."
    assert model.requests[1].messages[-1].text == "yes"


async def test_after_an_abort_the_same_thread_answers_again(served, converse) -> None:
    model = ScriptedModel()
    model.enqueue("A long answer " * 200, "The next answer.")
    async with served(model) as url:
        seen = await converse(url, [{"user": "Tell me everything", "abortAfter": 4}, {"user": "Shorter?"}])
    assert kinds(seen["turns"][1])[-1] == "RUN_FINISHED"
    assert seen["messages"][-1]["content"] == "The next answer."


async def test_a_model_failure_reaches_the_client_as_run_error(served, converse) -> None:
    model = ScriptedModel()
    model.enqueue(CutStream(after=1))
    async with served(model) as url:
        seen = await converse(url, [{"user": "Hello?"}])
    assert kinds(seen["turns"][0])[-1] == "RUN_ERROR"
    assert seen["turns"][0]["events"][-1]["code"] == "model_stream_interrupted"


async def test_bad_input_makes_the_client_throw_with_the_code(served, converse) -> None:
    async with served() as url:
        seen = await converse(url, [{"user": "Hello?"}], threadId="x" * 300)
    assert "invalid_run_input" in seen["turns"][0]["error"]


async def test_concurrent_threads_do_not_mix(served, converse) -> None:
    model = ScriptedModel(lambda request: f"You said {request.messages[-1].text}")
    async with served(model) as url:
        talks = [
            converse(url, [{"user": f"one of {name}"}, {"user": f"two of {name}"}], threadId=name) for name in "abcd"
        ]
        seen = await asyncio.gather(*talks)
    for name, talk in zip("abcd", seen, strict=True):
        said = [message["content"] for message in talk["messages"] if message["role"] == "assistant"]
        assert said == [f"You said one of {name}", f"You said two of {name}"]


async def test_the_same_run_again_shows_the_same_answer(served, converse) -> None:
    model = ScriptedModel()
    model.enqueue("Said once.", "Said twice.")
    async with served(model) as url:
        seen = [await converse(url, [{"user": "Hello?", "runId": "run-1"}]) for _ in range(2)]
    assert seen[0]["turns"][0]["events"] == seen[1]["turns"][0]["events"]
    assert len(model.requests) == 1


async def test_an_image_is_refused_and_the_thread_goes_on(served, converse) -> None:
    image = {"type": "image", "source": {"type": "url", "value": "https://example.com/tent.png"}}
    async with served(ScriptedModel(lambda request: "Noted.")) as url:
        seen = await converse(url, [{"user": [{"type": "text", "text": "What is this?"}, image]}])
        again = await converse(url, [{"user": [{"type": "text", "text": "A tent."}]}])
    assert "unsupported_content" in seen["turns"][0]["error"]
    assert again["messages"][-1]["content"] == "Noted."
