"""Runs the agents of this repository on one machine: starts them, waits until each is ready, says where they are, shows
their logs with a prefix, and stops all of them when one dies or when it is told to stop.

No process runner of the package index waits for readiness and names a taken port, which is what a newcomer needs; the
rest is small enough to read. Configuration comes from the environment and from an untracked `.env` in the root; the
environment wins.
"""

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

import httpx2
from agent_runtime.model_client import describe_model
from agent_runtime.settings import AgentSettings, SettingsError, load_settings
from dotenv import load_dotenv

from repo_tools.repository import ROOT, Agent

LAST_LINES = 20
STOP_SECONDS = 20.0
"""How long the agents may take to finish what they are doing, before they are killed."""
_COLOURS = (36, 35, 33, 32, 34)


@dataclass(slots=True)
class Running:
    """One agent's process, with the last lines that it wrote."""

    agent: Agent
    port: int
    process: asyncio.subprocess.Process
    prefix: str
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    held: list[str] | None = field(default_factory=list)
    """Lines that wait for the list of agents to be printed first; None once they flow."""

    @property
    def url(self) -> str:
        address = os.environ["BIND_ADDRESS"]
        return f"http://{'127.0.0.1' if address == '0.0.0.0' else address}:{self.port}"  # noqa: S104


def run(agents: Sequence[Agent], *, ready_timeout: float) -> int:
    """Run `agents` until SIGINT, SIGTERM or the end of one. Returns the exit code: 0 when told to stop, 1 when an agent
    died or did not become ready, 2 when nothing could be started."""
    load_dotenv(ROOT / ".env")
    # Empty counts as unset, as in the agents' settings.
    os.environ["AGENTSERVER_STATE_ROOT"] = os.environ.get("AGENTSERVER_STATE_ROOT") or str(ROOT / ".state")
    # Nothing authenticates a caller on one machine, so other machines must not reach the agents.
    os.environ["BIND_ADDRESS"] = os.environ.get("BIND_ADDRESS") or "127.0.0.1"
    try:
        # An agent reads its settings again; here they show a mistake once, not four times, and name the model.
        ports = _ports(agents, os.environ.pop("PORT", ""))
        model = describe_model(load_settings(AgentSettings))
        taken = [(agent, port) for agent, port in zip(agents, ports, strict=True) if not _is_free(port)]
    except (SettingsError, ValueError) as error:
        for line in str(error).splitlines():
            print(f"run: {line}", file=sys.stderr)
        return 2
    for agent, port in taken:
        print(
            f"run: port {port} for {agent.name} is taken by another process. Stop that process, or choose another "
            f"port: make run {f'AGENT={agent.name} ' if len(agents) == 1 else ''}PORT={port + 1000}",
            file=sys.stderr,
        )
    if taken:
        return 2
    return asyncio.run(_run(agents, ports, model, ready_timeout))


def _ports(agents: Sequence[Agent], wanted: str) -> list[int]:
    """Each agent's own local port, or, with `PORT`, ports counted from it."""
    if not wanted:
        return [agent.local_port for agent in agents]
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 65535 - len(agents):
        raise ValueError(f"PORT: must be a port number, and is {wanted!r}. Correct it or unset it.")
    return [int(wanted) + offset for offset in range(len(agents))]


def _is_free(port: int) -> bool:
    """Whether an agent could listen; False where another process does.

    Raises:
        ValueError: it could not for another reason. The text says what to correct.
    """
    address = os.environ["BIND_ADDRESS"]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            if error.errno == errno.EACCES:
                raise ValueError(f"PORT: {port} needs more rights than you have. Set it to one above 1023.") from None
            problem = f"cannot listen on {address!r} ({error.strerror}). Set it to an IPv4 address of this machine"
            raise ValueError(f"BIND_ADDRESS: {problem}, or unset it.") from None
    return True


async def _run(agents: Sequence[Agent], ports: Sequence[int], model: str, ready_timeout: float) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A closed terminal hangs up, and reaches no agent, because each has a session of its own. `nohup` ignores it.
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
            loop.add_signal_handler(number, stop.set)
    width = max(len(agent.name) for agent in agents)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    _say(f"starting {', '.join(agent.name for agent in agents)} …", stop)

    running: list[Running] = []
    readers: list[asyncio.Task[None]] = []
    try:
        for index, (agent, port) in enumerate(zip(agents, ports, strict=True)):
            prefix = f"{agent.name:<{width}} | "
            if colour:
                prefix = f"\033[{_COLOURS[index % len(_COLOURS)]}m{prefix}\033[0m"
            running.append(Running(agent, port, await _spawn(agent, port), prefix))
            readers.append(asyncio.create_task(_read_lines(running[-1], stop)))
        code = await _watch(running, stop, model, ready_timeout)
    finally:
        _say("stopping …")
        await _stop_all(running, stop)
        await asyncio.gather(*readers)
    _say("stopped")
    return code


async def _spawn(agent: Agent, port: int) -> asyncio.subprocess.Process:
    environment = os.environ | {"PORT": str(port), "PYTHONUNBUFFERED": "1"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", agent.module,
        cwd=agent.folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1_000_000,
        # Its own group: Ctrl-C reaches this process alone, which then stops the agents in order.
        start_new_session=True,
    )  # fmt: skip


async def _read_lines(running: Running, stop: asyncio.Event) -> None:
    assert running.process.stdout is not None  # noqa: S101 - opened as a pipe above
    while True:
        try:
            raw = await running.process.stdout.readline()
        except ValueError:  # A line longer than the limit; the reader has dropped it.
            continue
        if not raw:
            return
        line = raw.decode(errors="replace").rstrip()
        running.last_lines.append(line)
        if running.held is None:
            _say(running.prefix + line, stop)
        else:
            running.held.append(line)


async def _watch(running: Sequence[Running], stop: asyncio.Event, model: str, ready_timeout: float) -> int:
    deaths = {asyncio.create_task(one.process.wait()): one for one in running}
    stopping = asyncio.create_task(stop.wait())
    ready = asyncio.create_task(_all_ready(running, ready_timeout))
    try:
        await asyncio.wait({stopping, ready, *deaths}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and not stop.is_set() and not any(death.done() for death in deaths):
            late = ready.result()
            if late:
                for one in late:
                    _report(one, f"was not ready after {ready_timeout:g} s")
                return 1
            width = max(len(one.agent.name) for one in running)
            for one in running:
                protocols = " and ".join(one.agent.protocols)
                _say(f"{one.agent.name:<{width}}  {one.url}  {protocols:<25}  model: {model}", stop)
            _say("ready; Ctrl-C stops them all", stop)
            for one in running:
                held, one.held = one.held or [], None
                for line in held:
                    _say(one.prefix + line, stop)
            await asyncio.wait({stopping, *deaths}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 0
        for death, one in deaths.items():
            if death.done():
                _report(one, _ended(death.result()))
        return 1
    finally:
        for task in (stopping, ready, *deaths):
            task.cancel()
        for one in running:
            one.held = None


async def _all_ready(running: Sequence[Running], timeout: float) -> list[Running]:
    """Wait for `GET /readiness` of each; returns those that did not answer 200 in time."""
    deadline = time.monotonic() + timeout
    waiting = list(running)
    # Loopback must not go through a proxy of the environment.
    async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
        while waiting and time.monotonic() < deadline:
            for one in list(waiting):
                try:
                    answer = await client.get(f"{one.url}/readiness")
                except httpx2.HTTPError:
                    continue
                if answer.status_code == 200:
                    waiting.remove(one)
            await asyncio.sleep(0.1)
    return waiting


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _report(one: Running, what: str) -> None:
    _say(f"\nrun: {one.agent.name} {what}. Its last lines:", file=sys.stderr)
    for line in one.last_lines:
        _say(f"  {line}", file=sys.stderr)


def _say(line: str, stop: asyncio.Event | None = None, *, file: TextIO | None = None) -> None:
    """Print a line. Where nobody can read it any more (`make run | tee log` and Ctrl-C, a closed terminal), tell `stop`
    instead of raising: an exception here would leave the agents behind, on their ports."""
    file = file or sys.stdout
    try:
        print(line, file=file, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())  # what is in the buffer would fail once more at exit
        os.close(nowhere)
        if stop is not None:
            stop.set()


async def _stop_all(running: Sequence[Running], stop: asyncio.Event) -> None:
    """SIGTERM to each, and SIGKILL to what is still there after `STOP_SECONDS` or a second Ctrl-C."""
    stop.clear()
    alive = [one for one in running if one.process.returncode is None]
    for one in alive:
        one.process.terminate()
    ends = [asyncio.create_task(one.process.wait()) for one in alive]
    again = asyncio.create_task(stop.wait())
    deadline = time.monotonic() + STOP_SECONDS
    while not all(end.done() for end in ends) and not again.done() and time.monotonic() < deadline:
        waiting = {again, *(end for end in ends if not end.done())}
        await asyncio.wait(waiting, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    for one in alive:
        if one.process.returncode is None:
            _say(f"run: {one.agent.name} did not stop in time and is killed", file=sys.stderr)
            one.process.kill()
    await asyncio.gather(*ends)
