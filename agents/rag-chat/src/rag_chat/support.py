"""Whether a passage can be what a sentence rests on: the numbers of the sentence must be there.

Deadlines, prices and amounts are what a wrong citation does harm with, and they can be compared in every language. A
sentence that has numbers is supported where at least one of them is in the passage; those that the user gave prove
nothing either way. A sentence without numbers is the model's word.
"""

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"\d(?:[\d.,'’\u00a0\u202f]*\d)?")  # noqa: RUF001 - the apostrophe of Swiss thousands
_THOUSANDS = re.compile(r"(?<=\d)[.,'’ \u00a0\u202f](?=\d{3}(?!\d))")  # noqa: RUF001
_WORDS = dict(
    zip(
        """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred""".split(),
        [*range(1, 21), *range(30, 101, 10)],
        strict=True,
    )
)
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)


def supports(passage: str, sentence: str, asked: str = "") -> bool:
    """Whether `passage` can support `sentence`, in an answer to `asked`."""
    claimed = _digits(sentence) - _digits(asked)
    return not claimed or bool(claimed & (_digits(passage) | _spelled(passage)))


def _digits(text: str) -> set[str]:
    return set(_normal(_NUMBER.findall(_THOUSANDS.sub("", text))))


def _spelled(text: str) -> set[str]:
    return {str(_WORDS[word.lower()]) for word in _WORD.findall(text)}


def _normal(numbers: Iterable[str]) -> Iterable[str]:
    """`4.90`, `4,90` and `4.9` are one number, `07:30` two."""
    for number in numbers:
        whole, _, part = number.replace(",", ".").partition(".")
        part = part.rstrip("0")
        yield f"{whole.lstrip('0') or '0'}.{part}" if part else whole.lstrip("0") or "0"
