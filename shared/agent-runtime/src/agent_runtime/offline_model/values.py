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
_GROUPED = r"\d{1,3}(?:[,.'\u2019 \u00a0\u202f]\d{3}){1,4}(?:[.,]\d{1,2})?(?!\d)"
_FIGURE = rf"(?<!\d)(?:{_GROUPED}|\d{{1,12}}(?:[.,](?:\d{{1,2}}|[-\u2013]))?)"
_AMOUNT = re.compile(
    rf"(?P<sign>[€£$¥])[ \u00a0\u202f]?(?P<a>{_FIGURE})|(?P<b>{_FIGURE})[ \u00a0\u202f]?(?P<sign2>[€£$¥])"
    rf"|(?P<c>{_FIGURE})[ \u00a0\u202f]?(?P<code>{_CODES})\b|\b(?P<code2>{_CODES})[ \u00a0\u202f]?(?P<d>{_FIGURE})"
    rf"|(?P<e>{_FIGURE}) (?P<word>{'|'.join(_CURRENCY_WORDS)})\b",
)
_NUMBER = re.compile(r"(?<![\w.,-])-?\d{1,15}(?:[.,]\d{1,9})?(?![\w-]|[.,]\d)")
_NUMBER_WORDS = {
    word: at for at, word in enumerate(listed("zero one two three four five six seven eight nine ten eleven twelve"))
}
_NAME = r"[A-ZÀ-ÖØ-ÞĀĆČĎĘŁŃŘŚŠŹŻŽ][\w'’-]+(?:[ ][A-ZÀ-ÖØ-ÞĀĆČĎĘŁŃŘŚŠŹŻŽ][\w'’-]*\.?){0,3}"  # noqa: RUF001
_SIGN_OFF = (
    r"regards|sincerely|thanks|thank you|cheers|wishes|yours|grüße|grüßen|gruß|cordialement|merci|hilsen|hälsningar"
    r"|saludos|gracias|saluti|grazie|groeten|groet|pozdrawiam|pozdrowienia"
)
_PERSON = re.compile(
    rf"\b(?:[Mm]y name is|[Ii] am called|[Nn]ame:|this is)\s+(?P<told>{_NAME})"
    # The line below a sign-off, if a name is all that it holds.
    rf"|\b(?i:{_SIGN_OFF})[,!.]?[ \t]*\n\s*(?P<signed>{_NAME})[^\w\n]*$",
    re.MULTILINE,
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
    """A figure as decimal text: thousands unmarked, a point before the decimals, whether 1,299.00 or 1.299,00."""
    figure = re.sub(r"[ '\u2019\u00a0\u202f]", "", figure)
    figure = re.sub(r"[.,][-\u2013]$", "", figure)
    cents = re.fullmatch(r"(.*)[.,](\d{1,2})", figure)
    whole, rest = (cents[1], f".{cents[2]}") if cents else (figure, "")
    return re.sub(r"[.,]", "", whole) + rest


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
    return (found["told"] or found["signed"]) if found else None


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


# Words that carry a sentence in one language and are rare in the others: articles, pronouns, auxiliaries.
_FUNCTION_WORDS = {
    code: frozenset(listed(every))
    for code, every in {
        "en": "the and is my i have a to of for it was with this that please you your not are be on from they would",
        "de": "der die das und ist ich mein meine nicht ein eine bitte mit von zu auf den dem wir sie aus noch habe",
        "fr": "le la les et est je mon ma ne pas un une vous de du des que pour dans mes avec nous sur votre depuis",
        "nb": "og jeg er det på ikke en et min mitt til av har vil den som vi fra med å hei etter",
        "sv": "och jag är det på inte en ett min mitt mina till av har vill den som vi från med att ni kan alla",
        "da": "og jeg er det på ikke en et min mit til af har vil den som vi fra med at hej efter",
        "es": "el la los las y es mi no un una por que de del se me han con para su en yo quiero está",
        "it": "il lo la gli le e è mio mia non un una per che di del della si mi ho con sono vorrei più da",
        "nl": "de het een en is ik mijn niet van u wij zijn met voor op aan er dat graag wil heb over",
        "pl": "i jest nie w na się z do że mój moja to jak czy od po dla jestem mam proszę nadal przed",
        "pt": "o os as e é meu minha não um uma por que de do da se com para eu quero está foi em",
    }.items()
}
_SCRIPTS = {
    "ja": re.compile("[\u3040-\u30ff]"), "ko": re.compile("[\uac00-\ud7af]"), "zh": re.compile("[\u4e00-\u9fff]"),
    "he": re.compile("[\u0590-\u05ff]"), "ar": re.compile("[\u0600-\u06ff]"), "el": re.compile("[\u0370-\u03ff]"),
    "ru": re.compile("[\u0400-\u04ff]"), "th": re.compile("[\u0e00-\u0e7f]"),
}  # fmt: skip
LANGUAGE_NAMES = {
    "en": "English", "de": "German", "fr": "French", "nb": "Norwegian", "sv": "Swedish", "da": "Danish",
    "es": "Spanish", "it": "Italian", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ja": "Japanese",
    "ko": "Korean", "zh": "Chinese", "he": "Hebrew", "ar": "Arabic", "el": "Greek", "ru": "Russian", "th": "Thai",
}  # fmt: skip


def language(text: str) -> str | None:
    """The BCP 47 code of the language that most of a text is in, by its script and function words; None without words.

    A text in Latin letters without any function word is taken to be English.
    """
    bare = URL.sub(" ", EMAIL.sub(" ", text))
    letters = sum(map(str.isalpha, bare))
    if not letters:
        return None
    for code, script in _SCRIPTS.items():
        # Japanese is told by its kana, of which a sentence has some between its Chinese characters.
        if len(script.findall(bare)) * (5 if code == "ja" else 2) > letters:
            return code
    spoken = re.findall(r"[^\W\d_]+", bare.lower())
    scores = {code: sum(word in known for word in spoken) for code, known in _FUNCTION_WORDS.items()}
    return max(scores, key=lambda code: (scores[code], code == "en"))
