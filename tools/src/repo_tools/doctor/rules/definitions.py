"""The definition of an agent: its kind, name, shape, size and session settings."""

import re
from collections.abc import Iterator

from repo_tools.doctor.documents import Value
from repo_tools.doctor.project import Agent, Project, line_of
from repo_tools.doctor.rule import Edit, Finding, edit_scalar, rule

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_KINDS = ("hosted", "prompt", "voice", "prompt-voice")
_SNAKE_CASE = {
    "environment_variables": "`env` of the service in azure.yaml",
    "session_configuration": "sessionConfiguration",
    "code_configuration": "codeConfiguration",
    "agent_endpoint": "agentEndpoint",
    "agent_card": "agentCard",
    "display_name": "displayName",
    "input_schema": "inputSchema",
    "output_schema": "outputSchema",
}
_DEFINITION_KEYS = ("protocols", "container", "sessionConfiguration", "codeConfiguration", "agentEndpoint", "agentCard")
_SIZES = {"0.25": 0.5, "0.5": 1.0, "1": 2.0, "2": 4.0, "4": 8.0}
_KEEPS_FILES = re.compile(
    r"Path\.home\(|expanduser\(|environ(?:\.get\(|\[)\s*[\"']HOME[\"']|sqlite3\.connect\(|\.write_(?:text|bytes)\("
    r"|\bopen\([^)\n]*,\s*[\"'][wax]b?\+?[\"']|AGENTSERVER_STATE_ROOT|FileResponseStore|SqliteSaver"
)


def resources(agent: Agent) -> tuple[Value, Value]:
    """cpu and memory as azd reads them: only `container.resources` counts."""
    found = agent.definition.at("container", "resources")
    return found["cpu"], found["memory"]


def cpu_cores(text: str) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    return float(found[1]) / (1000 if found[2] else 1) if found else None


def memory_gib(text: str) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti)", text)
    return float(found[1]) * {"Ki": 2**-20, "Mi": 2**-10, "Gi": 1, "Ti": 2**10}[found[2]] if found else None


@rule(
    "kind-missing", "error", "An agent's definition has no kind",
    fix="Add `kind: hosted` beside the other keys of the definition.",
)  # fmt: skip
def kind_missing(project: Project) -> Iterator[Finding]:
    """Without `kind` azd does not take the keys of the service as a definition and looks for an agent.yaml on disk
    (Azure/azure-dev, azure.ai.agents, internal/project/agent_definition.go)."""
    for agent in project.agents:
        if not agent.definition["kind"]:
            yield Finding(
                agent.definition.file, agent.definition.line, f"{agent.key} has no `kind`, so azd finds no definition"
            )
        elif not agent.inline and any(agent.service[key] for key in _DEFINITION_KEYS):
            yield Finding(
                agent.service.file, agent.service.line,
                f"{agent.key} is defined here without `kind`, and azd takes {project.relative(agent.definition.file)}",
            )  # fmt: skip


@rule("kind-unknown", "error", "An agent's kind does not exist", fix="Write `kind: hosted` for code of your own.")
def kind_unknown(project: Project) -> Iterator[Finding]:
    """azd knows hosted, prompt, voice and prompt-voice; `workflow` and `container` belonged to earlier previews
    (Azure/azure-dev, azure.ai.agents/schemas/azure.ai.agent.json; Learn, azure-yaml-reference)."""
    for agent in project.agents:
        kind = agent.definition["kind"]
        if kind and kind.text not in _KINDS:
            yield Finding(kind.file, kind.line, f"{agent.key} is of kind {kind.text!r}")


@rule("name-missing", "error", "An agent has no name", fix="Add `name`, equal to the service's key.")
def name_missing(project: Project) -> Iterator[Finding]:
    """azd refuses the definition: "name cannot be empty" (Azure/azure-dev, azure.ai.agents, agent_yaml/parse.go)."""
    for agent in project.agents:
        if agent.definition["kind"] and not agent.name.text:
            yield Finding(agent.definition.file, agent.definition.line, f"{agent.key} has no `name`")


@rule(
    "name-pattern", "error", "An agent's name is badly formed",
    fix="Use letters, digits and hyphens, at most 63, with a letter or digit at both ends.",
)  # fmt: skip
def name_pattern(project: Project) -> Iterator[Finding]:
    """The name is part of the endpoint's path; azd refuses anything but this pattern (Azure/azure-dev,
    azure.ai.agents, internal/pkg/agents/agent_yaml/parse.go)."""
    for agent in project.agents:
        if agent.name.text and "${" not in agent.name.text and not _NAME.fullmatch(agent.name.text):
            yield Finding(agent.name.file, agent.name.line, f"{agent.name.text!r} cannot be an agent's name")


@rule("name-variable", "error", "An agent's name holds a variable", fix="Write the name out.")
def name_variable(project: Project) -> Iterator[Finding]:
    """azd does not expand `${VAR}` in `name` (#9898), so the agent would be called that (Azure/azure-dev)."""
    for agent in project.agents:
        if "${" in agent.name.text:
            yield Finding(agent.name.file, agent.name.line, f"{agent.name.text} is not expanded in a name")


@rule("name-not-unique", "error", "Two agents have one name", fix="Give each agent a name of its own.")
def name_not_unique(project: Project) -> Iterator[Finding]:
    """The second deployment makes a new version of the first agent: azd only warns (#8879)."""
    seen: dict[str, Agent] = {}
    for agent in project.agents:
        name = agent.name.text
        if name and name in seen:
            yield Finding(
                agent.name.file, agent.name.line, f"{agent.key} and {seen[name].key} are both called {agent.name.text}"
            )
        seen.setdefault(name, agent)


@rule(
    "name-differs", "warning", "Service key, agent name and folder differ",
    fix="Use one name for all three: azd's commands take the key, Foundry shows the name, people look for the folder.",
)  # fmt: skip
def name_differs(project: Project) -> Iterator[Finding]:
    """`azd ai agent invoke` takes the service's key, the endpoint has the agent's name; deployments went to the wrong
    agent where they differed (#8559)."""
    for agent in project.agents:
        if not agent.service or not agent.name.text or "${" in agent.name.text:
            continue
        if agent.name.text != agent.key:
            edit = edit_scalar(agent.name, agent.key) if _NAME.fullmatch(agent.key) else None
            taken = {other.name.text for other in project.agents}
            yield Finding(
                agent.name.file, agent.name.line, f"the service {agent.key} deploys an agent called {agent.name.text}",
                edit=edit if agent.key not in taken else None,
            )  # fmt: skip
        elif agent.folder not in (agent.root, agent.folder.parent) and agent.folder.name not in (agent.key, "src"):
            line = agent.service["project"]
            yield Finding(line.file, line.line, f"the agent {agent.key} lives in {project.relative(agent.folder)}")


@rule(
    "definition-tools", "error", "A hosted agent's definition lists tools",
    fix="Give the tools to the code, or put them into an `azure.ai.toolbox` service and read its endpoint.",
)  # fmt: skip
def definition_tools(project: Project) -> Iterator[Finding]:
    """Only prompt agents have `tools`: the definition of a hosted agent has no such field (azure-ai-projects 2.10,
    HostedAgentDefinition; azure.ai.agents/schemas/azure.ai.agent.json), so they never reach the model."""
    for agent in project.agents:
        tools = agent.definition["tools"]
        if tools and agent.definition["kind"].text == "hosted":
            yield Finding(tools.file, tools.line, f"`tools` of {agent.key} are ignored")


@rule(
    "container-scale", "warning", "A definition sets scale", fix="Delete it: the platform starts a sandbox per session."
)
def container_scale(project: Project) -> Iterator[Finding]:
    """`container.scale` was removed in azure.ai.agents 0.1.25 (#7764): the schema of `container` admits `resources`
    only, and azd ignores it with a warning (Azure/azure-dev, azure.ai.agents,
    internal/project/service_target_agent.go)."""
    for agent in project.agents:
        for scale in (agent.definition["scale"], agent.definition.at("container", "scale")):
            if scale:
                yield Finding(scale.file, scale.line, f"{agent.key} sets `scale`")


@rule(
    "container-size", "error", "cpu and memory are not a size that exists",
    fix="Use 0.5 with 1Gi, 1 with 2Gi, or 2 with 4Gi; 0.25 with 0.5Gi is the smallest.",
)  # fmt: skip
def container_size(project: Project) -> Iterator[Finding]:
    """Sandboxes come from 0.25 CPU with 0.5Gi to 4 with 8Gi, with twice as many GiB as CPUs (Learn,
    concepts/hosted-agents; Azure/azure-dev, azure.ai.agents, internal/project/config.go)."""
    for agent in project.agents:
        cpu, memory = resources(agent)
        if not cpu and not memory:
            continue
        cores, gib = cpu_cores(cpu.text or "0.5"), memory_gib(memory.text or "1Gi")
        place = cpu if cpu else memory
        if cores is None:
            yield Finding(cpu.file, cpu.line, f"{cpu.text!r} is no number of CPUs", 'Write it as "0.5" or "1".')
        elif gib is None:
            yield Finding(
                memory.file, memory.line, f"{memory.text!r} is no amount of memory", "Write it as 1Gi or 2Gi."
            )
        elif _SIZES.get(f"{cores:g}") != gib:
            yield Finding(
                place.file, place.line, f"{agent.key} asks for {cpu.text or '0.5'} CPU with {memory.text or '1Gi'}"
            )


@rule("container-size-text", "warning", "cpu is a number, not text", fix='Put it in quotes: cpu: "0.5".')
def container_size_text(project: Project) -> Iterator[Finding]:
    """The schema wants a string (azure.ai.agents/schemas/azure.ai.agent.json), so editors and CI that validate
    azure.yaml refuse the number."""
    for agent in project.agents:
        cpu = resources(agent)[0]
        if cpu and cpu.tag in ("int", "float"):
            edit = edit_scalar(cpu, f'"{cpu.text}"')
            yield Finding(cpu.file, cpu.line, f"cpu: {cpu.text} is not a string", edit=edit)


@rule(
    "idle-timeout", "error", "The idle timeout is out of range",
    fix="Choose 300 to 3600 seconds; without the key it is 900.",
)  # fmt: skip
def idle_timeout(project: Project) -> Iterator[Finding]:
    """azd refuses a value outside 300 to 3600 seconds (azure.ai.agents/schemas/azure.ai.agent.json,
    SessionConfiguration; #9612)."""
    for agent in project.agents:
        session = agent.definition.first("sessionConfiguration", "session_configuration")
        seconds = session.first("idleTimeoutSeconds", "idle_timeout_seconds")
        if seconds and not (re.fullmatch(r"[1-9]\d*", seconds.text) and 300 <= int(seconds.text) <= 3600):
            yield Finding(seconds.file, seconds.line, f"{agent.key} has an idle timeout of {seconds.text!r}")


@rule(
    "snapshot-keeps-files", "error", "Memory snapshots on an agent that keeps files",
    fix="Leave enableMemorySnapshot out, or move the state to Foundry's state store or another service.",
)  # fmt: skip
def snapshot_keeps_files(project: Project) -> Iterator[Finding]:
    """Sessions of a snapshot-enabled version keep neither $HOME nor local files nor process memory across idle
    suspend and resume (Learn, how-to/use-hosted-agent-memory-snapshots; azure-ai-projects 2.10,
    HostedAgentDefinition.enable_memory_snapshot)."""
    for agent in project.agents:
        switch = agent.definition.first("enableMemorySnapshot", "enable_memory_snapshot")
        if switch.text.lower() != "true":
            continue
        for path, text in agent.sources:
            if line := line_of(text, _KEEPS_FILES.pattern):
                yield Finding(switch.file, switch.line, f"{agent.key} keeps files: {project.relative(path)}:{line}")
                break


@rule(
    "policy-shape", "error", "A policy lacks what it needs",
    fix="Write `type: rai_policy` and `raiPolicyName` with the full resource id of the policy, once.",
)  # fmt: skip
def policy_shape(project: Project) -> Iterator[Finding]:
    """azd refuses a policy without a type, of an unsupported type, without a policy name, and a second rai_policy
    (Azure/azure-dev, azure.ai.agents, internal/pkg/agents/agent_yaml/parse.go)."""
    for agent in project.agents:
        for number, policy in enumerate(agent.definition["policies"].elements):
            name = policy.first("raiPolicyName", "rai_policy_name")
            if not policy["type"].text:
                yield Finding(policy.file, policy.line, f"policy {number + 1} of {agent.key} has no type")
            elif policy["type"].text != "rai_policy":
                yield Finding(
                    policy.file, policy["type"].line, f"policies of type {policy['type'].text!r} do not exist"
                )
            elif not name.text:
                yield Finding(policy.file, policy.line, f"policy {number + 1} of {agent.key} names no raiPolicyName")
            elif number:
                yield Finding(policy.file, policy.line, f"{agent.key} has more than one rai_policy")


@rule(
    "legacy-snake-case", "error", "A definition in azure.yaml uses the keys of the older agent.yaml",
    fix="Rename the key; inline definitions and the files that $ref includes are camelCase.",
)  # fmt: skip
def legacy_snake_case(project: Project) -> Iterator[Finding]:
    """azd reads inline definitions in camelCase and ignores keys it does not know, so the setting is lost without a
    word (Azure/azure-dev, azure.ai.agents, internal/project/agent_definition.go)."""
    for agent in project.agents:
        for old, new in _SNAKE_CASE.items():
            value = agent.service[old]
            if not (agent.inline and value):
                continue
            edit = Edit(value.file, value.line, f"{old}:", f"{new}:") if re.fullmatch(r"\w+", new) else None
            # What stands below some keys changes its spelling too; those are left to the author.
            simple = edit if old in ("display_name", "input_schema", "output_schema") else None
            yield Finding(value.file, value.line, f"{old} is ignored; today it is {new}", edit=simple)


@rule(
    "legacy-camel-case", "error", "An agent.yaml that azd finds by itself uses the keys of azure.yaml",
    fix="Include the file in azure.yaml with `$ref`, which reads these keys.",
)  # fmt: skip
def legacy_camel_case(project: Project) -> Iterator[Finding]:
    """Without `$ref` azd reads agent.yaml in its older shape, with snake_case keys, and ignores the others: the
    settings are lost without a word (Azure/azure-dev, azure.ai.agents, internal/pkg/agents/agent_yaml/yaml.go)."""
    for agent in project.agents:
        if agent.definition.file != agent.on_disk.file or agent.inline or not agent.definition["kind"]:
            continue
        for key in (*_DEFINITION_KEYS[2:], "environmentVariables", "container"):
            if value := agent.definition[key]:
                yield Finding(value.file, value.line, f"`{key}` of {agent.key} is ignored in this file")


@rule(
    "legacy-template", "error", "An agent.yaml still has the shape of a manifest",
    fix="Move what is below `template:` to the top and include the file with `$ref`; parameters are the manifest's.",
)  # fmt: skip
def legacy_template(project: Project) -> Iterator[Finding]:
    """The initial preview nested the definition below `template`; today only agent.manifest.yaml has it, and it is
    read by `azd ai agent init -m` alone (Azure/azure-dev, azure.ai.agents, internal/pkg/agents/agent_yaml/yaml.go)."""
    for agent in project.agents:
        template = (agent.service if agent.inline else agent.on_disk)["template"]
        if template:
            yield Finding(template.file, template.line, f"{agent.key} is defined below `template`")


@rule(
    "legacy-agent-yaml", "warning", "The definition is in an agent.yaml that azd finds by itself",
    fix="Include it in azure.yaml with `$ref`, in the camelCase shape, and move its variables to `env` of the service.",
)  # fmt: skip
def legacy_agent_yaml(project: Project) -> Iterator[Finding]:
    """Stand-alone agent.yaml files are deprecated since azure.ai.agents 1.0.0-beta.1 and are to go before general
    availability (#8773, #9014)."""
    for agent in project.agents:
        if agent.service and not agent.inline and agent.on_disk["kind"] and agent.definition.file == agent.on_disk.file:
            yield Finding(agent.on_disk.file, agent.on_disk.line, f"azd falls back to this file for {agent.key}")


@rule(
    "legacy-two-definitions", "warning", "An agent is defined twice",
    fix="Delete the agent.yaml, or include it with `$ref` instead of repeating it.",
)  # fmt: skip
def legacy_two_definitions(project: Project) -> Iterator[Finding]:
    """Where azure.yaml has a definition, an agent.yaml beside the code is silently ignored and nothing is merged
    (Azure/azure-dev, azure.ai.agents, internal/project/agent_definition.go)."""
    included = {document.file.resolve() for document in project.documents if document.file != project.written.file}
    for agent in project.agents:
        own_files = {value.file.resolve() for _, value in agent.service.scalars()}
        if agent.inline and agent.on_disk and agent.on_disk.file.resolve() not in own_files & included:
            yield Finding(agent.on_disk.file, 1, f"azd takes {agent.key} from azure.yaml and never reads this file")


@rule(
    "legacy-resources", "error", "The size in agent.yaml is not deployed",
    fix="Set `container.resources` in azure.yaml, or in the file that it includes with `$ref`.",
)  # fmt: skip
def legacy_resources(project: Project) -> Iterator[Finding]:
    """`resources` of an agent.yaml are never sent: azd takes `container.resources`, else 0.5 CPU and 1Gi
    (Azure/azure-dev, azure.ai.agents, internal/project/service_target_agent.go)."""
    for agent in project.agents:
        wanted = agent.definition["resources"]
        if not agent.service or wanted.kind != "mapping" or not (wanted["cpu"] or wanted["memory"]):
            continue
        sent = agent.service.at("container", "resources")
        if not sent:
            sent = agent.service.at("config", "container", "resources")
        cpu, memory = sent["cpu"].text or "0.5", sent["memory"].text or "1Gi"
        if (wanted["cpu"].text or cpu, wanted["memory"].text or memory) != (cpu, memory):
            yield Finding(wanted.file, wanted.line, f"{agent.key} gets {cpu} CPU and {memory}, whatever stands here")


@rule(
    "manifest-template", "error", "A manifest has no template", fix="Put the agent's definition below `template:`.",
)  # fmt: skip
def manifest_template(project: Project) -> Iterator[Finding]:
    """`azd ai agent init -m` refuses it: "must contain 'template' field" (Azure/azure-dev, azure.ai.agents,
    internal/pkg/agents/agent_yaml/parse.go)."""
    for manifest in project.manifests:
        if not manifest["template"].members:
            yield Finding(
                manifest.file, manifest["template"].line, "agent.manifest.yaml has no `template` with a definition"
            )


@rule(
    "manifest-differs", "error", "A manifest describes another agent than the one deployed",
    fix="Make the manifest's template agree with the definition.",
)  # fmt: skip
def manifest_differs(project: Project) -> Iterator[Finding]:
    """Whoever starts from the manifest with `azd ai agent init -m` gets an agent that differs from the one this
    repository deploys (Azure/azure-dev, azure.ai.agents, internal/pkg/agents/agent_yaml/yaml.go: AgentManifest)."""
    agents = {agent.folder: agent for agent in project.agents}
    for manifest in project.manifests:
        agent, template = agents[manifest.file.parent], manifest["template"]
        spoken = sorted((each["protocol"].text, each["version"].text) for each in agent.protocols)
        told = template["protocols"]
        if told and sorted((each["protocol"].text, each["version"].text) for each in told.elements) != spoken:
            yield Finding(told.file, told.line, f"the protocols are not those of {agent.key}")
        name = template["name"]
        if name and not re.search(r"\{\{|\$\{", name.text + agent.name.text) and name.text != agent.name.text:
            yield Finding(name.file, name.line, f"the manifest's agent is {name.text}, not {agent.name.text}")
