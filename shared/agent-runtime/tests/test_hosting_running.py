"""Agents as processes: what they print, what they open, how they start and stop. And the Invocations host, protected."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agent_runtime.hosting import host_options, protect
from agent_runtime.hosting.options import telemetry_configured
from agent_runtime.hosting.running import protocols
from agent_runtime.settings import AgentSettings, load_settings
from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.serving import serve
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

AGENT = """
from typing import ClassVar
from azure.ai.agentserver.responses import ResponsesAgentServerHost, TextResponse
from agent_runtime.hosting import current_user, host_options, run_agent
from agent_runtime.hosting.responses import open_response_store, protect_responses
from agent_runtime.settings import AgentSettings, SettingsError
import asyncio, logging, os

class Settings(AgentSettings):
    local_name: ClassVar[str] = "echo"

def build_app(settings):
    if os.environ.get("BROKEN_FOLDER"):
        raise SettingsError("BROKEN_FOLDER: there is no such folder. Correct it or unset it.")
    store = open_response_store(settings)
    host = ResponsesAgentServerHost(store=store, **host_options(settings))

    @host.response_handler
    async def respond(request, context, cancelled):
        text = await context.get_input_text()
        logging.getLogger("echo").info("answers")
        async def parts():
            yield f"{current_user()} says {text}"
            while text == "wait" and not cancelled.is_set():
                await asyncio.sleep(0.05)
        return TextResponse(context, request, text=parts())

    protect_responses(host, settings, store=store)
    return host

if __name__ == "__main__":
    run_agent(Settings, build_app)
"""

# Loaded by every Python process that finds it on its path: writes down whatever is connected to or looked up.
WATCH_THE_NETWORK = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[:2]
    else:
        return
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(f"{event} {address!r}\\n")
sys.addaudithook(watch)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "echo_agent.py").write_text(AGENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "echo_agent"


async def ask(url: str, text: str, **headers: str) -> str:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        answer = await client.post("/responses", json={"input": text}, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["output"][0]["content"][0]["text"])


async def test_the_output_is_a_handful_of_plain_lines_and_one_for_each_request(module: str) -> None:
    async with AgentProcess(module) as agent:
        for _ in range(3):
            async with httpx2.AsyncClient(trust_env=False) as client:
                await client.get(f"{agent.url}/readiness")
        assert await ask(agent.url, "my secret order", **{"x-agent-user-id": "alice"}) == "alice says my secret order"
        async with httpx2.AsyncClient(trust_env=False) as client:
            await client.get(f"{agent.url}/responses/garbage?token=hunter2")
            await client.post(f"{agent.url}/responses", json={"input": [{"type": "nonsense"}]})
        started = time.monotonic()
        assert await agent.terminate() == 0
        assert time.monotonic() - started < 5
        lines = agent.output().splitlines()
    messages = [line.split(" ", 3)[3] for line in lines]
    assert all(line.split(" ")[1:3] == ["info", "echo"] for line in lines), lines
    assert messages[:3] == [
        f"listens on {agent.url} (responses)",
        "model: offline-extractive (offline, no model configured)",
        messages[2],
    ]
    assert messages[2].startswith("state: ")
    assert messages[3] == "answers"
    assert messages[4].startswith("POST /responses 200 in ")
    assert messages[5].startswith("GET /responses/garbage 400 in ")
    assert messages[6].startswith("POST /responses 400 in ")
    assert messages[7:] == ["stopped"]
    for secret in ("hunter2", "secret order", "alice", "{"):
        assert secret not in agent.output()


async def test_with_nothing_configured_no_connection_leaves_the_machine(module: str, tmp_path: Path) -> None:
    watch = tmp_path / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH_THE_NETWORK)
    log = tmp_path / "network.log"
    log.touch()
    env = {"PYTHONPATH": f"{watch}:{tmp_path}", "NETWORK_LOG": str(log)}
    async with AgentProcess(module, env=env) as agent:
        await ask(agent.url, "hi")
        await agent.terminate()
    # The probe that must show, so that an empty log means something.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))",
        env={"PATH": "/usr/bin:/bin", **env},
    )
    await asyncio.wait_for(process.wait(), 20)
    seen = log.read_text().splitlines()
    assert any("('127.0.0.1', 9)" in line for line in seen)
    assert [line for line in seen if "127.0.0.1" not in line and "'::1'" not in line and "localhost" not in line] == []


async def test_fifty_megabytes_do_not_grow_the_agent(module: str) -> None:
    async with AgentProcess(module) as agent:
        await ask(agent.url, "warm up")
        before = agent.rss_mb()

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield b"x" * 1_000_000

        async with httpx2.AsyncClient(base_url=agent.url, trust_env=False, timeout=30) as client:
            for content in (chunks(), b"x" * 50_000_000):
                assert (await client.post("/responses", content=content)).status_code == 413
        assert agent.rss_mb() - before < 20
        assert agent.rss_mb() < 120


async def test_an_open_stream_does_not_hold_up_a_stop_for_long(module: str) -> None:
    async with AgentProcess(module, env={"AGENTSERVER_GRACEFUL_SHUTDOWN_TIMEOUT_SECONDS": "2"}) as agent:
        client = httpx2.AsyncClient(base_url=agent.url, trust_env=False, timeout=20)
        body = {"input": "wait", "stream": True}
        try:
            async with client.stream("POST", "/responses", json=body) as response:
                assert (await anext(response.aiter_lines())).startswith("event:")
                started = time.monotonic()
                assert await agent.stop() == 0
                assert time.monotonic() - started < 8
        finally:
            await client.aclose()


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"LOG_LEVEL": "loud"}, "echo: LOG_LEVEL: "),
        ({"MODEL_PROVIDER": "openai"}, "echo: OPENAI_BASE_URL and MODEL_NAME must be set"),
        ({"BROKEN_FOLDER": "/nowhere"}, "echo: BROKEN_FOLDER: there is no such folder. Correct it or unset it."),
    ],
)
async def test_a_bad_setting_is_one_line_and_exit_code_2(module: str, env: dict[str, str], line: str) -> None:
    agent = AgentProcess(module, env=env)
    with pytest.raises(RuntimeError, match="exit code 2") as caught:
        await agent.start()
    [only] = str(caught.value).splitlines()[1:]
    assert only.startswith(line)


@pytest.mark.parametrize(
    ("name", "value"),
    [("BIND_ADDRESS", "nonsense"), ("BIND_ADDRESS", "203.0.113.7"), ("AGENTSERVER_STATE_ROOT", "/dev/null/state")],
)
async def test_an_address_or_a_folder_that_cannot_be_used_is_one_line_with_the_fix(
    module: str, name: str, value: str
) -> None:
    agent = AgentProcess(module, env={name: value})
    with pytest.raises(RuntimeError, match="exit code 2") as caught:
        await agent.start()
    (only,) = str(caught.value).splitlines()[1:]
    assert only.startswith(f"echo: {name}: cannot ")
    assert ". Set it to " in only


async def test_the_address_that_is_logged_is_the_one_that_is_listened_on(module: str) -> None:
    agent = AgentProcess(module, env={"BIND_ADDRESS": "127.0.0.2"})
    agent.url = agent.url.replace("127.0.0.1", "127.0.0.2")
    async with agent:
        assert f"listens on {agent.url} (" in agent.output()


async def test_a_taken_port_is_one_line_that_names_it_and_the_fix(module: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        agent = AgentProcess(module, port=port)
        with pytest.raises(RuntimeError, match="exit code 2") as caught:
            await agent.start()
    [only] = str(caught.value).splitlines()[1:]
    assert only == f"echo: port {port} is taken by another program. Stop it, or set PORT to a free port."


# Options


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> AgentSettings:
    for name in (
        "SSE_KEEPALIVE_INTERVAL",
        "MICROSOFT_OTEL_SDKSTATS_DISABLED",
        "AZURE_AI_AGENTSERVER_DISABLE_EXPERIMENTAL_WARNING",
    ):
        monkeypatch.setenv(name, "")  # so that what `host_options` sets is put back
    return load_settings(AgentSettings)


def test_without_an_exporter_there_is_no_telemetry(settings: AgentSettings) -> None:
    options = host_options(settings)
    assert options["configure_observability"] is None
    assert options["access_log"] is None
    assert options["graceful_shutdown_timeout"] == 10


@pytest.mark.parametrize(
    "name", ["APPLICATIONINSIGHTS_CONNECTION_STRING", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]
)
@pytest.mark.parametrize(("asked", "captured"), [(None, False), ("false", False), ("true", True)])
def test_with_an_exporter_the_sdk_sets_up_telemetry_and_content_only_when_asked(
    settings: AgentSettings, monkeypatch: pytest.MonkeyPatch, name: str, asked: str | None, captured: bool
) -> None:
    from azure.ai.agentserver import core

    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(core, "configure_observability", lambda **arguments: calls.append(arguments))
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    variable = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    monkeypatch.setenv(variable, "")
    if asked is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, asked)
    InvocationAgentServerHost(**host_options(settings))
    [call] = calls
    assert call["enable_sensitive_data"] is captured
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not telemetry_configured()


@pytest.mark.parametrize(("hosted", "given", "mode"), [("1", None, "entra"), ("1", "key", "key"), ("", None, None)])
def test_a_hosted_agent_signs_in_to_application_insights_unless_the_platform_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, hosted: str, given: str | None, mode: str | None
) -> None:
    name = "APPLICATIONINSIGHTS_AUTH_MODE"
    monkeypatch.setenv("FOUNDRY_HOSTING_ENVIRONMENT", hosted)
    monkeypatch.setenv("MODEL_PROVIDER", "offline")
    monkeypatch.setenv(name, given or "")
    if given is None:
        monkeypatch.delenv(name)
    host_options(load_settings(AgentSettings))
    assert os.environ.get(name) == mode


# Invocations


@pytest.fixture
async def invocations(settings: AgentSettings) -> AsyncIterator[httpx2.AsyncClient]:
    host = InvocationAgentServerHost(**host_options(settings))

    @host.invoke_handler
    async def invoke(request: Request) -> Response:
        body = json.loads(await request.body())
        if body == "stream":

            async def events() -> AsyncIterator[bytes]:
                yield b"data: 1\n\n"
                yield b"data: 2\n\n"

            return StreamingResponse(events(), media_type="text/event-stream")
        return JSONResponse({"got": body})

    protect(host, settings)
    assert protocols(host) == ["invocations"]
    async with serve(host) as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        yield client


async def test_an_invocation_passes_through_the_protection(invocations: httpx2.AsyncClient) -> None:
    assert (await invocations.post("/invocations", json={"a": 1})).json() == {"got": {"a": 1}}
    assert (await invocations.post("/invocations", json="stream")).text == "data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/invocations", b"not json", 500, "internal_error"),
        ("POST", "/invocations", b"x" * 50_000_000, 413, "request_too_large"),
        ("PUT", "/invocations", b"", 405, "method_not_allowed"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("GET", "/invocations/unknown", None, 404, None),
        ("POST", "/invocations/unknown/cancel", b"", 404, None),
        ("GET", "/invocations/docs/openapi.json", None, 404, None),
    ],
)
async def test_every_error_of_the_invocations_host_has_a_code(  # noqa: PLR0917
    invocations: httpx2.AsyncClient, method: str, path: str, body: bytes | None, status: int, code: str | None
) -> None:
    response = await invocations.request(method, path, content=body)
    assert response.status_code == status
    assert response.json()["error"]["code"] == (code or response.json()["error"]["code"])
    assert response.json()["error"]["code"]


async def test_the_base_needs_no_protocol_package_and_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "for name in ('responses', 'invocations'):\n"
        "    sys.modules[f'azure.ai.agentserver.{name}'] = None\n"
        "import agent_runtime.hosting, agent_runtime.hosting.responses_rules, agent_runtime.state_store\n"
        "heavy = {'openai', 'azure.identity', 'microsoft.opentelemetry', 'psutil'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await asyncio.wait_for(process.wait(), 30) == 0
