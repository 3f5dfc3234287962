"""Control groups of Linux: which limits hold in one and what it has used, and one of our own for an engine that sets no
limits. Both layouts are known, the single tree (v2) and a tree for each controller (v1).

Files: https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
FILES = (
    "memory.max",
    "memory.peak",
    "cpu.max",
    "memory/memory.limit_in_bytes",
    "memory/memory.max_usage_in_bytes",
    "cpu/cpu.cfs_quota_us",
    "cpu/cpu.cfs_period_us",
)
"""What `Account.of` reads, below the mount in a container."""
_PERIOD = 100_000
_UNLIMITED = 1 << 60
"""v1 has no word for it but the largest number of pages."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a group may use and has used at most; None where there is no limit, or the kernel does not say."""

    cpus: float | None
    memory_limit: int | None
    """bytes"""
    memory_peak: int | None
    """bytes, with the files that it has read, which the kernel keeps in memory as long as there is room"""

    @classmethod
    def of(cls, files: Mapping[str, str]) -> "Account":
        """From the content of those of `FILES` that are there."""
        quota, period = (files.get("cpu.max") or "max 0").split()
        if "cpu/cpu.cfs_quota_us" in files:
            quota, period = files["cpu/cpu.cfs_quota_us"], files["cpu/cpu.cfs_period_us"]
        return cls(
            int(quota) / int(period) if quota.isdecimal() else None,
            _bytes(files.get("memory.max") or files.get("memory/memory.limit_in_bytes")),
            _bytes(files.get("memory.peak") or files.get("memory/memory.max_usage_in_bytes")),
        )


def _bytes(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and int(text) < _UNLIMITED else None


class ControlGroup:
    """A group of our own. `command` starts a program in it, and `remove` must follow once that has ended.

    Raises:
        OSError: no group can be made here: another system, no right to, or a controller that is not there.
    """

    def __init__(self, cpus: float, memory: int, *, mount: Path = MOUNT, own: Path = Path("/proc/self/cgroup")) -> None:
        name = f"image-trial-{uuid.uuid4().hex[:12]}"
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
        mine = {part: (controllers, path) for _, controllers, path in lines for part in controllers.split(",")}
        quota = int(cpus * _PERIOD)
        self._folders: dict[str, Path] = {}
        try:
            if "memory" in mine and "cpu" in mine:
                for controller in ("memory", "cpu"):
                    controllers, path = mine[controller]
                    # Below the group that we are in, so that what limits us holds there too.
                    self._make(controller, mount / controllers / path.lstrip("/") / name)
                self._write("memory", "memory.limit_in_bytes", memory)
                self._write("cpu", "cpu.cfs_period_us", _PERIOD)
                self._write("cpu", "cpu.cfs_quota_us", quota)
            else:
                # A group with processes of its own can have none below it that is limited: so at the top.
                controllers = (mount / "cgroup.subtree_control").read_text(encoding="utf-8")
                if not {"cpu", "memory"} <= {*controllers.split()}:
                    raise OSError(f"{mount}/cgroup.subtree_control does not list cpu and memory")
                self._make("", mount / name)
                self._write("", "memory.max", memory)
                self._write("", "cpu.max", f"{quota} {_PERIOD}")
        except OSError:
            self.remove()
            raise

    def _make(self, controller: str, folder: Path) -> None:
        folder.mkdir()
        self._folders[controller] = folder

    def _write(self, controller: str, name: str, value: object) -> None:
        (self._folders[controller] / name).write_text(str(value), encoding="utf-8")

    def command(self, command: list[str]) -> list[str]:
        """The command that runs the given one in the group, all of its children with it."""
        joined = [str(folder / "cgroup.procs") for folder in self._folders.values()]
        script = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
        return ["sh", "-c", script, "sh", *joined, "--", *command]

    def account(self) -> Account:
        places = {name: self._place(name) for name in FILES}
        return Account.of(
            {name: place.read_text(encoding="utf-8").strip() for name, place in places.items() if place.is_file()}
        )

    def _place(self, name: str) -> Path:
        controller, _, file = name.rpartition("/")
        return self._folders.get(controller, Path("/nowhere")) / file

    def remove(self, *, seconds: float = 10.0) -> None:
        """Remove the group as soon as the kernel has let go of its processes.

        Raises:
            OSError: something still runs in it.
        """
        deadline = time.monotonic() + seconds
        for controller, folder in [*self._folders.items()]:
            while True:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            del self._folders[controller]
