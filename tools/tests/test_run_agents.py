"""The local runner, driven as a person does: a process with a terminal's signals, and small agents made by the test."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

SERVES = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readiness" else 404)
        self.end_headers()
        if self.path == "/die":
            print("about to fall over", flush=True)
            os._exit(3)
    def log_message(self, *_):
        print("served " + self.path, flush=True)
print("bound to " + os.environ["BIND_ADDRESS"], flush=True)
signal.signal(signal.SIGTERM, lambda *_: (print("said goodbye", flush=True), os._exit(0)))
print("hello from start-up", flush=True)
http.server.HTTPServer((os.environ["BIND_ADDRESS"], int(os.environ["PORT"])), Handler).serve_forever()
"""
NEVER_READY = "import time\nprint('still thinking', flush=True)\ntime.sleep(60)\n"
FAILS = "import sys\nprint('no model called x', file=sys.stderr)\nsys.exit(7)\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@dataclass
class Runner:
    """The runner as a child process; `lines` grows as it writes."""

    process: subprocess.Popen[str]
    lines: list[str]
    reader: threading.Thread

    def wait_for(self, text: str, seconds: float = 30.0) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if text in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{text!r} did not show in {seconds} s:\n" + "\n".join(self.lines))

    def ended(self, seconds: float = 30.0) -> int:
        code = self.process.wait(seconds)
        self.reader.join(seconds)
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    started: list[Runner] = []

    def run(agents: dict[str, tuple[str, int]], *, deaf_after: str | None = None, **environment: str) -> Runner:
        """`deaf_after` closes the runner's output at the line that holds it, as `head` does."""
        listed = []
        for name, (source, port) in agents.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / f"{name.replace('-', '_')}.py").write_text(source)
            listed.append(f"Agent({name!r}, Path({str(folder)!r}), {port}, ('responses',))")
        code = (
            "import sys; from pathlib import Path; from repo_tools import run_agents; "
            "from repo_tools.repository import Agent; "
            f"sys.exit(run_agents.run([{', '.join(listed)}], ready_timeout=3.0))"
        )
        # The modules are found in the agent's folder, which is each agent's working directory.
        variables = os.environ | {"MODEL_PROVIDER": "offline"} | environment
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        lines: list[str] = []
        assert process.stdout is not None
        stdout = process.stdout

        def read() -> None:
            for line in stdout:
                lines.append(line.rstrip("\n"))
                if deaf_after is not None and deaf_after in line:
                    stdout.close()
                    return

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        started.append(Runner(process, lines, reader))
        return started[-1]

    yield run
    for runner in started:
        if runner.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(runner.process.pid).children(recursive=True):
                    child.kill()
            runner.process.kill()
            runner.process.wait(10)
        runner.reader.join(10)
        assert runner.process.stdout is not None
        runner.process.stdout.close()


def test_it_lists_each_agent_with_url_protocol_and_model_before_any_log_line(start) -> None:
    one, two = free_port(), free_port()
    runner = start({"agent-one": (SERVES, one), "two": (SERVES, two)})
    runner.wait_for("two       | hello from start-up")
    runner.wait_for("agent-one | hello from start-up")
    listed = [index for index, line in enumerate(runner.lines) if "model: offline-extractive" in line]
    first_log = next(index for index, line in enumerate(runner.lines) if " | " in line)
    assert len(listed) == 2
    assert max(listed) < first_log
    assert f"http://127.0.0.1:{one}" in runner.lines[listed[0]]
    assert "responses" in runner.lines[listed[0]]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["Ctrl-C", "SIGTERM", "closed terminal"]
)
def test_a_signal_stops_every_agent_and_ends_with_zero(start, number: signal.Signals) -> None:
    runner = start({"one": (SERVES, free_port()), "two": (SERVES, free_port())})
    runner.wait_for("two | hello")
    children = psutil.Process(runner.process.pid).children(recursive=True)
    assert len(children) == 2
    runner.process.send_signal(number)
    assert runner.ended() == 0
    assert sum("said goodbye" in line for line in runner.lines) == 2
    assert psutil.wait_procs(children, timeout=5)[1] == []


@pytest.mark.parametrize("line", ["starting", "ready; Ctrl-C"])
def test_when_nobody_reads_the_output_any_more_every_agent_is_stopped(start, line: str) -> None:
    ports = [free_port(), free_port()]
    runner = start({"one": (SERVES, ports[0]), "two": (SERVES, ports[1])}, deaf_after=line)
    runner.wait_for(line)
    runner.reader.join(10)
    runner.process.send_signal(signal.SIGINT)  # as Ctrl-C does, which ends both sides of `make run | tee log`
    runner.ended()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_an_agent_that_dies_is_reported_with_its_last_lines_and_takes_the_rest_down(start) -> None:
    port = free_port()
    runner = start({"one": (SERVES, port), "two": (SERVES, free_port())})
    runner.wait_for("ready; Ctrl-C")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /die HTTP/1.0\r\n\r\n")
        client.recv(100)
    assert runner.ended() == 1
    report = next(index for index, line in enumerate(runner.lines) if "one ended with exit code 3" in line)
    assert any("about to fall over" in line for line in runner.lines[report:])
    assert any("two | said goodbye" in line for line in runner.lines)


def test_an_agent_that_cannot_start_is_reported_with_what_it_said(start) -> None:
    runner = start({"one": (FAILS, free_port()), "two": (SERVES, free_port())})
    assert runner.ended() == 1
    report = next(index for index, line in enumerate(runner.lines) if "one ended with exit code 7" in line)
    assert "no model called x" in runner.lines[report + 1]


def test_an_agent_that_never_gets_ready_ends_the_run(start) -> None:
    runner = start({"slow": (NEVER_READY, free_port())})
    assert runner.ended() == 1
    runner.wait_for("slow was not ready after 3 s")
    runner.wait_for("still thinking")


def test_a_taken_port_is_named_in_one_line_with_the_fix(start) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        runner = start({"one": (SERVES, port)})
        assert runner.ended() == 2
    assert len(runner.lines) == 1
    assert f"port {port} for one is taken" in runner.lines[0]
    assert "make run AGENT=one PORT=" in runner.lines[0]


def test_the_fix_for_a_taken_port_works(start) -> None:
    port = free_port()
    runner = start({"one": (SERVES, 1)}, PORT=str(port))
    assert f"http://127.0.0.1:{port}" in runner.wait_for("model: offline-extractive")


@pytest.mark.parametrize("address", ["nonsense", "::1", "203.0.113.7"])
def test_an_address_that_cannot_be_listened_on_is_not_called_a_taken_port(start, address: str) -> None:
    runner = start({"one": (SERVES, free_port())}, BIND_ADDRESS=address)
    assert runner.ended() == 2
    assert len(runner.lines) == 1
    assert runner.lines[0].startswith(f"run: BIND_ADDRESS: cannot listen on '{address}' (")


def test_an_agent_on_another_address_is_asked_and_listed_there(start) -> None:
    runner = start({"one": (SERVES, free_port())}, BIND_ADDRESS="127.0.0.2")
    assert "http://127.0.0.2:" in runner.wait_for("model: offline-extractive")


def test_an_empty_address_keeps_the_agents_on_this_machine(start) -> None:
    runner = start({"one": (SERVES, free_port())}, BIND_ADDRESS="")
    assert runner.wait_for("bound to ").endswith("bound to 127.0.0.1")


def test_a_bad_setting_is_named_once_and_nothing_is_started(start) -> None:
    runner = start({"one": (SERVES, free_port()), "two": (SERVES, free_port())}, MODEL_PROVIDER="ollama")
    assert runner.ended() == 2
    assert len(runner.lines) == 1
    assert runner.lines[0].startswith("run: MODEL_PROVIDER: ")


def test_an_unknown_agent_is_answered_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "repo_tools", "run", "rag-chatt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "no agent is called rag-chatt. There are: rag-chat, webhook-extractor" in done.stderr
