"""The benchmarks run, at a small size, and fail where they must."""

import asyncio
import subprocess
import sys

import pytest
from repo_tools.benchmarks import conversations, streams


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "repo_tools", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_retrieval_prints_ratios_against_the_bare_query_and_the_small_index() -> None:
    done = bench("retrieval", "--size", "400")
    assert done.returncode == 0, done.stderr
    for part in ("index of 400 passages", "search p50", "bare SQL", "memory after", " x\n"):
        assert part in done.stdout


def test_conversations_compare_turns_and_answers() -> None:
    done = bench("conversations", "--size", "2")
    assert done.returncode == 0, done.stderr
    assert "turn 10 against turn 2" in done.stdout
    assert "answers other than in a conversation alone: 0" in done.stdout


def test_runs_compare_a_run_with_its_model_and_tools_and_memory_with_itself() -> None:
    done = bench("runs", "--size", "4")
    assert done.returncode == 0, done.stderr
    for part in ("overhead: ", " ms a step", "against its model and tools", "did not end with a report: 0"):
        assert part in done.stdout


def test_streams_compare_the_emitter_with_bytes_and_many_streams_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_EVENTS", 20)
    monkeypatch.setattr(streams, "_ROUNDS", 1)
    monkeypatch.setattr(streams, "_FEW", 2)
    few, many, wrong, growth = asyncio.run(streams._many(4))
    assert few > 0
    assert many > 0
    assert not wrong
    assert growth > 0.5
    assert asyncio.run(streams._cost()) > 0


def test_an_unknown_benchmark_is_named_with_those_there_are() -> None:
    done = bench("gpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert "conversations, retrieval" in done.stderr


def test_a_conversation_that_gets_anothers_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        conversations, "_QUESTIONS", ("What does a return label cost in Norway?", "And in Switzerland?")
    )
    conversations.run(1)  # the second is a follow-up: alone it is refused or answered otherwise
    assert "answers other than in a conversation alone: 1" in capsys.readouterr().out
