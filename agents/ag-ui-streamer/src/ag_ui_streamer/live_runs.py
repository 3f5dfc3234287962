"""The runs in progress in this process. A run works on when nobody reads it; any number of readers follow it, each from
the event it asks for, and none of them holds anything but its place: a slow reader costs no memory. What is in the log
is kept in memory only for the readers that keep up.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial

from ag_ui_streamer.run_log import LoggedRun, Part, RunLog

logger = logging.getLogger(__name__)

_WINDOW = 256
"""How many of a run's events that are in the log are kept in memory too."""
_PAGE = 512
_SECONDS_TO_LEAVE = 0.5
_WRITTEN_EVERY = 0.1
"""Seconds. A process that is killed loses as much of what it has shown; its readers saw it, and learn of the end."""
_FEW = 20
_PAUSE_EACH = 0.00125
"""Seconds for each run in progress, where there are more than a few: a quarter of a second with 200."""
_SPREAD = (5**0.5 - 1) / 2
"""The golden ratio: its multiples, without their whole parts, lie evenly between 0 and 1, however many there are."""
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

    def __init__(
        self, log: RunLog, user: str, thread_id: str, run_id: str, *, invocation_id: str, given: str = "{}"
    ) -> None:
        self._log = log
        self.given = given
        """JSON of the thread as the run found it."""
        self.user = user
        self.thread_id = thread_id
        self.run_id = run_id
        self.invocation_id = invocation_id
        self._events: list[bytes] = []
        self._dropped = 0
        """How many events are in the log only."""
        self.readers = 0
        self.left = asyncio.Event()
        """Set while nobody reads, once somebody has."""
        self.is_stopped = False
        """Whether somebody has it stop; a task that is cancelled otherwise ends with its process."""
        self.is_ending = False
        self.pause: Callable[[], float] = float
        """How long a reader waits between two looks, in seconds."""
        self.task: asyncio.Task[None] | None = None
        self.logged: LoggedRun | None = None
        self.written = 0
        """How many of the events are in the log."""
        self._ended = False
        self._news = asyncio.Event()

    def publish(self, frames: bytes) -> None:
        """Show one or more encoded events to every reader."""
        self._events += split(frames)
        self._wake()

    @property
    def count(self) -> int:
        """How many events there are so far."""
        return self._dropped + len(self._events)

    def unwritten(self, last: list[bytes] | None = None) -> Part | None:
        """What is not in the log yet, perhaps with the run's terminal event; None for nothing."""
        events = self._events[self.written - self._dropped :] + (last or [])
        if not events or self.logged is None:
            return None
        return Part(self.logged, self.written + 1, events, ended=bool(last))

    def note_written(self, part: Part) -> None:
        self.written += len(part.events)
        drop = max(0, min(self.written, self.count) - _WINDOW - self._dropped)
        del self._events[:drop]
        self._dropped += drop

    async def all(self) -> list[bytes]:
        """All events so far; those in memory where the log cannot be read."""
        try:
            logged = await self._log.events(self.logged, most=self._dropped) if self.logged and self._dropped else []
        except sqlite3.Error:
            logger.exception("a thread will lack what its run said first")
            logged = []
        return logged + self._events

    async def begin(self) -> None:
        """Have a place in the log."""
        if self.logged is None:
            self.logged = await self._log.begin(
                self.user,
                self.run_id,
                invocation_id=self.invocation_id,
                thread_id=self.thread_id,
                given=self.given,
            )

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
        while self.count <= seen:
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
                if place < self._dropped and self.logged is not None:
                    events = await self._log.events(self.logged, place, most=min(_PAGE, self._dropped - place))
                else:
                    events = self._events[place - self._dropped :]
                yield numbered(events, place + 1)
                place += len(events)
                if pause := self.pause():
                    await asyncio.sleep(pause)
            if place == max(after, 0):
                # The reader's cursor lies at the end or beyond: it still learns how the run ended.
                yield numbered(self._events[-1:], self.count)
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
        self._writing: asyncio.Task[None] | None = None
        self._threads: dict[tuple[str, str], LiveRun] = {}
        self._runs: dict[tuple[str, str], LiveRun] = {}
        self._begun = 0

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
        self._begun += 1
        run.pause = partial(self._pause, self._begun * _SPREAD % 1)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_on())
        run.task = asyncio.create_task(self._work(run, drive, settle))

    async def stop_all(self) -> None:
        """End every run, because the process ends, and close the log."""
        runs = [run for run in self._runs.values() if run.task is not None]
        for run in runs:
            if not run.is_ending and not run.is_stopped and run.task is not None:
                run.task.cancel()
        await asyncio.gather(*(run.task for run in runs if run.task is not None), return_exceptions=True)
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._log.close()

    async def _work(self, run: LiveRun, drive: Drive, settle: Settle) -> None:
        try:
            last = split(await drive(run))
            run.is_ending = True
            await self._write([run])
            await settle(run, await run.all() + last)
            await self._write([run], last)
            run.publish(b"".join(last))
        finally:
            del self._threads[run.user, run.thread_id], self._runs[run.user, run.run_id]
            run.end()

    def _pause(self, place: float) -> float:
        """With many streams open, each sends its events in groups: a chunk costs the host more than an event. Each has
        a `place`, from 0 to 1, in the time between two groups: after a moment in which nothing could be sent, all
        would go on together from then on, and a run that begins would wait behind all of them."""
        if len(self._runs) <= _FEW:
            return 0.0
        between = len(self._runs) * _PAUSE_EACH
        return between - (asyncio.get_running_loop().time() - place * between) % between

    async def _write_on(self) -> None:
        """Write what all runs say, many events at once: one by one, the log would cost more than the rest."""
        while self._runs:
            await self._write([run for run in self._runs.values() if not run.is_ending])
            await asyncio.sleep(_WRITTEN_EVERY)

    async def _write(self, runs: list[LiveRun], last: list[bytes] | None = None) -> None:
        try:
            for run in runs:
                await run.begin()
            parts = [(run, part) for run in runs if (part := run.unwritten(last))]
            if parts:
                await self._log.append([part for _, part in parts])
            for run, part in parts:
                if run.written + 1 == part.number:  # or the run has ended meanwhile, and written it itself
                    run.note_written(part)
        except sqlite3.Error:
            logger.exception("events of runs are not kept, and cannot be replayed")
