"""Run an agent as its users do, `python -m <module>`, in a process of its own that a test can watch, stop and kill.

The child sees the test's environment without the machine's model, cloud, telemetry and proxy settings. Its output goes
to a file, so that a child that writes much never blocks on a pipe that nobody reads.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx2

from agent_runtime.testing.serving import LOOPBACK, free_port

_OF_THE_MACHINE = ("AGENT_", "APPLICATIONINSIGHTS_", "AZURE_", "FOUNDRY_", "MODEL_", "OPENAI_", "OTEL_")
_POLL_SECONDS = 0.03


class AgentProcess:
    """One agent process: `async with AgentProcess("rag_chat") as agent: ... agent.url`.

    `env` is added to the child's environment; a value of None removes the variable. `port` may be fixed, to start a
    second process where a first one was. State goes to `AGENTSERVER_STATE_ROOT` of the test's environment, or to a
    folder of its own where the test has none.
    """

    def __init__(
        self,
        module: str,
        *,
        env: Mapping[str, str | None] | None = None,
        arguments: Sequence[str] = (),
        port: int | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        self.module = module
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._arguments = list(arguments)
        self._start_timeout = start_timeout
        self._folder = Path(tempfile.mkdtemp(prefix="agent-process-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # the output outlives the process
        self._log = self._folder / "output.log"
        self._env = self._environment(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> "AgentProcess":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            await self.terminate()

    async def start(self) -> None:
        """Start the process, again after its end if need be, and wait until `/readiness` answers 200.

        Raises:
            RuntimeError: it ended, or was not ready in time. The text holds its output.
        """
        self._spawn()
        try:
            await self._until_ready()
        except BaseException:  # a cancelled start too: nothing else would end the process, which has its own session
            await self.kill()
            raise

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout
        async with httpx2.AsyncClient(trust_env=False, timeout=2.0) as client:
            while time.monotonic() < deadline:
                if not self.running:
                    raise RuntimeError(f"{self.module} ended with exit code {self.returncode}:\n{self.output()}")
                try:
                    if (await client.get(f"{self.url}/readiness")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(_POLL_SECONDS)
        raise RuntimeError(f"{self.module} was not ready after {self._start_timeout:g} s:\n{self.output()}")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._started().poll()

    def output(self) -> str:
        """Everything written to stdout and stderr so far, by all starts of this object."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    async def wait_for_output(self, text: str, *, timeout: float = 10.0) -> str:
        """Wait until the output holds `text`, and give the whole output.

        Raises:
            TimeoutError: it does not after `timeout` seconds. The text holds the output.
        """
        deadline = time.monotonic() + timeout
        while text not in self.output():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.module} did not write {text!r} in {timeout:g} s:\n{self.output()}")
            await asyncio.sleep(_POLL_SECONDS)
        return self.output()

    def rss_mb(self) -> float:
        """Resident memory in MB (10^6 bytes)."""
        import psutil  # noqa: PLC0415  only development has it

        return float(psutil.Process(self.pid).memory_info().rss) / 1_000_000

    async def wait(self, *, timeout: float = 15.0) -> int:
        """Wait for the end of the process and give its exit code.

        Raises:
            TimeoutError: it still runs after `timeout` seconds; it is killed first. The text holds the output.
        """
        deadline = time.monotonic() + timeout
        while self.running:
            if time.monotonic() > deadline:
                await self.kill()
                raise TimeoutError(f"{self.module} still ran after {timeout:g} s:\n{self.output()}")
            await asyncio.sleep(_POLL_SECONDS)
        return self._started().wait()

    async def terminate(self, *, timeout: float = 15.0) -> int:
        """Ask it to stop (SIGTERM) and wait for its end, as `wait`."""
        return await self.stop(signal.SIGTERM, timeout=timeout)

    async def stop(self, number: int = signal.SIGINT, *, timeout: float = 15.0) -> int:
        """Send a signal to the process and wait for its end, as `wait`."""
        if self.running:
            self._started().send_signal(number)
        return await self.wait(timeout=timeout)

    async def kill(self) -> None:
        """End it at once (SIGKILL), with whatever it started itself."""
        process = self._started()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its own session, made in `_spawn`
        await asyncio.to_thread(process.wait, 10.0)

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError(f"{self.module} was not started")
        return self._process

    def _spawn(self) -> None:
        if self.running:
            raise RuntimeError(f"{self.module} runs already")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def _environment(self, extra: Mapping[str, str | None]) -> dict[str, str]:
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_OF_THE_MACHINE) and not name.lower().endswith("_proxy")
        }
        env.setdefault("AGENTSERVER_STATE_ROOT", str(self._folder / "state"))
        env["PORT"] = str(self.port)
        env.setdefault("BIND_ADDRESS", LOOPBACK)
        env["PYTHONUNBUFFERED"] = "1"
        for name, value in extra.items():
            if value is None:
                env.pop(name, None)
            else:
                env[name] = value
        return env
