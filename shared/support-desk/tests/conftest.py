"""A desk on a real order book and a real SQLite store, in this test's own folder."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from agent_runtime.settings import load_settings
from pydantic import BaseModel
from support_desk.desk import Desk, open_desk
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.errors import ToolError
from support_desk.settings import SupportDeskSettings

Call = Callable[..., Awaitable[Any]]
Refusal = Callable[..., Awaitable[ToolError]]


@pytest.fixture(autouse=True)
def handbook_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANDBOOK_DIR", raising=False)
    monkeypatch.delenv("HANDBOOK_BASE_URL", raising=False)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = open_desk(load_settings(SupportDeskSettings))
    yield desk
    await desk.close()


@pytest.fixture
def call(desk: Desk) -> Call:
    """`await call("issue_refund", key="k", order_id=…)`; each call without a key has its own."""
    count = 0

    async def call(tool: str, /, key: str | None = None, **arguments: Any) -> BaseModel:
        nonlocal count
        count += 1
        return await TOOLS_BY_NAME[tool].call(desk, arguments, idempotency_key=key or f"call-{count}")

    return call


@pytest.fixture
def refusal(call: Call) -> Refusal:
    """The ToolError that a call ends with."""

    async def refusal(tool: str, /, **arguments: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await call(tool, **arguments)
        return caught.value

    return refusal
