"""Answers that are quotations: the sentences of the given passages that a question is about, or a plain refusal.

Sentences are weighed by the words that they share with the question, rare words first. A question whose telling words
are not there is refused rather than answered beside the point. What was given is read by `sources`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from agent_runtime.english.sentences import Unit, split_sentences, split_units
from agent_runtime.english.tokens import (
    Vocabulary,
    content_words,
    has_stem,
    is_content,
    same_stem,
    stem,
    stem_set,
    word_pairs,
    words,
)

from .sources import Passage, Sources, record_lines

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
    r"(?:\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fourteen|fifteen|twenty|thirty|forty|fifty|sixty|ninety|hundred|half"
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
    r"|\b(?:noon|midnight|morning|evening|night|weekdays?|weekends?|daily|weekly|monthly|yearly)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"\b{_NUMBER_WORD}\b", re.IGNORECASE)

_MEASURE = re.compile(
    r"\bhow (?:long|much|many|soon|big|heavy|large|high|tall|deep|wide|far)\b"
    r"|\bwhat (?:does|do|did|will|would)\b.{1,60}\bcosts?\b"
    r"|\bwhat(?:'s| is| are) the (?:price|cost|fee|charge)s? (?:of|for)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"\bhow many (?:more |of (?:the|my|your|our) )?(?P<what>(?!times\b|more\b|of\b)[^\W\d_]{3,})", re.IGNORECASE
)
_ASKS_ITSELF = re.compile(
    r"^\W*(?:(?:and|but|so|then|ok|also)\W+)*"
    r"(?:how(?! about)|what(?! about| if)|when|where|who|why|which|can|may|do|does|is|are)\b",
    re.IGNORECASE,
)
_AND_ASKS = re.compile(
    r",?\s+and\s+(?=(?:how|what|when|where|who|which|why|can|may|do|does|is|are|must|should)\b)", re.IGNORECASE
)
# "How much is it" asks for a sum, "how much water" for any figure.
_SUM_ASKED = re.compile(r"\bhow much (?:is|are|was|were|for|does|do|did|will|would)\b|\bcosts?\b", re.IGNORECASE)
_UNIT_FIGURE = re.compile(r"\d ?(?:kg|g|t|l|ml|cl|kwh?|kb|mb|gb|litres?|liters?|kilos?|grams?|tons?)\b", re.IGNORECASE)
_DISCOUNT = re.compile(r"\d+(?:[.,]\d+)? ?(?:%|percent) (?:off|discount|less|cheaper)\b", re.IGNORECASE)
# A person, a place or a reason is asked for, so no sum or time is.
_NO_KIND = re.compile(r"^\W*(?:(?:and|but|so)\W+)?(?:who|whom|whose|where|why)\b", re.IGNORECASE)

_COSTS = re.compile(r"\b(?:costs?|prices?|fees?|charges?|pay)\b", re.IGNORECASE)

# Words that ask for a kind of answer: a sentence that has such an answer need not have the word.
_KINDS: tuple[tuple[re.Pattern[str], re.Pattern[str], frozenset[str]], ...] = (
    (
        re.compile(r"\bhow (?:long|soon|quick\w*|fast|late|early|old)\b|\bdeadline\b|\bhow many (?:\w+ )?(?:days|hours|weeks|months|years|minutes)\b", re.I),  # noqa: E501 - one pattern reads best whole
        _DURATION,
        stem_set("long soon quick fast late early old time deadline period day week month hour year minute last"),
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
# What is asked of a place, a language, a carrier: the name must be there, or something near it would be told.
_NAMED = re.compile(r"(?<=[\w,] )(?:in|into|to|for|via|by|with|on) (?P<name>[A-Z][^\W\d_]{2,}(?:[ -][A-Z][^\W\d_]+)*)")
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
    before: frozenset[str]
    """Stems of the sentences that the unit points back to."""
    around: frozenset[str]
    """Stems of the whole passage."""


@dataclass(frozen=True, slots=True)
class _Given:
    """All that may be quoted, and the stems that it has."""

    candidates: list[_Candidate]
    frequency: Counter[str]
    """In how many candidates a stem is."""
    vocabulary: Vocabulary


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
    needs_before: bool
    """Whether it speaks of what is asked only together with the sentences that it points back to."""


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
    """The sentences of the passages that answer, each with its citation; None when they do not answer the question.

    Of a question with several parts each is answered for itself, and what holds no answer is said.
    """
    candidates = _candidates(passages)
    if not candidates or not _knows_names(question, candidates):
        return None
    given = _Given(
        candidates,
        frequency=Counter(one for candidate in candidates for one in candidate.near),
        vocabulary=Vocabulary(one for candidate in candidates for one in (*candidate.near, *candidate.around)),
    )
    whole = _render(_answering(given, _wanted(question, leans_on), question, leans_on))
    parts = _parts(question)
    answers = [_render(_answering(given, _wanted_of_part(one, question), one)) for one in parts]
    if parts and (all(answers) or (any(answers) and not whole)):
        missing = [refusal(part) for part, answer in zip(parts, answers, strict=True) if not answer]
        return " ".join(dict.fromkeys([*(piece for answer in answers for piece in answer), *missing]))
    return " ".join(whole) or None


def _parts(question: str) -> list[str]:
    """The questions that a text asks side by side, where each says what it is about."""
    asked = [one for one in split_sentences(question) if "?" in one]
    parts = [part.strip() for one in asked for part in _AND_ASKS.split(one)]
    return parts if len(parts) > 1 and all(len(_telling_words(part)) > 1 for part in parts) else []


def _answering(given: _Given, wanted: dict[str, float], question: str, leans_on: str = "") -> list[_Scored]:
    """The candidates to quote for what is wanted; none when they do not answer the question."""
    if not wanted:
        return []
    whole = f"{leans_on} {question}".strip()
    # A follow-up that asks in its own words asks for its own kind of answer.
    kind = question if _ASKS_ITSELF.search(question) else whole
    asked = _ask(given, wanted, kind, word_pairs(whole))
    scored = sorted(
        (_score(candidate, asked) for candidate in given.candidates), key=lambda one: (-one.score, one.candidate.order)
    )
    answering = [
        one
        for one in scored
        if one.coverage >= _REFUSE_BELOW and _is_telling(one, asked, wanted) and _is_of_kind(one.candidate, kind)
    ]
    if leans_on:
        # What a follow-up asks anew must be there; else it would be answered with the turn before.
        anew = [one for one in _telling_stems(question) if one in wanted and one not in _LIGHT_VERBS]
        answering = [one for one in answering if all(new in one.covered for new in anew)]
    return _choose(answering, asked.weights) if answering else []


def _knows_names(question: str, candidates: list[_Candidate]) -> bool:
    """Whether the passages have one word at least of each name that the question asks about."""
    if question.isupper() or question.istitle():
        return True
    asked = [one for one in split_sentences(question) if "?" in one] or [question]
    for sentence in asked:
        for found in _NAMED.finditer(sentence):
            name = stem_set(found["name"])
            wanted = {other for one in name for other in (one, *_synonyms(one))}
            if name and not any(has_stem(one, candidate.around) for candidate in candidates for one in wanted):
                return False
    return True


def _ask(given: _Given, wanted: dict[str, float], question: str, pairs: frozenset[tuple[str, str]]) -> _Asked:
    """What the question looks for, weighed against the passages: a rare word is worth more."""
    vocabulary = given.vocabulary
    forms = {one: vocabulary.forms(one) for one in wanted}
    weights: dict[str, float] = {}
    for one, share in wanted.items():
        found = max((given.frequency[other] for other in forms[one]), default=0)
        # A word in every sentence still says something; one that is nowhere is not worth more than a rare one.
        weights[one] = share * (0.4 + math.log(1 + len(given.candidates) / max(found, 1)))
    return _Asked(
        weights=weights,
        forms=forms,
        synonyms={one: frozenset().union(*(vocabulary.forms(other) for other in _synonyms(one))) for one in wanted},
        kinds=[(gives, satisfied) for asks, gives, satisfied in _KINDS if asks.search(question)]
        if not _NO_KIND.search(question)
        else [],
        pairs=pairs,
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
        for found in split_units(passage.text):
            read_with = " ".join((found.context, *found.before))
            steered = bool(read_with) and is_order_to_assistant(read_with)
            unit = replace(found, context="", before=()) if steered else found
            if unit.is_question or unit.text in seen or is_order_to_assistant(unit.text) or _POINTER.search(unit.text):
                continue
            seen.add(unit.text)
            said = tuple(words(unit.text))
            own = tuple(stem(word) for word in said if is_content(word))
            title = above | stem_set(unit.heading)
            near = title.union(own, stem_set(unit.context))
            before = stem_set(*unit.before)
            candidates.append(_Candidate(passage, unit, len(candidates), said, own, title, near, before, around))
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


def _wanted_of_part(part: str, question: str) -> dict[str, float]:
    """The stems that a part of a question looks for; what the other parts are about counts a little."""
    wanted = _wanted(part, "")
    return wanted and {**dict.fromkeys(_telling_stems(question), 0.1), **wanted}


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
    needs_before = False
    total = sum(weights.values())
    for one, worth in weights.items():
        in_title = not forms[one].isdisjoint(candidate.title)
        if not forms[one].isdisjoint(candidate.own):
            gained += worth * (1.25 if in_title else 1.0)
            if one in _LIGHT_VERBS and not asked.kinds:
                # It does not tell a subject, but of two sentences on the subject, the one that answers.
                gained += worth * 0.8 * (1 / _LIGHT_SHARE - 1)
            credit += worth
            covered.add(one)
        elif not forms[one].isdisjoint(candidate.near):
            gained += worth * (0.75 if in_title else 0.6)
            credit += worth
            covered.add(one)
        elif not forms[one].isdisjoint(candidate.before):
            gained += worth * 0.5
            credit += worth
            covered.add(one)
            needs_before = True
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
    return _Scored(candidate, score, credit / total if total else 0.0, frozenset(covered), kind_bonus > 0, needs_before)


def _is_of_kind(candidate: _Candidate, question: str) -> bool:
    """Whether it has a duration, a sum or a number where the question asks how long, how much or how many."""
    if not _MEASURE.search(question):
        return True
    text = candidate.unit.text
    if (counted := _COUNTED.search(question)) and not _is_counted(stem(counted["what"].lower()), candidate.said):
        return False
    for asks, gives, _ in _KINDS:
        if not asks.search(question) or gives.search(_DISCOUNT.sub("", text)):
            continue
        if gives is _DURATION or _COSTS.search(question) or not _NUMBER.search(text):
            return False
        if gives is _MONEY and _SUM_ASKED.search(question) and not _UNIT_FIGURE.search(text):
            return False
    return True


def _is_counted(what: str, said: tuple[str, ...]) -> bool:
    """Whether a number stands just before each thing that is counted, where the text speaks of it at all."""
    places = [at for at, word in enumerate(said) if same_stem(stem(word), what)]
    return not places or any(_NUMBER.fullmatch(word) for at in places for word in said[max(0, at - 3) : at])


def _is_telling(best: _Scored, asked: _Asked, wanted: dict[str, float]) -> bool:
    """Whether the rarest words of the question are met by the sentence or by the passage that it stands in.

    Of up to three words none of the rare ones may be missing; of more, no more than half.
    """
    weights = asked.weights
    heaviest = max(weights.values())
    own = stem_set(best.candidate.unit.text, best.candidate.unit.context)
    said = [one for one in best.covered if wanted[one] > _LIGHT_SHARE or (one in _LIGHT_VERBS and not asked.kinds)]
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


def _choose(scored: list[_Scored], weights: dict[str, float]) -> list[_Scored]:
    best = scored[0]
    chosen = [best]
    covered = set(best.covered)
    for one in scored[1:]:
        if len(chosen) == _MAX_QUOTES:
            break
        if one.score < 0.6 * best.score:
            continue
        fresh = sum(weights[new] for new in one.covered - covered)
        led_in = one.candidate.unit.context
        same_list = bool(led_in) and led_in == best.candidate.unit.context
        if (
            fresh >= 0.2 * sum(weights.values())
            or one.score >= 0.85 * best.score
            or (same_list and one.score >= 0.7 * best.score)
        ):
            chosen.append(one)
            covered |= one.covered
    # Best first; of one passage, in the order of the passage.
    first_of = {id(one.candidate.passage): at for at, one in reversed(list(enumerate(chosen)))}
    return sorted(chosen, key=lambda one: (first_of[id(one.candidate.passage)], one.candidate.order))


def _render(chosen: list[_Scored]) -> list[str]:
    pieces: list[str] = []
    led_in = ""
    for one in chosen:
        unit, number = one.candidate.unit, one.candidate.passage.number
        text = unit.text
        if unit.context and unit.context != led_in and len(unit.context) <= 200:
            text = f"{unit.context} {text}"
        led_in = unit.context
        for sentence in (*(unit.before if one.needs_before else ()), text):
            cited = sentence if number is None else f"{sentence} [{number}]"
            if cited not in pieces:
                pieces.append(cited)
    return pieces
