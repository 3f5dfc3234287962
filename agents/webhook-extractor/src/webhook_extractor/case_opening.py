"""Opens the case at the support desk: the one side effect of this agent.

The invocation id is the idempotency key, so that a job which comes again after a crash opens the same case once. What
is sent to the desk depends on the case and the order book only, never on when it is tried: the desk refuses one key
with two meanings.
"""

import asyncio
from typing import Any

from support_desk.cases import SupportCase
from support_desk.desk import Desk, open_desk
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.errors import ToolError
from support_desk.settings import SupportDeskSettings

from webhook_extractor.processing import JobFailed


class CaseOpening:
    def __init__(self, settings: SupportDeskSettings) -> None:
        self._settings = settings
        self._desk: Desk | None = None
        self._opening_desk = asyncio.Lock()

    async def open(self, case: SupportCase, *, idempotency_key: str) -> tuple[dict[str, Any], bool]:
        """The case's file as JSON, and whether the desk knows the order. A case about an unknown order is opened too:
        a slip in a number is no reason to lose a customer's message.

        Raises:
            JobFailed: the desk refused the case, or cannot be reached.
        """
        desk = await self._get_desk()
        known = case.order_id is None or desk.order_book.order(case.order_id) is not None
        arguments = {
            "category": case.category,
            "summary": case.summary,
            "priority": case.priority,
            "order_id": case.order_id if known else None,
        }
        try:
            opened = await TOOLS_BY_NAME["open_case"].call(desk, arguments, idempotency_key=idempotency_key)
        except ToolError as refusal:
            retryable = refusal.code == "desk_unavailable"
            raise JobFailed(refusal.code, refusal.message, retryable=retryable) from refusal
        case_file: dict[str, Any] = opened.model_dump(mode="json")["case"]
        return case_file, known

    async def close(self) -> None:
        if self._desk is not None:
            await self._desk.close()

    async def _get_desk(self) -> Desk:
        """Opened for the first case, in a thread: the order book is written on a machine's first use."""
        async with self._opening_desk:
            if self._desk is None:
                self._desk = await asyncio.to_thread(open_desk, self._settings)
            return self._desk
