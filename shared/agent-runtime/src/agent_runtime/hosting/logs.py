"""Readable logs: one line a record, `time level agent message`, on stderr.

The SDK and hypercorn bring handlers, formats and several lines a request of their own; here they are reduced to what an
operator acts on. `LOG_LEVEL=debug` shows everything again.
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

_CHATTY = (
    "azure",
    "hpack",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "opentelemetry",
    "urllib3",
    "asyncio",
)
"""Libraries whose informational records say what they do, not what the agent does."""


class LineFormatter(logging.Formatter):
    """`2026-11-23T21:20:11Z info rag-chat message`. A line break in a message becomes visible text, so that a client
    cannot forge records; tracebacks keep theirs, indented, because the text of an error can be a client's too."""

    converter = staticmethod(time.gmtime)

    def __init__(self, agent_name: str) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")
        self.agent_name = agent_name

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{self.formatTime(record, self.datefmt)} {record.levelname.lower()} {self.agent_name} {message}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).splitlines()
            line = "\n  ".join([line, *lines])
        return line


def configure_logging(agent_name: str, level: str = "info", *, stream: TextIO | None = None) -> None:
    """Make the root logger write our lines and nothing else. Call it before the host is built: the SDK adds a handler
    of its own only where it finds none."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(agent_name))
    root = logging.getLogger()
    for present in list(root.handlers):
        root.removeHandler(present)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)

    debug = level.lower() == "debug"
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if debug else logging.WARNING)
    if not debug:
        _add_once(handler, _drop_known)
    _add_once(logging.getLogger("hypercorn.error"), _hand_over)


def _add_once(filterer: logging.Filterer, rule: Callable[[logging.LogRecord], bool]) -> None:
    if rule not in filterer.filters:
        filterer.addFilter(rule)


def _drop_known(record: logging.LogRecord) -> bool:
    """The SDK's two lines a request, which ours says in one; its advice about durability at each start; its tracebacks
    of requests that the client got wrong, which are no error of the agent; and what is for exporters alone."""
    if record.name == "agent_runtime.model_usage":
        return False
    clients_mistake = bool(record.exc_info and getattr(record.exc_info[0], "__name__", "") == "RequestValidationError")
    return not clients_mistake and not str(record.msg).startswith(("Inbound ", "Responses resilience: "))


def _hand_over(record: logging.LogRecord) -> bool:
    """Hypercorn gives its logger a handler with another format, and passes records on to the root too. A filter on the
    logger outlives that: warnings go to the root alone, "Running on ..." nowhere."""
    if record.levelno >= logging.WARNING:
        logging.getLogger("agent_runtime.server").handle(record)
    return False
