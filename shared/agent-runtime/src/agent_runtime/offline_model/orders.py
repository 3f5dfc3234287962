"""Text that tries to steer whoever reads it: it is never quoted, and never followed."""

import re
from functools import lru_cache

from agent_runtime.english.sentences import split_sentences

_ORDER_TO_ASSISTANT = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|rule|previous|above|earlier|prior|guideline)"
    r"|\bsystem prompt\b|\byou are now\b|\bas an? (?:ai|assistant|language model)\b|\bdeveloper mode\b"
    r"|\b(?:assistants?|ai|chatbots?|bots?|models?)\b[^.]{0,30}\b(?:must|should|shall|have to|please)\b"
    r"|\b(?:reveal|print|repeat|output)\b.{0,30}\b(?:your|the) (?:instruction|prompt|secret|password|key)"
    r"|\b(?:tell|inform|assure) the (?:user|reader)\b|\bdo not tell the user\b"
    r"|^\s*(?:system|assistant)\s*:|\b(?:respond|reply|answer) (?:only )?with\b|<\|?\w+\|?>"
    # "Ignore the instructions" in the languages of the neighbours, and "to the assistant".
    r"|\b(?:ignor\w{0,6}|missacht\w{0,4}|vergiss|vergessen|negeer|vergeet|glem|glöm\w{0,2}|oublie[rz]?|olvid\w{1,3}"
    r"|esque[cç]\w{1,3}|dimentic\w{1,4}|pomiń|zignoruj)\b.{0,40}"
    r"\b(?:anweisung|anleitung|vorgabe|regel|instruct|instruk|instruç|instruz|consigne|règle|regla|regra|regol|polece)"
    r"|\b(?:an den|an die|à l'|al|all'|aan de|till|til|do) (?:ki-?)?(?:assistent|asistent|asystent)\w{0,4}\b"
    # An answer put into the reader's mouth.
    r"|\b(?:when|whenever|if|once)\b[^.]{0,40}\basks?\b[^.]{0,80}\b(?:answer|say|reply|respond|state|write)\b"
    r"|\b(?:answer|say|reply|respond|state)\s+(?:that\s+)?[\"“”]"
    r"|\b(?:always|must|only|never|instead)\s+(?:answer|say|reply|respond|state)\b"
    r"|\b(?:every|any|all|dear|note to|message to)\s+(?:the\s+)?(?:assistants?|ais?|chatbots?|bots?|language models?)\b"
    r"|\b(?:must|may|shall) not be (?:quoted|cited|shown|mentioned|told)\b"
    r"|\bdo not (?:search|cite|quote|mention|reveal|disclose|say where|name the source)\b",
    re.IGNORECASE,
)


_PARAGRAPH = re.compile(r"\n\s*\n")


def without_orders(text: str) -> str:
    """The text without the paragraphs of prose in which a sentence tries to steer the reader: the others serve it."""
    return "\n\n".join(
        paragraph
        for paragraph in _PARAGRAPH.split(text)
        if paragraph.lstrip().startswith(("-", "*", "+", "|", "1."))
        or not any(map(is_order_to_assistant, split_sentences(paragraph)))
    )


@lru_cache(maxsize=4096)
def is_order_to_assistant(sentence: str) -> bool:
    """Whether a sentence tries to steer whoever reads it instead of saying something."""
    return bool(_ORDER_TO_ASSISTANT.search(sentence))
