"""Runs the agent: `python -m webhook_extractor`."""

from agent_runtime.hosting import run_agent

from webhook_extractor.app import build_app
from webhook_extractor.settings import WebhookExtractorSettings

if __name__ == "__main__":
    run_agent(WebhookExtractorSettings, build_app)
