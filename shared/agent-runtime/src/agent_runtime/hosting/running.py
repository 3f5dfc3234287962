"""Start an agent: settings, logs, host, a handful of lines that say what runs, then serve until told to stop.

What a person can correct (a variable, a taken port, a folder) ends with one line for each and exit code 2, without a
traceback.
"""

import errno
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from agent_runtime.hosting.logs import configure_logging
from agent_runtime.settings import Settings, SettingsError, load_settings

logger = logging.getLogger(__name__)

_PROTOCOLS = ("invocations", "responses")


def run_agent(settings_class: type[Settings], build_app: Callable[[Settings], Any]) -> None:
    """The whole of an agent's `__main__.py`: read the settings, build the host, serve it."""
    name = settings_class.local_name
    try:
        settings = load_settings(settings_class)
        name = settings.name
        configure_logging(name, settings.log_level)
        _check_port(settings.bind_address, settings.port)
        if not settings.hosted:  # there some agents keep nothing on disk, and must start without a folder
            _check_folder(settings.state_directory)
        host = build_app(settings)
    except SettingsError as error:
        _give_up(name, str(error))
    serve_agent(host, settings)


def serve_agent(host: Any, settings: Settings) -> None:
    """Say what runs, then serve `host` until SIGTERM or Ctrl-C."""
    from agent_runtime.model_client import describe_model  # noqa: PLC0415

    address = "127.0.0.1" if settings.bind_address == "0.0.0.0" else settings.bind_address  # noqa: S104
    spoken = ", ".join(protocols(host)) or "no protocol"
    logger.info("listens on http://%s:%d (%s)", address, settings.port, spoken, extra=_since_start())
    logger.info("model: %s", describe_model(settings))
    logger.info("state: %s", "Foundry state store" if settings.hosted else settings.state_directory)
    # What was imported and built stays. A collector that walks through it again and again stops every request for a
    # quarter of a second, beside 200 streams (`make bench ARGS=streams`).
    gc.freeze()
    host.run(host=settings.bind_address, port=settings.port)
    logger.info("stopped")


def protocols(host: Any) -> list[str]:
    """The protocols that a host speaks, by its routes."""
    paths = {str(getattr(route, "path", "")) for route in host.routes}
    return [name for name in _PROTOCOLS if any(path.endswith(f"/{name}") for path in paths)]


def _since_start() -> dict[str, float]:
    """What an exporter gets with the first line: seconds since the process began, where the system says it (Linux)."""
    try:
        begun = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        return {"process.uptime": round(time.clock_gettime(time.CLOCK_BOOTTIME) - begun / os.sysconf("SC_CLK_TCK"), 3)}
    except (OSError, AttributeError, ValueError, IndexError):
        return {}


def _check_port(address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as hypercorn does
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                problem = f"port {port} is taken by another program. Stop it, or set PORT to a free port."
            elif error.errno == errno.EACCES:
                problem = f"port {port} needs more rights than this user has. Set PORT to a port above 1023."
            else:
                reason = error.strerror or type(error).__name__
                problem = f"BIND_ADDRESS: cannot listen there ({reason}). Set it to an IPv4 address of this machine."
            raise SettingsError(problem) from None


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        problem = f"cannot keep state in {folder} ({error.strerror}). Set it to a folder that this user can write to."
        raise SettingsError(f"AGENTSERVER_STATE_ROOT: {problem}") from None


def _give_up(name: str, problems: str) -> NoReturn:
    for line in problems.splitlines():
        print(f"{name}: {line}", file=sys.stderr)
    raise SystemExit(2)
