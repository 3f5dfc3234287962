"""Refuses what is not a model's finished answer before a framework takes it for one.

The `openai` package returns the plain text of a 200 that is not JSON as if it were the parsed answer, fills a JSON
object of another kind with nothing, and takes a stream that stops early without an error for a finished one; frameworks
read a response that says `failed` like one that says `completed`. An agent then answers with half a text, with nothing,
or with an AttributeError. `check_answer`, a response hook of the HTTP client, raises instead.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2

# Line ends inside JSON are escaped, and so are its inner quotes: text that a model writes cannot look like these.
_RESPONSES_END = re.compile(
    rb'"type": ?"(?:response\.(?:completed|incomplete|failed)|error)"'
    rb"|[\r\n]event: ?(?:response\.(?:completed|incomplete|failed)|error)[\r\n]"
)
_RESPONSES_FAILED = re.compile(
    rb'"type": ?"response\.failed"|[\r\n]data: ?\{"type": ?"error"|[\r\n]event: ?(?:response\.failed|error)[\r\n]'
)
_CHAT_END = re.compile(rb'[\r\n]data: ?\[DONE\]|"finish_reason": ?"|[\r\n]data: ?\{"error":')
_LONGEST_MARK = 64


async def check_answer(response: httpx2.Response) -> None:
    """Look at the answer to POST /responses or /chat/completions; other answers pass.

    Raises:
        openai.APIResponseValidationError: a body that the API never sends.
        openai.APIError: a response with the status `failed`. A stream raises it at its end, after the failing event.
        httpx2.RemoteProtocolError: by a stream, while it is read, where it ends without its closing event.
    """
    path = response.request.url.path
    chat = path.endswith("/chat/completions")
    if not response.is_success or not (chat or path.endswith("/responses")):
        return
    if _is_streamed(response.request):
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("text/event-stream", ""):
            await _reject(response, "The answer is not an event stream.")
        if "content-encoding" not in response.headers:
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - an async client's always is
            response.stream = _CompleteStream(response.stream, chat, response.request)
        return
    await response.aread()
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        await _reject(response, "The answer is not a JSON object.")
    elif not chat and body.get("status") == "failed":
        raise _failed(response.request, body.get("error"))
    elif not isinstance(body.get("choices" if chat else "output"), list):
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


def _failed(request: httpx2.Request, error: Any) -> Exception:
    from openai import APIError  # noqa: PLC0415

    return APIError("The model reported a failure.", request, body=error)


class _CompleteStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, chat: bool, request: httpx2.Request) -> None:
        self._stream = stream
        self._chat = chat
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        ended = failed = False
        tail = b"\n"
        async for chunk in self._stream:
            seen = tail + chunk
            ended = ended or (_CHAT_END if self._chat else _RESPONSES_END).search(seen) is not None
            failed = failed or (not self._chat and _RESPONSES_FAILED.search(seen) is not None)
            tail = seen[-_LONGEST_MARK:]
            yield chunk
        if failed:
            raise _failed(self._request, None)
        if not ended:
            raise httpx2.RemoteProtocolError("The stream ended before its closing event.", request=self._request)

    async def aclose(self) -> None:
        await self._stream.aclose()
