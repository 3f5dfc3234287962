"""azure.yaml as a whole: services, what they use, the infrastructure and the versions of azd."""

import re
from collections.abc import Iterator

from repo_tools.doctor.documents import Value, path_from
from repo_tools.doctor.project import AGENT_HOST, RESOURCE_HOSTS, Agent, Project
from repo_tools.doctor.rule import Finding, rule
from repo_tools.doctor.rules.environment import is_literal

_AGENT_VARIABLE = re.compile(
    r"\$\{AGENT_([A-Z0-9_]+?)_(?:NAME|VERSION|ENDPOINT|RESPONSES_ENDPOINT|INVOCATIONS_ENDPOINT|INVOCATIONS_WS_ENDPOINT"
    r"|PROJECT_ENDPOINT|INSTANCE_IDENTITY_CLIENT_ID|INSTANCE_IDENTITY_PRINCIPAL_ID)[}:]"
)
_LEGACY_KEYS = ("deployments", "connections", "toolConnections", "toolboxes", "resources")
_CORE_KEYS = ("host", "project", "language", "image", "docker", "uses", "env", "hooks")
_MODEL_VARIABLES = ("AZURE_AI_MODEL_DEPLOYMENT_NAME", "MODEL_DEPLOYMENT_NAME", "AZURE_OPENAI_DEPLOYMENT_NAME")


def environment_key(service: str) -> str:
    """As azd writes a service's key into the names of variables (Azure/azure-dev, azure.ai.agents, helpers.go)."""
    return re.sub(r"[- ]", "_", service).upper()


@rule(
    "service-project", "error", "An agent service has no project folder", fix="Add `project:` with the agent's folder."
)
def service_project(project: Project) -> Iterator[Finding]:
    """`project` is required for `host: azure.ai.agent` (Azure/azure-dev, schemas/v1.0/azure.yaml.json)."""
    for agent in project.agents:
        if agent.service and not agent.service["project"].text:
            yield Finding(agent.written.file, agent.written.line, f"the service {agent.key} has no `project`")


@rule(
    "service-folder", "error", "A service's project folder is not there",
    fix="Correct the path; it starts at azure.yaml and stays below it.",
)  # fmt: skip
def service_folder(project: Project) -> Iterator[Finding]:
    """azd builds and packages from that folder and wants it within the project: "update azure.yaml so the agent service
    path stays within the project directory" (Azure/azure-dev, azure.ai.agents,
    internal/project/agent_definition.go)."""
    for agent in project.agents:
        path = agent.service["project"]
        if path.text and not agent.folder.is_relative_to(project.root):
            yield Finding(path.file, path.line, f"{path.text} is outside of the project")
        elif path.text and not agent.folder.is_dir():
            yield Finding(path.file, path.line, f"{path.text} is not a folder")


@rule("service-keys", "error", "A service has keys that its host forbids", fix="Delete the key.")
def service_keys(project: Project) -> Iterator[Finding]:
    """The schema forbids k8s, apiVersion and network for an agent; and project, runtime, docker, image and config for a
    Foundry project, connection, toolbox, skill or routine (Azure/azure-dev, schemas/v1.0/azure.yaml.json)."""
    forbidden: dict[str, tuple[str, ...]] = dict.fromkeys(
        RESOURCE_HOSTS, ("project", "runtime", "docker", "image", "config")
    )
    forbidden[AGENT_HOST] = ("k8s", "apiVersion", "network")
    for key, service in project.services(*forbidden):
        for name in forbidden[service["host"].text]:
            if value := service[name]:
                yield Finding(
                    value.file, value.line, f"{key} is of host {service['host'].text} and may not have `{name}`"
                )


@rule(
    "ref-service-keys", "error", "An included definition holds keys of the service",
    fix="Move the key into azure.yaml, beside the `$ref`.",
)  # fmt: skip
def ref_service_keys(project: Project) -> Iterator[Finding]:
    """azd's core reads host, project, language, image, docker, uses, env and hooks from azure.yaml itself; in a file
    that `$ref` includes it does not see them (Learn, azure-yaml-reference, file includes)."""
    for agent in project.agents:
        for key in _CORE_KEYS:
            value = agent.service[key]
            if value and value.file != project.written.file and key not in agent.written.members:
                yield Finding(value.file, value.line, f"`{key}` of {agent.key} is not seen in an included file")


@rule("legacy-config", "warning", "The definition is below config", fix="Move the keys of `config` up to the service.")
def legacy_config(project: Project) -> Iterator[Finding]:
    """`config` is the deprecated alias of keys at the service (Azure/azure-dev, schemas/v1.0/azure.yaml.json)."""
    for agent in project.agents:
        if config := agent.service["config"]:
            yield Finding(config.file, config.line, f"{agent.key} is configured below `config`")


@rule("config-env", "error", "Variables below config never arrive", fix="Move them to `env` of the service.")
def config_env(project: Project) -> Iterator[Finding]:
    """`config.env` is ignored with a warning (Azure/azure-dev, azure.ai.agents, agent_definition.go)."""
    for agent in project.agents:
        if found := agent.service.at("config", "env"):
            yield Finding(found.file, found.line, f"the variables of {agent.key} below `config` are ignored")


@rule(
    "legacy-bundled", "warning", "An agent brings its own deployments or connections",
    fix="Make each a service of its own, of host azure.ai.project, azure.ai.connection or azure.ai.toolbox.",
)  # fmt: skip
def legacy_bundled(project: Project) -> Iterator[Finding]:
    """Since azure.ai.agents 1.0.0-beta.1 they are sibling services; the keys on the agent are parsed for old projects
    only, and a list of toolbox names fails the schema (Azure/azure-dev, azure.ai.agents,
    internal/project/config.go)."""
    for agent in project.agents:
        for holder in (agent.service, agent.service["config"]):
            for key in _LEGACY_KEYS:
                value = holder[key]
                if value and (key != "resources" or value.kind == "sequence"):
                    yield Finding(value.file, value.line, f"{agent.key} has `{key}`")


@rule("uses-unknown", "error", "A service uses one that does not exist", fix="Correct the name or add the service.")
def uses_unknown(project: Project) -> Iterator[Finding]:
    """azd stops: "depends on … which does not exist as a service or resource" (Azure/azure-dev,
    pkg/project/importer.go)."""
    known = {*project.azure["services"].members, *project.azure["resources"].members}
    for key, service in project.azure["services"].members.items():
        for used in service["uses"].elements:
            if used.text not in known:
                yield Finding(used.file, used.line, f"{key} uses {used.text}, which azure.yaml does not have")


@rule("uses-circular", "error", "Services use each other in a circle", fix="Take one `uses` of the circle away.")
def uses_circular(project: Project) -> Iterator[Finding]:
    """azd stops: "circular dependency detected in services" (Azure/azure-dev, pkg/project/importer.go)."""
    services = project.azure["services"].members
    uses = {key: [each.text for each in service["uses"].elements] for key, service in services.items()}
    told: set[str] = set()
    for key, service in services.items():
        reached = _reached(key, uses)
        if key in reached and key not in told:
            told |= {other for other in reached if key in _reached(other, uses)}
            yield Finding(service["uses"].file, service["uses"].line, f"{key} uses itself, directly or through others")


def _reached(key: str, uses: dict[str, list[str]]) -> set[str]:
    """What a service uses, directly or through others."""
    reached: set[str] = set()
    ahead = list(uses.get(key, []))
    while ahead:
        used = ahead.pop()
        if used not in reached:
            reached.add(used)
            ahead += uses.get(used, [])
    return reached


@rule(
    "uses-parallel", "warning", "Several agents deploy in parallel",
    fix="Leave `uses` out where the order does not matter, or look for AGENT_<KEY>_NAME in `azd env get-values`.",
)  # fmt: skip
def uses_parallel(project: Project) -> Iterator[Finding]:
    """With any `uses` azd deploys along the graph, in parallel (Azure/azure-dev, docs/concurrency-model.md), and
    parallel writes lost AGENT_<KEY>_* variables in 3 of 4 runs with azd 1.32.0 and azure.ai.agents 1.0.0-beta.11:
    `azd ai agent invoke` then finds no agent."""
    using = [value for _, service in project.services(AGENT_HOST) if (value := service["uses"])]
    if len(project.agents) > 1 and using:
        yield Finding(
            using[0].file, using[0].line, f"with `uses`, {len(project.agents)} agents are deployed in parallel"
        )


@rule(
    "peer-unknown", "error", "A variable names an agent that does not exist",
    fix="Use the key of a service in capitals, with hyphens as underscores.",
)  # fmt: skip
def peer_unknown(project: Project) -> Iterator[Finding]:
    """azd writes AGENT_<KEY>_* for the services it deployed (Azure/azure-dev, azure.ai.agents, envkey.go); any other
    name expands to nothing."""
    known = {environment_key(key) for key, _ in project.services(AGENT_HOST)}
    for agent in project.agents:
        for name, value in agent.environment:
            for found in _AGENT_VARIABLE.findall(value.text):
                if found not in known:
                    yield Finding(
                        value.file,
                        value.line,
                        f"{name} of {agent.key} reads AGENT_{found}_*, but no service has that key",
                    )


@rule(
    "peer-order", "error", "An agent reads the address of one that is deployed after it",
    fix="Add `uses: [<that agent>]`, or deploy twice and say so.",
)  # fmt: skip
def peer_order(project: Project) -> Iterator[Finding]:
    """Without `uses` azd deploys in alphabetical order, and AGENT_<KEY>_* of a later one is still empty
    (Azure/azure-dev, docs/concurrency-model.md; azure.ai.agents, internal/project/foundry_dependencies.go)."""
    peers = {environment_key(agent.key): agent for agent in project.agents}
    for agent in project.agents:
        uses = {each.text for each in agent.service["uses"].elements}
        for name, value in agent.environment:
            for found in _AGENT_VARIABLE.findall(value.text):
                peer: Agent | None = peers.get(found)
                if peer and peer.key >= agent.key and peer.key not in uses:
                    yield Finding(
                        value.file, value.line, f"{name} of {agent.key} reads the address of {peer.key}, not yet there"
                    )


@rule("infra-path", "error", "An infrastructure folder is not there", fix="Correct the path or add the folder.")
def infra_path(project: Project) -> Iterator[Finding]:
    """A Bicep or Terraform layer is read from its `path` (Learn, Azure Developer CLI, layered provisioning)."""
    infra = project.azure["infra"]
    for holder in (infra, *infra["layers"].elements):
        path = holder["path"]
        if (
            path.text
            and not path_from(project.root, path.text).is_dir()
            and holder["provider"].text != "microsoft.foundry"
        ):
            yield Finding(path.file, path.line, f"{path.text} is not a folder")


@rule("infra-layers", "error", "Layers beside a root path", fix="Move `path` and `module` into a layer of their own.")
def infra_layers(project: Project) -> Iterator[Finding]:
    """With `infra.layers` the root may have neither `path` nor `module`; each layer needs a name and a path, and
    `dependsOn` names other layers (Learn, Azure Developer CLI, layered provisioning)."""
    infra = project.azure["infra"]
    layers = infra["layers"]
    if not layers:
        return
    names = {layer["name"].text for layer in layers.elements}
    for key in ("path", "module"):
        if value := infra[key]:
            yield Finding(value.file, value.line, f"`infra.{key}` stands beside `infra.layers`")
    for layer in layers.elements:
        for key in ("name", "path"):
            if not layer[key].text:
                yield Finding(layer.file, layer.line, f"a layer has no `{key}`", f"Give the layer a `{key}`.")
        for needed in layer["dependsOn"].elements:
            if needed.text not in names:
                yield Finding(needed.file, needed.line, f"no layer is called {needed.text}", "Correct the name.")


@rule(
    "infra-deployments", "warning", "Bicep does not get the model deployments of azure.yaml",
    fix="Use `provider: microsoft.foundry`, in a layer if there is more, or declare the deployments in Bicep only.",
)  # fmt: skip
def infra_deployments(project: Project) -> Iterator[Finding]:
    """With services of their own and `provider: bicep`, azd does not hand `deployments` to the template; nobody makes
    them (Azure/azure-dev, azure.ai.agents, internal/cmd/listen.go)."""
    infra = project.azure["infra"]
    providers = {layer["provider"].text or infra["provider"].text or "bicep" for layer in infra["layers"].elements}
    if not infra["layers"]:
        providers = {infra["provider"].text or "bicep"}
    if not infra or "microsoft.foundry" in providers:
        return
    for key, service in project.services("azure.ai.project"):
        deployments = service["deployments"]
        if deployments.elements and not service["endpoint"]:
            yield Finding(deployments.file, deployments.line, f"nobody makes the deployments of {key}")


@rule(
    "deployment-shape", "error", "A model deployment is incomplete",
    fix="Write name, model with format, name and version, and sku with name and capacity.",
)  # fmt: skip
def deployment_shape(project: Project) -> Iterator[Finding]:
    """All of these are required (Azure/azure-dev, azure.ai.projects/schemas/azure.ai.project.json)."""
    needed = (
        ("name",),
        ("model", "format"),
        ("model", "name"),
        ("model", "version"),
        ("sku", "name"),
        ("sku", "capacity"),
    )
    for _, service in project.services("azure.ai.project"):
        for deployment in service["deployments"].elements:
            if deployment["$ref"]:
                continue  # reported by ref-missing
            missing = [".".join(path) for path in needed if not deployment.at(*path).text]
            if missing:
                yield Finding(deployment.file, deployment.line, f"the deployment has no {', '.join(missing)}")
            elif not re.fullmatch(r"[1-9]\d*|\$\{.*\}", deployment.at("sku", "capacity").text):
                yield Finding(
                    deployment.file, deployment.at("sku", "capacity").line, "the capacity is not a whole number"
                )


@rule(
    "deployment-unknown", "error", "An agent asks for a model deployment that nobody makes",
    fix="Use the name of a deployment in azure.yaml, or add one.",
)  # fmt: skip
def deployment_unknown(project: Project) -> Iterator[Finding]:
    """The first request then ends with DeploymentNotFound (Learn, how-to/deploy-hosted-agent). Not checked for an
    existing project (`endpoint:`), whose deployments only the cloud knows."""
    services = project.services("azure.ai.project")
    made = {each["name"].text for _, service in services for each in service["deployments"].elements}
    # An include that cannot be followed may hold any name.
    if not made or "" in made or any(service["endpoint"] or "${" in "".join(made) for _, service in services):
        return
    for agent in project.agents:
        for name, value in agent.environment:
            if name in _MODEL_VARIABLES and is_literal(value) and value.text not in made:
                yield Finding(
                    value.file,
                    value.line,
                    f"{agent.key} asks for {value.text!r}; azure.yaml makes {', '.join(sorted(made))}",
                )


@rule(
    "required-versions", "warning", "The versions of azd and its extensions are not demanded",
    fix="Add requiredVersions with azd, azure.ai.agents and azure.ai.projects.",
)  # fmt: skip
def required_versions(project: Project) -> Iterator[Finding]:
    """Definitions in azure.yaml need azure.ai.agents 1.0.0-beta.1 or newer, and agents and projects must fit each other
    (#9133): with an older one azd ignores what it does not know."""
    if not any(agent.inline for agent in project.agents) or not project.azure:
        return
    versions: Value = project.azure["requiredVersions"]
    missing = [name for name in ("azure.ai.agents", "azure.ai.projects") if not versions.at("extensions", name).text]
    if not versions["azd"].text or (missing and not versions.at("extensions", "microsoft.foundry").text):
        what = [*([] if versions["azd"].text else ["azd"]), *missing]
        line = versions.line if versions else 1
        yield Finding(project.written.file, line, f"requiredVersions does not name {', '.join(what)}")


@rule(
    "agent-without-service", "warning", "An agent's folder is no service",
    fix="Add a service for it to azure.yaml, or delete the folder.",
)  # fmt: skip
def agent_without_service(project: Project) -> Iterator[Finding]:
    """`azd up` deploys the services of azure.yaml only (Azure/azure-dev, schemas/v1.0/azure.yaml.json)."""
    for document in project.stray_definitions:
        yield Finding(document.file, 1, f"{project.relative(document.file)} is not deployed")
