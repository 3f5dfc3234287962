import asyncio
import signal
from pathlib import Path

import httpx2
import pytest
from agent_runtime.testing.process import AgentProcess

SERVER = """
import http.server, os, signal, sys
print("started with", os.environ.get("COLOUR"), os.environ.get("OPENAI_API_KEY"), flush=True)
if os.environ.get("FAILS"):
    sys.exit("cannot start: no configuration")
print("x" * 300_000, flush=True)  # more than a pipe holds
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if not os.environ.get("NEVER_READY") else 503)
        self.end_headers()
    def log_message(self, *args): pass
signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("STUBBORN") else lambda *_: sys.exit(7))
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "small_server.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "small_server"


async def test_a_process_is_ready_inside_the_block_and_gone_after(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of the machine")
    async with AgentProcess(module, env={"COLOUR": "blue"}) as agent, httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{agent.url}/readiness")).status_code == 200
        assert "started with blue None" in agent.output()
        assert 2 < agent.rss_mb() < 200
        assert agent.running
    assert not agent.running


async def test_a_start_that_fails_raises_with_the_output(module: str) -> None:
    with pytest.raises(RuntimeError, match="no configuration"):
        async with AgentProcess(module, env={"FAILS": "1"}):
            pass


async def test_a_process_that_is_never_ready_is_given_up(module: str) -> None:
    agent = AgentProcess(module, env={"NEVER_READY": "1"}, start_timeout=1)
    with pytest.raises(RuntimeError, match="not ready after 1 s"):
        async with agent:
            pass
    assert not agent.running


async def test_a_start_that_is_cancelled_leaves_no_process_behind(module: str) -> None:
    agent = AgentProcess(module, env={"NEVER_READY": "1"})
    starting = asyncio.create_task(agent.start())
    await agent.wait_for_output("started with")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not agent.running


async def test_it_is_stopped_by_signals_and_can_start_again_at_its_port(module: str) -> None:
    async with AgentProcess(module) as agent:
        first = agent.pid
        assert await agent.terminate() == 7
        await agent.start()
        assert agent.pid != first
        await agent.kill()
        assert agent.returncode == -signal.SIGKILL
        assert agent.output().count("started with") == 2


async def test_one_that_ignores_the_signal_is_killed_and_reported(module: str) -> None:
    async with AgentProcess(module, env={"STUBBORN": "1"}) as agent:
        with pytest.raises(TimeoutError, match="still ran"):
            await agent.terminate(timeout=0.3)
        assert not agent.running


async def test_waiting_for_output_that_never_comes_ends_with_the_output(module: str) -> None:
    async with AgentProcess(module) as agent:
        assert "started" in await agent.wait_for_output("started with")
        with pytest.raises(TimeoutError, match="started with"):
            await agent.wait_for_output("never", timeout=0.1)
