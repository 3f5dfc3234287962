"""A built image as a container: started, measured, stopped, with the engine that built it.

docker and podman run it in the size that the agents ask for (0.5 CPU, 1 GiB), with a read-only root and without
capabilities. buildah has no such options: there it runs with buildah's own isolation, the root can be written, and the
size is that of a control group made here, where one can be made.
"""

import json
import re
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

import psutil

from repo_tools.control_group import FILES, MOUNT, Account, ControlGroup
from repo_tools.images import Engine

CPUS = 0.5
MEMORY = 1 << 30
_READ_ACCOUNT = f'cd {MOUNT}; for f in {" ".join(FILES)}; do [ ! -r $f ] || echo "$f=$(cat $f)"; done'


class TrialFailed(Exception):
    """The image does not hold what is promised of it, or cannot be measured; the message says what."""


class Container:
    """One container of docker or podman."""

    unlimited = ""
    """Why no limit holds; "" where the engine was told the limits."""

    def __init__(self, engine: Engine, tag: str) -> None:
        self._engine, self._tag = engine, tag
        self._name = f"try-{uuid.uuid4().hex[:12]}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by remove()

    def output_of(self, *command: str) -> str:
        """What a command in the image prints."""
        return _output([self._engine.path, "run", "--rm", "--entrypoint", command[0], self._tag, *command[1:]])

    def start(self, port: int) -> None:
        # The health check is run by `check_health`: podman would need systemd to run it.
        command = [
            self._engine.path, "run", "--rm", "--name", self._name, "--read-only",
            # A volume takes over the folder's owner; in a tmpfs, as runc 1.1 mounts it, only root may write.
            "--tmpfs", "/tmp", "--volume", "/home/app",  # noqa: S108 - in the container
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--no-healthcheck",
            "--cpus", str(CPUS), "--memory", str(MEMORY), "--memory-swap", str(MEMORY),
            "--publish", f"127.0.0.1:{port}:8088", self._tag,
        ]  # fmt: skip
        self._spawn(command)

    def _spawn(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)

    def log(self) -> str:
        """The last lines that it wrote."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-10:])

    def check_health(self) -> None:
        """Run the image's HEALTHCHECK.

        Raises:
            TrialFailed: there is none, or it says that the agent is not healthy.
        """
        [image] = json.loads(_output([self._engine.path, "image", "inspect", self._tag]))
        test = _health_check(image.get("Healthcheck") or image.get("Config", {}).get("Healthcheck"))
        _output([self._engine.path, "exec", self._name, *test])

    def memory(self) -> int:
        """Bytes that it uses now, as the engine counts them."""
        used = _output([self._engine.path, "stats", "--no-stream", "--format", "{{.MemUsage}}", self._name])
        found = re.match(r"([\d.]+)\s*([kKMG]?i?)B", used)
        if not found:
            raise TrialFailed(f"{self._engine.name} tells no memory: {used!r}")
        base = 1024 if found[2].endswith("i") else 1000
        return int(float(found[1]) * base ** " KMG".index(found[2][:1].upper() or " "))

    def account(self) -> Account:
        """The limits that hold in it, as the kernel has them, and the most memory that it has used."""
        told = _output([self._engine.path, "exec", self._name, "sh", "-c", _READ_ACCOUNT])
        return Account.of(dict(line.split("=", 1) for line in told.splitlines()))

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 30 s."""
        _output([self._engine.path, "stop", "--time", "30", self._name])
        if self._process:
            self._process.wait(30)

    def remove(self) -> None:
        subprocess.run([self._engine.path, "rm", "--force", "--volumes", self._name], capture_output=True, check=False)
        if self._process:
            self._process.wait(30)
        self._log.close()


class BuildahContainer(Container):
    """A working container of buildah, which shares the machine's network."""

    def __init__(self, engine: Engine, tag: str) -> None:
        super().__init__(engine, tag)
        self._name = _output([engine.path, "from", tag])
        described = json.loads(_output([engine.path, "inspect", "--type", "image", tag]))
        self._configuration = described["Docker"]["config"]
        self._command: list[str] = self._configuration["Cmd"]
        self._port = 0
        self._group: ControlGroup | None = None
        try:
            self._group = ControlGroup(CPUS, MEMORY)
        except OSError as error:
            self.unlimited = f"buildah sets no limits, and no control group can be made here: {error}"

    def _run(self, *command: str) -> list[str]:
        port = ("--env", f"PORT={self._port}")
        return [self._engine.path, "run", "--isolation", "chroot", *port, self._name, "--", *command]

    def output_of(self, *command: str) -> str:
        return _output(self._run(*command))

    def start(self, port: int) -> None:
        self._port = port
        command = self._run(*self._command)
        self._spawn(self._group.command(command) if self._group else command)

    def check_health(self) -> None:
        _output(self._run(*_health_check(self._configuration.get("Healthcheck"))))

    def _agent(self) -> psutil.Process:
        if not self._process:
            raise TrialFailed("the container was not started")
        for child in psutil.Process(self._process.pid).children(recursive=True):
            if child.cmdline()[1:] == self._command[1:] and "buildah" not in child.name():
                return child
        raise TrialFailed(f"the agent's process is gone:\n{self.log()}")

    def memory(self) -> int:
        return int(self._agent().memory_info().rss)

    def account(self) -> Account:
        if self._group:
            return self._group.account()
        status = Path(f"/proc/{self._agent().pid}/status").read_text(encoding="utf-8")
        most = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return Account(None, None, int(most[1]) * 1024 if most else None)

    def stop(self) -> None:
        agent = self._agent()
        agent.terminate()
        _, alive = psutil.wait_procs([agent], timeout=30)
        for one in alive:
            one.kill()
        if self._process:
            self._process.wait(30)

    def remove(self) -> None:
        if self._process and self._process.poll() is None:
            for child in psutil.Process(self._process.pid).children(recursive=True):
                child.kill()
            self._process.wait(30)
        subprocess.run([self._engine.path, "rm", self._name], capture_output=True, check=False)
        if self._group:
            self._group.remove()
        self._log.close()


def _health_check(found: dict[str, list[str]] | None) -> list[str]:
    kind, *command = (found or {}).get("Test") or ["NONE"]
    if kind != "CMD":
        raise TrialFailed("its HEALTHCHECK is not a command in the form of a list")
    return command


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise TrialFailed(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return done.stdout.strip()
