"""One host for both protocols: AG-UI on `/invocations` and the same assistant on `/responses`."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from agent_runtime.hosting import host_options
from agent_runtime.hosting.responses import open_response_store, protect_responses
from agent_runtime.state_store import open_state_store
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from azure.ai.agentserver.responses import ResponsesAgentServerHost, ResponsesServerOptions
from support_desk.desk import open_desk
from support_desk.handbook_index import open_handbook

from ag_ui_streamer.agent import Assistant
from ag_ui_streamer.approvals import Approvals
from ag_ui_streamer.desk_runs import DeskRuns
from ag_ui_streamer.invocations import openapi_document, register_invocations
from ag_ui_streamer.page_routes import page_routes
from ag_ui_streamer.planner import Planner
from ag_ui_streamer.responses import register_responses
from ag_ui_streamer.run_log import RunLog
from ag_ui_streamer.settings import AgUiSettings
from ag_ui_streamer.threads import Threads

if TYPE_CHECKING:
    import httpx2


class AgUiHost(InvocationAgentServerHost, ResponsesAgentServerHost):
    """Both protocols, one `/readiness`, one process."""


def build_app(
    settings: AgUiSettings,
    *,
    transport: "httpx2.AsyncBaseTransport | None" = None,
    now: Callable[[], float] = time.time,
) -> AgUiHost:
    """The agent's host, ready to run. `transport` replaces the network below the model client, and `now` the clock
    by which approvals expire, for tests."""
    store = open_response_store(settings)
    host = AgUiHost(
        openapi_spec=openapi_document(),
        store=store,
        routes=[] if settings.hosted else page_routes(),
        options=ResponsesServerOptions(default_fetch_history_count=settings.max_history_items),
        **host_options(settings),
    )
    desk = open_desk(settings, open_handbook(settings))
    assistant = Assistant(settings, desk, transport=transport)
    kept_for = timedelta(days=settings.thread_days)
    state = open_state_store(settings, "ag-ui-streamer", expires_after=kept_for)
    approvals = Approvals(desk, state, open_for=timedelta(hours=settings.approval_hours), now=now)
    log = RunLog(settings.state_root / "ag-ui-streamer" / "runs.sqlite", kept_for=kept_for)
    planner = Planner(settings.planner_endpoint) if settings.planner_endpoint else None
    register_invocations(host, DeskRuns(assistant, approvals, planner, Threads(state), log))
    register_responses(host, assistant)
    protect_responses(host, settings, store=store)
    return host
