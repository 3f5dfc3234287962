"""Steps that run beside each other, cut in the middle: what had finished is not called again, what had not is called
again under its key, and a cancelled batch says what became of each of its steps."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from agent_runtime.settings import load_settings
from agent_runtime.state_store import StateStore, open_state_store
from agent_runtime.testing.scripted_model import ScriptedModel
from langgraph_planner.checkpointer import StateStoreSaver
from langgraph_planner.progress import StepEnded, StepStarted, Told
from langgraph_planner.runs import Turn
from langgraph_planner.settings import PlannerSettings
from support_desk.desk import Desk
from support_desk.desk_tools import DeskTool

ORDER = "NP-10274"
BROKEN = f"Order {ORDER} arrived broken."
ALONE: dict[str, Any] = {"depends_on": []}
CASE = {"tool": "open_case", "arguments": {"category": "damaged_item", "summary": "Broken.", "order_id": ORDER}}
LABEL = {"tool": "create_return_label", "arguments": {"order_id": ORDER}}
DRAFT = {"tool": "draft_reply", "arguments": {"order_id": ORDER, "subject": "Your order", "body": "Hello."}}
END: dict[str, Any] = {"tool": "lookup_order", "arguments": {"order_id": ORDER}, "depends_on": ["s1", "s2", "s3"]}


class Calls:
    """Counts the calls of the desk's tools, and lets those of one tool wait for ever, after their effect or before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: Counter[str] = Counter()
        self.hangs, self.after_effect = "", False
        self.hanging = asyncio.Event()
        call = DeskTool.call

        async def counted(tool: DeskTool, desk: Desk, arguments: Any, *, idempotency_key: str) -> Any:
            self.begun[tool.name] += 1
            if tool.name == self.hangs and not self.after_effect:
                await self._hang()
            result = await call(tool, desk, arguments, idempotency_key=idempotency_key)
            if tool.name == self.hangs:
                await self._hang()
            return result

        monkeypatch.setattr(DeskTool, "call", counted)

    async def _hang(self) -> None:
        self.hanging.set()
        await asyncio.Event().wait()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.fixture
def model(script: Any) -> ScriptedModel:
    model = ScriptedModel()
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(CASE | ALONE, LABEL | ALONE, DRAFT | ALONE, END))
    return model


@pytest.fixture
async def state() -> StateStore:
    return open_state_store(load_settings(PlannerSettings), "langgraph-planner")


async def finished(state: StateStore, count: int, *, thread: str = "thread") -> None:
    """Wait until so many calls of the batch are in the store as done."""
    async with asyncio.timeout(10):
        while True:
            saver = StateStoreSaver(state)
            kept = await saver.aget_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
            writes = kept.pending_writes or [] if kept else []
            if sum(channel == "results" for _, channel, _ in writes) == count:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("after_effect", [True, False])
@pytest.mark.parametrize("hangs", ["open_case", "create_return_label", "draft_reply"])
async def test_what_had_finished_when_a_batch_was_cut_is_not_called_again(
    model, state, new_process, calls: Calls, ledger, *, hangs: str, after_effect: bool
) -> None:
    calls.hangs, calls.after_effect = hangs, after_effect
    turn = Turn("response-1", "thread", BROKEN)
    shown: list[Any] = []

    async def first_process() -> None:
        async for entry in new_process(model, state).follow(turn):
            shown.append(entry)

    cut = asyncio.create_task(first_process())
    await asyncio.wait_for(calls.hanging.wait(), 10)
    await finished(state, 2)
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    assert not [entry for entry in shown if isinstance(entry, StepEnded)]

    calls.hangs = ""
    rest = [entry async for entry in new_process(model, state).follow(turn, after=len(shown))]
    assert calls.begun == Counter(
        {"open_case": 1, "create_return_label": 1, "draft_reply": 1, "lookup_order": 1}
    ) + Counter({hangs: 1})
    # Each step began once and ended once for the client, in the plan's order, over both processes.
    whole = shown + rest
    assert [entry.tool for entry in whole if isinstance(entry, StepStarted)] == [
        "open_case",
        "create_return_label",
        "draft_reply",
        "lookup_order",
    ]
    began = [entry.call_id for entry in whole if isinstance(entry, StepStarted)]
    assert [entry.call_id for entry in whole if isinstance(entry, StepEnded)] == began
    assert isinstance(whole[-1], Told)
    assert "4 of 4 steps were done" in whole[-1].text
    assert sorted(entry.tool for entry in await ledger()) == ["create_return_label", "draft_reply", "open_case"]


async def test_a_cancelled_batch_says_what_became_of_each_step(served, model, state, calls: Calls, ledger) -> None:
    calls.hangs = "create_return_label"
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN, background=True)
        await asyncio.wait_for(calls.hanging.wait(), 10)
        await finished(state, 2, thread=response.id)
        cancelled = await client.responses.cancel(response.id)
    first, _, *steps = cancelled.output_text.splitlines()
    assert first.endswith("2 of 2 steps were done.")
    assert [step.partition(":")[0] for step in steps] == [
        "1. Done — open_case",
        "2. Done — draft_reply",
        "3. Stopped — create_return_label",
    ]
    assert steps[-1].endswith("it had no effect, and will have none.")
    assert sorted(entry.tool for entry in await ledger()) == ["draft_reply", "open_case"]
