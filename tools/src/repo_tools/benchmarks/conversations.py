"""rag-chat with many conversations at once: does a late turn take longer than an early one, and does one conversation
leak into another?

One process, the offline model, ten turns each, chained by `previous_response_id`. Each conversation asks the same ten
questions, beginning elsewhere; the answers must be those that a conversation alone gets from the second round on.
"""

import asyncio
import statistics
import time

from agent_runtime.testing import AgentProcess
from openai import AsyncOpenAI

CONVERSATIONS = 50
_QUESTIONS = (
    "How long can a tent be returned?",
    "What does a return label cost in Norway?",
    "Which fee does the express service of repairs have?",
    "How long is the warranty on boots?",
    "When is the shop in Oslo open?",
    "How do I wash a down jacket?",
    "How long does a refund to a card take?",
    "What does it cost to rent a tent for a week?",
    "Who pays the customs duties for Switzerland?",
    "How long is a gift card valid?",
)


def run(conversations: int | None = None) -> int:
    return asyncio.run(_run(conversations or CONVERSATIONS))


async def _run(conversations: int) -> int:
    async with (
        AgentProcess("rag_chat", env={"MODEL_PROVIDER": "offline", "LOG_LEVEL": "warning"}) as agent,
        AsyncOpenAI(base_url=agent.url, api_key="unused", max_retries=0, timeout=300.0) as client,
    ):
        alone = {question: (await client.responses.create(input=question)).output_text for question in _QUESTIONS}
        before = agent.rss_mb()
        seconds: dict[int, list[float]] = {turn: [] for turn in range(1, len(_QUESTIONS) + 1)}
        wrong: list[str] = []

        async def converse(number: int) -> None:
            previous: str | None = None
            for turn, taken in seconds.items():
                question = _QUESTIONS[(number + turn - 1) % len(_QUESTIONS)]
                start = time.perf_counter()
                response = await client.responses.create(input=question, previous_response_id=previous)
                taken.append(time.perf_counter() - start)
                previous = response.id
                if response.status != "completed" or response.output_text != alone[question]:
                    wrong.append(f"conversation {number}, turn {turn}: {response.status}: {response.output_text[:200]}")

        start = time.perf_counter()
        await asyncio.gather(*map(converse, range(conversations)))
        whole = time.perf_counter() - start
        after = agent.rss_mb()

    medians = {turn: statistics.median(values) for turn, values in seconds.items()}
    rate = conversations * len(seconds) / whole
    print(f"{conversations} conversations of {len(seconds)} turns at once: {rate:.1f} turns/s")
    print("median seconds by turn:", ", ".join(f"{turn}: {value:.2f}" for turn, value in medians.items()))
    print(f"turn {max(medians)} against turn 2: {medians[max(medians)] / medians[2]:.2f} x")
    print(f"memory: {after:.0f} MB, {before:.0f} MB before: {after / before:.2f} x")
    print(f"answers other than in a conversation alone: {len(wrong)}")
    for line in wrong[:10]:
        print(f"  {line}")
    return 1 if wrong else 0
