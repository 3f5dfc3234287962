"""The Responses protocol: a new case starts a run, an answer to an approval resumes one; every way to end is told."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from agent_runtime.interruptible import Stopped, until
from agent_runtime.model_errors import ModelError
from agent_runtime.state_store import StateStoreError
from azure.ai.agentserver.responses import ResponseContext, ResponseEventStream, ResponsesAgentServerHost

from langgraph_planner.approvals import Approvals, UnknownApproval, read_case, read_decisions
from langgraph_planner.output_items import OutputItems
from langgraph_planner.progress import ApprovalNeeded, Progress
from langgraph_planner.runs import Runs

logger = logging.getLogger(__name__)


def register_planner(host: ResponsesAgentServerHost, runs: Runs, approvals: Approvals, *, most_seconds: float) -> None:
    """Register the planner as the response handler of `host`."""

    @host.response_handler
    async def respond(
        request: Mapping[str, Any], context: ResponseContext, cancellation_signal: asyncio.Event
    ) -> AsyncIterator[Any]:
        stream = ResponseEventStream(response_id=context.response_id, request=request)
        yield stream.emit_created()
        yield stream.emit_in_progress()
        items = OutputItems(stream)
        user = context.platform_context.user_id_key or ""
        too_late = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(most_seconds, too_late.set)
        try:
            thread_id, progress = await _turn(context, runs, approvals, user)
            stopping = (cancellation_signal, context.shutdown, too_late)
            async with aclosing(until(progress, *stopping)) as happening:  # type: ignore[type-var]
                async for happened in happening:
                    events = list(items.write(happened))
                    if isinstance(happened, ApprovalNeeded):
                        # Before anybody sees the request: an answer may come at once.
                        ids = (happened.interrupt_id, items.approval_id)
                        await approvals.remember(
                            ids, thread_id=thread_id, interrupt_id=happened.interrupt_id, user=user
                        )
                    for event in events:
                        yield event
        except Stopped:
            if cancellation_signal.is_set() and not context.shutdown.is_set():
                return  # The host ends a cancelled response itself.
            if too_late.is_set():
                yield stream.emit_incomplete(reason="max_run_seconds")
            else:
                message = "The agent was stopped before the run had ended. Ask again; what was done is not done twice."
                yield stream.emit_failed(code="server_shutdown", message=message)
            return
        except UnknownApproval:
            message = "No approval of this id waits for your answer. Answer with the id of an approval request."
            yield stream.emit_failed(code="unknown_approval", message=message)
            return
        except ModelError as error:
            logger.warning("response failed: %s", error.code)
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
        yield stream.emit_completed()


async def _turn(
    context: ResponseContext, runs: Runs, approvals: Approvals, user: str
) -> tuple[str, AsyncIterator[Progress]]:
    """The thread of this turn, and what happens in it."""
    given = await context.get_input_items()
    if decisions := read_decisions(given):
        thread_id, answers = await approvals.resolve(decisions, user)
        return thread_id, runs.resume(thread_id, answers)
    # A new case is a new thread: its steps must not be taken for those of an earlier one.
    return context.response_id, runs.start(read_case(given), context.response_id)
