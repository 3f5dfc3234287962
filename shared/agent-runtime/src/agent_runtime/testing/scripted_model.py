"""A model that says what a test tells it to, and can fail in every way that models and networks do.

It answers through the same seams as the offline model: in process by `transport`, over HTTP on loopback by `serve()`.
Steps are used one for each call, in order:

    model = ScriptedModel()
    model.enqueue([ToolCall("call_1", "lookup_order", '{"order_id": "NP-10001"}')], "It was shipped on Monday.")
    client = create_model_client(settings, transport=model.transport)
"""

import asyncio
import inspect
import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent_runtime.model_exchange import ModelReply, ModelRequest, ToolCall
from agent_runtime.model_transport import Answer, ModelApp, ModelEndpoint, ModelTransport, WireAnswer
from agent_runtime.model_wire import WireError

MAX_RECORDED_REQUESTS = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error. It holds for the whole call and asks the client not to retry; with `once`, to retry at once."""

    status: int = 500
    code: str | None = None
    message: str = "Scripted failure with the internals of http://upstream.internal:4000."
    once: bool = False


@dataclass(frozen=True, slots=True)
class CutStream:
    """The connection breaks after `after` pieces of text or arguments; without streaming, in the middle of the body."""

    after: int = 1
    reply: ModelReply | str = "This answer is cut before its end, so nobody ever reads how it was meant to go on."


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
    message: str = "Scripted failure with the internals of http://upstream.internal:4000."


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer at all, until the caller goes away or the server stops."""


Step = ModelReply | str | Sequence[ToolCall] | Failure | CutStream | Garbage | StreamError | Hang


class ScriptedModel:
    """`enqueue` steps, or give a function that answers every request.

    A call that finds no step left gets a 400 `script_exhausted` that says what was asked; `unexpected` keeps it too.
    A retry of the client (`x-stainless-retry-count`) meets the same step again, except after `Failure(once=True)`.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.requests: list[ModelRequest] = []
        """The valid requests in order of arrival, retries included; the last 1000."""
        self.unexpected: list[ModelRequest] = []
        self.headers: list[dict[str, str]] = []
        """The headers of each of `requests`, names in lower case."""
        self.hanging = asyncio.Event()
        """Set once a call hangs."""
        self._steps: deque[Step] = deque()
        self._last: Step | None = None
        self._answer = answer
        self._endpoint = _ScriptedEndpoint(self)
        self.transport = ModelTransport(self._endpoint)
        self.app = ModelApp(self._endpoint)

    def enqueue(self, *steps: Step) -> None:
        self._steps.extend(steps)

    @property
    def steps_left(self) -> int:
        return len(self._steps)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve over HTTP on a free loopback port; gives the base URL for `OPENAI_BASE_URL`."""
        from hypercorn.asyncio import serve  # noqa: PLC0415 - only tests that use sockets pay for the server
        from hypercorn.config import Config  # noqa: PLC0415

        listener = socket.create_server(("127.0.0.1", 0))
        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.graceful_timeout = 0.1  # A hanging answer is cancelled, not waited for.
        config.errorlog = None
        port = listener.getsockname()[1]
        stop = asyncio.Event()
        listener.detach()  # The server owns and closes it now.
        server = asyncio.create_task(serve(self.app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            stop.set()
            await asyncio.wait_for(server, 10)

    def take(self, request: ModelRequest, headers: Mapping[str, str]) -> Step | None:
        """Record a request and give the step that answers it; None where a function answers."""
        self.requests.append(request)
        self.headers.append({name.lower(): value for name, value in headers.items()})
        del self.requests[:-MAX_RECORDED_REQUESTS], self.headers[:-MAX_RECORDED_REQUESTS]
        if self._answer is not None:
            return None
        retried = headers.get("x-stainless-retry-count", "0") != "0"
        if retried and self._last is not None:
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

    async def ask(self, request: ModelRequest) -> ModelReply:
        """The answer of the function. What it raises is shown to the caller: it is the test's own mistake."""
        if self._answer is None:
            raise ValueError("This scripted model has a queue, not a function.")
        try:
            reply = self._answer(request)
            return await reply if inspect.isawaitable(reply) else reply
        except WireError:
            raise
        except Exception as error:
            text = f"The scripted model's function raised {type(error).__name__}: {error}"
            raise WireError(400, "script_raised", text) from error


class _ScriptedEndpoint(ModelEndpoint):
    def __init__(self, model: ScriptedModel) -> None:
        super().__init__(model.ask)
        self._model = model

    async def respond(
        self, request: ModelRequest, write: Callable[[ModelReply], WireAnswer], headers: Mapping[str, str]
    ) -> WireAnswer:
        step = self._model.take(request, headers)
        streamed = bool(request.body.get("stream"))
        if step is None:
            return await super().respond(request, write, headers)
        if isinstance(step, Hang):
            self._model.hanging.set()
            await asyncio.Event().wait()
            raise WireError(500, None, "A hanging call is never answered.")
        if isinstance(step, Failure):
            error = WireError(step.status, step.code, step.message)
            retry = {"retry-after-ms": "1"} if step.once else {"x-should-retry": "false"}
            return WireAnswer(step.status, "application/json", [json.dumps(error.json()).encode()], retry)
        if isinstance(step, Garbage):
            kind = step.content_type or ("text/event-stream" if streamed else "application/json")
            body = f"data: {step.body}\n\n" if kind == "text/event-stream" else step.body
            return WireAnswer(200, kind, [body.encode()])
        if isinstance(step, StreamError):
            return _failed(step, request, write)
        if isinstance(step, CutStream):
            whole = write(_reply(step.reply))
            chunks = (
                _until(whole.chunks, step.after) if streamed else (chunk[: len(chunk) // 2] for chunk in whole.chunks)
            )
            length = {} if streamed else {"content-length": "1000000"}
            return WireAnswer(whole.status, whole.content_type, chunks, length, cut=True)
        return write(_reply(step))


def _reply(step: ModelReply | str | Sequence[ToolCall]) -> ModelReply:
    if isinstance(step, ModelReply):
        return step
    if isinstance(step, str):
        return ModelReply(step)
    return ModelReply(tool_calls=tuple(step))


def _failed(step: StreamError, request: ModelRequest, write: Callable[[ModelReply], WireAnswer]) -> WireAnswer:
    """A Responses call that ended `failed` has status 200; chat completions know only an `error` in the stream."""
    error = {"code": step.code, "message": step.message}
    if not request.body.get("stream"):
        if "messages" in request.body:
            raise WireError(500, step.code, step.message)
        body = json.loads(b"".join(write(ModelReply("")).chunks))
        body |= {"status": "failed", "error": error, "output": [], "completed_at": None}
        return WireAnswer(200, "application/json", [json.dumps(body).encode()])
    if "messages" in request.body:
        chunk = {"error": {**error, "type": "server_error", "param": None}}
        return WireAnswer(200, "text/event-stream", [f"data: {json.dumps(chunk)}\n\n".encode()])
    first = next(iter(write(ModelReply("")).chunks))
    created = json.loads(first.split(b"data: ", 1)[1])
    failed = {
        "type": "response.failed",
        "sequence_number": 1,
        "response": {**created["response"], "status": "failed", "error": error},
    }
    return WireAnswer(
        200, "text/event-stream", [first, f"event: response.failed\ndata: {json.dumps(failed)}\n\n".encode()]
    )


def _until(chunks: Iterable[bytes], after: int) -> Iterator[bytes]:
    """The events before the one that carries piece number `after` + 1 of the answer."""
    seen = 0
    for chunk in chunks:
        event = json.loads(chunk.split(b"data: ", 1)[1])
        if event.get("type", "").endswith(".delta"):
            carries = True
        else:
            delta = event["choices"][0]["delta"] if event.get("choices") else {}
            carries = "role" not in delta and bool(delta.get("content") or delta.get("tool_calls"))
        seen += carries
        if seen > after:
            return
        yield chunk
