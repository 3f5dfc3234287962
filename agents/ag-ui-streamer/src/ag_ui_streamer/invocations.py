"""AG-UI over the Invocations protocol: `POST /invocations` starts a run and streams its events, cancel stops it."""

import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from typing import Any

from agent_runtime.hosting.errors import BadRequest, error_response
from agent_runtime.interruptible import Stopped, until
from agent_runtime.model_errors import ModelError
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ag_ui_streamer.active_runs import ActiveRuns, ThreadBusy
from ag_ui_streamer.agent import Assistant, AssistantError
from ag_ui_streamer.agui_input import RunRequest, read_run_request
from ag_ui_streamer.emitter import RunEmitter

logger = logging.getLogger(__name__)

_STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

EXAMPLE: dict[str, Any] = {
    "threadId": "thread-1",
    "runId": "run-1",
    "messages": [{"id": "message-1", "role": "user", "content": "How long can a customer return unworn boots?"}],
    "tools": [],
    "context": [],
    "state": {},
    "forwardedProps": {},
}


def register_invocations(host: InvocationAgentServerHost, assistant: Assistant) -> None:
    """Register AG-UI on `host`, which may speak other protocols too."""
    runs = ActiveRuns()

    @host.invoke_handler
    async def invoke(request: Request) -> Response:
        raw = await request.body()
        try:
            wanted = read_run_request(raw, request.headers.get("content-type", ""), request.state.session_id)
        except BadRequest as error:
            return error_response(error.code, error.message, error.status, param=error.param)
        held = ExitStack()
        try:
            stop = held.enter_context(runs.run(request.state.user_id, wanted.thread_id, request.state.invocation_id))
        except ThreadBusy:
            message = "A run of this thread is in progress. Wait for its end, or cancel it."
            return error_response("thread_busy", message, 409)
        events = _events(assistant, wanted, stop, held)
        return StreamingResponse(events, media_type="text/event-stream", headers=_STREAM_HEADERS)

    @host.cancel_invocation_handler
    async def cancel(request: Request) -> Response:
        invocation_id = request.state.invocation_id
        if not runs.stop(request.state.user_id, invocation_id):
            return error_response("not_found", "No run in progress has this invocation id.", 404)
        return JSONResponse({"invocation_id": invocation_id, "status": "cancelling"})


async def _events(assistant: Assistant, wanted: RunRequest, stop: Any, held: ExitStack) -> AsyncIterator[bytes]:
    """The run's events. Whatever happens, the last one is terminal: a stream that just stops looks like success."""
    emitter = RunEmitter(wanted.thread_id, wanted.run_id)
    with held:
        yield emitter.start()
        try:
            progress = until(assistant.run(wanted.conversation, page_tools=wanted.page_tools), stop)
            async with aclosing(progress):  # type: ignore[type-var]
                async for happened in progress:
                    if frames := emitter.progress(happened):
                        yield frames
            last = emitter.fail("internal_error", "The run ended without a result.")
        except Stopped:
            last = emitter.cancelled()
        except (ModelError, AssistantError) as error:
            logger.warning("run failed: %s", error.code)
            last = emitter.fail(error.code, error.message)
        except Exception:
            logger.exception("run failed")
            last = emitter.fail("internal_error", "Something went wrong in the agent. Try again.")
        if last:
            yield last


def openapi_document() -> dict[str, Any]:
    """What `GET /invocations/docs/openapi.json` serves. Without `$ref`: azd reads the example only so."""
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            }
        },
    }

    def refused(description: str) -> dict[str, Any]:
        return {"description": description, "content": {"application/json": {"schema": error}}}

    run_input = {
        "type": "object",
        "required": ["threadId", "runId", "messages"],
        "properties": {
            "threadId": {"type": "string", "minLength": 1, "maxLength": 256},
            "runId": {"type": "string", "minLength": 1, "maxLength": 256},
            "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            "tools": {"type": "array", "items": {"type": "object"}},
            "context": {"type": "array", "items": {"type": "object"}},
            "state": {},
            "forwardedProps": {},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ag-ui-streamer",
            "version": "1.0.0",
            "description": "AG-UI 1.0 over the Invocations protocol.",
        },
        "paths": {
            "/invocations": {
                "post": {
                    "operationId": "run",
                    "summary": "Start a run and stream its events",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": run_input, "example": EXAMPLE},
                            "text/plain": {"schema": {"type": "string", "minLength": 1}},
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "AG-UI events; the last is RUN_FINISHED or RUN_ERROR.",
                            "content": {"text/event-stream": {"schema": {"type": "string"}}},
                        },
                        "400": refused("The body is no valid RunAgentInput."),
                        "409": refused("A run of this thread is in progress."),
                        "413": refused("The body is too large."),
                        "503": refused("Too many requests at once."),
                    },
                }
            },
            "/invocations/{invocation_id}/cancel": {
                "post": {
                    "operationId": "cancel",
                    "summary": "Stop a run; its stream ends with the outcome `cancelled`",
                    "parameters": [
                        {"name": "invocation_id", "in": "path", "required": True, "schema": {"type": "string"}}
                    ],
                    "responses": {
                        "200": {"description": "The run is stopping."},
                        "404": refused("No run in progress has this id."),
                    },
                }
            },
        },
    }
