"""What tests stand on: a model that follows a script, servers on loopback, agents as processes. No agent imports it."""

from agent_runtime.testing.scripted_model import (
    CutStream,
    Failure,
    Garbage,
    Hang,
    ScriptedModel,
    Step,
    StreamError,
)

__all__ = ["CutStream", "Failure", "Garbage", "Hang", "ScriptedModel", "Step", "StreamError"]
