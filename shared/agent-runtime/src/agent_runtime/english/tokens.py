"""Words, stems and stop words of English text: what every other module compares texts by.

It knows the grammar's small words and endings, never a subject. What the words of a text are worth is left to the
callers, which weigh them against the texts that they have.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*(?:['’][^\W_]+)?")  # noqa: RUF001 - both apostrophes are met in texts
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def listed(text: str) -> list[str]:
    """The words of a list that is written with white space between them."""
    return text.split()


STOP_WORDS = frozenset(
    listed("""
    a about above after again all also am an and another any anyone anything are as at be because been before being
    below both but by can cannot could did do does doing done during each either else ever every few for from
    further get gets getting give given go goes going got had has have having he hello her here hers hey hi him
    his how i if in into is it its itself just kindly know let like long many may me might mine more most much
    must my myself need needs no nor not now of off ok okay on once only or other our ours out over own per
    perhaps please put same say says see shall she should so some someone something such sure take takes tell
    than thank thanks that the their theirs them then there these they thing things this those through to too
    under until up us very want wants was we were what whatever when where whether which while who whom whose
    why will wish with within without would yes yet you your yours yourself again actually already really still
    maybe think mean means explain describe happen happens happened work works way able possible allowed ask
    asking question answer one got don doesn didn isn aren wasn won can't couldn wouldn shouldn i'm i've i'd
    i'll we're we've it's that's what's don't doesn't didn't isn't aren't wasn't won't
    """)
)

_ENDINGS = (
    ("erships", ""),
    ("ership", ""),
    ("ational", "ate"),
    ("isation", "ize"),
    ("ization", "ize"),
    ("ability", ""),
    ("ibility", ""),
    ("ations", ""),
    ("ation", ""),
    ("ments", ""),
    ("ment", ""),
    ("ities", ""),
    ("ity", ""),
    ("ness", ""),
    ("able", ""),
    ("ible", ""),
    ("ings", ""),
    ("ing", ""),
    ("iest", "y"),
    ("iers", "y"),
    ("ies", "y"),
    ("ied", "y"),
    ("ier", "y"),
    ("ers", ""),
    ("ors", ""),
    ("er", ""),
    ("or", ""),
    ("ions", ""),
    ("ion", ""),
    ("als", ""),
    ("al", ""),
    ("ely", ""),
    ("ly", ""),
    ("ed", ""),
    ("es", ""),
    ("s", ""),
    ("e", ""),
)

_IRREGULAR = {
    "bought": "buy",
    "brought": "bring",
    "broken": "break",
    "broke": "break",
    "came": "come",
    "children": "child",
    "chosen": "choose",
    "chose": "choose",
    "cost": "price",
    "costs": "price",
    "feet": "foot",
    "found": "find",
    "gave": "give",
    "held": "hold",
    "kept": "keep",
    "left": "leave",
    "lent": "lend",
    "lost": "lose",
    "made": "make",
    "men": "man",
    "paid": "pay",
    "people": "person",
    "sent": "send",
    "sold": "sell",
    "spent": "spend",
    "stolen": "steal",
    "taken": "take",
    "took": "take",
    "uk": "kingdom",
    "usa": "states",
    "women": "woman",
    "worn": "wear",
    "written": "write",
    "wrote": "write",
}


def words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case and in order; names in snake or camel case are taken apart."""
    return list(_WORD.findall(_CAMEL.sub(" ", text).lower().replace("’", "'")))  # noqa: RUF001


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """A word without its ending, so that forms of one word meet: `delays`, `delayed` and `delay`."""
    word = word.removesuffix("'s").removesuffix("'")
    word = _IRREGULAR.get(word, word)
    if len(word) <= 3 or not word.isalpha() or word.endswith("ss"):
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) + len(instead) >= 3:
            word = word[: len(word) - len(ending)] + instead
            if ending in ("ed", "ing", "ings") and len(word) >= 5 and word.endswith(("er", "or")):
                # So that `ordered` meets `order`, which loses its ending as `rider` does.
                word = word[:-2]
            break
    if len(word) > 4 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    if len(word) > 3 and word.endswith("y"):
        word = word[:-1] + "i"
    return word


def is_content(word: str) -> bool:
    """Whether a word says what a text is about."""
    return word not in STOP_WORDS and (len(word) > 1 or word.isdigit())


def content_words(text: str) -> list[str]:
    """The words that say what a text is about, as written (in lower case), each once."""
    return list(dict.fromkeys(word for word in words(text) if is_content(word)))


def stems(text: str) -> list[str]:
    """The stems of the content words of a text, in order, repetitions included."""
    return [stem(word) for word in words(text) if is_content(word)]


def stem_set(*texts: str) -> frozenset[str]:
    """The stems of the content words of several texts."""
    return frozenset(one for text in texts for one in stems(text))


def same_stem(left: str, right: str) -> bool:
    """Whether two stems are forms of one word: equal, or one begins with the other and little is left over."""
    if left == right:
        return True
    short, long = sorted((left, right), key=len)
    return len(short) >= 4 and short.isalpha() and long.startswith(short) and len(long) - len(short) <= 3


def has_stem(wanted: str, present: Iterable[str]) -> bool:
    """Whether one of the stems is a form of the wanted one."""
    return any(same_stem(wanted, one) for one in present)


class Vocabulary:
    """The stems of many texts, sorted once, so that the forms of one are found without going through them all."""

    def __init__(self, present: Iterable[str]) -> None:
        self._sorted = sorted(set(present))
        self._known = frozenset(self._sorted)

    def forms(self, wanted: str) -> frozenset[str]:
        """The stems that are forms of the wanted one, by `same_stem`, and the wanted one itself."""
        shorter = [wanted[:-cut] for cut in (1, 2, 3) if wanted[:-cut] in self._known]
        longer: list[str] = []
        for at in range(bisect_left(self._sorted, wanted), len(self._sorted)):
            if not self._sorted[at].startswith(wanted):
                break
            longer.append(self._sorted[at])
        return frozenset([wanted, *(one for one in (*shorter, *longer) if same_stem(wanted, one))])


def word_pairs(text: str) -> frozenset[tuple[str, str]]:
    """Neighbouring content stems, which tell a phrase from two words that happen to be there."""
    return frozenset(pairwise(stems(text)))
