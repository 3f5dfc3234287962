"""The agent put together: the index of the handbook, the brain, and the host that serves it."""

import logging
from typing import TYPE_CHECKING

from agent_runtime.hosting import host_options
from agent_runtime.hosting.responses import open_response_store, protect_responses
from agent_runtime.retrieval import open_retriever
from azure.ai.agentserver.responses import ResponsesServerOptions

from rag_chat.agent import HandbookAgent
from rag_chat.caller_options import allowed_options, check_question
from rag_chat.documents import folders
from rag_chat.host import RagChatHost
from rag_chat.sessions import NoSessionsProvider
from rag_chat.settings import RagChatSettings

if TYPE_CHECKING:
    import httpx2


def build_app(settings: RagChatSettings, *, transport: "httpx2.AsyncBaseTransport | None" = None) -> RagChatHost:
    """The agent's host, ready to run. `transport` replaces the network below the model client, for tests."""
    if settings.log_level == "info":
        logging.getLogger("agent_framework").setLevel(logging.WARNING)  # three lines for each call of a tool
    index = settings.state_directory / "passages.sqlite"
    retriever = open_retriever(settings, index, folders(settings))
    agent = HandbookAgent(settings, retriever, transport=transport)
    store = open_response_store(settings)
    host = RagChatHost(
        agent.create,
        model=settings.model,
        options=ResponsesServerOptions(default_fetch_history_count=settings.history_items),
        response_store=store,
        agent_session_store_provider=NoSessionsProvider(),
        prepare_options=allowed_options(settings.max_output_tokens),
        **host_options(settings),
    )

    async def close() -> None:
        await agent.aclose()
        await retriever.aclose()

    host.shutdown_handler(close)
    protect_responses(host, settings, store=store, request_rules={("POST", "/responses"): check_question})
    return host
