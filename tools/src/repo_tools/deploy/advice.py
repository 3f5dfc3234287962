"""What an error of Foundry most likely means, and what to do.

Where the doctor has a rule for it, its words are used, and the rule is named. Codes: Learn, how-to/deploy-hosted-agent
and how-to/debug-hosted-agent; Azure/azure-dev, azure.ai.agents, internal/cmd/nextstep/error_codes.go.
"""

import re
from dataclasses import dataclass
from typing import Literal

from repo_tools.azure_environment import FOUNDRY_USER, LOGIN
from repo_tools.deploy.foundry import FoundryError, NotReached, TimedOut
from repo_tools.doctor import cloud
from repo_tools.doctor.rule import load_rules

Action = Literal["deploy", "manage", "invoke"]

FOUNDRY_AGENT_CONSUMER = "eed3b665-ab3a-47b6-8f48-c9382fb1dad6"


@dataclass(frozen=True, slots=True)
class Advice:
    cause: str
    fix: str

    def __str__(self) -> str:
        return f"    likely cause: {self.cause}\n    fix: {self.fix}"


_PULL = (
    "the project's managed identity may not pull the image",
    "cloud-registry-pull",
)
_BY_RULE: dict[str, tuple[str, str]] = {
    "UnauthorizedAcrPull": _PULL,
    "InvalidAcrPullCredentials": _PULL,
    "unsupported_protocol_version": ("the version declares a protocol that is no longer served", "protocol-1-0"),
}
"""code → cause, and the doctor's rule whose fix it is"""

_KNOWN: dict[str, tuple[str, str]] = {
    "AcrImageNotFound": (
        "the registry has no such tag or digest",
        "Push the image, or correct the reference: az acr repository show-tags -n <registry> --repository <repository>",
    ),
    "RegistryNotFound": (
        "the registry's name is wrong, or a private registry cannot be resolved from the project's network",
        "Correct the host of the image; for a private registry look at its private endpoint and DNS zone.",
    ),
    "SubscriptionIsNotRegistered": (
        "the subscription is not registered for a resource provider",
        "Register it: az provider register --namespace Microsoft.CognitiveServices (the message names the one).",
    ),
    "CodeError": ("the code package could not be read, or its dependencies not be resolved", "See the message."),
    "ProvisioningError": (
        "the platform could not make the version",
        "Deploy again; if it stays, report the request id to Azure support.",
    ),
    "ProxyTimeout": (
        "the container took the request and did not answer in time",
        "Read its log (azd ai agent monitor <agent>); send work that takes minutes with --background.",
    ),
    "SandboxIdle": ("the session was asleep", "Send the request again: it wakes up."),
    "SandboxNotFound": ("the session is gone", "Leave --session out, which makes a new one."),
    "session_not_accessible": (
        "the session belongs to another user",
        "Leave --session out, or sign in as who made it.",
    ),
    "QuotaExceeded": (
        "the subscription's quota of concurrent sessions in this region is used up",
        "Delete sessions that nobody needs (azd ai agent sessions list), wait until idle ones stop, or ask for more.",
    ),
    "RegionalQuotaExceeded": ("the region has no capacity left", "Try again later, or deploy to another region."),
    "AgentVersionNotReady": ("the version is still being made", "Wait until it is active: deploy show <agent>."),
    "AgentVersionProvisioningFailed": ("the version failed", "deploy show <agent> says why."),
    "conversation_locked": ("a turn of this conversation is still running", "Wait for it, or cancel it."),
    "preview_feature_required": (
        "this service is older and wants the preview to be asked for by the header Foundry-Features",
        "This verb does not send it, because newer services do without: use a project in a region that is up to date.",
    ),
    "rate_limit_exceeded": ("too many requests", "Try again later."),
}


def advise(error: FoundryError, action: Action) -> Advice | None:
    """The most likely cause of an error, None where nothing sensible can be said."""
    if isinstance(error, NotReached):
        return Advice(
            "the project cannot be reached: the network, a proxy, or a project that only its own network reaches",
            "Check the endpoint, HTTPS_PROXY, and whether public access to the project is disabled.",
        )
    if isinstance(error, TimedOut):
        return None
    for code in (error.details, error.code):
        if code in ("session_not_ready", "ReadinessTimeout"):
            return _start()
        if code in _BY_RULE:
            cause, rule = _BY_RULE[code]
            return Advice(cause, _fix_of(rule))
        if code in _KNOWN:
            return Advice(*_KNOWN[code])
    if error.code in ("ImageError", "image_pull_failed"):
        return _image(error.message)
    if "public access is disabled" in error.message.lower():
        return Advice(
            "the project is reached from its own network only",
            "Run this inside of the virtual network, a peered one or its VPN (Azure/azure-dev, azure.ai.agents, "
            "docs/private-networking.md).",
        )
    if "reserved for platform use" in error.message:
        return Advice("a variable has a name of the platform", _fix_of("env-reserved"))
    return _by_status(error, action)


def _image(message: str) -> Advice:
    """ImageError covers a missing role, an unknown tag, another architecture and DNS; its message says which."""
    said = message.lower()
    if re.search(r"architecture|platform|exec format", said):
        return Advice("the image is not built for linux/amd64", _fix_of("image-architecture"))
    if re.search(r"not found|unknown manifest|manifest unknown|404", said):
        return Advice(*_KNOWN["AcrImageNotFound"])
    if re.search(r"dns|resolve|no such host", said):
        return Advice(*_KNOWN["RegistryNotFound"])
    return Advice(_PULL[0], _fix_of(_PULL[1]))


def _start() -> Advice:
    return Advice(
        "the container did not answer GET /readiness with 200 in time: it failed at its start, or listens elsewhere",
        "Wait half a minute and try again; then read its log (azd ai agent monitor <agent>). " + _fix_of("docker-port"),
    )


def _by_status(error: FoundryError, action: Action) -> Advice | None:
    if error.status == 401:
        return Advice("the token is for another tenant or has run out", f"{LOGIN} in the tenant of the project.")
    if error.status == 403:
        role, name = (
            (FOUNDRY_AGENT_CONSUMER, "Foundry Agent Consumer or Foundry User")
            if action == "invoke"
            else (FOUNDRY_USER, "Foundry User")
        )
        return Advice(
            f"who is signed in has not the role {name} on the project; Owner, Contributor and Azure AI Developer do "
            "not count for its agents",
            "az role assignment create --assignee <you> --role "
            f"{role} --scope <AZURE_AI_PROJECT_ID>; it takes minutes to count",
        )
    if error.status == 404:
        if action == "deploy":
            return Advice(
                "the endpoint names no project",
                "FOUNDRY_PROJECT_ENDPOINT is https://<account>.services.ai.azure.com/api/projects/<project>; the "
                "project's overview in the portal shows it.",
            )
        return Advice("there is no such agent, version, response or session in this project", "deploy list shows them.")
    if error.status == 409:
        return Advice("it is in use: sessions, or a version that traffic goes to", "Wait, or delete with --force.")
    if error.status == 424:
        return _start()
    if error.status == 429:
        return Advice("too many requests, or a quota", "Try again later.")
    return None


def _fix_of(rule: str) -> str:
    of_cloud = rule in cloud.CHECKS
    found = cloud.CHECKS[rule][0] if of_cloud else load_rules()[rule]
    look = f"{'--cloud ' if of_cloud else ''}--rule {rule}"
    return f'{found.fix} The doctor looks for it: make doctor ARGS="{look}"'
