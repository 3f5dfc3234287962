"""The output of a cancelled response: kept by its handler, given back in the answers, nothing else touched."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agent_runtime.hosting.responses.cancelled_output import CancelledOutputs, RestoreCancelledOutput
from agent_runtime.state_store.sqlite import SqliteItems
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

ITEMS = [{"type": "message", "id": "msg_1"}]


async def answer(request: Request) -> Response:
    name = request.path_params["id"]
    if name == "text":
        return PlainTextResponse('not JSON, though it says "cancelled"', status_code=502)
    status = "cancelled" if name.startswith("cancelled") else "completed"
    return JSONResponse({"id": name, "status": status, "output": [{"a": 1}] if name.endswith("full") else []})


@pytest.fixture
def outputs(tmp_path: Path) -> CancelledOutputs:
    return CancelledOutputs(SqliteItems(tmp_path / "state.sqlite"))


@pytest.fixture
def client(outputs: CancelledOutputs) -> httpx2.AsyncClient:
    routes = [Route("/responses/{id}", answer), Route("/responses/{id}/cancel", answer, methods=["POST"])]
    app = RestoreCancelledOutput(Starlette(routes=routes), outputs=outputs)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://agent")


async def test_both_answers_of_a_cancelled_response_get_its_output_back(outputs, client) -> None:
    await outputs.keep("cancelled_1", ITEMS)
    assert (await client.get("/responses/cancelled_1")).json()["output"] == ITEMS
    assert (await client.post("/responses/cancelled_1/cancel")).json()["output"] == ITEMS
    assert (await client.get("/responses/cancelled_2")).json()["output"] == []
    assert (await client.get("/responses/cancelled_full")).json()["output"] == [{"a": 1}]


async def test_every_other_answer_stays_as_it_is(outputs, client) -> None:
    await outputs.keep("done", ITEMS)
    assert (await client.get("/responses/done")).json()["output"] == []
    text = await client.get("/responses/text")
    assert (text.status_code, text.text) == (502, 'not JSON, though it says "cancelled"')


async def test_an_answer_waits_for_a_handler_that_is_stopping(outputs, client) -> None:
    stop = asyncio.Event()

    async def handler() -> None:
        with outputs.running("cancelled_late"):
            await stop.wait()
            await outputs.keep("cancelled_late", ITEMS)

    working = asyncio.create_task(handler())
    asked = asyncio.create_task(client.post("/responses/cancelled_late/cancel"))
    await asyncio.sleep(0)
    stop.set()
    assert (await asked).json()["output"] == ITEMS
    await working


async def test_of_an_output_too_large_for_the_store_the_last_item_is_kept(outputs, client) -> None:
    large: list[dict[str, Any]] = [{"type": "function_call_output", "output": "x" * 600_000}] * 2
    await outputs.keep("cancelled_large", [*large, *ITEMS])
    assert (await client.get("/responses/cancelled_large")).json()["output"] == ITEMS
