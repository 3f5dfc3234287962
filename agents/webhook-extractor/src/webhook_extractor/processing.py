"""Works through the inbox in the background: retries with backoff, a time limit for each attempt, dead letters.

What a job does is decided by the functions it is given: `extract` asks the model and may be repeated; `settle` has the
side effect and is called with the delivery's invocation id as idempotency key, because after a crash it comes again.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from agent_runtime.hosting.errors import BadRequest
from agent_runtime.model_errors import ModelError

from webhook_extractor.inbox import Inbox, InboxUnavailable, Record

logger = logging.getLogger(__name__)

_BACKOFF = 4.0

Extract = Callable[[Record], Awaitable[str]]
Settle = Callable[[Record, str], Awaitable[str]]


class JobFailed(Exception):
    """An attempt failed for a reason that can be named. `retryable`: the same attempt may succeed later."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Retries:
    first_seconds: float
    longest_seconds: float

    def seconds_after(self, attempt: int) -> float:
        """Exponential with jitter, so that deliveries that failed together do not all come back together."""
        pause = min(self.longest_seconds, self.first_seconds * _BACKOFF ** (attempt - 1))
        return pause * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing


class Worker:
    def __init__(
        self,
        inbox: Inbox,
        extract: Extract,
        settle: Settle,
        *,
        jobs: int,
        job_seconds: float,
        sweep_seconds: float,
        retries: Retries,
    ) -> None:
        self._inbox = inbox
        self._extract = extract
        self._settle = settle
        self._limit = jobs
        self._job_seconds = job_seconds
        self._sweep_seconds = sweep_seconds
        self._retries = retries
        self._claim = secrets.token_hex(8)
        self._wake = asyncio.Event()
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name="inbox-worker")

    def wake(self) -> None:
        """Something may be due now."""
        self._wake.set()

    def drop(self, invocation_id: str) -> None:
        """Stop a job whose delivery has been cancelled. The record already says so, so nothing it does counts."""
        if job := self._jobs.get(invocation_id):
            job.cancel()

    async def stop(self) -> None:
        """Stop at once. Interrupted deliveries are queued again, and their attempt does not count."""
        tasks = [task for task in (self._loop, *self._jobs.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        next_sweep = 0.0
        while True:
            self._wake.clear()
            pause = self._sweep_seconds
            try:
                if time.monotonic() >= next_sweep:
                    await self._inbox.sweep()
                    next_sweep = time.monotonic() + self._sweep_seconds
                if await self._fill():
                    due = await self._inbox.seconds_until_due()
                    pause = pause if due is None else min(pause, due)
            except InboxUnavailable as error:
                logger.error("The inbox cannot be read or written: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _fill(self) -> bool:
        """Start jobs for what is due. True when there is room for more."""
        while (free := self._limit - len(self._jobs)) > 0:
            claimed = await self._inbox.claim(self._claim, free)
            for record in claimed:
                job = asyncio.create_task(self._attempt(record), name=record.id)
                self._jobs[record.id] = job
                job.add_done_callback(self._job_ended)
            if len(claimed) < free:
                return True
        return False

    def _job_ended(self, job: asyncio.Task[None]) -> None:
        if self._jobs.get(job.get_name()) is job:
            del self._jobs[job.get_name()]
        self._wake.set()

    async def _attempt(self, record: Record) -> None:
        try:
            await self._process(record)
        except asyncio.CancelledError:
            # Shutdown. After a cancel by the caller the record is no longer ours, and this changes nothing.
            await asyncio.shield(self._inbox.give_back(record))
            raise
        except InboxUnavailable as error:
            # The lease runs out, and the delivery is tried again.
            logger.error("Delivery %s could not be recorded: %s", record.id, error)

    async def _process(self, record: Record) -> None:
        if record.attempts > record.max_attempts:
            await self._fail(record, JobFailed("process_ended", "The process ended in each attempt.", retryable=False))
            return
        try:
            async with asyncio.timeout(self._job_seconds):
                extracted = record.extracted
                if extracted is None:
                    extracted = await self._extract(record)
                    if not await self._inbox.keep_extracted(record, extracted):
                        return
                result = await self._settle(record, extracted)
        except InboxUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the delivery must not be lost
            await self._fail(record, _as_failure(error, record))
        else:
            await self._inbox.finish(record, result)

    async def _fail(self, record: Record, failure: JobFailed) -> None:
        if failure.retryable and record.attempts < record.max_attempts:
            pause = self._retries.seconds_after(record.attempts)
            if await self._inbox.retry(record, pause, failure.code, failure.message):
                logger.warning(
                    "Delivery %s: attempt %d of %d failed with %s; next in %.1f s",
                    record.id, record.attempts, record.max_attempts, failure.code, pause,
                )  # fmt: skip
        elif await self._inbox.bury(record, failure.code, failure.message):
            logger.error(
                "Delivery %s is a dead letter after %d attempts: %s. See `python -m webhook_extractor.dead_letters`.",
                record.id, record.attempts, failure.code,
            )  # fmt: skip


def _as_failure(error: Exception, record: Record) -> JobFailed:
    """What clients and dead letters say. Internals go to the log only."""
    if isinstance(error, JobFailed):
        return error
    if isinstance(error, ModelError):
        # A refused request is refused again; all else may pass, an unreadable answer included.
        return JobFailed(error.code, error.message, retryable=error.code != "model_misconfigured")
    if isinstance(error, BadRequest):
        return JobFailed(error.code, error.message, retryable=False)
    if isinstance(error, TimeoutError):
        return JobFailed("attempt_timed_out", "Processing took too long.", retryable=True)
    logger.error("Delivery %s failed unexpectedly", record.id, exc_info=error)
    return JobFailed("internal_error", "Processing failed unexpectedly.", retryable=True)
