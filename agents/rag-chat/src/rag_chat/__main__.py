"""Runs the agent: `python -m rag_chat`."""

from agent_runtime.hosting import run_agent

from rag_chat.app import build_app
from rag_chat.settings import RagChatSettings

if __name__ == "__main__":
    run_agent(RagChatSettings, build_app)
