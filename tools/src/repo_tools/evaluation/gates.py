"""The thresholds that an agent must hold, read from `thresholds.yaml` of its evaluation.

They are for a whole split and compared unrounded. Nothing in here lowers one: a figure that falls short is made better,
or the threshold is changed in the file, where everybody sees it. A threshold may be below the `target` that the figure
has not reached; the report says so each time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from repo_tools.evaluation.results import Evaluation, EvaluationError, Judged, Run


class Threshold(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    target: float | None = None
    """What the figure shall reach, where that is more than it must hold today."""
    without: tuple[str, ...] = ()
    """Categories that do not count."""

    @model_validator(mode="after")
    def _one_limit(self) -> "Threshold":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give at_least or at_most")
        if self.target is not None and (self.at_least is None or self.target <= self.at_least):
            raise ValueError("a target is above at_least")
        return self

    def holds(self, value: float | None) -> bool:
        if value is None:
            return False
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def __str__(self) -> str:
        without = f" without {', '.join(self.without)}" if self.without else ""
        limit = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{self.figure}{without} {limit}"


Thresholds = dict[str, list[Threshold]]
"""By split."""


def read_thresholds(file: Path) -> Thresholds:
    """
    Raises:
        EvaluationError: the file is not there, or not as it must be.
    """
    try:
        return TypeAdapter(Thresholds).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise EvaluationError(f"{file} cannot be used: {error}") from None


def shortfalls(run: Run, evaluation: Evaluation, thresholds: Thresholds) -> list[str]:
    """One line for each figure of a split of `run` that does not hold its threshold.

    Raises:
        EvaluationError: a threshold is for a figure that there is not.
    """
    return [
        f"{split}: {threshold}: {_found(value)}"
        for split, threshold, value in _values(run, evaluation, thresholds)
        if not threshold.holds(value)
    ]


def below_target(run: Run, evaluation: Evaluation, thresholds: Thresholds) -> list[str]:
    """One line for each figure that holds its threshold and has not reached its target."""
    return [
        f"{split}: {threshold.figure} {_found(value)}, the target is {threshold.target:g}"
        for split, threshold, value in _values(run, evaluation, thresholds)
        if threshold.holds(value) and threshold.target is not None and (value or 0.0) < threshold.target
    ]


def _found(value: float | None) -> str:
    return "no question counts for it" if value is None else f"is {value:.4f}".rstrip("0").rstrip(".")


def _values(run: Run, evaluation: Evaluation, thresholds: Thresholds) -> Iterator[tuple[str, Threshold, float | None]]:
    for split, wanted in thresholds.items():
        judged = [one for one in run.judged if one.split == split]
        for threshold in wanted if judged else ():
            yield split, threshold, _value(threshold, judged, evaluation)


def _value(threshold: Threshold, judged: Sequence[Judged], evaluation: Evaluation) -> float | None:
    figure = evaluation.figures.get(threshold.figure)
    if figure is None:
        raise EvaluationError(
            f"thresholds.yaml: there is no figure {threshold.figure} in {evaluation.agent}'s evaluation"
        )
    return figure([one for one in judged if one.category not in threshold.without])
