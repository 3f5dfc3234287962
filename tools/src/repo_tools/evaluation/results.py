"""What an evaluation finds: one `Judged` for each question, and the `Run` of them all, which is stored as JSON."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from repo_tools.repository import ROOT


class Judged(BaseModel):
    """One question with the answer and what it is worth."""

    model_config = ConfigDict(extra="forbid")

    id: str
    split: str
    category: str
    turns: list[str]
    """What was asked; the last is what is judged."""
    answer: str
    values: dict[str, float]
    """By name. A value that the question does not have (no citation, so no precision) is left out, not 0."""
    found: dict[str, Any] = {}
    """What the values come from, for a reader."""
    misses: list[str] = []
    """One line for each thing that fell short: what was expected, and what was found."""
    error: str = ""
    """Why there is no answer."""


class Run(BaseModel):
    model_config = ConfigDict(extra="forbid")

    agent: str
    started: datetime
    seconds: float
    commit: str
    """Of the working tree, with `+changes` where it has some."""
    setup: dict[str, str]
    """What was asked: the model, the retriever, …"""
    compared: list[str]
    """The values by which two runs are compared question by question."""
    judged: list[Judged]

    @property
    def name(self) -> str:
        return f"{self.agent}-{self.started:%Y%m%dT%H%M%SZ}"

    @property
    def splits(self) -> list[str]:
        return sorted({one.split for one in self.judged})


Figure = Callable[[Sequence[Judged]], float | None]
"""From questions to one number; None where none of them counts for it."""


class Judge(Protocol):
    async def __call__(self, splits: Sequence[str], question: str | None, at_once: int) -> Run:
        """Ask the questions of `splits`, or the one with the id `question`, `at_once` at a time.

        Raises:
            EvaluationError: nothing could be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that is one agent's own."""

    agent: str
    folder: Path
    """Holds `thresholds.yaml`."""
    judge: Judge
    figures: Mapping[str, Figure]
    """The rows of the table."""
    apart: tuple[str, ...] = ()
    """Categories that are also left out in a column of their own."""
    remarks: Callable[[Sequence[Judged]], list[str]] = lambda judged: []
    """Lines below the table of a split."""


class EvaluationError(Exception):
    """The evaluation cannot be done. The text says what to do."""


def commit_of_tree() -> str:
    """The commit of the working tree, with `+changes` where it has some."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    return f"{commit or 'unknown'}{'+changes' if git('status', '--porcelain') else ''}"
