"""What the SDK's hosts leave to the application: limits, JSON errors, identity, logs, telemetry, start and stop.

An agent's `app.py` builds its host with `**host_options(settings)` and hands it to `protect`; its `__main__.py` calls
`run_agent`. What only a Responses host needs is in `hosting.responses`, because an image without that protocol's
package must be able to import this one.
"""

from agent_runtime.hosting.errors import BadRequest, error_response
from agent_runtime.hosting.identity import current_user
from agent_runtime.hosting.options import host_options
from agent_runtime.hosting.protection import protect
from agent_runtime.hosting.running import run_agent, serve_agent

__all__ = [
    "BadRequest",
    "current_user",
    "error_response",
    "host_options",
    "protect",
    "run_agent",
    "serve_agent",
]
