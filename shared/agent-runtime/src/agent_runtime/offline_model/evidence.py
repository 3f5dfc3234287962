"""How well each sentence of the given passages answers a part of a question, and whether that is enough to quote it.

A sentence is weighed by the words of the question that it has, rare ones first: its own words fully, those of its
headings and lead-in nearly so, those of the sentence before it and of the rest of its passage for less. The thresholds
were set with the development questions of rag-chat's evaluation and with `tests/test_offline_subjects.py`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent_runtime.english.sentences import Unit, split_units
from agent_runtime.english.tokens import Vocabulary, stem, stem_set, words

from .asked import Part
from .orders import is_order_to_assistant, without_orders
from .sources import Passage, is_pointer

_SYNONYM_CREDIT = 0.6
_ABOVE_CREDIT = 0.9
_BEFORE_CREDIT = 0.5
_AROUND_CREDIT = 0.3
_OWN_SHARE = 0.7
_KIND_SHARE = 0.1
_RANK_COST = 0.04
"""Passages come best first."""
_LEAST_COVERAGE = 0.1
_LEAST_COVERAGE_OF_ONE = 0.45
"""Where the sentence has but one of the words."""
_KIND_INSTEAD = 0.6
"""What the best sentence with the asked kind of answer must reach of the best sentence's score."""
_NEXT_QUOTE = 0.5
"""What a further sentence of the passage must reach of the best one's score."""


@dataclass(frozen=True, slots=True)
class Candidate:
    passage: Passage
    rank: int
    """Of the passage, from 0."""
    unit: Unit
    order: int
    own: frozenset[str]
    """Stems of the sentence itself."""
    above: frozenset[str]
    """Stems of the title, the headings above it and its lead-in."""
    before: frozenset[str]
    """Stems of the sentence before it."""
    around: frozenset[str]
    """Stems of the whole passage with its title and headings; of a row, without the rest of its table."""


@dataclass(frozen=True, slots=True)
class Evidence:
    candidate: Candidate
    coverage: float
    """Share of the weight of what is asked that the sentence and what it is read with have."""
    said: frozenset[str]
    """The stems of what is asked that the sentence has, or its headings, or the sentence that it points back to."""
    met: frozenset[str]
    """Those, and the ones of which it has a synonym."""
    near: frozenset[str]
    """Those and the ones that the passage has elsewhere."""
    common: frozenset[str]
    """The ones that several of the passages have: what they are all about, not what tells one from the other."""
    score: float


def candidates_of(passages: Iterable[Passage]) -> list[Candidate]:
    """Everything that may be quoted: no questions, no mere pointers, and nothing that tries to give orders."""
    candidates: list[Candidate] = []
    seen: set[str] = set()
    for rank, passage in enumerate(passages):
        title = stem_set(passage.title, passage.heading)
        text = without_orders(passage.text)
        around = title | stem_set(text)
        before: frozenset[str] = frozenset()
        for found in split_units(text):
            read_with = " ".join((found.context, *found.before))
            steered = bool(read_with) and is_order_to_assistant(read_with)
            unit = replace(found, context="", before=()) if steered else found
            if unit.is_question or unit.text in seen or is_pointer(unit.text):
                continue
            if is_order_to_assistant(unit.text):
                continue
            seen.add(unit.text)
            own = frozenset(stem(word) for word in words(unit.text))
            above = title | stem_set(unit.heading, unit.context)
            of_it = own | above if unit.is_row else around
            candidates.append(Candidate(passage, rank, unit, len(candidates), own, above, before, of_it))
            before = own
    return candidates


def weigh(candidates: list[Candidate], part: Part) -> list[Evidence]:
    """The evidence that each candidate is, best first."""
    vocabulary = Vocabulary(one for candidate in candidates for one in (*candidate.own, *candidate.around))
    forms = {one: vocabulary.forms(one) for one in part.weights}
    others = {
        one: frozenset().union(*(vocabulary.forms(other) for other in part.synonyms[one])) for one in part.weights
    }
    weights: dict[str, float] = {}
    for one, share in part.weights.items():
        found = sum(not forms[one].isdisjoint(each.own) for each in candidates)
        found = found or sum(not others[one].isdisjoint(each.own) for each in candidates)
        # One that is nowhere is not worth more than a rare one.
        weights[one] = share * math.log(1 + len(candidates) / (found + 0.5 if found else 1.5))
    total = sum(weights.values()) or 1.0
    passages = {each.rank: each.around for each in candidates}.values()
    common = frozenset(one for one in weights if sum(not forms[one].isdisjoint(around) for around in passages) > 1)

    def credit(one: str, present: frozenset[str]) -> float:
        if not forms[one].isdisjoint(present):
            return 1.0
        return 0.0 if others[one].isdisjoint(present) else _SYNONYM_CREDIT

    def evidence(candidate: Candidate) -> Evidence:
        covered = own = 0.0
        said: set[str] = set()
        met: set[str] = set()
        near: set[str] = set()
        for one, worth in weights.items():
            in_own, in_above = credit(one, candidate.own), credit(one, candidate.above)
            in_before = credit(one, candidate.before)
            gained = max(
                in_own,
                _ABOVE_CREDIT * in_above,
                _BEFORE_CREDIT * in_before,
                _AROUND_CREDIT * credit(one, candidate.around),
            )
            covered += worth * gained
            own += worth * in_own
            if gained:
                near.add(one)
            if 1.0 in (in_own, in_above, in_before if candidate.unit.before else 0.0):
                said.add(one)
            if in_own or in_above or (in_before and candidate.unit.before):
                met.add(one)
        score = (covered + _OWN_SHARE * own) / total
        score += _KIND_SHARE * part.kind_of(candidate.unit.text) - _RANK_COST * candidate.rank
        return Evidence(candidate, covered / total, frozenset(said), frozenset(met), frozenset(near), common, score)

    return sorted(map(evidence, candidates), key=lambda one: (-one.score, one.candidate.order))


def answering(weighed: list[Evidence], part: Part, most: int) -> list[Evidence]:
    """What to quote as the answer to a part, in the order of the passage: sentences of the one passage that holds the
    best; none where that is not evidence enough."""
    fitting = [one for one in weighed if _is_of_kind(one, part) and (not part.is_alone or _speaks_of_it(one, part))]
    if not fitting or (not part.is_alone and fitting[0].score < _KIND_INSTEAD * weighed[0].score):
        return []
    best = fitting[0]
    known = frozenset().union(*(one.candidate.around for one in weighed))
    passage = best.candidate.passage
    least = _LEAST_COVERAGE_OF_ONE if len(best.met) < 2 and not part.is_alone else _LEAST_COVERAGE
    if (
        best.coverage < least
        or part.is_another_case(best.candidate.around, f"{passage.title} {passage.heading} {passage.text}", known)
        or (part.anew and not part.anew & best.near and not part.anew <= known)
    ):
        return []
    same = [one for one in weighed if one.candidate.passage is passage and one.score > _NEXT_QUOTE * best.score]
    if part.is_alone:
        reached = frozenset().union(*(one.met for one in same))
        whole = best.met >= reached.intersection(part.telling(best.candidate.unit.text))
        same = [one for one in same if _speaks_of_it(one, part) and (one.met >= best.met or not whole)]
    return sorted(same[:most], key=lambda one: one.candidate.order)


def _is_of_kind(evidence: Evidence, part: Part) -> bool:
    return part.is_of_kind(evidence.candidate.unit.text)


def _speaks_of_it(evidence: Evidence, part: Part) -> bool:
    """Whether what a question without a story asks for is there: of up to three words all, of more the most."""
    wanted = part.telling(evidence.candidate.unit.text)
    if len(wanted) == 1:
        return wanted[0] in evidence.said
    if len(wanted) == 2:
        return all(one in evidence.met for one in wanted)
    missing = [one for one in wanted if one not in evidence.near]
    return evidence.common.issuperset(missing) if len(wanted) == 3 else len(missing) < len(wanted) / 2
