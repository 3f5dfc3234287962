"""The requests about agents as plain REST."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2

from repo_tools.azure_environment import FOUNDRY_SCOPE, fetch_token
from repo_tools.deploy.definition import VersionRequest
from repo_tools.deploy.foundry import API_VERSION, Network, NotReached, error_of

_PAGE = 100


class ByRest:
    def __init__(self, endpoint: str, credential: Any, network: Network) -> None:
        self._endpoint = endpoint
        self._credential = credential
        self._client = httpx2.Client(transport=network.http, timeout=60, follow_redirects=False)

    def create_version(self, request: VersionRequest) -> dict[str, Any]:
        return self._send("POST", f"agents/{quote(request.name, safe='')}/versions", body=request.as_json())

    def version(self, name: str, version: str) -> dict[str, Any]:
        return self._send("GET", _version(name, version))

    def agent(self, name: str) -> dict[str, Any]:
        return self._send("GET", f"agents/{quote(name, safe='')}")

    def agents(self) -> Iterator[dict[str, Any]]:
        return self._listed("agents")

    def versions(self, name: str) -> Iterator[dict[str, Any]]:
        return self._listed(f"agents/{quote(name, safe='')}/versions")

    def delete(self, name: str, *, force: bool) -> None:
        self._send("DELETE", f"agents/{quote(name, safe='')}", **({"force": "true"} if force else {}))

    def delete_version(self, name: str, version: str, *, force: bool) -> None:
        self._send("DELETE", _version(name, version), **({"force": "true"} if force else {}))

    def close(self) -> None:
        self._client.close()

    def _listed(self, path: str) -> Iterator[dict[str, Any]]:
        """Every page: `has_more` says that there is one after `last_id`."""
        after: dict[str, str] = {}
        while True:
            page = self._send("GET", path, limit=str(_PAGE), **after)
            yield from page.get("data") or []
            if not page.get("has_more") or not page.get("last_id"):
                return
            after = {"after": page["last_id"]}

    def _send(self, method: str, path: str, *, body: Any = None, **query: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {fetch_token(self._credential, FOUNDRY_SCOPE)}"}
        try:
            answer = self._client.request(
                method,
                f"{self._endpoint}/{path}",
                params={"api-version": API_VERSION, **query},
                headers=headers | {"Accept": "application/json"},
                json=body,
            )
        except httpx2.HTTPError as error:
            raise NotReached(f"{type(error).__name__}: {error}") from error
        try:
            content = answer.json() if answer.content else {}
        except ValueError:
            content = None
        if not answer.is_success or not isinstance(content, dict):
            raise error_of(answer.status_code, content, answer.headers)
        return content


def _version(name: str, version: str) -> str:
    return f"agents/{quote(name, safe='')}/versions/{quote(version, safe='')}"
