"""What a question asks: its parts, the words that each looks for, and the kind of answer that would be one.

A question is often told as a story ("We fly in on a Friday with our toddler. What would hiring a carrier cost?"): the
clauses that ask count fully, the others less. Whether a text answers is left to `evidence`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from agent_runtime.english.sentences import split_sentences
from agent_runtime.english.synonyms import phrase_synonyms, synonym_stems
from agent_runtime.english.tokens import content_words, has_stem, same_stem, stem, stem_set, stems, words

BACKGROUND_SHARE = 0.7
"""What a word of the story around the question counts, the question's own being 1."""
OTHER_PART_SHARE = 0.3
LEANS_ON_SHARE = 0.6
EARLIER_TURN_SHARE = 0.15
"""The turn before counts a little even where the question seems to stand by itself."""

_LIGHT_WORDS = stem_set(
    "keep use bring find leave make come hold try turn provide offer receive reach small little big large own whole"
)
"""Words that go with anything: what they go with tells more."""
_LIGHT_SHARE = 0.3
_NUMBER_SHARE = 0.3
"""A number of the story ("we want 30 jackets") is seldom the one of the answer ("within 30 days")."""
HABIT_WORDS = stem_set(
    "hello please help thanks today now currently exactly normally usually generally detail information"
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
    r"|\b[Ff]ree\b|\b[Nn]o (?:charge|cost|fee)\b|\b[Nn]othing\b|\b(?:half|double|full)\b)"
)
_TIME = re.compile(
    r"\b\d{1,2}[:.]\d{2}\b|\b\d{1,2}\s?(?:am|pm)\b|\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\b\d{4}-\d{2}-\d{2}\b"
    r"|\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b"
    r"|\b(?:noon|midnight|morning|evening|night|weekdays?|weekends?|daily|weekly|monthly|yearly)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"\b{_NUMBER_WORD}\b", re.IGNORECASE)

_MEASURE = re.compile(
    r"\bhow (?:long|much|many|soon|big|heavy|large|high|tall|deep|wide|far)\b|\b(?:until|by|since|from) when\b"
    r"|\bwhat (?:does|do|did|will|would)\b.{1,60}\bcosts?\b"
    r"|\bwhat(?:'s| is| are) the (?:price|cost|fee|charge)s? (?:of|for)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"\bhow many (?:more |of (?:the|my|your|our) )?(?P<what>(?!times\b|more\b|of\b)[^\W\d_]{3,})", re.IGNORECASE
)
_TIME_UNITS = stem_set("second minute hour day night week month year working time")
# "How much is it" asks for a sum, "how much water" for any figure.
_SUM_ASKED = re.compile(r"\bhow much (?:is|are|was|were|for|does|do|did|will|would)\b|\bcosts?\b", re.IGNORECASE)
_UNIT_FIGURE = re.compile(r"\d ?(?:kg|g|t|l|ml|cl|kwh?|kb|mb|gb|litres?|liters?|kilos?|grams?|tons?)\b", re.IGNORECASE)
_DISCOUNT = re.compile(r"\d+(?:[.,]\d+)? ?(?:%|percent) (?:off|discount|less|cheaper)\b", re.IGNORECASE)
# A person, a place or a reason is asked for, so no sum or time is.
_NO_KIND = re.compile(r"^\W*(?:(?:and|but|so)\W+)?(?:who|whom|whose|where|why)\b", re.IGNORECASE)
_COSTS = re.compile(r"\b(?:costs?|prices?|fees?|charges?|pay)\b", re.IGNORECASE)
_WHY = re.compile(r"^\W*(?:(?:and|but|so)\W+)?why\b", re.IGNORECASE)
_REASON = re.compile(r"\b(?:because|so that|since|therefore|reasons?|otherwise|as)\b", re.IGNORECASE)
_ASKS_ITSELF = re.compile(
    r"^\W*(?:(?:and|but|so|then|ok|also)\W+)*"
    r"(?:how(?! about)|what(?! about| if)|when|where|who|why|which|can|may|do|does|is|are)\b",
    re.IGNORECASE,
)
_ASK_WORD = r"(?:how|what|when|where|who|which|why|can|could|may|do|does|did|is|are|am|must|should|shall|will|would)"
_ASKS = re.compile(rf"\b{_ASK_WORD}\b", re.IGNORECASE)
_NEXT_PART = re.compile(
    r"(?:[,;:]|\s-)?\s+(?:and|or)\s+"
    rf"(?=(?:(?:also|then|if|by|until|from|at|for|in|after)\b[^,?]{{0,60}}?[, ]\s*)?{_ASK_WORD}\b)"
    r"|[?]\s+|[:;,]\s+(?=(?:how|what|when|where|who|which)\b)"
    r"|[:;]\s+(?=(?:can|may|do|does|is|are|must|should|will)\b)",
    re.IGNORECASE,
)

# Words that ask for a kind of answer: a text that has such an answer need not have the word.
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

# What is asked of a place, a language, a carrier: the name must be there, or something near it would be told.
_NAMED = re.compile(r"(?<=[\w,] )(?:in|into|to|for|via|by|with|on) (?P<name>[A-Z][^\W\d_]{2,}(?:[ -][A-Z][^\W\d_]+)*)")
# A name inside a sentence; where it tells a place of the story ("from Lyon"), it need not be told again.
_NAME = re.compile(r"(?<=[\w,] )(?<!\bin )(?<!\bfrom )(?<!\bnear )(?<!\bat )(?<!\bto )(?P<name>[A-Z][^\W\d_]{2,})\b")
# A code or a size: "XL", "TL-2404".
_CODE = re.compile(r"\b(?=[A-Z0-9-]*[A-Z])[A-Z0-9][A-Z0-9-]+\b")
_CURRENCY = re.compile(r"[A-Z]{3}")
_NUMBERED = re.compile(r"\b(?P<number>\d+)[ -](?P<noun>[^\W\d_]{3,})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is asked."""

    text: str
    kind_text: str
    """What tells the kind of answer: the part, and the turn before where the part does not ask by itself."""
    weights: dict[str, float]
    """The stems that it looks for, and what each counts."""
    synonyms: dict[str, frozenset[str]]
    """For each of these stems, those that say the same."""
    anew: frozenset[str]
    """Of a follow-up, the stems that it does not share with the turn before."""
    is_alone: bool
    """Whether nothing is told around it: then each of its words counts."""

    def telling(self, text: str) -> list[str]:
        """The stems of the part itself that an answer must speak of; those that the kind of answer stands for need not
        be in a text that has it."""
        own = telling_stems(self.text)
        light = set(_LIGHT_WORDS)
        if not _NO_KIND.search(self.kind_text):
            for asks, gives, satisfied in _KINDS:
                if asks.search(self.kind_text) and gives.search(_DISCOUNT.sub("", text)):
                    light |= satisfied
        return [one for one in own if one not in light] or own

    def kind_of(self, text: str) -> int:
        """1 where the text has the kind of answer that is asked for, -1 where it has not, 0 where none is."""
        if _NO_KIND.search(self.kind_text):
            return 0
        found = [bool(gives.search(text)) for asks, gives, _ in _KINDS if asks.search(self.kind_text)]
        return 0 if not found else 1 if sum(found) * 2 >= len(found) else -1

    def is_of_kind(self, text: str) -> bool:
        """Whether the text has a duration, a sum or a number where the part asks how long, how much or how many."""
        if _WHY.search(self.text):
            return bool(_REASON.search(text))
        asked = self.kind_text
        if not _MEASURE.search(asked):
            return True
        counted = _COUNTED.search(asked)
        if counted and not _is_counted(stem(counted["what"].lower()), words(text)):
            return False
        for asks, gives, _ in _KINDS:
            if not asks.search(asked) or gives.search(_DISCOUNT.sub("", text)):
                continue
            if gives is _MONEY and counted:
                continue  # "How many orders do we pay in advance?" asks for a number.
            if gives is _DURATION or _COSTS.search(asked) or not _NUMBER.search(text):
                return False
            if gives is _MONEY and _SUM_ASKED.search(asked) and not _UNIT_FIGURE.search(text):
                return False
        return True

    def is_another_case(self, passage: frozenset[str], text: str, known: frozenset[str]) -> bool:
        """Whether the passage speaks of the same things in another number, of something else that is counted, or of
        another name than the one that the question names and other passages know."""
        for found in _NUMBERED.finditer(self.text):
            noun = stem(found["noun"].lower())
            if noun not in _TIME_UNITS and noun in passage and not re.search(rf"\b{found['number']}\b", text):
                return True
        counted = _COUNTED.search(self.text)
        if counted and (what := stem(counted["what"].lower())) not in _TIME_UNITS and not _in(what, passage):
            return True
        codes = [] if self.text.isupper() else [one for one in _CODE.findall(self.text) if not _CURRENCY.fullmatch(one)]
        if any(code.lower() not in text.lower() and not _in(stem(code.lower()), passage) for code in codes):
            return True
        names = [stem(found["name"].lower()) for found in _NAME.finditer(self.text)]
        return any(name in known and not _in(name, passage) for name in names)


def read_parts(question: str, leans_on: str = "", earlier: str = "") -> list[Part]:
    """The parts of a question; one where it asks one thing.

    `leans_on` are the earlier turns of a question that does not stand by itself, `earlier` is the turn before.
    """
    sentences = split_sentences(question)
    asking = [one for one in sentences if "?" in one] or sentences[-1:]
    clauses = [clause.strip() for one in asking for clause in _NEXT_PART.split(one) if clause and clause.strip()]
    asked = [one for one in clauses if _ASKS.search(one)] or clauses
    story = [one for one in sentences if one not in asking] + [one for one in clauses if one not in asked]
    if not all(telling_stems(one) for one in asked):
        asked = [" ".join(asked)]
    return [_part(one, [other for other in asked if other is not one], story, leans_on, earlier) for one in asked]


def _part(text: str, others: Iterable[str], story: list[str], leans_on: str, earlier: str) -> Part:
    weights = {one: _LIGHT_SHARE if one in _LIGHT_WORDS else 1.0 for one in telling_stems(text)}
    phrases = phrase_synonyms(text)
    for word in phrases:
        weights.setdefault(stem(word), 1.0)
    own = frozenset(weights)
    for share, texts in (
        (OTHER_PART_SHARE, others),
        (BACKGROUND_SHARE, story),
        (LEANS_ON_SHARE, (leans_on,)),
        (EARLIER_TURN_SHARE, (earlier,)),
    ):
        for one in (one for other in texts for one in telling_stems(other)):
            weights.setdefault(one, share * (_NUMBER_SHARE if one.isdigit() else 1))
    synonyms = {one: synonym_stems(one) for one in weights}
    for word, meant in phrases.items():
        synonyms[stem(word)] |= {stem(other) for other in meant}
    kind_text = text if _ASKS_ITSELF.search(text) or not leans_on else f"{leans_on} {text}"
    before = stem_set(leans_on)
    anew = frozenset(one for one in own if not has_stem(one, before)) if leans_on else frozenset()
    is_alone = not (leans_on or story or earlier)
    return Part(text, kind_text, weights, synonyms, anew, is_alone)


_CALENDAR = stem_set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august"
    " september october november december easter christmas pentecost ramadan hanukkah spring summer autumn winter"
)


def unknown_name(part: str, known: frozenset[str]) -> bool:
    """Whether the question asks about a name ("to Iceland") of which no passage has a word."""
    if part.isupper() or part.istitle():
        return False
    return any(
        name and not name & _CALENDAR and not any(_in(one, known) for one in name)
        for name in (stem_set(found["name"]) for found in _NAMED.finditer(part))
    )


def telling_words(question: str) -> list[str]:
    """The content words of a question without those of mere habit."""
    return [word for word in content_words(question) if stem(word) not in HABIT_WORDS]


def telling_stems(question: str) -> list[str]:
    return list(dict.fromkeys(one for one in stems(question) if one not in HABIT_WORDS))


def _in(one: str, present: frozenset[str]) -> bool:
    return has_stem(one, present) or not synonym_stems(one).isdisjoint(present)


def _is_counted(what: str, said: list[str]) -> bool:
    """Whether a number stands just before each thing that is counted, where the text speaks of it at all."""
    places = [at for at, word in enumerate(said) if same_stem(stem(word), what)]
    return not places or any(_NUMBER.fullmatch(word) for at in places for word in said[max(0, at - 3) : at])
