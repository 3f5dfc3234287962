"""The planner as a process: its start, its memory, and its end at any moment, after which the run still ends once."""

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.testing import AgentProcess, Failure, Hang, ScriptedModel

BROKEN = "Order NP-10274 arrived broken, the customer wants the money back."


def client(process: AgentProcess) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=process.url, api_key="unused", max_retries=0)


async def ended(ask: openai.AsyncOpenAI, response_id: str, seconds: float = 30) -> Any:
    async with asyncio.timeout(seconds):
        while True:
            response = await ask.responses.retrieve(response_id)
            if response.status not in {"queued", "in_progress"}:
                return response
            await asyncio.sleep(0.05)


class StopsOnce:
    """A model that plans a case as the book says, and hangs the first time it is asked for what `where` names."""

    def __init__(self, script: Any, where: str) -> None:
        self._where = where
        self._stopped = False
        self.then: Any = None
        """What the model answers to the same question after that, instead of what the book says."""
        self.model = ScriptedModel(self._answer)
        self._plan = script.planned(
            script.looked_up("NP-10274"),
            {
                "tool": "open_case",
                "arguments": {"category": "damaged_item", "summary": "Broken.", "order_id": "NP-10274"},
            },
            {"tool": "draft_reply", "arguments": {"order_id": "NP-10274", "subject": None, "body": None}},
        )
        self._choice = script.chosen("damaged-on-arrival")

    def _answer(self, request: ModelRequest) -> Any:
        name = request.output_schema.name if request.output_schema else ""
        if name == self._where and not self._stopped:
            self._stopped = True
            return Hang()
        if name == self._where and self.then is not None:
            return self.then
        if name == "runbook_choice":
            return self._choice
        if name == "plan":
            return self._plan
        filled = {"case_id": None, "order_id": None, "subject": "Your order", "body": "Hello."}
        return ModelReply(json.dumps(filled))


async def test_it_starts_with_a_few_plain_lines_and_idles_in_little_memory() -> None:
    async with AgentProcess("langgraph_planner") as process:
        lines = process.output().splitlines()
        assert len(lines) <= 6
        assert not any("{" in line or "WARNING" in line.upper() for line in lines)
        assert process.rss_mb() < 120
        assert await process.terminate() == 0
    assert "Traceback" not in process.output()


async def test_a_foreground_run_that_a_stop_cuts_is_failed() -> None:
    model = ScriptedModel()
    model.enqueue(Hang())
    async with model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, client(process) as ask:
            stream = await ask.responses.create(model="any", input=BROKEN, stream=True)
            first = await anext(aiter(stream))
            await asyncio.wait_for(model.hanging.wait(), 10)
            await process.terminate()
            await stream.close()
            await process.start()
            stored = await ended(ask, first.response.id)
    assert stored.status == "failed"
    # Not our `server_shutdown`: with `resilient_background` the host replaces what a handler says while it stops.
    assert stored.error.code in {"server_error", "server_shutdown"}


@pytest.mark.parametrize(
    ("where", "how"), [("runbook_choice", "SIGKILL"), ("arguments", "SIGKILL"), ("arguments", "SIGTERM")]
)
async def test_a_background_run_goes_on_in_the_next_process(script, ledger, where: str, how: str) -> None:
    stopping = StopsOnce(script, where)
    async with stopping.model.serve() as base_url:
        env = {"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m", "AGENTSERVER_GRACEFUL_SHUTDOWN_TIMEOUT_SECONDS": "3"}
        process = AgentProcess("langgraph_planner", env=env)
        async with process, client(process) as ask:
            response = await ask.responses.create(model="any", input=BROKEN, background=True)
            await asyncio.wait_for(stopping.model.hanging.wait(), 10)
            await (process.kill() if how == "SIGKILL" else process.terminate())
            await process.start()
            final = await ended(ask, response.id)
    assert final.status == "completed", final.error
    assert [item.type for item in final.output] == [
        "reasoning",
        "structured_outputs",
        *["function_call", "function_call_output"] * 3,
        "message",
    ]
    assert "3 of 3 steps were done" in final.output_text
    assert Counter(entry.tool for entry in await ledger()) == {"open_case": 1, "draft_reply": 1}


async def test_a_response_that_had_ended_when_its_process_died_is_not_run_again(
    script, ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK ends a response before it removes its task's record, and takes up every record that is left."""
    monkeypatch.setenv("AGENTSERVER_STATE_ROOT", str(tmp_path / "state"))
    stopping = StopsOnce(script, "arguments")
    stopping.then = Failure(400)
    async with stopping.model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, client(process) as ask:
            response = await ask.responses.create(model="any", input=BROKEN, background=True)
            await asyncio.wait_for(stopping.model.hanging.wait(), 10)
            await process.kill()
            shutil.copytree(tmp_path / "state" / "tasks", tmp_path / "records")
            await process.start()
            final = await ended(ask, response.id)
            calls = len(stopping.model.requests)
            await process.kill()
            shutil.copytree(tmp_path / "records", tmp_path / "state" / "tasks", dirs_exist_ok=True)
            await process.start()
            async with asyncio.timeout(30):
                while list((tmp_path / "state" / "tasks").rglob("*.json")):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            again = await ended(ask, response.id)
    assert final.status == again.status == "failed"
    assert again.error == final.error
    assert [item.to_dict() for item in again.output] == [item.to_dict() for item in final.output]
    assert len(stopping.model.requests) == calls
    assert Counter(entry.tool for entry in await ledger()) == {"open_case": 1}


async def test_the_events_of_a_response_that_had_ended_are_replayed_after_a_restart(script) -> None:
    stopping = StopsOnce(script, "nothing")
    async with stopping.model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, client(process) as ask:
            stream = await ask.responses.create(model="any", input=BROKEN, background=True, stream=True)
            live = [event.to_dict(warnings=False) async for event in stream]
            response_id = live[0]["response"]["id"]
            await process.kill()
            await process.start()
            replayed = await ask.responses.retrieve(response_id, stream=True, starting_after=4)
            assert [event.to_dict(warnings=False) async for event in replayed] == live[5:]
            unknown = response_id[:-4] + "AAAA"
            with pytest.raises(openai.NotFoundError):
                await ask.responses.retrieve(unknown, stream=True)
    assert live[-1]["type"] == "response.completed"


async def test_an_approved_run_that_is_killed_refunds_once_and_ends(script, ledger) -> None:
    """The approval is answered in the background; the process dies while the reply after the refund is written."""
    stopping = StopsOnce(script, "arguments")
    refund = script.refunded("NP-10274", "117.50", "CHF")
    reply = {"tool": "draft_reply", "arguments": {"order_id": "NP-10274", "subject": None, "body": None}}
    stopping._plan = script.planned(refund, reply)
    async with stopping.model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, client(process) as ask:
            response = await ask.responses.create(model="any", input=BROKEN)
            (request,) = [item for item in response.output if item.type == "mcp_approval_request"]
            answer: Any = [{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}]
            resumed = await ask.responses.create(
                model="any", previous_response_id=response.id, input=answer, background=True
            )
            await asyncio.wait_for(stopping.model.hanging.wait(), 10)
            await process.kill()
            await process.start()
            final = await ended(ask, resumed.id)
            again = await ask.responses.create(model="any", previous_response_id=response.id, input=answer)
    assert final.status == "completed", final.error
    calls = [item.name for item in final.output if item.type == "function_call"]
    assert calls == ["issue_refund", "draft_reply"]
    assert "answered before" in again.output_text
    assert Counter(entry.tool for entry in await ledger()) == {"issue_refund": 1, "draft_reply": 1}


async def test_a_run_that_waits_for_an_approval_is_killed_and_can_still_be_approved(ledger) -> None:
    process = AgentProcess("langgraph_planner")
    async with process, client(process) as ask:
        response = await ask.responses.create(model="any", input=BROKEN, background=True)
        waiting = await ended(ask, response.id)
        (request,) = [item for item in waiting.output if item.type == "mcp_approval_request"]
        await process.kill()
        await process.start()
        answer: Any = [{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}]
        final = await ask.responses.create(model="any", previous_response_id=response.id, input=answer)
    assert "6 of 6 steps were done" in final.output_text
    assert Counter(entry.tool for entry in await ledger())["issue_refund"] == 1


async def test_a_stream_that_a_kill_cut_is_followed_to_its_end(script) -> None:
    stopping = StopsOnce(script, "arguments")
    async with stopping.model.serve() as base_url:
        process = AgentProcess("langgraph_planner", env={"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m"})
        async with process, client(process) as ask:
            stream = await ask.responses.create(model="any", input=BROKEN, background=True, stream=True)
            first = await anext(aiter(stream))
            await asyncio.wait_for(stopping.model.hanging.wait(), 10)
            await process.kill()
            await stream.close()
            await process.start()
            final = await ended(ask, first.response.id)
            events = []
            rest = await ask.responses.retrieve(first.response.id, stream=True, starting_after=first.sequence_number)
            async with rest:
                async for event in rest:
                    events.append(event)
    assert final.status == "completed"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == final.output_text
