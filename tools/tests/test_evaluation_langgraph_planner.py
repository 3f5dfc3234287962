"""langgraph-planner's evaluation: the case files, how a run is judged, and that a planner which is wrong falls short."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import langgraph_planner.graph
import pytest
import yaml
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.testing import ScriptedModel
from repo_tools.evaluation.gates import read_thresholds, shortfalls
from repo_tools.evaluation.langgraph_planner import (
    FIGURES,
    FOLDER,
    LanggraphPlannerJudge,
    judge,
    plan_problems,
)
from repo_tools.evaluation.langgraph_planner import (
    langgraph_planner as evaluation,
)
from repo_tools.evaluation.planner_cases import Case, Ready, WantedStep, check_cases, read_cases
from repo_tools.evaluation.planner_runs import Approval, Call, Carried, unapproved
from repo_tools.evaluation.results import EvaluationError, Judged, Run
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.ledger import EntryState, LedgerEntry

ORDER = {"order_id": "NP-10310"}
REFUND = {**ORDER, "amount": "239.80", "currency": "USD", "reason": "lost_parcel", "note": None}
STEPS = (
    WantedStep("lookup_order", ORDER),
    WantedStep("search_handbook", {}),
    WantedStep("open_case", {"category": "lost_parcel"}),
    WantedStep("issue_refund", {"amount": "239.80"}),
)


def ready(steps: tuple[WantedStep, ...] = STEPS, **changes: Any) -> Ready:
    fields = {"id": "one", "category": "runbook", "turns": ["Lost!"], "runbook": "lost-parcel"} | changes
    case = Case.model_validate(fields)
    return Ready(case, steps, tuple(case.may))


def step(name: str, tool: str, *, needs: tuple[str, ...] = (), **arguments: Any) -> dict[str, Any]:
    irreversible = tool in TOOLS_BY_NAME and TOOLS_BY_NAME[tool].irreversible
    return {
        "id": name, "tool": tool, "arguments": arguments, "reason": "r", "depends_on": list(needs),
        "irreversible": irreversible,
    }  # fmt: skip


PLAN = {"goal": "g", "runbook": "lost-parcel", "steps": [step("s1", "lookup_order", **ORDER)]}


def carried(*left_out: str, **changes: Any) -> Carried:
    made = {
        "search_handbook": Call("search_handbook", {"query": "lost"}, "done"),
        "lookup_order": Call("lookup_order", ORDER, "done"),
        "open_case": Call("open_case", {"category": "lost_parcel"}, "done"),
        "issue_refund": Call("issue_refund", REFUND, "done"),
    }
    calls = [call for tool, call in made.items() if tool not in left_out]
    fields: dict[str, Any] = {
        "plans": [PLAN], "calls": calls, "approvals": [Approval("issue_refund", REFUND, True)], "text": "All done.",
        "status": "completed",
    }  # fmt: skip
    return Carried(**(fields | changes))


def figure(name: str, *ones: Judged) -> float | None:
    return FIGURES[name](ones)


def test_the_case_files_are_fit_and_follow_the_runbooks() -> None:
    assert check_cases(FOLDER) == []


def test_each_threshold_is_for_a_figure() -> None:
    run = Run(
        agent="langgraph-planner", started=datetime.now(UTC), seconds=0, commit="", setup={}, compared=[],
        judged=[judge("development", ready(), carried())],
    )  # fmt: skip
    assert shortfalls(run, evaluation(), read_thresholds(FOLDER / "thresholds.yaml")) == []


def test_a_right_run_misses_nothing_and_what_only_reads_may_change_places() -> None:
    one = judge("test", ready(), carried())
    assert one.misses == []
    whole = ("plan_validity", "runbook_accuracy", "step_f1", "step_order", "argument_accuracy", "completed_right")
    assert [figure(name, one) for name in whole] == [1] * len(whole)
    assert (figure("approvals_missed", one), figure("approvals_needless", one), figure("approvals_asked", one)) == (
        0, 0, 1,
    )  # fmt: skip


def test_a_step_too_few_costs_recall_and_one_too_many_precision() -> None:
    few = judge("test", ready(), carried("open_case"))
    assert (figure("step_precision", few), figure("step_recall", few)) == (1, 3 / 4)
    assert figure("completed_right", few) == 0
    many = judge("test", ready(), carried(calls=[*carried().calls, Call("create_return_label", ORDER, "done")]))
    assert (figure("step_precision", many), figure("step_recall", many)) == (4 / 5, 1)
    assert figure("step_precision", judge("test", ready(may=["create_return_label"]), carried())) == 1


def test_a_step_that_was_made_again_after_it_failed_is_one_step() -> None:
    again = judge("test", ready(), carried(calls=[Call("lookup_order", ORDER, "failed"), *carried().calls]))
    assert (figure("step_precision", again), figure("completed_right", again)) == (1, 1)


def test_a_step_that_comes_before_one_it_must_follow_is_out_of_order() -> None:
    assert figure("step_order", judge("test", ready(), carried(calls=carried().calls[::-1]))) == 0


def test_an_argument_that_is_wrong_counts_and_sums_are_compared_as_numbers() -> None:
    same = Call("issue_refund", REFUND | {"amount": "239.8"}, "done")
    other = Call("issue_refund", REFUND | {"amount": "23.98"}, "done")
    for call, right in ((same, 3 / 3), (other, 2 / 3)):
        one = judge("test", ready(), carried(calls=[*carried().calls[:-1], call]))
        assert figure("argument_accuracy", one) == pytest.approx(right)


def test_an_approval_is_needless_where_none_is_due_and_lacking_where_none_was_asked() -> None:
    needless = judge("test", ready(STEPS[:3], category="injection"), carried())
    assert (figure("approvals_needless", needless), figure("injections_followed", needless)) == (1, 1)
    lacking = judge("test", ready(), carried("issue_refund", approvals=[]))
    assert figure("approvals_asked", lacking) == 0


def entry(**arguments: Any) -> LedgerEntry:
    return LedgerEntry(
        idempotency_key="k", tool="issue_refund", arguments=REFUND | arguments, state=EntryState.DONE,
        claimed_at=datetime.now(UTC),
    )  # fmt: skip


def test_an_effect_is_approved_only_as_it_is_and_once() -> None:
    granted, refused = Approval("issue_refund", REFUND, True), Approval("issue_refund", REFUND, False)
    assert unapproved([entry()], [granted]) == []
    assert len(unapproved([entry(), entry()], [granted])) == 1
    assert len(unapproved([entry()], [refused])) == 1
    assert len(unapproved([entry(amount="500.00")], [granted])) == 1
    missed = judge("test", ready(), carried(unapproved=["issue_refund {}"]))
    assert figure("approvals_missed", missed) == 1


def test_a_question_is_right_if_it_is_one_and_asks_for_what_is_missing() -> None:
    one = ready((), may=["lookup_order"], end="asked", about=["order number", "order"])
    asks = {"calls": [], "approvals": [], "waits": True, "text": ""}
    for questions, right in ((["What is the order?"], 1), (["Which colour?"], 0), (["The order?", "Sure?"], 0)):
        judged = judge("test", one, carried(questions=questions, **asks))
        assert (figure("question_recall", judged), figure("question_precision", judged)) == (right, right)
    assert figure("question_recall", judge("test", one, carried())) == 0
    assert figure("completed_right", judge("test", ready(), carried(waits=True, questions=["Why?"]))) == 0


def test_what_cannot_be_done_must_be_said_and_not_be_done() -> None:
    one = ready(STEPS[:2], end="impossible", why=["no order NP-10310"])
    told = carried("open_case", "issue_refund", approvals=[], text="There is no order NP-10310.")
    assert figure("impossible_right", judge("test", one, told)) == 1
    told.text = "It is done."
    assert figure("impossible_right", judge("test", one, told)) == 0
    done = judge("test", one, carried(text="There is no order NP-10310."))
    assert figure("impossible_right", done) == 0


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([], "no goal or no steps"),
        ([step("s1", "call_the_police")], "there is no tool call_the_police"),
        ([step("s1", "lookup_order", colour="red")], "colour: Extra inputs are not permitted"),
        ([step("s1", "lookup_order", order_id="12")], "order_id: String should match pattern"),
        ([step("s1", "lookup_order", needs=("s2",)), step("s2", "lookup_order")], "needs s2, which is no earlier step"),
        ([step("s1", "lookup_order"), step("s1", "lookup_order")], "the id is used twice"),
        ([step("s1", "issue_refund") | {"irreversible": False}], "whether issue_refund can be undone is told wrongly"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_not_valid(steps: list[Any], problem: str) -> None:
    assert problem in " ".join(plan_problems(PLAN | {"steps": steps}))
    assert plan_problems(PLAN) == []
    assert figure("plan_validity", judge("test", ready(), carried(plans=[PLAN | {"steps": steps}]))) == 0
    assert figure("plan_validity", judge("test", ready(), carried(plans=[]))) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"runbook": "no-such-one", "category": "weather"},
        {"end": "asked"},
        {"end": "impossible"},
        {"asks": ["order"]},
        {"may": ["call_the_police"]},
    ],
)
def test_a_record_that_cannot_be_judged_is_refused(changes: Any) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ready(**changes)


def test_a_file_that_is_wrong_names_the_record(tmp_path: Path) -> None:
    (tmp_path / "runbooks.yaml").write_text("{}", encoding="utf-8")
    (tmp_path / "test.yaml").write_text('[{"id": "one", "category": "runbook", "turns": [""]}]', encoding="utf-8")
    with pytest.raises(EvaluationError, match="one runbook: Field required"):
        read_cases(tmp_path, "test")


def some_cases(folder: Path, *ids: str) -> Path:
    records = yaml.safe_load((FOLDER / "development.yaml").read_text(encoding="utf-8"))
    chosen = [record for record in records if record["id"] in ids]
    assert len(chosen) == len(ids)
    (folder / "test.yaml").write_text(json.dumps(chosen), encoding="utf-8")
    for name in ("runbooks.yaml", "thresholds.yaml"):
        (folder / name).write_bytes((FOLDER / name).read_bytes())
    return folder


async def test_the_real_agent_is_asked_approved_and_judged(tmp_path: Path) -> None:
    folder = some_cases(tmp_path, "damaged-headlamp-lens", "failing-handbook-down", "missing-order-of-return")
    run = await LanggraphPlannerJudge(folder)(["test"], None, 2)
    assert {one.id: (one.error, one.misses) for one in run.judged} == {
        "damaged-headlamp-lens": ("", []),
        "failing-handbook-down": ("", []),
        "missing-order-of-return": ("", []),
    }
    with pytest.raises(EvaluationError, match="there is no case none"):
        await LanggraphPlannerJudge(folder)(["test"], "none", 2)


async def test_a_planner_with_a_model_that_is_wrong_falls_short(tmp_path: Path) -> None:
    """It takes the first runbook, and refunds at once instead of what the runbook says."""

    def wrong(request: ModelRequest) -> ModelReply:
        if "Choose the one runbook" in request.messages[0].text:
            return ModelReply(json.dumps({"runbook": "card-dispute"}))
        refund = step("s1", "issue_refund", **(REFUND | {"order_id": "NP-10332", "currency": "EUR", "amount": "9.00"}))
        del refund["irreversible"]
        return ModelReply(json.dumps({"goal": "g", "assumptions": [], "steps": [refund]}))

    folder = some_cases(tmp_path, "damaged-headlamp-lens", "missing-order-of-return", "impossible-guided-tour")
    run = await LanggraphPlannerJudge(folder, ScriptedModel(wrong).transport)(["test"], None, 2)
    short = " ".join(shortfalls(run, evaluation(), read_thresholds(folder / "thresholds.yaml")))
    for name in ("step_f1", "runbook_accuracy", "question_recall", "impossible_right"):
        assert f"test: {name}" in short
    assert "approvals_missed" not in short


async def test_a_planner_that_forgets_to_ask_falls_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = langgraph_planner.graph.read_plan

    def forgetful(*given: Any) -> Any:
        plan, problems = real(*given)
        for one in plan.steps if plan else ():
            one.irreversible = False
        return plan, problems

    monkeypatch.setattr(langgraph_planner.graph, "read_plan", forgetful)
    folder = some_cases(tmp_path, "damaged-headlamp-lens")
    run = await LanggraphPlannerJudge(folder)(["test"], None, 1)
    short = " ".join(shortfalls(run, evaluation(), read_thresholds(folder / "thresholds.yaml")))
    assert "test: approvals_missed at most 0: is 1" in short
    assert "plan_validity" in short
