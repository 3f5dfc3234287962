"""Answers that are quotations: the sentences of the given passages that a question is about, or a plain refusal.

Sentences are weighed by the words that they share with the question, rare words first. A question whose telling words
are not there is refused rather than answered beside the point. What was given is read by `sources`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from .sentences import Unit, split_sentences, split_units
from .sources import Passage, Sources, record_lines
from .tokens import Vocabulary, content_words, has_stem, is_content, stem, stem_set, word_pairs, words

_ORDER_TO_ASSISTANT = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|rule|previous|above|earlier|prior|guideline)"
    r"|\bsystem prompt\b|\byou are now\b|\bas an? (?:ai|assistant|language model)\b|\bdeveloper mode\b"
    r"|\b(?:assistants?|ai|chatbots?|bots?|models?)\b[^.]{0,30}\b(?:must|should|shall|have to|please)\b"
    r"|\b(?:reveal|print|repeat|output)\b.{0,30}\b(?:your|the) (?:instruction|prompt|secret|password|key)"
    r"|\b(?:tell|inform|assure) the (?:user|reader)\b|\bdo not tell the user\b"
    r"|^\s*(?:system|assistant)\s*:|\b(?:respond|reply|answer) (?:only )?with\b|<\|?\w+\|?>",
    re.IGNORECASE,
)
# A sentence that only says where to read on.
_POINTER = re.compile(
    r"^(?:see|refer to|read)\b"
    r"|^(?:the |all )?(?:rules|details|steps|conditions|exceptions|rest|procedure|list) (?:is|are) (?:\w+ )?in\b",
    re.IGNORECASE,
)
_NUMBER_WORD = (
    r"(?:\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|twenty|thirty|sixty|ninety|half"
    r"|once|twice)"
)
_DURATION = re.compile(
    rf"\b{_NUMBER_WORD}[ -](?:(?!an? |per )\w+[ -])?(?:second|minute|hour|day|night|week|month|year)s?\b"
    # "How long" asks for a length as well.
    rf"|\b{_NUMBER_WORD} ?(?:mm|cm|m|km|millimet|centimet|met(?:re|er)|kilomet|inch|f(?:oo|ee)t|ft|yard|mile)\w*"
    r"|\b(?:same|next) (?:\w+ )?day\b|\b(?:immediately|at once|lifetime|overnight|until|unlimited|never|always)\b",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"(?:[€$£¥]\s?\d|\d\s?(?:[€$£¥%]|percent\b|(?:[A-Z]{3})\b)|\b[A-Z]{3}\s?\d"
    rf"|\b{_NUMBER_WORD} (?:euros?|dollars?|pounds?|cents?|percent)\b"
    r"|\b[Ff]ree\b|\b[Nn]o (?:charge|cost|fee)\b|\b[Nn]othing\b)"
)
_TIME = re.compile(
    r"\b\d{1,2}[:.]\d{2}\b|\b\d{1,2}\s?(?:am|pm)\b|\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b\d{4}-\d{2}-\d{2}\b"
    r"|\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b"
    r"|\b(?:noon|midnight|morning|evening|weekdays?|weekends?)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"\b{_NUMBER_WORD}\b", re.IGNORECASE)

_MEASURE = re.compile(r"\bhow (?:long|much|many|soon)\b", re.IGNORECASE)

_COSTS = re.compile(r"\b(?:costs?|prices?|fees?|charges?|pay)\b", re.IGNORECASE)

# Words that ask for a kind of answer: a sentence that has such an answer need not have the word.
_KINDS: tuple[tuple[re.Pattern[str], re.Pattern[str], frozenset[str]], ...] = (
    (
        re.compile(r"\bhow (?:long|soon|quick\w*|fast|late|early|old)\b|\bdeadline\b|\bhow many (?:\w+ )?(?:days|hours|weeks|months|years|minutes)\b", re.I),  # noqa: E501 - one pattern reads best whole
        _DURATION,
        stem_set("long soon quick fast late time deadline period day week month hour year minute last"),
    ),
    (
        re.compile(r"\bhow much\b|\bcosts?\b|\bprices?\b|\bfees?\b|\bcharges?\b|\bpay\b|\bexpensive\b|\bfree\b", re.I),
        _MONEY,
        stem_set("price fee charge pay expensive free amount money"),
    ),
    (
        re.compile(r"\bwhen\b|\bwhat (?:time|day|date)\b|\bopening\b|\bhours\b", re.I),
        re.compile(f"{_TIME.pattern}|{_DURATION.pattern}", re.I),
        stem_set("time date day hour open late early"),
    ),
    (
        re.compile(r"\bhow (?:many|often|far|big|heavy|large|high|tall)\b", re.I),
        _NUMBER,
        stem_set("number often far big heavy large high tall maximum limit"),
    ),
)  # fmt: skip

# Everyday English for one thing; no subject's terms.
_SYNONYMS = tuple(
    frozenset(stem(word) for word in group.split())
    for group in (
        "price fee charge pay",
        "euro eur",
        "pound gbp",
        "dollar usd",
        "keep hold store",
        "begin start",
        "end finish stop",
        "buy purchase",
        "allow permit permitted",
        "break damage defective faulty fault",
        "repair fix mend",
        "quick fast soon",
        "phone telephone call",
        "change modify alter amend",
        "send ship post mail dispatch deliver",
        "mistake error wrong",
        "big large",
        "help assist support",
        "need require must",
        "choose select pick",
        "late delay overdue",
        "lose lost missing",
        "open opening",
        "child kid",
        "person people",
        "abroad foreign international overseas",
    )
)
_SYNONYM_CREDIT = 0.8
_NEARBY_CREDIT = 0.6
_REFUSE_BELOW = 0.5
_LIGHT_SHARE = 0.3
_MAX_QUOTES = 3
_HABIT_WORDS = stem_set(
    "hello please help thanks today now currently exactly normally usually generally detail information"
)
# Verbs that go with anything: what they go with tells more.
_LIGHT_VERBS = stem_set("keep use bring find leave make come hold try turn provide offer receive reach")


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: Passage
    unit: Unit
    order: int
    said: tuple[str, ...]
    """The words of the unit."""
    own: tuple[str, ...]
    """Stems of the unit itself, in order."""
    title: frozenset[str]
    """Stems of the passage's title and of the headings above the unit."""
    near: frozenset[str]
    """Stems of the unit itself and of what it is read with."""
    around: frozenset[str]
    """Stems of the whole passage."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a question looks for."""

    weights: dict[str, float]
    """What each stem of the question is worth."""
    forms: dict[str, frozenset[str]]
    """For each of them, the passages' stems that are forms of it."""
    synonyms: dict[str, frozenset[str]]
    kinds: list[tuple[re.Pattern[str], frozenset[str]]]
    """What an answer of the asked kind looks like, and the stems that it stands for."""
    pairs: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Scored:
    candidate: _Candidate
    score: float
    coverage: float
    covered: frozenset[str]
    answers_kind: bool


def is_order_to_assistant(sentence: str) -> bool:
    """Whether a sentence tries to steer whoever reads it instead of saying something."""
    return bool(_ORDER_TO_ASSISTANT.search(sentence))


def answer_from(sources: Sources, question: str, leans_on: str = "") -> str:
    """The answer that the sources hold, quoted; or one sentence that they hold none.

    `leans_on` are the earlier turns of a question that does not stand by itself.
    """
    parts: list[str] = list(dict.fromkeys(sources.errors))
    blocks = ["\n".join(lines) for record in sources.records if (lines := record_lines(record))]
    parts.extend(dict.fromkeys(blocks))
    if sources.passages or (sources.searched and not blocks and not parts):
        quotes = quote(sources.passages, question, leans_on)
        if quotes:
            parts.append(quotes)
        elif not parts:
            parts.append(refusal(f"{question} {leans_on}"))
    return "\n\n".join(parts) or refusal(f"{question} {leans_on}")


def refusal(question: str) -> str:
    """The sentence that says that the passages hold no answer, and what was looked for."""
    looked_for = ", ".join(_telling_words(question)[:8]) or "an answer to that"
    return f"The passages I was given do not say this; I looked for: {looked_for}."


def quote(passages: Iterable[Passage], question: str, leans_on: str = "") -> str | None:
    """One to three sentences of the passages, each with its citation; None when they do not answer the question."""
    candidates = _candidates(passages)
    wanted = _wanted(question, leans_on)
    whole = f"{leans_on} {question}".strip()
    if not candidates or not wanted:
        return None
    asked = _ask(candidates, wanted, whole)
    weights = asked.weights
    scored = sorted(
        (_score(candidate, asked) for candidate in candidates), key=lambda one: (-one.score, one.candidate.order)
    )
    answering = [
        one
        for one in scored
        if one.coverage >= _REFUSE_BELOW
        and _is_telling(one, weights, wanted)
        and _is_of_kind(one.candidate.unit.text, whole)
    ]
    if leans_on:
        # What a follow-up asks anew must be there; else it would be answered with the turn before.
        anew = [one for one in _telling_stems(question) if one in weights and one not in _LIGHT_VERBS]
        answering = [one for one in answering if all(new in one.covered for new in anew)]
    return _render(_choose(answering, weights)) if answering else None


def _ask(candidates: list[_Candidate], wanted: dict[str, float], question: str) -> _Asked:
    """What the question looks for, weighed against the passages: a rare word is worth more."""
    frequency = Counter(one for candidate in candidates for one in candidate.near)
    vocabulary = Vocabulary(one for candidate in candidates for one in (*candidate.near, *candidate.around))
    forms = {one: vocabulary.forms(one) for one in wanted}
    weights: dict[str, float] = {}
    for one, share in wanted.items():
        found = max((frequency[other] for other in forms[one]), default=0)
        # A word in every sentence still says something; one that is nowhere is not worth more than a rare one.
        weights[one] = share * (0.4 + math.log(1 + len(candidates) / max(found, 1)))
    return _Asked(
        weights=weights,
        forms=forms,
        synonyms={one: frozenset().union(*(vocabulary.forms(other) for other in _synonyms(one))) for one in wanted},
        kinds=[(gives, satisfied) for asks, gives, satisfied in _KINDS if asks.search(question)],
        pairs=word_pairs(question),
    )


def informative_sentences(text: str, limit: int = 1) -> list[str]:
    """The sentences of a text that say most: those with the most of its own repeated and rare words."""
    sentences = [one for one in split_sentences(text) if not is_order_to_assistant(one)]
    if not sentences:
        return []
    counts = Counter(one for sentence in sentences for one in stem_set(sentence))

    def value(at: int) -> float:
        found = stem_set(sentences[at])
        return sum(1 + 0.3 * (counts[one] - 1) for one in found) + (0.5 if at == 0 else 0)

    ranked = sorted(range(len(sentences)), key=lambda at: (-value(at), at))[:limit]
    return [sentences[at] for at in sorted(ranked)]


def _candidates(passages: Iterable[Passage]) -> list[_Candidate]:
    candidates: list[_Candidate] = []
    seen: set[str] = set()
    for passage in passages:
        above = stem_set(passage.title, passage.heading)
        around = stem_set(passage.text) | above
        for unit in split_units(passage.text):
            if unit.is_question or unit.text in seen or is_order_to_assistant(unit.text) or _POINTER.search(unit.text):
                continue
            seen.add(unit.text)
            said = tuple(words(unit.text))
            own = tuple(stem(word) for word in said if is_content(word))
            title = above | stem_set(unit.heading)
            near = title.union(own, stem_set(unit.context))
            candidates.append(_Candidate(passage, unit, len(candidates), said, own, title, near, around))
    return candidates


def _wanted(question: str, leans_on: str) -> dict[str, float]:
    """The stems that the question looks for and how much each counts: those of what is asked fully, the rest less."""
    asked = [one for one in split_sentences(question) if "?" in one] or [question]
    inside = stem_set(*asked)
    wanted = dict.fromkeys(_telling_stems(question), 0.4)
    wanted = {one: 1.0 if one in inside else share for one, share in wanted.items()}
    for one in _telling_stems(leans_on):
        wanted.setdefault(one, 0.5)
    light = set(_LIGHT_VERBS)
    for asks, _, satisfied in _KINDS:
        if asks.search(f"{leans_on} {question}"):
            light |= satisfied
    if not set(wanted) <= light:
        wanted = {one: share * _LIGHT_SHARE if one in light else share for one, share in wanted.items()}
    return wanted


def _telling_words(question: str) -> list[str]:
    return [word for word in content_words(question) if stem(word) not in _HABIT_WORDS]


def _telling_stems(question: str) -> list[str]:
    return list(dict.fromkeys(stem(word) for word in _telling_words(question)))


def _synonyms(one: str) -> frozenset[str]:
    return frozenset(other for group in _SYNONYMS if has_stem(one, group) for other in group) - {one}


def _score(candidate: _Candidate, asked: _Asked) -> _Scored:
    weights, forms = asked.weights, asked.forms
    answered: set[str] = set()
    kind_bonus = 0.0
    for gives, satisfied in asked.kinds:
        if gives.search(candidate.unit.text):
            kind_bonus += 0.8
            answered |= satisfied
        else:
            kind_bonus -= 0.5
    gained = 0.0
    credit = 0.0
    covered: set[str] = set()
    total = sum(weights.values())
    for one, worth in weights.items():
        in_title = not forms[one].isdisjoint(candidate.title)
        if not forms[one].isdisjoint(candidate.own):
            gained += worth * (1.25 if in_title else 1.0)
            credit += worth
            covered.add(one)
        elif not forms[one].isdisjoint(candidate.near):
            gained += worth * (0.75 if in_title else 0.6)
            credit += worth
            covered.add(one)
        elif not asked.synonyms[one].isdisjoint(candidate.near) or one in answered:
            gained += worth * _SYNONYM_CREDIT * 0.7
            credit += worth * _SYNONYM_CREDIT
            covered.add(one)
        elif not forms[one].isdisjoint(candidate.around):
            gained += worth * 0.15
            credit += worth * _NEARBY_CREDIT
    pairs = len(asked.pairs.intersection(pairwise(candidate.own)))
    mean = total / max(len(weights), 1)
    length = len(candidate.said)
    score = gained + mean * (kind_bonus * bool(covered) + 0.4 * pairs)
    score /= 1 + 0.012 * max(0, length - 12)
    if length < 4:
        score *= 0.7
    return _Scored(candidate, score, credit / total if total else 0.0, frozenset(covered), kind_bonus > 0)


def _is_of_kind(text: str, question: str) -> bool:
    """Whether a text has a duration, a sum or a number where the question asks how long, how much or how many."""
    return all(
        gives.search(text) or (gives is not _DURATION and not _COSTS.search(question) and _NUMBER.search(text))
        for asks, gives, _ in _KINDS
        if asks.search(question) and _MEASURE.search(question)
    )


def _is_telling(best: _Scored, weights: dict[str, float], wanted: dict[str, float]) -> bool:
    """Whether the rarest words of the question are met by the sentence or by the passage that it stands in.

    Of up to three words none of the rare ones may be missing; of more, no more than half.
    """
    heaviest = max(weights.values())
    own = stem_set(best.candidate.unit.text, best.candidate.unit.context)
    said = [one for one in best.covered if wanted[one] > _LIGHT_SHARE]
    if not any(has_stem(each, own) for one in said for each in (one, *_synonyms(one))) and not best.answers_kind:
        return False
    full = [one for one in weights if weights[one] >= 0.75 * heaviest]
    around = best.candidate.around

    def met(one: str) -> bool:
        return one in best.covered or (len(full) > 2 and has_stem(one, around))

    missing = [one for one in full if not met(one)]
    if len(weights) <= 3:
        return not missing
    return len(missing) <= len(full) / 2


def _choose(scored: list[_Scored], weights: dict[str, float]) -> list[_Candidate]:
    best = scored[0]
    chosen = [best.candidate]
    covered = set(best.covered)
    for one in scored:
        if len(chosen) == _MAX_QUOTES:
            break
        if one.candidate in chosen or one.score < 0.6 * best.score:
            continue
        fresh = sum(weights[new] for new in one.covered - covered)
        same_list = bool(one.candidate.unit.context) and one.candidate.unit.context == best.candidate.unit.context
        if (
            fresh >= 0.2 * sum(weights.values())
            or one.score >= 0.85 * best.score
            or (same_list and one.score >= 0.7 * best.score)
        ):
            chosen.append(one.candidate)
            covered |= one.covered
    # Best first; of one passage, in the order of the passage.
    first_of = {id(one.passage): at for at, one in reversed(list(enumerate(chosen)))}
    return sorted(chosen, key=lambda one: (first_of[id(one.passage)], one.order))


def _render(chosen: list[_Candidate]) -> str:
    pieces: list[str] = []
    led_in = ""
    for one in chosen:
        text = one.unit.text
        if one.unit.context and one.unit.context != led_in and len(one.unit.context) <= 200:
            text = f"{one.unit.context} {text}"
        led_in = one.unit.context
        pieces.append(text if one.passage.number is None else f"{text} [{one.passage.number}]")
    return " ".join(pieces)
