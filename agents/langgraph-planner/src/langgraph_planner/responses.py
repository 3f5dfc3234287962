"""The Responses protocol: a new case starts a run, an answer to an approval resumes one; every way to end is told.

A background response survives its process: each item is stored as it is written, and the next process goes on after the
last one, from the run's checkpoint (azure-ai-agentserver-responses, `resilient_background`).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from agent_runtime.hosting.responses.cancelled_output import CancelledOutputs, let_readers_finish
from agent_runtime.hosting.responses.resumption import ended_before, repeat_end, resume_stream
from agent_runtime.interruptible import Stopped, until
from agent_runtime.model_errors import ModelError
from agent_runtime.state_store import StateStoreError
from azure.ai.agentserver.responses import ResponseContext, ResponseEventStream, ResponsesAgentServerHost

from langgraph_planner.approvals import (
    Approvals,
    Decision,
    ExpiredApproval,
    UnknownApproval,
    is_bare_decision,
    last_asked,
    read_case,
    read_decisions,
)
from langgraph_planner.graph import Planner
from langgraph_planner.limits import LimitReached
from langgraph_planner.output_items import OutputItems
from langgraph_planner.progress import ApprovalNeeded, InterruptRaised, Progress, Told, with_expiry
from langgraph_planner.runs import Runs, Turn

logger = logging.getLogger(__name__)

_HOW_TO_DECIDE = (
    "I take an approval only as an answer to its request: an `mcp_approval_response` with its id, or a"
    " `function_call_output` for its call. Nothing was done, and the request stays open."
)


def register_planner(
    host: ResponsesAgentServerHost,
    planner: Planner,
    runs: Runs,
    approvals: Approvals,
    cancelled: CancelledOutputs,
    *,
    most_seconds: float,
) -> None:
    """Register the planner as the response handler of `host`."""

    @host.response_handler
    async def respond(
        request: Mapping[str, Any], context: ResponseContext, cancellation_signal: asyncio.Event
    ) -> AsyncIterator[Any]:
        with cancelled.running(context.response_id):
            async with aclosing(answer(request, context, cancellation_signal)) as events:
                async for event in events:
                    yield event

    async def answer(
        request: Mapping[str, Any], context: ResponseContext, cancellation_signal: asyncio.Event
    ) -> AsyncGenerator[Any, None]:
        stream = _open(request, context)
        shown = len(stream.response["output"])
        ended = ended_before(context)
        if context.is_recovery:
            await resume_stream(context.response_id)
        # Also when the response is taken up again: the host expects both from every handler.
        yield stream.emit_created()
        yield stream.emit_in_progress()
        if ended:
            yield repeat_end(stream, ended)
            return
        items = OutputItems(stream)
        user = context.platform_context.user_id_key or ""
        too_late = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(most_seconds, too_late.set)
        turn: Turn | None = None
        reason = text = ""
        try:
            turn = await _turn(request, context, runs, approvals, user)
            stopping = (cancellation_signal, context.shutdown, too_late)
            async with aclosing(until(runs.follow(turn, after=shown), *stopping)) as happening:  # type: ignore[type-var]
                async for happened in happening:
                    shows = happened
                    if isinstance(happened, InterruptRaised | ApprovalNeeded):
                        # Before the client can see the id.
                        by_request = isinstance(happened, ApprovalNeeded)
                        asked_id = items.id_of_next(happened) if by_request else happened.interrupt_id
                        until_when = await approvals.remember(
                            (asked_id,),
                            thread_id=turn.thread_id,
                            interrupt_id=happened.interrupt_id,
                            user=user,
                        )
                        shows = with_expiry(happened, until_when)
                    for event in items.write(shows):
                        yield event
                    yield stream.checkpoint()
        except Stopped:
            if context.shutdown.is_set() and not context.client_cancelled:
                if request.get("background"):
                    await context.exit_for_recovery()  # The next process goes on; this raises.
                message = (
                    "The agent was stopped before the run had ended. What is shown was done. An approval that is"
                    " answered again has the run go on; a request that is made again begins anew."
                )
                yield stream.emit_failed(code="server_shutdown", message=message)
                return
            if cancellation_signal.is_set():
                if not request.get("background"):
                    return  # A lost connection. Who answers the approval again has the run go on.
                ending = await _closed(planner, runs, turn, "cancelled", "The run was cancelled.", after=items.count)
                events = [event for entry in ending for event in items.write(entry)]
                # Before the next event, after which the host reads no more; it ends the response itself.
                await cancelled.keep(context.response_id, stream.response["output"])
                await let_readers_finish(context.response_id)
                for event in events:
                    yield event
                return
            reason, text = "max_run_seconds", "The run has taken as long as it may."
        except LimitReached as limit:
            reason, text = limit.reason, limit.message
        except InvalidMetadata:
            message = "metadata.plan_only is 'true' or 'false'. Correct it and ask again; nothing was done."
            yield stream.emit_failed(code="invalid_metadata", message=message)
            return
        except UnknownApproval:
            message = "No approval of this id waits for your answer. Answer with the id of an approval request."
            yield stream.emit_failed(code="unknown_approval", message=message)
            return
        except ExpiredApproval:
            message = (
                "This approval was not answered in time, and nothing was done. Say so, to have it asked for again."
            )
            yield stream.emit_failed(code="approval_expired", message=message)
            return
        except ModelError as error:
            logger.warning("response failed: %s", error.code, extra={"error.type": error.code})
            yield stream.emit_failed(code=error.code, message=error.message)
            return
        except StateStoreError:
            logger.exception("response failed")
            message = "The planner's records cannot be reached right now. Try again."
            yield stream.emit_failed(code="state_unavailable", message=message)
            return
        except Exception:
            logger.exception("response failed")
            yield stream.emit_failed(code="server_error", message="Something went wrong in the agent. Try again.")
            return
        finally:
            timer.cancel()
        if reason:
            for entry in await _closed(planner, runs, turn, reason, text, after=items.count):
                for event in items.write(entry):
                    yield event
            yield stream.emit_incomplete(reason=reason)
            return
        if turn is not None and (reason := await runs.reason(turn)):  # closed by the process before this one
            yield stream.emit_incomplete(reason=reason)
            return
        yield stream.emit_completed()


async def _closed(
    planner: Planner, runs: Runs, turn: Turn | None, reason: str, text: str, *, after: int
) -> list[Progress]:
    """What is left to tell of a run that ends here, from entry number `after` on: its log and an account."""
    if turn is None:
        return [Told(f"{text} Nothing was done.")]
    try:
        if await runs.is_driven_by_another(turn):
            return [Told(f"{text} This answer did nothing; the run goes on with the one before it.")]
        done = await planner.account(await runs.values(turn.thread_id))  # type: ignore[arg-type]
        await runs.close(turn, reason, f"{text} {done}")
        return [entry async for entry in runs.follow(turn, after=after)]
    except StateStoreError:
        logger.exception("no account of a run that was stopped")
        unknown = "What was done is in the desk's records; the planner's own cannot be reached right now."
        return [Told(f"{text} {unknown}")]


def _open(request: Mapping[str, Any], context: ResponseContext) -> ResponseEventStream:
    if context.is_recovery and context.persisted_response is not None:
        return ResponseEventStream(response_id=context.response_id, response=context.persisted_response)
    return ResponseEventStream(response_id=context.response_id, request=request)


async def _turn(
    request: Mapping[str, Any], context: ResponseContext, runs: Runs, approvals: Approvals, user: str
) -> Turn:
    if turn := await runs.kept(context.response_id):
        return turn
    given = await context.get_input_items()
    if decisions := read_decisions(given):
        # What came in time still counts when the process died over it.
        thread_id, answers = await approvals.resolve(decisions, user, in_time=context.is_recovery)
        return await runs.answer(context.response_id, thread_id, answers)
    text = read_case(given)
    if asked := last_asked(await context.get_history()):
        asked_id, kind = asked
        answer = Decision(asked_id, {"text" if kind == "question" else "added": text})
        try:
            thread_id, answers = await approvals.resolve([answer], user, in_time=True)
        except UnknownApproval:
            thread_id, answers = "", {}  # It was another user's to answer.
        waiting = await runs.waiting(thread_id) if answers else []
        if asked_id in waiting:
            if kind == "question":
                return await runs.answer(context.response_id, thread_id, answers)
            if is_bare_decision(text):
                return await runs.keep(Turn(context.response_id, thread_id, says=_HOW_TO_DECIDE))
            withdrawn = dict.fromkeys(waiting, answer.value)  # all of them
            return await runs.answer(context.response_id, thread_id, withdrawn)
    # A new case is a new thread: its steps must not be taken for those of an earlier one.
    return await runs.keep(Turn(context.response_id, context.response_id, text, plan_only=_plan_only(request)))


class InvalidMetadata(Exception):
    """The request's metadata ask for something that does not exist."""


def _plan_only(request: Mapping[str, Any]) -> bool:
    asked = (request.get("metadata") or {}).get("plan_only", "false")
    if asked not in ("true", "false"):
        raise InvalidMetadata
    return bool(asked == "true")
