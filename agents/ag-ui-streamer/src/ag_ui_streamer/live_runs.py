"""The runs in progress in this process. A run works on when nobody reads it; any number of readers follow it, each from
the event it asks for, and none of them holds anything but its place: a slow reader costs no memory.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from ag_ui_streamer.run_log import LoggedRun, RunLog

logger = logging.getLogger(__name__)

_SECONDS_TO_LEAVE = 0.5
_SEPARATOR = b"\n\n"


class ThreadBusy(Exception):
    """A run of this thread is in progress, and somebody reads it."""


def numbered(events: list[bytes], first: int) -> bytes:
    """Events as a stream of server-sent events, with their numbers as ids."""
    return b"".join(b"id: %d\n%b" % (number, event) for number, event in enumerate(events, start=first))


async def replay(events: list[bytes], after: int) -> AsyncIterator[bytes]:
    """The events of a run that has ended, from the one after number `after` on; at least the last."""
    start = min(max(after, 0), len(events) - 1)
    yield numbered(events[start:], start + 1)


class LiveRun:
    """One run: what it has said so far, and whether it goes on."""

    def __init__(self, user: str, thread_id: str, run_id: str, invocation_id: str) -> None:
        self.user = user
        self.thread_id = thread_id
        self.run_id = run_id
        self.invocation_id = invocation_id
        self.events: list[bytes] = []
        self.readers = 0
        self.left = asyncio.Event()
        """Set while nobody reads, once somebody has."""
        self.is_stopped = False
        """Whether somebody has it stop; a task that is cancelled otherwise ends with its process."""
        self.is_ending = False
        self.task: asyncio.Task[None] | None = None
        self.logged: LoggedRun | None = None
        self.written = 0
        """How many of the events are in the log."""
        self._ended = False
        self._news = asyncio.Event()

    def publish(self, frames: bytes) -> None:
        """Show one or more encoded events to every reader."""
        self.events += split(frames)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    async def stop(self) -> None:
        """Have the run stop, and wait until it has."""
        if self.task is None or self.task.done():
            return
        if not self.is_ending and not self.is_stopped:
            self.is_stopped = True
            await asyncio.sleep(0)  # A task that is cancelled before its first step does not even end its run.
            self.task.cancel()
        await asyncio.wait([self.task])

    async def changed(self, seen: int) -> bool:
        """Wait for more than `seen` events; False when there will be none."""
        while len(self.events) <= seen:
            if self._ended:
                return False
            await self._news.wait()
        return True

    async def read(self, after: int = 0) -> AsyncGenerator[bytes, None]:
        """The run's events from the one after number `after` on, until its terminal one."""
        self.readers += 1
        self.left.clear()
        place = max(after, 0)
        try:
            while await self.changed(place):
                events = self.events[place:]
                yield numbered(events, place + 1)
                place += len(events)
            if place != len(self.events) or place == after:
                # The reader's cursor lies at the end or beyond: it still learns how the run ended.
                async for last in replay(self.events, after):
                    yield last
        finally:
            self.readers -= 1
            if not self.readers:
                self.left.set()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def split(frames: bytes) -> list[bytes]:
    """The events of encoded frames, each with its separator: JSON text holds no line feed."""
    return [event + _SEPARATOR for event in frames.split(_SEPARATOR) if event]


Drive = Callable[[LiveRun], Awaitable[bytes]]
"""Does a run's work and publishes what happens; returns the terminal event."""
Settle = Callable[[LiveRun, list[bytes]], Awaitable[None]]
"""Keeps what a run leaves, given all its events, before any reader sees that it has ended."""


class LiveRuns:
    """Threads belong to their user: one thread id of two users is two threads, and only its user can stop a run."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._threads: dict[tuple[str, str], LiveRun] = {}
        self._runs: dict[tuple[str, str], LiveRun] = {}

    def get(self, user: str, run_or_invocation_id: str) -> LiveRun | None:
        """The user's run in progress with this `runId` or invocation id."""
        if run := self._runs.get((user, run_or_invocation_id)):
            return run
        mine = (run for (owner, _), run in self._runs.items() if owner == user)
        return next((run for run in mine if run.invocation_id == run_or_invocation_id), None)

    def of_thread(self, user: str, thread_id: str) -> LiveRun | None:
        return self._threads.get((user, thread_id))

    async def free(self, user: str, thread_id: str) -> None:
        """Stop the thread's run if nobody reads it any more: its reader has gone and asks for something else. That a
        connection is closed is seen a moment after its client has closed it.

        Raises:
            ThreadBusy: while somebody reads it.
        """
        while run := self._threads.get((user, thread_id)):
            try:
                await asyncio.wait_for(run.left.wait(), _SECONDS_TO_LEAVE)
            except TimeoutError:
                if self._threads.get((user, thread_id)) is run:
                    raise ThreadBusy from None
            else:
                await run.stop()

    def start(self, run: LiveRun, drive: Drive, settle: Settle) -> None:
        """Start a run whose thread is free. `drive` and `settle` raise nothing."""
        self._threads[run.user, run.thread_id] = run
        self._runs[run.user, run.run_id] = run
        run.task = asyncio.create_task(self._work(run, drive, settle))

    async def stop_all(self) -> None:
        """End every run, because the process ends."""
        runs = [run for run in self._runs.values() if run.task is not None]
        for run in runs:
            if not run.is_ending and not run.is_stopped and run.task is not None:
                run.task.cancel()
        await asyncio.gather(*(run.task for run in runs if run.task is not None), return_exceptions=True)

    async def _work(self, run: LiveRun, drive: Drive, settle: Settle) -> None:
        writing = asyncio.create_task(self._write(run))
        try:
            last = split(await drive(run))
            run.is_ending = True
            await settle(run, run.events + last)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._finish(run, last)
            run.events += last
        finally:
            writing.cancel()
            del self._threads[run.user, run.thread_id], self._runs[run.user, run.run_id]
            run.end()

    async def _write(self, run: LiveRun) -> None:
        try:
            await self._begin(run)
            while await run.changed(run.written):
                events = run.events[run.written :]
                await self._log.append(await self._begin(run), run.written + 1, events)
                run.written += len(events)
        except sqlite3.Error:
            logger.exception("a run's events are not kept for now")

    async def _finish(self, run: LiveRun, last: list[bytes]) -> None:
        try:
            events = run.events[run.written :] + last
            await self._log.append(await self._begin(run), run.written + 1, events, ended=True)
        except sqlite3.Error:
            logger.exception("a run cannot be replayed: its events are not kept")

    async def _begin(self, run: LiveRun) -> LoggedRun:
        if run.logged is None:
            _, run.logged = await self._log.begin(run.user, run.run_id, run.invocation_id, run.thread_id)
        return run.logged
