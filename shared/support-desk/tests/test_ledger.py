import asyncio
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from support_desk.desk import Desk
from support_desk.errors import ToolError
from support_desk.ledger import EntryState, derived_id
from support_desk.refunds import refunds_of

Call = Callable[..., Awaitable[Any]]

# NP-10274: delivered, paid in full, nothing refunded yet.
ORDER = "NP-10274"

# A process that makes one refund with a key that all processes share, and four with keys of its own.
PROCESS = """
import asyncio, sys
from agent_runtime.settings import load_settings
from support_desk.desk import open_desk
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.errors import ToolError
from support_desk.settings import SupportDeskSettings

async def main(me, order, amount, currency):
    desk = open_desk(load_settings(SupportDeskSettings))
    tool = TOOLS_BY_NAME["issue_refund"]
    refund = {"order_id": order, "amount": amount, "currency": currency}
    for key in ["shared", *(f"{me}-{number}" for number in range(4))]:
        try:
            await tool.call(desk, refund, idempotency_key=key)
        except ToolError as error:
            assert error.code in ("amount_exceeds_refundable", "nothing_left_to_refund"), error
    await desk.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_same_key_twice_acts_once_and_returns_the_first_result(desk: Desk, call: Call) -> None:
    refund = {"order_id": ORDER, "amount": "10.00", "currency": _currency(desk)}
    first = await call("issue_refund", key="k", **refund)
    second = await call("issue_refund", key="k", **refund)
    assert second == first
    assert len(await refunds_of(desk.store, ORDER)) == 1


async def test_the_same_arguments_written_differently_are_the_same_call(desk: Desk, call: Call) -> None:
    currency = _currency(desk)
    first = await call("issue_refund", key="k", order_id=ORDER, amount="10.00", currency=currency)
    second = await call("issue_refund", key="k", order_id=ORDER.lower(), amount=10, currency=currency, note=None)
    assert second == first


@pytest.mark.parametrize("change", [{"amount": "10.01"}, {"order_id": "NP-10279"}, {"note": "more"}])
async def test_the_same_key_with_other_arguments_is_a_conflict(desk: Desk, call: Call, change: dict[str, str]) -> None:
    refund = {"order_id": ORDER, "amount": "10.00", "currency": _currency(desk)}
    await call("issue_refund", key="k", **refund)
    with pytest.raises(ToolError) as caught:
        await call("issue_refund", key="k", **(refund | change))
    assert caught.value.code == "idempotency_conflict"
    assert len(await refunds_of(desk.store, ORDER)) == 1


async def test_the_same_key_with_another_tool_is_a_conflict(call: Call) -> None:
    await call("open_case", key="k", category="other", summary="A question")
    with pytest.raises(ToolError) as caught:
        await call("create_return_label", key="k", order_id=ORDER)
    assert caught.value.code == "idempotency_conflict"


async def test_fifty_at_once_with_one_key_refund_once(desk: Desk, call: Call) -> None:
    refund = {"order_id": ORDER, "amount": "10.00", "currency": _currency(desk)}
    results = await asyncio.gather(*(call("issue_refund", key="k", **refund) for _ in range(50)))
    assert len({result.model_dump_json() for result in results}) == 1
    assert len(await refunds_of(desk.store, ORDER)) == 1
    page = await desk.ledger.entries()
    assert [entry.state for entry in page.entries] == [EntryState.DONE]


async def test_refunds_at_once_with_different_keys_never_exceed_what_was_paid(desk: Desk, call: Call) -> None:
    order = desk.order(ORDER)
    third = (order.total.amount / 3).quantize(Decimal("0.01")) - Decimal("0.01")
    outcomes = await asyncio.gather(
        *(call("issue_refund", order_id=ORDER, amount=third, currency=order.currency) for _ in range(8)),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) == 5
    assert {error.code for error in refused if isinstance(error, ToolError)} == {"amount_exceeds_refundable"}
    assert len(await refunds_of(desk.store, ORDER)) == 3


async def test_processes_share_the_ledger_and_the_limit(desk: Desk) -> None:
    order = desk.order(ORDER)
    fourth = (order.total.amount / 4).quantize(Decimal("0.01")) - Decimal("0.01")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROCESS,
            str(number),
            ORDER,
            str(fourth),
            order.currency,
            stderr=asyncio.subprocess.PIPE,
        )
        for number in range(3)
    ]
    outputs = await asyncio.wait_for(asyncio.gather(*(process.communicate() for process in processes)), 60)
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    refunds = await refunds_of(desk.store, ORDER)
    assert len(refunds) == 4
    assert len({refund.refund_id for refund in refunds}) == 4
    assert derived_id("RF", "shared") in {refund.refund_id for refund in refunds}


async def test_a_death_between_effect_and_record_is_repaired_by_the_same_call(desk: Desk) -> None:
    """The worst moment: the refund is written, its ledger entry is not."""
    calls = 0

    async def effect() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        await desk.store.put_if_absent(f"effect/{derived_id('X', 'k')}", {"made": True})
        if calls == 1:
            raise KeyboardInterrupt
        return {"summary": "made"}

    with pytest.raises(KeyboardInterrupt):
        await desk.ledger.once("k", "tool", {"a": 1}, effect)
    entry = await desk.ledger.entry("k")
    assert entry is not None
    assert entry.state is EntryState.STARTED
    assert await desk.ledger.once("k", "tool", {"a": 1}, effect) == {"summary": "made"}
    assert await desk.ledger.once("k", "tool", {"a": 1}, effect) == {"summary": "made"}
    assert calls == 2


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("issue_refund", {"order_id": ORDER, "amount": "10.00"}),
        ("create_return_label", {"order_id": ORDER}),
        ("open_case", {"category": "return", "summary": "Wants to return the boots", "order_id": ORDER}),
        ("draft_reply", {"order_id": ORDER, "subject": "Your order", "body": "Hello"}),
    ],
)
async def test_an_effect_without_its_record_is_found_again(
    desk: Desk, call: Call, tool: str, arguments: dict[str, Any]
) -> None:
    """As after a SIGKILL between the two writes: the effect is there, the entry says `started` or is gone."""
    if tool == "issue_refund":
        arguments = {**arguments, "currency": _currency(desk)}
    first = await call(tool, key="k", **arguments)
    assert await desk.store.delete("ledger/k")
    assert await call(tool, key="k", **arguments) == first


async def test_an_update_without_its_record_is_not_made_twice(desk: Desk, call: Call) -> None:
    case = (await call("open_case", category="other", summary="A question")).case
    first = await call("update_case", key="k", case_id=case.case_id, note="Called back", status="closed")
    assert await desk.store.delete("ledger/k")
    again = await call("update_case", key="k", case_id=case.case_id, note="Called back", status="closed")
    assert again == first
    assert len(again.case.updates) == 1


async def test_a_refused_effect_leaves_the_key_free(desk: Desk, call: Call) -> None:
    refund = {"order_id": ORDER, "currency": _currency(desk)}
    with pytest.raises(ToolError):
        await call("issue_refund", key="k", amount="999999.00", **refund)
    assert await desk.ledger.entry("k") is None
    await call("issue_refund", key="k", amount="1.00", **refund)
    assert len(await refunds_of(desk.store, ORDER)) == 1


async def test_entries_are_read_page_by_page(desk: Desk, call: Call) -> None:
    for number in range(5):
        await call("open_case", key=f"k{number}", category="other", summary="A question")
    keys: list[str] = []
    after: str | None = None
    for _ in range(5):
        page = await desk.ledger.entries(limit=2, after=after)
        keys += [entry.idempotency_key for entry in page.entries]
        after = page.after
        if after is None:
            break
    assert sorted(keys) == [f"k{number}" for number in range(5)]


@pytest.mark.parametrize("key", ["", "x" * 513])
async def test_a_key_has_a_sensible_length(call: Call, key: str, desk: Desk) -> None:
    with pytest.raises(ValueError, match="1 to 512"):
        await desk.ledger.once(key, "tool", {}, lambda: asyncio.sleep(0, {}))


async def test_reading_leaves_nothing_in_the_ledger(desk: Desk, call: Call) -> None:
    await call("lookup_order", order_id=ORDER)
    assert (await desk.ledger.entries()).entries == ()


def _currency(desk: Desk) -> str:
    return str(desk.order(ORDER).currency)


async def test_a_fence_stops_a_call_that_has_not_begun_and_tells_of_one_that_has(desk: Desk, call: Call) -> None:
    refund = {"order_id": ORDER, "amount": "10.00", "currency": _currency(desk)}
    assert await desk.ledger.fence("cut", "issue_refund") is None
    with pytest.raises(ToolError) as stopped:
        await call("issue_refund", key="cut", **refund)
    assert stopped.value.code == "stopped"
    assert await desk.ledger.fence("cut", "issue_refund") is None
    assert not await refunds_of(desk.store, ORDER)
    assert (await desk.ledger.entries()).entries == ()

    await call("issue_refund", key="done", **refund)
    entry = await desk.ledger.fence("done", "issue_refund")
    assert entry is not None
    assert entry.state is EntryState.DONE
    assert await call("issue_refund", key="done", **refund)
