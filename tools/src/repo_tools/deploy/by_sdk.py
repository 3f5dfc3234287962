"""The requests about agents through `azure-ai-projects`, by its models and operations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import openai
from azure.ai.projects import AIProjectClient
from azure.ai.projects.models import (
    ContainerConfiguration,
    HostedAgentDefinition,
    ProtocolVersionRecord,
    RaiConfig,
    SessionConfiguration,
)
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from repo_tools.azure_environment import NotSignedIn
from repo_tools.deploy.definition import VersionRequest
from repo_tools.deploy.foundry import Network, NotReached, error_of


def definition(request: VersionRequest) -> HostedAgentDefinition:
    """The definition in the SDK's own model."""
    idle = request.idle_timeout_seconds
    return HostedAgentDefinition(
        cpu=request.cpu,
        memory=request.memory,
        container_configuration=ContainerConfiguration(image=request.image),
        protocol_versions=[
            ProtocolVersionRecord(protocol=protocol, version=version) for protocol, version in request.protocols
        ],
        environment_variables=dict(request.environment) or None,
        session_configuration=(
            None if idle is None else SessionConfiguration(idle_timeout_seconds=timedelta(seconds=idle))
        ),
        rai_config=RaiConfig(rai_policy_name=request.rai_policy) if request.rai_policy else None,
    )


class BySdk:
    def __init__(self, endpoint: str, credential: Any, network: Network) -> None:
        options = {"transport": network.sdk} if network.sdk else {}
        # Ten retries, the default, would keep a user waiting for minutes without a word.
        self._client = AIProjectClient(endpoint, credential, retry_total=2, retry_backoff_factor=0.2, **options)

    def create_version(self, request: VersionRequest) -> dict[str, Any]:
        return self._called(
            lambda: self._client.agents.create_version(
                request.name,
                definition=definition(request),
                description=request.description,
                metadata=dict(request.metadata),
                retry_total=0,  # azure-core sends a POST again after a 5xx, which may have made a version
            )
        )

    def version(self, name: str, version: str) -> dict[str, Any]:
        return self._called(lambda: self._client.agents.get_version(name, version))

    def agent(self, name: str) -> dict[str, Any]:
        return self._called(lambda: self._client.agents.get(name))

    def agents(self) -> Iterator[dict[str, Any]]:
        with _translated():
            for each in self._client.agents.list(limit=100):
                yield each.as_dict()

    def versions(self, name: str) -> Iterator[dict[str, Any]]:
        with _translated():
            for each in self._client.agents.list_versions(name, limit=100):
                yield each.as_dict()

    def delete(self, name: str, *, force: bool) -> None:
        self._called(lambda: self._client.agents.delete(name, force=force or None))

    def delete_version(self, name: str, version: str, *, force: bool) -> None:
        self._called(lambda: self._client.agents.delete_version(name, version, force=force or None))

    def close(self) -> None:
        self._client.close()

    @staticmethod
    def _called(call: Callable[[], Any]) -> dict[str, Any]:
        with _translated():
            found: dict[str, Any] = call().as_dict()  # `error` of a version, which its model lacks, is kept
        return found


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        answer: Any = error.response
        if answer is None:
            if isinstance(error, ClientAuthenticationError):
                raise NotSignedIn(str(error).splitlines()[0]) from error
            raise NotReached(str(error)) from error
        try:
            body = answer.json()
        except ValueError:
            body = None
        raise error_of(answer.status_code, body, answer.headers) from error
    except AzureError as error:
        raise NotReached(f"{type(error).__name__}: {error}") from error


def agent_client(
    endpoint: str, agent: str, credential: Any, network: Network, *, timeout: float = 1800
) -> openai.OpenAI:
    """The `openai` client of an agent's own endpoint; it waits `timeout` seconds for the next byte. Nothing is sent
    twice by itself: what a question sets off is not undone. Our HTTP client is handed in because the SDK's own ignores
    the proxies of the environment."""
    http_client = httpx2.Client(transport=network.http, timeout=httpx2.Timeout(30, read=timeout))
    project = AIProjectClient(endpoint, credential, allow_preview=True)
    return project.get_openai_client(agent_name=agent, http_client=http_client, max_retries=0)
