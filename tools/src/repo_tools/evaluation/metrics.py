"""The formulas, each over one question or over the values of many. They know neither an agent nor a file.

A question has needs: what a right answer must rest on. A ranking is given as the needs that the passage at each rank
meets, best first, so that a need which several passages meet counts once.

Recall and reciprocal rank are those of Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008),
chapter 8. nDCG is that of Järvelin and Kekäläinen (ACM TOIS 20:4, 2002) with the discount 1 / log2(rank + 1); a passage
gains one for each need that no passage before it met, as in Clarke et al. (SIGIR 2008) with alpha = 1.
"""

import math
import re
import statistics
import unicodedata
from collections.abc import Collection, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from repo_tools.evaluation.results import Figure, Judged

Needs = AbstractSet[int]
"""Numbers of the needs that one passage meets."""

_THOUSANDS = re.compile(r"(?<=\d)[.,' ](?=\d{3}(?!\d))")
_MARKS = re.compile(r"[*`]+")
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


def recall(ranked: Sequence[Needs], needs: int, k: int) -> float:
    """The share of the needs that the first `k` passages meet."""
    return len(frozenset[int]().union(*ranked[:k])) / needs


def reciprocal_rank(ranked: Sequence[Needs], k: int) -> float:
    """1 / the rank of the first passage that meets any need; 0 where none of the first `k` does."""
    return next((1 / rank for rank, met in enumerate(ranked[:k], 1) if met), 0.0)


def ndcg(ranked: Sequence[Needs], relevant: Collection[Needs], k: int) -> float:
    """The discounted gain of the first `k` passages, as a share of that of the best order of all `relevant` ones."""
    ideal: list[Needs] = []
    left = [met for met in relevant if met]
    while left:  # the best order takes what meets most of what is still open
        met_already = frozenset[int]().union(*ideal)
        left.sort(key=lambda met: -len(met - met_already))
        ideal.append(left.pop(0))
    best = _discounted_gain(ideal[:k])
    return _discounted_gain(ranked[:k]) / best if best else 0.0


def citation_precision(cited: AbstractSet[Hashable], needs: Sequence[AbstractSet[Hashable]]) -> float | None:
    """The share of the cited passages that meet any need; None without a citation."""
    right = frozenset[Hashable]().union(*needs)
    return len(cited & right) / len(cited) if cited else None


def citation_recall(cited: AbstractSet[Hashable], needs: Sequence[AbstractSet[Hashable]]) -> float:
    """The share of the needs for which a passage is cited."""
    return sum(1 for need in needs if cited & need) / len(needs)


def missing_facts(answer: str, facts: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """The facts of which no spelling is in the answer."""
    return [spellings for spellings in facts if not any(contains(answer, spelling) for spelling in spellings)]


def contains(text: str, part: str) -> bool:
    """Whether `part` is in `text`, in any case and spacing. A number at its edge must be whole: 30 is not in 130."""
    wanted = re.escape(normal(part))
    before = r"(?<!\d)(?<!\d[.,])" if normal(part)[:1].isdecimal() else ""
    after = r"(?!\d|[.,]\d)" if normal(part)[-1:].isdecimal() else ""
    return re.search(f"{before}{wanted}{after}", normal(text)) is not None


def normal(text: str) -> str:
    """`text` as it is compared: one kind of space, dash and quotation mark, no emphasis, 1 000 and 1,000 as 1000."""
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = _MARKS.sub("", _DASHES.sub("-", text))
    return _THOUSANDS.sub("", " ".join(text.split())).casefold()


def mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return math.fsum(known) / len(known) if known else None


def percentile(values: Iterable[float], percent: int) -> float | None:
    """Between two values by their distance, as the inclusive method of `statistics.quantiles`."""
    known = list(values)
    if len(known) < 2:
        return known[0] if known else None
    return statistics.quantiles(known, n=100, method="inclusive")[percent - 1]


def mean_of(name: str) -> Figure:
    """The macro-average: each question that has the value counts the same."""
    return lambda judged: mean(values_of(judged, name))


def total_of(name: str) -> Figure:
    """A count; None, not 0, where no question has the value."""

    def total(judged: Sequence[Judged]) -> int | None:
        values = values_of(judged, name)
        return round(math.fsum(values)) if values else None

    return total


def percentile_of(name: str, percent: int) -> Figure:
    return lambda judged: percentile(values_of(judged, name), percent)


def values_of(judged: Iterable[Judged], name: str) -> list[float]:
    return [one.values[name] for one in judged if name in one.values]


def _discounted_gain(ranked: Sequence[Needs]) -> float:
    met_already: set[int] = set()
    gains = []
    for rank, met in enumerate(ranked, 1):
        gains.append(len(met - met_already) / math.log2(rank + 1))
        met_already |= met
    return math.fsum(gains)
