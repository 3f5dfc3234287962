"""Runs the agent: `python -m langgraph_planner`."""

from agent_runtime.hosting import run_agent

from langgraph_planner.app import build_app
from langgraph_planner.settings import PlannerSettings

if __name__ == "__main__":
    run_agent(PlannerSettings, build_app)
