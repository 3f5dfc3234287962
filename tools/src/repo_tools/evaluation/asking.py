"""Asking an agent that speaks Responses, as its users do: a process of its own, and the official `openai` client.

The agent gets the environment of this process, so the model is the one that is configured there; port, state and what
the caller adds are its own.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent_runtime.testing import AgentProcess
from openai import AsyncOpenAI, OpenAIError
from openai.types.responses import Response

START_SECONDS = 120.0
ANSWER_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Citation:
    url: str
    title: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for the last of a conversation's turns."""

    text: str = ""
    citations: tuple[Citation, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    model: str = ""
    milliseconds: float = 0.0
    error: str = ""
    """Why there is none: the code of a failed response, or what the client raised."""


@dataclass(slots=True)
class Progress:
    """Tells on stderr how far the work is: a line for each tenth of it."""

    what: str
    total: int
    done: int = field(default=0, init=False)

    def step(self) -> None:
        self.done += 1
        if self.done * 10 // self.total > (self.done - 1) * 10 // self.total:
            print(f"{self.what}: {self.done} of {self.total}", file=sys.stderr, flush=True)


@contextlib.asynccontextmanager
async def asking(module: str, state_root: Path, env: Mapping[str, str]) -> AsyncIterator[AsyncOpenAI]:
    """A client of a new process of the agent `module`.

    Raises:
        RuntimeError: the agent did not start. The text holds its output.
    """
    agent = AgentProcess(module, env=agent_environment(state_root, env), start_timeout=START_SECONDS)
    async with (
        agent,
        AsyncOpenAI(base_url=agent.url, api_key="unused", max_retries=0, timeout=ANSWER_SECONDS) as client,
    ):
        yield client


def agent_environment(state_root: Path, env: Mapping[str, str]) -> dict[str, str]:
    """What a process of an agent gets: this process's environment, with a state and settings of its own."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PORT", "BIND_ADDRESS")}
    return inherited | {"AGENTSERVER_STATE_ROOT": str(state_root), "LOG_LEVEL": "warning", **env}


async def ask_all(
    client: AsyncOpenAI, conversations: Sequence[Sequence[str]], *, at_once: int, step: Callable[[], None]
) -> list[Answer]:
    """The answers to the last turn of each conversation, in order; at most `at_once` conversations at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(turns: Sequence[str]) -> Answer:
        async with places:
            answer = await converse(client, turns)
        step()
        return answer

    return await asyncio.gather(*map(one, conversations))


async def converse(client: AsyncOpenAI, turns: Sequence[str]) -> Answer:
    """Say `turns` one after the other, chained by `previous_response_id`, and read the last answer."""
    previous: str | None = None
    answer = Answer(error="nothing was asked")
    for turn in turns:
        start = time.perf_counter()
        try:
            response = await client.responses.create(input=turn, previous_response_id=previous)
        except OpenAIError as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        answer = read_answer(response, (time.perf_counter() - start) * 1000)
        if answer.error:
            return answer
        previous = response.id
    return answer


def read_answer(response: Response, milliseconds: float) -> Answer:
    citations = [
        Citation(annotation.url, annotation.title)
        for item in response.output
        if item.type == "message"
        for part in item.content
        if part.type == "output_text"
        for annotation in part.annotations
        if annotation.type == "url_citation"
    ]
    calls = [ToolCall(item.name, item.arguments) for item in response.output if item.type == "function_call"]
    error = ""
    if response.status != "completed":
        error = f"the response is {response.status}" + (f": {response.error.code}" if response.error else "")
    return Answer(
        response.output_text, tuple(dict.fromkeys(citations)), tuple(calls), response.model, milliseconds, error
    )
