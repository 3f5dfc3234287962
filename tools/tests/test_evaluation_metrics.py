"""The formulas against values worked out by hand."""

from math import log2

import pytest
from repo_tools.evaluation import metrics
from repo_tools.evaluation.refusals import refusal_precision, refusal_recall, refusal_values
from repo_tools.evaluation.results import Judged

A, B, AB, NONE = frozenset({0}), frozenset({1}), frozenset({0, 1}), frozenset[int]()


def judged(**values: float) -> Judged:
    return Judged(id="q", split="test", category="c", turns=["?"], answer="", values=values)


@pytest.mark.parametrize(
    ("ranked", "needs", "k", "share"),
    [([A, B], 1, 1, 1.0), ([NONE, A], 1, 1, 0.0), ([A, A, NONE, B], 2, 3, 0.5), ([A, A, NONE, B], 2, 5, 1.0), ([AB], 2, 1, 1.0), ([], 2, 5, 0.0)],
)  # fmt: skip
def test_recall_is_the_share_of_needs_met_by_the_first_k(
    ranked: list[frozenset[int]], needs: int, k: int, share: float
) -> None:
    assert metrics.recall(ranked, needs, k) == share


@pytest.mark.parametrize(
    ("ranked", "value"), [([A], 1.0), ([NONE, NONE, B, A], 1 / 3), ([NONE] * 10 + [A], 0.0), ([], 0.0)]
)
def test_reciprocal_rank_is_of_the_first_passage_that_meets_any_need(
    ranked: list[frozenset[int]], value: float
) -> None:
    assert metrics.reciprocal_rank(ranked, 10) == pytest.approx(value)


def test_ndcg_of_one_need_is_its_discount() -> None:
    assert metrics.ndcg([A], [A], 10) == 1.0
    assert metrics.ndcg([NONE, A], [A], 10) == pytest.approx(1 / log2(3))
    assert metrics.ndcg([NONE] * 10 + [A], [A], 10) == 0.0


def test_ndcg_gains_a_need_once_however_many_passages_meet_it() -> None:
    assert metrics.ndcg([A, A, B], [A, A, B], 10) == pytest.approx((1 + 1 / log2(4)) / (1 + 1 / log2(3)))
    assert metrics.ndcg([A, B, A], [A, A, B], 10) == 1.0


def test_ndcg_knows_that_one_passage_may_meet_all_needs() -> None:
    assert metrics.ndcg([AB], [A, AB, B], 10) == 1.0
    assert metrics.ndcg([A, B], [A, AB, B], 10) == pytest.approx((1 + 1 / log2(3)) / 2)


def test_ndcg_is_zero_where_nothing_is_relevant() -> None:
    assert metrics.ndcg([NONE], [NONE], 10) == 0.0


def test_citations_are_right_in_any_need_and_each_need_wants_one() -> None:
    needs = [{"a", "b"}, {"c"}]
    assert metrics.citation_precision({"a", "x"}, needs) == 0.5
    assert metrics.citation_recall({"a", "x"}, needs) == 0.5
    assert metrics.citation_precision({"b", "c"}, needs) == 1.0
    assert metrics.citation_recall({"b", "c"}, needs) == 1.0
    assert metrics.citation_precision(set(), needs) is None
    assert metrics.citation_recall(set(), needs) == 0.0


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("It costs NOK\u00a059.", "nok 59"),
        ("It costs **NOK 59**, no more.", "NOK 59"),
        ("Up to 1 000 EUR", "1,000 EUR"),
        ("Up to CHF 1’000", "CHF 1000"),  # noqa: RUF001
        ("within\n 30   Days", "30 days"),
        ("Monday\u2013Friday", "monday-friday"),
        ("the customer\u2019s bank", "customer's bank"),
        ("EUR 4.90, GBP 4.50", "EUR 4.90"),
        ("pays 30.", "30"),
    ],
)  # fmt: skip
def test_a_fact_is_found_in_any_case_spacing_and_way_of_writing_numbers(text: str, part: str) -> None:
    assert metrics.contains(text, part)


@pytest.mark.parametrize(
    ("text", "part"),
    [("130 days", "30 days"), ("NOK 590", "NOK 59"), ("EUR 14.90", "4.90"), ("EUR 4.95", "EUR 4"), ("1 059", "59")],
)
def test_a_number_within_another_is_not_the_fact(text: str, part: str) -> None:
    assert not metrics.contains(text, part)


def test_a_fact_may_have_several_spellings() -> None:
    facts = [["30 days", "thirty days"], ["NOK 59"]]
    assert metrics.missing_facts("Thirty days.", facts) == [["NOK 59"]]
    assert metrics.missing_facts("Thirty days, NOK 59", facts) == []


def test_an_average_leaves_out_the_questions_without_the_value() -> None:
    every = [judged(x=1.0), judged(x=0.5), judged(y=0.0)]
    assert metrics.mean_of("x")(every) == 0.75
    assert metrics.mean_of("z")(every) is None
    assert metrics.total_of("x")([judged(x=1.0), judged(x=1.0)]) == 2
    assert metrics.total_of("z")(every) is None


def test_percentiles_lie_between_values_by_distance() -> None:
    assert metrics.percentile([10.0, 20.0, 30.0, 40.0], 50) == 25.0
    assert metrics.percentile([10.0, 20.0, 30.0, 40.0], 95) == pytest.approx(38.5)
    assert metrics.percentile([7.0], 95) == 7.0
    assert metrics.percentile([], 95) is None


def test_precision_and_recall_of_refusing() -> None:
    def one(refused: bool, should: bool) -> Judged:
        return judged(**refusal_values(refused=refused, should_refuse=should))

    # 3 to refuse, of which 2 were; 3 refused, of which 2 rightly; 1 answered rightly.
    every = [one(True, True), one(True, True), one(False, True), one(True, False), one(False, False)]
    assert refusal_precision(every) == pytest.approx(2 / 3)
    assert refusal_recall(every) == pytest.approx(2 / 3)
    assert [question.values["refusal_right"] for question in every] == [1, 1, 0, 0, 1]
    assert refusal_precision([one(False, True)]) is None
    assert refusal_recall([one(True, False)]) is None
