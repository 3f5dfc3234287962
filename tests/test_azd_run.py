"""`azd ai agent run`: an agent's folder holds what azd looks for there, and starts after what azd installs.

azd's steps are those of the extension azure.ai.agents 1.0.0-beta.11 (Azure/azure-dev, internal/cmd/run.go): a virtual
environment of Python 3.13 or newer in the service's folder; `pip install -e .` (with uv: and pre-releases); then
`-r requirements.txt`; then `startupCommand` without a shell, with PORT set.
"""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from agent_runtime.testing.azd_invoke import AzdLocalInvoke
from agent_runtime.testing.serving import free_port
from repo_tools.repository import ROOT, Agent, agents

AGENTS = agents()
each_agent = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)


def startup_command(folder: Path) -> list[str]:
    definition = yaml.safe_load((folder / "agent.yaml").read_text(encoding="utf-8"))
    return str(definition["startupCommand"]).split()


def newest_python() -> str | None:
    """A Python that azd would take, on PATH."""
    names = ["python3.14", "python3.13", "python3", "python"]
    for found in filter(None, map(shutil.which, names)):
        asked = subprocess.run(
            [found, "-c", "import sys; print(sys.version_info >= (3, 13))"], capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == "True":
            return found
    return None


@each_agent
def test_the_folder_holds_what_azd_looks_for(agent: Agent) -> None:
    assert (agent.folder / "pyproject.toml").is_file()
    assert not (agent.folder / "uv.lock").exists()  # azd would want uv then, and sync from nothing else
    command = startup_command(agent.folder)
    assert command == ["python", "-m", agent.module]  # azd replaces `python` by the one of its environment
    assert (agent.folder / "src" / agent.module / "__main__.py").is_file()


@each_agent
def test_after_the_ranges_azd_installs_the_locked_versions(agent: Agent) -> None:
    """By ranges alone azd takes what is newest, with uv pre-releases too."""
    lines = (agent.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    # An editable or a local package beside hashes would be refused: pip wants a hash for each or for none.
    assert [line for line in lines if line and not line.startswith("#")] == ["-r requirements.lock"]


@pytest.mark.installs
@pytest.mark.skipif(os.environ.get("TEST_INSTALLS") != "1", reason="installs from an index: make test-installs")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("installer", ["pip", "uv"])
@each_agent
def test_an_agent_of_a_clean_clone_starts_and_answers(agent: Agent, installer: str, tmp_path: Path) -> None:
    python = newest_python()
    if python is None:
        pytest.skip("needs Python 3.13 or newer on PATH, as azd does")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    folder = clone / "agents" / agent.name
    subprocess.run([python, "-m", "venv", ".venv"], cwd=folder, check=True)
    inside = folder / ".venv" / "bin" / "python"
    if installer == "uv":
        install = [sys.executable, "-m", "uv", "pip", "install", "--python", str(inside), "--prerelease", "allow", "-q"]
    else:
        install = [str(inside), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    for what in (["-e", "."], ["-r", "requirements.txt"]):
        done = subprocess.run([*install, *what], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(inside), *startup_command(folder)[1:]],
            cwd=folder, env=environment | {"PORT": str(port)}, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        listening(port, process, log)
        azd = AzdLocalInvoke(f"http://127.0.0.1:{port}")
        call = azd.responses if "responses" in agent.protocols else azd.invocations
        question = "Order NP-10001 arrived with a torn seam. How long can unworn boots be returned?"
        assert asyncio.run(call(question)).strip()
    finally:
        process.terminate()
        process.wait(30)
    names = "import importlib.metadata as m, sys; print(*(m.version(n) for n in sys.argv[1:]))"
    locked = ["openai", "starlette", "azure-ai-agentserver-core"]
    told = subprocess.run(
        [str(inside), "-c", names, *locked], capture_output=True, text=True, check=True
    ).stdout.split()
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    assert told == [re.findall(rf"^{name}==(\S+)", lock, re.MULTILINE)[0] for name in locked]
    assert told == [version(name) for name in locked]


def listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """As azd waits: for the port, 90 seconds (it does not ask /readiness)."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
