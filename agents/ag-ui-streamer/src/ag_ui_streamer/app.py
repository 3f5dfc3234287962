"""One host for both protocols: AG-UI on `/invocations` and the same assistant on `/responses`."""

from typing import TYPE_CHECKING

from agent_runtime.hosting import host_options
from agent_runtime.hosting.responses import open_response_store, protect_responses
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from azure.ai.agentserver.responses import ResponsesAgentServerHost, ResponsesServerOptions
from support_desk.desk import open_desk
from support_desk.handbook_index import open_handbook

from ag_ui_streamer.agent import Assistant
from ag_ui_streamer.invocations import openapi_document, register_invocations
from ag_ui_streamer.responses import register_responses
from ag_ui_streamer.settings import AgUiSettings

if TYPE_CHECKING:
    import httpx2


class AgUiHost(InvocationAgentServerHost, ResponsesAgentServerHost):
    """Both protocols, one `/readiness`, one process."""


def build_app(settings: AgUiSettings, *, transport: "httpx2.AsyncBaseTransport | None" = None) -> AgUiHost:
    """The agent's host, ready to run. `transport` replaces the network below the model client, for tests."""
    store = open_response_store(settings)
    host = AgUiHost(
        openapi_spec=openapi_document(),
        store=store,
        options=ResponsesServerOptions(default_fetch_history_count=settings.max_history_items),
        **host_options(settings),
    )
    assistant = Assistant(settings, open_desk(settings, open_handbook(settings)), transport=transport)
    register_invocations(host, assistant)
    register_responses(host, assistant)
    protect_responses(host, settings, store=store)
    return host
