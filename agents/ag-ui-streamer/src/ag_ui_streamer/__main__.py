"""Runs the agent: `python -m ag_ui_streamer`."""

from agent_runtime.hosting import run_agent

from ag_ui_streamer.app import build_app
from ag_ui_streamer.settings import AgUiSettings

if __name__ == "__main__":
    run_agent(AgUiSettings, build_app)
