"""What tests stand on: a model that follows a script, servers on loopback, agents as processes. No agent imports it."""

from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.scripted_model import (
    CutStream,
    Failure,
    Garbage,
    Hang,
    ScriptedModel,
    Step,
    StreamError,
)
from agent_runtime.testing.serving import free_port, serve

__all__ = [
    "AgentProcess",
    "CutStream",
    "Failure",
    "Garbage",
    "Hang",
    "ScriptedModel",
    "Step",
    "StreamError",
    "free_port",
    "serve",
]
