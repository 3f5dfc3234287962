"""Answers with citations, in every form of the protocol, by the official client."""

import asyncio
import json
import time
from typing import Any

import openai
import pytest
from agent_runtime.testing import Hang, ScriptedModel
from agent_runtime.testing.azd_invoke import AzdLocalInvoke

QUESTION = "What does a return label cost in Norway?"
RAW = "A label costs NOK 99. [1] Ask for it first. [9]"
TEXT = "A label costs NOK 99. Ask for it first."
CITATION = {
    "type": "url_citation",
    "url": "https://handbook.test/returns#costs",
    "title": "Returns > Costs",
    "start_index": 0,
    "end_index": 21,
}


@pytest.fixture
def cited(model: ScriptedModel, search: Any) -> ScriptedModel:
    """The model searches, then answers with a citation and an invented one."""
    model.enqueue(search("return label Norway"), RAW)
    return model


def answer(response: Any) -> tuple[str, list[dict[str, Any]]]:
    """Text and annotations of the one message in a response."""
    (message,) = [item for item in response.output if item.type == "message"]
    (part,) = message.content
    return part.text, [annotation.model_dump() for annotation in part.annotations]


async def ended(ask: openai.AsyncOpenAI, response: Any, seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline, response.status
        await asyncio.sleep(0.05)
        response = await ask.responses.retrieve(response.id)
    return response


async def test_the_body_and_a_later_get_hold_the_citations(agent: Any, cited: ScriptedModel) -> None:
    async with agent() as ask:
        response = await ask.responses.create(input=QUESTION)
        stored = await ask.responses.retrieve(response.id)
    assert response.status == "completed"
    assert [item.type for item in response.output] == ["function_call", "function_call_output", "message"]
    assert answer(response) == (TEXT, [CITATION])
    assert answer(stored) == (TEXT, [CITATION])
    assert response.usage.total_tokens > 0
    assert response.model == "offline-extractive"  # what is configured, though a script stands in for it here


async def test_every_form_of_a_stream_holds_the_citations(agent: Any, cited: ScriptedModel) -> None:
    async with agent() as ask:
        stream = await ask.responses.create(input=QUESTION, stream=True)
        events = [event async for event in stream]
    by_type: dict[str, list[Any]] = {}
    for event in events:
        by_type.setdefault(event.type, []).append(event)
    assert "".join(event.delta for event in by_type["response.output_text.delta"]) == TEXT
    assert [event.text for event in by_type["response.output_text.done"]] == [TEXT]
    assert [dict(event.annotation) for event in by_type["response.output_text.annotation.added"]] == [CITATION]
    (part,) = [event.part for event in by_type["response.content_part.done"]]
    assert (part.text, [annotation.model_dump() for annotation in part.annotations]) == (TEXT, [CITATION])
    (item,) = [e.item for e in by_type["response.output_item.done"] if e.item.type == "message"]
    assert (item.content[0].text, [a.model_dump() for a in item.content[0].annotations]) == (TEXT, [CITATION])
    (completed,) = by_type["response.completed"]
    assert answer(completed.response) == (TEXT, [CITATION])
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"


async def test_the_arguments_of_a_search_are_shown_and_remembered_once(
    agent: Any, model: ScriptedModel, search: Any
) -> None:
    model.enqueue(search("return label Norway"), RAW, "Yes.")
    async with agent() as ask:
        first = await ask.responses.create(input=QUESTION)
        await ask.responses.create(input="Really?", previous_response_id=first.id)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"query": "return label Norway"}
    (remembered,) = [call for message in model.requests[2].messages for call in message.tool_calls]
    assert json.loads(remembered.arguments) == {"query": "return label Norway"}


async def test_the_model_sees_numbered_passages_with_addresses(agent: Any, cited: ScriptedModel) -> None:
    async with agent() as ask:
        await ask.responses.create(input=QUESTION)
    first, second = cited.requests
    assert [tool.name for tool in first.tools] == ["search_handbook"]
    output = json.loads(second.messages[-1].text)
    assert output["query"] == "return label Norway"
    assert output["passages"][0] == {
        "number": 1,
        "title": "Returns",
        "heading": "Costs",
        "text": "A return label for Norway costs NOK 99.",
        "url": "https://handbook.test/returns#costs",
    }


async def test_numbers_run_on_over_the_searches_of_a_turn(agent: Any, model: ScriptedModel, search: Any) -> None:
    model.enqueue([*search("label Norway", "a"), *search("tents covered", "b")], search("60 days", "c"))
    model.enqueue("Done.")
    async with agent() as ask:
        await ask.responses.create(input="Three questions")
    outputs = [json.loads(m.text) for m in model.requests[-1].messages if m.role == "tool"]
    numbers = [passage["number"] for output in outputs for passage in output["passages"]]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert len(outputs) == 3


async def test_a_follow_up_may_cite_what_an_earlier_turn_found(agent: Any, model: ScriptedModel, search: Any) -> None:
    model.enqueue(search("return label Norway"), RAW, "Indeed, NOK 99. [1]", search("tents covered"))
    async with agent() as ask:
        first = await ask.responses.create(input=QUESTION)
        second = await ask.responses.create(input="Sure?", previous_response_id=first.id)
        assert answer(second) == ("Indeed, NOK 99.", [{**CITATION, "end_index": 15}])
        model.enqueue("Ten years. [4]")
        found_before = len(json.loads(model.requests[1].messages[-1].text)["passages"])
        third = await ask.responses.create(input="And tents?", previous_response_id=second.id)
    output = json.loads(model.requests[-1].messages[-1].text)
    assert output["passages"][0]["number"] == found_before + 1
    assert third.status == "completed"


async def test_the_first_text_arrives_before_the_answer_is_complete(agent: Any, model: ScriptedModel) -> None:
    model.enqueue(Hang(after=1, reply="Tents are dry. Boots are dry too. So is the rest of the gear."))
    async with agent() as ask:
        stream = await ask.responses.create(input="Are tents dry?", stream=True)
        deltas = []
        async for event in stream:
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
                model.release()  # only now may the model go on
    assert len(deltas) > 1
    assert "".join(deltas) == "Tents are dry. Boots are dry too. So is the rest of the gear."


async def test_a_background_answer_is_found_by_polling(agent: Any, cited: ScriptedModel) -> None:
    async with agent() as ask:
        accepted = await ask.responses.create(input=QUESTION, background=True)
        assert accepted.status in ("queued", "in_progress")
        response = await ended(ask, accepted)
    assert response.status == "completed"
    assert answer(response) == (TEXT, [CITATION])


async def test_a_background_stream_is_replayed_with_its_citations(agent: Any, cited: ScriptedModel) -> None:
    async with agent() as ask:
        stream = await ask.responses.create(input=QUESTION, background=True, stream=True)
        first = [event async for event in stream]
        again = await ask.responses.retrieve(first[0].response.id, stream=True)
        second = [event async for event in again]
    assert [event.type for event in second] == [event.type for event in first]
    assert answer(second[-1].response) == (TEXT, [CITATION])


async def test_a_background_answer_can_be_cancelled(agent: Any, model: ScriptedModel) -> None:
    model.enqueue(Hang(after=1))
    async with agent() as ask:
        accepted = await ask.responses.create(input=QUESTION, background=True)
        await asyncio.wait_for(model.hanging.wait(), 10)
        began = time.monotonic()
        cancelled = await ask.responses.cancel(accepted.id)
        assert time.monotonic() - began < 1
        assert cancelled.status == "cancelled"
        assert (await ask.responses.retrieve(accepted.id)).status == "cancelled"


async def test_a_turn_follows_the_response_it_names(agent: Any, model: ScriptedModel) -> None:
    model.enqueue("First.", "Second.", "Third.")
    async with agent() as ask:
        first = await ask.responses.create(input="One?")
        second = await ask.responses.create(input="Two?", previous_response_id=first.id)
        fork = await ask.responses.create(input="Three?", previous_response_id=first.id)
    said = [[m.text for m in request.messages if m.role in ("user", "assistant")] for request in model.requests]
    assert said[1] == ["One?", "First.", "Two?"]
    assert said[2] == ["One?", "First.", "Three?"]
    assert second.previous_response_id == first.id
    assert fork.output_text == "Third."


async def test_a_turn_of_a_conversation_is_cited_too(agent: Any, model: ScriptedModel, search: Any) -> None:
    model.enqueue("Hello.", search("return label Norway"), RAW, "Indeed, NOK 99. [1]")
    async with agent() as ask:
        await ask.responses.create(input="Hi", conversation="conv_cited")
        cited = await ask.responses.create(input=QUESTION, conversation="conv_cited")
        again = await ask.responses.create(input="Sure?", conversation="conv_cited")
        stored = await ask.responses.retrieve(cited.id)
    assert answer(cited) == answer(stored) == (TEXT, [CITATION])
    assert answer(again) == ("Indeed, NOK 99.", [{**CITATION, "end_index": 15}])


async def test_the_history_that_a_client_lists_holds_the_citations(
    agent: Any, model: ScriptedModel, search: Any
) -> None:
    model.enqueue(search("return label Norway"), RAW, "Indeed.")
    async with agent() as ask:
        first = await ask.responses.create(input=QUESTION)
        second = await ask.responses.create(input="Sure?", previous_response_id=first.id)
        listed = [item async for item in ask.responses.input_items.list(second.id, order="asc")]
    (message,) = [item for item in listed if item.type == "message" and item.role == "assistant"]
    assert (message.content[0].text, [a.model_dump() for a in message.content[0].annotations]) == (TEXT, [CITATION])


@pytest.mark.parametrize("conversation", ["6d5eaf31-278c-436d-89b4-4d6b96b7dcf2", "conv_abc"])
async def test_a_turn_follows_its_conversation(agent: Any, model: ScriptedModel, conversation: str) -> None:
    model.enqueue("First.", "Second.")
    async with agent() as ask:
        await ask.responses.create(input="One?", conversation=conversation)
        await ask.responses.create(input="Two?", conversation={"id": conversation})
    said = [m.text for m in model.requests[1].messages if m.role in ("user", "assistant")]
    assert said == ["One?", "First.", "Two?"]


async def test_the_history_begins_with_a_question_however_it_is_cut(
    agent: Any, model: ScriptedModel, search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_ITEMS", "24")
    turns = 9
    for turn in range(turns):
        model.enqueue(search(f"tents {turn}", f"call_{turn}"), f"Answer {turn}.")
    async with agent() as ask:
        for turn in range(turns):
            await ask.responses.create(input=f"Question {turn}?", conversation="long")
    seen = [m for m in model.requests[-2].messages if m.role != "system"]
    assert len(seen) <= 25
    assert seen[0].role == "user"
    assert seen[-1].text == f"Question {turns - 1}?"
    called = {call.call_id for message in seen for call in message.tool_calls}
    assert called == {message.call_id for message in seen if message.role == "tool"}


async def test_the_history_is_cut_by_tokens_and_in_whole_turns(
    agent: Any, model: ScriptedModel, search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_TOKENS", "1000")
    for turn in range(4):
        model.enqueue(search(f"tents {turn}", f"call_{turn}"), f"Answer {turn}.")
    async with agent() as ask:
        for turn in range(3):
            await ask.responses.create(input=f"Question {turn}? {'Well. ' * 200}", conversation="long")
        await ask.responses.create(input=f"Question 3? {'Well. ' * 800}", conversation="long")
    asked = [[m.text[:11] for m in request.messages if m.role == "user"] for request in model.requests]
    assert asked[3] == ["Question 0?", "Question 1?"]
    assert asked[4] == asked[5] == ["Question 1?", "Question 2?"]  # before and after the search
    assert asked[6] == asked[7] == ["Question 3?"]  # more than the limit alone, yet whole
    for request in model.requests:
        called = {call.call_id for message in request.messages for call in message.tool_calls}
        assert called == {message.call_id for message in request.messages if message.role == "tool"}


async def test_what_is_not_to_be_stored_is_not_stored(agent: Any, model: ScriptedModel) -> None:
    model.enqueue("Once.")
    async with agent() as ask:
        response = await ask.responses.create(input="Now?", store=False)
        assert response.output_text == "Once."
        with pytest.raises(openai.NotFoundError):
            await ask.responses.retrieve(response.id)


async def test_azd_is_answered(agent: Any, model: ScriptedModel, search: Any) -> None:
    model.enqueue(search("return label Norway"), RAW, "As I said.")
    async with agent() as ask:
        azd = AzdLocalInvoke(str(ask.base_url).rstrip("/"))
        assert await azd.responses(QUESTION) == TEXT
        assert await azd.responses("What?") == "As I said."
    assert any(message.text == QUESTION for message in model.requests[-1].messages)


async def test_turns_in_parallel_do_not_mix(agent: Any, search: Any) -> None:
    def echo(request: Any) -> Any:
        last = request.messages[-1]
        if last.role == "user":
            return search(last.text)
        return f"{json.loads(last.text)['query']} it is. [1]"

    async with agent(ScriptedModel(echo)) as ask:
        questions = [f"Tents {number}" for number in range(20)]
        responses = await asyncio.gather(*(ask.responses.create(input=question) for question in questions))
    assert [response.output_text for response in responses] == [f"{question} it is." for question in questions]
    assert all(len(answer(response)[1]) == 1 for response in responses)
