"""Long jobs are handed over to langgraph-planner, through its Responses endpoint. Its plan, the progress of it and what
it asks come back; what it asks becomes a question of this agent's run.

The planner's run is a background response: where the connection breaks, it is read on. It does each step once, also
when the same answer arrives twice, so that an answer may be given again after a restart.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import httpx2
from agent_runtime.agent_client import create_agent_client
from agent_runtime.model_client import is_loopback
from support_desk.errors import ToolError

from ag_ui_streamer.progress import ActivityChanged, Progress, Question, StateChanged

if TYPE_CHECKING:
    from openai import AsyncOpenAI

HAND_OVER = "hand_over_to_planner"
DESCRIPTION = (
    "Hand a whole case over to the planner, which finds the runbook, makes a plan of several steps, carries it out and"
    " reports. For cases that need several actions, such as a return label, a refund and a reply; not for a question or"
    " a single refund. The user approves what cannot be undone."
)
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "goal": {"type": "string", "minLength": 1, "maxLength": 4000, "description": "The whole case, with its order"}
    },
    "required": ["goal"],
    "additionalProperties": False,
}
_ANSWER = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean", "title": "Approve"},
        "reason": {"type": "string", "title": "Why it is rejected", "maxLength": 1000},
    },
    "required": ["approved"],
    "additionalProperties": False,
}
_MOST_RECONNECTS = 6
_CANCEL_SECONDS = 5.0
_UNAVAILABLE = "The planner cannot be reached now. What it had begun may be going on."

logger = logging.getLogger(__name__)

Step = dict[str, str]
"""`id`, `tool`, `title` and `status`: waiting, working, approval, done or failed."""


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """The steps of the plan, all of them."""

    steps: list[Step]

    def shown(self) -> list[Step]:
        return [{"title": step["title"], "status": step["status"]} for step in self.steps]


@dataclass(frozen=True, slots=True)
class PlanEnded:
    """The last thing of a plan that needs nobody any more: the output of the call that handed it over."""

    output: dict[str, Any]


@dataclass(slots=True)
class _Heard:
    """What a response of the planner has said so far."""

    steps: list[Step]
    response_id: str = ""
    last: int = -1
    """Number of the event that was read last."""
    working: dict[str, int] = field(default_factory=dict)
    """The step of each call."""
    text: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""
    error: str = ""

    def has_ended(self) -> bool:
        return bool(self.status)

    def take(self, event: Mapping[str, Any]) -> bool:
        """Note one event of the stream; True where the plan looks different from before."""
        self.last = max(self.last, event.get("sequence_number", -1))
        kind, item = event.get("type", ""), event.get("item") or {}
        if response := event.get("response"):
            self.response_id = response["id"]
            if kind in {"response.completed", "response.failed", "response.incomplete", "response.cancelled"}:
                self.status = kind.removeprefix("response.")
                self.error = ((response.get("error") or {}).get("message")) or ""
            return False
        if kind == "response.output_item.added" and item.get("type") == "function_call":
            return self._begin(item)
        if kind != "response.output_item.done":
            return False
        match item.get("type"):
            case "structured_outputs":
                self._plan(item["output"]["steps"])
                return True
            case "function_call_output":
                return self._end(item)
            case "mcp_approval_request":
                self.requests.append(dict(item))
                return self._mark(item["name"], "approval")
            case "message":
                self.text = "".join(part.get("text", "") for part in item["content"])
        return False

    def _plan(self, steps: list[dict[str, Any]]) -> None:
        """A plan that is made anew begins with the steps that are behind it."""
        before = {step["id"]: step["status"] for step in self.steps if step["status"] in {"done", "failed"}}
        self.steps = [
            {
                "id": step["id"],
                "tool": step["tool"],
                "title": _title(step["tool"]),
                "status": before.get(step["id"], "waiting"),
            }
            for step in steps
        ]

    def _begin(self, call: Mapping[str, Any]) -> bool:
        for number, step in enumerate(self.steps):
            if step["tool"] == call["name"] and step["status"] in {"waiting", "approval"}:
                self.working[call["call_id"]] = number
                step["status"] = "working"
                return True
        return False

    def _end(self, item: Mapping[str, Any]) -> bool:
        number = self.working.pop(item["call_id"], None)
        if number is None:
            return False
        try:
            failed = "error" in json.loads(item["output"])
        except ValueError:
            failed = True
        self.steps[number]["status"] = "failed" if failed else "done"
        return True

    def _mark(self, tool: str, status: str) -> bool:
        for step in self.steps:
            if step["tool"] == tool and step["status"] == "waiting":
                step["status"] = status
                return True
        return False


class Planner:
    """langgraph-planner at `endpoint`. Keeps nothing: what it must know again is in the question's arguments."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    @cached_property
    def _client(self) -> "AsyncOpenAI":
        return create_agent_client(self._endpoint)

    async def aclose(self) -> None:
        if "_client" in self.__dict__:  # made with the first hand-over
            await self._client.close()

    async def hand_over(
        self, user: str, call_id: str, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[PlanChanged | Question | PlanEnded, None]:
        """Have a case planned and carried out. The last thing is a question, or what the call returns.

        Raises:
            ToolError: the arguments are not usable, or the planner cannot be reached.
        """
        goal = arguments.get("goal")
        if not isinstance(goal, str) or not goal.strip() or len(goal) > PARAMETERS["properties"]["goal"]["maxLength"]:
            raise ToolError("invalid_arguments", "goal: must be the case in words, of at most 4000 characters.")
        async with aclosing(self._run(user, call_id, _Heard([]), {"input": goal})) as happening:
            async for happened in happening:
                yield happened

    async def go_on(
        self, user: str, question: Question, *, approved: bool, reason: str | None
    ) -> AsyncGenerator[PlanChanged | Question | PlanEnded, None]:
        """Bring the planner an answer, and follow what it does then. The last thing is as of `hand_over`.

        Raises:
            ToolError: the planner cannot be reached; the same answer may be brought again.
        """
        asked = question.arguments
        answer = {"type": "mcp_approval_response", "approval_request_id": asked["request_id"], "approve": approved}
        if reason:
            answer["reason"] = reason
        begun = {"input": [answer], "previous_response_id": asked["response_id"]}
        heard = _Heard(deepcopy(asked["steps"]))
        async with aclosing(self._run(user, question.call_id, heard, begun)) as happening:
            async for happened in happening:
                yield happened

    async def _run(
        self, user: str, call_id: str, heard: _Heard, begun: dict[str, Any]
    ) -> AsyncGenerator[PlanChanged | Question | PlanEnded, None]:
        try:
            async with aclosing(self._events(user, heard, begun)) as events:
                async for event in events:
                    if heard.take(event):
                        yield PlanChanged(deepcopy(heard.steps))
        except BaseException:
            # The reader stopped, or it failed in the middle: nobody would hear what the planner goes on to do.
            await self._cancel(user, heard)
            raise
        if heard.status == "completed" and heard.requests:
            yield _question(call_id, heard)
        elif heard.status == "failed":
            yield PlanEnded(ToolError("plan_failed", heard.error or "The planner failed.").as_output())
        else:
            yield PlanEnded({"status": heard.status, "report": heard.text})

    async def _events(self, user: str, heard: _Heard, begun: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one response, each once, over as many connections as it takes."""
        import openai  # noqa: PLC0415 - there with the client, which is made late

        headers = self._headers(user)
        responses = cast(Any, self._client.responses)
        lost = 0
        while not heard.has_ended():
            try:
                if heard.response_id:
                    stream = await responses.retrieve(
                        heard.response_id, stream=True, starting_after=heard.last, extra_headers=headers
                    )
                else:
                    stream = await responses.create(
                        model="any", stream=True, background=True, store=True, extra_headers=headers, **begun
                    )
                async with stream:
                    async for event in stream:
                        lost = 0
                        yield event.to_dict(mode="json", warnings=False)
                problem: Exception = openai.APIConnectionError(request=cast(Any, None))
            except openai.APIStatusError as error:
                if error.status_code < 500:
                    raise ToolError("plan_refused", _refusal(error)) from None
                problem = error
            except (openai.APIError, httpx2.HTTPError) as error:
                problem = error
            if heard.has_ended():
                return
            lost += 1
            # A request that may have begun a run is not sent again.
            if not heard.response_id or lost > _MOST_RECONNECTS:
                logger.warning("the planner cannot be reached: %s", type(problem).__name__)
                raise ToolError("planner_unavailable", _UNAVAILABLE)
            await asyncio.sleep(0.25 * 2**lost)

    async def _cancel(self, user: str, heard: _Heard) -> None:
        if not heard.response_id or heard.has_ended():
            return
        try:
            cancelling = self._client.responses.cancel(heard.response_id, extra_headers=self._headers(user))
            await asyncio.wait_for(cancelling, _CANCEL_SECONDS)
        except Exception:  # noqa: BLE001 - what ended the run is told, not this
            logger.warning("a plan goes on that nobody follows: it could not be cancelled")

    def _headers(self, user: str) -> dict[str, str]:
        """Who asks. The platform says so itself; on one machine nothing does."""
        return {"x-agent-user-id": user} if user and is_loopback(self._endpoint) else {}


def as_progress(state: Mapping[str, Any], activity_id: str, changed: PlanChanged) -> list[Progress]:
    """The plan in the state that the page shows, and as a card of progress in the conversation."""
    steps = changed.shown()
    done = sum(step["status"] == "done" for step in steps)
    card = {"title": "The planner carries out a plan", "done": done, "of": len(steps)}
    return [StateChanged({**state, "plan": steps}), ActivityChanged(activity_id, "PLAN", card)]


def _question(call_id: str, heard: _Heard) -> Question:
    """About the first of what the planner asks; it asks for the others again after the answer."""
    request = heard.requests[0]
    try:
        given = json.loads(request["arguments"])
    except ValueError:
        given = {}
    details = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items() if value is not None)
    details = details.rstrip(". ")
    return Question(
        interrupt_id=f"int_{uuid4().hex}",
        reason="approval_required",
        message=f"{_title(request['name'])}: {details}. It cannot be undone. Go on with the plan?",
        call_id=call_id,
        tool=HAND_OVER,
        response_schema=_ANSWER,
        expires_at=request.get("expires_at") or "",
        arguments={"response_id": heard.response_id, "request_id": request["id"], "steps": heard.steps},
    )


def _title(tool: str) -> str:
    return tool.replace("_", " ").capitalize()


def _refusal(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or f"The planner refused the request with HTTP {error.status_code}.")
