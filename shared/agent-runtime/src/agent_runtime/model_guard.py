"""Refuses what is not a model's answer before a framework takes it for one.

The `openai` package returns the plain text of a 200 that is not JSON as if it were the parsed answer, fills a JSON
object of another kind with nothing, and takes a stream that stops early without an error for a finished one: an agent
then answers with half a text, or with an AttributeError. `check_answer`, a response hook of the HTTP client, raises
instead.
"""

import json
import re
from collections.abc import AsyncIterator

import httpx2

_RESPONSES_END = re.compile(
    rb'"response\.(?:completed|incomplete|failed)"|"type": ?"error"|event: ?error\b|"error": ?\{'
)
_CHAT_END = re.compile(rb'data: ?\[DONE\]|"finish_reason": ?"|"error": ?\{')
_LONGEST_END = 64


async def check_answer(response: httpx2.Response) -> None:
    """Raises `openai.APIResponseValidationError` for a body that the API never sends. Streams raise
    `httpx2.RemoteProtocolError` while they are read, where they end without their closing event."""
    path = response.request.url.path
    chat = path.endswith("/chat/completions")
    if not response.is_success or not (chat or path.endswith("/responses")):
        return
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _is_streamed(response.request):
        if kind not in ("text/event-stream", ""):
            await _reject(response, "The answer is not an event stream.")
        if "content-encoding" not in response.headers:
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an async client's always is
            response.stream = _CompleteStream(response.stream, _CHAT_END if chat else _RESPONSES_END, response.request)
        return
    await response.aread()
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("choices" if chat else "output"), list):
        await _reject(response, "The answer is not one of this API.")


def _is_streamed(request: httpx2.Request) -> bool:
    try:
        body = json.loads(request.content)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("stream") is True


async def _reject(response: httpx2.Response, message: str) -> None:
    from openai import APIResponseValidationError  # noqa: PLC0415 - loaded by whoever made the client

    await response.aclose()
    raise APIResponseValidationError(response, None, message=message)


class _CompleteStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, end: re.Pattern[bytes], request: httpx2.Request) -> None:
        self._stream = stream
        self._end = end
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        ended = False
        tail = b""
        async for chunk in self._stream:
            if not ended:
                ended = self._end.search(tail + chunk) is not None
                tail = (tail + chunk)[-_LONGEST_END:]
            yield chunk
        if not ended:
            raise httpx2.RemoteProtocolError("The stream ended before its closing event.", request=self._request)

    async def aclose(self) -> None:
        await self._stream.aclose()
