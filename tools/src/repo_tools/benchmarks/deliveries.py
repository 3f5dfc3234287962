"""webhook-extractor under load: how fast it accepts against a host that does nothing, and whether its memory grows.

Accepting is the check of the signature, the commit with fsync, and the answer. While that is measured the model is
silent, so that the one worker is busy with the first delivery and nothing is processed beside. Both hosts run by turns,
with the same connections, bodies and logging. For the memory, Stripe's deliveries are sent and processed to their end.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from agent_runtime.testing import AgentProcess

DELIVERIES = 20_000
LEAST_RATIO = 0.4
MOST_GROWTH = 1.2
_CONNECTIONS = 32
_ROUNDS = 5
_IN_A_ROUND = 4_000
_SECRET = "whsec_of_the_benchmark"  # noqa: S105 - signs against an agent that this module starts
_LOGGING = {"LOG_LEVEL": "warning"}


def run(deliveries: int | None = None) -> int:
    return asyncio.run(_run(deliveries or DELIVERIES))


async def _run(deliveries: int) -> int:
    ratio = await _accepting(min(_IN_A_ROUND, deliveries))
    growth = await _memory(deliveries)
    held = ratio >= LEAST_RATIO and growth <= MOST_GROWTH
    print(f"held: at least {LEAST_RATIO} x, memory at most {MOST_GROWTH} x" if held else "NOT HELD")
    return 0 if held else 1


async def _accepting(in_a_round: int) -> float:
    async with await asyncio.start_server(_silent, "127.0.0.1", 0) as model:
        silent = f"http://127.0.0.1:{model.sockets[0].getsockname()[1]}/v1"
        environment = _LOGGING | {"GITHUB_WEBHOOK_SECRET": _SECRET, "WORKERS": "1", "JOB_TIMEOUT_SECONDS": "600"}
        environment |= {"OPENAI_BASE_URL": silent, "MODEL_NAME": "silent", "MODEL_TIMEOUT_SECONDS": "600"}
        async with (
            AgentProcess("repo_tools.benchmarks.bare_host", env=_LOGGING) as bare,
            AgentProcess("webhook_extractor", env=environment) as agent,
        ):
            rates: dict[str, list[float]] = {bare.url: [], agent.url: []}
            number = itertools.count()
            for url in rates:
                await _send(url, [_github(next(number)) for _ in range(500)])
            for _ in range(_ROUNDS):
                requests = [_github(next(number)) for _ in range(in_a_round)]
                for url, found in rates.items():
                    found.append(in_a_round / await _send(url, requests))
            model.close()
            await agent.kill()
    nothing, accepted = rates.values()
    ratios = [ours / theirs for ours, theirs in zip(accepted, nothing, strict=True)]
    print(f"{_ROUNDS} rounds of {in_a_round} deliveries, {_CONNECTIONS} connections; median of the rounds:")
    print(f"bare host, doing nothing: {statistics.median(nothing):.0f}/s")
    print(f"verified, stored with fsync, answered: {statistics.median(accepted):.0f}/s")
    ratio = statistics.median(ratios)
    print(f"against the bare host: {ratio:.2f} x (rounds: {', '.join(f'{one:.2f}' for one in ratios)})")
    return ratio


async def _memory(deliveries: int) -> float:
    environment = _LOGGING | {"STRIPE_WEBHOOK_SECRET": _SECRET, "MODEL_PROVIDER": "offline", "MAX_WAIT_SECONDS": "100"}
    tenth = max(1, deliveries // 10)
    async with AgentProcess("webhook_extractor", env=environment) as agent:
        taken: list[float] = []
        start = time.perf_counter()
        for first in range(0, deliveries, tenth):
            numbers = range(first, min(deliveries, first + tenth))
            await _send(agent.url, [_stripe(number) for number in numbers])
            # Answered when its case is open: what was sent before it has been claimed before it.
            await _send(agent.url, [_stripe(-first - 1, wait=100)], status=b"200")
            taken.append(agent.rss_mb())
        seconds = time.perf_counter() - start
    growth = taken[-1] / taken[0]
    print(f"{deliveries} deliveries accepted and processed, {deliveries / seconds:.0f}/s")
    print("memory after each tenth, MB:", ", ".join(f"{one:.0f}" for one in taken))
    print(f"after the last against after the first: {growth:.2f} x")
    return growth


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A model that takes every request and never answers."""
    while await reader.read(65536):
        pass
    writer.close()


async def _send(url: str, requests: Sequence[bytes], *, status: bytes = b"202") -> float:
    """Send all, over a fixed number of connections; the seconds it took. No HTTP library: it would be measured too.

    Raises:
        RuntimeError: an answer has another status.
    """
    place = urlsplit(url)
    connections = [
        await asyncio.open_connection(place.hostname, place.port) for _ in range(min(_CONNECTIONS, len(requests)))
    ]
    waiting = iter(requests)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            if lines[0].split(b" ")[1] != status:
                raise RuntimeError(f"{place.netloc} answered {head.decode()}{body.decode()}")

    start = time.perf_counter()
    await asyncio.gather(*(work(*connection) for connection in connections))
    seconds = time.perf_counter() - start
    for _, writer in connections:
        writer.close()
    return seconds


def _github(number: int) -> bytes:
    user = {"login": "octocat"}
    issue = {
        "number": number,
        "title": "Torn seam",
        "body": "My jacket from order NP-10001 arrived with a torn seam. I would like a replacement. " * 6,
        "html_url": f"https://github.com/northpeak/shop/issues/{number}",
        "created_at": "2026-11-01T10:00:00Z",
        "user": user,
    }
    payload = {"action": "opened", "issue": issue, "repository": {"full_name": "northpeak/shop"}, "sender": user}
    body = json.dumps(payload).encode()
    signature = hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return _request(
        body, f"x-github-event: issues\r\nx-github-delivery: {number}\r\nx-hub-signature-256: sha256={signature}"
    )


def _stripe(number: int, *, wait: int = 0) -> bytes:
    thing = {"id": f"dp_{number}", "amount": 12900, "currency": "eur", "reason": "fraudulent"}
    event = {"id": f"evt_{number}", "type": "charge.dispute.created", "created": 1_793_440_800}
    body = json.dumps(event | {"data": {"object": thing | {"metadata": {"order_id": "NP-10001"}}}}).encode()
    at = int(time.time())
    signature = hmac.new(_SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return _request(body, f"stripe-signature: t={at},v1={signature}\r\nprefer: wait={wait}")


def _request(body: bytes, headers: str) -> bytes:
    head = f"POST /invocations HTTP/1.1\r\nhost: benchmark\r\ncontent-type: application/json\r\n{headers}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
