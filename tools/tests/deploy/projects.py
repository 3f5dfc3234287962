"""A project of one agent, as a tree of files, so that a test can change one thing in it."""

from pathlib import Path

AZURE_YAML = """\
name: desk-project
services:
  ai-project:
    host: azure.ai.project
  desk:
    host: azure.ai.agent
    project: ./agents/desk
    language: docker
    docker: {path: ./Dockerfile, context: ../.., remoteBuild: true}
    env:
      AZURE_AI_MODEL_DEPLOYMENT_NAME: chat
      LOG_LEVEL: info
    $ref: ./agents/desk/agent.yaml
"""

DEFINITION = """\
kind: hosted
name: desk
description: Answers questions of the desk.
protocols:
  - protocol: responses
    version: 2.0.0
container:
  resources:
    cpu: "0.5"
    memory: 1Gi
sessionConfiguration:
  idleTimeoutSeconds: 900
"""


def one_agent() -> dict[str, str]:
    return {"azure.yaml": AZURE_YAML, "agents/desk/agent.yaml": DEFINITION}


def write(files: dict[str, str], root: Path) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
