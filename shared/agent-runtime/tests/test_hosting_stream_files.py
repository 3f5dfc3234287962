"""The files of streamed responses: opened again when they are asked for, deleted when their events have expired."""

import os
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agent_runtime.hosting.responses.stream_files import EXPIRES_SECONDS, StreamFiles
from azure.ai.agentserver.core.streaming import EventStreamNotFoundError, streams
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def known(request: Request) -> JSONResponse:
    try:
        stream: Any = await streams.get(request.path_params.get("id", "caresp_none"))
    except EventStreamNotFoundError:
        return JSONResponse(None)
    return JSONResponse(await stream.last_cursor())


@pytest.fixture
def client(tmp_path: Path) -> httpx2.AsyncClient:
    streams.use_file_backed_replay(cursor_fn=lambda event: int(event["sequence_number"]), storage_dir=tmp_path)
    routes = [Route("/responses/{id}", known), Route("/responses", known, methods=["POST"])]
    app = StreamFiles(Starlette(routes=routes), folder=tmp_path)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://agent")


def write(folder: Path, response_id: str, *, age: float = 0.0, ended: bool = True) -> Path:
    """A file as the SDK leaves it: one event, and the mark of the end."""
    path = folder / f"{response_id}.jsonl"
    now = time.time()
    end = '{"__terminal__": true}\n' if ended else ""
    path.write_text(f'{{"emit_time": {now}, "payload": {{"sequence_number": 7}}}}\n{end}')
    os.utime(path, (now - age, now - age))
    return path


async def test_a_stream_of_an_earlier_process_is_found_when_it_is_asked_for(client, tmp_path: Path) -> None:
    write(tmp_path, "caresp_found")
    assert (await client.get("/responses/caresp_found")).json() is None
    assert (await client.get("/responses/caresp_found", params={"stream": "true"})).json() == 7


@pytest.mark.parametrize("response_id", ["caresp_absent", "caresp_..%2F..%2Fetc", "caresp_ü"])
async def test_what_has_no_file_gets_no_stream(client, tmp_path: Path, response_id: str) -> None:
    answer = await client.get(f"/responses/{response_id}", params={"stream": "true"})
    assert answer.status_code == 404 or answer.json() is None
    assert os.listdir(tmp_path) == []


async def test_expired_files_are_deleted_with_the_next_request_and_the_rest_is_kept(client, tmp_path: Path) -> None:
    expired = write(tmp_path, "caresp_expired", age=EXPIRES_SECONDS + 5)
    opened = write(tmp_path, "caresp_opened")
    kept = write(tmp_path, "caresp_kept", age=EXPIRES_SECONDS - 60)
    await client.get("/responses/caresp_opened", params={"stream": "true"})
    os.utime(opened, (1, 1))
    await client.post("/responses")
    assert not expired.exists()
    assert not opened.exists()
    assert kept.exists()
    with pytest.raises(EventStreamNotFoundError):
        await streams.get("caresp_opened")
    late = write(tmp_path, "caresp_late", age=EXPIRES_SECONDS + 5)
    await client.post("/responses")
    assert late.exists()  # once a minute is enough


async def test_the_file_of_a_run_that_is_silent_for_long_is_kept_for_a_day(client, tmp_path: Path) -> None:
    running = write(tmp_path, "caresp_running", age=EXPIRES_SECONDS + 5, ended=False)
    abandoned = write(tmp_path, "caresp_abandoned", age=86_405, ended=False)
    await client.post("/responses")
    assert running.exists()
    assert not abandoned.exists()
