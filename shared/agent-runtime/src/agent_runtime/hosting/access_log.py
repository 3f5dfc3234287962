"""One log line for each request, at its end: method, path, status, duration. `/readiness` probes are silent.

Query strings, bodies and identities are not logged: they can hold secrets. A failed request names its request id, which
the client has in the `x-request-id` header, so that a report can be matched with the log. Exporters get the parts of
the line as attributes, by the names of OpenTelemetry's conventions for HTTP; a duration is in seconds.
"""

import logging
import time

from azure.ai.agentserver.core import read_request_id
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.hosting.concurrency_limit import READINESS

logger = logging.getLogger(__name__)

_LONGEST_PATH = 120


class AccessLog:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == READINESS:
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0
        ended = False

        async def watch(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                ended = not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            milliseconds = (time.monotonic() - started) * 1000
            # A path is the client's text: control characters would forge lines.
            path = scope["path"][:_LONGEST_PATH].encode("unicode_escape").decode("ascii")
            note = "" if ended else " (not sent to the end)"
            if status >= 400 or not ended:
                note += f" [request {(read_request_id(scope) or '-')[:64].encode('unicode_escape').decode('ascii')}]"
            level = logging.WARNING if status >= 500 else logging.INFO
            attributes = {
                "http.request.method": scope["method"],
                "url.path": path,
                "http.response.status_code": status,
                "http.server.request.duration": round(milliseconds / 1000, 3),
                "agent_runtime.response.complete": ended,
            }
            parts = (scope["method"], path, status or "-", milliseconds, note)
            logger.log(level, "%s %s %s in %.0f ms%s", *parts, extra=attributes)
