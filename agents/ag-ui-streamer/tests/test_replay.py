"""A run outlives its readers: its events are read again from any number on, while it works, after it, after a crash."""

import asyncio

import httpx2
import pytest
from agent_runtime.model_exchange import ToolCall
from agent_runtime.testing import AgentProcess, Hang, ScriptedModel

LOOKUP = [ToolCall("call_1", "lookup_order", '{"order_id": "NP-10316"}')]


@pytest.fixture
def client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(trust_env=False, timeout=20)


def working_on(base_url: str) -> AgentProcess:
    return AgentProcess("ag_ui_streamer", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})


async def until_event(answer: httpx2.Response, kind: str) -> str:
    """What a stream sends up to the first event of this kind."""
    text = ""
    async for line in answer.aiter_lines():
        text += line + "\n"
        if f'"type":"{kind}"' in line:
            return text + "\n"
    raise AssertionError(f"the stream ended without {kind}")


async def test_a_reader_that_was_cut_off_reads_on_from_its_number_and_misses_nothing(
    served, say, parsed, client
) -> None:
    model = ScriptedModel()
    model.enqueue(LOOKUP, Hang(after=2, reply="It is on its way to the customer, as far as one can tell."))
    async with served(model) as url, client:
        async with client.stream("POST", f"{url}/invocations", json=say("Where is NP-10316?", runId="r1")) as answer:
            seen = parsed(await until_event(answer, "TEXT_MESSAGE_CONTENT"))
        await asyncio.wait_for(model.hanging.wait(), 10)
        reading = asyncio.create_task(client.get(f"{url}/invocations/r1?after={len(seen)}"))
        model.release()
        rest = parsed((await asyncio.wait_for(reading, 10)).text, after=len(seen))
        whole = parsed((await client.get(f"{url}/invocations/r1")).text)
        last = parsed((await client.get(f"{url}/invocations/r1?after=100000")).text, after=len(whole) - 1)
    assert seen + rest == whole
    assert rest[-1]["type"] == "RUN_FINISHED"
    assert last == whole[-1:], "a cursor beyond the end still learns how the run ended"
    assert len(model.requests) == 2


async def test_the_same_run_again_is_read_and_not_run_again(served, say, parsed, client) -> None:
    model = ScriptedModel()
    model.enqueue(Hang(after=1, reply="Only once."), "Never said.")
    body = say("Hello?", runId="r1")
    async with served(model) as url, client:
        first = asyncio.create_task(client.post(f"{url}/invocations", json=body))
        await asyncio.wait_for(model.hanging.wait(), 10)
        second = asyncio.create_task(client.post(f"{url}/invocations", json=body))
        model.release()
        answers = [parsed((await asyncio.wait_for(one, 10)).text) for one in (first, second)]
        after = parsed((await client.post(f"{url}/invocations", json=body)).text)
        other = await client.post(f"{url}/invocations", json=body, headers={"x-agent-user-id": "another"})
    assert answers[0] == answers[1] == after
    assert "Never said." in other.text, "another user's run of the same id is another run"
    assert len(model.requests) == 2


async def test_twenty_posts_of_one_run_at_once_run_it_once(served, say, parsed, client) -> None:
    model = ScriptedModel(lambda request: "Said once.")
    body = say("Hello?", runId="r1")
    async with served(model) as url, client:
        answers = await asyncio.gather(*(client.post(f"{url}/invocations", json=body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert all(parsed(answer.text) == parsed(answers[0].text) for answer in answers)
    assert len(model.requests) == 1


async def test_another_user_reads_nothing(served, say, client) -> None:
    async with served() as url, client:
        answer = await client.post(f"{url}/invocations", json=say("Where is order NP-10316?", runId="r1"))
        by_invocation = await client.get(f"{url}/invocations/{answer.headers['x-agent-invocation-id']}")
        assert by_invocation.text == answer.text
        for path in ("r1", answer.headers["x-agent-invocation-id"], "never"):
            read = await client.get(f"{url}/invocations/{path}", headers={"x-agent-user-id": "another"})
            assert read.status_code == 404
            assert read.json()["error"]["code"] == "not_found"
        wrong = await client.get(f"{url}/invocations/r1?after=-1")
    assert wrong.json()["error"]["code"] == "invalid_cursor"


async def test_a_reader_that_has_gone_leaves_its_thread_to_the_next_run(served, say, parsed, client) -> None:
    model = ScriptedModel()
    model.enqueue(Hang(after=2), "Back again.")
    async with served(model) as url, client:
        async with client.stream("POST", f"{url}/invocations", json=say("Hello?", runId="r1")) as answer:
            await until_event(answer, "TEXT_MESSAGE_CONTENT")
        async with asyncio.timeout(10):
            while (next_one := await client.post(f"{url}/invocations", json=say("And now?"))).status_code == 409:
                continue
        left = parsed((await client.get(f"{url}/invocations/r1")).text)
    assert "Back again." in next_one.text
    assert left[-1]["outcome"] == {"type": "cancelled"}


async def test_a_run_that_was_killed_with_its_process_ends_for_its_readers(say, parsed, client) -> None:
    model = ScriptedModel()
    model.enqueue(Hang(after=3), "And on it goes.")
    body = say("Hello?", runId="r1")
    async with model.serve() as base_url, working_on(base_url) as agent, client:
        async with client.stream("POST", f"{agent.url}/invocations", json=body) as answer:
            seen = parsed(await until_event(answer, "TEXT_MESSAGE_CONTENT"))
            await agent.kill()
        await agent.start()
        replayed = parsed((await client.get(f"{agent.url}/invocations/r1")).text)
        thread = (await client.get(f"{agent.url}/invocations/threads?id=t1")).json()
        again = await client.post(f"{agent.url}/invocations", json=body)
        model.release()
        goes_on = await client.post(f"{agent.url}/invocations", json=say("Go on.", runId="r2"))
    assert seen[0]["type"] == replayed[0]["type"] == "RUN_STARTED"
    assert replayed[-1]["code"] == "run_interrupted"
    assert thread["run"] is None
    assert [message["content"] for message in thread["messages"]][:1] == ["Hello?"]
    assert parsed(again.text) == replayed, "what was cut is not run again unasked"
    assert "And on it goes." in goes_on.text


async def test_a_run_that_is_told_to_end_with_its_process_keeps_what_it_said(say, parsed, client) -> None:
    model = ScriptedModel()
    model.enqueue(Hang(after=3))
    async with model.serve() as base_url, working_on(base_url) as agent, client:
        async with client.stream("POST", f"{agent.url}/invocations", json=say("Hello?", runId="r1")) as answer:
            await until_event(answer, "TEXT_MESSAGE_CONTENT")
        assert await agent.terminate() == 0
        await agent.start()
        thread = (await client.get(f"{agent.url}/invocations/threads?id=t1")).json()
        replayed = parsed((await client.get(f"{agent.url}/invocations/r1")).text)
    assert replayed[-1]["code"] == "run_interrupted"
    said = "".join(event["delta"] for event in replayed if event["type"] == "TEXT_MESSAGE_CONTENT")
    assert said
    assert thread["messages"][-1]["content"] == said
