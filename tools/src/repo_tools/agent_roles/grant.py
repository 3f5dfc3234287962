"""Asks Azure Resource Manager for role assignments: what an identity has at a scope, and one more.

REST: https://learn.microsoft.com/azure/role-based-access-control/role-assignments-rest
"""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RESOURCE_MANAGER = "https://management.azure.com"
_API_VERSION = "2022-04-01"
_ATTEMPTS = 5
_TIMEOUT_SECONDS = 30
_LONGEST_WAIT_SECONDS = 30.0
_RESOURCE_ID = re.compile(r"/subscriptions/[0-9a-fA-F-]{36}(/[\w.()-]+)+")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class NotAllowed(Exception):
    """Resource Manager answered 403: who is signed in may not do this. The text is its message."""


class RequestFailed(Exception):
    """Resource Manager could not be reached, or answered what nothing here expects. The text says what."""


@dataclass(frozen=True)
class Assignment:
    """A role for a service principal at a resource: three ids.

    Raises:
        ValueError: one of them is none.
    """

    principal: str
    role: str
    scope: str

    def __post_init__(self) -> None:
        for name, value, pattern in (
            ("object id", self.principal, _GUID),
            ("role id", self.role, _GUID),
            ("resource id", self.scope, _RESOURCE_ID),
        ):
            if not pattern.fullmatch(value):
                raise ValueError(f"{value!r} is no {name}")

    @property
    def name(self) -> str:
        """The assignment's own id, the same each time: it is made from what it grants."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.scope}|{self.principal}|{self.role}".lower()))

    @property
    def command(self) -> str:
        """What an administrator runs instead. No shell reads anything into the ids; parentheses are in quotes."""
        return (
            f"az role assignment create --assignee-object-id {self.principal} "
            f'--assignee-principal-type ServicePrincipal --role {self.role} --scope "{self.scope}"'
        )


class ResourceManager:
    """Resource Manager at `url`, asked with a bearer `token`."""

    def __init__(self, token: str, url: str = RESOURCE_MANAGER, wait: Callable[[float], None] = time.sleep) -> None:
        if not url.startswith("https://") and urllib.parse.urlsplit(url).hostname != "127.0.0.1":
            raise ValueError("the token is sent by https only")
        self._token, self._url, self._wait = token, url, wait

    def has(self, wanted: Assignment) -> bool:
        """Whether the identity has the role at the scope, by this assignment or by any other, inherited ones included.

        Raises:
            NotAllowed, RequestFailed
        """
        asked = urllib.parse.urlencode(
            {"api-version": _API_VERSION, "$filter": f"atScope() and assignedTo('{wanted.principal}')"}
        )
        path: str | None = f"{wanted.scope}/providers/Microsoft.Authorization/roleAssignments?{asked}"
        while path:
            page = self._send("GET", path)
            try:
                roles = [str(each["properties"]["roleDefinitionId"]) for each in page["value"]]
                following = page.get("nextLink")
            except (KeyError, TypeError) as error:
                raise RequestFailed(f"the list of role assignments at {wanted.scope} has another shape") from error
            if any(role.rpartition("/")[2].lower() == wanted.role.lower() for role in roles):
                return True
            if following and not str(following).startswith(f"{self._url}/"):
                raise RequestFailed("the list of role assignments goes on at another host, which gets no token")
            path = str(following).removeprefix(self._url) if following else None
        return False

    def grant(self, wanted: Assignment) -> None:
        """Assign the role. That it is there already is no error.

        Raises:
            NotAllowed, RequestFailed
        """
        subscription = "/".join(wanted.scope.split("/")[:3])
        definition = f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{wanted.role}"
        # With the type, Resource Manager does not look a new identity up where it has not arrived yet.
        body = {
            "properties": {
                "roleDefinitionId": definition,
                "principalId": wanted.principal,
                "principalType": "ServicePrincipal",
            }
        }
        path = f"{wanted.scope}/providers/Microsoft.Authorization/roleAssignments/{wanted.name}"
        self._send("PUT", f"{path}?api-version={_API_VERSION}", body)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        what = f"{method} {path.partition('?')[0]}"
        for attempt in range(1, _ATTEMPTS + 1):
            request = urllib.request.Request(  # noqa: S310  the scheme is checked above
                f"{self._url}{path}",
                method=method,
                data=json.dumps(body).encode() if body else None,
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
            pause = min(2.0**attempt, _LONGEST_WAIT_SECONDS)
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
                    return json.load(response)
            except urllib.error.HTTPError as error:
                code, message = _error_of(error.read())
                if error.code == 409 and code == "RoleAssignmentExists":
                    return {}
                if error.code == 403:
                    raise NotAllowed(message) from None
                # A new identity reaches Resource Manager after some seconds.
                passing = error.code == 429 or error.code >= 500 or code == "PrincipalNotFound"
                problem = f"{what} was answered {error.code} {code}: {message}"
                asked = error.headers.get("Retry-After", "")
                pause = min(float(asked), _LONGEST_WAIT_SECONDS) if asked.isdigit() else pause
            except (OSError, ValueError) as error:  # no connection, a time-out, or an answer that is no JSON
                passing, problem = True, f"{what} failed: {error}"
            if not passing or attempt == _ATTEMPTS:
                raise RequestFailed(problem)
            self._wait(pause)
        raise AssertionError("the last attempt returns or raises")


def _error_of(body: bytes) -> tuple[str, str]:
    """Code and message of Resource Manager's error, or what was sent instead."""
    try:
        error = json.loads(body)["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "without a code", body[:200].decode("utf-8", "replace")
