"""Answers that are quotations: the sentences of the given passages that a question is about, or a plain refusal.

What is asked is read by `asked`, what speaks for an answer is weighed by `evidence`, what was given is read by
`sources`. A question without enough evidence is refused rather than answered beside the point.
"""

from collections import Counter
from collections.abc import Iterable

from agent_runtime.english.sentences import split_sentences
from agent_runtime.english.tokens import stem_set

from .asked import read_parts, telling_words, unknown_name
from .evidence import Evidence, answering, candidates_of, weigh
from .orders import is_order_to_assistant
from .sources import Passage, Sources, record_lines

_MAX_QUOTES = 4
_MAX_QUOTES_OF_A_PART = 3
_LONGEST_LEAD_IN = 200


def answer_from(sources: Sources, question: str, leans_on: str = "", earlier: str = "") -> str:
    """The answer that the sources hold, quoted; or one sentence that they hold none.

    `leans_on` are the earlier turns of a question that does not stand by itself, `earlier` is the turn before.
    """
    parts: list[str] = list(dict.fromkeys(sources.errors))
    blocks = ["\n".join(lines) for record in sources.records if (lines := record_lines(record))]
    parts.extend(dict.fromkeys(blocks))
    if sources.passages or (sources.searched and not blocks and not parts):
        quotes = quote(sources.passages, question, leans_on, earlier)
        if quotes:
            parts.append(quotes)
        elif not parts:
            parts.append(refusal(f"{question} {leans_on}"))
    return "\n\n".join(parts) or refusal(f"{question} {leans_on}")


def refusal(question: str) -> str:
    """The sentence that says that the passages hold no answer, and what was looked for."""
    looked_for = ", ".join(telling_words(question)[:8]) or "an answer to that"
    return f"The passages I was given do not say this; I looked for: {looked_for}."


def quote(passages: Iterable[Passage], question: str, leans_on: str = "", earlier: str = "") -> str | None:
    """The sentences of the passages that answer, each with its citation; None when they do not answer the question.

    Of a question with several parts each is answered for itself, and what holds no answer is said.
    """
    candidates = candidates_of(passages)
    parts = read_parts(question, leans_on, earlier)
    if not candidates or not any(part.weights for part in parts):
        return None
    known = frozenset().union(*(candidate.around for candidate in candidates))
    if any(unknown_name(part.text, known) for part in parts):
        return None
    most = _MAX_QUOTES if len(parts) == 1 else _MAX_QUOTES_OF_A_PART
    answers = [_render(answering(weigh(candidates, part), part, most)) for part in parts]
    if not any(answers):
        return None
    missing = [refusal(part.text) for part, answer in zip(parts, answers, strict=True) if not answer]
    return " ".join(dict.fromkeys([*(piece for answer in answers for piece in answer), *missing]))


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


def _render(chosen: list[Evidence]) -> list[str]:
    pieces: list[str] = []
    led_in = ""
    for one in chosen:
        unit, number = one.candidate.unit, one.candidate.passage.number
        text = unit.text
        if unit.context and unit.context != led_in and len(unit.context) <= _LONGEST_LEAD_IN:
            text = f"{unit.context} {text}"
        led_in = unit.context
        for sentence in (*unit.before, text):
            cited = sentence if number is None else f"{sentence} [{number}]"
            if cited not in pieces:
                pieces.append(cited)
    return pieces
