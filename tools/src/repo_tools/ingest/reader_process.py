"""Converts files in a process of its own, with a limit of time and memory: a file that hangs or crashes its reader
takes that process down and nothing else.

The process is kept from file to file, because starting it costs more than reading most files. It gets one request a
line on its standard input, `{"path", "name", "updated", "document"}`, writes the document there and answers with one
line, `{"problem", "lasting"}`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from repo_tools.ingest.conversion import Source, Unreadable, convert
from repo_tools.ingest.limits import Limits

FILES_PER_PROCESS = 200
"""After which a new one is started: what the readers keep in memory must not add up to the limit."""
MAX_CHARACTERS = 20_000_000
"""Of one document. A small file can unpack to any size."""
_OUT_OF_MEMORY = 77
"""The process's exit code. It cannot go on: what it still holds is unknown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no document of a file."""

    reason: str
    lasting: bool
    """Whether the same file would have the same problem again; a time limit can be raised, a crash may be chance."""


class ReaderProcess:
    """The process, as its parent sees it. For one thread; another may kill it at any time, and close it afterwards."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[str] | None = None
        self._files = 0
        self._lock = threading.Lock()
        self._killed = False

    def read(self, source: Source, document: Path) -> Problem | None:
        """Write what `source` becomes to `document`; returns why it could not be."""
        process = self._running()
        if process is None:
            return Problem("interrupted", lasting=False)
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._limits.seconds, end)
        timer.start()
        request = {"path": str(source.path), "name": source.name, "updated": source.updated, "document": str(document)}
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith("\n"):
            answer = json.loads(line)
            return Problem(answer["problem"], answer["lasting"]) if answer["problem"] else None
        code = process.wait()
        self.close()
        if late.is_set():
            return Problem(f"took longer than {self._limits.seconds:g} s", lasting=False)
        if code == _OUT_OF_MEMORY:
            return Problem(f"needs more than {self._limits.memory_megabytes} MB of memory to be read", lasting=False)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Problem(f"its reader {how}", lasting=False)

    def kill(self) -> None:
        """Ends the reading of a file at once; no other is read."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _running(self) -> "subprocess.Popen[str] | None":
        if self._files >= FILES_PER_PROCESS:
            self.close()
        with self._lock:
            if self._killed:
                return None
            if self._process is None:
                self._files = 0
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, json.dumps([self._limits.seconds, self._limits.memory_megabytes])],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # the readers' warnings about files that they read all the same
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is for the parent, which then ends this one
                )
            self._files += 1
            return self._process


def serve(requests: TextIO, answers: TextIO, *, seconds: float, memory_megabytes: int) -> None:
    """What the process does."""
    _limit_memory(memory_megabytes)
    for line in requests:
        request = json.loads(line)
        if hasattr(signal, "alarm"):
            signal.alarm(int(seconds) + 10)  # ends this process also where the parent, which is faster, is gone
        source = Source(Path(request["path"]), request["name"], request["updated"])
        problem = _convert(source, Path(request["document"])) or Problem("", lasting=True)
        answers.write(json.dumps({"problem": problem.reason, "lasting": problem.lasting}) + "\n")
        answers.flush()


def _convert(source: Source, document: Path) -> Problem | None:
    try:
        text = convert(source)
        if len(text) > MAX_CHARACTERS:
            raise Unreadable(f"has more than {MAX_CHARACTERS // 1_000_000} million characters")
        document.write_text(text, encoding="utf-8", newline="\n")
    except Unreadable as error:
        return Problem(str(error), lasting=True)
    except OSError as error:
        return Problem(error.strerror or str(error), lasting=False)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except RecursionError:
        return Problem("is nested too deeply", lasting=True)
    except Exception as error:  # noqa: BLE001 - a reader may raise anything at a damaged file
        lines = str(error).splitlines()
        return Problem(f"its reader failed: {type(error).__name__}: {lines[0] if lines else ''}"[:200], lasting=True)
    return None


def _limit_memory(megabytes: int) -> None:
    try:
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 1_000_000, megabytes * 1_000_000))
    except (ImportError, ValueError, OSError):
        return  # macOS knows the limit and refuses it; the limit of time holds everywhere


if __name__ == "__main__":
    # Whatever a reader prints must not be taken for an answer.
    own_output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    given_seconds, given_megabytes = json.loads(sys.argv[1])
    serve(sys.stdin, own_output, seconds=given_seconds, memory_megabytes=given_megabytes)
