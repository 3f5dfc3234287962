"""Threads belong to their user, are listed, survive a restart, and go on for a client that keeps no history."""

import httpx2
import pytest
from agent_runtime.model_exchange import ToolCall
from agent_runtime.testing import AgentProcess, Hang, ScriptedModel

TEXT = {"content-type": "text/plain"}


@pytest.fixture
def client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(trust_env=False, timeout=20)


async def test_threads_are_listed_for_their_user_the_last_used_first(served, say, client) -> None:
    async with served(ScriptedModel(lambda request: "Noted.")) as url, client:
        for thread in ("t1", "t2", "t1"):
            await client.post(f"{url}/invocations", json=say(f"About {thread}: " + "very " * 40, threadId=thread))
        await client.post(f"{url}/invocations", json=say("Mine.", threadId="t3"), headers={"x-agent-user-id": "eve"})
        listed = (await client.get(f"{url}/invocations/threads")).json()["threads"]
        hers = (await client.get(f"{url}/invocations/threads", headers={"x-agent-user-id": "eve"})).json()["threads"]
        other = await client.get(f"{url}/invocations/threads?id=t1", headers={"x-agent-user-id": "eve"})
    assert [thread["id"] for thread in listed] == ["t1", "t2"]
    assert listed[0]["title"].startswith("About t1: very")
    assert listed[0]["title"].endswith("…")
    assert [thread["title"] for thread in hers] == ["Mine."]
    assert (other.status_code, other.json()["error"]["code"]) == (404, "not_found")


async def test_a_thread_holds_what_its_stream_told_with_the_same_ids(served, say, parsed, state_of, client) -> None:
    model = ScriptedModel()
    model.enqueue([ToolCall("call_1", "lookup_order", '{"order_id": "NP-10316"}')], "It was shipped.")
    async with served(model) as url, client:
        events = parsed((await client.post(f"{url}/invocations", json=say("Where is NP-10316?"))).text)
        thread = (await client.get(f"{url}/invocations/threads?id=t1")).json()
    by_kind = {event["type"]: event for event in events}
    asked, call, result, answer = thread["messages"]
    assert asked == {"id": "m0", "role": "user", "content": "Where is NP-10316?"}
    assert call["toolCalls"][0]["function"] == {"name": "lookup_order", "arguments": '{"order_id": "NP-10316"}'}
    assert result["id"] == by_kind["TOOL_CALL_RESULT"]["messageId"]
    assert answer == {
        "id": by_kind["TEXT_MESSAGE_START"]["messageId"],
        "role": "assistant",
        "content": "It was shipped.",
    }
    assert thread["state"] == state_of(events)


async def test_plain_text_goes_on_with_the_thread_of_its_session(served, client) -> None:
    model = ScriptedModel()
    model.enqueue("Hello Ada.", "Your name is Ada.", "I do not know you.")
    async with served(model) as url, client:
        for session, text in (("s1", "I am Ada."), ("s1", "Who am I?"), ("s2", "Who am I?")):
            await client.post(f"{url}/invocations?agent_session_id={session}", content=text, headers=TEXT)
    assert [message.text for message in model.requests[1].messages][-3:] == ["I am Ada.", "Hello Ada.", "Who am I?"]
    assert "Ada" not in "".join(message.text for message in model.requests[2].messages)


async def test_a_cancelled_run_leaves_what_it_said_for_the_next_turn(served, say, parsed, client) -> None:
    model = ScriptedModel()
    model.enqueue(Hang(after=3), "On we go.")
    async with served(model) as url, client:
        async with client.stream("POST", f"{url}/invocations", json=say("Hello?", runId="r1")) as answer:
            async for line in answer.aiter_lines():
                if "TEXT_MESSAGE_CONTENT" in line:
                    break
            stopped = await client.post(f"{url}/invocations/r1/cancel")
        thread = (await client.get(f"{url}/invocations/threads?id=t1")).json()
        text = "".join(m["content"] for m in thread["messages"] if m["role"] == "assistant")
        messages = [*thread["messages"], {"id": "m9", "role": "user", "content": "Go on."}]
        await client.post(f"{url}/invocations", json=say() | {"messages": messages})
        events = parsed((await client.get(f"{url}/invocations/r1")).text)
    assert stopped.json()["status"] == "cancelled"
    assert events[-1]["outcome"] == {"type": "cancelled"}
    assert text
    assert text in [message.text for message in model.requests[1].messages]


async def test_threads_survive_a_restart(say, client) -> None:
    async with AgentProcess("ag_ui_streamer") as agent, client:
        await client.post(f"{agent.url}/invocations", json=say("Where is order NP-10316?"))
        before = (await client.get(f"{agent.url}/invocations/threads?id=t1")).json()
        await agent.kill()
        await agent.start()
        after = (await client.get(f"{agent.url}/invocations/threads?id=t1")).json()
    assert before == after
    assert len(before["messages"]) > 2
    assert before["state"]["orders"]
