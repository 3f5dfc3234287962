"""AG-UI over the Invocations protocol: `POST /invocations` starts a run and streams its events, `GET` replays them and
goes on live, cancel stops the run. `GET /invocations/threads` lists the caller's threads."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

from agent_runtime.hosting.errors import BadRequest, error_response
from agent_runtime.state_store import StateStoreError
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ag_ui_streamer.agui_input import read_run_request
from ag_ui_streamer.desk_runs import DeskRuns
from ag_ui_streamer.emitter import as_interrupt
from ag_ui_streamer.live_runs import ThreadBusy
from ag_ui_streamer.progress import Question

logger = logging.getLogger(__name__)

THREADS = "threads"
"""In the place of an invocation id: the protocol has no other path for what is read."""
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


def register_invocations(host: InvocationAgentServerHost, runs: DeskRuns) -> None:
    """Register AG-UI on `host`, which may speak other protocols too."""

    @host.invoke_handler
    async def invoke(request: Request) -> Response:
        raw = await request.body()
        try:
            wanted = read_run_request(raw, request.headers.get("content-type", ""), request.state.session_id)
            events = await runs.begin(_user(request), wanted, request.state.invocation_id)
        except BadRequest as error:
            return error.response()
        except ThreadBusy:
            message = "A run of this thread is in progress. Wait for its end, or cancel it."
            return error_response("thread_busy", message, 409)
        except (StateStoreError, sqlite3.Error):
            return _unavailable()
        return _stream(events)

    @host.get_invocation_handler
    async def get(request: Request) -> Response:
        user, wanted = _user(request), request.state.invocation_id
        try:
            if wanted == THREADS:
                return JSONResponse(await _threads(runs, user, request.query_params.get("id")))
            after = _cursor(request.query_params.get("after", "0"))
            events = await runs.read(user, wanted, after)
        except BadRequest as error:
            return error.response()
        except (StateStoreError, sqlite3.Error):
            return _unavailable()
        if events is None:
            return error_response("not_found", "No run of yours has this id.", 404)
        return _stream(events)

    @host.cancel_invocation_handler
    async def cancel(request: Request) -> Response:
        run = runs.live.get(_user(request), request.state.invocation_id)
        if run is None:
            return error_response("not_found", "No run in progress has this id.", 404)
        await run.stop()
        return JSONResponse({"invocation_id": run.invocation_id, "run_id": run.run_id, "status": "cancelled"})

    @host.shutdown_handler
    async def shut_down() -> None:
        await runs.close()


async def _threads(runs: DeskRuns, user: str, thread_id: str | None) -> dict[str, Any]:
    if thread_id is None:
        return {
            "threads": [
                {"id": one.thread_id, "title": one.title, "updated": one.updated} for one in await runs.threads(user)
            ]
        }
    thread, run_id = await runs.thread(user, thread_id)
    if not thread.messages:
        raise BadRequest("not_found", "No thread of yours has this id.", status=404)
    return {
        "id": thread.thread_id,
        "title": thread.title,
        "updated": thread.updated,
        "messages": thread.messages,
        "state": thread.state,
        "interrupts": [
            as_interrupt(Question(**one)).model_dump(mode="json", by_alias=True, exclude_none=True)
            for one in thread.pending
        ],
        "run": run_id,
    }


def _user(request: Request) -> str:
    return str(request.state.user_id or "")


def _cursor(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest("invalid_cursor", "`after` is the number of the last event that you have.", param="after")
    return int(text)


def _unavailable() -> JSONResponse:
    logger.exception("request failed")
    return error_response("state_unavailable", "The agent's records cannot be reached at this moment. Try again.", 503)


def _stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers=_STREAM_HEADERS)


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
            "messages": {"type": "array", "items": {"type": "object"}},
            "resume": {"type": "array", "items": {"type": "object"}},
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
                        "409": refused("A run of this thread is in progress, or a question of it is not open."),
                        "413": refused("The body is too large."),
                        "503": refused("Too many requests at once."),
                    },
                }
            },
            "/invocations/threads": {
                "get": {
                    "operationId": "threads",
                    "summary": "The caller's threads; with `id`, one of them whole",
                    "parameters": [{"name": "id", "in": "query", "schema": {"type": "string"}}],
                    "responses": {
                        "200": {
                            "description": "Threads, the one that was used last first; or one thread.",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        },
                        "404": refused("The caller has no such thread."),
                    },
                }
            },
            "/invocations/{invocation_id}": {
                "get": {
                    "operationId": "replay",
                    "summary": "The events of a run, from any number on, and live to its end",
                    "parameters": [
                        {"name": "invocation_id", "in": "path", "required": True, "schema": {"type": "string"}},
                        {"name": "after", "in": "query", "schema": {"type": "integer", "minimum": 0}},
                    ],
                    "responses": {
                        "200": {
                            "description": "AG-UI events; the last is RUN_FINISHED or RUN_ERROR.",
                            "content": {"text/event-stream": {"schema": {"type": "string"}}},
                        },
                        "400": refused("`after` is no number."),
                        "404": refused("The caller has no such run."),
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
