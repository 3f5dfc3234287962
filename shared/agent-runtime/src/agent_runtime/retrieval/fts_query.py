"""Turn what a person or a model typed into a full-text query that is valid whatever they typed.

Words are searched, not the query language: each is quoted, so that `"`, `*`, `NEAR` or `title:` mean nothing. One
word that matches is enough to be found, be it a synonym; ranking prefers passages with more and rarer ones.
"""

import re

from agent_runtime.english.synonyms import phrase_synonyms, synonyms_of

MAX_TERMS = 48
"""Beyond this, more words make a search slower and no better."""

_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"[’']s\b", re.IGNORECASE)  # noqa: RUF001 - typed by phones and word processors
_APOSTROPHE = re.compile(r"(?<=\w)[’'](?=\w)")  # noqa: RUF001

# Words that say nothing about the subject of a question. Words that can decide one stay: no, not, before, after.
STOP_WORDS = frozenset(
    """
    a about all also am an and any are as at be because been being but by can could did do does doing done each for
    from get gets getting go goes going got had has have having he hello her here hers hi him his how i if in into is
    it its itself just kindly know let like many may me might mine much must my myself need of on or our ours out
    please she should so some such tell than thank thanks that the their theirs them then there these they this those
    to too up us very want wants was we were what when where which while who whom whose why will with would you your
    yours
    cant couldnt didnt doesnt dont hadnt hasnt havent hed hes id ill im isnt ive lets shes shouldnt thats theres theyre
    wasnt werent whats wheres whos wont wouldnt youd youll youre youve
    """.split()
)


def own_terms(query: str) -> list[str]:
    """The words of the query that are searched, once each and in order; the stop words where there is nothing else."""
    plain = _APOSTROPHE.sub("", _POSSESSIVE.sub("", query.casefold()))
    words = list(dict.fromkeys(_WORD.findall(plain)))
    return ([word for word in words if word not in STOP_WORDS] or words)[:MAX_TERMS]


def query_terms(query: str) -> list[str]:
    """All words that are searched: those of the query, and then their synonyms."""
    own = own_terms(query)
    others = [*phrase_synonyms(query).values(), *map(synonyms_of, own)]
    return list(dict.fromkeys([*own, *(word for group in others for word in sorted(group))]))[:MAX_TERMS]


def match_expression(query: str) -> str:
    """The FTS5 expression for `query`; empty where it has no words, for which there is no valid expression."""
    return " OR ".join(f'"{word}"' for word in query_terms(query))
