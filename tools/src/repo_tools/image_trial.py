"""Runs a built image once, offline, and measures it: `make images ARGS=--try`.

With docker and podman it runs in the size that the agents ask for (0.5 CPU, 1 GiB), with a read-only root, without
capabilities. buildah has no such limits: there it runs with buildah's own isolation, and the root can be written.
"""

import asyncio
import json
import re
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx2
import psutil
from agent_runtime.testing.azd_invoke import AgentFailed, AzdLocalInvoke
from agent_runtime.testing.serving import free_port

from repo_tools.images import Engine
from repo_tools.repository import Agent

MOST_OWN_BYTES = 200_000_000
MOST_STOP_SECONDS = 10.0
CONCURRENT = 20
_QUESTION = "Order NP-10001 arrived with a torn seam. How long can unworn boots be returned?"
_OWN_FILES = "/opt/agent"
_MEASURE = (
    "import os, sys; print(sum(os.lstat(os.path.join(d, f)).st_size for d, _, fs in os.walk(sys.argv[1]) for f in fs))"
)


class TrialFailed(Exception):
    """The image does not hold what is promised of it; the message says what."""


@dataclass(slots=True)
class Trial:
    """What one image did. Times in seconds, sizes in bytes."""

    agent: str
    user: int = -1
    own_bytes: int = 0
    """of the files above the base image"""
    ready_seconds: float = 0.0
    first_answer_seconds: float = 0.0
    """from the start of the container"""
    idle_bytes: int = 0
    busy_seconds: float = 0.0
    """until all of `CONCURRENT` requests at once were answered"""
    stop_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.agent}: user {self.user}, {self.own_bytes / 1e6:.0f} MB above the base, ready after "
            f"{self.ready_seconds:.1f} s, first answer after {self.first_answer_seconds:.1f} s, "
            f"{self.idle_bytes / 1e6:.0f} MB idle, {CONCURRENT} requests at once in {self.busy_seconds:.1f} s, "
            f"stopped in {self.stop_seconds:.1f} s"
        )


class _Container:
    """One container of docker or podman."""

    def __init__(self, engine: Engine, tag: str) -> None:
        self._engine, self._tag = engine, tag
        self._name = f"try-{uuid.uuid4().hex[:12]}"
        self._process: subprocess.Popen[bytes] | None = None

    def output_of(self, *command: str) -> str:
        """What a command in the image prints."""
        return _output([self._engine.path, "run", "--rm", "--entrypoint", command[0], self._tag, *command[1:]])

    def start(self, port: int) -> None:
        command = [
            self._engine.path, "run", "--rm", "--name", self._name, "--read-only",
            "--tmpfs", "/tmp", "--tmpfs", "/home/app:mode=1777",  # noqa: S108 - in the container
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--cpus", "0.5", "--memory", "1g",
            "--publish", f"127.0.0.1:{port}:8088", self._tag,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def memory(self) -> int:
        used = _output([self._engine.path, "stats", "--no-stream", "--format", "{{.MemUsage}}", self._name])
        found = re.match(r"([\d.]+)\s*([kKMG]?i?)B", used)
        if not found:
            raise TrialFailed(f"{self._engine.name} tells no memory: {used!r}")
        base = 1024 if found[2].endswith("i") else 1000
        return int(float(found[1]) * base ** " KMG".index(found[2][:1].upper() or " "))

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 30 s."""
        _output([self._engine.path, "stop", "--time", "30", self._name])
        if self._process:
            self._process.wait(30)

    def remove(self) -> None:
        subprocess.run([self._engine.path, "rm", "--force", self._name], capture_output=True, check=False)


class _BuildahContainer(_Container):
    """A working container of buildah, which shares the machine's network."""

    def __init__(self, engine: Engine, tag: str) -> None:
        super().__init__(engine, tag)
        self._name = _output([engine.path, "from", tag])
        described = json.loads(_output([engine.path, "inspect", "--type", "image", tag]))
        self._command: list[str] = described["Docker"]["config"]["Cmd"]

    def _run(self, *command: str, env: Sequence[str] = ()) -> list[str]:
        return [self._engine.path, "run", "--isolation", "chroot", *env, self._name, "--", *command]

    def output_of(self, *command: str) -> str:
        return _output(self._run(*command))

    def start(self, port: int) -> None:
        command = self._run(*self._command, env=("--env", f"PORT={port}"))
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _agent(self) -> psutil.Process:
        if not self._process:
            raise TrialFailed("the container was not started")
        for child in psutil.Process(self._process.pid).children(recursive=True):
            if child.cmdline()[1:] == self._command[1:] and "buildah" not in child.name():
                return child
        raise TrialFailed("the agent's process is gone")

    def memory(self) -> int:
        return int(self._agent().memory_info().rss)

    def stop(self) -> None:
        agent = self._agent()
        agent.terminate()
        _, alive = psutil.wait_procs([agent], timeout=30)
        for one in alive:
            one.kill()
        if self._process:
            self._process.wait(30)

    def remove(self) -> None:
        subprocess.run([self._engine.path, "rm", self._name], capture_output=True, check=False)


async def try_image(engine: Engine, agent: Agent, tag: str, *, ready_seconds: float = 60.0) -> Trial:
    """Start the image, ask it, measure it and stop it.

    Raises:
        TrialFailed: it cannot be measured. What does not hold is in `Trial.problems`.
    """
    container = (_BuildahContainer if engine.name == "buildah" else _Container)(engine, tag)
    trial = Trial(agent.name)
    try:
        trial.user = int(container.output_of("id", "-u"))
        trial.own_bytes = int(container.output_of("python", "-c", _MEASURE, _OWN_FILES))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        started = time.monotonic()
        container.start(port)
        await _ready(url, started + ready_seconds)
        trial.ready_seconds = time.monotonic() - started
        answers = await _ask(agent, url, 1)
        trial.first_answer_seconds = time.monotonic() - started
        trial.idle_bytes = container.memory()
        asked = time.monotonic()
        answers += await _ask(agent, url, CONCURRENT)
        trial.busy_seconds = time.monotonic() - asked
        stopping = time.monotonic()
        container.stop()
        trial.stop_seconds = time.monotonic() - stopping
    finally:
        container.remove()
    trial.problems = [answer for answer in answers if answer]
    if trial.user == 0:
        trial.problems.append("it runs as root")
    if trial.own_bytes > MOST_OWN_BYTES:
        trial.problems.append(f"its own files have more than {MOST_OWN_BYTES / 1e6:.0f} MB")
    if trial.stop_seconds > MOST_STOP_SECONDS:
        trial.problems.append(f"it did not stop within {MOST_STOP_SECONDS:.0f} s of SIGTERM")
    return trial


async def _ready(url: str, deadline: float) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline:
            try:
                if (await client.get(f"{url}/readiness")).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.05)
    raise TrialFailed("it did not become ready")


async def _ask(agent: Agent, url: str, times: int) -> list[str]:
    """Ask over each protocol, `times` at once; for each answer what is wrong with it, "" where nothing is."""

    async def once(protocol: str) -> str:
        azd = AzdLocalInvoke(url)
        try:
            shown = await (azd.responses if protocol == "responses" else azd.invocations)(_QUESTION)
        except (AgentFailed, httpx2.HTTPError, TimeoutError) as error:
            return f"{protocol}: {type(error).__name__}: {error}"
        return "" if shown.strip() else f"{protocol}: an empty answer"

    found: list[str] = []
    for protocol in agent.protocols:
        found += await asyncio.gather(*(once(protocol) for _ in range(times)))
    return found


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise TrialFailed(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return done.stdout.strip()
