"""The files in which the SDK keeps the events of streamed background responses: found again after a restart, deleted
when they have expired.

The SDK's registry knows only the streams that its own process opened: after a restart, a response that had ended is
not replayed, although its events are on the disk and a client may lack the last of them. And nothing deletes the files,
or closes those of streams that ended (azure-ai-agentserver-core 2.2, `streaming/_registry.py` and `_concrete.py`).
"""

import time
from pathlib import Path

from azure.ai.agentserver.core.streaming import streams
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_runtime.hosting.responses.replay_guard import replayed_id

EXPIRES_SECONDS = 600.0
"""How long the SDK replays an event (azure-ai-agentserver-responses 2.3, `_routing.py`)."""
_SWEPT_EVERY_SECONDS = 60.0


class StreamFiles:
    """Middleware over the folder of the streams, `<AGENTSERVER_STATE_ROOT>/streams`."""

    def __init__(self, app: ASGIApp, *, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self._swept = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response_id = replayed_id(scope)
        if response_id is not None and response_id.isascii() and response_id.replace("_", "").isalnum():
            if (self.folder / f"{response_id}.jsonl").exists():
                await streams.get_or_create(response_id)
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._sweep()
        await self.app(scope, receive, send)

    async def _sweep(self) -> None:
        """Delete the streams whose last event has expired. At most once a minute."""
        now = time.monotonic()
        if self._swept and now - self._swept < _SWEPT_EVERY_SECONDS:
            return
        self._swept = now
        oldest = time.time() - EXPIRES_SECONDS
        for path in self.folder.glob("*.jsonl"):
            try:
                if path.stat().st_mtime < oldest:
                    await streams.delete(path.stem)
                    path.unlink(missing_ok=True)
            except FileNotFoundError:  # another process of the same agent deletes too
                continue
