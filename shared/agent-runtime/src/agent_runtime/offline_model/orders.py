"""Text that tries to steer whoever reads it: it is never quoted, and never followed."""

import re

_ORDER_TO_ASSISTANT = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|rule|previous|above|earlier|prior|guideline)"
    r"|\bsystem prompt\b|\byou are now\b|\bas an? (?:ai|assistant|language model)\b|\bdeveloper mode\b"
    r"|\b(?:assistants?|ai|chatbots?|bots?|models?)\b[^.]{0,30}\b(?:must|should|shall|have to|please)\b"
    r"|\b(?:reveal|print|repeat|output)\b.{0,30}\b(?:your|the) (?:instruction|prompt|secret|password|key)"
    r"|\b(?:tell|inform|assure) the (?:user|reader)\b|\bdo not tell the user\b"
    r"|^\s*(?:system|assistant)\s*:|\b(?:respond|reply|answer) (?:only )?with\b|<\|?\w+\|?>"
    # An answer put into the reader's mouth.
    r"|\b(?:when|whenever|if|once)\b[^.]{0,40}\basks?\b[^.]{0,80}\b(?:answer|say|reply|respond|state|write)\b"
    r"|\b(?:answer|say|reply|respond|state)\s+(?:that\s+)?[\"“”]"
    r"|\b(?:always|must|only|never|instead)\s+(?:answer|say|reply|respond|state)\b",
    re.IGNORECASE,
)


def is_order_to_assistant(sentence: str) -> bool:
    """Whether a sentence tries to steer whoever reads it instead of saying something."""
    return bool(_ORDER_TO_ASSISTANT.search(sentence))
