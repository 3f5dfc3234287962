"""What `azd ai agent invoke --local` sends and accepts, as a client for tests: same bytes, same reading of answers.

The rules are those of azd's extension azure.ai.agents 1.0.0-beta.11 (Azure/azure-dev, `internal/cmd/invoke.go`). A test
that passes with this client prints to a person what azd would print, or fails as azd would.
"""

import asyncio
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx2

POLL_SECONDS = 2.0
LONGEST_POLL_SECONDS = 30.0


class AgentFailed(Exception):
    """azd would print this and exit with a non-zero code."""


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(slots=True)
class AzdLocalInvoke:
    """One person's azd: it keeps its session and conversation from one call to the next, as azd does per port.

    Every method returns what azd would print.

    Raises:
        AgentFailed: where azd would report an error.
        TimeoutError: where azd would still be polling after `timeout` seconds.
    """

    url: str
    user_identity: str | None = None
    timeout: float = 60.0
    session_id: str = field(default_factory=_new_id)
    conversation_id: str = field(default_factory=_new_id)

    async def responses(self, message: str) -> str:
        body = {"input": message, "session_id": self.session_id, "conversation": {"id": self.conversation_id}}
        content = json.dumps(body, separators=(",", ":")).encode()
        async with self._client() as client:
            answer = await client.post("/responses", content=content, headers=self._headers("application/json"))
        _refuse_http_errors(answer)
        document = _json_object(answer.content)
        if document is None:
            return answer.text
        if document.get("status") == "failed":
            error = document.get("error") or {}
            raise AgentFailed(f"agent failed ({error.get('code')}): {error.get('message')}")
        if document.get("code"):
            raise AgentFailed(f"agent error: {document['code']}")
        texts = [
            part["text"]
            for item in document.get("output") or []
            for part in item.get("content") or []
            if part.get("type") == "output_text" and part.get("text")
        ]
        return "\n".join(texts) or json.dumps(document, indent=2)

    async def invocations(self, message: str | bytes) -> str:
        raw = message.encode() if isinstance(message, str) else message
        content_type = "application/json" if _is_json(raw) else "text/plain"
        path = f"/invocations?agent_session_id={self.session_id}"
        async with self._client() as client:
            answer = await client.post(path, content=raw, headers=self._headers(content_type))
            _refuse_http_errors(answer)
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return _read_events(answer.text)
            if answer.status_code == 202:
                return await self._poll(client, answer)
            return _read_document(answer.content)

    async def _poll(self, client: httpx2.AsyncClient, accepted: httpx2.Response) -> str:
        document = _json_object(accepted.content) or {}
        identity = accepted.headers.get("x-agent-invocation-id") or document.get("invocation_id")
        if not identity:
            raise AgentFailed("202 without an invocation id")
        answer, deadline = accepted, time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            asked = answer.headers.get("retry-after", "")
            await asyncio.sleep(min(float(asked) if asked.isdecimal() else POLL_SECONDS, LONGEST_POLL_SECONDS))
            path = f"/invocations/{identity}?agent_session_id={self.session_id}"
            answer = await client.get(path, headers=self._headers())
            if answer.status_code == 404:
                continue
            _refuse_http_errors(answer)
            state = _json_object(answer.content) or {}
            if state.get("status") in {"completed", "failed", "cancelled"}:
                return _read_document(answer.content)
        raise TimeoutError(f"invocation {identity} did not end in {self.timeout:g} s")

    def _headers(self, content_type: str | None = None) -> dict[str, str]:
        headers = {"content-type": content_type} if content_type else {}
        if self.user_identity:
            headers["x-agent-user-id"] = self.user_identity
        return headers

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=self.timeout, trust_env=False)


def _refuse_http_errors(answer: httpx2.Response) -> None:
    if answer.status_code >= 400:
        raise AgentFailed(f"HTTP {answer.status_code}: {answer.text}")


def _read_events(text: str) -> str:
    """azd reads lines that start with exactly `data: ` and ignores all others."""
    shown = []
    for line in text.splitlines():
        if not line.startswith("data: "):
            continue
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            break
        document = _json_object(data.encode()) or {}
        error = document.get("error")
        if isinstance(error, dict) and error.get("message"):
            raise AgentFailed(f"agent error ({error.get('code') or error.get('type')}): {error['message']}")
        shown.append(data)
    return "\n".join(shown)


def _read_document(raw: bytes) -> str:
    document = _json_object(raw)
    if document is None:
        return raw.decode()
    error = document.get("error")
    if isinstance(error, dict) and error.get("message"):
        raise AgentFailed(f"agent error ({error.get('code') or error.get('type')}): {error['message']}")
    return json.dumps(document, indent=2)


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(raw)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
