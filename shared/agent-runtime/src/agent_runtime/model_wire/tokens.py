"""What counts as a token here, how a reply is cut to a limit, and how text is cut into the pieces of a stream.

A token is a run of word characters or a single other character that is not white space. It is a count that anyone can
repeat by hand, not the count of any real model's tokenizer.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from agent_runtime.model_exchange import ModelReply, ModelRequest, Usage

_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"\s+|\S{1,32}")
_PIECE_LENGTH = 16


def count_tokens(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


def measure_usage(request: ModelRequest, reply: ModelReply) -> Usage:
    """The usage the reply names, else the tokens of all that was sent to the model and of all that it wrote."""
    if reply.usage is not None:
        return reply.usage
    sent = [message.text for message in request.messages]
    sent += [f"{call.name} {call.arguments}" for message in request.messages for call in message.tool_calls]
    sent += [f"{tool.name} {tool.description} {json.dumps(tool.parameters)}" for tool in request.tools]
    if request.output_schema is not None:
        sent.append(json.dumps(request.output_schema.schema))
    written = [reply.reasoning, reply.text, *(f"{call.name} {call.arguments}" for call in reply.tool_calls)]
    return Usage(input_tokens=sum(map(count_tokens, sent)), output_tokens=sum(map(count_tokens, written)))


def fit_to_limit(request: ModelRequest, reply: ModelReply) -> ModelReply:
    """Cut the reply to `max_output_tokens`, as the service does: in order of writing, and with finish reason `length`.

    A tool call that does not fit whole is left out, so that no caller runs a tool with half its arguments.
    """
    limit = request.max_output_tokens
    if limit is None or measure_usage(request, replace(reply, usage=None)).output_tokens <= limit:
        return reply
    reasoning, left = _first_tokens(reply.reasoning, limit)
    text, left = _first_tokens(reply.text, left)
    calls = []
    for call in reply.tool_calls:
        left -= count_tokens(f"{call.name} {call.arguments}")
        if left < 0:
            break
        calls.append(call)
    return replace(reply, reasoning=reasoning, text=text, tool_calls=tuple(calls), finish_reason="length", usage=None)


def pieces(text: str) -> Iterator[str]:
    """Pieces of a few words that concatenate exactly to `text`."""
    piece = ""
    for word in _WORD.findall(text):
        piece += word
        if len(piece) >= _PIECE_LENGTH:
            yield piece
            piece = ""
    if piece:
        yield piece


def _first_tokens(text: str, limit: int) -> tuple[str, int]:
    end = 0
    for token in _TOKEN.finditer(text):
        if limit == 0:
            return text[:end], 0
        limit -= 1
        end = token.end()
    return text, limit
