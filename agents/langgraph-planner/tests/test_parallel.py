"""Steps that wait for nothing run beside each other; what cannot be undone runs alone; a failure lets the rest end."""

import asyncio
from typing import Any

import openai
import pytest
from agent_runtime.state_store import StateStoreUnavailable
from agent_runtime.testing import AgentProcess
from agent_runtime.testing.scripted_model import ScriptedModel
from support_desk.desk import Desk
from support_desk.desk_tools import DeskTool
from support_desk.ledger import Ledger

ORDER = "NP-10274"
BROKEN = f"Order {ORDER} arrived broken."
ALONE: dict[str, Any] = {"depends_on": []}
CASE = {"tool": "open_case", "arguments": {"category": "damaged_item", "summary": "Broken.", "order_id": ORDER}}
LABEL = {"tool": "create_return_label", "arguments": {"order_id": ORDER}}
DRAFT = {"tool": "draft_reply", "arguments": {"order_id": ORDER, "subject": "Your order", "body": "Hello."}}


def planning(script: Any, *steps: dict[str, Any]) -> ScriptedModel:
    model = ScriptedModel()
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(*steps))
    return model


class Meeting:
    """Lets the calls of these tools go on only when all of them have begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tools: str) -> None:
        self.begun: list[str] = []
        self._tools = set(tools)
        self._met = asyncio.Event()
        call = DeskTool.call

        async def meet(tool: DeskTool, desk: Desk, arguments: Any, *, idempotency_key: str) -> Any:
            self.begun.append(tool.name)
            if self._tools.issubset(self.begun):
                self._met.set()
            if tool.name in self._tools:
                await asyncio.wait_for(self._met.wait(), 10)
            return await call(tool, desk, arguments, idempotency_key=idempotency_key)

        monkeypatch.setattr(DeskTool, "call", meet)


def shown(response: Any) -> list[tuple[str, str]]:
    """What began and what ended, in order."""
    named = {item.call_id: item.name for item in response.output if item.type == "function_call"}
    kinds = {"function_call": "began", "function_call_output": "ended"}
    return [(kinds[item.type], named[item.call_id]) for item in response.output if item.type in kinds]


async def test_independent_steps_overlap_and_are_shown_in_the_plans_order(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = Meeting(monkeypatch, "open_case", "create_return_label")
    model = planning(
        script, script.looked_up(ORDER), CASE, LABEL | {"depends_on": ["s1"]}, DRAFT | {"depends_on": ["s3"]}
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN)
    assert "4 of 4 steps were done" in response.output_text
    assert shown(response) == [
        ("began", "lookup_order"),
        ("ended", "lookup_order"),
        ("began", "open_case"),
        ("began", "create_return_label"),
        ("ended", "open_case"),
        ("ended", "create_return_label"),
        ("began", "draft_reply"),
        ("ended", "draft_reply"),
    ]
    assert meeting.begun[0] == "lookup_order"
    assert sorted(entry.tool for entry in await ledger()) == ["create_return_label", "draft_reply", "open_case"]


async def test_what_cannot_be_undone_runs_beside_nothing(served, script) -> None:
    refund = script.refunded(ORDER, "1.50", "CHF")
    async with served(planning(script, CASE | ALONE, refund | ALONE, LABEL | ALONE)) as client:
        response = await client.responses.create(model="any", input=BROKEN)
        assert shown(response)[:2] == [("began", "open_case"), ("ended", "open_case")]
        assert ("began", "create_return_label") not in shown(response)
        [request] = [item for item in response.output if item.type == "mcp_approval_request"]
        yes: Any = [{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}]
        done = await client.responses.create(model="any", input=yes, previous_response_id=response.id)
    assert shown(done) == [
        ("began", "issue_refund"),
        ("ended", "issue_refund"),
        ("began", "create_return_label"),
        ("ended", "create_return_label"),
    ]


async def test_a_step_that_lacks_what_its_neighbour_finds_waits_for_it(served, script) -> None:
    note = {"tool": "update_case", "arguments": {"note": "Seen."}, "depends_on": []}
    async with served(planning(script, CASE | ALONE, note)) as client:
        response = await client.responses.create(model="any", input=BROKEN)
    assert "2 of 2 steps were done" in response.output_text
    assert shown(response)[:2] == [("began", "open_case"), ("ended", "open_case")]


async def test_a_failure_lets_its_neighbours_end_and_then_plans_anew(served, script, ledger) -> None:
    model = planning(script, script.looked_up("NP-99999"), CASE | ALONE, DRAFT)
    model.enqueue(script.planned(DRAFT | ALONE))
    async with served(model) as client:
        response = await client.responses.create(model="any", input=BROKEN)
    assert "1. Failed — lookup_order" in response.output_text
    assert "2. Done — open_case" in response.output_text
    assert "3. Done — draft_reply" in response.output_text
    assert sorted(entry.tool for entry in await ledger()) == ["draft_reply", "open_case"]


async def test_a_kill_while_steps_run_beside_each_other_repeats_no_effect(script, ledger) -> None:
    model = planning(script, CASE | ALONE, LABEL | ALONE, DRAFT)
    async with model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, openai.AsyncOpenAI(base_url=process.url, api_key="unused", max_retries=0) as client:
            stream = await client.responses.create(model="any", input=BROKEN, background=True, stream=True)
            begun = 0
            async for event in stream:
                if event.type == "response.created":
                    response_id = event.response.id
                begun += event.type == "response.output_item.done" and event.item.type == "function_call"
                if begun == 2:
                    break
            await process.kill()
            await process.start()
            async with asyncio.timeout(30):
                response = await client.responses.retrieve(response_id)
                while response.status == "in_progress":
                    await asyncio.sleep(0.05)
                    response = await client.responses.retrieve(response_id)
    assert "3 of 3 steps were done" in response.output_text
    assert sorted(entry.tool for entry in await ledger()) == ["create_return_label", "draft_reply", "open_case"]


@pytest.mark.parametrize(("outages", "retries", "ends"), [(2, 2, "Done"), (2, 1, "Failed"), (1, 0, "Failed")])
async def test_records_that_cannot_be_reached_are_tried_again_so_often(
    served, script, monkeypatch: pytest.MonkeyPatch, *, outages: int, retries: int, ends: str
) -> None:
    monkeypatch.setenv("MAX_TOOL_RETRIES", str(retries))
    monkeypatch.setenv("MAX_REPLANS", "0")
    monkeypatch.setattr("langgraph_planner.graph._FIRST_RETRY_SECONDS", 0.001)
    left = [outages]
    once = Ledger.once

    async def unreachable(ledger: Ledger, *arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise StateStoreUnavailable("no answer")
        return await once(ledger, *arguments)

    monkeypatch.setattr(Ledger, "once", unreachable)
    async with served(planning(script, CASE)) as client:
        response = await client.responses.create(model="any", input=BROKEN)
    assert f"1. {ends} — open_case" in response.output_text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Order NP-99999 never arrived.", "There is no order NP-99999, so nothing was done."),
        ("np-99999 and NP-99998 never arrived.", "There is no order NP-99999 and no order NP-99998"),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}], "The request has no text"),
    ],
)
async def test_no_plan_is_made_for_what_does_not_exist(served, text: Any, said: str) -> None:
    model = ScriptedModel()
    async with served(model) as client:
        response = await client.responses.create(model="any", input=text)
    assert response.status == "completed"
    assert said in response.output_text
    assert [item.type for item in response.output] == ["message"]
    assert model.requests == []


async def test_a_number_in_the_request_fills_what_the_plan_leaves_open(served, script) -> None:
    open_label = {"tool": "create_return_label", "arguments": {}}
    async with served(planning(script, open_label)) as client:
        response = await client.responses.create(model="any", input=BROKEN)
    assert "1 of 1 steps were done" in response.output_text
    assert ORDER in response.output_text
