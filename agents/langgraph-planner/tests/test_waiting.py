"""While a run waits for approvals: several at once, something is added, time passes, a bare yes."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from agent_runtime.testing.scripted_model import ScriptedModel

ORDER, OTHER = "NP-10274", "NP-10231"
BROKEN = f"Order {ORDER} arrived broken."


def requests(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == "mcp_approval_request"]


def answer(request: Any, *, approve: bool = True) -> dict[str, Any]:
    return {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}


def two_refunds(script: Any) -> ScriptedModel:
    """Refunds that do not wait for each other, after a case is opened."""
    case = {"category": "damaged_item", "summary": "Broken.", "order_id": ORDER}
    first, second = script.refunded(ORDER, "1.50", "CHF"), script.refunded(ORDER, "2.50", "CHF")
    model = ScriptedModel()
    model.enqueue(
        script.chosen("damaged-on-arrival"),
        script.planned({"tool": "open_case", "arguments": case}, first, second | {"depends_on": ["s1"]}),
    )
    return model


async def amounts(ledger: Any) -> list[str]:
    return [entry.arguments["amount"] for entry in await ledger() if entry.tool == "issue_refund"]


async def test_independent_steps_ask_at_once_and_are_answered_at_once(served, script, ledger) -> None:
    model = two_refunds(script)
    model.enqueue(script.planned())
    async with served(model) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        first, second = requests(asked)
        both: Any = [answer(first), answer(second, approve=False)]
        done = await client.responses.create(model="any", input=both, previous_response_id=asked.id)
    assert "2. Done — issue_refund" in done.output_text
    assert "3. Not approved — issue_refund" in done.output_text
    assert await amounts(ledger) == ["1.50"]


async def test_what_is_not_answered_yet_is_asked_again_and_nothing_runs_before(served, script, ledger) -> None:
    async with served(two_refunds(script)) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        first, second = requests(asked)
        one: Any = [answer(first)]
        half = await client.responses.create(model="any", input=one, previous_response_id=asked.id)
        [left] = requests(half)
        assert left.arguments == second.arguments
        assert await amounts(ledger) == []
        # The first request for it is as good as the second.
        other: Any = [answer(second)]
        done = await client.responses.create(model="any", input=other, previous_response_id=half.id)
        again: Any = [answer(left)]
        late = await client.responses.create(model="any", input=again, previous_response_id=half.id)
    assert "3 of 3 steps were done" in done.output_text
    assert late.output_text == "This approval was answered before. Nothing was done again."
    assert sorted(await amounts(ledger)) == ["1.50", "2.50"]


async def test_something_added_withdraws_the_requests_and_plans_the_rest_anew(served, script, ledger) -> None:
    model = two_refunds(script)
    model.enqueue(script.planned(script.refunded(ORDER, "3.50", "CHF")))
    async with served(model) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        added = await client.responses.create(
            model="any", input="It was 3.50 CHF, the customer says now.", previous_response_id=asked.id
        )
        [request] = requests(added)
        assert '"3.50"' in request.arguments
        old: Any = [answer(one) for one in requests(asked)]
        late = await client.responses.create(model="any", input=old, previous_response_id=asked.id)
        yes: Any = [answer(request)]
        done = await client.responses.create(model="any", input=yes, previous_response_id=added.id)
    assert late.output_text == "This approval was withdrawn when something was added to the case. Nothing was done."
    assert "2 of 2 steps were done" in done.output_text
    assert await amounts(ledger) == ["3.50"]
    told = model.requests[-1].messages
    assert any("3.50 CHF, the customer says now" in str(message) for message in told)
    assert [entry.tool for entry in await ledger()].count("open_case") == 1


async def test_something_added_to_a_plan_that_waits_drafts_it_anew(served, script, ledger) -> None:
    model = two_refunds(script)
    model.enqueue(script.planned(script.looked_up(ORDER)))
    async with served(model) as client:
        asked = await client.responses.create(model="any", input=BROKEN, metadata={"plan_only": "true"})
        added = await client.responses.create(
            model="any", input="The customer takes the complaint back.", previous_response_id=asked.id
        )
    [request] = requests(added)
    assert request.name == "run_plan"
    assert "lookup_order" in request.arguments
    assert "issue_refund" not in request.arguments
    assert await ledger() == []


@pytest.mark.parametrize("text", ["yes", "Approve.", "no", "OK"])
async def test_a_bare_yes_or_no_in_words_decides_nothing(served, script, ledger, text: str) -> None:
    async with served(two_refunds(script)) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        told = await client.responses.create(model="any", input=text, previous_response_id=asked.id)
        assert "`mcp_approval_response`" in told.output_text
        assert requests(told) == []
        assert await amounts(ledger) == []
        yes: Any = [answer(one) for one in requests(asked)]
        done = await client.responses.create(model="any", input=yes, previous_response_id=told.id)
    assert "3 of 3 steps were done" in done.output_text


class Clock:
    """A clock that goes when it is told to. Seconds since 1970, as `time.time`."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


async def test_a_request_says_when_it_expires_and_can_be_answered_until_then(served, script, ledger) -> None:
    clock = Clock()
    model = two_refunds(script)
    async with served(model, now=clock) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        expiries = {item.expires_at for item in requests(asked)}
        twins = [item for item in asked.output if getattr(item, "name", "") == "__hosted_agent_adapter_interrupt__"]
        assert {json.loads(twin.arguments)["expires_at"] for twin in twins} == expiries
        assert expiries == {datetime.fromtimestamp(clock.at + 168 * 3600, UTC).isoformat()}
        clock.at += 168 * 3600
        yes: Any = [answer(one) for one in requests(asked)]
        done = await client.responses.create(model="any", input=yes, previous_response_id=asked.id)
    assert "3 of 3 steps were done" in done.output_text
    assert sorted(await amounts(ledger)) == ["1.50", "2.50"]


async def test_an_answer_that_comes_too_late_says_so_and_a_message_asks_anew(served, script, ledger) -> None:
    """Also in another process, by the request as by its twin, and with a no as with a yes."""
    clock = Clock()
    model = two_refunds(script)
    model.enqueue(script.planned(script.refunded(ORDER, "1.50", "CHF")))
    async with served(model, now=clock) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
    clock.at += 168 * 3600 + 1
    async with served(model, now=clock) as client:
        twins = [item for item in asked.output if getattr(item, "name", "") == "__hosted_agent_adapter_interrupt__"]
        yes: Any = [answer(one) for one in requests(asked)]
        no: Any = [answer(requests(asked)[0], approve=False)]
        by_twin: Any = [{"type": "function_call_output", "call_id": twins[0].call_id, "output": '{"resume": true}'}]
        for late in (yes, no, by_twin):
            told = await client.responses.create(model="any", input=late, previous_response_id=asked.id)
            assert told.status == "failed"
            assert told.error.code == "approval_expired"
        assert await amounts(ledger) == []
        anew = await client.responses.create(
            model="any", input="Please ask for the approval again.", previous_response_id=asked.id
        )
        [again] = requests(anew)
        now: Any = [answer(again)]
        done = await client.responses.create(model="any", input=now, previous_response_id=anew.id)
    assert "2 of 2 steps were done" in done.output_text
    assert await amounts(ledger) == ["1.50"]


async def test_answers_with_an_expired_one_among_them_run_nothing(served, script, ledger) -> None:
    clock = Clock()
    async with served(two_refunds(script), now=clock) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        clock.at += 100 * 3600
        first, second = requests(asked)
        one: Any = [answer(first)]
        half = await client.responses.create(model="any", input=one, previous_response_id=asked.id)
        [newer] = requests(half)
        assert newer.expires_at > second.expires_at
        clock.at += 100 * 3600
        both: Any = [answer(newer), answer(second)]
        late = await client.responses.create(model="any", input=both, previous_response_id=half.id)
        assert late.error.code == "approval_expired"
        assert await amounts(ledger) == []


async def test_two_answers_at_the_same_time_act_once(served, script, ledger) -> None:
    model = ScriptedModel()
    refund = script.refunded(ORDER, "1.50", "CHF")
    model.enqueue(script.chosen("damaged-on-arrival"), script.planned(refund))
    async with served(model) as client:
        asked = await client.responses.create(model="any", input=BROKEN)
        yes: Any = [answer(*requests(asked))]
        ended = await asyncio.gather(
            *(client.responses.create(model="any", input=yes, previous_response_id=asked.id) for _ in range(5))
        )
    assert sorted("answered before" in one.output_text for one in ended) == [False, True, True, True, True]
    assert sum("1 of 1 steps were done" in one.output_text for one in ended) == 1
    assert await amounts(ledger) == ["1.50"]
