"""How the planner's responses are read: over lost connections, and stopped when nobody reads them any more. The planner
here plays the events of a response; `tests/test_hand_over.py` of the repository asks the real one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from ag_ui_streamer.planner import PlanChanged, PlanEnded, Planner
from agent_runtime.testing.serving import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from support_desk.errors import ToolError

STEPS = [{"id": "s1", "tool": "lookup_order"}, {"id": "s2", "tool": "open_case"}]


def item(kind: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": f"response.output_item.{when}", "item": {"type": kind, **fields}} for when in ("added", "done")]


def call(name: str) -> list[dict[str, Any]]:
    output = json.dumps({"summary": name})
    return [
        *item("function_call", call_id=f"call_{name}", name=name, arguments="{}"),
        *item("function_call_output", call_id=f"call_{name}", output=output),
    ]


EVENTS = [
    {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
    *item("structured_outputs", output={"steps": STEPS}),
    *call("lookup_order"),
    *call("open_case"),
    *item("message", role="assistant", content=[{"type": "output_text", "text": "Done."}]),
    {"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}},
]


class PlayedPlanner:
    """Plays `EVENTS`, `at_once` of them on each connection, and then ends it; with `breaks` in the middle of an event,
    with `hangs` not at all."""

    def __init__(self, at_once: int = 1000, *, hangs: bool = False, breaks: bool = False) -> None:
        self.breaks = breaks
        self.at_once = at_once
        self.hangs = hangs
        self.asked: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/responses", self.create, methods=["POST"]),
                Route("/responses/resp_1", self.retrieve),
                Route("/responses/resp_1/cancel", self.cancel, methods=["POST"]),
            ]
        )

    async def create(self, request: Request) -> Any:
        body = await request.json()
        assert body["background"] is True
        assert request.headers["x-agent-user-id"] == "ada"
        assert "authorization" not in request.headers or "not-needed" in request.headers["authorization"]
        self.asked.append("create")
        return StreamingResponse(self.play(0), media_type="text/event-stream")

    async def retrieve(self, request: Request) -> Any:
        after = int(request.query_params["starting_after"])
        self.asked.append(f"after {after}")
        return StreamingResponse(self.play(after + 1), media_type="text/event-stream")

    async def cancel(self, _: Request) -> Any:
        self.asked.append("cancel")
        return JSONResponse({"id": "resp_1", "object": "response", "status": "cancelled", "output": []})

    async def play(self, first: int) -> AsyncIterator[bytes]:
        for number, event in list(enumerate(EVENTS))[first : first + self.at_once]:
            yield f"data: {json.dumps(event | {'sequence_number': number})}\n\n".encode()
        if self.breaks and first + self.at_once < len(EVENTS):
            yield b"data: {"
            raise ConnectionError("The planner's process ends here.")
        if self.hangs:
            await asyncio.Event().wait()


async def read(planner: Planner) -> tuple[list[dict[str, str]], dict[str, Any]]:
    plans, output = [], {}
    async with aclosing(planner), aclosing(planner.hand_over("ada", "call_1", {"goal": "A case."})) as happening:
        async for happened in happening:
            if isinstance(happened, PlanChanged):
                plans.append({step["title"]: step["status"] for step in happened.steps})
            if isinstance(happened, PlanEnded):
                output = happened.output
    return plans, output


async def test_a_plan_is_read_to_its_report() -> None:
    played = PlayedPlanner()
    async with serve(played.app) as url:
        plans, output = await read(Planner(url))
    assert plans[0] == {"Lookup order": "waiting", "Open case": "waiting"}
    assert plans[1] == {"Lookup order": "working", "Open case": "waiting"}
    assert plans[-1] == {"Lookup order": "done", "Open case": "done"}
    assert output == {"status": "completed", "report": "Done."}
    assert played.asked == ["create"]


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_lost_connection_is_read_on_and_nothing_is_begun_twice(breaks) -> None:
    played = PlayedPlanner(at_once=5, breaks=breaks)
    async with serve(played.app) as url:
        plans, output = await read(Planner(url))
    assert played.asked[:2] == ["create", "after 4"]
    assert played.asked.count("create") == 1
    assert plans[-1] == {"Lookup order": "done", "Open case": "done"}
    assert output["report"] == "Done."


async def test_a_plan_that_nobody_follows_any_more_is_cancelled() -> None:
    played = PlayedPlanner(at_once=3, hangs=True)
    async with serve(played.app) as url:
        seen = asyncio.Event()

        async def follow() -> None:
            planner = Planner(url)
            async with aclosing(planner), aclosing(planner.hand_over("ada", "c", {"goal": "A case."})) as happening:
                async for _ in happening:
                    seen.set()

        following = asyncio.create_task(follow())
        await asyncio.wait_for(seen.wait(), 10)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
    assert played.asked == ["create", "cancel"]


@pytest.mark.parametrize("arguments", [{}, {"goal": ""}, {"goal": 3}, {"goal": "x" * 4001}])
async def test_a_goal_that_is_none_begins_nothing(arguments) -> None:
    played = PlayedPlanner()
    async with serve(played.app) as url:
        with pytest.raises(ToolError, match="invalid_arguments"):
            async with aclosing(Planner(url).hand_over("ada", "call_1", arguments)) as happening:
                async for _ in happening:
                    pass
    assert played.asked == []
