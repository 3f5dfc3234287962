"""A refund waits for a person, and whatever comes twice, the ledger shows one refund."""

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from ag_ui_streamer.app import build_app
from ag_ui_streamer.approvals import Answer, Approvals
from ag_ui_streamer.settings import AgUiSettings
from ag_ui_streamer.threads import digest
from agent_runtime.model_exchange import ModelRequest, ToolCall
from agent_runtime.settings import load_settings
from agent_runtime.state_store import open_state_store
from agent_runtime.testing import AgentProcess, Hang, ScriptedModel
from agent_runtime.testing.serving import serve
from support_desk.desk import open_desk
from support_desk.handbook_index import open_handbook

WANTED = {"order_id": "NP-10274", "amount": "1.50", "currency": "CHF", "reason": "damaged", "note": None}


def wants_a_refund(**changes: str) -> ScriptedModel:
    """A model that wants a refund for the user's first message and tells the outcome of it afterwards."""

    def answer(request: ModelRequest) -> Any:
        last = request.messages[-1]
        if last.role == "tool":
            return f"Outcome: {last.text}"
        if "refund" in last.text.lower():
            return [ToolCall("call_1", "issue_refund", json.dumps(WANTED | changes))]
        return "As you wish."

    return ScriptedModel(answer)


@pytest.fixture
def client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(trust_env=False, timeout=20)


async def refunds() -> list[str]:
    """The amounts of the desk's refunds."""
    settings = load_settings(AgUiSettings)
    page = await open_desk(settings, open_handbook(settings)).ledger.entries()
    return [entry.arguments["amount"] for entry in page.entries if entry.tool == "issue_refund"]


@pytest.fixture
def asked(say, parsed) -> Callable[..., Any]:
    async def ask(client: httpx2.AsyncClient, url: str, **headers: str) -> dict[str, Any]:
        """The interrupt that the request for a refund leads to."""
        answer = await client.post(f"{url}/invocations", json=say("Refund NP-10274, please."), headers=headers)
        outcome = parsed(answer.text)[-1]["outcome"]
        assert outcome["type"] == "interrupt", answer.text
        interrupt: dict[str, Any] = outcome["interrupts"][0]
        return interrupt

    return ask


@pytest.fixture
def resumed(say) -> Callable[..., dict[str, Any]]:
    def resume(interrupt_id: str, payload: Any = None, *, status: str = "resolved", **fields: Any) -> dict[str, Any]:
        answer = {"interruptId": interrupt_id, "status": status} | ({"payload": payload} if payload else {})
        call = {"id": "call_1", "type": "function", "function": {"name": "issue_refund", "arguments": "{}"}}
        messages = [
            {"id": "m0", "role": "user", "content": "Refund NP-10274, please."},
            {"id": "call_1", "role": "assistant", "toolCalls": [call]},
        ]
        body: dict[str, Any] = say() | {"messages": messages, "resume": [answer]} | fields
        return body

    return resume


async def test_a_refund_is_asked_for_with_a_form_and_done_once_it_is_approved(
    served, asked, resumed, parsed, client
) -> None:
    async with served(wants_a_refund()) as url, client:
        interrupt = await asked(client, url)
        assert await refunds() == []
        assert "1.50 CHF" in interrupt["message"]
        assert "NP-10274" in interrupt["message"]
        assert interrupt["responseSchema"]["properties"]["amount"]["default"] == "1.50"
        thread = (await client.get(f"{url}/invocations/threads?id=t1")).json()
        assert thread["interrupts"] == [interrupt]
        answer = await client.post(f"{url}/invocations", json=resumed(interrupt["id"], {"approved": True}))
        events = parsed(answer.text)
        thread = (await client.get(f"{url}/invocations/threads?id=t1")).json()
    result = next(event for event in events if event["type"] == "TOOL_CALL_RESULT")
    assert result["toolCallId"] == "call_1"
    assert json.loads(result["content"])["refund"]["amount"] == {"amount": "1.50", "currency": "CHF"}
    assert events[-1]["outcome"]["type"] == "success"
    assert await refunds() == ["1.50"]
    assert thread["interrupts"] == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"payload": {"approved": True, "amount": "0.75"}}, (["0.75"], "0.75")),
        ({"payload": {"approved": False, "reason": "Too early."}}, ([], "Too early.")),
        ({"status": "cancelled"}, ([], "approval_cancelled")),
        ({"payload": {"approved": True, "amount": "9999.00"}}, ([], "error")),
    ],
)
async def test_it_is_done_as_it_was_decided(served, asked, resumed, answer, outcome) -> None:
    client = httpx2.AsyncClient(trust_env=False, timeout=20)
    done, said = outcome
    async with served(wants_a_refund()) as url, client:
        interrupt = await asked(client, url)
        told = await client.post(f"{url}/invocations", json=resumed(interrupt["id"], **answer))
    assert said in told.text
    assert await refunds() == done


async def test_a_double_click_and_two_tabs_refund_once(served, asked, resumed, client) -> None:
    async with served(wants_a_refund()) as url, client:
        interrupt = await asked(client, url)
        click = resumed(interrupt["id"], {"approved": True}, runId="click")
        tabs = [resumed(interrupt["id"], {"approved": True, "amount": "0.25"}, runId=f"tab-{n}") for n in range(8)]
        answers = await asyncio.gather(
            *(client.post(f"{url}/invocations", json=body) for body in [click, click, click, *tabs])
        )
        late = await client.post(f"{url}/invocations", json=resumed(interrupt["id"], {"approved": True}))
        replayed = await client.post(f"{url}/invocations", json=click)
    assert len(await refunds()) == 1
    clicks = {answer.text for answer in answers[:3] if answer.status_code == 200}
    assert len(clicks) <= 1, "one run, read three times"
    assert replayed.status_code == 409 or replayed.text in clicks
    assert {answer.status_code for answer in answers} == {200, 409}
    assert late.status_code == 409
    assert late.json()["error"]["code"] == "interrupt_answered"


async def test_an_answer_that_its_process_did_not_survive_is_given_again_and_refunds_once(
    asked, resumed, parsed, client
) -> None:
    model = wants_a_refund()
    tell = model._script
    assert tell is not None
    hung: list[bool] = []

    def hang_once(request: ModelRequest) -> Any:
        if request.messages[-1].role == "tool" and not hung:
            hung.append(True)
            return Hang()
        return tell(request)

    hanging = ScriptedModel(hang_once)
    async with (
        hanging.serve() as base_url,
        AgentProcess("ag_ui_streamer", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"}) as agent,
        client,
    ):
        interrupt = await asked(client, agent.url)
        await agent.kill()
        await agent.start()
        approving = client.stream("POST", f"{agent.url}/invocations", json=resumed(interrupt["id"], {"approved": True}))
        async with approving as answer:
            async for line in answer.aiter_lines():
                if "TOOL_CALL_RESULT" in line:
                    await asyncio.wait_for(hanging.hanging.wait(), 10)
                    await agent.kill()
                    break
        await agent.start()
        thread = (await client.get(f"{agent.url}/invocations/threads?id=t1")).json()
        assert [one["id"] for one in thread["interrupts"]] in ([interrupt["id"]], [])
        again = resumed(interrupt["id"], {"approved": False, "reason": "Changed my mind."})
        answer = await client.post(f"{agent.url}/invocations", json=again)
    assert await refunds() == ["1.50"]
    told = parsed(answer.text)
    result = json.loads(next(event["content"] for event in told if event["type"] == "TOOL_CALL_RESULT"))
    assert result["refund"]["amount"]["amount"] == "1.50", "what was decided first holds, and is told"


async def test_an_approval_that_did_not_begin_to_act_gives_way_to_a_refusal() -> None:
    settings = load_settings(AgUiSettings)
    desk = open_desk(settings, open_handbook(settings))
    store = open_state_store(settings, "ag-ui-streamer", expires_after=timedelta(days=1))
    approvals = Approvals(desk, store, open_for=timedelta(hours=1))
    question = await approvals.ask("call_1", dict(WANTED))
    approval = Answer(question.interrupt_id, "resolved", {"approved": True})
    # What a process leaves that ends between keeping the answer and the refund.
    await store.put_if_absent(f"answer/{digest('ada')}/{question.interrupt_id}", asdict(approval))
    refusal = Answer(question.interrupt_id, "resolved", {"approved": False, "reason": "Too early."})
    told = await approvals.carry_out("ada", question, refusal)
    assert "Too early." in told["error"]["message"]
    assert "error" in await approvals.carry_out("ada", question, approval), "it stays refused"
    assert await refunds() == []


async def test_an_answer_without_messages_goes_on_with_what_the_server_knows(served, asked, resumed, client) -> None:
    async with served(wants_a_refund()) as url, client:
        interrupt = await asked(client, url)
        await client.post(f"{url}/invocations", json=resumed(interrupt["id"], {"approved": True}, messages=[]))
        thread = (await client.get(f"{url}/invocations/threads?id=t1")).json()
    assert [message["role"] for message in thread["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert thread["messages"][0]["content"] == "Refund NP-10274, please."
    assert await refunds() == ["1.50"]


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ({"interrupt": "int_other"}, (400, "unknown_interrupt")),
        ({"payload": {"approved": "perhaps"}}, (400, "invalid_resume")),
        ({"payload": {"approved": True, "amount": "a lot"}}, (400, "invalid_resume")),
        ({"payload": {}}, (400, "invalid_resume")),
        ({"resume": []}, (409, "interrupt_unanswered")),
    ],
)
async def test_what_is_no_answer_does_nothing_and_leaves_the_question_open(
    served, asked, resumed, answer, refused
) -> None:
    client = httpx2.AsyncClient(trust_env=False, timeout=20)
    async with served(wants_a_refund()) as url, client:
        interrupt = await asked(client, url)
        told = await client.post(f"{url}/invocations", json=resumed(answer.pop("interrupt", interrupt["id"]), **answer))
        assert (told.status_code, told.json()["error"]["code"]) == refused
        good = await client.post(f"{url}/invocations", json=resumed(interrupt["id"], {"approved": True}))
        assert good.status_code == 200
    assert await refunds() == ["1.50"]


async def test_another_user_cannot_answer(served, asked, resumed, client) -> None:
    async with served(wants_a_refund()) as url, client:
        interrupt = await asked(client, url, **{"x-agent-user-id": "ada"})
        for headers in ({"x-agent-user-id": "eve"}, {}):
            body = resumed(interrupt["id"], {"approved": True})
            told = await client.post(f"{url}/invocations", json=body, headers=headers)
            assert told.json()["error"]["code"] == "unknown_interrupt"
    assert await refunds() == []


async def test_a_question_that_nobody_answered_in_time_can_only_be_left(asked, resumed, say, client) -> None:
    clock = [1_000_000.0]
    host = build_app(load_settings(AgUiSettings), transport=wants_a_refund().transport, now=lambda: clock[0])
    async with serve(host) as url, client:
        interrupt = await asked(client, url)
        clock[0] += 169 * 3600
        late = await client.post(f"{url}/invocations", json=resumed(interrupt["id"], {"approved": True}))
        goes_on = await client.post(f"{url}/invocations", json=say("Never mind."))
    assert late.json()["error"]["code"] == "interrupt_expired"
    assert "As you wish." in goes_on.text
    assert await refunds() == []


@pytest.mark.parametrize("changes", [{"order_id": "NP-99999"}, {"currency": "EUR"}, {"amount": "x"}])
async def test_a_refund_that_would_be_refused_is_not_asked_for(served, say, parsed, client, changes) -> None:
    async with served(wants_a_refund(**changes)) as url, client:
        answer = await client.post(f"{url}/invocations", json=say("Refund it."))
    assert parsed(answer.text)[-1]["outcome"]["type"] == "success"
    assert "error" in answer.text


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20 or newer")
@pytest.mark.parametrize(
    ("decide", "done"),
    [
        ({"approved": True}, ["1.50"]),
        ({"approved": True, "amount": "0.50"}, ["0.50"]),
        ({"approved": False, "reason": "No."}, []),
        ("cancelled", []),
    ],
)
async def test_the_public_client_decides(served, converse, decide, done) -> None:
    turns = [{"user": "Refund NP-10274, please."}, {"decide": decide}, {"user": "Thanks."}]
    async with served(wants_a_refund()) as url:
        seen = await converse(url, turns)
    assert [turn["events"][-1]["outcome"]["type"] for turn in seen["turns"]] == ["interrupt", "success", "success"]
    assert seen["pending"] == []
    assert seen["messages"][-1]["content"] == "As you wish."
    assert await refunds() == done


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20 or newer")
async def test_the_public_client_sees_why_an_answer_does_nothing(served, converse) -> None:
    unknown = [{"interruptId": "int_0", "status": "resolved", "payload": {"approved": True}}]
    turns = [{"user": "Hello?"}, {"resume": unknown}, {"user": "Refund NP-10274, please."}, {"user": "And now?"}]
    async with served(wants_a_refund()) as url:
        seen = await converse(url, turns)
    assert "unknown_interrupt" in seen["turns"][1]["error"]
    assert seen["turns"][2]["events"][-1]["outcome"]["type"] == "interrupt"
    assert "error" in seen["turns"][3], "the client itself asks for an answer first"
    assert len(seen["pending"]) == 1
    assert await refunds() == []
