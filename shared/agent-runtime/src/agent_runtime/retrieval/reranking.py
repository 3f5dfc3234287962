"""The second look at what full text found: how much of the question does a passage, and one sentence of it, speak of?

BM25 counts words; a question that is told as a story has many that no passage needs. Here each word of the question
counts by how rare it is among the candidates, once, and more where one sentence with its headings has it together with
others. A synonym counts for less than the word itself.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from agent_runtime.english.synonyms import phrase_synonyms, synonym_stems
from agent_runtime.english.tokens import stem, words
from agent_runtime.retrieval.fts_query import own_terms
from agent_runtime.retrieval.passages import SearchHit

SYNONYM_CREDIT = 0.55
BM25_SHARE = 0.2
"""What the first ranking still counts, its best hit being 1; the rest of a score is at most 2."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class _Read:
    """The stems of a passage."""

    headings: frozenset[str]
    sentences: tuple[frozenset[str], ...]
    all: frozenset[str]


def rerank(query: str, hits: Sequence[SearchHit]) -> list[SearchHit]:
    """The hits, best first; ties in the order they came in. Scores are between 0 and 2.2."""
    if not hits:
        return []
    read = [_read(hit.passage.title, hit.passage.heading_path, hit.passage.text) for hit in hits]
    others = _synonyms(query)
    weights = _weights(others, read)
    total = sum(weights.values()) or 1.0
    best = max(hit.score for hit in hits) or 1.0
    scored = [
        SearchHit(hit.passage, _coverage(one, weights, others) / total + BM25_SHARE * hit.score / best)
        for hit, one in zip(hits, read, strict=True)
    ]
    return sorted(scored, key=lambda hit: -hit.score)


def _synonyms(query: str) -> dict[str, frozenset[str]]:
    """The stems of the query, each with those of its synonyms."""
    found = {one: synonym_stems(one) for one in map(stem, own_terms(query))}
    for word, meant in phrase_synonyms(query).items():
        one = stem(word)
        found[one] = found.get(one, frozenset()) | {stem(other) for other in meant}
    return found


def _weights(others: dict[str, frozenset[str]], read: Sequence[_Read]) -> dict[str, float]:
    """What each stem of the query is worth: more the fewer candidates have it; those that none has are left out."""
    weights: dict[str, float] = {}
    for one, synonyms in others.items():
        found = sum(one in each.all for each in read) or sum(not synonyms.isdisjoint(each.all) for each in read)
        if found:
            weights[one] = math.log(1 + 4 * len(read) / (found + 0.5))
    return weights


def _coverage(read: _Read, weights: dict[str, float], others: dict[str, frozenset[str]]) -> float:
    """Of the passage and of its best sentence, with the headings above it: the weight of the stems that it has."""
    passage = above = 0.0
    open_stems: list[tuple[str, float, float]] = []
    for one, weight in weights.items():
        credit = _credit(one, others[one], read.all)
        if not credit:
            continue
        passage += weight * credit
        in_headings = _credit(one, others[one], read.headings)
        above += weight * in_headings
        if in_headings < 1:
            open_stems.append((one, weight, in_headings))
    best = above
    for sentence in read.sentences:
        gained = sum(
            weight * max(0.0, _credit(one, others[one], sentence) - in_headings)
            for one, weight, in_headings in open_stems
        )
        best = max(best, above + gained)
    return passage + best


def _credit(one: str, synonyms: frozenset[str], present: frozenset[str]) -> float:
    if one in present:
        return 1.0
    return 0.0 if synonyms.isdisjoint(present) else SYNONYM_CREDIT


@lru_cache(maxsize=2048)
def _read(title: str, heading_path: tuple[str, ...], text: str) -> _Read:
    headings = frozenset(stem(word) for word in words(f"{title} {' '.join(heading_path)}"))
    sentences = tuple(frozenset(stem(word) for word in words(one)) for one in _SENTENCE.split(text) if one)
    return _Read(headings, sentences, headings.union(*sentences))
