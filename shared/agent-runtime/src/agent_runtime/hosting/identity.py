"""Who is asking: the user id that the platform puts on each request.

In Foundry the platform authenticates the caller and sets the id; a caller cannot. On a laptop nothing does: the header
`x-agent-user-id` is then whatever the caller wrote, good to try out the separation of users and no protection at all.
"""

from azure.ai.agentserver.core import get_request_context


def current_user() -> str | None:
    """The user of the request that is being served; None outside a request, or where nobody said who it is."""
    return get_request_context().user_id or None
