"""ag-ui-streamer under many streams: what its emitter and its log cost against a host that yields encoded bytes; how
long the first event takes beside 200 streams against beside 10; whether all arrive whole; and the memory afterwards.

The time to the first event is measured with one new stream every 50 ms in both cases, and words 100 ms apart, as a
model says them: so that all streams are open at once, and the client, which shares the machine, is not what is
measured. Memory is compared after as many streams again, because the allocator keeps the pages of the first ones.
"""

import asyncio
import json
import re
import statistics
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent_runtime.testing import AgentProcess

STREAMS = 200
_EVENTS = 200
_FEW = 10
_ROUNDS = 5
_AT_ONCE = 10
_ARRIVAL = 0.05
_PAUSE = 0.1
LEAST_RATIO = 0.5
MOST_DELAY = 3.0
MOST_GROWTH = 1.1
_LOGGING = {"LOG_LEVEL": "warning", "MODEL_PROVIDER": "offline"}
_MODULE = "repo_tools.benchmarks.stream_hosts"


@dataclass
class Seen:
    first: float
    """Seconds to the first event."""
    events: int
    whole: bool
    """Whether it holds each of its own words once, in order, and the terminal event at its end."""


def run(streams: int | None = None) -> int:
    return asyncio.run(_run(streams or STREAMS))


async def _run(streams: int) -> int:
    ratio = await _cost()
    few, many, wrong, growth = await _many(streams)
    held = ratio >= LEAST_RATIO and many <= MOST_DELAY * few and not wrong and growth <= MOST_GROWTH
    limits = f"at least {LEAST_RATIO} x, first event at most {MOST_DELAY} x, memory at most {MOST_GROWTH} x"
    print(f"held: {limits}" if held else f"NOT HELD: {limits}")
    return 0 if held else 1


async def _cost() -> float:
    environment = _LOGGING | {"EVENTS": str(20 * _EVENTS)}
    async with (
        AgentProcess(_MODULE, arguments=["bare"], env=environment) as bare,
        AgentProcess(_MODULE, env=environment) as agent,
    ):
        rates: dict[str, list[float]] = {bare.url: [], agent.url: []}
        for number in range(_ROUNDS + 1):
            for url, found in rates.items():
                begun = time.perf_counter()
                seen = await asyncio.gather(*(_read(url, f"w{number}s{one}") for one in range(_AT_ONCE)))
                if number:  # the first warms up
                    found.append(sum(one.events for one in seen) / (time.perf_counter() - begun))
    nothing, ours = rates.values()
    ratios = [one / two for one, two in zip(ours, nothing, strict=True)]
    ratio = statistics.median(ratios)
    print(f"{_AT_ONCE} streams of {20 * _EVENTS} events as fast as they go; median of {_ROUNDS} rounds:")
    print(f"bare host, encoded bytes: {statistics.median(nothing):.0f} events/s")
    print(f"ag-ui-streamer, with its log: {statistics.median(ours):.0f} events/s")
    print(f"against the bare host: {ratio:.2f} x (rounds: {', '.join(f'{one:.2f}' for one in ratios)})")
    return ratio


async def _many(streams: int) -> tuple[float, float, int, float]:
    async with AgentProcess(_MODULE, env=_LOGGING | {"EVENTS": str(_EVENTS), "PAUSE": str(_PAUSE)}) as agent:
        await _arriving(agent.url, _FEW, "warm")
        few = await _arriving(agent.url, _FEW, "few")
        before = agent.rss_mb()
        many = await _arriving(agent.url, streams, "many")
        once = agent.rss_mb()
        again = await _arriving(agent.url, streams, "again")
        twice = agent.rss_mb()
    wrong = sum(not one.whole for one in [*few, *many, *again])
    first_few, first_many = _p95(few), _p95(many)
    print(f"{_FEW} and {streams} streams of {_EVENTS} events, one every {_ARRIVAL * 1000:.0f} ms:")
    print(f"first event p95: {first_few * 1000:.1f} ms and {first_many * 1000:.1f} ms: {first_many / first_few:.2f} x")
    print(f"streams that were cut or mixed: {wrong}")
    growth = twice / once
    print(
        f"memory: {before:.0f} MB before, {once:.0f} MB after them ({once / before:.2f} x: the allocator keeps pages),"
        f" {twice:.0f} MB after as many again: {growth:.2f} x"
    )
    return first_few, first_many, wrong, growth


async def _arriving(url: str, streams: int, name: str) -> list[Seen]:
    reading = []
    for number in range(streams):
        reading.append(asyncio.create_task(_read(url, f"{name}{number}")))
        await asyncio.sleep(_ARRIVAL)
    return list(await asyncio.gather(*reading))


def _p95(seen: list[Seen]) -> float:
    times = sorted(one.first for one in seen)
    return times[min(len(times) - 1, round(0.95 * len(times)))]


async def _read(url: str, name: str) -> Seen:
    """Post a run whose words all hold `name`, and read its stream to the end. No HTTP library: it would be measured."""
    place = urlsplit(url)
    message = {"id": "m", "role": "user", "content": name}
    body = json.dumps({"threadId": name, "runId": name, "messages": [message], "tools": [], "context": []}).encode()
    head = f"POST /invocations HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
    status = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in status.split(b"\r\n")[0]:
        raise RuntimeError(f"{place.netloc} answered {status.decode()}")
    first = 0.0
    parts: list[bytes] = []
    while part := await reader.read(65536):
        parts.append(part)
        if not first and b"data: " in part:
            first = time.perf_counter() - begun
    writer.close()
    text = re.sub(rb"\r\n[0-9a-f]+\r\n|^[0-9a-f]+\r\n", b"", b"".join(parts))
    words = re.findall(rb'"delta":"(\S+) (\d+) "', text)
    whole = [number for _, number in words] == [b"%d" % number for number in range(len(words))]
    whole = whole and {mark for mark, _ in words} == {name.encode()} and b"RUN_FINISHED" in text[-400:]
    return Seen(first, text.count(b"data: "), whole and text.count(b"data: ") > len(words) >= _EVENTS)
