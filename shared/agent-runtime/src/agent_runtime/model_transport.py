"""A model behind the wire: any function from `ModelRequest` to `ModelReply`, reached as the OpenAI service is reached.

`ModelTransport` puts it under an `openai.AsyncOpenAI` client with no socket in between, `ModelApp` behind a server as
an ASGI application. Both serve POST */responses and */chat/completions, streamed or not. What the formats look like is
`model_wire`'s part; what is answered is the function's.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.model_wire import ChatAnswer, ResponsesAnswer, WireError, parse_chat_request, parse_responses_request

Answer = Callable[[ModelRequest], ModelReply | Awaitable[ModelReply]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """What goes back over the wire. With `cut`, the connection breaks after the last chunk instead of ending."""

    status: int
    content_type: str
    chunks: Iterable[bytes] | AsyncIterable[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """The chunks, one at a time: whoever reads can act on each, or cancel, before the next, as with a socket."""
        if isinstance(self.chunks, AsyncIterable):
            async for chunk in self.chunks:
                yield chunk
            return
        for chunk in self.chunks:
            await asyncio.sleep(0)
            yield chunk


def json_answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> WireAnswer:
    return WireAnswer(status, "application/json", [json.dumps(body).encode()], headers or {})


class ModelEndpoint:
    """Serves one model. Subclasses that must misbehave on the wire override `respond`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def respond(
        self, request: ModelRequest, write: Callable[[ModelReply], WireAnswer], headers: Mapping[str, str]
    ) -> WireAnswer:
        """Answer a valid request; `write` puts a reply into the form the caller asked for. May raise `WireError`."""
        reply = self._answer(request)
        return write(await reply if inspect.isawaitable(reply) else reply)

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> WireAnswer:
        """Answer one HTTP request. Raises nothing but cancellation: every failure is an error answer."""
        try:
            api = next((name for name in ("/responses", "/chat/completions") if path.endswith(name)), None)
            if api is None:
                raise WireError(404, "unknown_url", f"Unknown request URL: {method} {path}.")
            if method != "POST":
                raise WireError(405, "method_not_allowed", f"Not allowed to {method} on {path}. Use POST.")
            decoded = _decode(body)
            request = parse_responses_request(decoded) if api == "/responses" else parse_chat_request(decoded)

            def write(reply: ModelReply) -> WireAnswer:
                answer = ResponsesAnswer(request, reply) if api == "/responses" else ChatAnswer(request, reply)
                if request.body.get("stream"):
                    return WireAnswer(200, "text/event-stream; charset=utf-8", answer.stream())
                return json_answer(200, answer.body())

            return await self.respond(request, write, headers)
        except WireError as error:
            return json_answer(error.status, error.json())
        except Exception:  # noqa: BLE001 - whatever the model's function raises, the caller gets an API error
            _log.exception("The model behind %s failed to answer", path)
            failed = WireError(500, "internal_error", "The model failed to answer. Its log has the reason.")
            return json_answer(500, failed.json())


class ModelTransport(httpx2.AsyncBaseTransport):
    """Answers an HTTP client from `answer`, in process. Host and scheme of the requested URL do not matter."""

    def __init__(self, answer: Answer | ModelEndpoint) -> None:
        self._endpoint = answer if isinstance(answer, ModelEndpoint) else ModelEndpoint(answer)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        try:
            async with asyncio.timeout(_patience(request)):
                answer = await self._endpoint.handle(request.method, request.url.path, request.headers, body)
        except TimeoutError:
            raise httpx2.ReadTimeout("The model did not answer in time.", request=request) from None
        headers = {"content-type": answer.content_type, **answer.headers}
        return httpx2.Response(answer.status, headers=headers, stream=_Chunks(answer, request))


def _patience(request: httpx2.Request) -> float | None:
    """The client's read timeout, which a socket would keep for it."""
    seconds: float | None = request.extensions.get("timeout", {}).get("read")
    return seconds


class _Chunks(httpx2.AsyncByteStream):
    def __init__(self, answer: WireAnswer, request: httpx2.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._answer.pieces()
        while True:
            try:
                async with asyncio.timeout(_patience(self._request)):
                    chunk = await anext(pieces, None)
            except TimeoutError:
                raise httpx2.ReadTimeout("The model paused for too long.", request=self._request) from None
            if chunk is None:
                break
            yield chunk
        if self._answer.cut:
            raise httpx2.RemoteProtocolError("The connection was cut.", request=self._request)


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ModelApp:
    """The same as an ASGI application, for a real server on loopback. The caller's disconnect cancels the answer."""

    def __init__(self, answer: Answer | ModelEndpoint) -> None:
        self._endpoint = answer if isinstance(answer, ModelEndpoint) else ModelEndpoint(answer)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP is served, not {scope['type']}.")
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        work = asyncio.create_task(self._answer(scope, headers, body, send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _answer(self, scope: Mapping[str, Any], headers: Mapping[str, str], body: bytes, send: Send) -> None:
        answer = await self._endpoint.handle(scope["method"], scope["path"], headers, body)
        fields = {"content-type": answer.content_type, **answer.headers}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        async for chunk in answer.pieces():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not answer.cut:  # A server closes the connection of an application that returns before its body's end.
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _lifespan(receive: Receive, send: Send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _decode(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        message = "We could not parse the JSON body of your request. The API expects a JSON object."
        raise WireError(400, "invalid_json", message) from None


__all__ = ["Answer", "ModelApp", "ModelEndpoint", "ModelTransport", "WireAnswer", "json_answer"]
