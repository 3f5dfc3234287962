"""Asks a deployed agent over the Responses protocol, with the official `openai` client.

A background response outlives its connection: a broken stream goes on after the last event that was seen
(`starting_after`), or its end is polled for where it cannot (Learn, how-to/stream-with-reconnect). Where an agent took
a run up again, it may begin its text anew; then the final text is shown whole.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
from azure.core.exceptions import ClientAuthenticationError

from repo_tools.azure_environment import NotSignedIn
from repo_tools.deploy.foundry import FoundryError, NotReached, TimedOut, error_of

_ENDS = ("completed", "failed", "incomplete", "cancelled")
_BROKEN = (openai.APIConnectionError, httpx2.TransportError)
_ATTEMPTS = 5
"""how often in a row a broken stream is taken up again without a new event"""


class _NoStream(Exception):
    """The agent has no stream of this response to follow, though it may have the response."""


@dataclass(slots=True)
class Question:
    """One request. `body` is what the API takes: `input`, `conversation`, `previous_response_id`, …"""

    agent: str
    body: dict[str, Any]
    stream: bool = True
    background: bool = False
    resume: str | None = None
    """the id of a response to follow instead of asking"""
    after: int | None = None
    """of `resume`: the number of the last event that was seen"""
    timeout: float = 1800.0
    """seconds for all of it; 1800 is azd's"""
    interval: float = 2.0
    """seconds between two polls"""


@dataclass(slots=True)
class _Seen:
    response_id: str | None = None
    cursor: int | None = None
    text: str = ""
    final: dict[str, Any] | None = None
    deadline: float = field(default_factory=time.monotonic)


def ask(client: openai.OpenAI, question: Question, write: Callable[[str], None]) -> dict[str, Any]:
    """Show the answer as it comes and return the final response (JSON of the API).

    Raises:
        FoundryError: the request was refused, the connection broke where nothing can be taken up, or time ran out.
        NotSignedIn: nobody is signed in.
    """
    seen = _Seen(question.resume, question.after, deadline=time.monotonic() + question.timeout)
    try:
        if question.stream:
            _follow(client, question, seen, write)
        elif question.resume is None:
            made = _call(lambda: client.responses.create(**question.body, background=question.background, stream=False))
            seen.response_id, seen.final = made.id, _as_json(made)
        if seen.final is None or seen.final.get("status") not in _ENDS:
            _poll(client, question, seen)
    except KeyboardInterrupt:
        if seen.response_id and (question.background or question.resume):
            _note(f"it goes on; follow it with: {_resume_command(question, seen)}")
        raise
    final = seen.final or {}
    text = _text_of(final)
    if text.startswith(seen.text):
        write(text[len(seen.text) :])
    else:  # an agent that took its run up again said it anew
        write("\n\n" + text)
    write("\n")
    return final


def _follow(client: openai.OpenAI, question: Question, seen: _Seen, write: Callable[[str], None]) -> None:
    """Read the stream to its end, taking it up again where it breaks."""
    attempts = 0
    while True:
        before = seen.cursor
        try:
            for event in _stream(client, question, seen):
                _take(event, seen, write)
                if seen.final is not None:
                    return
                if time.monotonic() > seen.deadline:
                    raise _timed_out(question, seen)
            reason = "the stream ended before the response did"
        except _NoStream as error:
            _note(f"its stream cannot be taken up ({error}); its end is waited for")
            return
        except _BROKEN as error:
            reason = f"the connection broke ({type(error).__name__})"
        durable = question.background or question.resume is not None
        if not durable or seen.response_id is None:
            raise NotReached(f"{reason}; with --background it could be taken up again")
        attempts = 1 if seen.cursor != before else attempts + 1
        if attempts > _ATTEMPTS or time.monotonic() > seen.deadline:
            return  # polling goes on
        _note(f"{reason}; taking it up" + ("" if seen.cursor is None else f" after event {seen.cursor}"))
        time.sleep(min(question.interval, 0.5 * attempts))


def _stream(client: openai.OpenAI, question: Question, seen: _Seen) -> Iterator[Any]:
    if seen.response_id is None:
        yield from _call(lambda: client.responses.create(**question.body, background=question.background, stream=True))
        return
    after: Any = openai.omit if seen.cursor is None else seen.cursor
    known = seen.response_id
    try:
        events = _call(lambda: client.responses.retrieve(known, stream=True, starting_after=after))
    except FoundryError as error:
        if error.status not in (400, 404, 405, 501):
            raise
        raise _NoStream(error.code or str(error.status)) from error
    yield from events


def _take(event: Any, seen: _Seen, write: Callable[[str], None]) -> None:
    seen.cursor = getattr(event, "sequence_number", seen.cursor)
    if event.type == "response.created" or seen.response_id is None:
        seen.response_id = getattr(getattr(event, "response", None), "id", seen.response_id)
    if event.type == "response.output_text.delta":
        seen.text += event.delta
        write(event.delta)
    elif event.type == "error":
        raise FoundryError(0, str(event.code or "error"), str(event.message))
    elif event.type in ("response.completed", "response.failed", "response.incomplete", "response.cancelled"):
        seen.final = _as_json(event.response)


def _poll(client: openai.OpenAI, question: Question, seen: _Seen) -> None:
    """Wait for the end of a response that is stored."""
    if seen.response_id is None:
        raise NotReached("the answer names no response")
    known = seen.response_id
    while True:
        try:
            seen.final = _as_json(_call(lambda: client.responses.retrieve(known)))
        except NotReached as error:
            _note(str(error))
        if seen.final is not None and seen.final.get("status") in _ENDS:
            return
        if time.monotonic() > seen.deadline:
            raise _timed_out(question, seen)
        time.sleep(question.interval)


def _call(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except openai.APIStatusError as error:
        try:
            body = error.response.json()
        except (ValueError, httpx2.StreamError):
            body = {"error": error.body}
        raise error_of(error.status_code, body, error.response.headers) from error
    except _BROKEN as error:
        raise NotReached(f"{type(error).__name__}: {error.__cause__ or error}") from error
    except ClientAuthenticationError as error:
        raise NotSignedIn(str(error).splitlines()[0]) from error


def _as_json(response: Any) -> dict[str, Any]:
    # Foundry's own items, such as structured_outputs, are none that the package knows: it would warn of each.
    found: dict[str, Any] = response.to_dict(warnings=False)
    return found


def _text_of(response: dict[str, Any]) -> str:
    """What the API calls output_text: all texts of all messages."""
    return "".join(
        str(part.get("text", ""))
        for item in response.get("output") or []
        if item.get("type") == "message"
        for part in item.get("content") or []
        if part.get("type") == "output_text"
    )


def approvals(response: dict[str, Any]) -> list[tuple[str, str]]:
    """The approval requests of a response: id, and what is asked for."""
    return [
        (str(item.get("id")), f"{item.get('name')} {_arguments(item.get('arguments'))}")
        for item in response.get("output") or []
        if item.get("type") == "mcp_approval_request"
    ]


def _arguments(text: Any) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (TypeError, ValueError):
        return str(text)


def _timed_out(question: Question, seen: _Seen) -> FoundryError:
    more = f"; follow it with: {_resume_command(question, seen)}" if seen.response_id else ""
    return TimedOut(f"no end after {question.timeout:g} seconds{more}")


def _resume_command(question: Question, seen: _Seen) -> str:
    after = f" --after {seen.cursor}" if seen.cursor is not None else ""
    return f"deploy invoke {question.agent} --resume {seen.response_id}{after}"


def _note(message: str) -> None:
    print(f"deploy: {message}", file=sys.stderr)


def new_conversation(client: openai.OpenAI) -> str:
    """The id of a new conversation, which stays in one sandbox.

    Raises:
        FoundryError: it was refused.
    """
    return str(_call(client.conversations.create).id)
