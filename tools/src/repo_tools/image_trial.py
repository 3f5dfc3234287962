"""Runs a built image once, offline, and measures it: `make images ARGS=--try`.

It is asked over each of its protocols, once for its cold start and then `CONCURRENT` times at once, each time about
another order, and each answer is read: it must be whole and about the order that was asked for.
"""

import asyncio
import itertools
import json
import statistics
import time
from dataclasses import dataclass, field

import httpx2
from agent_runtime.testing.azd_invoke import AgentFailed, AzdLocalInvoke
from agent_runtime.testing.serving import free_port

from repo_tools.control_group import Account
from repo_tools.image_containers import CPUS, MEMORY, BuildahContainer, Container, TrialFailed
from repo_tools.images import Engine
from repo_tools.repository import Agent

MOST_OWN_BYTES = 200_000_000
MOST_STOP_SECONDS = 10.0
CONCURRENT = 20
# The desk's orders that something can be returned of: the planner carries the return out, and that once for each.
_ORDERS = [
    f"NP-{number}" for number in range(10_001, 10_031) if number not in {10_003, 10_005, 10_010, 10_020, 10_022, 10_025}
]
_QUESTION = "Order {} arrived with a torn seam. How long can unworn boots be returned?"
_HANDBOOK_ANSWER = "within 30 days of delivery"
_OWN_FILES = "/opt/agent"
# As the archive of a layer holds them: in blocks of 512 bytes, with a header.
_MEASURE = """
import os, sys
size = 0
for folder, folders, files in os.walk(sys.argv[1]):
    for path in (os.path.join(folder, name) for name in folders + files):
        found = os.lstat(path)
        size += 512 + (0 if os.path.isdir(path) else -(-found.st_size // 512) * 512)
print(size)
"""


@dataclass(frozen=True, slots=True)
class Answer:
    protocol: str
    seconds: float
    problem: str
    """what is wrong with it; "" where nothing is"""


@dataclass(slots=True)
class Trial:
    """What one image did. Times in seconds, sizes in bytes."""

    agent: str
    user: int = -1
    own_bytes: int = 0
    """of the layers above the base image, uncompressed"""
    ready_seconds: float = 0.0
    first_answer_seconds: float = 0.0
    """from the start of the container"""
    idle_bytes: int = 0
    account: Account = field(default_factory=lambda: Account(None, None, None))
    answers: list[Answer] = field(default_factory=list)
    """to `CONCURRENT` requests at once over each protocol"""
    stop_seconds: float = 0.0
    unlimited: str = ""
    """why no limit held"""
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        told = [
            f"{self.agent}: user {self.user}, {self.own_bytes / 1e6:.0f} MB above the base, ready after "
            f"{self.ready_seconds:.1f} s, first answer after {self.first_answer_seconds:.1f} s, "
            f"{self.idle_bytes / 1e6:.0f} MB idle, stopped in {self.stop_seconds:.1f} s"
        ]
        for protocol, answers in itertools.groupby(self.answers, lambda answer: answer.protocol):
            times = [answer.seconds for answer in answers]
            p95 = statistics.quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
            told.append(
                f"{self.agent}: {len(times)} requests at once over {protocol} {self._size()}: "
                f"p50 {statistics.median(times):.1f} s, p95 {p95:.1f} s"
            )
        peak = self.account.memory_peak
        told.append(
            f"{self.agent}: most memory {f'{peak / 1e6:.0f} MB' if peak else 'unknown: the kernel does not say'}"
        )
        return told

    def _size(self) -> str:
        if self.unlimited:
            return f"WITHOUT LIMITS ({self.unlimited})"
        return f"in {self.account.cpus} CPU and {(self.account.memory_limit or 0) >> 20} MiB"


async def try_image(engine: Engine, agent: Agent, tag: str, *, ready_seconds: float = 60.0) -> Trial:
    """Start the image, ask it, measure it and stop it.

    Raises:
        TrialFailed: it cannot be measured. What does not hold is in `Trial.problems`.
    """
    container = (BuildahContainer if engine.name == "buildah" else Container)(engine, tag)
    trial = Trial(agent.name, unlimited=container.unlimited)
    try:
        trial.user = int(container.output_of("id", "-u"))
        trial.own_bytes = int(container.output_of("python", "-c", _MEASURE, _OWN_FILES))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        started = time.monotonic()
        container.start(port)
        if not await _ready(url, started + ready_seconds):
            raise TrialFailed(f"it did not become ready:\n{container.log()}")
        trial.ready_seconds = time.monotonic() - started
        first = await ask(agent, url, _ORDERS[-1:])
        trial.first_answer_seconds = time.monotonic() - started
        container.check_health()
        trial.idle_bytes = container.memory()
        trial.answers = await ask(agent, url, _ORDERS[:CONCURRENT])
        trial.account = container.account()
        stopping = time.monotonic()
        container.stop()
        trial.stop_seconds = time.monotonic() - stopping
    finally:
        container.remove()
    trial.problems = [f"{one.protocol}: {one.problem}" for one in first + trial.answers if one.problem]
    trial.problems += _broken_limits(trial)
    return trial


def _broken_limits(trial: Trial) -> list[str]:
    size = (trial.account.cpus, trial.account.memory_limit)
    found = {
        "it runs as root": trial.user == 0,
        f"its own layers have more than {MOST_OWN_BYTES / 1e6:.0f} MB": trial.own_bytes > MOST_OWN_BYTES,
        f"it did not stop within {MOST_STOP_SECONDS:.0f} s of SIGTERM": trial.stop_seconds > MOST_STOP_SECONDS,
        f"it used all of {MEMORY >> 20} MiB": (trial.account.memory_peak or 0) >= MEMORY,
        f"it ran in {size[0]} CPU and {size[1]} bytes, not in {CPUS} and {MEMORY}": (
            not trial.unlimited and size != (CPUS, MEMORY)
        ),
    }
    return [problem for problem, holds in found.items() if holds]


async def _ready(url: str, deadline: float) -> bool:
    async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline:
            try:
                if (await client.get(f"{url}/readiness")).status_code == 200:
                    return True
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.05)
    return False


async def ask(agent: Agent, url: str, orders: list[str]) -> list[Answer]:
    """Ask over each protocol about all the orders at once."""

    async def once(protocol: str, order: str) -> Answer:
        azd = AzdLocalInvoke(url)
        call = azd.responses if protocol == "responses" else azd.invocations
        asked = time.monotonic()
        try:
            shown = await call(_QUESTION.format(order))
        except (AgentFailed, httpx2.HTTPError, TimeoutError) as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            problem = problem_in(shown, _HANDBOOK_ANSWER if agent.name == "rag-chat" else order)
        return Answer(protocol, time.monotonic() - asked, problem)

    found: list[Answer] = []
    for protocol in agent.protocols:
        found += await asyncio.gather(*(once(protocol, order) for order in orders))
    return found


def problem_in(shown: str, wanted: str) -> str:
    """What is wrong with an answer as azd would print it: a text, a document, or events, one in a line."""
    document = _json_object(shown)
    last = document or _json_object(shown.strip().rpartition("\n")[2])
    if document and document.get("status") != "completed":
        return f"the invocation is {document.get('status')}"
    if last and not document and last.get("type") != "RUN_FINISHED":
        return f"the last event is {last.get('type')}"
    if wanted not in shown:
        return f"an answer without {wanted!r}: {shown[:200]!r}"
    # What the planner says of a step.
    return f"a step failed: {shown[:1000]!r}" if "Failed — " in shown else ""


def _json_object(text: str) -> dict[str, object] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
