"""A cancelled run stops at once, does nothing more, and says what it did."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import openai
import pytest
from agent_runtime.testing import AgentProcess
from agent_runtime.testing.scripted_model import Hang, ScriptedModel
from support_desk.desk import Desk
from support_desk.desk_tools import DeskTool
from support_desk.ledger import Ledger

ORDER = "NP-10274"
BROKEN = f"Order {ORDER} arrived broken."
CASE = {"category": "damaged_item", "summary": "Broken.", "order_id": ORDER}
UNSAID = {"tool": "draft_reply", "arguments": {"order_id": ORDER, "subject": None, "body": None}}


def planning(script: Any, *steps: dict[str, Any]) -> ScriptedModel:
    model = ScriptedModel()
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(*steps))
    return model


def three_steps(script: Any) -> ScriptedModel:
    """A model that hangs when it is asked for the third step's text."""
    model = planning(script, script.looked_up(ORDER), {"tool": "open_case", "arguments": CASE}, UNSAID)
    model.enqueue(Hang())
    return model


def called(response: Any) -> list[str]:
    return [item.name for item in response.output if item.type == "function_call"]


async def test_during_a_model_call_it_says_what_was_done_and_the_next_turn_goes_on(served, script, ledger) -> None:
    model = three_steps(script)
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN, background=True)
        await asyncio.wait_for(model.hanging.wait(), 10)
        async with asyncio.timeout(1):  # the SDK waits 10 s for a handler that does not stop
            cancelled = await client.responses.cancel(response.id)
        stored = await client.responses.retrieve(response.id)
        again = await client.responses.cancel(response.id)
        model.enqueue(script.chosen(None))
        after = await client.responses.create(model="any", input="And now?", previous_response_id=response.id)
    assert cancelled.status == stored.status == again.status == after.status.replace("completed", "cancelled")
    assert [item.to_dict() for item in cancelled.output] == [item.to_dict() for item in stored.output]
    assert [item.to_dict() for item in again.output] == [item.to_dict() for item in stored.output]
    assert called(stored) == ["lookup_order", "open_case"]
    assert [item.type for item in stored.output][-3:] == ["function_call", "function_call_output", "message"]
    assert stored.output_text.startswith("The run was cancelled.")
    assert "2 of 2 steps were done" in stored.output_text
    assert [entry.tool for entry in await ledger()] == ["open_case"]


async def test_the_stream_of_a_cancelled_run_ends_once_with_the_account(served, script) -> None:
    model = three_steps(script)
    async with served(model) as client:
        stream = await client.responses.create(model="any", input=BROKEN, background=True, stream=True)
        seen = [await anext(aiter(stream))]
        await asyncio.wait_for(model.hanging.wait(), 10)
        await client.responses.cancel(seen[0].response.id)
        seen += [event async for event in stream]
        stored = await client.responses.retrieve(seen[0].response.id)
        # The SDK drops the events of a cancelled response; the record stays.
        with pytest.raises(openai.BadRequestError):
            await client.responses.retrieve(stored.id, stream=True, starting_after=2)
    ends = [event for event in seen if event.type in {"response.completed", "response.failed", "response.incomplete"}]
    assert ends == seen[-1:]
    assert ends[0].response.status == "cancelled"
    [text] = [event.text for event in seen if event.type == "response.output_text.done"]
    assert text.startswith("The run was cancelled.")
    assert text == stored.output_text
    assert [event.item.id for event in seen if event.type == "response.output_item.done"] == [
        item.id for item in stored.output
    ]


@pytest.mark.parametrize("effect", [True, False])
async def test_during_a_tool_the_ledger_says_whether_it_took_effect(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch, effect: bool
) -> None:
    """A refund that hangs, after it took effect or before."""
    hanging = asyncio.Event()
    call, once = DeskTool.call, Ledger.once

    async def hangs_after(tool: DeskTool, desk: Desk, arguments: Any, *, idempotency_key: str) -> Any:
        result = await call(tool, desk, arguments, idempotency_key=idempotency_key)
        if tool.name == "open_case":
            hanging.set()
            await asyncio.Event().wait()
        return result

    async def hangs_before(ledger: Ledger, key: str, tool: str, *rest: Any) -> Any:
        hanging.set()
        await asyncio.Event().wait()
        return await once(ledger, key, tool, *rest)

    if effect:
        monkeypatch.setattr(DeskTool, "call", hangs_after)
    else:
        monkeypatch.setattr(Ledger, "once", hangs_before)
    model = planning(script, script.looked_up(ORDER), {"tool": "open_case", "arguments": CASE})
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN, background=True)
        await asyncio.wait_for(hanging.wait(), 10)
        async with asyncio.timeout(1):
            cancelled = await client.responses.cancel(response.id)
    last = cancelled.output_text.splitlines()[-1]
    if effect:
        assert last.startswith("2. Stopped — open_case: it did take effect: Case CASE-")
    else:
        assert last == "2. Stopped — open_case: it had no effect, and will have none."
    assert [entry.tool for entry in await ledger()] == ["open_case"] * effect


async def test_a_tool_that_was_cut_before_its_effect_has_none_later(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a cancel cannot reach, such as a thread that is about to write, finds its call fenced."""
    late: list[asyncio.Task[Any]] = []
    hanging, released = asyncio.Event(), asyncio.Event()
    once = Ledger.once

    async def in_a_thread_of_its_own(ledger: Ledger, key: str, tool: str, *rest: Any) -> Any:
        async def write() -> Any:
            hanging.set()
            await released.wait()
            return await once(ledger, key, tool, *rest)

        late.append(asyncio.create_task(write()))
        return await asyncio.shield(late[0])

    monkeypatch.setattr(Ledger, "once", in_a_thread_of_its_own)
    model = planning(script, {"tool": "open_case", "arguments": CASE})
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN, background=True)
        await asyncio.wait_for(hanging.wait(), 10)
        cancelled = await client.responses.cancel(response.id)
        released.set()
        [outcome] = await asyncio.gather(*late, return_exceptions=True)
    assert "it had no effect, and will have none" in cancelled.output_text
    assert getattr(outcome, "code", None) == "stopped"
    assert await ledger() == []


async def test_what_cannot_be_cancelled_is_told(served, script) -> None:
    model = three_steps(script)
    async with served(model) as anybody:
        client = anybody.with_options(default_headers={"x-agent-user-id": "mia"})
        response = await client.responses.create(model="any", input=BROKEN, background=True)
        await asyncio.wait_for(model.hanging.wait(), 10)
        stranger = anybody.with_options(default_headers={"x-agent-user-id": "somebody-else"})
        with pytest.raises(openai.NotFoundError):
            await stranger.responses.cancel(response.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.cancel(response.id[:-4] + "AAAA")
        assert (await client.responses.retrieve(response.id)).status == "in_progress"
        await client.responses.cancel(response.id)
        model.enqueue(script.chosen(None))
        done = await client.responses.create(model="any", input="Hello.")
        with pytest.raises(openai.BadRequestError):
            await client.responses.cancel(done.id)
        with pytest.raises(openai.NotFoundError):
            await stranger.responses.retrieve(response.id)


async def test_an_approval_of_a_run_that_was_cancelled_after_it_does_nothing_again(served, script, ledger) -> None:
    model = planning(script, script.refunded(ORDER, "1.50", "CHF"), UNSAID)
    model.enqueue(Hang())
    async with served(model) as client:
        first = await client.responses.create(model="any", input=BROKEN)
        [request] = [item for item in first.output if item.type == "mcp_approval_request"]
        yes: Any = [{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}]
        second = await client.responses.create(model="any", input=yes, previous_response_id=first.id, background=True)
        await asyncio.wait_for(model.hanging.wait(), 10)
        cancelled = await client.responses.cancel(second.id)
        third = await client.responses.create(model="any", input=yes, previous_response_id=first.id)
    assert "1. Done — issue_refund" in cancelled.output_text
    assert third.output_text == "This approval was answered before. Nothing was done again."
    assert [entry.tool for entry in await ledger()] == ["issue_refund"]


async def test_a_cancelled_run_stays_cancelled_when_its_process_is_killed(
    script, ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the SDK's record of the task is still there, by which the next process takes a response up again."""
    state = tmp_path / "state"
    monkeypatch.setenv("AGENTSERVER_STATE_ROOT", str(state))
    model = three_steps(script)
    async with model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, openai.AsyncOpenAI(base_url=process.url, api_key="unused", max_retries=0) as client:
            response = await client.responses.create(model="any", input=BROKEN, background=True)
            await asyncio.wait_for(model.hanging.wait(), 10)
            shutil.copytree(state / "tasks", tmp_path / "records")
            cancelled = await client.responses.cancel(response.id)
            await process.kill()
            calls = len(model.requests)
            shutil.copytree(tmp_path / "records", state / "tasks", dirs_exist_ok=True)
            await process.start()
            async with asyncio.timeout(30):
                while list((state / "tasks").rglob("*.json")):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            stored = await client.responses.retrieve(response.id)
    assert stored.status == "cancelled"
    assert [item.to_dict() for item in stored.output] == [item.to_dict() for item in cancelled.output]
    assert len(model.requests) == calls
    assert [entry.tool for entry in await ledger()] == ["open_case"]
