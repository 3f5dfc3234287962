"""Checks that only Azure can answer: it is asked, never changed, and what it does not say is not guessed.

They need a login (`azd auth login` or `az login`) and the values that `azd provision` leaves in the azd environment. A
check whose values are missing is listed as not made. Tokens go to Azure's own hosts only: the address of the project
comes from a file of the examined project.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx2

from repo_tools.azure_environment import (
    FOUNDRY_SCOPE,
    FOUNDRY_USER,
    LOGIN,
    NotSignedIn,
    environment_values,
    fetch_token,
    project_endpoint,
)
from repo_tools.deploy.foundry import error_of, other_traffic
from repo_tools.doctor.project import Agent, Project
from repo_tools.doctor.rule import Finding, Rule, Severity

_ARM = "https://management.azure.com"
_ARM_SCOPE = "https://management.azure.com/.default"
_MAX_PAGES = 50
_COGNITIVE, _REGISTRY, _ROLES = "2025-06-01", "2025-11-01", "2022-04-01"
"""API versions of Microsoft.CognitiveServices, Microsoft.ContainerRegistry and Microsoft.Authorization."""
_FOUNDRY_ROLES = {
    FOUNDRY_USER: "Foundry User",
    "eadc314b-1a2d-4efa-be10-5d325db5065e": "Foundry Project Manager",
    "c883944f-8b7b-4483-af10-35834be79c4a": "Foundry Owner",
    "a97b65f3-24c7-4388-baec-2e87135dc908": "Cognitive Services User",
}
_ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
_REPOSITORY_READER = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
_MODEL_VARIABLES = ("AZURE_AI_MODEL_DEPLOYMENT_NAME", "MODEL_DEPLOYMENT_NAME")


class CannotAsk(Exception):
    """Azure cannot be asked at all; the message says what is needed."""


class NotChecked(Exception):
    """One check cannot be made; the message says why."""


class Token(Protocol):
    @property
    def token(self) -> str: ...


class Credential(Protocol):
    def get_token(self, *scopes: str) -> Token: ...


@dataclass
class Azure:
    """What the checks ask, with the values of the azd environment."""

    values: Mapping[str, str]
    credential: Credential
    transport: httpx2.BaseTransport | None = None
    not_checked: list[str] = field(default_factory=list)
    deployed: list[str] = field(default_factory=list)
    agents: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    answers: int = 0

    @cached_property
    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=self.transport, timeout=30, follow_redirects=False)

    def value(self, name: str) -> str:
        """
        Raises:
            NotChecked: the environment has no such value.
        """
        if not self.values.get(name):
            raise NotChecked(f"{name} is not set")
        return self.values[name]

    def foundry(self, path: str) -> tuple[int, Any]:
        try:
            endpoint = project_endpoint(self.value("FOUNDRY_PROJECT_ENDPOINT"))
        except ValueError as error:
            raise NotChecked(str(error)) from None
        return self._get(f"{endpoint}/{path}", FOUNDRY_SCOPE, {"api-version": "v1"})

    def resource(self, path: str, version: str, **query: str) -> Any:
        """A resource of Resource Manager.

        Raises:
            NotChecked: it is not there, or the caller may not see it.
        """
        status, body = self._get(f"{_ARM}/{path.strip('/')}", _ARM_SCOPE, {"api-version": version, **query})
        if status != 200:
            raise NotChecked(f"Resource Manager answered {status} ({_error(body)}) for {path}")
        return body

    def listed(self, path: str, version: str, **query: str) -> list[Any]:
        """All entries of a list of Resource Manager, every page of it.

        Raises:
            NotChecked: as `resource`, or a page is not at Resource Manager.
        """
        body = self.resource(path, version, **query)
        found = list(body["value"])
        for _ in range(_MAX_PAGES):
            following = body.get("nextLink")
            if not following:
                return found
            parts = urlsplit(following)
            if f"{parts.scheme}://{parts.netloc}" != _ARM:
                raise NotChecked(f"the next page of {path} is not at {_ARM}")
            status, body = self._get(following, _ARM_SCOPE)
            if status != 200:
                raise NotChecked(f"Resource Manager answered {status} ({_error(body)}) for a page of {path}")
            found += body["value"]
        raise NotChecked(f"{path} has more than {_MAX_PAGES} pages")

    def roles(self, scope: str, principal: str) -> set[str]:
        """The ids of the roles that a principal has at a scope: inherited ones and those of its groups too."""
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
        asked = {"$filter": f"atScope() and assignedTo('{principal}')"}
        found = [each["properties"]["roleDefinitionId"] for each in self.listed(path, _ROLES, **asked)]
        return {str(each).rpartition("/")[2].lower() for each in found}

    @cached_property
    def caller(self) -> str:
        """The object id of who is signed in, as the token says."""
        payload = self._token(_ARM_SCOPE).split(".")[1:2]
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload[0] + "=" * (-len(payload[0]) % 4)))
            return str(claims["oid"])
        except (IndexError, ValueError, KeyError):
            raise NotChecked("the token does not say who is signed in") from None

    @cached_property
    def account(self) -> str:
        """The resource id of the Foundry account."""
        return self.value("AZURE_AI_PROJECT_ID").partition("/projects/")[0]

    @cached_property
    def model_deployments(self) -> dict[str, Any]:
        return {each["name"]: each for each in self.listed(f"{self.account}/deployments", _COGNITIVE)}

    def agent(self, name: str) -> dict[str, Any] | None:
        """The agent as Foundry has it; None where it was never deployed."""
        if name not in self.agents:
            self.agents[name] = self._agent(name)
        return self.agents[name]

    def _agent(self, name: str) -> dict[str, Any] | None:
        status, body = self.foundry(f"agents/{quote(name, safe='')}")
        if status == 404:
            return None
        if status != 200:
            raise NotChecked(f"Foundry answered {status} ({_error(body)}) for the agent {name}")
        return dict(body)

    def _token(self, scope: str) -> str:
        try:
            return fetch_token(self.credential, scope)
        except NotSignedIn as error:
            raise CannotAsk(_login(str(error))) from error

    def _get(self, url: str, scope: str, query: dict[str, str] | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._token(scope)}", "Accept": "application/json"}
        try:
            answer = self.client.get(url, params=query, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NotChecked(f"{urlsplit(url).hostname} could not be reached: {type(error).__name__}") from error
        self.answers += 1
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, {}


def _error(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or error.get("message")) if isinstance(error, dict) else "no reason given"


def _login(reason: str) -> str:
    return f"--cloud needs a login: {LOGIN}, and choose the subscription ({reason})"


def environment(root: Path) -> dict[str, str]:
    """The values of azd's selected environment; variables of the shell go before them.

    Raises:
        CannotAsk: there is neither.
    """
    values = environment_values(root)
    if not {"FOUNDRY_PROJECT_ENDPOINT", "AZURE_AI_PROJECT_ID", "AZURE_SUBSCRIPTION_ID"} & values.keys():
        raise CannotAsk(
            "--cloud needs an azd environment: run `azd env new` and `azd provision`, or set FOUNDRY_PROJECT_ENDPOINT, "
            "AZURE_AI_PROJECT_ID, AZURE_SUBSCRIPTION_ID and AZURE_LOCATION"
        )
    return values


CloudCheck = Callable[[Project, Azure], Iterator[Finding]]
CHECKS: dict[str, tuple[Rule, CloudCheck]] = {}


def cloud_check(identity: str, severity: Severity, title: str, *, fix: str) -> Callable[[CloudCheck], CloudCheck]:
    def register(check: CloudCheck) -> CloudCheck:
        CHECKS[identity] = (Rule(identity, severity, title, fix, check, "cloud"), check)
        return check

    return register


def ask(project: Project, azure: Azure, only: list[str]) -> list[tuple[Rule, Finding]]:
    """Make the checks; those that cannot be made are noted in `azure.not_checked`.

    Raises:
        CannotAsk: nobody is signed in.
    """
    found = []
    for identity, (rule, check) in CHECKS.items():
        if only and identity not in only:
            continue
        try:
            for finding in check(project, azure):  # one by one: what was found before a failure counts
                found.append((rule, finding))  # noqa: PERF401
        except NotChecked as reason:
            azure.not_checked.append(f"{identity}: {reason}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            azure.not_checked.append(f"{identity}: the answer has another shape than documented ({error!r})")
    return found


def _names(project: Project) -> Iterator[tuple[Agent, str]]:
    for agent in project.agents:
        if agent.name.text and "$" not in agent.name.text:
            yield agent, agent.name.text


def _place(project: Project) -> tuple[Path, int]:
    services = project.written["services"]
    return (services.file, services.line) if project.written else (project.root, 1)


@cloud_check(
    "cloud-endpoint", "error", "The project's endpoint does not answer this login",
    fix="Check FOUNDRY_PROJECT_ENDPOINT and the login's tenant; 403 wants the role Foundry User on the project.",
)  # fmt: skip
def cloud_endpoint(project: Project, azure: Azure) -> Iterator[Finding]:
    """GET /agents of the project (azure-ai-projects 2.10, agents.list). Owner, Contributor and Azure AI Developer may
    not use the data plane (Azure/azure-dev, azure.ai.agents, developer_rbac_check.go)."""
    status, body = azure.foundry("agents")
    if status != 200:
        yield Finding(*_place(project), f"GET /agents is answered with {status} ({_error(body)})")


@cloud_check(
    "cloud-public-access", "warning", "The project is reached from its own network only",
    fix="Deploy and ask from inside of the virtual network, a peered one or its VPN; a workflow needs a runner there.",
)  # fmt: skip
def cloud_public_access(project: Project, azure: Azure) -> Iterator[Finding]:
    """From elsewhere deploying and asking end with `403 Public access is disabled` (Azure/azure-dev, azure.ai.agents,
    docs/private-networking.md), whatever the role."""
    properties = azure.resource(azure.account, _COGNITIVE).get("properties") or {}
    if properties.get("publicNetworkAccess") == "Disabled":
        yield Finding(*_place(project), f"public access to {azure.account.rpartition('/')[2]} is disabled")


@cloud_check(
    "cloud-developer-role", "warning", "Whoever is signed in has no Foundry role on the project",
    fix="Ask an administrator for the role Foundry User on the project.",
)  # fmt: skip
def cloud_developer_role(project: Project, azure: Azure) -> Iterator[Finding]:
    """Deploying and invoking agents needs Foundry User, or a role that azd takes for as much, by assignment or through
    a group (Azure/azure-dev, azure.ai.agents, internal/project/developer_rbac_check.go); a custom role with the same
    data actions is not seen."""
    scope = azure.value("AZURE_AI_PROJECT_ID")
    if not azure.roles(scope, azure.caller) & set(_FOUNDRY_ROLES):
        yield Finding(
            *_place(project), f"{azure.caller} has none of {', '.join(_FOUNDRY_ROLES.values())}",
            f"az role assignment create --assignee-object-id {azure.caller} --role {FOUNDRY_USER} --scope {scope}",
        )  # fmt: skip


@cloud_check(
    "cloud-registry-pull", "error", "The project may not pull images from the registry",
    fix="Give the project's managed identity the role for pulling, and leave azureADAuthenticationAsArmPolicy enabled.",
)  # fmt: skip
def cloud_registry_pull(project: Project, azure: Azure) -> Iterator[Finding]:
    """The project's managed identity pulls: AcrPull, or Container Registry Repository Reader, which alone counts where
    the registry is in the repository permissions mode; tokens of Resource Manager must be accepted (Learn,
    how-to/hosted-agent-permissions; errors UnauthorizedAcrPull, InvalidAcrPullCredentials)."""
    if not any(agent.builds_image for agent in project.agents):
        return
    registry = azure.value("AZURE_CONTAINER_REGISTRY_RESOURCE_ID")
    scope = azure.value("AZURE_AI_PROJECT_ID")
    identity = azure.resource(scope, _COGNITIVE).get("identity") or {}
    principal = identity.get("principalId")
    if not principal:
        yield Finding(*_place(project), "the project has no managed identity", "Give it a system-assigned identity.")
        return
    properties = azure.resource(registry, _REGISTRY)["properties"]
    by_repository = properties.get("roleAssignmentMode") == "AbacRepositoryPermissions"
    fitting = {_REPOSITORY_READER} if by_repository else {_REPOSITORY_READER, _ACR_PULL}
    if not azure.roles(registry, principal) & fitting:
        role = _REPOSITORY_READER if by_repository else _ACR_PULL
        yield Finding(
            *_place(project), f"the project's identity {principal} may not pull from {registry.rpartition('/')[2]}",
            f"az role assignment create --assignee-object-id {principal} --assignee-principal-type ServicePrincipal "
            f"--role {role} --scope {registry}",
        )  # fmt: skip
    policies = {name.lower(): value for name, value in (properties.get("policies") or {}).items()}
    status = (policies.get("azureadauthenticationasarmpolicy") or {}).get("status", "enabled")
    if status != "enabled":
        yield Finding(
            *_place(project), "the registry refuses tokens of Resource Manager",
            f"az acr config authentication-as-arm update --registry {registry.rpartition('/')[2]} --status enabled",
        )  # fmt: skip


@cloud_check(
    "cloud-model-quota", "error", "The quota is too small for a model deployment",
    fix="Lower the capacity in azure.yaml, free quota by deleting deployments, choose another region, or ask for more.",
)  # fmt: skip
def cloud_model_quota(project: Project, azure: Azure) -> Iterator[Finding]:
    """Quota is per subscription, region, model and SKU: the models of a region say which usage counts, and the usages
    what is left of it (REST, Microsoft.CognitiveServices: Models - List, Usages - List)."""
    services = [service for _, service in project.services("azure.ai.project") if not service["endpoint"]]
    wanted = [each for service in services for each in service["deployments"].elements]
    if not wanted:
        return
    provider = f"subscriptions/{azure.value('AZURE_SUBSCRIPTION_ID')}/providers/Microsoft.CognitiveServices"
    location = f"{provider}/locations/{azure.value('AZURE_LOCATION')}"
    offered = azure.listed(f"{location}/models", _COGNITIVE)
    left = {
        each["name"]["value"]: each["limit"] - each["currentValue"]
        for each in azure.listed(f"{location}/usages", _COGNITIVE)
    }
    made = azure.model_deployments if azure.values.get("AZURE_AI_PROJECT_ID") else {}
    for each in wanted:
        model, sku, capacity = each["model"], each["sku"], each.at("sku", "capacity").text
        usage = _usage_name(offered, model["name"].text, model["version"].text, sku["name"].text)
        name = f"{model['name'].text} {model['version'].text} as {sku['name'].text}"
        if usage is None:
            yield Finding(
                each.file, each.line, f"{name} is not offered in {azure.value('AZURE_LOCATION')}",
                "Choose another model, version, SKU or region.",
            )  # fmt: skip
            continue
        has = ((made.get(each["name"].text) or {}).get("sku") or {}).get("capacity", 0)
        if not capacity.isdigit() or usage not in left:
            azure.not_checked.append(f"cloud-model-quota: no quota is listed for {usage}")
        elif int(capacity) - has > left[usage]:
            yield Finding(
                each.file, sku.line, f"{name} asks for {capacity}, {has} are there and {left[usage]:g} are left"
            )


def _usage_name(offered: list[dict[str, Any]], name: str, version: str, sku: str) -> str | None:
    for each in offered:
        model = each["model"]
        if model["name"] == name and model.get("version") == version:
            for one in model.get("skus") or []:
                if one["name"] == sku:
                    return str(one.get("usageName"))
    return None


@cloud_check(
    "cloud-model-deployment", "error", "A model deployment that an agent asks for is not there",
    fix="Run `azd provision`, or name a deployment that the account has.",
)  # fmt: skip
def cloud_model_deployment(project: Project, azure: Azure) -> Iterator[Finding]:
    """The agent's first request would end with DeploymentNotFound (REST, Microsoft.CognitiveServices: Deployments -
    List)."""
    for agent in project.agents:
        for name, value in agent.environment:
            named = name in _MODEL_VARIABLES and value.text and "$" not in value.text
            if named and value.text not in azure.model_deployments:
                there = ", ".join(sorted(azure.model_deployments)) or "none"
                yield Finding(value.file, value.line, f"{agent.key} asks for {value.text}; there are: {there}")


@cloud_check(
    "cloud-agent-status", "error", "The deployed version of an agent is not active",
    fix="`azd ai agent monitor <agent>` shows its log; an image that cannot be pulled shows as image_pull_failed.",
)  # fmt: skip
def cloud_agent_status(project: Project, azure: Azure) -> Iterator[Finding]:
    """A version is creating, active or failed (azure-ai-projects 2.10, AgentVersionStatus). An agent that was never
    deployed is no fault. What is likely behind an error is what the verb deploy says of it."""
    from repo_tools.deploy.advice import advise  # noqa: PLC0415 - it names the checks of this module

    for agent, name in _names(project):
        found = azure.agent(name)
        if found is None:
            continue
        latest = found["versions"]["latest"]
        azure.deployed.append(f"{name} {latest['version']}: {latest.get('status')}")
        if latest.get("status") != "active":
            failure = error_of(0, latest, {})
            reason = f" ({failure.code}: {failure.message})" if latest.get("error") else ""
            advice = advise(failure, "deploy") if latest.get("error") else None
            message = f"version {latest['version']} of {name} is {latest.get('status')}{reason}"
            fix = f"Likely cause: {advice.cause}. {advice.fix}" if advice else ""
            yield Finding(agent.written.file, agent.written.line, message, fix)


@cloud_check(
    "cloud-agent-disabled", "error", "A deployed agent is disabled",
    fix="Enable it: POST /agents/<agent>:enable, or enable its identity or blueprint in Microsoft Entra.",
)  # fmt: skip
def cloud_agent_disabled(project: Project, azure: Azure) -> Iterator[Finding]:
    """The endpoint of a disabled agent rejects every request; it may have been disabled itself, or through its identity
    or blueprint (azure-ai-projects 2.10, AgentDetails.state and state_source)."""
    for agent, name in _names(project):
        found = azure.agent(name)
        if found is not None and found.get("state") == "disabled":
            source = f" by its {found['state_source'].removeprefix('agent_')}" if found.get("state_source") else ""
            yield Finding(agent.written.file, agent.written.line, f"{name} is disabled{source}")


@cloud_check(
    "cloud-agent-traffic", "warning", "No request goes to the latest version of an agent",
    fix="Give it traffic: `agentEndpoint.versionSelector` and `azd ai agent endpoint update`, or take the rules away.",
)  # fmt: skip
def cloud_agent_traffic(project: Project, azure: Azure) -> Iterator[Finding]:
    """Rules of the endpoint may keep all traffic on an older version, and then a deployment changes nothing that a
    caller sees (Learn, how-to/deploy-hosted-agent-production; azure-ai-projects 2.10,
    FixedRatioVersionSelectionRule)."""
    for agent, name in _names(project):
        found = azure.agent(name)
        other = other_traffic(found) if found else ""
        if other:
            version = (found or {})["versions"]["latest"]["version"]
            yield Finding(
                agent.written.file,
                agent.written.line,
                f"version {version} of {name} gets no request; they go to {other}",
            )


@cloud_check(
    "cloud-agent-protocol", "error", "A deployed version speaks a protocol that is no longer served",
    fix="Deploy again with protocol version 2.0.0.",
)  # fmt: skip
def cloud_agent_protocol(project: Project, azure: Azure) -> Iterator[Finding]:
    """Container protocol 1.0.0 is blocked since 2026-07-31 (Learn, how-to/isolate-sessions-per-user); a version is
    never changed, so what was deployed before stays on it."""
    for agent, name in _names(project):
        found = azure.agent(name)
        for each in found["versions"]["latest"]["definition"].get("protocol_versions") or [] if found else ():
            if each["protocol"] in ("responses", "invocations") and str(each["version"]) in ("1.0.0", "v1"):
                message = f"{name} was deployed with {each['protocol']} {each['version']}"
                yield Finding(agent.written.file, agent.written.line, message)


@cloud_check(
    "cloud-agent-env", "error", "A variable did not arrive in the deployed version",
    fix="Declare it in `env` of the service, update the azd extensions, and deploy again.",
)  # fmt: skip
def cloud_agent_env(project: Project, azure: Azure) -> Iterator[Finding]:
    """Variables were reported missing in deployed versions, whose agents then fail at their start (Azure/azure-dev
    #9247). Only names are compared."""
    for agent, name in _names(project):
        found = azure.agent(name)
        if found is None:
            continue
        sent = found["versions"]["latest"]["definition"].get("environment_variables") or {}
        for variable, value in agent.environment:
            if variable not in sent:
                yield Finding(value.file, value.line, f"{variable} of {name} did not arrive")
