"""Refusing: saying that the documents do not hold the answer, instead of giving one.

An answer counts as a refusal where it cites nothing. No wording is looked for: each model has its own, and an answer
that rests on no passage is none, however it sounds. A question that failed is neither.
Precision and recall are over the questions given, those that can be answered and those that cannot.
"""

from collections.abc import Sequence

from repo_tools.evaluation.metrics import mean
from repo_tools.evaluation.results import Judged

REFUSED, SHOULD_REFUSE, RIGHT = "refused", "should_refuse", "refusal_right"


def refusal_values(*, refused: bool, should_refuse: bool) -> dict[str, float]:
    """The values of one question that the figures below are made of."""
    return {
        REFUSED: float(refused),
        SHOULD_REFUSE: float(should_refuse),
        RIGHT: float(refused == should_refuse),
    }


def refusal_precision(judged: Sequence[Judged]) -> float | None:
    """Of the questions that were refused, the share that should be."""
    return mean(one.values[SHOULD_REFUSE] for one in judged if one.values.get(REFUSED))


def refusal_recall(judged: Sequence[Judged]) -> float | None:
    """Of the questions that should be refused, the share that was."""
    return mean(one.values.get(REFUSED, 0.0) for one in judged if one.values.get(SHOULD_REFUSE))
