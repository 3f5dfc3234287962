"""Opens the case at the support desk: the one side effect of this agent.

The invocation id is the idempotency key, so that a job which comes again after a crash opens the same case once.
"""

from typing import Any

from agent_runtime.settings import AgentSettings
from support_desk.cases import SupportCase
from support_desk.desk import Desk, open_desk
from support_desk.desk_tools import TOOLS
from support_desk.errors import ToolError

from webhook_extractor.processing import JobFailed

_OPEN_CASE = next(tool for tool in TOOLS if tool.name == "open_case")


class CaseOpening:
    """The desk is opened for the first case."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._desk: Desk | None = None

    async def open(self, case: SupportCase, *, idempotency_key: str) -> dict[str, Any]:
        """The case's file as JSON. Raises `JobFailed` when the desk refuses the case."""
        if self._desk is None:
            self._desk = open_desk(self._settings)
        try:
            opened = await _OPEN_CASE.call(self._desk, case.model_dump(mode="json"), idempotency_key=idempotency_key)
        except ToolError as refusal:
            raise JobFailed(refusal.code, refusal.message, retryable=False) from refusal
        return opened.model_dump(mode="json")

    async def close(self) -> None:
        if self._desk is not None:
            await self._desk.close()
