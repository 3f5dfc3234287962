"""Has langgraph-planner carry out cases: the real agent on a loopback port, the official client, the desk's ledger.

The agent runs in this process, so that a case can have tools that fail or say something else. Each case is a user of
its own: by that, a tool's call is known to be the case's, and users are told apart as the platform does.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_runtime.settings import load_settings
from agent_runtime.testing import serve
from langgraph_planner.app import build_app
from langgraph_planner.output_items import INTERRUPT_CALL
from langgraph_planner.settings import PlannerSettings
from openai import AsyncOpenAI, OpenAIError
from openai.types.responses import Response
from pydantic import BaseModel, ValidationError
from support_desk.desk import Desk, open_desk
from support_desk.desk_tools import TOOLS_BY_NAME, DeskTool, ToolError
from support_desk.ledger import LedgerEntry
from support_desk.money import as_json
from support_desk.passages import HandbookPassages

from repo_tools.evaluation.asking import ANSWER_SECONDS, Progress
from repo_tools.evaluation.planner_cases import Fault, Ready

if TYPE_CHECKING:
    import httpx2

USER_HEADER = "x-agent-user-id"
MOST_ANSWERS = 12
"""Approvals that one case may ask for. A run that asks for more goes round in circles."""
_MESSAGES = {
    "desk_unavailable": "The desk's records cannot be reached at this moment. Repeat this call later; it will not act"
    " twice.",
    "handbook_unavailable": "The handbook cannot be searched here. Say so; do not guess.",
    "label_exists": "The article has return label RL-0000000000 already.",
}
"""As the desk words them (`desk_tools`, `desk`, `returns`)."""

_case: ContextVar[str] = ContextVar("case", default="")


@dataclass(slots=True)
class Call:
    """A step that was made, or that was asked for and refused."""

    tool: str
    arguments: dict[str, Any]
    state: str
    """done, failed, or rejected."""
    said: str = ""
    """The error, where there is one."""


@dataclass(frozen=True, slots=True)
class Approval:
    tool: str
    arguments: dict[str, Any]
    granted: bool


@dataclass(slots=True)
class Carried:
    """What the agent did about one case."""

    plans: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    """In order, those that were answered too."""
    waits: bool = False
    """Whether the last thing is a question."""
    text: str = ""
    status: str = ""
    unapproved: list[str] = field(default_factory=list)
    """What is in the ledger, cannot be undone, and was not approved."""
    milliseconds: float = 0.0
    error: str = ""


class _User:
    """ASGI: whose request it is, for the tools that the request leads to."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers") or ())
        _case.set(headers.get(USER_HEADER.encode(), b"").decode())
        await self._app(scope, receive, send)


@dataclass(slots=True)
class _Watch:
    """Which case each call is of, and the faults that are still due."""

    faults: Mapping[str, Mapping[str, Fault]]
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    case_of: dict[str, str] = field(default_factory=dict)
    """By idempotency key."""

    def fault(self, tool: str, key: str) -> Fault | None:
        case = _case.get()
        self.case_of[key] = case
        fault = self.faults.get(case, {}).get(tool)
        if fault is None:
            return None
        self.left[case, tool] += 1
        return None if fault.fails and self.left[case, tool] > fault.times else fault


@dataclass(frozen=True)
class _WatchedTool(DeskTool):
    watch: _Watch | None = None

    async def call(self, desk: Desk, arguments: dict[str, Any], *, idempotency_key: str) -> BaseModel:
        fault = self.watch.fault(self.name, idempotency_key) if self.watch else None
        if fault and fault.fails:
            raise ToolError(fault.fails, _MESSAGES[fault.fails])
        # The class is named because a dataclass with slots elsewhere may not have the cell of a bare super().
        result = await DeskTool.call(self, desk, arguments, idempotency_key=idempotency_key)
        return _saying(result, fault.says) if fault else result


def _saying(result: BaseModel, words: str) -> BaseModel:
    if isinstance(result, HandbookPassages):
        first, *rest = result.passages
        return result.model_copy(
            update={"passages": (first.model_copy(update={"text": f"{words} {first.text}"}), *rest)}
        )
    return result.model_copy(update={"summary": f"{getattr(result, 'summary', '')} {words}".strip()})


@contextlib.contextmanager
def _watched(watch: _Watch) -> Iterator[None]:
    """The desk's tools, each of whose calls `watch` sees first."""
    real = dict(TOOLS_BY_NAME)
    names = [one.name for one in dataclasses.fields(DeskTool)]
    TOOLS_BY_NAME.update(
        {name: _WatchedTool(**{one: getattr(tool, one) for one in names}, watch=watch) for name, tool in real.items()}
    )
    try:
        yield
    finally:
        TOOLS_BY_NAME.update(real)


@contextlib.contextmanager
def _state_root(folder: Path) -> Iterator[None]:
    before = os.environ.get("AGENTSERVER_STATE_ROOT")
    os.environ["AGENTSERVER_STATE_ROOT"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["AGENTSERVER_STATE_ROOT"]
        else:
            os.environ["AGENTSERVER_STATE_ROOT"] = before


async def carry_out(
    cases: Sequence[Ready], at_once: int, *, transport: "httpx2.AsyncBaseTransport | None" = None
) -> list[Carried]:
    """What the agent does about each case, in order, on a desk of their own. `transport` replaces the network below the
    model client, for tests.

    Raises:
        RuntimeError: the agent did not start.
    """
    watch = _Watch({ready.case.id: ready.case.tools for ready in cases})
    progress = Progress("carried out", len(cases))
    places = asyncio.Semaphore(at_once)
    with tempfile.TemporaryDirectory(prefix="evaluation-") as folder, _state_root(Path(folder)), _watched(watch):
        settings = load_settings(PlannerSettings)

        async def one(client: AsyncOpenAI, ready: Ready) -> Carried:
            async with places:
                carried = await _converse(client, ready)
            progress.step()
            return carried

        async with (
            serve(_User(build_app(settings, transport=transport))) as url,
            AsyncOpenAI(base_url=url, api_key="unused", max_retries=0, timeout=ANSWER_SECONDS) as client,
        ):
            done = await asyncio.gather(*(one(client, ready) for ready in cases))
        effects = [entry async for entry in _ledger(settings) if TOOLS_BY_NAME[entry.tool].irreversible]
    for ready, carried in zip(cases, done, strict=True):
        own = [entry for entry in effects if watch.case_of[entry.idempotency_key] == ready.case.id]
        carried.unapproved = unapproved(own, carried.approvals)
    return done


async def _ledger(settings: PlannerSettings) -> AsyncIterator[LedgerEntry]:
    desk = open_desk(settings)
    try:
        after: str | None = None
        while True:
            page = await desk.ledger.entries(after=after)
            for entry in page.entries:
                yield entry
            after = page.after
            if after is None:
                return
    finally:
        await desk.close()


def unapproved(effects: Sequence[LedgerEntry], approvals: Sequence[Approval]) -> list[str]:
    """The effects that nobody approved as they are: one approval is good for one effect with its arguments."""
    left = [_as_it_is_called(one.tool, one.arguments) for one in approvals if one.granted]
    wrong = []
    for entry in effects:
        if (entry.tool, entry.arguments) in left:
            left.remove((entry.tool, entry.arguments))
        else:
            wrong.append(f"{entry.tool} {json.dumps(entry.arguments, ensure_ascii=False)}")
    return wrong


def _as_it_is_called(tool: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A call as the ledger writes it."""
    model = TOOLS_BY_NAME[tool].input_model
    try:
        return tool, as_json(model.model_validate(dict.fromkeys(model.model_fields) | dict(arguments)))
    except ValidationError:
        return tool, dict(arguments)


async def _converse(client: AsyncOpenAI, ready: Ready) -> Carried:
    """Say the case's turns, and answer what the agent asks in between."""
    carried = Carried()
    start = time.perf_counter()
    previous: str | None = None
    try:
        for number, turn in enumerate(ready.case.turns):
            if number and not ready.case.asks:
                carried = Carried()  # A case of its own, of which only the last is judged.
            previous = await _turn(client, ready, carried, previous, turn)
            if carried.error:
                break
    except OpenAIError as error:
        carried.error = f"{type(error).__name__}: {error}"
    carried.milliseconds = (time.perf_counter() - start) * 1000
    return carried


async def _turn(client: AsyncOpenAI, ready: Ready, carried: Carried, previous: str | None, said: Any) -> str | None:
    for _ in range(MOST_ANSWERS):
        response = await client.responses.create(
            input=said, previous_response_id=previous, extra_headers={USER_HEADER: ready.case.id}
        )
        previous = response.id
        said = _read(response, carried, ready.case.reject)
        if not said:
            return previous
    carried.error = f"the run has asked for {MOST_ANSWERS} approvals"
    return previous


def _read(response: Response, carried: Carried, reject: Mapping[str, str]) -> list[dict[str, Any]]:
    """Add what a response shows. Returns the answers to the approvals it asks for."""
    answers: list[dict[str, Any]] = []
    calls: dict[str, Call] = {}
    carried.waits, carried.text, carried.status = False, response.output_text, str(response.status)
    for one in response.output:
        item = one.model_dump()
        match item["type"]:
            case "structured_outputs":
                carried.plans.append(item["output"])
            case "function_call" if item["name"] == INTERRUPT_CALL:
                asked = json.loads(item["arguments"])
                if asked.get("type") == "question":
                    carried.questions.append(asked["message"])
                    carried.waits = True
            case "function_call":
                calls[item["call_id"]] = Call(item["name"], json.loads(item["arguments"]), "done")
                carried.calls.append(calls[item["call_id"]])
            case "function_call_output":
                _end(calls.get(item["call_id"]), item["output"])
            case "mcp_approval_request":
                answers.append(_decide(item, carried, reject))
    if response.status == "failed":
        carried.error = f"the response failed: {response.error.code if response.error else ''}"
    return answers


def _end(call: Call | None, output: Any) -> None:
    document = json.loads(output)
    if call and isinstance(document, dict) and "error" in document:
        call.state, call.said = "failed", f"{document['error'].get('code')}: {document['error'].get('message')}"


def _decide(item: Mapping[str, Any], carried: Carried, reject: Mapping[str, str]) -> dict[str, Any]:
    tool, arguments = item["name"], json.loads(item["arguments"])
    reason = reject.get(tool)
    carried.approvals.append(Approval(tool, arguments, granted=reason is None))
    if reason is not None:
        carried.calls.append(Call(tool, arguments, "rejected"))
    answer = {"type": "mcp_approval_response", "approval_request_id": item["id"], "approve": reason is None}
    return answer | ({"reason": reason} if reason else {})
