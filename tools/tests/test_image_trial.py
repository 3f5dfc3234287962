"""The trial of an image: what it says of an agent that holds what it promises, and of one that does not.

The engine is a script here that starts the agent of this environment; the answers are the agent's own.
"""

import json
import sys
from pathlib import Path

import pytest
from repo_tools.image_containers import TrialFailed
from repo_tools.image_trial import CONCURRENT, problem_in, try_image
from repo_tools.images import Engine
from repo_tools.repository import agents

[EXTRACTOR] = [agent for agent in agents() if agent.name == "webhook-extractor"]
IN_SIZE = ["memory.max=1073741824", "memory.peak=250000000", "cpu.max=50000 100000"]
WITHOUT_LIMITS = ["memory.max=max", "cpu.max=max 100000"]
ENGINE = """#!{python}
import json, os, pathlib, signal, subprocess, sys

state = pathlib.Path({state!r})
command = sys.argv[1:]
match command:
    case ["run", "--rm", "--entrypoint", "id", *_]:
        print({user})
    case ["run", "--rm", "--entrypoint", "python", *_]:
        print({own_bytes})
    case ["run", *options]:
        assert options[options.index("--cpus") + 1] == "0.5" and options[options.index("--memory") + 1] == str(1 << 30)
        port = options[options.index("--publish") + 1].split(":")[1]
        (state / "pid").write_text(str(os.getpid()))
        os.environ |= {{"PORT": port, "AGENTSERVER_STATE_ROOT": str(state / "agent"), "LOG_LEVEL": "warning"}}
        os.execv({python!r}, [{python!r}, "-m", "webhook_extractor"])
    case ["image", "inspect", _]:
        print(json.dumps([{{"Config": {{"Healthcheck": {{"Test": ["CMD", "healthy"]}}}}}}]))
    case ["exec", _, "healthy"]:
        sys.exit({unhealthy})
    case ["exec", _, "sh", *_]:
        print("\\n".join({account}))
    case ["stats", *_]:
        print("100MiB / 1GiB")
    case ["stop", *_]:
        os.kill(int((state / "pid").read_text()), signal.SIGTERM)
    case ["rm", "--force", "--volumes", _]:
        try:
            os.kill(int((state / "pid").read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass
    case _:
        sys.exit(f"unknown: {{command}}")
"""


def engine(folder: Path, *, account: list[str], user: int = 10001, own_bytes: int = 9, unhealthy: int = 0) -> Engine:
    path = folder / "podman"
    script = ENGINE.format(
        python=sys.executable, state=str(folder), user=user, own_bytes=own_bytes, account=account, unhealthy=unhealthy
    )
    path.write_text(script)
    path.chmod(0o755)
    return Engine("podman", str(path))


async def test_an_image_that_holds_is_measured_under_load(tmp_path: Path) -> None:
    trial = await try_image(engine(tmp_path, account=IN_SIZE), EXTRACTOR, "tag")
    assert trial.problems == []
    assert len(trial.answers) == CONCURRENT
    first, load, memory = trial.lines()
    assert "user 10001" in first
    assert load.startswith(
        f"webhook-extractor: {CONCURRENT} requests at once over invocations in 0.5 CPU and 1024 MiB: p50"
    )
    assert memory == "webhook-extractor: most memory 250 MB"


async def test_limits_that_did_not_hold_a_full_memory_root_and_too_large_layers_are_problems(tmp_path: Path) -> None:
    found = await try_image(
        engine(tmp_path, account=[*WITHOUT_LIMITS, "memory.peak=1073741824"], user=0, own_bytes=200_000_001),
        EXTRACTOR,
        "tag",
    )
    assert found.problems == [
        "it runs as root",
        "its own layers have more than 200 MB",
        "it used all of 1024 MiB",
        "it ran in None CPU and None bytes, not in 0.5 and 1073741824",
    ]


async def test_an_image_whose_health_check_fails_is_stopped_and_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match="podman exec"):
        await try_image(engine(tmp_path, account=IN_SIZE, unhealthy=1), EXTRACTOR, "tag")


@pytest.mark.parametrize(
    ("shown", "problem"),
    [
        ("Order NP-1 can be returned.", ""),
        ("I cannot answer.", "an answer without 'NP-1'"),
        ("", "an answer without 'NP-1'"),
        ("1. Done — lookup_order: NP-1\n2. Failed — open_case: it is closed", "a step failed"),
        (json.dumps({"status": "completed", "order_id": "NP-1"}), ""),
        (json.dumps({"status": "failed", "order_id": "NP-1"}), "the invocation is failed"),
        ('{"type":"RUN_STARTED","order":"NP-1"}\n{"type":"RUN_FINISHED"}', ""),
        ('{"type":"RUN_STARTED","order":"NP-1"}\n{"type":"RUN_ERROR"}', "the last event is RUN_ERROR"),
        ('{"type":"RUN_STARTED"}\n{"type":"RUN_FINISHED"}', "an answer without 'NP-1'"),
    ],
)
def test_an_answer_is_whole_and_about_what_was_asked(shown: str, problem: str) -> None:
    found = problem_in(shown, "NP-1")
    assert found.startswith(problem)
    assert bool(found) == bool(problem)
