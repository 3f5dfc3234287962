"""The agent put together: the desk, the runbooks, the graph with its checkpoints, and the host that serves it."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from agent_runtime.hosting import host_options
from agent_runtime.hosting.responses import open_response_store, protect_responses
from agent_runtime.hosting.responses.cancelled_output import CancelledOutputs
from agent_runtime.settings import SettingsError
from agent_runtime.state_store import open_state_store
from azure.ai.agentserver.responses import ResponsesAgentServerHost, ResponsesServerOptions
from support_desk.desk import open_desk
from support_desk.handbook import HandbookError, load_runbooks
from support_desk.handbook_index import open_handbook

from langgraph_planner.approvals import Approvals
from langgraph_planner.checkpointer import StateStoreSaver
from langgraph_planner.graph import Planner, compile_graph
from langgraph_planner.model_calls import Model
from langgraph_planner.responses import register_planner
from langgraph_planner.runs import Runs
from langgraph_planner.settings import PlannerSettings

if TYPE_CHECKING:
    import httpx2


def build_app(
    settings: PlannerSettings,
    *,
    transport: "httpx2.AsyncBaseTransport | None" = None,
    now: Callable[[], float] = time.time,
) -> ResponsesAgentServerHost:
    """The agent's host, ready to run. `transport` replaces the network below the model client, and `now` the clock
    by which approvals expire, for tests."""
    try:
        runbooks = load_runbooks(settings.handbook_dir)
    except HandbookError as error:
        raise SettingsError(f"HANDBOOK_DIR: {error}") from None
    store = open_response_store(settings)
    options = ResponsesServerOptions(resilient_background=True)
    host = ResponsesAgentServerHost(store=store, options=options, **host_options(settings))
    state = open_state_store(settings, "langgraph-planner", expires_after=timedelta(days=settings.run_days))
    desk = open_desk(settings, open_handbook(settings))
    planner = Planner(Model(settings, transport=transport), desk, runbooks, settings)
    most_seconds = settings.max_run_seconds
    saver = StateStoreSaver(state)
    graph = compile_graph(planner, saver)
    runs = Runs(graph, state, most_seconds=most_seconds, pruned=saver if settings.prune_checkpoints else None)
    cancelled = CancelledOutputs(state)
    approvals = Approvals(state, open_for=timedelta(hours=settings.approval_hours), now=now)
    register_planner(host, planner, runs, approvals, cancelled, most_seconds=most_seconds)
    protect_responses(host, settings, store=store, cancelled=cancelled)
    return host
