"""Environment variables: names the platform keeps for itself, values that do not arrive, secrets in clear text."""

import re
from collections.abc import Iterator
from pathlib import Path

from repo_tools.doctor.documents import Value
from repo_tools.doctor.project import Agent, Project, line_of
from repo_tools.doctor.rule import Edit, Finding, edit_scalar, rule

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("FOUNDRY_", "AGENT_")
_INJECTED = ("PORT", "HOME", "APPLICATIONINSIGHTS_CONNECTION_STRING")
_PLATFORM = ("FOUNDRY_PROJECT_ENDPOINT", "FOUNDRY_PROJECT_ARM_ID", "FOUNDRY_AGENT_NAME", "FOUNDRY_AGENT_VERSION")
_DELETED = {*_INJECTED, *_PLATFORM, "OTEL_SERVICE_NAME"}
"""What --fix takes away, all of it in one go."""
_OLD_ENDPOINT = "AZURE_AI_PROJECT_ENDPOINT"
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|SECRET|PASSWORD|PASSWD|PWD|TOKEN|CONNECTION_STRING|PRIVATE_KEY|SAS)$"
)
_NOT_SECRET = re.compile(r"(?:PUBLIC_KEY|MAX_TOKEN|PARTITION_KEY)$")
_PLAIN = re.compile(r"(?:true|false|yes|no|on|off|\d{1,5}|https://[\w-]+\.vault\.azure\.net/.*)", re.I)
"""A switch, a number, or where Key Vault keeps it: no secret, whatever the variable is called."""
_CONNECTION = re.compile(r"\$\{\{\s*connections\.([^.}\s]+)\.[^}]+\}\}")


def is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name.upper())) and not _NOT_SECRET.search(name.upper())


def is_literal(value: Value) -> bool:
    return value.is_text and bool(value.text) and "${" not in value.text and "{{" not in value.text


def _variables(project: Project) -> Iterator[tuple[Agent, str, Value]]:
    for agent in project.agents:
        for name, value in agent.environment:
            yield agent, name, value


@rule(
    "env-name", "error", "A variable's name is badly formed", fix="Use letters, digits and underscores, no digit first."
)
def env_name(project: Project) -> Iterator[Finding]:
    """azd refuses names outside [A-Za-z_][A-Za-z0-9_]* before it deploys (Azure/azure-dev, azure.ai.agents,
    deploy_precheck.go)."""
    for agent, name, value in _variables(project):
        if not _NAME.fullmatch(name):
            yield Finding(value.file, value.line, f"{name!r} of {agent.key} cannot be a variable's name")


@rule(
    "env-reserved",
    "error",
    "A variable has a reserved name",
    fix="Give it another name, or delete it where the platform sets it.",
)
def env_reserved(project: Project) -> Iterator[Finding]:
    """All FOUNDRY_* and AGENT_* names are reserved for the platform: a version that declares one is refused (#7820,
    #7543; Learn, how-to/configure-hosted-agent-env-variables). azd does not check it."""
    for agent, name, value in _variables(project):
        if name.upper().startswith(_RESERVED):
            edit = _delete(agent, value) if name in _PLATFORM else None
            yield Finding(value.file, value.line, f"{name} of {agent.key} is reserved for the platform", edit=edit)


@rule(
    "env-injected",
    "error",
    "A variable that the platform sets is declared again",
    fix="Delete it; connect Application Insights to the project instead of naming it.",
)
def env_injected(project: Project) -> Iterator[Finding]:
    """The platform sets PORT and HOME, and APPLICATIONINSIGHTS_CONNECTION_STRING where the project has such a
    connection; the last is reserved and cannot be overridden (Learn, how-to/configure-hosted-agent-telemetry)."""
    for agent, name, value in _variables(project):
        if name in _INJECTED:
            yield Finding(value.file, value.line, f"{agent.key} declares {name}", edit=_delete(agent, value))


def _delete(agent: Agent, value: Value) -> Edit | None:
    """Take the line of `NAME: value` away, where it holds nothing else and the mapping keeps a member that stays."""
    env = agent.service["env"]
    lines = [env.line, *(each.line for each in env.members.values())]
    own = value in env.members.values() and value.column is not None and lines.count(value.line) == 1
    return Edit(value.file, value.line, None) if own and set(env.members) - _DELETED else None


@rule(
    "env-old-endpoint", "error", "The old name of the project's endpoint is read, and nobody sets it",
    fix="Read FOUNDRY_PROJECT_ENDPOINT, which the platform and `azd ai agent run` set.",
)  # fmt: skip
def env_old_endpoint(project: Project) -> Iterator[Finding]:
    """FOUNDRY_PROJECT_ENDPOINT replaced AZURE_AI_PROJECT_ENDPOINT in azure.ai.agents 0.1.33 (#8245): neither the
    platform nor azd sets the old one, so it is missing in the container, or empty."""
    made = any(_outputs_old_endpoint(path, text) for path, text in project.infrastructure)
    for agent, name, value in _variables(project):
        if "${" + _OLD_ENDPOINT in value.text and agent.service and not made:
            yield Finding(value.file, value.line, f"{name} of {agent.key} reads {_OLD_ENDPOINT}")
    for agent in project.agents:
        if _OLD_ENDPOINT in {name for name, _ in agent.environment}:
            continue
        for path, text in agent.sources:
            line = line_of(text, rf"[\"']{_OLD_ENDPOINT}[\"']")
            if line and "FOUNDRY_PROJECT_ENDPOINT" not in text:
                yield Finding(path, line, f"{agent.key} reads {_OLD_ENDPOINT}")


@rule(
    "env-old-endpoint-name", "warning", "The old name of the project's endpoint is set",
    fix="Use FOUNDRY_PROJECT_ENDPOINT, and do not declare it: the platform sets it.",
)  # fmt: skip
def env_old_endpoint_name(project: Project) -> Iterator[Finding]:
    """AZURE_AI_PROJECT_ENDPOINT is a deprecated fallback of azd's tools (#8245); a stale one in the azd environment
    misroutes routines (#9716)."""
    for agent, name, value in _variables(project):
        if name == _OLD_ENDPOINT:
            yield Finding(value.file, value.line, f"{agent.key} is given {_OLD_ENDPOINT}")
    for path, text in project.infrastructure:
        if line := _outputs_old_endpoint(path, text):
            yield Finding(path, line, f"the infrastructure outputs {_OLD_ENDPOINT}", "Output FOUNDRY_PROJECT_ENDPOINT.")


def _outputs_old_endpoint(path: Path, text: str) -> int | None:
    """Outputs of the main template become variables of the azd environment; those of modules do not."""
    return line_of(text, rf"^\s*output\s+{_OLD_ENDPOINT}\b") if path.name == "main.bicep" else None


@rule(
    "env-list", "warning", "Variables are declared in the deprecated list",
    fix="Move them to `env` of the service in azure.yaml, a map of names to values.",
)  # fmt: skip
def env_list(project: Project) -> Iterator[Finding]:
    """The service's `env` map is the place for them; variables of `environmentVariables` and of an agent.yaml were
    reported missing in the deployed version, which then fails at its start (#9247; Azure/azure-dev, azure.ai.agents,
    internal/project/agent_definition.go)."""
    for agent in project.agents:
        if not agent.service:
            continue
        listed = agent.definition["environmentVariables" if agent.inline else "environment_variables"]
        if listed.elements or listed.members:
            yield Finding(listed.file, listed.line, f"the variables of {agent.key} are not in `env`")


@rule(
    "env-not-text",
    "error",
    "A variable's value is not text",
    fix='Put the value in quotes, or write "" for an empty one.',
)
def env_not_text(project: Project) -> Iterator[Finding]:
    """`env` maps names to strings (Azure/azure-dev, schemas/v1.0/azure.yaml.json): a list or mapping stops azd, and an
    empty value is null and not an empty string."""
    for agent in project.agents:
        env = agent.service["env"]
        if env and env.kind != "mapping":
            yield Finding(
                env.file, env.line, f"`env` of {agent.key} is not a map of names to values", "Write NAME: value lines."
            )
        for name, value in env.members.items():
            if value.kind != "scalar" or value.tag == "null":
                yield Finding(value.file, value.line, f"{name} of {agent.key} has no text as its value")


@rule("env-unquoted", "warning", "A variable's value is a number or a switch", fix="Put the value in quotes.")
def env_unquoted(project: Project) -> Iterator[Finding]:
    """The schema wants strings (Azure/azure-dev, schemas/v1.0/azure.yaml.json), so editors and CI refuse it; and YAML's
    `yes` or `010` may arrive as another text than was written."""
    for agent in project.agents:
        for name, value in agent.service["env"].members.items():
            if value.kind == "scalar" and not value.quoted and value.tag in ("bool", "int", "float", "timestamp"):
                edit = edit_scalar(value, f'"{value.text}"')
                yield Finding(value.file, value.line, f"{name}: {value.text} is not a string", edit=edit)


@rule(
    "env-secret",
    "error",
    "A variable holds a secret",
    fix="Use `$${{connections.<name>.credentials.key}}`, or Key Vault with the agent's identity.",
)
def env_secret(project: Project) -> Iterator[Finding]:
    """Everyone who may read the agent's version sees its variables in clear text (Learn, how-to/deploy-hosted-agent:
    reference a connection, which is resolved when the sandbox starts)."""
    for agent, name, value in _variables(project):
        if is_secret_name(name) and is_literal(value) and not _PLAIN.fullmatch(value.text):
            yield Finding(value.file, value.line, f"{name} of {agent.key} is written out")


@rule(
    "env-secret-expanded",
    "warning",
    "A secret of the azd environment goes into the version",
    fix="Use `$${{connections.<name>.credentials.key}}`, or Key Vault with the agent's identity.",
)
def env_secret_expanded(project: Project) -> Iterator[Finding]:
    """azd expands ${VAR} before it sends the definition, so the version shows the value to all who may read it
    (Azure/azure-dev, azure.ai.agents, service_target_agent.go)."""
    for agent, name, value in _variables(project):
        plain = re.sub(r"\$?\$\{\{.*?\}\}", "", value.text)
        if is_secret_name(name) and "${" in plain and not name.upper().startswith(_RESERVED) and name not in _INJECTED:
            yield Finding(value.file, value.line, f"{name} of {agent.key} is expanded by azd")


@rule(
    "env-connection-escape",
    "error",
    "A reference to a connection is not escaped",
    fix="Write two dollar signs: `$${{connections.…}}`.",
)
def env_connection_escape(project: Project) -> Iterator[Finding]:
    """azd expands `${…}` in `env` itself; `$${{…}}` keeps the reference for Foundry (Azure/azure-dev, azure.ai.agents,
    schemas/examples/complex.azure.yaml)."""
    for agent in project.agents:
        for name, value in agent.service["env"].members.items():
            escaped = re.sub(r"(?<!\$)\$\{\{", "$${{", value.text)
            if escaped != value.text:
                edit = edit_scalar(value, escaped)
                yield Finding(value.file, value.line, f"{name} of {agent.key} needs `$${{{{`", edit=edit)


@rule(
    "env-connection-unknown",
    "warning",
    "A connection is named that nothing here makes",
    fix="Correct the name, or add the connection; and let the agent refuse to start when the value is empty.",
)
def env_connection_unknown(project: Project) -> Iterator[Finding]:
    """A wrong name resolves to an empty string, without an error (Learn, how-to/deploy-hosted-agent). Not checked for
    an existing project (`endpoint:`), whose connections only the cloud knows."""
    if any(service["endpoint"] for _, service in project.services("azure.ai.project")):
        return
    made = {key for key, _ in project.services("azure.ai.connection")}
    for agent, name, value in _variables(project):
        for connection in _CONNECTION.findall(value.text):
            if connection not in made and not any(connection in text for _, text in project.infrastructure):
                yield Finding(value.file, value.line, f"{name} of {agent.key} reads the connection {connection}")


@rule(
    "env-client-id",
    "warning",
    "AZURE_CLIENT_ID is set for the container",
    fix="Delete it: the agent's own identity is found without it.",
)
def env_client_id(project: Project) -> Iterator[Finding]:
    """The credential libraries read it as the id of a user-assigned identity, which the sandbox does not have (Learn,
    concepts/hosted-agent-token-service; azure-identity, ManagedIdentityCredential)."""
    for agent, name, value in _variables(project):
        if name in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
            yield Finding(value.file, value.line, f"{agent.key} sets {name}")


@rule("env-service-name", "warning", "OTEL_SERVICE_NAME has no effect", fix="Delete it.")
def env_service_name(project: Project) -> Iterator[Finding]:
    """The service name in traces is always the agent's (Learn, how-to/configure-hosted-agent-telemetry)."""
    for agent, name, value in _variables(project):
        if name == "OTEL_SERVICE_NAME":
            yield Finding(value.file, value.line, f"{agent.key} sets OTEL_SERVICE_NAME", edit=_delete(agent, value))


@rule(
    "env-keepalive",
    "error",
    "The keep-alive interval is not a whole number",
    fix="Write whole seconds, 15 for example.",
)
def env_keepalive(project: Project) -> Iterator[Finding]:
    """azure-ai-agentserver-core reads SSE_KEEPALIVE_INTERVAL as an integer of seconds and does not start with anything
    else (azure-ai-agentserver-core 2.2.0, _config.py)."""
    for agent, name, value in _variables(project):
        if name == "SSE_KEEPALIVE_INTERVAL" and is_literal(value) and not re.fullmatch(r"\d+", value.text):
            yield Finding(value.file, value.line, f"SSE_KEEPALIVE_INTERVAL of {agent.key} is {value.text!r}")
    for agent in project.agents:
        if agent.dockerfile:
            text, line = agent.dockerfile.environment().get("SSE_KEEPALIVE_INTERVAL", ("0", 1))
            if not re.fullmatch(r"\d+|.*\$.*", text):
                yield Finding(agent.dockerfile.file, line, f"SSE_KEEPALIVE_INTERVAL is {text!r}")


@rule(
    "env-hosting",
    "error",
    "The switch for hosted mode is set by hand",
    fix="Delete it; the platform sets it in its sandboxes.",
)
def env_hosting(project: Project) -> Iterator[Finding]:
    """FOUNDRY_HOSTING_ENVIRONMENT alone decides that the libraries use Foundry's stores; in an image it breaks every
    run outside Foundry: "endpoint must be a non-empty string" (azure-ai-agentserver-core 2.2.0, _config.py)."""
    name = "FOUNDRY_HOSTING_ENVIRONMENT"
    for agent in project.agents:
        if agent.dockerfile and (found := agent.dockerfile.environment().get(name)):
            yield Finding(agent.dockerfile.file, found[1], f"the image of {agent.key} sets {name}")
