"""Runs the agent: `python -m ag_ui_streamer`."""

import sys

from agent_runtime.hosting import run_agent

from ag_ui_streamer.app import build_app
from ag_ui_streamer.settings import AgUiSettings

THREAD_TURN_SECONDS = 0.0005
"""The threads of the records work in turns of microseconds. By default each waits for a busy event loop for 5 ms, which
the first event of a run beside 200 others shows (`make bench ARGS=streams`)."""

if __name__ == "__main__":
    sys.setswitchinterval(THREAD_TURN_SECONDS)
    run_agent(AgUiSettings, build_app)
