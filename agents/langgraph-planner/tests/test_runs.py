"""The planner for the official `openai` client: foreground, stream, background, cancel, and every way a model can fail."""

import asyncio
import dataclasses
import json
from typing import Any

import openai
import pytest
from agent_runtime.model_exchange import Usage
from agent_runtime.testing.scripted_model import CutStream, Failure, Garbage, Hang, ScriptedModel


async def polled(client: openai.AsyncOpenAI, response: Any, seconds: float = 30) -> Any:
    async with asyncio.timeout(seconds):
        while response.status in {"queued", "in_progress"}:
            await asyncio.sleep(0.05)
            response = await client.responses.retrieve(response.id)
    return response


def kinds(response: Any) -> list[str]:
    return [item.type for item in response.output]


async def test_a_run_shows_why_the_plan_each_step_with_its_output_and_a_report(served, ledger) -> None:
    async with served() as client:
        response = await client.responses.create(
            model="any", input="The customer of NP-10042 wants to send the order back, it does not fit."
        )
    assert response.status == "completed"
    shown = kinds(response)
    assert shown[:2] == ["reasoning", "structured_outputs"]
    assert shown[2:-1] == ["function_call", "function_call_output"] * ((len(shown) - 3) // 2)
    assert shown[-1] == "message"
    plan = response.output[1].output
    assert plan["runbook"] == "return-request"
    calls = [item.name for item in response.output if item.type == "function_call"]
    assert calls == [step["tool"] for step in plan["steps"]]
    done = {entry.tool for entry in await ledger()}
    assert {"open_case", "create_return_label", "draft_reply"} <= done
    assert "issue_refund" not in done
    assert "Return request" in response.output_text


@pytest.mark.parametrize(
    ("case", "runbook"),
    [
        ("Order NP-10316 never arrived, tracking has not moved for two weeks.", "lost-parcel"),
        ("Order NP-10274 arrived broken, the customer wants the money back.", "damaged-on-arrival"),
        ("A bank reports a chargeback for order NP-10231.", "card-dispute"),
        ("The customer C-1019 asks for a copy of all personal data that we hold.", "privacy-access-request"),
        ("The owner of a recalled stove, order NP-10313, asks what to do.", "safety-recall-contact"),
    ],
)
async def test_the_offline_model_finds_the_runbook_and_carries_it_out(served, case: str, runbook: str) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input=case)
    assert response.status == "completed"
    assert response.output[1].output["runbook"] == runbook
    outputs = [json.loads(item.output) for item in response.output if item.type == "function_call_output"]
    assert outputs
    assert not any("error" in output for output in outputs), outputs


async def test_a_case_that_no_runbook_fits_is_answered_with_what_can_be_planned(served, ledger) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input="How do I bake sourdough bread?")
    assert response.status == "completed"
    assert kinds(response) == ["message"]
    assert "Lost parcel" in response.output_text
    assert await ledger() == []


async def test_a_stream_tells_each_item_as_it_happens_and_its_text_is_the_final_text(served) -> None:
    async with served() as client:
        events = []
        stream = await client.responses.create(
            model="any", input="The points for order NP-10042 are missing.", stream=True
        )
        async with stream:
            async for event in stream:
                events.append(event)
    added = [event.item.type for event in events if event.type == "response.output_item.added"]
    assert added[0] == "reasoning"
    assert added[-1] == "message"
    final = events[-1].response
    assert events[-1].type == "response.completed"
    assert [item.type for item in final.output] == added
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 5
    assert "".join(deltas) == final.output_text


async def test_a_background_run_is_polled_to_its_end(served) -> None:
    async with served() as client:
        response = await client.responses.create(
            model="any", input="The points for order NP-10042 are missing.", background=True
        )
        assert response.status in {"queued", "in_progress"}
        ended = await polled(client, response)
    assert ended.status == "completed"
    assert "Missing points" in ended.output_text


async def test_a_lost_stream_of_a_background_run_is_replayed_from_where_it_broke(served) -> None:
    async with served() as client:
        seen = []
        stream = await client.responses.create(
            model="any", input="The points for order NP-10042 are missing.", background=True, stream=True
        )
        async with stream:
            async for event in stream:
                seen.append(event)
                if len(seen) == 5:
                    break
        response_id = seen[0].response.id
        await polled(client, await client.responses.retrieve(response_id))
        rest = await client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number)
        async with rest:
            async for event in rest:
                seen.append(event)
    numbers = [event.sequence_number for event in seen]
    assert numbers == list(range(len(numbers)))
    assert seen[-1].type == "response.completed"


async def test_cancel_stops_a_hanging_model_call_at_once(served, script) -> None:
    model = ScriptedModel()
    model.enqueue(script.chosen("missing-points"), Hang())
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.", background=True)
        await asyncio.wait_for(model.hanging.wait(), 10)
        # The SDK waits 10 s for a handler that does not stop; this one does.
        async with asyncio.timeout(5):
            cancelled = await client.responses.cancel(response.id)
            assert (await polled(client, cancelled)).status == "cancelled"


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (Failure(500), "model_unavailable"),
        (Failure(429), "model_rate_limited"),
        (Failure(401), "model_misconfigured"),
        (CutStream(after=1), "model_stream_interrupted"),
        (Garbage(), "model_invalid_response"),
        ("this is no JSON", "model_invalid_response"),
        (Hang(), "model_timeout"),
    ],
    ids=["500", "429", "401", "cut", "garbage", "no JSON", "silence"],
)
@pytest.mark.parametrize("when", ["choosing", "planning"])
async def test_a_model_failure_is_a_failed_response_with_a_code(
    served, script, step: Any, code: str, when: str
) -> None:
    model = ScriptedModel()
    model.enqueue(*([script.chosen("missing-points")] if when == "planning" else []), step)
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert response.status == "failed"
    assert response.error.code == code
    assert "http" not in response.error.message


async def test_a_plan_with_an_unknown_tool_is_drafted_again_with_the_problem(served, script) -> None:
    model = ScriptedModel()
    model.enqueue(
        script.chosen("missing-points"),
        script.planned({"tool": "delete_customer", "arguments": {}}),
        script.planned(script.looked_up("NP-10042")),
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert response.status == "completed"
    assert "delete_customer, which does not exist" in model.requests[2].messages[0].text
    assert "1 of 1 steps were done" in response.output_text


async def test_a_plan_that_stays_wrong_does_nothing_and_says_why(served, script, ledger) -> None:
    model = ScriptedModel()
    wrong = script.planned({"tool": "open_case", "arguments": {"wish": "x"}})
    model.enqueue(script.chosen("missing-points"), wrong, wrong)
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert "unknown arguments: wish" in response.output_text
    assert await ledger() == []


async def test_a_failing_tool_is_reported_and_what_depends_on_it_is_not_done(served, script, ledger) -> None:
    label = {"tool": "create_return_label", "arguments": {"order_id": "NP-99999"}, "depends_on": ["s1"]}
    model = ScriptedModel()
    model.enqueue(
        script.chosen("return-request"), script.planned(script.looked_up("NP-99999"), label), script.planned()
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input="A customer wants to return an order.")
    assert response.status == "completed"
    assert "Failed — lookup_order: There is no order NP-99999" in response.output_text
    assert "Not done — create_return_label: It needs s1, which failed." in response.output_text
    assert await ledger() == []


async def test_a_failure_also_stops_what_depends_on_it_through_another_step(served, script, ledger) -> None:
    label = {"tool": "create_return_label", "arguments": {"order_id": "NP-10042"}, "depends_on": ["s1"]}
    refund = script.refunded("NP-10274", "117.50", "CHF") | {"depends_on": ["s2"]}
    model = ScriptedModel()
    model.enqueue(
        script.chosen("return-request"), script.planned(script.looked_up("NP-99999"), label, refund), script.planned()
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input="A customer wants to return an order.")
    assert "mcp_approval_request" not in kinds(response)
    assert "Not done — issue_refund: It needs s2, which could not be done." in response.output_text
    assert await ledger() == []


async def test_a_run_that_takes_too_long_ends_incomplete(served, script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_RUN_SECONDS", "0.5")
    model = ScriptedModel()
    model.enqueue(Hang())
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_run_seconds"
    assert "Nothing was done." in response.output_text


async def test_a_run_that_needs_too_many_model_calls_ends_incomplete_and_says_what_was_done(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_MODEL_CALLS", "2")
    case = {"category": "loyalty", "summary": "Points are missing.", "order_id": "NP-10042"}
    reply = {"order_id": "NP-10042", "subject": None, "body": None}
    model = ScriptedModel()
    model.enqueue(
        script.chosen("missing-points"),
        script.planned({"tool": "open_case", "arguments": case}, {"tool": "draft_reply", "arguments": reply}),
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_model_calls"
    assert "Done — open_case" in response.output_text
    assert [entry.tool for entry in await ledger()] == ["open_case"]


async def test_a_run_that_needs_too_many_tokens_ends_incomplete_and_says_what_was_done(
    served, script, ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_MODEL_TOKENS", "150")
    case = {"category": "loyalty", "summary": "Points are missing.", "order_id": "NP-10042"}
    reply = {"order_id": "NP-10042", "subject": None, "body": None}
    plan = script.planned({"tool": "open_case", "arguments": case}, {"tool": "draft_reply", "arguments": reply})
    model = ScriptedModel()
    model.enqueue(
        dataclasses.replace(script.chosen("missing-points"), usage=Usage(60, 10)),
        dataclasses.replace(plan, usage=Usage(70, 20)),
    )
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_model_tokens"
    assert "has used 160 tokens, and 150 are allowed" in response.output_text
    assert [entry.tool for entry in await ledger()] == ["open_case"]


async def test_a_plan_with_too_many_steps_is_not_begun(served, script, ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_STEPS", "1")
    model = ScriptedModel()
    case = {"tool": "open_case", "arguments": {"category": "loyalty", "summary": "Points are missing."}}
    model.enqueue(script.chosen("missing-points"), script.planned(case, case), script.planned(case, case))
    async with served(model) as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_steps"
    assert "at most 1" in response.output_text
    assert await ledger() == []


async def test_two_conversations_at_once_do_not_mix(served) -> None:
    orders = ["NP-10042", "NP-10316", "NP-10318", "NP-10304"]
    async with served() as client:
        responses = await asyncio.gather(
            *(client.responses.create(model="any", input=f"Points for order {order} are missing.") for order in orders)
        )
    for order, response in zip(orders, responses, strict=True):
        arguments = [item.arguments for item in response.output if item.type == "function_call"]
        assert order in arguments[0]
        others = [other for other in orders if other != order]
        assert not any(other in argument for argument in arguments for other in others)


@pytest.mark.parametrize(
    "given", ["", [], [{"role": "system", "content": "be rude"}]], ids=["empty", "no items", "system"]
)
async def test_bad_input_is_a_4xx_with_a_code(served, given: Any) -> None:
    async with served() as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="any", input=given)
    assert refused.value.code


async def test_a_handbook_without_runbooks_still_starts_and_says_that_nothing_fits(served, empty_handbook) -> None:
    async with served() as client:
        response = await client.responses.create(model="any", input="Points are missing.")
    assert "No runbook applies" in response.output_text


async def test_a_reply_tells_the_customer_what_was_done_and_nothing_else(served, ledger) -> None:
    async with served() as client:
        await client.responses.create(model="any", input="The customer of NP-10042 wants to send the order back.")
    entries = {entry.tool: entry for entry in await ledger()}
    body = entries["draft_reply"].arguments["body"]
    assert entries["create_return_label"].result["label"]["tracking_number"] in body
    assert "refund" not in body


async def test_the_handbook_is_searched_for_what_the_runbook_step_wants_to_know(served) -> None:
    async with served() as client:
        response = await client.responses.create(
            model="any", input="Order NP-10274 arrived broken, the customer wants the money back."
        )
    (search,) = [item for item in response.output if getattr(item, "name", "") == "search_handbook"]
    (found,) = [item for item in response.output if getattr(item, "call_id", "") == search.call_id and item != search]
    assert "damage in transit" in json.loads(search.arguments)["query"]
    assert "within 7 days of delivery" in found.output
