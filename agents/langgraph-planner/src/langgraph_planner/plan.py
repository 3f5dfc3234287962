"""The typed plan, the JSON schema in which a model is asked for it, and the check that it can be carried out.

Whether a step can be undone is the tool's to say and never the model's.
"""

import re
from collections.abc import Set
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from support_desk.desk_tools import TOOLS, TOOLS_BY_NAME

_REVISED = re.compile(r"r\d+\.")
"""How the ids of a new plan's steps begin: see `continued`."""


class Step(BaseModel):
    """One call of one tool. Arguments that are still null are found out while the plan is carried out."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=40)
    tool: str
    arguments: dict[str, Any]
    reason: str
    depends_on: list[str]
    irreversible: bool = False


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid")

    goal: str
    runbook: str = ""
    revision: int = 1
    """Counts the plans of a run: a new one is made after a failed step or a rejection."""
    assumptions: list[str]
    steps: list[Step]


def continued(
    plan: Plan, position: int, lost: set[str], rest: Plan, *, barred: Set[str] = frozenset(), most_steps: int
) -> Plan | None:
    """The plan with what comes after `position` replaced by `rest`, or None where that cannot be carried out.

    Steps in `lost` stay, before the new ones: they are to be reported. New ids carry the revision, because an id is
    part of a step's idempotency key and must never be used twice. What was done reversibly is not done again, unless
    the old plan had that tool still to come, and the tools in `barred` are not called again at all.
    """
    revision = plan.revision + 1
    behind, ahead = plan.steps[:position], plan.steps[position:]
    kept = [step for step in ahead if step.id in lost]
    coming = {step.tool for step in ahead}
    repeated = {step.tool for step in behind if TOOLS_BY_NAME[step.tool].side_effect and not step.irreversible} - coming
    ids = {step.id: f"r{revision}.{step.id}" for step in rest.steps}
    fresh = [
        step.model_copy(
            update={"id": ids[step.id], "depends_on": [ids[other] for other in step.depends_on if other in ids]}
        )
        for step in rest.steps
        if step.tool not in repeated | barred
    ]
    there = {step.id for step in fresh}
    for step in fresh:
        step.depends_on = [other for other in step.depends_on if other in there]
    there = {step.id for step in behind}
    for step in kept:
        step.depends_on = [other for other in step.depends_on if other in there]
        there.add(step.id)
    steps = [*behind, *kept, *fresh]
    if not fresh or len(steps) > most_steps:
        return None
    return plan.model_copy(update={"steps": steps, "revision": revision})


def plan_schema() -> dict[str, Any]:
    """The plan as strict JSON output takes it: one variant of a step for each tool, every argument nullable."""
    text = {"type": "string"}
    return _object(
        {
            "goal": text | {"description": "What the customer or the desk wants, in one sentence."},
            "assumptions": {"type": "array", "items": text, "description": "What the plan takes for granted."},
            "steps": {"type": "array", "items": {"anyOf": [_step_schema(tool.name) for tool in TOOLS]}},
        }
    )


def _step_schema(tool: str) -> dict[str, Any]:
    return _object(
        {
            "id": {"type": "string", "description": "s1, s2, …"},
            "tool": {"type": "string", "const": tool},
            "arguments": arguments_schema(tool),
            "reason": {"type": "string", "description": "Why this step, from the runbook."},
            "depends_on": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Ids of the steps that must be done before: those of the item before it; where an item"
                " says meanwhile, those that the item before it waits for. Empty only for the first.",
            },
        }
    )


def arguments_schema(tool: str) -> dict[str, Any]:
    """The tool's parameters, each of which may also be null: a model that must give an order number invents one."""
    parameters = TOOLS_BY_NAME[tool].parameters()
    return parameters | {"properties": {name: _nullable(schema) for name, schema in parameters["properties"].items()}}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        forms = [form for form in schema["anyOf"] if form != {"type": "null"}]
        return schema | {"anyOf": [*forms, {"type": "null"}]}
    described = {"description": schema["description"]} if "description" in schema else {}
    bare = {name: value for name, value in schema.items() if name != "description"}
    return described | {"anyOf": [bare, {"type": "null"}]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_plan(document: dict[str, Any], runbook: str, most_steps: int) -> tuple[Plan | None, list[str]]:
    """The plan of a model's answer, or a sentence for each reason why it cannot be carried out."""
    try:
        plan = Plan.model_validate(document | {"runbook": runbook, "revision": 1})
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)[:5]]
    problems: list[str] = []
    if not plan.steps:
        problems.append("The plan has no steps.")
    if len(plan.steps) > most_steps:
        problems.append(f"The plan has {len(plan.steps)} steps, and at most {most_steps} are allowed.")
    seen: set[str] = set()
    for step in plan.steps:
        tool = TOOLS_BY_NAME.get(step.tool)
        if tool is None:
            problems.append(f"Step {step.id} names the tool {step.tool}, which does not exist.")
            continue
        step.irreversible = tool.irreversible
        if _REVISED.match(step.id):
            problems.append(f"Step {step.id} has an id of the form that only new plans give: name it s1, s2, ….")
        if step.id in seen:
            problems.append(f"Two steps have the id {step.id}.")
        problems += [
            f"Step {step.id} depends on {other}, which is no earlier step."
            for other in step.depends_on
            if other not in seen
        ]
        unknown = step.arguments.keys() - tool.parameters()["properties"].keys()
        if unknown:
            problems.append(f"Step {step.id} gives {step.tool} unknown arguments: {', '.join(sorted(unknown))}.")
        seen.add(step.id)
    return (None, problems) if problems else (plan, [])
