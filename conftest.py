"""Isolation for every test of the repository: its own state, no model, cloud or telemetry settings of the machine."""

import os
from pathlib import Path

import pytest

_OF_THE_MACHINE = (
    "AGENT_",
    "APPLICATIONINSIGHTS_",
    "AZURE_",
    "BIND_ADDRESS",
    "DOCUMENTS_",
    "EMBEDDING_",
    "FOUNDRY_",
    "HANDBOOK_",
    "MODEL_",
    "OPENAI_",
    "OTEL_",
    "RETRIEVER",
    "SERVICE_",
)
# The proxies of the machine must not carry loopback traffic away.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(_OF_THE_MACHINE) or name in _PROXIES or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AGENTSERVER_STATE_ROOT", str(tmp_path / "state"))
