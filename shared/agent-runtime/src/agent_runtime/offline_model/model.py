"""The offline model: answers a model request without a model, by quoting and filling in, and knows nothing of its own.

It decides what a request asks for (a filled schema, tool calls, an answer from results or from a given text, small
talk) and leaves each to its module. The same request always gets the same reply.
"""

import json
import re
from typing import Any

from agent_runtime.english.tokens import words
from agent_runtime.model_exchange import ModelReply, ModelRequest, OutputSchema

from .answering import answer_from
from .cannot_do import CannotDo
from .planning import choose_candidate, fill_plan
from .schema_checks import breach, unsupported_rule
from .schema_filling import fill_schema
from .sources import Sources, has_numbered_blocks, read_context, read_outputs
from .tool_selection import choose_calls, is_small_talk
from .turns import Conversation

NAME = "offline-extractive"

_WHO = (
    f"I am {NAME}, the offline model: I have no knowledge of my own. "
    "I answer by quoting what tools or texts give me, and I fill in forms from your words."
)
_THANKS = re.compile(r"\b(?:thanks|thank you|cheers|bye|goodbye|great|perfect)\b", re.IGNORECASE)
_QUESTION_LABEL = re.compile(r"^[ \t]*(?:the )?(?:user(?:'s)? )?question\s*:\s*(?P<question>.+)$", re.I | re.M)


class OfflineModel:
    """Answers `ModelRequest`s by extraction. It keeps no state."""

    name = NAME

    def answer(self, request: ModelRequest) -> ModelReply:
        """The reply to a request. Raises `CannotDo` for a request without a user's words, or a call it cannot fill."""
        conversation = Conversation(request)
        if conversation.last_user_index < 0 or not (conversation.user_text.strip() or conversation.results):
            raise CannotDo("The offline model needs a user message with text.")
        must_call = request.tool_choice not in ("auto", "none") and not conversation.results
        if request.tool_choice not in ("auto", "none", "required") and all(
            one.name != request.tool_choice for one in request.tools
        ):
            raise CannotDo(f"tool_choice names the tool {request.tool_choice!r}, which the request does not offer.")
        calls = choose_calls(conversation)
        if calls:
            return ModelReply(tool_calls=calls)
        if must_call:
            raise CannotDo("The offline model finds no values in the text for a tool that it was told to call.")
        if request.output_schema is not None:
            return ModelReply(text=json.dumps(_fitting(conversation, request.output_schema), ensure_ascii=False))
        return ModelReply(text=_text_answer(conversation))


def _fitting(conversation: Conversation, output: OutputSchema) -> Any:
    """The value for the output schema, which fits it. Raises `CannotDo` with what stands in the way."""
    if rule := unsupported_rule(output.schema):
        raise CannotDo(f"The offline model cannot fill the schema {output.name!r}: it does not support {rule}.")
    value = _filled(conversation, output.schema)
    if broken := breach(value, output.schema, output.schema):
        raise CannotDo(f"The offline model finds nothing in the text that fits the schema {output.name!r} at {broken}.")
    return value


def _filled(conversation: Conversation, schema: dict[str, Any]) -> Any:
    texts = [one.text for one in conversation.request.messages if one.text.strip()]
    user_text = conversation.user_text
    plan = fill_plan(schema, texts, user_text)
    if plan is not None:
        return plan
    choice = choose_candidate(schema, texts, user_text)
    if choice is not None:
        return choice
    return fill_schema(schema, user_text)


def _text_answer(conversation: Conversation) -> str:
    if conversation.results:
        return answer_from(
            read_outputs(conversation.results), conversation.user_text, conversation.leans_on, conversation.turn_before
        )
    if is_small_talk(conversation.user_text):
        return f"You are welcome. {_WHO}" if _THANKS.search(conversation.user_text) else f"Hello. {_WHO}"
    question, context = _context_of(conversation)
    if not context.is_empty:
        return answer_from(context, question, conversation.leans_on, conversation.turn_before)
    if conversation.request.tools:
        return f"None of the tools that I was offered fits your request. {_WHO}"
    return f"I was given no text to answer from. {_WHO}"


def _context_of(conversation: Conversation) -> tuple[str, Sources]:
    """The question, and what was given along with it: in the user's message, in other messages, or by earlier tools."""
    text = conversation.user_text
    question, rest = _split_question(text)
    if rest and len(words(rest)) >= 6:
        return question, read_context(rest)
    for message in reversed(conversation.request.messages):
        given = message.role in ("system", "user") and message.text is not text
        if given and (has_numbered_blocks(message.text) or '"passages"' in message.text):
            return text, read_context(message.text)
    earlier = [one.text for one in conversation.request.messages if one.role == "tool"]
    if earlier:
        return text, read_outputs(earlier)
    return text, Sources()


def _split_question(text: str) -> tuple[str, str]:
    """The question in a message, and the text around it, which may be there to answer from."""
    if labelled := _QUESTION_LABEL.search(text):
        return labelled["question"].strip(), (text[: labelled.start()] + text[labelled.end() :]).strip()
    lines = text.strip().splitlines()
    if len(lines) > 1:
        for at in (len(lines) - 1, 0):
            if lines[at].rstrip().endswith("?"):
                return lines[at].strip(), "\n".join(lines[:at] + lines[at + 1 :]).strip()
    return text, ""
