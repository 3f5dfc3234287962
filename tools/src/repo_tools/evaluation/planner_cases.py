"""The cases of langgraph-planner's evaluation: what is said, what must come of it, and what is wrong with a record.

A case names its runbook; what that asks for is written once, in `runbooks.yaml`. The fields of the records are told in
the README beside the files.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.handbook import load_runbooks
from support_desk.order_generator import generate

from repo_tools.evaluation.questions import SPLITS
from repo_tools.evaluation.results import EvaluationError

Category = Literal[
    "runbook",
    "distractor",
    "missing",
    "impossible",
    "failing_tool",
    "injection",
    "several_orders",
    "follow_up",
    "rejected",
]
FEWEST_CASES = 44
TEST_SHARE = (0.4, 0.6)
_ALWAYS = 1_000_000
_Form = TypeVar("_Form")


class Fault(BaseModel):
    """What one of the desk's tools does in a case, instead of its work or beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fails: str = ""
    """The code of the error that it fails with."""
    times: int = _ALWAYS
    """How often, before it works."""
    says: str = ""
    """What its output says in addition."""


@dataclass(frozen=True, slots=True)
class WantedStep:
    tool: str
    arguments: dict[str, Any]
    """What is fixed. A list holds all values that are right."""


Written = str | dict[str, dict[str, Any]]
"""A step as the files write it: a tool, or a tool with the arguments that are fixed."""


class Case(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    category: Category
    turns: list[str] = Field(min_length=1)
    runbook: str | None
    order: str | None = None
    customer: str | None = None
    amount: str | None = None
    steps: list[Written] | None = None
    may: list[str] = []
    asks: list[str] = []
    end: Literal["completed", "asked", "impossible"] = "completed"
    about: list[str] = []
    why: list[str] = []
    reject: dict[str, str] = {}
    tools: dict[str, Fault] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.end == "asked") != bool(self.about):
            raise ValueError("a case that ends with a question says what it is about, and no other does")
        if (self.end == "impossible") != bool(self.why):
            raise ValueError("a case that is impossible says why, and no other does")
        if self.asks and len(self.turns) < 2:
            raise ValueError("a question needs a turn that answers it")
        tools = {*self.may, *self.reject, *self.tools}
        if unknown := tools - set(TOOLS_BY_NAME):
            raise ValueError(f"no such tool: {', '.join(sorted(unknown))}")
        return self


@dataclass(frozen=True, slots=True)
class Ready:
    """A case with the steps that must come of it, its placeholders filled in."""

    case: Case
    steps: tuple[WantedStep, ...]
    may: tuple[str, ...]
    """Tools whose calls count neither for nor against."""


def read_cases(folder: Path, split: str) -> list[Ready]:
    """
    Raises:
        EvaluationError: a file cannot be read, or a record is not as it must be. The text names the records.
    """
    runbooks = read_runbooks(folder)
    file = folder / f"{split}.yaml"
    cases = _read(file, TypeAdapter(list[Case]))
    customers, orders = generate()
    owners = {order.order_id: order.customer_id for order in orders}
    emails = {customer.customer_id: customer.email for customer in customers}
    return [_ready(case, runbooks, owners, emails) for case in cases]


def read_runbooks(folder: Path) -> dict[str, list[Written]]:
    """
    Raises:
        EvaluationError: as `read_cases`.
    """
    return _read(folder / "runbooks.yaml", TypeAdapter(dict[str, list[Written]]))


def _read(file: Path, form: TypeAdapter[_Form]) -> _Form:
    try:
        records = yaml.safe_load(file.read_text(encoding="utf-8"))
        return form.validate_python(records)
    except (OSError, yaml.YAMLError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from None
    except ValidationError as error:
        raise EvaluationError("\n".join(_problem(file, records, dict(one)) for one in error.errors())) from None


def _problem(file: Path, records: Any, problem: Mapping[str, Any]) -> str:
    place = [str(part) for part in problem["loc"]]
    if isinstance(records, list) and place and place[0].isdecimal() and isinstance(records[int(place[0])], dict):
        place[0] = str(records[int(place[0])].get("id", place[0]))
    return f"{file.name}: {' '.join(place)}: {problem['msg']}"


def _ready(
    case: Case, runbooks: Mapping[str, list[Written]], owners: Mapping[str, str], emails: Mapping[str, str]
) -> Ready:
    if case.runbook is not None and case.runbook not in runbooks:
        raise EvaluationError(f"{case.id}: runbooks.yaml has no {case.runbook}")
    amount, _, currency = (case.amount or "").partition(" ")
    known = {
        "$order": case.order,
        "$customer": case.customer or owners.get(case.order or ""),
        "$amount": amount or None,
        "$currency": currency or None,
    }
    written = case.steps if case.steps is not None else runbooks.get(case.runbook or "", [])
    steps = [WantedStep(tool, _either(tool, _filled(fixed, known), emails)) for tool, fixed in map(_step, written)]
    may = list(case.may)
    if case.end == "asked":
        # What can be taken back may be done before the question; nothing has to be.
        may += [step.tool for step in steps if not TOOLS_BY_NAME[step.tool].irreversible]
        steps = []
    return Ready(case, tuple(steps), tuple(dict.fromkeys(may)))


def _step(written: Written) -> tuple[str, dict[str, Any]]:
    tool, fixed = (written, {}) if isinstance(written, str) else next(iter(written.items()))
    if tool not in TOOLS_BY_NAME:
        raise EvaluationError(f"there is no tool {tool}")
    return tool, fixed


def _either(tool: str, fixed: dict[str, Any], emails: Mapping[str, str]) -> dict[str, Any]:
    """A customer's orders are found by number or by address."""
    customer = fixed.get("customer_id")
    if tool != "list_customer_orders" or customer is None:
        return fixed
    return fixed | {"customer_id": [customer, None], "email": [emails[customer], None]}


def _filled(fixed: Mapping[str, Any], known: Mapping[str, str | None]) -> dict[str, Any]:
    """Without those whose placeholder the case leaves open."""
    filled = {
        name: known[value] if isinstance(value, str) and value in known else value for name, value in fixed.items()
    }
    return {name: value for name, value in filled.items() if value is not None}


def check_cases(folder: Path) -> list[str]:
    """One line for each thing that makes the files unfit: ids, orders, sizes, runbooks that say something else."""
    splits = {split: read_cases(folder, split) for split in SPLITS}
    every = [ready.case for cases in splits.values() for ready in cases]
    problems = [f"{name}: the id is used {n} times" for name, n in Counter(one.id for one in every).items() if n > 1]
    customers, orders = generate()
    ids, currencies = {one.customer_id for one in customers}, {one.order_id: one.currency for one in orders}
    for case in every:
        if case.order and case.order not in currencies:
            problems.append(f"{case.id}: there is no order {case.order}")
        if case.customer and case.customer not in ids:
            problems.append(f"{case.id}: there is no customer {case.customer}")
        if case.amount and case.order and not case.amount.endswith(f" {currencies.get(case.order)}"):
            problems.append(f"{case.id}: {case.order} was not paid in the currency of {case.amount}")
    if len(every) < FEWEST_CASES:
        problems.append(f"there are {len(every)} cases, and must be {FEWEST_CASES}")
    share = len(splits["test"]) / max(1, len(every))
    if not TEST_SHARE[0] <= share <= TEST_SHARE[1]:
        problems.append(f"test is {share:.0%} of the cases, and must be about half")
    for split, cases in splits.items():
        lacking = set(get_args(Category)) - {ready.case.category for ready in cases}
        problems += [f"{split} has no case of the category {category}" for category in sorted(lacking)]
        unused = set(read_runbooks(folder)) - {ready.case.runbook for ready in cases}
        problems += [f"{split} has no case for the runbook {runbook}" for runbook in sorted(unused)]
    return problems + _check_runbooks(read_runbooks(folder))


def _check_runbooks(written: Mapping[str, Sequence[Written]]) -> list[str]:
    problems = []
    handbook = {runbook.id: runbook for runbook in load_runbooks()}
    problems += [f"runbooks.yaml lacks {name}" for name in sorted(set(handbook) - set(written))]
    problems += [f"the handbook has no runbook {name}" for name in sorted(set(written) - set(handbook))]
    for name in sorted(set(handbook) & set(written)):
        tools = [tool for tool, _ in map(_step, written[name])]
        if tools != list(handbook[name].tools):
            problems.append(f"{name}: the runbook's tools are {', '.join(handbook[name].tools)}")
        for (tool, fixed), text in zip(map(_step, written[name]), handbook[name].steps, strict=False):
            for argument in ("category", "priority", "reason"):
                if argument in fixed and f"{argument} {fixed[argument]}" not in text:
                    problems.append(f"{name}: the step {tool} does not say {argument} {fixed[argument]}")
    return problems
