"""All protection together on the SDK's real Responses host, over loopback."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agent_runtime.hosting import host_options
from agent_runtime.hosting.responses import open_response_store, protect_responses
from agent_runtime.hosting.responses.store import delete_old_responses
from agent_runtime.settings import AgentSettings, load_settings
from agent_runtime.testing.serving import serve
from azure.ai.agentserver.responses import ResponsesAgentServerHost, TextResponse

UNKNOWN = "caresp_" + "a" * 50


class Desk:
    """An agent that says how much it remembers and, when asked to wait, streams until it is let go."""

    def __init__(self, settings: AgentSettings) -> None:
        self.go_on = asyncio.Event()
        store = open_response_store(settings)
        self.host = ResponsesAgentServerHost(store=store, **host_options(settings))
        self.host.response_handler(self.respond)
        protect_responses(self.host, settings, store=store)

    async def respond(self, request: Any, context: Any, cancelled: asyncio.Event) -> Any:
        history = await context.get_history()
        text = await context.get_input_text()
        if text == "fail":
            raise RuntimeError("the password is hunter2")

        async def parts() -> AsyncIterator[str]:
            yield f"remembers {len(history)}"
            if text == "wait":
                await self.go_on.wait()

        return TextResponse(context, request, text=parts())


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("MAX_REQUEST_BYTES", "200000")
    for name in ("SSE_KEEPALIVE_INTERVAL", "MICROSOFT_OTEL_SDKSTATS_DISABLED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back what `host_options` sets
    return Desk(load_settings(AgentSettings))


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(desk.host) as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        yield client
        desk.go_on.set()


def text_of(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["status"] == "completed", body
    return str(body["output"][0]["content"][0]["text"])


def as_user(name: str) -> dict[str, str]:
    return {"x-agent-user-id": name}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/responses", b"", 400),
        ("POST", "/responses", b"not json", 400),
        ("POST", "/responses", b"\xff\xfe\x00", 400),
        ("POST", "/responses", b"[]", 400),
        ("POST", "/responses", b"{}", 400),
        ("POST", "/responses", b"[" * 100_000, 400),
        ("POST", "/responses", b'{"input": "hi", "stream": "yes"}', 400),
        ("POST", "/responses", b'{"input": "hi", "agent_session_id": "a\\r\\nset-cookie: b"}', 400),
        ("POST", "/responses", b'{"input": "hi", "agent_session_id": "\xc3\xbc"}', 400),
        ("POST", "/responses", b'{"input": "hi", "response_id": "../../x"}', 400),
        ("POST", "/responses", b'{"input": [{"type": "nonsense"}]}', 400),
        ("POST", "/responses", b'{"input": "hi", "tools": [{"type": "nonsense"}]}', 400),
        ("POST", "/responses", b'{"input": "hi", "background": true, "store": false}', 400),
        ("POST", "/responses", b'{"input": "hi", "previous_response_id": "resp_123"}', 400),
        ("POST", "/responses", b'{"input": "hi", "previous_response_id": "../../etc/passwd"}', 400),
        ("POST", "/responses", b'{"input": "hi", "previous_response_id": "%s"}' % UNKNOWN.encode(), 404),
        (
            "POST",
            "/responses",
            b'{"input": "hi", "store": false, "previous_response_id": "%s"}' % UNKNOWN.encode(),
            404,
        ),
        ("POST", "/responses", b"x" * 50_000_000, 413),
        ("POST", "/nowhere", b"x" * 50_000_000, 413),
        ("POST", "/nowhere", b"{}", 404),
        ("GET", "/", None, 404),
        ("GET", "/responses", None, 405),
        ("PUT", "/responses", b"{}", 405),
        ("PATCH", f"/responses/{UNKNOWN}", b"{}", 405),
        ("GET", f"/responses/{UNKNOWN}", None, 404),
        ("GET", f"/responses/{UNKNOWN}?stream=true", None, 404),
        ("GET", f"/responses/{UNKNOWN}?stream=true&starting_after=x", None, 404),
        ("DELETE", f"/responses/{UNKNOWN}", None, 404),
        ("POST", f"/responses/{UNKNOWN}/cancel", b"", 404),
        ("GET", f"/responses/{UNKNOWN}/cancel", None, 405),
        ("GET", f"/responses/{UNKNOWN}/input_items", None, 404),
        ("GET", f"/responses/{UNKNOWN}/input_items?limit=many", None, 400),
        ("GET", "/responses/garbage", None, 400),
        ("GET", "/responses/garbage?stream=true", None, 400),
        ("GET", "/responses/%00%0a", None, 400),
        ("GET", "/responses/..%2f..%2fetc%2fpasswd", None, 404),
        ("GET", "/responses/" + "a" * 5000, None, 400),
        ("DELETE", "/responses/%ff%fe", None, 400),
        ("POST", "/responses/garbage/cancel", None, 400),
        ("GET", "/responses/garbage/input_items", None, 400),
    ],
)
async def test_bad_input_gets_a_4xx_with_a_json_error_that_has_a_code(
    client: httpx2.AsyncClient, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = await client.request(method, path, content=body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert isinstance(error["code"], str)
    assert error["code"]
    assert error["message"]
    assert "Traceback" not in response.text
    assert response.headers["x-request-id"]
    assert (await client.get("/readiness")).status_code == 200
    assert text_of(await client.post("/responses", json={"input": "hi"})) == "remembers 0"


async def test_a_failure_before_the_first_event_has_a_code_and_no_internals(client: httpx2.AsyncClient) -> None:
    response = await client.post("/responses", json={"input": "fail"})
    assert response.status_code == 500
    assert response.json()["error"]["code"]
    assert "hunter2" not in response.text


async def test_a_conversation_goes_on_by_previous_id_and_by_conversation(client: httpx2.AsyncClient) -> None:
    first = await client.post("/responses", json={"input": "one"})
    again = {"input": "two", "previous_response_id": first.json()["id"]}
    assert text_of(await client.post("/responses", json=again)) == "remembers 2"
    for remembered in (0, 2, 4):
        answer = await client.post("/responses", json={"input": "x", "conversation": {"id": "conv-1"}})
        assert text_of(answer) == f"remembers {remembered}"


@pytest.mark.parametrize("by", ["body", "escaped body", "header"])
async def test_no_user_takes_over_the_id_of_another(client: httpx2.AsyncClient, by: str) -> None:
    stream = await client.post(
        "/responses", json={"input": "secret", "background": True, "stream": True}, headers=as_user("alice")
    )
    response_id = json.loads(stream.text.split("data: ", 1)[1].split("\n", 1)[0])["response"]["id"]
    body = json.dumps({"input": "mine", "background": True, "stream": True, "response_id": response_id})
    headers = as_user("bob")
    if by == "escaped body":
        body = body.replace("response_id", "response\\u005fid")
    elif by == "header":
        body, headers = (
            '{"input": "mine", "background": true, "stream": true}',
            headers | {"x-agent-response-id": response_id},
        )
    taken = await client.post("/responses", content=body, headers=headers)
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "response_id_taken")
    assert (await client.get(f"/responses/{response_id}?stream=true", headers=as_user("bob"))).status_code == 404
    chosen = {"input": "mine", "response_id": response_id[:-3] + "abc"}
    assert (await client.post("/responses", json=chosen, headers=as_user("bob"))).json()["id"] == chosen["response_id"]


async def test_no_user_reaches_the_responses_of_another(client: httpx2.AsyncClient) -> None:
    alice, others = as_user("alice"), [as_user("bob"), {}]
    body = {"input": "secret", "background": True, "stream": True}
    stream = await client.post("/responses", json=body, headers=alice)
    response_id = json.loads(stream.text.split("data: ", 1)[1].split("\n", 1)[0])["response"]["id"]
    path = f"/responses/{response_id}"
    for user in others:
        assert (await client.get(path, headers=user)).status_code == 404
        assert (await client.get(f"{path}?stream=true", headers=user)).status_code == 404
        assert (await client.head(f"{path}?stream=true", headers=user)).status_code == 404
        assert (await client.get(f"{path}/input_items", headers=user)).status_code == 404
        assert (await client.post(f"{path}/cancel", headers=user)).status_code == 404
        assert (await client.delete(path, headers=user)).status_code == 404
        follow = {"input": "and?", "previous_response_id": response_id}
        assert (await client.post("/responses", json=follow, headers=user)).status_code == 404
    assert (await client.get(path, headers=alice)).status_code == 200
    replay = await client.get(f"{path}?stream=true", headers=alice)
    assert "response.completed" in replay.text
    assert (await client.delete(path, headers=alice)).status_code == 200
    assert (await client.get(path, headers=alice)).status_code == 404


async def test_users_do_not_share_a_conversation_of_the_same_name(client: httpx2.AsyncClient) -> None:
    body = {"input": "x", "conversation": "shared-name"}
    await client.post("/responses", json=body, headers=as_user("alice"))
    assert text_of(await client.post("/responses", json=body, headers=as_user("bob"))) == "remembers 0"
    assert text_of(await client.post("/responses", json=body, headers=as_user("alice"))) == "remembers 2"


async def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_KEEPALIVE_INTERVAL", "1")
    desk = Desk(load_settings(AgentSettings))
    async with (
        serve(desk.host) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client,
        client.stream("POST", "/responses", json={"input": "wait", "stream": True}) as response,
    ):
        async with asyncio.timeout(10):
            async for line in response.aiter_lines():
                if line == ": keep-alive":
                    break
        desk.go_on.set()


async def test_an_unfinished_stream_occupies_its_slot_and_readiness_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_REQUESTS", "1")
    desk = Desk(load_settings(AgentSettings))
    async with serve(desk.host) as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        async with client.stream("POST", "/responses", json={"input": "wait", "stream": True}) as response:
            lines = response.aiter_lines()
            assert (await anext(lines)).startswith("event: response.created")
            refused = await client.post("/responses", json={"input": "hi"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_requests_in_flight")
            assert (await client.get("/readiness")).status_code == 200
            desk.go_on.set()
            async with asyncio.timeout(10):
                assert "response.completed" in "".join([line async for line in lines])
        deadline = time.monotonic() + 10
        while (await client.post("/responses", json={"input": "hi"})).status_code != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def test_hosted_agents_use_the_platforms_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_HOSTING_ENVIRONMENT", "sandbox")
    monkeypatch.setenv("FOUNDRY_PROJECT_ENDPOINT", "https://x.example/api/projects/p")
    monkeypatch.setenv("AZURE_AI_MODEL_DEPLOYMENT_NAME", "gpt")
    assert open_response_store(load_settings(AgentSettings)) is None


async def test_old_responses_are_deleted_at_the_start_but_not_young_ones(client: httpx2.AsyncClient) -> None:
    await client.post("/responses", json={"input": "hi"})
    root = load_settings(AgentSettings).state_directory / "responses"
    young = files(root)
    assert young
    old = root / "nobody" / "responses" / "caresp_old.json"
    old.write_text("{}")
    forty_days_ago = time.time() - 40 * 86_400
    os.utime(old, (forty_days_ago, forty_days_ago))
    (root / ".swept").unlink(missing_ok=True)
    assert delete_old_responses(root, older_than_days=30) == 1
    assert files(root) == young
    with contextlib.suppress(FileNotFoundError):
        os.utime(next(iter(young)), (forty_days_ago, forty_days_ago))
    assert delete_old_responses(root, older_than_days=30) == 0  # at most once a day


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")}
