"""Which protocols an agent declares, and whether what is locked for it speaks them."""

import re
from collections.abc import Iterator

from packaging.version import Version

from repo_tools.doctor.documents import Value
from repo_tools.doctor.project import Agent, Project, line_of
from repo_tools.doctor.rule import Edit, Finding, edit_scalar, rule

_PROTOCOLS = (
    "responses",
    "invocations",
    "invocations_ws",
    "activity",
    "a2a",
    "mcp",
    "voice",
    "voice_conversation_engine",
)
_LIBRARIES = {
    "responses": ("azure-ai-agentserver-responses",),
    "invocations": ("azure-ai-agentserver-invocations",),
    "invocations_ws": ("azure-ai-agentserver-invocations",),
    "activity": ("azure-ai-agentserver-activity",),
}
_ANY_PROTOCOL = ("agent-framework-foundry-hosting", "langchain-azure-ai")
"""Host libraries that bring the protocol libraries along: enough where there is no lock that lists them."""
_VERSIONED = ("responses", "invocations", "activity")
_ADAPTERS = {
    "azure-ai-agentserver-agentframework": "agent-framework-foundry-hosting",
    "azure-ai-agentserver-langgraph": "langchain-azure-ai[hosting]",
}
_CORE = "azure-ai-agentserver-core"
_FIRST_WITH_2 = Version("2.0.0b7")


@rule(
    "protocol-missing", "warning", "An agent declares no protocol",
    fix="Add `protocols:` with the protocol it serves, version 2.0.0.",
)  # fmt: skip
def protocol_missing(project: Project) -> Iterator[Finding]:
    """azd then declares responses 2.0.0, whatever the code serves (Azure/azure-dev, azure.ai.agents,
    internal/pkg/agents/agent_yaml/map.go)."""
    for agent in project.agents:
        if agent.definition["kind"].text == "hosted" and not agent.protocols:
            line = agent.definition["protocols"].line
            yield Finding(agent.definition.file, line, f"{agent.key} declares no protocol")


@rule("protocol-version-missing", "warning", "A protocol has no version", fix="Add `version: 2.0.0`.")
def protocol_version_missing(project: Project) -> Iterator[Finding]:
    """azd sends an empty version: it fills one in only where no protocol is declared (Azure/azure-dev, azure.ai.agents,
    internal/pkg/agents/agent_yaml/map.go)."""
    for agent in project.agents:
        for entry in agent.protocols:
            if entry["protocol"].text and not entry["version"].text:
                message = f"{entry['protocol'].text} of {agent.key} has no version"
                yield Finding(entry.file, entry["protocol"].line, message)


@rule(
    "protocol-unknown", "error", "A protocol does not exist",
    fix="Use responses, invocations, invocations_ws, activity or a2a.",
)  # fmt: skip
def protocol_unknown(project: Project) -> Iterator[Finding]:
    """The wire values are fixed (azure-ai-projects 2.10, AgentEndpointProtocol; Azure/azure-dev, azure.ai.agents,
    internal/pkg/agents/agent_api/models.go); azd sends others unchecked. `activity_protocol` is the older
    `activity`."""
    for agent in project.agents:
        for entry in agent.protocols:
            name = entry["protocol"]
            if name.text in _PROTOCOLS:
                continue
            edit = edit_scalar(name, "activity") if name.text == "activity_protocol" else None
            line = name.line if name else entry.line
            yield Finding(entry.file, line, f"{agent.key} declares the protocol {name.text!r}", edit=edit)


@rule(
    "protocol-twice",
    "error",
    "A protocol is declared twice",
    fix="Keep one entry, with the version that the library speaks.",
)
def protocol_twice(project: Project) -> Iterator[Finding]:
    """An endpoint has one configuration per protocol (azure-ai-projects 2.10, protocol_configuration of the agent's
    endpoint), so one of the two versions is lost."""
    for agent in project.agents:
        seen: set[str] = set()
        for entry in agent.protocols:
            name = entry["protocol"]
            if name.text and name.text in seen:
                yield Finding(name.file, name.line, f"{agent.key} declares {name.text} twice")
            seen.add(name.text)


@rule(
    "protocol-v1",
    "error",
    'A protocol version is written "v1"',
    fix="Write 2.0.0, and update the libraries to ones that speak it.",
)
def protocol_v1(project: Project) -> Iterator[Finding]:
    """ "v1" is the form of the initial preview; the platform compares versions of three numbers (Learn,
    concepts/hosted-agent-contract; Azure/azure-dev, azure.ai.agents, internal/cmd/init_from_code.go: 2.0.0)."""
    for agent in project.agents:
        for entry in agent.protocols:
            version = entry["version"]
            if version.text and entry["protocol"].text != "a2a" and not re.fullmatch(r"\d+\.\d+\.\d+", version.text):
                yield Finding(
                    version.file, version.line, f"{entry['protocol'].text} of {agent.key} has version {version.text!r}",
                    edit=_to_2(agent, version),
                )  # fmt: skip


@rule(
    "protocol-1-0", "error", "A protocol version is no longer served",
    fix="Declare 2.0.0, and lock azure-ai-agentserver-core 2.0.0b7 or newer.",
)  # fmt: skip
def protocol_1_0(project: Project) -> Iterator[Finding]:
    """Container protocol 1.0.0 is blocked since 2026-07-31: "running on protocol 1.0.0, but the agent requires protocol
    2.0.0" (Learn, how-to/isolate-sessions-per-user). invocations_ws of a voice bridge stays 1.0.0."""
    for agent in project.agents:
        for entry in agent.protocols:
            version = entry["version"]
            if entry["protocol"].text in _VERSIONED and re.match(r"[01]\.\d+\.\d+$", version.text):
                yield Finding(
                    version.file, version.line, f"{agent.key} declares {entry['protocol'].text} {version.text}",
                    edit=_to_2(agent, version),
                )  # fmt: skip


def _to_2(agent: Agent, version: Value) -> Edit | None:
    """The edit to 2.0.0, only where the lock shows that the library speaks it."""
    core = agent.requirements.locked_version(_CORE)
    return edit_scalar(version, "2.0.0") if core and core >= _FIRST_WITH_2 else None


@rule(
    "protocol-newer", "warning", "A protocol version is not known",
    fix="Declare 2.0.0, which today's libraries speak, unless the platform's documentation says otherwise.",
)  # fmt: skip
def protocol_newer(project: Project) -> Iterator[Finding]:
    """azd and the libraries agree on 2.0.0 (Azure/azure-dev, azure.ai.agents, internal/cmd/init_from_code.go), and azd
    does not check what is declared."""
    for agent in project.agents:
        for entry in agent.protocols:
            version = entry["version"]
            newer = re.fullmatch(r"(?!0\.|1\.)\d+\.\d+\.\d+", version.text) and version.text != "2.0.0"
            if newer and entry["protocol"].text in _VERSIONED:
                yield Finding(version.file, version.line, f"{agent.key} declares {version.text}")


@rule(
    "protocol-library-missing", "error", "Nothing that is locked serves a declared protocol",
    fix="Add the library to pyproject.toml and lock again, or do not declare the protocol.",
)  # fmt: skip
def protocol_library_missing(project: Project) -> Iterator[Finding]:
    """The platform sends POST /responses or /invocations to the container; the routes come from
    azure-ai-agentserver-responses, -invocations and -activity (PyPI; Learn, concepts/hosted-agent-contract)."""
    for agent in project.agents:
        requirements = agent.requirements
        shared_lock = requirements.lock is not None and requirements.lock.parent != agent.folder
        names = {each.name for each in (*requirements.locked, *requirements.declared)}
        # Without a lock, a package that is no plain name (`-e ../shared`, an address) may bring the library along.
        unseen = any(each.requirement is None or each.requirement.url for each in requirements.declared)
        if not requirements.locked and (unseen or names & {*_ANY_PROTOCOL, *_ADAPTERS}):
            continue
        if not requirements or shared_lock:
            continue
        for entry in agent.protocols:
            name = entry["protocol"]
            needed = _LIBRARIES.get(name.text, ())
            if needed and not names & set(needed) and not names & set(_ADAPTERS) and not _serves(agent, name.text):
                yield Finding(
                    name.file, name.line, f"{agent.key} declares {name.text} but does not install {needed[0]}"
                )


def _serves(agent: Agent, protocol: str) -> bool:
    """Whether the code has a route of its own for the protocol: any web framework may serve it."""
    return any(line_of(text, rf"[\"']/{protocol}\b") for _, text in agent.sources)


@rule(
    "protocol-library-old", "error", "The locked library does not speak protocol 2.0.0",
    fix="Lock azure-ai-agentserver-core 2.0.0b7 or newer, with the protocol libraries that belong to it.",
)  # fmt: skip
def protocol_library_old(project: Project) -> Iterator[Finding]:
    """Protocol 2.0.0 needs azure-ai-agentserver-core 2.0.0b7 or newer: older ones look for isolation headers that the
    platform no longer sends (Learn, how-to/isolate-sessions-per-user)."""
    for agent in project.agents:
        core = next((each for each in agent.requirements.locked if each.name == _CORE), None)
        version = core.version if core else None
        if core and version and version < _FIRST_WITH_2:
            yield Finding(core.file, core.line, f"{agent.key} locks {_CORE} {version}")


@rule(
    "adapter-package", "error", "A package of the initial preview is used",
    fix="Install the successor, build the host with its class, and declare protocol 2.0.0.",
)  # fmt: skip
def adapter_package(project: Project) -> Iterator[Finding]:
    """azure-ai-agentserver-agentframework and -langgraph served the initial preview and never left pre-release (PyPI);
    their successors are agent-framework-foundry-hosting (ResponsesHostServer) and langchain-azure-ai[hosting]."""
    for agent in project.agents:
        for each in (*agent.requirements.declared, *agent.requirements.locked):
            if each.name in _ADAPTERS:
                yield Finding(
                    each.file, each.line, f"{agent.key} uses {each.name}",
                    f"Install {_ADAPTERS[each.name]}, build the host with its ResponsesHostServer, and declare 2.0.0.",
                )  # fmt: skip


@rule(
    "adapter-import", "error", "Code imports an adapter of the initial preview",
    fix="Use ResponsesHostServer of agent_framework_foundry_hosting, or of langchain_azure_ai.agents.hosting.",
)  # fmt: skip
def adapter_import(project: Project) -> Iterator[Finding]:
    """`from_agent_framework` and `from_langgraph` belong to packages that do not speak protocol 2.0.0 (PyPI,
    azure-ai-agentserver-agentframework, azure-ai-agentserver-langgraph)."""
    pattern = r"^\s*(?:from|import)\s+azure\.ai\.agentserver\.(?:agentframework|langgraph)\b"
    for agent in project.agents:
        for path, text in agent.sources:
            if line := line_of(text, pattern):
                yield Finding(path, line, f"{agent.key} imports an adapter of the initial preview")


@rule(
    "isolation-headers", "error", "Code reads headers that are gone",
    fix="Read `get_request_context()` of azure.ai.agentserver.core: user_id, call_id, session_id.",
)  # fmt: skip
def isolation_headers(project: Project) -> Iterator[Finding]:
    """x-agent-user-isolation-key and x-agent-chat-isolation-key belong to protocol 1.0.0; 2.0.0 sends x-agent-user-id
    and x-agent-foundry-call-id (Learn, how-to/isolate-sessions-per-user)."""
    for agent in project.agents:
        for path, text in agent.sources:
            if line := line_of(text, r"x-agent-(?:user|chat)-isolation-key"):
                yield Finding(path, line, f"{agent.key} reads an isolation header of protocol 1.0.0")
