"""No agent sessions: everything that a turn needs of the earlier ones is in the stored responses.

The host saves a session of the framework after each turn and wants it back for the next. With the transcript from the
response store it holds nothing, yet its local store is one file that is rewritten each time, and turns in parallel on
one conversation fail on it. An unknown `previous_response_id` is refused by the response store before this is asked.
Tools or context providers that keep state in the session need a real store here.
"""

from typing import Any

from agent_framework import AgentSession


class NoSessions:
    """The methods of the framework's `SessionStore`."""

    async def get(self, session_id: str) -> AgentSession | None:
        return AgentSession()

    async def set(self, session_id: str, session: AgentSession) -> None:
        return None

    async def delete(self, session_id: str) -> None:
        return None


class NoSessionsProvider:
    """What the host takes as `agent_session_store_provider`."""

    def get_store(self, *, config: Any, platform_context: Any) -> NoSessions:
        return NoSessions()
