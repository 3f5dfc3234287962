"""A model that says what a test tells it to, and can fail in every way that models and networks do.

It answers through the same seams as the offline model: in process by `transport`, over HTTP on loopback by `serve()`.
Steps are used one for each call, in order:

    model = ScriptedModel()
    model.enqueue([ToolCall("call_1", "lookup_order", '{"order_id": "NP-10001"}')], "It was shipped on Monday.")
    client = create_model_client(settings, transport=model.transport)

A test that runs an agent in a process of its own gives it the URL instead:

    async with model.serve() as base_url, AgentProcess("rag_chat", env={"OPENAI_BASE_URL": base_url, ...}) as agent:
"""

import asyncio
import inspect
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent_runtime.model_exchange import ModelReply, ModelRequest, ToolCall
from agent_runtime.model_transport import ModelApp, ModelEndpoint, ModelTransport, WireAnswer, json_answer
from agent_runtime.model_wire import WireError
from agent_runtime.testing.serving import serve

MAX_RECORDED_REQUESTS = 1000
_INTERNALS = "Scripted failure with the internals of http://upstream.internal:4000."
_LONG_ENOUGH = "This answer is made of enough words for several pieces, so that a test can stop it between two of them."


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error. It holds for the whole call and asks the client not to retry; with `once`, to retry at once."""

    status: int = 500
    code: str | None = None
    message: str = _INTERNALS
    once: bool = False


@dataclass(frozen=True, slots=True)
class CutStream:
    """The connection breaks after `after` pieces of text or arguments; without streaming, in the middle of the body."""

    after: int = 1
    reply: ModelReply | str = _LONG_ENOUGH


@dataclass(frozen=True, slots=True)
class Garbage:
    """Status 200 with a body that is nothing the API ever sends. In a stream, an event that is not JSON."""

    body: str = "<html><body>It works!</body></html>"
    content_type: str | None = None
    """Left out: what the API would send, `application/json` or `text/event-stream`."""


@dataclass(frozen=True, slots=True)
class StreamError:
    """Status 200 and, after its start, the news that the model failed: `response.failed`, or an `error` chunk."""

    code: str = "server_error"
    message: str = _INTERNALS


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, until `release()`, or the caller goes away, or the server stops. With `after`, it streams that many
    pieces first. Once released, the rest of `reply` comes."""

    after: int | None = None
    reply: ModelReply | str = _LONG_ENOUGH


Step = ModelReply | str | Sequence[ToolCall] | Failure | CutStream | Garbage | StreamError | Hang
Script = Callable[[ModelRequest], Step | Awaitable[Step]]


class ScriptedModel:
    """`enqueue` steps, or give a function that makes the step for every request.

    A call that finds no step left gets a 400 `script_exhausted` that says what was asked; `unexpected` keeps it too.
    A retry of the client (`x-stainless-retry-count`) meets the same step again, except after `Failure(once=True)`.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.requests: list[ModelRequest] = []
        """The valid requests in order of arrival, retries included; the last 1000."""
        self.headers: list[dict[str, str]] = []
        """The headers of each of `requests`, names in lower case."""
        self.unexpected: list[ModelRequest] = []
        """The requests that found no step."""
        self.hanging = asyncio.Event()
        """Set once a call hangs."""
        self._go_on = asyncio.Event()
        self._script = script
        self._steps: deque[Step] = deque()
        self._last: Step | None = None
        endpoint = _ScriptedEndpoint(self)
        self.transport = ModelTransport(endpoint)
        self.app = ModelApp(endpoint)

    def enqueue(self, *steps: Step) -> None:
        self._steps.extend(steps)

    @property
    def steps_left(self) -> int:
        return len(self._steps)

    def release(self) -> None:
        """Let every call that hangs go on, now and later."""
        self._go_on.set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve over HTTP on a free loopback port; gives the base URL for `OPENAI_BASE_URL`."""
        async with serve(self.app) as url:
            try:
                yield f"{url}/v1"
            finally:
                self.release()  # The server waits for open calls.

    async def hang(self) -> None:
        self.hanging.set()
        await self._go_on.wait()

    async def next_step(self, request: ModelRequest, headers: Mapping[str, str]) -> Step:
        """Record a request and give the step that answers it."""
        self.requests.append(request)
        self.headers.append({name.lower(): value for name, value in headers.items()})
        del self.requests[:-MAX_RECORDED_REQUESTS], self.headers[:-MAX_RECORDED_REQUESTS]
        if self._script is not None:
            return await self._ask(self._script, request)
        if headers.get("x-stainless-retry-count", "0") != "0" and self._last is not None:
            return self._last
        if not self._steps:
            self.unexpected.append(request)
            last = request.messages[-1]
            raise WireError(
                400,
                "script_exhausted",
                f"The scripted model has no step left for call {len(self.requests)}. "
                f"Its last message has role '{last.role}': {last.text[:200]!r}. Enqueue one more step.",
            )
        step = self._steps.popleft()
        self._last = None if isinstance(step, Failure) and step.once else step
        return step

    async def _ask(self, script: Script, request: ModelRequest) -> Step:
        try:
            step = script(request)
            return await step if inspect.isawaitable(step) else step
        except WireError:
            raise
        except Exception as error:
            text = f"The scripted model's function raised {type(error).__name__}: {error}"
            raise WireError(400, "script_raised", text) from error


class _ScriptedEndpoint(ModelEndpoint):
    def __init__(self, model: ScriptedModel) -> None:
        super().__init__(lambda _: ModelReply())
        self._model = model

    async def respond(
        self, request: ModelRequest, write: Callable[[ModelReply], WireAnswer], headers: Mapping[str, str]
    ) -> WireAnswer:
        step = await self._model.next_step(request, headers)
        streamed = bool(request.body.get("stream"))
        if isinstance(step, Failure):
            error = WireError(step.status, step.code, step.message)
            retry = {"retry-after-ms": "1"} if step.once else {"x-should-retry": "false"}
            return json_answer(step.status, error.json(), retry)
        if isinstance(step, Garbage):
            kind = step.content_type or ("text/event-stream" if streamed else "application/json")
            body = f"data: {step.body}\n\n" if kind == "text/event-stream" else step.body
            return WireAnswer(200, kind, [body.encode()])
        if isinstance(step, StreamError):
            return _failed(step, request, write)
        if isinstance(step, CutStream):
            chunks = _chunks(write(step_reply(step.reply)))
            if streamed:
                return WireAnswer(200, "text/event-stream", chunks[: _position(chunks, step.after)], cut=True)
            promised = {"content-length": str(len(chunks[0]))}
            return WireAnswer(200, "application/json", [chunks[0][: len(chunks[0]) // 2]], promised, cut=True)
        if isinstance(step, Hang):
            if not streamed or step.after is None:
                await self._model.hang()
                return write(step_reply(step.reply))
            return WireAnswer(200, "text/event-stream", self._pause(_chunks(write(step_reply(step.reply))), step.after))
        return write(step_reply(step))

    async def _pause(self, chunks: list[bytes], after: int) -> AsyncIterator[bytes]:
        position = _position(chunks, after)
        for chunk in chunks[:position]:
            await asyncio.sleep(0)
            yield chunk
        await self._model.hang()
        for chunk in chunks[position:]:
            await asyncio.sleep(0)
            yield chunk


def step_reply(step: ModelReply | str | Sequence[ToolCall]) -> ModelReply:
    if isinstance(step, ModelReply):
        return step
    if isinstance(step, str):
        return ModelReply(step)
    return ModelReply(tool_calls=tuple(step))


def _failed(step: StreamError, request: ModelRequest, write: Callable[[ModelReply], WireAnswer]) -> WireAnswer:
    """A Responses call that ended `failed` has status 200; chat completions know only an `error` in the stream."""
    error = {"code": step.code, "message": step.message}
    chat, streamed = "messages" in request.body, bool(request.body.get("stream"))
    if chat and not streamed:
        raise WireError(500, step.code, step.message)
    if chat:
        return WireAnswer(200, "text/event-stream", [_event({"error": {**error, "type": "server_error"}})])
    first = _chunks(write(ModelReply("")))[0]
    if not streamed:
        return json_answer(200, {**json.loads(first), "status": "failed", "error": error, "output": []})
    response = {**_data(first)["response"], "status": "failed", "error": error}
    failed = {"type": "response.failed", "sequence_number": 1, "response": response}
    return WireAnswer(200, "text/event-stream", [first, _event(failed)])


def _chunks(answer: WireAnswer) -> list[bytes]:
    assert isinstance(answer.chunks, Iterable)  # noqa: S101 - what `write` makes always is
    return list(answer.chunks)


def _event(data: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


def _data(chunk: bytes) -> dict[str, dict[str, object]]:
    data: dict[str, dict[str, object]] = json.loads(chunk.split(b"data: ", 1)[1])
    return data


def _position(chunks: list[bytes], after: int) -> int:
    """How many events come before the one that carries piece number `after` + 1 of the answer."""
    seen = 0
    for position, chunk in enumerate(chunks):
        seen += _carries(chunk)
        if seen > after:
            return position
    return len(chunks) - 1  # A short reply: all but the closing event.


def _carries(chunk: bytes) -> bool:
    """Whether an event brings a piece of text or of a tool call's arguments."""
    if chunk.startswith(b"event:"):
        return chunk.split(b"\n", 1)[0].endswith(b".delta")
    if chunk.startswith(b"data: [DONE]"):
        return False
    choices = json.loads(chunk.removeprefix(b"data: "))["choices"]
    delta = choices[0]["delta"] if choices else {}
    return bool(delta.get("content")) or any(call["function"]["arguments"] for call in delta.get("tool_calls", ()))
