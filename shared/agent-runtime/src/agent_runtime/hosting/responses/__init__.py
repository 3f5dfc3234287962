"""What only a Responses host needs. Importing it needs `azure-ai-agentserver-responses`, which an agent that speaks the
protocol has in its image and the others do not."""

from agent_runtime.hosting.responses.protection import protect_responses
from agent_runtime.hosting.responses.store import LocalResponseStore, open_response_store, user_folder
from agent_runtime.hosting.responses_rules import check_responses_request

__all__ = [
    "LocalResponseStore",
    "check_responses_request",
    "open_response_store",
    "protect_responses",
    "user_folder",
]
