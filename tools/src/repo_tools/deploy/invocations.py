"""Asks a deployed agent over the Invocations protocol: bytes in, bytes out, as the agent defines them.

What azd does is done (Azure/azure-dev, azure.ai.agents, internal/cmd/invoke.go): a body that is JSON is sent as such,
any other as plain text; of an event stream the data is shown line by line; 202 is polled at `/invocations/{id}` every
two seconds, or as `Retry-After` says, while 404 means not yet.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from repo_tools.azure_environment import FOUNDRY_SCOPE, fetch_token
from repo_tools.deploy.foundry import API_VERSION, FoundryError, Network, NotReached, TimedOut, error_of

_LONGEST_WAIT = 30.0


@dataclass(frozen=True, slots=True)
class Invocation:
    agent: str
    content: bytes
    session: str | None = None
    """agent_session_id: without one each call starts a sandbox (Learn, how-to/manage-hosted-sessions)"""
    resume: str | None = None
    """the id of an invocation to wait for instead of sending `content`"""
    timeout: float = 1800.0
    """seconds for the next byte of an answer, and for all the polling; 1800 is azd's"""
    interval: float = 2.0
    """seconds between two polls"""


@dataclass(frozen=True, slots=True)
class Ended:
    session: str
    invocation: str
    failure: str = ""
    """what the agent said went wrong"""


def invoke(
    endpoint: str, credential: Any, invocation: Invocation, write: Callable[[str], None], network: Network
) -> Ended:
    """Send it and show what comes back.

    Raises:
        FoundryError: refused, not reached, or no end in time.
        NotSignedIn: nobody is signed in.
    """
    address = f"{endpoint}/agents/{quote(invocation.agent, safe='')}/endpoint/protocols/invocations"
    timeout = httpx2.Timeout(30, read=invocation.timeout)
    query = {"api-version": API_VERSION}
    if invocation.session:
        query["agent_session_id"] = invocation.session
    with httpx2.Client(transport=network.http, timeout=timeout, follow_redirects=False) as client:
        exchange = _Exchange(client, address, query, invocation, credential, write)
        try:
            return exchange.poll(invocation.resume) if invocation.resume else exchange.send()
        except httpx2.HTTPError as error:
            raise NotReached(f"{type(error).__name__}: {error}") from error


@dataclass(slots=True)
class _Exchange:
    client: httpx2.Client
    address: str
    query: dict[str, str]
    invocation: Invocation
    credential: Any
    write: Callable[[str], None]

    def send(self) -> Ended:
        content = self.invocation.content
        kind = "application/json" if _is_json(content) else "text/plain"
        headers = self._headers() | {"Content-Type": kind}
        with self.client.stream("POST", self.address, params=self.query, content=content, headers=headers) as answer:
            return self._answered(answer)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {fetch_token(self.credential, FOUNDRY_SCOPE)}"}

    def _answered(self, answer: httpx2.Response) -> Ended:
        session = answer.headers.get("x-agent-session-id") or self.invocation.session or ""
        identity = answer.headers.get("x-agent-invocation-id") or ""
        if answer.is_success and answer.headers.get("content-type", "").startswith("text/event-stream"):
            return Ended(session, identity, _show_events(answer, self.write))
        content = answer.read()
        body = _json(content)
        if not answer.is_success:
            raise error_of(answer.status_code, body, answer.headers)
        if answer.status_code == 202:
            identity = identity or str((body or {}).get("invocation_id") or "")
            if not identity:
                said = "it was accepted, but neither x-agent-invocation-id nor the body names the invocation"
                raise FoundryError(202, "no_invocation_id", said)
            print(f"deploy: accepted as {identity}; waiting for its end", file=sys.stderr)
            if session:
                self.query["agent_session_id"] = session
            interval = _retry_after(answer) or self.invocation.interval
            time.sleep(interval)
            return self.poll(identity, interval)
        _show(content, body, self.write)
        return Ended(session, identity, _failure(body))

    def poll(self, identity: str, interval: float | None = None) -> Ended:
        """Ask for the invocation until it has ended."""
        session = self.query.get("agent_session_id", "")
        again = f"deploy invoke {self.invocation.agent} --resume {identity}" + (
            f" --session {session}" if session else ""
        )
        deadline = time.monotonic() + self.invocation.timeout
        interval, last = interval or self.invocation.interval, ""
        try:
            while True:
                answer = self._look(identity)
                body = _json(answer.content) if answer is not None and answer.is_success else None
                status = str((body or {}).get("status") or "")
                if answer is not None and status in ("completed", "failed", "cancelled"):
                    _show(answer.content, body, self.write)
                    failure = "" if status == "completed" else _failure(body) or f"the invocation was {status}"
                    return Ended(session, identity, failure)
                if status and status != last:
                    print(f"deploy: {identity} is {status}", file=sys.stderr)
                    last = status
                interval = (_retry_after(answer) if answer is not None else None) or interval
                if time.monotonic() + interval > deadline:
                    raise TimedOut(f"no end after {self.invocation.timeout:g} seconds; wait on with: {again}")
                time.sleep(interval)
        except KeyboardInterrupt:
            print(f"deploy: it goes on; wait for it with: {again}", file=sys.stderr)
            raise

    def _look(self, identity: str) -> httpx2.Response | None:
        """None where the connection broke: the invocation goes on without it."""
        try:
            # A long wait outlives a token, so each look has its own.
            answer = self.client.get(
                f"{self.address}/{quote(identity, safe='')}", params=self.query, headers=self._headers()
            )
        except httpx2.TransportError as error:
            print(f"deploy: {type(error).__name__}; asking again", file=sys.stderr)
            return None
        if not answer.is_success and answer.status_code != 404 and answer.status_code < 500:
            raise error_of(answer.status_code, _json(answer.content), answer.headers)
        return answer


def _show_events(answer: httpx2.Response, write: Callable[[str], None]) -> str:
    """Every data line as it comes; returns what an event said went wrong."""
    failure = ""
    for line in answer.iter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").removeprefix(" ")
        if data == "[DONE]":
            break
        write(data + "\n")
        body = _json(data.encode())
        failure = _failure(body) or failure
        if body and body.get("type") == "RUN_ERROR":  # AG-UI
            failure = str(body.get("message") or "the run failed")
    return failure


def _show(content: bytes, body: dict[str, Any] | None, write: Callable[[str], None]) -> None:
    text = json.dumps(body, indent=2, ensure_ascii=False) if body is not None else content.decode(errors="replace")
    write(text + "\n")


def _failure(body: dict[str, Any] | None) -> str:
    """An error inside of an answer that is no error of HTTP."""
    error = (body or {}).get("error")
    if not isinstance(error, dict) or not error.get("message"):
        return ""
    code = error.get("code") or error.get("type")
    return f"{error['message']} ({code})" if code else str(error["message"])


def _retry_after(answer: httpx2.Response) -> float | None:
    value = answer.headers.get("retry-after", "")
    return min(float(value), _LONGEST_WAIT) if value.isdigit() and int(value) > 0 else None


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
