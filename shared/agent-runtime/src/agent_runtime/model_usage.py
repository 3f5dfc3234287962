"""One log record for each answer of a model: which model, how many tokens, how long.

It is telemetry, not something to read on a console: `hosting.logs` shows it only with `LOG_LEVEL=debug`, exporters get
it always. Attributes carry the names of OpenTelemetry's conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/). A server that reports no usage leaves the tokens out; no text of
a request or an answer is ever in a record. Every agent's calls pass here, also where a framework makes its own spans.
"""

import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

logger = logging.getLogger(__name__)

_STARTED = "agent_runtime.model_usage.started"
_LONGEST_EVENT = 8 * 1024 * 1024
"""Bytes of one event that are kept to be read; usage in a longer one is not reported."""


async def note_start(request: httpx2.Request) -> None:
    """A request hook of the HTTP client: the call begins."""
    request.extensions[_STARTED] = time.monotonic()


async def record_usage(response: httpx2.Response) -> None:
    """A response hook, after the one that checks answers: record a finished answer now, a stream at its end."""
    path = response.request.url.path
    if not response.is_success or not path.endswith(("/responses", "/chat/completions")):
        return
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        if "content-encoding" not in response.headers:
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an async client's always is
            response.stream = _WatchedStream(response.stream, response.request)
        return
    try:
        body = json.loads(await response.aread())
    except ValueError:
        return
    _record(response.request, body)


class _WatchedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, request: httpx2.Request) -> None:
        self._stream = stream
        self._request = request
        self._found: Mapping[str, Any] = {}
        self._recorded = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        line = bytearray()
        async for chunk in self._stream:
            *whole, rest = chunk.split(b"\n")
            for each in whole:
                line += each
                self._found = _answer(bytes(line)) or self._found
                line.clear()
            if len(line) + len(rest) <= _LONGEST_EVENT:
                line += rest
            yield chunk
        self._record_once()

    async def aclose(self) -> None:
        await self._stream.aclose()
        if self._found:  # a reader of chat completions stops at `[DONE]`, before the end
            self._record_once()

    def _record_once(self) -> None:
        if not self._recorded:
            self._recorded = True
            _record(self._request, self._found)


def _answer(line: bytes) -> Mapping[str, Any] | None:
    """The response or chunk in a line of a stream, where it reports usage."""
    if not line.startswith(b"data:") or b'"usage"' not in line:
        return None
    try:
        event = json.loads(line[5:])
    except ValueError:
        return None
    body = event.get("response", event) if isinstance(event, dict) else None
    return body if isinstance(body, dict) and isinstance(body.get("usage"), dict) else None


def _record(request: httpx2.Request, body: Any) -> None:
    body = body if isinstance(body, Mapping) else {}
    usage = body.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    seconds = time.monotonic() - request.extensions.get(_STARTED, time.monotonic())
    attributes: dict[str, str | int | float] = {"gen_ai.client.operation.duration": round(seconds, 3)}
    if isinstance(body.get("model"), str):
        attributes["gen_ai.response.model"] = body["model"]
    for name, keys in (
        ("gen_ai.usage.input_tokens", ("input_tokens", "prompt_tokens")),
        ("gen_ai.usage.output_tokens", ("output_tokens", "completion_tokens")),
    ):
        for key in keys:
            if isinstance(usage.get(key), int):
                attributes[name] = usage[key]
    logger.info("answer of the model in %.3f s", seconds, extra=attributes)
