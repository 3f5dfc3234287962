"""The requests about agents, whichever way they are sent, and what Foundry answers.

`by_sdk` and `by_rest` fulfil `Foundry`: the same calls, the same bodies, the same errors. Bodies are the JSON of the
REST API (`https://<account>.services.ai.azure.com/api/projects/<project>`, API version v1; azure-ai-projects 2.10).

FoundryError        Foundry answered with an error
├── NotReached      no answer came
└── TimedOut        the end was not seen in time
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from repo_tools.deploy.definition import VersionRequest

API_VERSION = "v1"


class FoundryError(Exception):
    """An answer with an error, in the shape `{"error": {"code", "message"}}`."""

    def __init__(self, status: int, code: str, message: str, *, details: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        """x-adc-response-details: the cause of a session's failure (Azure/azure-dev, azure.ai.agents, nextstep)"""
        self.request_id = request_id


class NotReached(FoundryError):
    """No answer: the network, or a server that closed the connection."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, "", reason)


class TimedOut(FoundryError):
    """The work may go on; whoever waited does not."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, "timeout", reason)


@dataclass(frozen=True, slots=True)
class Network:
    """How requests travel; a test leads them to a server of its own."""

    sdk: Any = None
    """a transport of azure-core; None for the SDK's own"""
    http: httpx2.BaseTransport | None = None


class Foundry(Protocol):
    """Every call raises FoundryError, and NotSignedIn where there is no token."""

    def create_version(self, request: VersionRequest) -> dict[str, Any]: ...

    def version(self, name: str, version: str) -> dict[str, Any]: ...

    def agent(self, name: str) -> dict[str, Any]: ...

    def agents(self) -> Iterator[dict[str, Any]]: ...

    def versions(self, name: str) -> Iterator[dict[str, Any]]: ...

    def delete(self, name: str, *, force: bool) -> None: ...

    def delete_version(self, name: str, version: str, *, force: bool) -> None: ...

    def close(self) -> None: ...


def error_of(status: int, body: Any, headers: Any) -> FoundryError:
    """The error of an answer; `body` is its JSON, or anything else where it has none."""
    error = body.get("error") if isinstance(body, dict) else None
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    code = str(fields.get("code") or fields.get("type") or "")
    message = str(fields.get("message") or (error if isinstance(error, str) else "no reason given"))
    request_id = headers.get("x-request-id") or headers.get("apim-request-id") or ""
    return FoundryError(
        status, code, message, details=headers.get("x-adc-response-details") or "", request_id=request_id
    )


def other_traffic(agent: dict[str, Any]) -> str:
    """Where requests go while none goes to the latest version, such as "2 (100 %)"; empty where some do, or where no
    rule says (azure-ai-projects 2.10, FixedRatioVersionSelectionRule)."""
    latest = str(agent["versions"]["latest"]["version"])
    selector = (agent.get("agent_endpoint") or {}).get("version_selector") or {}
    shares = {
        str(each.get("agent_version")): each.get("traffic_percentage") or 0
        for each in selector.get("version_selection_rules") or []
    }
    if not shares or shares.get(latest) or not all(version.isdigit() for version in shares):
        return ""
    return ", ".join(f"{version} ({share} %)" for version, share in shares.items() if share)
