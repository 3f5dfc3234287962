"""The runs in progress in this process: one per user and thread, and a way to stop each."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ThreadBusy(Exception):
    """A run of this thread is in progress."""


class ActiveRuns:
    """Threads belong to their user: one thread id of two users is two threads, and only its user can stop a run."""

    def __init__(self) -> None:
        self._threads: set[tuple[str, str]] = set()
        self._stops: dict[tuple[str, str], asyncio.Event] = {}

    @contextmanager
    def run(self, user: str, thread_id: str, invocation_id: str) -> Iterator[asyncio.Event]:
        """Hold the thread for one run; the event is set when the run is to stop.

        Raises:
            ThreadBusy: while another run of the thread is in progress.
        """
        thread = (user, thread_id)
        if thread in self._threads:
            raise ThreadBusy
        stop = asyncio.Event()
        self._threads.add(thread)
        self._stops[user, invocation_id] = stop
        try:
            yield stop
        finally:
            self._threads.discard(thread)
            self._stops.pop((user, invocation_id), None)

    def stop(self, user: str, invocation_id: str) -> bool:
        """Ask a run to stop; False where the user has no such run in progress."""
        stop = self._stops.get((user, invocation_id))
        if stop is not None:
            stop.set()
        return stop is not None
