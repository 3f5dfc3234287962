"""Two runs beside each other, and whether their difference can be chance.

Each value is compared on the questions that have it in both runs. The test is the paired randomization test: if the
runs were equally good, each question's difference could as well have the other sign; p is the share of such sign flips
with a sum at least as far from 0 (Smucker, Allan and Carterette, CIKM 2007). On values of 0 and 1 it is the exact
McNemar test. Up to `EXACT` differing questions all flips are counted; beyond, `FLIPS` random ones, and p is
(b + 1) / (m + 1) so that it is never 0 (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9:1, 2010).
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from repo_tools.evaluation.metrics import mean
from repo_tools.evaluation.report import table
from repo_tools.evaluation.results import EvaluationError, Run

EXACT = 14
FLIPS = 20_000
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one value, over the `questions` that both runs have it for."""

    value: str
    questions: int
    differing: int
    first: float
    second: float
    p: float


def read_run(file: Path) -> Run:
    """
    Raises:
        EvaluationError: it is not the JSON of a run.
    """
    try:
        return Run.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise EvaluationError(f"{file} is not a run of an evaluation: {error}") from None


def differences(first: Run, second: Run) -> list[Difference]:
    """One for each value by which both runs are compared.

    Raises:
        EvaluationError: the runs are of different agents, or have no question in common.
    """
    if first.agent != second.agent:
        raise EvaluationError(f"one run is of {first.agent}, the other of {second.agent}")
    others = {(one.split, one.id): one for one in second.judged}
    pairs = [(one, others[one.split, one.id]) for one in first.judged if (one.split, one.id) in others]
    if not pairs:
        raise EvaluationError("the two runs have no question in common")
    found = []
    for name in (name for name in first.compared if name in second.compared):
        values = [(a.values[name], b.values[name]) for a, b in pairs if name in a.values and name in b.values]
        if not values:
            continue
        changes = [b - a for a, b in values]
        found.append(
            Difference(
                value=name,
                questions=len(values),
                differing=sum(1 for change in changes if change),
                first=mean(a for a, _ in values) or 0.0,
                second=mean(b for _, b in values) or 0.0,
                p=randomization_test(changes),
            )
        )
    return found


def randomization_test(changes: Sequence[float]) -> float:
    """The two-sided p-value of paired differences; 1 where nothing differs."""
    sizes = [abs(change) for change in changes if change]
    if not sizes:
        return 1.0
    seen = abs(math.fsum(changes)) - _ROUNDING
    if len(sizes) <= EXACT:
        flips = itertools.product((1, -1), repeat=len(sizes))
        sums = [abs(math.fsum(map(float.__mul__, sizes, map(float, signs)))) for signs in flips]
        return sum(1 for one in sums if one >= seen) / len(sums)
    chance = random.Random(1)  # noqa: S311 - the same p at each run
    as_far = sum(
        1 for _ in range(FLIPS) if abs(sum(size if chance.random() < 0.5 else -size for size in sizes)) >= seen
    )
    return (as_far + 1) / (FLIPS + 1)


def compare(first: Run, second: Run) -> list[str]:
    """The comparison as lines of text."""
    rows = [
        [
            one.value, f"{one.first:.3f}", f"{one.second:.3f}", f"{one.second - one.first:+.3f}",
            f"{one.p:.4f}", str(one.questions), str(one.differing),
        ]
        for one in differences(first, second)
    ]  # fmt: skip
    described = [
        f"{letter}: {run.name} at {run.commit}, {', '.join(f'{name}: {value}' for name, value in run.setup.items())}"
        for letter, run in (("A", first), ("B", second))
    ]
    return [*described, "", *table(["value", "A", "B", "B - A", "p", "n", "differing"], rows)]
