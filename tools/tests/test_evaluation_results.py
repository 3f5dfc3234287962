"""Tables, files, thresholds and comparisons, on runs that are made up."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from repo_tools.evaluation import metrics
from repo_tools.evaluation.comparison import compare, differences, randomization_test, read_run
from repo_tools.evaluation.gates import below_target, read_thresholds, shortfalls
from repo_tools.evaluation.report import misses, number, summary, table, write
from repo_tools.evaluation.results import Evaluation, EvaluationError, Judged, Run


def judged(name: str, x: float | None, category: str = "easy", split: str = "test", **more: object) -> Judged:
    values = {} if x is None else {"x": x}
    return Judged(id=name, split=split, category=category, turns=["Why?"], answer="So.", values=values, **more)


def run(every: Sequence[Judged], agent: str = "clerk") -> Run:
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Run(
        agent=agent,
        started=started,
        seconds=1.0,
        commit="abc",
        setup={"model": "m"},
        compared=["x"],
        judged=list(every),
    )


async def nobody(splits: Sequence[str], question: str | None, at_once: int) -> Run:
    raise AssertionError


def evaluation(folder: Path = Path()) -> Evaluation:
    return Evaluation("clerk", folder, nobody, {"x": metrics.mean_of("x")}, apart=("hard",))


def test_a_table_has_a_column_for_each_category_and_one_without_those_that_are_apart() -> None:
    lines = summary(
        run([judged("a", 1.0), judged("b", 0.5), judged("c", 0.0, "hard"), judged("d", None, "odd_one")]), evaluation()
    )
    questions, x = lines[-2].split(), lines[-1].split()
    assert questions == ["questions", "4", "3", "2", "1", "1"]
    assert x == ["x", "0.500", "0.750", "0.750", "0.000", "-"]


def test_a_table_is_aligned_and_breaks_its_head_at_underscores() -> None:
    assert table(["", "one_two", "n"], [["a", "1", "22"], ["bcd", "-", "3"]]) == [
        "     one   n",
        "     two",
        "---  ---  --",
        "a      1  22",
        "bcd    -   3",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (1.0, "1.000"), (0.99999, "0.999"), (0.8, "0.800"), (0, "0"), (1, "1"), (57.4, "57")],
)
def test_only_a_full_share_shows_as_one(value: float | None, text: str) -> None:
    assert number(value) == text


def test_misses_name_what_fell_short_and_errors() -> None:
    text = "\n".join(
        misses(
            run(
                [
                    judged("good", 1.0),
                    judged("bad", 0.0, misses=["does not say 'NOK 59'"]),
                    judged("gone", None, error="timeout"),
                ]
            )
        )
    )
    assert "2 of 3" in text
    assert "### bad (test, easy)" in text
    assert "does not say 'NOK 59'" in text
    assert "- timeout" in text
    assert "### good" not in text


def test_a_written_run_can_be_read_again(tmp_path: Path) -> None:
    first = run([judged("a", 1.0, misses=["m"])])
    data, text = write(first, evaluation(), tmp_path / "new" / "folder")
    assert data.name == "clerk-20260102T030405Z.json"
    assert read_run(data) == first
    assert "## Misses: 1 of 1" in text.read_text()
    with pytest.raises(EvaluationError, match="not a run"):
        read_run(text)


def thresholds(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "thresholds.yaml").write_text(text)
    every = [judged("a", 1.0), judged("b", 0.8998), judged("c", 0.0, "hard"), judged("d", 0.0, split="development")]
    return shortfalls(run(every), evaluation(), read_thresholds(tmp_path / "thresholds.yaml"))


def test_a_threshold_is_held_or_named_with_the_figure(tmp_path: Path) -> None:
    assert thresholds(tmp_path, "test: [{figure: x, at_least: 0.6}]") == []
    assert thresholds(tmp_path, "test: [{figure: x, at_least: 0.94, without: [hard]}]") == []
    (line,) = thresholds(tmp_path, "test: [{figure: x, at_least: 0.95, without: [hard]}]")
    assert line == "test: x without hard at least 0.95: is 0.9499"
    (line,) = thresholds(tmp_path, "test: [{figure: x, at_most: 0}]")
    assert "at most 0" in line


def test_a_figure_between_its_threshold_and_its_target_passes_and_is_named(tmp_path: Path) -> None:
    every = run([judged("a", 1.0), judged("b", 0.5)])

    def named(text: str) -> list[str]:
        (tmp_path / "thresholds.yaml").write_text(text)
        wanted = read_thresholds(tmp_path / "thresholds.yaml")
        assert shortfalls(every, evaluation(), wanted) == []
        return below_target(every, evaluation(), wanted)

    assert named("test: [{figure: x, at_least: 0.7, target: 0.9}]") == ["test: x is 0.75, the target is 0.9"]
    assert named("test: [{figure: x, at_least: 0.7, target: 0.75}]") == []


def test_a_figure_that_no_question_counts_for_falls_short(tmp_path: Path) -> None:
    (line,) = thresholds(tmp_path, "test: [{figure: x, at_least: 0, without: [hard, easy]}]")
    assert "no question counts for it" in line


def test_a_split_that_was_not_asked_has_no_threshold(tmp_path: Path) -> None:
    assert thresholds(tmp_path, "holdout: [{figure: x, at_least: 1}]") == []


@pytest.mark.parametrize(
    "text",
    [
        "test: [{figure: x}]",
        "test: [{figure: x, at_least: 1, at_most: 1}]",
        "test: [{figure: x, at_lest: 1}]",
        "test: [{figure: x, at_least: 0.9, target: 0.8}]",
        "test: [{figure: x, at_most: 1, target: 2}]",
        "- test",
    ],
)
def test_thresholds_that_cannot_be_meant_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(EvaluationError, match=r"thresholds\.yaml"):
        thresholds(tmp_path, text)


def test_a_threshold_for_no_figure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no figure y"):
        thresholds(tmp_path, "test: [{figure: y, at_least: 1}]")


def test_few_differences_are_counted_exactly() -> None:
    # Of the 2^5 ways to give five equal differences a sign, two are as far from 0 as five of the same.
    assert randomization_test([1.0] * 5 + [0.0] * 20) == 2 / 32
    # The exact McNemar test of 6 against 1: 2 * (1 + 7) / 2^7.
    assert randomization_test([1.0] * 6 + [-1.0]) == 16 / 128
    assert randomization_test([0.5, -0.25, 0.125]) == 6 / 8  # sums of 0.875, 0.625 and 0.375 count, 0.125 does not
    assert randomization_test([0.0] * 9) == 1.0


def test_many_differences_are_estimated_and_never_impossible() -> None:
    # The exact McNemar test of 14 against 6 gives 0.1153.
    assert randomization_test([1.0] * 14 + [-1.0] * 6) == pytest.approx(0.1153, abs=0.01)
    assert 0 < randomization_test([1.0] * 40) < 0.001


def test_runs_are_compared_on_the_questions_that_both_have() -> None:
    first = run([judged("a", 0.0), judged("b", 0.5), judged("only-here", 1.0), judged("unknown", None)])
    second = run([judged("a", 1.0), judged("b", 0.5), judged("unknown", 1.0)])
    (found,) = differences(first, second)
    assert (found.value, found.questions, found.differing, found.first, found.second, found.p) == (
        "x",
        2,
        1,
        0.25,
        0.75,
        1.0,
    )
    lines = compare(first, second)
    assert lines[0] == "A: clerk-20260102T030405Z at abc, model: m"
    assert lines[-1].split() == ["x", "0.250", "0.750", "+0.500", "1.0000", "2", "1"]


def test_runs_that_cannot_be_compared_say_why() -> None:
    with pytest.raises(EvaluationError, match="other of baker"):
        differences(run([judged("a", 1.0)]), run([judged("a", 1.0)], agent="baker"))
    with pytest.raises(EvaluationError, match="no question in common"):
        differences(run([judged("a", 1.0)]), run([judged("b", 1.0)]))
