"""A process that dies after any single write to its store: the next one goes on, and nobody can tell the difference."""

import json
import os
from pathlib import Path
from typing import Any

from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.state_store import StateStore
from agent_runtime.state_store.sqlite import SqliteItems
from agent_runtime.testing.scripted_model import ScriptedModel
from langgraph_planner.progress import ApprovalNeeded, Progress, StepEnded
from langgraph_planner.runs import Runs, Turn
from support_desk.desk import Desk

ORDER = "NP-10274"
EVERY = 1 if os.environ.get("SOAK") == "long" else 3
"""Of the writes after which it dies every so many is tried."""


class Died(Exception):
    """The process is gone."""


class Mortal:
    """A state store whose process dies right after its `last` write."""

    def __init__(self, store: StateStore, last: int | None) -> None:
        self._store, self._last = store, last
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in {"put_if_absent", "compare_and_set", "delete"}:
            return method

        async def write(*arguments: Any, **more: Any) -> Any:
            if self.writes == self._last:
                raise Died
            self.writes += 1
            return await method(*arguments, **more)

        return write


def answering(script: Any) -> ScriptedModel:
    plan = script.planned(
        script.looked_up(ORDER),
        {"tool": "open_case", "arguments": {"category": "damaged_item", "summary": "Broken.", "order_id": ORDER}},
        {"tool": "search_handbook", "arguments": {"query": "damaged"}, "depends_on": ["s1"]},
        script.refunded(ORDER, "0.02", "CHF"),
        script.refunded(ORDER, "0.01", "CHF"),
        {"tool": "draft_reply", "arguments": {"order_id": ORDER, "subject": None, "body": None}},
    )

    def answer(request: ModelRequest) -> Any:
        name = request.output_schema.name if request.output_schema else ""
        if name == "runbook_choice":
            return script.chosen("damaged-on-arrival")
        filled = {"case_id": None, "order_id": None, "subject": "Your order", "body": "Hello."}
        return plan if name == "plan" else ModelReply(json.dumps(filled))

    return ScriptedModel(answer)


class Processes:
    """One process after the other over one store; the first dies after its `last` write."""

    def __init__(self, new_process: Any, model: ScriptedModel, store: StateStore, last: int | None) -> None:
        self._start = lambda store: new_process(model, store)
        self._store = store
        self.first = Mortal(store, last)
        self._runs: Runs = self._start(self.first)

    async def told(self, response: str, thread: str, answers: Any = None) -> list[Progress]:
        """All that one turn tells, to whoever reads what the dead process had told and then the rest."""
        shown: list[Progress] = []
        while True:
            try:
                turn = Turn(response, thread, f"Order {ORDER} arrived broken.")
                if answers:
                    turn = await self._runs.answer(response, thread, answers)
                async for entry in self._runs.follow(turn, after=len(shown)):
                    shown.append(entry)
            except Died:
                self._runs = self._start(self._store)
            else:
                return shown


async def whole(processes: Processes, thread: str) -> list[list[Any]]:
    """The three turns of a run with two approvals, with what differs between two runs left out."""
    turns = []
    answers = None
    for number in range(3):
        told = await processes.told(f"{thread}-{number}", thread, answers)
        asked = [entry for entry in told if isinstance(entry, ApprovalNeeded)]
        answers = {one.interrupt_id: {"approve": True} for one in asked}
        turns.append(
            [(type(entry).__name__, isinstance(entry, StepEnded) and "error" in entry.output) for entry in told]
        )
    return turns


async def test_after_whatever_write_it_dies_the_run_is_told_once_and_done_once(
    script: Any, desk: Desk, new_process: Any, tmp_path: Path
) -> None:
    store = SqliteItems(tmp_path / "runs.sqlite")
    model = answering(script)
    lives = Processes(new_process, model, store, None)
    expected = await whole(lives, "lives")
    assert [turn[-1][0] for turn in expected] == ["Told"] * 3
    assert len(expected[2]) > 3
    writes = lives.first.writes
    assert writes > 40
    deaths = range(0, writes, EVERY)
    for last in deaths:
        assert await whole(Processes(new_process, model, store, last), f"dies-{last}") == expected, f"write {last}"
    entries: list[str] = []
    after = None
    while True:
        page = await desk.ledger.entries(after=after)
        entries += [entry.tool for entry in page.entries]
        if (after := page.after) is None:
            break
    runs = len(deaths) + 1
    assert {tool: entries.count(tool) / runs for tool in entries} == {
        "open_case": 1,
        "issue_refund": 2,
        "draft_reply": 1,
    }
