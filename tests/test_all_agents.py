"""All four agents as a newcomer meets them: started by the runner, with nothing configured, asked by their real clients."""

import asyncio
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest
from agent_runtime.offline_model import OfflineModel
from agent_runtime.testing.azd_invoke import AzdLocalInvoke
from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.scripted_model import ScriptedModel
from repo_tools.repository import ROOT, agents

AGENTS = agents()
SECRET = "a secret of this test"
# One runner with its four agents serves all tests of this file.
pytestmark = pytest.mark.xdist_group("all-agents")

CASE = "Order NP-10001 arrived with a torn seam. The customer asks what we can do."
GITHUB_ISSUE = {
    "action": "opened",
    "issue": {
        "number": 12,
        "title": "Parcel lost?",
        "body": "My order NP-10001 has not arrived, and tracking has not moved for nine days.",
        "user": {"login": "octocat"},
        "created_at": "2026-11-01T10:00:00Z",
        "html_url": "https://github.com/northpeak/shop/issues/12",
    },
    "repository": {"full_name": "northpeak/shop"},
    "sender": {"login": "octocat"},
}


def consecutive_free_ports(count: int) -> int:
    """The first of `count` ports in a row that nothing listens on."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first + count > 65_000:
            continue
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("0.0.0.0", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports in a row")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`make run`'s own command; gives each agent's URL, and the runner's output under the key `output`."""
    folder = tmp_path_factory.mktemp("running")
    first = consecutive_free_ports(len(AGENTS))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "FOUNDRY_", "AZURE_"))}
    environment = kept | {
        "PORT": str(first),
        "MODEL_PROVIDER": "offline",
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "AGENTSERVER_STATE_ROOT": str(folder / "state"),
    }
    log = folder / "output.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "repo_tools", "run"]
        runner = subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while "ready; Ctrl-C" not in log.read_text():
            assert runner.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        urls = {agent.name: f"http://127.0.0.1:{first + offset}" for offset, agent in enumerate(AGENTS)}
        yield urls | {"output": str(log), "pid": str(runner.pid), "state": str(folder / "state")}
        runner.send_signal(signal.SIGINT)
        assert runner.wait(40) == 0, log.read_text()
    finally:
        if runner.poll() is None:
            os.killpg(runner.pid, signal.SIGKILL)
            runner.wait(10)


async def ask(url: str, question: str) -> Any:
    async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as client:
        return await client.responses.create(model="any", input=question)


def test_the_runner_lists_the_four_agents_with_the_model_in_use(running: dict[str, str]) -> None:
    lines = Path(running["output"]).read_text().splitlines()
    for agent in AGENTS:
        listed = [
            line for line in lines if line.startswith(f"{agent.name} ") and "model: " in line and " | " not in line
        ]
        assert len(listed) == 1
        assert running[agent.name] in listed[0]
        assert "offline-extractive" in listed[0]
        assert all(protocol in listed[0] for protocol in agent.protocols)


def test_the_start_up_log_of_an_agent_is_a_handful_of_plain_lines(running: dict[str, str]) -> None:
    text = Path(running["output"]).read_text()
    for agent in AGENTS:
        lines = [line for line in text.splitlines() if line.startswith(f"{agent.name} ") and " | " in line]
        starting = [line for line in lines if "POST" not in line and "GET" not in line]
        assert 1 <= len(starting) <= 12, starting
        assert not any(line.partition("| ")[2].startswith(("{", "[", "Traceback")) for line in lines)


async def test_rag_chat_answers_what_the_handbook_says_and_admits_what_it_does_not(running: dict[str, str]) -> None:
    url = running["rag-chat"]
    returns = await ask(url, "How many days does a customer have to return unworn boots?")
    assert "30 days" in returns.output_text
    assert returns.output[-1].content[0].annotations[0].type == "url_citation"
    warranty = await ask(url, "Does the warranty cover normal wear?")
    assert warranty.output[-1].content[0].annotations
    unknown = await ask(url, "Which football club does Northpeak sponsor?")
    assert unknown.status == "completed"
    assert not unknown.output[-1].content[0].annotations
    assert "football" in unknown.output_text.lower()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_a_signed_github_delivery_sent_by_curl_becomes_a_case(running: dict[str, str], tmp_path: Path) -> None:
    body = tmp_path / "issue.json"
    body.write_text(json.dumps(GITHUB_ISSUE))
    signature = "sha256=" + hmac.new(SECRET.encode(), body.read_bytes(), hashlib.sha256).hexdigest()

    def curl(signed: str) -> tuple[int, dict[str, Any]]:
        command = [
            "curl", "--silent", "--noproxy", "*", "--max-time", "30", "--write-out", "\n%{http_code}",
            "--header", "content-type: application/json", "--header", "X-GitHub-Event: issues",
            "--header", "X-GitHub-Delivery: 7d7c3f5e-1111-4222-8333-944455556666",
            "--header", f"X-Hub-Signature-256: {signed}", "--header", "Prefer: wait=20",
            "--data-binary", f"@{body}", f"{running['webhook-extractor']}/invocations",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        answer, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(answer)

    status, refused = await asyncio.to_thread(curl, "sha256=" + "0" * 64)
    assert (status, refused["error"]["code"]) == (401, "signature_invalid")
    status, done = await asyncio.to_thread(curl, signature)
    assert (status, done["status"]) == (200, "completed")
    assert "NP-10001" in json.dumps(done["result"])


async def test_a_planner_run_goes_in_the_background_to_its_end(running: dict[str, str]) -> None:
    async with openai.AsyncOpenAI(base_url=running["langgraph-planner"], api_key="unused", max_retries=0) as client:
        response = await client.responses.create(model="any", input=CASE, background=True)
        assert response.status in {"queued", "in_progress"}
        deadline = time.monotonic() + 60
        while response.status in {"queued", "in_progress"}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
            response = await client.responses.retrieve(response.id)
    assert response.status == "completed", response.error
    kinds = [item.type for item in response.output]
    assert "function_call" in kinds
    assert "function_call_output" in kinds
    assert response.output_text


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20 or newer")
async def test_a_run_by_the_ag_ui_client(running: dict[str, str]) -> None:
    client = ROOT / "agents/ag-ui-streamer/tests/ag_ui_client/converse.mjs"
    turns = [{"user": "What does shipping to Norway cost?"}]
    script = {"url": f"{running['ag-ui-streamer']}/invocations", "threadId": "t-1", "turns": turns}
    process = await asyncio.create_subprocess_exec(
        "node", str(client), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(json.dumps(script).encode()), 60)
    seen = json.loads(out)
    assert seen["turns"][0]["events"][-1]["type"] == "RUN_FINISHED"
    assert "Norway" in seen["messages"][-1]["content"]


@pytest.mark.parametrize("agent", [agent for agent in AGENTS if "responses" in agent.protocols], ids=lambda a: a.name)
async def test_azd_local_invoke_prints_an_answer_over_responses(running: dict[str, str], agent: Any) -> None:
    shown = await AzdLocalInvoke(running[agent.name]).responses("How long can a customer return unworn boots?")
    assert shown
    assert not shown.startswith("{")


@pytest.mark.parametrize("agent", [agent for agent in AGENTS if "invocations" in agent.protocols], ids=lambda a: a.name)
async def test_azd_local_invoke_prints_an_answer_over_invocations(running: dict[str, str], agent: Any) -> None:
    shown = await AzdLocalInvoke(running[agent.name]).invocations("Order NP-10001 arrived broken, please help.")
    assert shown


def readme_blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def here(command: str, running: dict[str, str]) -> str:
    """A README's command, with the ports and the state folder of this run."""
    for agent in AGENTS:
        command = command.replace(f"http://127.0.0.1:{agent.local_port}", running[agent.name])
    return command.replace("=.state", f"={running['state']}").replace(".venv/bin/python", sys.executable)


async def test_the_python_examples_of_the_readme_run_and_print_what_it_says(running: dict[str, str]) -> None:
    questions, planner = readme_blocks(ROOT / "README.md", "python")
    for code, expected in ((questions, "within 30 days of delivery"), (planner, "6 of 6 steps were done")):
        command = [sys.executable, "-c", here(code, running)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        for line in done.stdout.splitlines():
            assert line in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_shell_examples_of_the_readme_run(running: dict[str, str]) -> None:
    sign, stream = readme_blocks(ROOT / "README.md", "sh")
    for code, expected in ((sign, '"status":"completed"'), (stream, '"outcome":{"type":"success"}')):
        command = here(code, running).replace("http://127.0.0.1:8089", running["webhook-extractor"])
        if "sign github" in command:
            command = command.replace(
                "sign github", f"sign github --url {running['webhook-extractor']} --secret '{SECRET}'"
            )
        environment = os.environ | {"no_proxy": "*"}
        done = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-ec", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout, done.stdout


def test_the_readme_lists_what_make_help_lists() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
async def test_unknown_paths_and_methods_are_json_errors_with_a_code(running: dict[str, str], agent: Any) -> None:
    async with httpx2.AsyncClient(base_url=running[agent.name], trust_env=False) as client:
        for answer in (await client.get("/nowhere"), await client.put("/readiness")):
            assert answer.status_code in {404, 405}
            assert answer.json()["error"]["code"]


async def test_every_agent_idles_below_120_megabytes() -> None:
    """Fresh processes: those of the other tests have worked already."""
    for agent in AGENTS:
        async with AgentProcess(agent.module) as process:
            assert process.rss_mb() < 120, f"{agent.name}: {process.rss_mb():.0f} MB"


async def test_no_agent_looks_outside_loopback_when_nothing_is_configured(running: dict[str, str]) -> None:
    children = psutil.Process(int(running["pid"])).children(recursive=True)
    assert len(children) >= len(AGENTS)
    for child in children:
        outside = [
            connection.raddr
            for connection in child.net_connections(kind="inet")
            if connection.raddr and not connection.raddr.ip.startswith(("127.", "::1", "::ffff:127."))
        ]
        assert outside == []


async def test_the_same_four_answer_with_the_model_of_an_openai_compatible_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server is on loopback, over HTTP, streams and tool calls included; it sees each agent's requests."""
    model = ScriptedModel(OfflineModel().answer)
    async with model.serve() as base_url:
        environment = {"OPENAI_BASE_URL": base_url, "MODEL_NAME": "scripted", "GITHUB_WEBHOOK_SECRET": SECRET}
        for agent in AGENTS:
            before = len(model.requests)
            async with AgentProcess(agent.module, env=environment) as process:
                azd = AzdLocalInvoke(process.url)
                call = azd.responses if "responses" in agent.protocols else azd.invocations
                shown = await call("Order NP-10001 arrived damaged. How long can unworn boots be returned?")
                assert "scripted" in process.output()
            assert shown
            asked = model.requests[before:]
            assert asked, f"{agent.name} did not ask the server"
            assert {request.model for request in asked} == {"scripted"}
