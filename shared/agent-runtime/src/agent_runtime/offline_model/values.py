"""Values read out of a text: amounts, currencies, dates, addresses, names and the best word of a closed list.

Everything is found by its written form and by words that a schema itself brings; nothing is known beforehand.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from agent_runtime.english.tokens import has_stem, listed, same_stem, stem, stem_set, stems, words

EMAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
URL = re.compile(r"https?://[^\s<>\"')\]]+")
UUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)
PHONE = re.compile(r"(?<![\w-])\+?\d[\d ()/-]{6,16}\d(?![\w-])")
_DATE_TIME = re.compile(r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_MONTHS = {
    name[:3]: at
    for at, name in enumerate(
        listed("january february march april may june july august september october november december"), start=1
    )
}
_MONTH = r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY_MONTH = re.compile(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH},? (?P<year>\d{{4}})\b", re.IGNORECASE)
_MONTH_DAY = re.compile(rf"\b{_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year>\d{{4}})\b", re.IGNORECASE)
_SIGNS = {"€": "EUR", "£": "GBP", "$": "USD", "¥": "JPY"}
_CURRENCY_WORDS = {
    "euro": "EUR", "euros": "EUR", "pound": "GBP", "pounds": "GBP", "dollar": "USD", "dollars": "USD",
    "franc": "CHF", "francs": "CHF", "yen": "JPY",
}  # fmt: skip
_CODES = "EUR|GBP|USD|CHF|JPY|SEK|NOK|DKK|PLN|CZK|CAD|AUD|NZD"
# Bounded, so that a long run of digits is not tried again from each of its places.
_FIGURE = r"(?<!\d)(?:\d{1,3}(?:[, ]\d{3}){1,4}(?:\.\d{1,2})?|\d{1,12}(?:[.,]\d{1,2})?)"
_AMOUNT = re.compile(
    rf"(?P<sign>[€£$¥]) ?(?P<a>{_FIGURE})|(?P<b>{_FIGURE}) ?(?P<sign2>[€£$¥])"
    rf"|(?P<c>{_FIGURE}) ?(?P<code>{_CODES})\b|\b(?P<code2>{_CODES}) ?(?P<d>{_FIGURE})"
    rf"|(?P<e>{_FIGURE}) (?P<word>{'|'.join(_CURRENCY_WORDS)})\b",
)
_NUMBER = re.compile(r"(?<![\w.,-])-?\d{1,15}(?:[.,]\d{1,9})?(?![\w-]|[.,]\d)")
_NUMBER_WORDS = {
    word: at for at, word in enumerate(listed("zero one two three four five six seven eight nine ten eleven twelve"))
}
_PERSON = re.compile(
    r"(?:\b(?:my name is|i am called|name:|this is)\s+"
    r"|\b(?:regards|sincerely|thanks|thank you|cheers|wishes|yours),?\s*\n+\s*)"
    r"(?P<name>[A-Z][\w'’-]+(?:[ ][A-Z][\w'’-]+){0,3})",  # noqa: RUF001
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|without|cannot|can't|don't|doesn't|didn't|isn't|wasn't|won't|hasn't|haven't)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of money as written: the figure as decimal text, and the currency's three letters."""

    figure: str
    currency: str
    at: int


def amounts(text: str) -> list[Amount]:
    """The sums of money in a text, in order."""
    found: list[Amount] = []
    for one in _AMOUNT.finditer(text):
        figure = next(one[name] for name in "abcde" if one[name])
        sign = one["sign"] or one["sign2"]
        code = _SIGNS[sign] if sign else (one["code"] or one["code2"] or _CURRENCY_WORDS[one["word"]])
        found.append(Amount(plain_figure(figure), code, one.start()))
    return found


def plain_figure(figure: str) -> str:
    """A figure as decimal text: thousands unmarked, a point before the decimals."""
    figure = figure.replace(" ", "")
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", figure):
        return figure.replace(",", "")
    return figure.replace(",", ".")


def numbers(text: str) -> list[tuple[str, int]]:
    """Numbers that stand by themselves (not in ids, dates or clock times), as decimal text, with their places."""
    clean = _ISO_DATE.sub(lambda one: "x" * len(one[0]), text)
    clean = re.sub(r"\d{1,2}:\d{2}", lambda one: "x" * len(one[0]), clean)
    found = [(one[0].replace(",", "."), one.start()) for one in _NUMBER.finditer(clean)]
    found += [
        (str(_NUMBER_WORDS[one[0].lower()]), one.start())
        for one in re.finditer(r"\b[A-Za-z]+\b", text)
        if one[0].lower() in _NUMBER_WORDS and one[0].lower() not in ("one", "zero")
    ]
    return sorted(found, key=lambda one: one[1])


def number_near(text: str, names: Iterable[str]) -> str | None:
    """The number that stands beside one of the words; None when none does."""
    wanted = [stem(word) for name in names for word in words(name) if len(word) > 2]
    for figure, at in numbers(text):
        around = stems(text[max(0, at - 25) : at + 35])
        if any(has_stem(one, around) for one in wanted):
            return figure
    return None


def dates(text: str) -> list[str]:
    """The dates of a text as YYYY-MM-DD, in order."""
    found: list[tuple[int, str]] = []
    for one in _ISO_DATE.finditer(text):
        found.extend(_real_date(one.start(), int(one[1]), int(one[2]), int(one[3])))
    for pattern in (_DAY_MONTH, _MONTH_DAY):
        for one in pattern.finditer(text):
            found.extend(_real_date(one.start(), int(one["year"]), _MONTHS[one["month"].lower()], int(one["day"])))
    return list(dict.fromkeys(written for _, written in sorted(found)))


def _real_date(at: int, year: int, month: int, day: int) -> list[tuple[int, str]]:
    try:
        return [(at, date(year, month, day).isoformat())]
    except ValueError:
        return []


def date_times(text: str) -> list[str]:
    """Full times of a text in RFC 3339; UTC where no offset is written."""
    found = []
    for one in _DATE_TIME.finditer(text):
        written = one[0].replace(" ", "T", 1)
        if re.search(r"T\d{2}:\d{2}$", written):
            written += ":00"
        found.append(written if re.search(r"(?:Z|[+-]\d{2}:\d{2})$", written) else f"{written}Z")
    return found


def person(text: str) -> str | None:
    """A name that its bearer gives or signs with."""
    found = _PERSON.search(text)
    return found["name"] if found else None


def is_negated(sentence: str) -> bool:
    """Whether a sentence denies something."""
    return bool(_NEGATION.search(sentence))


def best_enum(values: Sequence[str], text: str, description: str = "") -> str | None:
    """The value of a closed list that a text names, by stems; a description's words after each value help."""
    text_stems = stems(text)
    present = frozenset(text_stems)
    best: tuple[float, str] | None = None
    for value in values:
        own = [stem(word) for word in words(value)]
        if not own:
            continue
        met = [one for one in own if any(same_stem(one, other) for other in present)]
        score = 2.0 * len(met) / len(own) if met else 0.0
        if score and not any(one in met for one in own if len(one) > 2):
            score *= 0.5
        score += 0.6 * sum(has_stem(one, present) for one in stem_set(_explanation(value, values, description)))
        # The earlier a text names a value, the likelier it is what the text is about.
        first = next((place for place, one in enumerate(text_stems) if has_stem(one, own)), 400)
        score -= 0.001 * min(first, 400)
        if score > 0.45 and (best is None or score > best[0]):
            best = (score, value)
    return best[1] if best else None


def _explanation(value: str, values: Sequence[str], description: str) -> str:
    """What a description says of one value: `value: words` or `value (words)`, up to the next value."""
    marks = r"[`'\"]?\s*(?::|=|-|–|—|\(|means|is for|when)\s*"  # noqa: RUF001
    found = re.search(rf"(?<![\w-]){re.escape(value)}{marks}", description)
    if not found:
        return ""
    rest = description[found.end() :]
    ends = [one.start() for other in values if (one := re.search(rf"(?<![\w-]){re.escape(other)}(?![\w-])", rest))]
    stop = re.search(r"[;.)\n]", rest)
    return rest[: min([*ends, stop.start() if stop else len(rest)])]
