"""The graph: understand the request, find the runbook, draft a plan, check it, carry it out, plan anew, report.

Nodes are small functions over a typed state of plain JSON, so that a checkpoint can be read back strictly. They log
what happens in the state itself, so that nothing is told that a crash could take back; an irreversible step stops the
graph until somebody has decided about it.
"""

import asyncio
import logging
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

from agent_runtime.state_store import StateStoreError
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send, interrupt
from support_desk.desk import Desk
from support_desk.desk_tools import TOOLS_BY_NAME, ToolError
from support_desk.handbook import Runbook

from langgraph_planner.facts import about, complete, for_tool, learn, missing
from langgraph_planner.limits import LimitReached
from langgraph_planner.model_calls import Model
from langgraph_planner.plan import Plan, Step, arguments_schema, continued, plan_schema, read_plan
from langgraph_planner.progress import PlanMade, Progress, StepEnded, StepStarted, Thought, Told, to_json
from langgraph_planner.prompts import CHOOSE, COMPLETE, DRAFT, REPLAN
from langgraph_planner.proposals import plain_reason, propose
from langgraph_planner.report import (
    ask_for_approval,
    ask_for_information,
    ask_for_plan,
    no_plan,
    not_run,
    nothing_fits,
    report,
)
from langgraph_planner.request import read_request
from langgraph_planner.settings import PlannerSettings

logger = logging.getLogger(__name__)

RUN_PLAN = "run_plan"
"""What is approved when a whole plan is."""
_NODES = (
    "understand",
    "find_runbook",
    "draft_plan",
    "check_plan",
    "ask_plan",
    "ask_information",
    "prepare_steps",
    "ask_approval",
    "decide",
    "run_step",
    "record_steps",
    "replan",
    "report",
)
_QUESTIONS = 1
"""How often one run may ask the user for what nobody said. After that a step without its values is left out."""
_DRAFTS = 2
"""How often the model may draft a plan that cannot be carried out."""
_FIRST_RETRY_SECONDS = 0.2
_UNKNOWN = (
    "It had begun when the records of the desk could not be reached any more. It may or may not have taken effect: look"
    " there before it is done again."
)


class Record(TypedDict, total=False):
    """What became of one step."""

    step_id: str
    tool: str
    status: Literal["done", "failed", "unknown", "skipped", "rejected"]
    output: dict[str, Any]
    reason: str


class Call(TypedDict):
    """One call of a tool, as it is sent to `run_step`."""

    thread_id: str
    step_id: str
    tool: str
    arguments: dict[str, Any]


class Asked(Call):
    """A call that waits for its approval, as it is sent to `ask_approval`."""

    reason: str
    foreseen: str
    """What it would do that its arguments do not show."""


class Cause(TypedDict):
    """Why the rest is planned anew: what a step's tool said, what a person decided, or what somebody added."""

    text: str
    look_again: bool
    """Whether what was looked up before is about something else now."""


def _merged(old: dict[str, Any], new: dict[str, Any] | None) -> dict[str, Any]:
    return {} if new is None else old | new


class PlannerState(TypedDict, total=False):
    case: str
    thread_id: str
    unclear: str
    """Why the request cannot be planned for."""
    plan_only: bool
    questions: int
    replans: int
    refused: str
    """Why the whole plan was not approved."""
    runbook: str | None
    plan: dict[str, Any] | None
    draft: dict[str, Any]
    """What the model drafted, before it is checked."""
    drafts: int
    problems: list[str]
    position: int
    """How many of the plan's steps have their record."""
    lacking: list[str]
    """The arguments that nobody said of the step that comes next."""
    asking: list[Asked]
    """The calls that wait for an approval, of steps that follow each other in the plan."""
    decisions: Annotated[dict[str, dict[str, Any]], _merged]
    """What was decided about them, by step."""
    calls: list[Call]
    """The calls that run now, of steps that follow each other in the plan."""
    results: Annotated[dict[str, Record], _merged]
    """What became of them, by step."""
    cause: Cause
    facts: dict[str, Any]
    records: list[Record]
    log: Annotated[list[dict[str, Any]], operator.add]
    """What happened, as `progress.to_json` writes it."""
    model_calls: Annotated[int, operator.add]
    tokens: Annotated[int, operator.add]


class Planner:
    """The nodes, over what they work with."""

    def __init__(self, model: Model, desk: Desk, runbooks: Sequence[Runbook], settings: PlannerSettings) -> None:
        self._model = model
        self._desk = desk
        self._runbooks = {runbook.id: runbook for runbook in runbooks}
        self._settings = settings

    async def understand(self, state: PlannerState) -> Command[Literal["find_runbook", "report"]]:
        """Read which orders, customers and cases the request names. No plan is made for what does not exist."""
        facts, unclear = read_request(self._desk, state["case"])
        begun: dict[str, Any] = {"facts": facts, "records": [], "position": 0, "calls": [], "runbook": None}
        return Command(goto="report" if unclear else "find_runbook", update=begun | {"unclear": unclear})

    async def find_runbook(self, state: PlannerState) -> Command[Literal["draft_plan", "report"]]:
        ids = list(self._runbooks)
        listed = "\n".join(f"{one.id}: {one.title} — {one.when}" for one in self._runbooks.values())
        choice = {"anyOf": [{"type": "string", "enum": ids}, {"type": "null"}]}
        schema = {
            "type": "object",
            "properties": {"runbook": choice},
            "required": ["runbook"],
            "additionalProperties": False,
        }
        answer, spent = await self._fill(state, CHOOSE.format(runbooks=listed), state["case"], "runbook_choice", schema)
        chosen = self._runbooks.get(str(answer.get("runbook")))
        if chosen is None:
            return Command(goto="report", update=spent)
        why = Thought(f"The runbook “{chosen.title}” applies: {chosen.when}")
        update = {"runbook": chosen.id, "drafts": 0, "problems": [], "log": _logged(why)} | spent
        return Command(goto="draft_plan", update=update)

    async def draft_plan(self, state: PlannerState) -> dict[str, Any]:
        runbook = self._runbooks[state["runbook"] or ""]
        before = "The last draft had problems:\n- " + "\n- ".join(state["problems"]) if state["problems"] else ""
        instructions = DRAFT.format(problems=before, runbook=runbook.text)
        answer, spent = await self._fill(state, instructions, state["case"], "plan", plan_schema())
        return {"draft": answer, "drafts": state["drafts"] + 1, **spent}

    async def check_plan(
        self, state: PlannerState
    ) -> Command[Literal["draft_plan", "ask_plan", "prepare_steps", "report"]]:
        """Whether the draft can be carried out: known tools, arguments and order. What cannot be undone is marked."""
        runbook, answer = self._runbooks[state["runbook"] or ""], state["draft"]
        plan, problems = read_plan(answer, runbook.id, self._settings.max_steps)
        if plan is None:
            logger.warning("draft %d of a plan has %d problems", state["drafts"], len(problems))
            again = state["drafts"] < _DRAFTS
            if not again and len(answer.get("steps") or ()) > self._settings.max_steps:
                raise LimitReached("max_steps", no_plan(runbook.title, problems))
            return Command(goto="draft_plan" if again else "report", update={"problems": problems})
        update = {"plan": plan.model_dump(), "problems": [], "log": _logged(PlanMade(plan.model_dump()))}
        return Command(goto="ask_plan" if state.get("plan_only") else "prepare_steps", update=update)

    async def ask_plan(
        self, state: PlannerState
    ) -> Command[Literal["ask_plan", "draft_plan", "prepare_steps", "report"]]:
        """Stop until somebody has the plan carried out, perhaps with steps of their own. It is checked like a model's;
        approving it approves no irreversible step, each of which still asks. The node runs again from its start then,
        so it does nothing else."""
        plan = state["plan"] or {}
        decision = interrupt(
            {
                "type": "plan",
                "tool": RUN_PLAN,
                "arguments": {"goal": plan["goal"], "steps": plan["steps"]},
                "message": ask_for_plan(plan, state["problems"]),
            }
        )
        if added := decision.get("added"):
            anew: dict[str, Any] = {"plan": None, "drafts": 0, "problems": []}
            return self._added(state, added, goto="draft_plan", more=anew)
        if decision.get("approve") is not True:
            return Command(goto="report", update={"refused": decision.get("reason") or "no reason was given"})
        edits = decision.get("arguments") or {}
        if not edits:
            return Command(goto="prepare_steps", update={"problems": []})
        edited, problems = read_plan(plan | edits, plan["runbook"], self._settings.max_steps)
        if edited is None:
            return Command(goto="ask_plan", update={"problems": problems})
        log = _logged(PlanMade(edited.model_dump()))
        return Command(goto="prepare_steps", update={"plan": edited.model_dump(), "problems": [], "log": log})

    async def ask_information(self, state: PlannerState) -> Command[Literal["prepare_steps"]]:
        """Stop until somebody says what the next step lacks. What they say becomes part of the case."""
        step = Plan.model_validate(state["plan"]).steps[state["position"]]
        message = ask_for_information(step.tool, state["lacking"], plain_reason(step.tool, step.reason))
        answer = interrupt({"type": "question", "step_id": step.id, "tool": step.tool, "message": message})
        said = answer.get("text") or answer.get("reason") or ""
        update = {"case": f"{state['case']}\n{said}", "lacking": [], "questions": state.get("questions", 0) + 1}
        return Command(goto="prepare_steps", update=update)

    async def prepare_steps(
        self, state: PlannerState
    ) -> Command[Literal["prepare_steps", "ask_information", "ask_approval", "run_step", "report"]]:
        """Complete the next step's arguments, or skip it where that cannot be done or what it needs has failed.
        What can be undone and waits for nothing else runs beside it."""
        plan = Plan.model_validate(state["plan"])
        if state["position"] >= len(plan.steps):
            return Command(goto="report")
        step = plan.steps[state["position"]]
        if broken := _broken(step, _lost(plan, state), plan):
            why = "which failed" if _failed(state).issuperset(broken) else "which could not be done"
            return Command(goto="prepare_steps", update=_skipped(state, step, f"It needs {', '.join(broken)}, {why}."))
        arguments, spent = await self._arguments(state, step)
        if lacking := missing(arguments, TOOLS_BY_NAME[step.tool].parameters()):
            if state.get("questions", 0) < _QUESTIONS:
                return Command(goto="ask_information", update=spent | {"lacking": lacking})
            skipped = _skipped(state, step, f"Nobody said what to use for {', '.join(lacking)}.")
            return Command(goto="prepare_steps", update=spent | skipped)
        calls = [_call(state, step, arguments), *_beside(plan, state)]
        if step.irreversible:
            reasons = {one.id: one.reason for one in plan.steps}
            asking = [
                Asked(**call, reason=reasons[call["step_id"]], foreseen=await self._foreseen(call)) for call in calls
            ]
            return Command(goto=[Send("ask_approval", one) for one in asking], update=spent | {"asking": asking})
        log = [entry for call in calls for entry in _started(call)]
        return Command(goto=[Send("run_step", call) for call in calls], update=spent | {"calls": calls, "log": log})

    async def ask_approval(self, asked: Asked) -> dict[str, Any]:
        """Stop until somebody decides. This node runs again from its start then, so it does nothing else."""
        decision = interrupt(
            {
                "type": "approval",
                "step_id": asked["step_id"],
                "tool": asked["tool"],
                "arguments": asked["arguments"],
                "reason": asked["reason"],
                "message": ask_for_approval(asked["tool"], asked["arguments"], asked["foreseen"]),
            }
        )
        return {"decisions": {asked["step_id"]: decision}}

    async def decide(
        self, state: PlannerState
    ) -> Command[Literal["run_step", "record_steps", "prepare_steps", "replan"]]:
        """Run what was approved, with the arguments that were approved. What is refused has its record at once."""
        decided: dict[str, Any] = {"asking": [], "decisions": None}
        calls: list[Call] = []
        refused: dict[str, Record] = {}
        for asked in state["asking"]:
            decision = state["decisions"][asked["step_id"]]
            if added := decision.get("added"):
                # With no new plan left the old one goes on, and asks again with what is known now.
                left = state.get("replans", 0) < self._settings.max_replans
                return self._added(state, added, goto="replan" if left else "prepare_steps", more=decided)
            call = Call(thread_id=asked["thread_id"], step_id=asked["step_id"], tool=asked["tool"], arguments={})
            call["arguments"] = asked["arguments"] | (decision.get("arguments") or {})
            calls.append(call)
            if decision.get("approve") is not True:
                why = f"The approval was refused: {decision.get('reason') or 'no reason was given'}."
                refused[call["step_id"]] = Record(
                    step_id=call["step_id"], tool=call["tool"], status="rejected", reason=why
                )
        approved = [call for call in calls if call["step_id"] not in refused]
        log = [entry for call in approved for entry in _started(call)]
        update = decided | {"calls": calls, "results": refused, "log": log}
        return Command(goto=[Send("run_step", call) for call in approved] or "record_steps", update=update)

    async def run_step(self, call: Call) -> dict[str, Any]:
        """Call the tool once: its idempotency key is the thread and the step, also when this node runs again. Records
        that cannot be reached are tried again, each time after twice as long."""
        record: Record = {"step_id": call["step_id"], "tool": call["tool"]}
        for attempt in range(self._settings.max_tool_retries + 1):
            try:
                tool = TOOLS_BY_NAME[call["tool"]]
                result = await tool.call(self._desk, call["arguments"], idempotency_key=_key(call))
            except ToolError as error:
                record |= {"status": "failed", "output": error.as_output(), "reason": error.message}
                if error.code != "desk_unavailable":
                    break
                if attempt == self._settings.max_tool_retries:
                    record |= await self._unreachable(call)
                    break
                await asyncio.sleep(_FIRST_RETRY_SECONDS * 2**attempt)
            else:
                record |= {"status": "done", "output": result.model_dump(mode="json")}
                record.pop("reason", None)
                break
        return {"results": {call["step_id"]: record}}

    async def _unreachable(self, call: Call) -> Record:
        """What became of a call whose records could not be reached to the end. Only what surely had no effect, and can
        have none any more, has failed: it may be planned again. The effect of a call that had begun may be there
        without its record, so nobody may do it again."""
        if not TOOLS_BY_NAME[call["tool"]].side_effect:
            return {}
        try:
            entry = await self._desk.ledger.fence(_key(call), call["tool"])
        except StateStoreError:
            return {"status": "unknown", "reason": _UNKNOWN}
        if entry is None:
            return {}
        if entry.result is None:
            return {"status": "unknown", "reason": _UNKNOWN}
        return {"status": "done", "output": entry.result}

    async def record_steps(self, state: PlannerState) -> Command[Literal["prepare_steps", "replan"]]:
        """A record of each call that has run, in the plan's order, whichever ended first."""
        facts, log = state["facts"], []
        failed: Cause | None = None
        records = [state["results"][call["step_id"]] for call in state["calls"]]
        for call, record in zip(state["calls"], records, strict=True):
            if "output" in record:
                log += _logged(StepEnded(_call_id(call), record["output"]))
            if record["status"] == "done":
                facts = learn(facts, record["output"], call["arguments"].get("order_id"))
            elif failed is None and record["status"] != "unknown":
                failed = _not_as_planned(record["tool"], record["reason"])
        update: dict[str, Any] = {
            "records": [*state["records"], *records],
            "position": state["position"] + len(records),
            "facts": facts,
            "calls": [],
            "results": None,
            "log": log,
        }
        if failed and update["position"] < len((state["plan"] or {})["steps"]) and self._settings.max_replans > 0:
            return Command(goto="replan", update=update | {"cause": failed})
        return Command(goto="prepare_steps", update=update)

    async def replan(self, state: PlannerState) -> Command[Literal["prepare_steps"]]:
        """Plan the rest anew, for the cause that is given. Where no better plan comes of it, the old one goes on
        without what is lost."""
        replans = state.get("replans", 0)
        if replans >= self._settings.max_replans:
            text = f"The run has planned its rest anew {replans} times, which is as often as it may."
            raise LimitReached("max_replans", text)
        plan, position = Plan.model_validate(state["plan"]), state["position"]
        lost = _lost(plan, state)
        again = [step for step in plan.steps[:position] if not TOOLS_BY_NAME[step.tool].side_effect]
        left = [step for step in plan.steps[position:] if step.id not in lost]
        left = (again if state["cause"]["look_again"] else []) + left
        instructions = REPLAN.format(
            cause=state["cause"]["text"],
            outcomes="\n".join(_outcome(record) for record in state["records"]) or "None.",
            left="\n".join(
                f"{number}. `{step.tool}` — {plain_reason(step.tool, step.reason)}"
                for number, step in enumerate(left, start=1)
            )
            or "Nothing that can still be done.",
        )
        answer, spent = await self._fill(state, instructions, state["case"], "plan", plan_schema())
        rest, _ = read_plan(answer, plan.runbook, self._settings.max_steps)
        unknown = {record["tool"] for record in state["records"] if record["status"] == "unknown"}
        new = None
        if rest is not None:
            new = continued(plan, position, lost, rest, barred=unknown, most_steps=self._settings.max_steps)
        update: dict[str, Any] = {"replans": replans + 1} | spent
        if new is not None:
            update |= {"plan": new.model_dump(), "log": _logged(PlanMade(new.model_dump()))}
        return Command(goto="prepare_steps", update=update)

    async def report(self, state: PlannerState) -> dict[str, Any]:
        """What was done, what not, and why, from the records alone."""
        if state["unclear"]:
            text = state["unclear"]
        elif state["runbook"] is None:
            text = nothing_fits([runbook.title for runbook in self._runbooks.values()])
        elif state.get("plan") is None:
            text = no_plan(self._runbooks[state["runbook"]].title, state["problems"])
        elif "refused" in state:
            text = not_run(self._runbooks[state["runbook"]].title, state["refused"])
        else:
            text = report(self._runbooks[state["runbook"]].title, state["records"])
        return {"log": _logged(Told(text))}

    async def account(self, state: PlannerState) -> str:
        """What a run that was stopped has done so far, by the ledger for the steps in which it was stopped. A step that
        had not begun does not begin any more."""
        runbook = self._runbooks.get(state.get("runbook") or "")
        if runbook is None or not state.get("plan"):
            return "Nothing was done."
        results = state.get("results", {})
        ended = [results[call["step_id"]] for call in state["calls"] if call["step_id"] in results]
        cut = [call for call in state["calls"] if call["step_id"] not in results]
        stopped_in = [(call["tool"], await self._settled(call)) for call in cut]
        return report(runbook.title, [*state["records"], *ended], stopped_in=stopped_in)

    async def _settled(self, call: Call) -> str:
        if not TOOLS_BY_NAME[call["tool"]].side_effect:
            return "it changes nothing."
        try:
            entry = await self._desk.ledger.fence(_key(call), call["tool"])
        except StateStoreError:
            return "it may or may not have taken effect: the records of the desk cannot be reached."
        if entry is None:
            return "it had no effect, and will have none."
        if entry.result is None:
            return "it had begun, and may or may not have taken effect."
        return f"it did take effect: {entry.result.get('summary') or 'see the records of the desk.'}"

    async def _foreseen(self, call: Call) -> str:
        try:
            return await TOOLS_BY_NAME[call["tool"]].foresee(self._desk, call["arguments"])
        except ToolError as error:
            return f"as it is, it would fail. {error.message}"

    async def _arguments(self, state: PlannerState, step: Step) -> tuple[dict[str, Any], dict[str, int]]:
        """The step's arguments, from the plan, from what the tools returned, and what then lacks from the model."""
        tool = TOOLS_BY_NAME[step.tool]
        arguments = _known(state, step)
        spent: dict[str, int] = {}
        if missing(arguments, tool.parameters()):
            instructions = COMPLETE.format(tool=tool.name, description=tool.description, reason=step.reason)
            schema = arguments_schema(step.tool)
            found, spent = await self._fill(state, instructions, _told(state, step), "arguments", schema)
            arguments = complete(arguments, tool.parameters(), found)
        return _noted(arguments, step), spent

    def _added(
        self, state: PlannerState, text: str, *, goto: str, more: Mapping[str, Any] | None = None
    ) -> Command[Any]:
        """What somebody added while the run waited becomes part of the case, and the rest is planned anew. Where they
        name another order, it is what the rest is about: what was looked up is looked up again."""
        named, _ = read_request(self._desk, text)
        order = named.get("order_id")
        other = order is not None and order != state["facts"].get("order_id")
        # The text is data: it stands in the case, before what it may correct, and not in the instructions.
        cause = Cause(
            text="While an approval was waited for, somebody added what the case begins with.", look_again=other
        )
        facts = about(state["facts"], order) | named
        update = {"case": f"{text}\n{state['case']}", "facts": facts, "cause": cause, **(more or {})}
        return Command(goto=goto, update=update)

    async def _fill(
        self, state: PlannerState, instructions: str, text: str, name: str, schema: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, int]]:
        """The document, and what the call adds to the state's counters.

        Raises:
            LimitReached: the run has used up its model calls or tokens.
        """
        if state.get("model_calls", 0) >= self._settings.max_model_calls:
            text = f"The run has made {self._settings.max_model_calls} model calls, which is as many as it may."
            raise LimitReached("max_model_calls", text)
        if state.get("tokens", 0) >= self._settings.max_model_tokens:
            text = f"The run has used {state['tokens']} tokens, and {self._settings.max_model_tokens} are allowed."
            raise LimitReached("max_model_tokens", text)
        filled = await self._model.fill(instructions, text, name, schema)
        return filled.document, {"model_calls": 1, "tokens": filled.tokens}


def compile_graph(
    nodes: "Planner | type[Planner]" = Planner, checkpointer: "BaseCheckpointSaver[str] | None" = None
) -> "CompiledStateGraph[PlannerState, None, PlannerState, PlannerState]":
    """The graph over its nodes. The class alone, which works with nothing, is enough to draw it."""
    graph = StateGraph(PlannerState)
    for name in _NODES:
        graph.add_node(name, getattr(nodes, name))
    graph.add_edge(START, "understand")
    graph.add_edge("draft_plan", "check_plan")
    graph.add_edge("ask_approval", "decide")
    graph.add_edge("run_step", "record_steps")
    graph.add_edge("report", END)
    return graph.compile(checkpointer=checkpointer, name="planner")


def _not_as_planned(tool: str, why: str) -> Cause:
    return Cause(text=f"A step did not go as planned:\n{tool}: {why}", look_again=False)


def _skipped(state: PlannerState, step: Step, reason: str) -> dict[str, Any]:
    record = Record(step_id=step.id, tool=step.tool, status="skipped", reason=reason)
    return {"records": [*state["records"], record], "position": state["position"] + 1}


def _beside(plan: Plan, state: PlannerState) -> list[Call]:
    """The calls that may run, or be asked for, beside that of the next step: of the steps right after it that wait for
    nothing that is not done, lack nothing, and can be undone as it can, or cannot, as it cannot."""
    irreversible = plan.steps[state["position"]].irreversible
    behind = {step.id for step in plan.steps[: state["position"]]}
    lost = _lost(plan, state)
    calls = []
    for step in plan.steps[state["position"] + 1 :]:
        arguments = _known(state, step)
        waits = not behind.issuperset(step.depends_on) or _broken(step, lost, plan)
        if waits or step.irreversible != irreversible or missing(arguments, TOOLS_BY_NAME[step.tool].parameters()):
            break
        calls.append(_call(state, step, _noted(arguments, step)))
    return calls


def _known(state: PlannerState, step: Step) -> dict[str, Any]:
    facts = about(state["facts"], step.arguments.get("order_id"))
    return complete(step.arguments, TOOLS_BY_NAME[step.tool].parameters(), for_tool(step.tool, facts, step.arguments))


def _noted(arguments: dict[str, Any], step: Step) -> dict[str, Any]:
    """A record without a word of why is of no use to colleagues."""
    if "note" in arguments and arguments["note"] is None:
        return arguments | {"note": plain_reason(step.tool, step.reason)}
    return arguments


def _failed(state: PlannerState) -> set[str]:
    return {record["step_id"] for record in state["records"] if record["status"] in ("failed", "unknown")}


def _lost(plan: Plan, state: PlannerState) -> set[str]:
    """The steps that failed, or may have, and those that need one of them. A step that was refused, or that nobody said
    the values of, stops none: runbooks name what comes after it too, and the report says what was left out."""
    lost = _failed(state)
    for step in plan.steps:
        if _broken(step, lost, plan):
            lost.add(step.id)
    return lost


def _broken(step: Step, lost: set[str], plan: Plan) -> list[str]:
    return [other for other in step.depends_on if other in lost and _needs(step, other, plan)]


def _needs(step: Step, other: str, plan: Plan) -> bool:
    """Whether a step cannot go on without another one. A failed look-up in the handbook stops nothing."""
    failed = next(one for one in plan.steps if one.id == other)
    return failed.tool != "search_handbook" and step.tool != "search_handbook"


def _told(state: PlannerState, step: Step) -> str:
    """The case, what the tools said about it since, and the texts that follow from that."""
    done = [record["output"]["summary"] for record in state["records"] if record.get("output", {}).get("summary")]
    proposed = [f"{name}: {text}" for name, text in propose(step.tool, step.reason, state["records"]).items()]
    return "\n\n".join(filter(None, [state["case"], "\n".join(done), "\n".join(proposed)]))


def _outcome(record: Record) -> str:
    said = record.get("output", {}).get("summary") or record.get("reason") or "done"
    return f"- {record['tool']} ({record['status']}): {said}"


def _call(state: PlannerState, step: Step, arguments: dict[str, Any]) -> Call:
    return Call(thread_id=state["thread_id"], step_id=step.id, tool=step.tool, arguments=arguments)


def _key(call: Call) -> str:
    """The idempotency key of a step: the same whenever its call is made again."""
    return f"{call['thread_id']}:{call['step_id']}"


def _call_id(call: Call) -> str:
    return f"call_{call['step_id']}_{call['thread_id'][-12:]}"


def _started(call: Call) -> list[dict[str, Any]]:
    return _logged(StepStarted(_call_id(call), call["tool"], call["arguments"]))


def _logged(entry: Progress) -> list[dict[str, Any]]:
    return [to_json(entry)]
