"""What a new agent version is made of, read from azure.yaml and the definition that it includes.

The rules are those of azd, so that a version is the same whoever deploys it (Azure/azure-dev, azure.ai.agents,
internal/pkg/agents/agent_yaml/map.go and internal/project/service_target_agent.go at 1.0.0-beta.11). What azd sends by
other calls is refused and not left out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from repo_tools.doctor.documents import Value
from repo_tools.doctor.project import Agent
from repo_tools.doctor.rule import load_rules

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_REFERENCE = re.compile(r"\$\$|\$\{([^{}]*)\}|\$\{\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_IMAGE = re.compile(
    r"(?P<registry>[\w.-]+(?::\d+)?)/(?P<repository>[a-z0-9._/-]+)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@sha256:[0-9a-f]{64})?"
)
_BY_OTHER_CALLS = ("agentEndpoint", "agentCard", "memoryStores", "activity", "toolboxes", "enableMemorySnapshot")
"""Keys of a definition that take further requests, or that azd does not send with a version."""


class CannotDeploy(Exception):
    """The definition cannot become a version; the message has the place and what to do."""


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """A new version of one agent, independent of the way that it is sent."""

    name: str
    image: str
    """registry/repository with a tag or a digest"""
    cpu: str
    """vCPUs as text, such as 0.5"""
    memory: str
    """such as 1Gi"""
    protocols: tuple[tuple[str, str], ...]
    """protocol and version, such as responses and 2.0.0"""
    environment: Mapping[str, str]
    description: str | None
    metadata: Mapping[str, str]
    idle_timeout_seconds: int | None
    rai_policy: str | None = None
    """resource id of a policy of content filters"""

    def as_json(self) -> dict[str, Any]:
        """The body of `POST /agents/{name}/versions`, API version v1 (azure-ai-projects, HostedAgentDefinition)."""
        definition: dict[str, Any] = {
            "kind": "hosted",
            "cpu": self.cpu,
            "memory": self.memory,
            "container_configuration": {"image": self.image},
            "protocol_versions": [{"protocol": name, "version": version} for name, version in self.protocols],
        }
        if self.environment:
            definition["environment_variables"] = dict(self.environment)
        if self.idle_timeout_seconds is not None:
            definition["session_configuration"] = {"idle_timeout_seconds": self.idle_timeout_seconds}
        if self.rai_policy:
            definition["rai_config"] = {"rai_policy_name": self.rai_policy}
        body: dict[str, Any] = {"definition": definition, "metadata": dict(self.metadata)}
        return body | ({"description": self.description} if self.description else {})


def version_request(agent: Agent, values: Mapping[str, str], *, image: str | None = None) -> VersionRequest:
    """The version that azd would create of this agent.

    `values` are those of the azd environment. The image is `image`, else `image` of the service, else
    `SERVICE_<KEY>_IMAGE_NAME` of the environment.

    Raises:
        CannotDeploy: something is missing, unresolved, or not deployable this way.
    """
    definition = agent.definition
    if definition["kind"].text != "hosted" or not agent.inline:
        raise _refused(definition, f"{agent.key} has no `kind: hosted` in azure.yaml or a file that it includes")
    if agent.code:
        raise _refused(agent.code, f"{agent.key} is deployed as code, which only azd does: azd deploy {agent.key}")
    for key in _BY_OTHER_CALLS:
        if definition[key]:
            raise _refused(
                definition[key], f"`{key}` is not sent by this verb: delete it, or use azd deploy {agent.key}"
            )
    name = agent.name.text
    if not _NAME.fullmatch(name):
        raise _refused(agent.name, f"{name!r} is not an agent's name: letters, digits and inner hyphens, at most 63")
    resources = definition.at("container", "resources")
    return VersionRequest(
        name=name,
        image=_image(agent, values, image),
        cpu=resources["cpu"].text or "0.5",  # azd's defaults (internal/project/config.go)
        memory=resources["memory"].text or "1Gi",
        protocols=tuple((each["protocol"].text, each["version"].text) for each in agent.protocols)
        or (("responses", "2.0.0"),),
        environment=_environment(agent, values),
        description=definition["description"].text or None,
        # The service's own key for agents of this generation (applyAgentMetadata): azd sends it always.
        metadata={**dict(_metadata(definition)), "enableVnextExperience": "true"},
        idle_timeout_seconds=_idle_timeout(definition),
        rai_policy=_rai_policy(definition),
    )


def image_variable(key: str) -> str:
    """Where the azd environment has the image of a service: azd's name for it (pkg/environment, SetServiceProperty)."""
    return f"SERVICE_{key.upper().replace('-', '_')}_IMAGE_NAME"


def expand(value: Value, values: Mapping[str, str]) -> str:
    """`${NAME}` and `${NAME:-default}` of the azd environment; `$$` is one dollar, so that `$${{…}}` reaches Foundry as
    the reference to a connection (Azure/azure-dev, pkg/osutil/expandable_string.go, which uses drone/envsubst).

    Raises:
        CannotDeploy: a variable is not set (azd would send an empty text), or the form is another.
    """

    def replacement(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        variable = _VARIABLE.fullmatch(found[1] or "")
        if variable is None:
            raise _refused(
                value, f"{value.text}: write ${{NAME}} or ${{NAME:-default}}, and $${{{{…}}}} for Foundry's own"
            )
        if not values.get(variable[1]) and variable[2] is None:
            raise _refused(value, f"{variable[1]} is not set: azd env set {variable[1]} <value>")
        return values.get(variable[1]) or variable[2]

    if "\\" in value.text and "$" in value.text:
        raise _refused(value, f"{value.text}: azd reads the backslash as an escape; write it without")
    return _REFERENCE.sub(replacement, value.text)


def _image(agent: Agent, values: Mapping[str, str], given: str | None) -> str:
    written = agent.service["image"]
    image = given or (expand(written, values) if written else values.get(image_variable(agent.key), ""))
    if not image:
        variable = image_variable(agent.key)
        raise CannotDeploy(
            f"no image is named for {agent.key}: push one, then --image {agent.key}=<registry>/<repository>:<tag>, or "
            f"azd env set {variable} <image>"
        )
    parts = _IMAGE.fullmatch(image)
    if parts is None:
        raise CannotDeploy(f"{image!r} is not an image: <registry>/<repository>:<tag> or …@sha256:<digest>")
    if "@" not in image and parts["tag"] in (None, "latest"):
        rule = load_rules()["image-latest-deployed"]
        raise CannotDeploy(f"{image} would not be told from the last one. {rule.fix} Why: {rule.why}")
    return image


def _environment(agent: Agent, values: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _declared(agent):
        if name in found:
            continue
        if not value.is_text:
            raise _refused(value, f"{name} is not text; write it in quotes")
        found[name] = expand(value, values)
    return found


def _declared(agent: Agent) -> Iterator[tuple[str, Value]]:
    """`env` of the service, then the deprecated list; `config.env` azd ignores."""
    yield from agent.service["env"].members.items()
    for entry in agent.definition["environmentVariables"].elements:
        yield entry["name"].text, entry["value"]


def _metadata(definition: Value) -> Iterator[tuple[str, str]]:
    """Texts only; a list of `authors` becomes one text (createAgentAPIRequest)."""
    for key, value in definition["metadata"].members.items():
        if key == "authors" and value.elements:
            yield key, ",".join(each.text for each in value.elements if each.tag == "str")
        elif value.kind == "scalar" and value.tag == "str":
            yield key, value.text


def _idle_timeout(definition: Value) -> int | None:
    value = definition.at("sessionConfiguration", "idleTimeoutSeconds")
    if not value:
        return None
    # The bounds of azd (MinSessionIdleTimeoutSeconds); azure-ai-projects documents 120 to 14400.
    if not value.text.isdigit() or not 300 <= int(value.text) <= 3600:
        raise _refused(value, f"idleTimeoutSeconds is {value.text}: whole seconds from 300 to 3600")
    return int(value.text)


def _rai_policy(definition: Value) -> str | None:
    for policy in definition["policies"].elements:
        if policy["invocationsModeration"]:
            raise _refused(policy["invocationsModeration"], "`invocationsModeration` is not sent by this verb; use azd")
        if policy["type"].text == "rai_policy" and policy["raiPolicyName"].text:
            return policy["raiPolicyName"].text
    return None


def _refused(value: Value, message: str) -> CannotDeploy:
    return CannotDeploy(f"{value.file.name}:{value.line}: {message}")
