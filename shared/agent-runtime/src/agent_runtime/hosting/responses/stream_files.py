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
_ABANDONED_SECONDS = 86_400.0
_SWEPT_EVERY_SECONDS = 60.0
_END = b'{"__terminal__": true}'
"""azure-ai-agentserver-core 2.2, `streaming/_concrete.py`, `_serialize_terminal`."""


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
        """Delete the streams that have ended and whose last event has expired. At most once a minute."""
        started = time.monotonic()
        if self._swept and started - self._swept < _SWEPT_EVERY_SECONDS:
            return
        self._swept = started
        now = time.time()
        for path in self.folder.glob("*.jsonl"):
            try:
                silent = now - path.stat().st_mtime
                # A run may be silent for longer than its events are kept. One that died and is never taken up is not.
                if silent > _ABANDONED_SECONDS or (silent > EXPIRES_SECONDS and _has_ended(path)):
                    await streams.delete(path.stem)
                    path.unlink(missing_ok=True)
            except FileNotFoundError:  # another process of the same agent deletes too
                continue


def _has_ended(path: Path) -> bool:
    """Whether the SDK has written its mark of the end: the last line."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_END) - 2))
        return _END in file.read()
