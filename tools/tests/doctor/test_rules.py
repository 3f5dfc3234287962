"""Each rule finds its mistake, once, on its line and nothing else, in a project that has this one mistake; and no rule
says anything about projects that are right."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from repo_tools.doctor.command import apply_edits, examine
from repo_tools.doctor.project import read_project
from repo_tools.doctor.rule import Edit, load_rules
from repo_tools.repository import ROOT

from .projects import (
    RIGHT,
    Tree,
    code_deployment,
    connections_and_layers,
    inline_definition,
    one_agent,
    two_agents,
    write,
)

RULES = load_rules()
AZURE, AGENT = "azure.yaml", "agents/desk/agent.yaml"
DOCKERFILE, LOCK = "agents/desk/Dockerfile", "agents/desk/requirements.lock"
PYPROJECT, SOURCE = "agents/desk/pyproject.toml", "agents/desk/src/desk/__main__.py"
BASE_SERVICE = "  desk:\n    host: azure.ai.agent"
URL = "import urllib.request as r; r.urlopen('http://127.0.0.1:8088/readiness')"
HASH = " \\\n    --hash=sha256:" + "0" * 64 + "\n"
# In two parts: a scanner of this repository must not take them for real ones.
PRIVATE_KEY, GITHUB_TOKEN = "-----BEGIN " + "PRIVATE KEY-----", "gh" + "p_" + "a1B2" * 9

BY_GIT = {"env-file-tracked"}
"""What only a repository of git can show."""

Change = Callable[[Tree], None]


def swap(path: str, old: str, new: str) -> Change:
    def change(tree: Tree) -> None:
        assert tree[path].count(old) >= 1, f"{old!r} is not in {path}"
        tree[path] = tree[path].replace(old, new, 1)

    return change


def put(path: str, text: str) -> Change:
    return lambda tree: tree.__setitem__(path, text)


def append(path: str, text: str) -> Change:
    return lambda tree: tree.__setitem__(path, tree[path] + text)


def drop(path: str) -> Change:
    return lambda tree: tree.__delitem__(path)


def env(lines: str) -> Change:
    return swap(AZURE, "      LOG_LEVEL: info\n", f"      LOG_LEVEL: info\n      {lines}\n")


@dataclass(frozen=True)
class Case:
    rule: str
    changes: tuple[Change, ...]
    file: str
    line: str | int
    """The only line of the file that holds this text, or its number."""
    base: Callable[[], Tree] = one_agent
    also: frozenset[str] = frozenset()
    """Rules that are right to speak up too."""

    def write(self, folder: Path) -> Path:
        tree = self.base()
        for change in self.changes:
            change(tree)
        write(tree, folder)
        if self.rule in BY_GIT:
            subprocess.run(["git", "init", "-q", str(folder)], check=True, timeout=20)
            subprocess.run(["git", "-C", str(folder), "add", "--force", "."], check=True, timeout=20)
        return folder


def case(
    rule: str, *changes: Change, at: tuple[str, str | int], base: Callable[[], Tree] = one_agent, also: str = ""
) -> Case:
    return Case(rule, changes, *at, base=base, also=frozenset(also.split()))


def legacy(text: str) -> tuple[Change, ...]:
    """The definition only in an agent.yaml of the older shape, which azd finds by itself."""
    return (swap(AZURE, "    $ref: ./agents/desk/agent.yaml\n", ""), put(AGENT, text))


LEGACY = "kind: hosted\nname: desk\nprotocols:\n  - {protocol: responses, version: 2.0.0}\n"
FALLS_BACK = "legacy-agent-yaml startup-missing"

CASES = [
    # files
    case("yaml-syntax", swap(AGENT, "name: desk", "name: [desk"), at=(AGENT, "description")),
    case("yaml-syntax", swap(AZURE, "    language: docker", "\tlanguage: docker"), at=(AZURE, "language")),
    case("yaml-syntax", put(AZURE, ""), at=(AZURE, 1)),
    case("yaml-duplicate-key", append(AGENT, "kind: prompt\n"), at=(AGENT, "kind: prompt")),
    case("ref-missing", swap(AZURE, "desk/agent.yaml", "desk/definition.yaml"), at=(AZURE, "$ref")),
    case("ref-missing", append(AGENT, "$ref: ./agent.yaml\n"), at=(AGENT, "$ref")),
    case("ref-remote", swap(AZURE, "./agents/desk/agent.yaml", "https://example.com/a.yaml"), at=(AZURE, "$ref")),
    case("placeholder-unresolved", swap(AZURE, "DEPLOYMENT_NAME: chat", "DEPLOYMENT_NAME: '{{chat}}'"), at=(AZURE, "{{chat}}")),
    case("placeholder-text", env("SEARCH_INDEX: <your-index>"), at=(AZURE, "<your-index>")),
    case("placeholder-text", env("SEARCH_INDEX: CHANGEME"), at=(AZURE, "CHANGEME")),
    case("secret-in-file", append(AGENT, f"metadata:\n  note: {GITHUB_TOKEN}\n"), at=(AGENT, "note")),
    case("secret-in-file", put("infra/main.bicep", f"\nvar key = '{PRIVATE_KEY}'\n"), at=("infra/main.bicep", 2)),
    case("env-file-tracked", put(".env.example", "A=\n"), put("agents/desk/.env.local", "A=b\n"), at=("agents/desk/.env.local", 1)),
    # definitions
    case("kind-missing", swap(AGENT, "kind: hosted\n", ""), at=(AGENT, 1)),
    case("kind-unknown", swap(AGENT, "kind: hosted", "kind: workflow"), at=(AGENT, "kind")),
    case("name-missing", swap(AGENT, "name: desk\n", ""), at=(AZURE, "  desk:")),
    case("name-pattern", swap(AGENT, "name: desk", "name: desk_agent"), at=(AGENT, "name: desk_agent"), also="name-differs"),
    case("name-pattern", swap(AGENT, "name: desk", "name: desk-"), at=(AGENT, "name: desk-"), also="name-differs"),
    case("name-variable", swap(AGENT, "name: desk", "name: desk-${AZURE_ENV_NAME}"), at=(AGENT, "name: desk-")),
    case("name-not-unique", swap("agents/audit/agent.yaml", "name: audit", "name: desk"), at=("agents/audit/agent.yaml", "name: desk"), base=two_agents, also="name-differs"),
    case("name-differs", swap(AGENT, "name: desk", "name: front-desk"), at=(AGENT, "name: front-desk")),
    case("name-differs", swap(AZURE, "  desk:", "  front:"), swap(AGENT, "name: desk", "name: front"), at=(AZURE, "project: ./agents/desk")),
    case("definition-tools", append(AGENT, "tools:\n  - type: web_search\n"), at=(AGENT, "tools:")),
    case("container-scale", swap(AGENT, "container:\n", "container:\n  scale: {minReplicas: 1}\n"), at=(AGENT, "scale")),
    case("container-size", swap(AGENT, "memory: 1Gi", "memory: 2Gi"), at=(AGENT, "cpu")),
    case("container-size", swap(AGENT, 'cpu: "0.5"', 'cpu: "3"'), at=(AGENT, "cpu")),
    case("container-size", swap(AGENT, "memory: 1Gi", "memory: 1GB"), at=(AGENT, "memory")),
    case("container-size", swap(AGENT, 'cpu: "0.5"', 'cpu: half'), at=(AGENT, "cpu")),
    case("container-size-text", swap(AGENT, 'cpu: "0.5"', "cpu: 0.5"), at=(AGENT, "cpu")),
    case("idle-timeout", swap(AGENT, "Seconds: 900", "Seconds: 60"), at=(AGENT, "idleTimeoutSeconds")),
    case("idle-timeout", swap(AGENT, "Seconds: 900", "Seconds: 15m"), at=(AGENT, "idleTimeoutSeconds")),
    case("snapshot-keeps-files", append(AGENT, "enableMemorySnapshot: true\n"), append(SOURCE, "import sqlite3\nsqlite3.connect('x')\n"), at=(AGENT, "enableMemorySnapshot")),
    case("policy-shape", append(AGENT, "policies:\n  - type: rai_policy\n"), at=(AGENT, "- type: rai_policy")),
    case("policy-shape", append(AGENT, "policies:\n  - {type: audit, raiPolicyName: /x}\n"), at=(AGENT, "audit")),
    case("legacy-snake-case", swap(AGENT, "sessionConfiguration:\n  idleTimeoutSeconds", "session_configuration:\n  idle_timeout_seconds"), at=(AGENT, "session_configuration")),
    case("legacy-snake-case", append(AGENT, "display_name: Desk\n"), at=(AGENT, "display_name")),
    case("legacy-template", *legacy("name: desk\ntemplate:\n  kind: hosted\n  name: desk\n  protocols: [{protocol: responses, version: 2.0.0}]\n"), at=(AGENT, "template:"), also="startup-missing"),
    case("legacy-agent-yaml", *legacy(LEGACY), at=(AGENT, 1), also="startup-missing"),
    case("legacy-two-definitions", put(AGENT, LEGACY), at=(AGENT, 1), base=inline_definition),
    case("legacy-resources", *legacy(LEGACY + 'resources: {cpu: "2", memory: 4Gi}\n'), at=(AGENT, "resources"), also=FALLS_BACK),
    case("manifest-template", put("agents/desk/agent.manifest.yaml", "name: desk\n"), at=("agents/desk/agent.manifest.yaml", 1)),
    case("manifest-differs", put("agents/desk/agent.manifest.yaml", "template:\n  kind: hosted\n  name: desk\n  protocols:\n    - {protocol: invocations, version: 2.0.0}\n"), at=("agents/desk/agent.manifest.yaml", "protocols:")),
    # azure.yaml
    case("service-project", swap(AZURE, "    project: ./agents/desk\n", ""), swap(AZURE, "./Dockerfile", "agents/desk/Dockerfile"), swap(AZURE, "../..", "."), at=(AZURE, "  desk:"), also="startup-target"),
    case("service-folder", swap(AZURE, "project: ./agents/desk", "project: ./agent/desk"), at=(AZURE, "project: ./agent/desk")),
    case("service-keys", swap(AZURE, "    language: docker\n", "    language: docker\n    apiVersion: v1\n"), at=(AZURE, "apiVersion")),
    case("service-keys", swap(AZURE, "    deployments:", "    project: .\n    deployments:"), at=(AZURE, "    project: .\n")),
    case("ref-service-keys", append(AGENT, "language: docker\n"), swap(AZURE, "    language: docker\n", ""), at=(AGENT, "language")),
    case("legacy-config", swap(AZURE, "    env:\n", "    config: {startupCommand: python -m desk}\n    env:\n"), at=(AZURE, "config:")),
    case("config-env", swap(AZURE, "    env:\n", "    config:\n      env: {A: b}\n    env:\n"), at=(AZURE, "env: {A: b}"), also="legacy-config"),
    case("legacy-bundled", swap(AZURE, "    env:\n", "    toolboxes: [search]\n    env:\n"), at=(AZURE, "toolboxes")),
    case("uses-unknown", swap(AZURE, "    env:\n", "    uses: [ai-projekt]\n    env:\n"), at=(AZURE, "uses")),
    case("uses-circular", swap(AZURE, "    env:\n", "    uses: [ai-project]\n    env:\n"), swap(AZURE, "    deployments:", "    uses: [desk]\n    deployments:"), at=(AZURE, "uses: [desk]")),
    case("service-folder", swap(AZURE, "project: ./agents/desk", "project: ../desk"), at=(AZURE, "project: ../desk")),
    case("legacy-camel-case", *legacy(LEGACY + "sessionConfiguration: {idleTimeoutSeconds: 900}\n"), at=(AGENT, "sessionConfiguration"), also=FALLS_BACK),
    case("uses-parallel", swap(AZURE, "    env:\n", "    uses: [audit]\n    env:\n"), at=(AZURE, "uses"), base=two_agents),
    case("peer-unknown", env("PEER: ${AGENT_RESEARCHER_RESPONSES_ENDPOINT}"), at=(AZURE, "PEER")),
    case("peer-order", swap(AZURE, "  audit:\n", "  zeal:\n"), swap("agents/audit/agent.yaml", "name: audit", "name: zeal"), swap(AZURE, "AGENT_AUDIT", "AGENT_ZEAL"), at=(AZURE, "AUDIT_URL"), base=two_agents, also="name-differs"),
    case("infra-path", swap(AZURE, "path: infra/extras", "path: infra/more"), at=(AZURE, "infra/more"), base=connections_and_layers),
    case("infra-layers", swap(AZURE, "  layers:", "  path: infra\n  layers:"), at=(AZURE, "  path: infra\n"), base=connections_and_layers),
    case("infra-layers", swap(AZURE, "dependsOn: [foundry]", "dependsOn: [base]"), at=(AZURE, "dependsOn"), base=connections_and_layers),
    case("infra-deployments", swap(AZURE, "provider: microsoft.foundry", "provider: bicep"), at=(AZURE, "deployments:")),
    case("deployment-shape", swap(AZURE, ', version: "2026-03-17"', ""), at=(AZURE, "- name: chat")),
    case("deployment-shape", swap(AZURE, "capacity: 50", "capacity: many"), at=(AZURE, "capacity")),
    case("deployment-unknown", swap(AZURE, "DEPLOYMENT_NAME: chat", "DEPLOYMENT_NAME: gpt"), at=(AZURE, "DEPLOYMENT_NAME")),
    case("required-versions", swap(AZURE, '    azure.ai.projects: ">=1.0.0-beta.6"\n', ""), at=(AZURE, "requiredVersions")),
    case("agent-without-service", put("agents/other/agent.yaml", "kind: hosted\nname: other\n"), at=("agents/other/agent.yaml", 1)),
    # protocols
    case("protocol-missing", swap(AGENT, "protocols:\n  - protocol: responses\n    version: 2.0.0\n", ""), at=(AZURE, "  desk:")),
    case("protocol-version-missing", swap(AGENT, "    version: 2.0.0\n", ""), at=(AGENT, "protocol: responses")),
    case("protocol-unknown", swap(AGENT, "protocol: responses", "protocol: response"), at=(AGENT, "protocol: response")),
    case("protocol-unknown", swap(AGENT, "protocol: responses", "protocol: activity_protocol"), append(LOCK, f"azure-ai-agentserver-activity==1.0.0{HASH}"), at=(AGENT, "activity_protocol")),
    case("protocol-twice", swap(AGENT, "container:", "  - {protocol: responses, version: 2.0.0}\ncontainer:"), at=(AGENT, "- {protocol")),
    case("protocol-v1", swap(AGENT, "version: 2.0.0", "version: v1"), at=(AGENT, "version")),
    case("protocol-v1", swap(AGENT, "version: 2.0.0", "version: 2.0"), at=(AGENT, "version")),
    case("protocol-1-0", swap(AGENT, "version: 2.0.0", 'version: "1.0.0"'), at=(AGENT, "version")),
    case("protocol-newer", swap(AGENT, "version: 2.0.0", "version: 3.0.0"), at=(AGENT, "version")),
    case("protocol-library-missing", swap(AGENT, "container:", "  - {protocol: invocations, version: 2.0.0}\ncontainer:"), at=(AGENT, "invocations")),
    case("protocol-library-old", swap(LOCK, "core==2.2.0", "core==1.0.0b12"), at=(LOCK, "core==")),
    case("adapter-package", append(LOCK, f"azure-ai-agentserver-langgraph==1.0.0b17{HASH}"), at=(LOCK, "langgraph")),
    case("adapter-import", put(SOURCE, "import os\nfrom azure.ai.agentserver.agentframework import from_agent_framework\n"), at=(SOURCE, 2)),
    case("isolation-headers", append(SOURCE, "HEADER = 'x-agent-user-isolation-key'\n"), at=(SOURCE, "HEADER")),
    # environment
    case("env-name", env("MODEL-NAME: x"), at=(AZURE, "MODEL-NAME")),
    case("env-reserved", env("FOUNDRY_MODEL_NAME: chat"), at=(AZURE, "FOUNDRY_MODEL_NAME")),
    case("env-reserved", env("AGENT_MODE: chat"), at=(AZURE, "AGENT_MODE")),
    case("env-injected", env('PORT: "8088"'), at=(AZURE, "PORT")),
    case("env-injected", env("APPLICATIONINSIGHTS_CONNECTION_STRING: ${APPI}"), at=(AZURE, "APPLICATIONINSIGHTS")),
    case("env-old-endpoint", env("ENDPOINT: ${AZURE_AI_PROJECT_ENDPOINT}"), at=(AZURE, "ENDPOINT: $")),
    case("env-old-endpoint-name", env("AZURE_AI_PROJECT_ENDPOINT: ${FOUNDRY_PROJECT_ENDPOINT}"), at=(AZURE, "AZURE_AI_PROJECT_ENDPOINT")),
    case("env-old-endpoint", append(SOURCE, "import os\nENDPOINT = os.environ['AZURE_AI_PROJECT_ENDPOINT']\n"), at=(SOURCE, "ENDPOINT =")),
    case("env-old-endpoint-name", put("infra/main.bicep", "param a string\noutput AZURE_AI_PROJECT_ENDPOINT string = a\n"), at=("infra/main.bicep", 2)),
    case("env-list", append(AGENT, "environmentVariables:\n  - name: TOPIC\n    value: boots\n"), at=(AGENT, "environmentVariables")),
    case("env-list", *legacy(LEGACY + "environment_variables:\n  - {name: TOPIC, value: boots}\n"), at=(AGENT, "environment_variables"), also=FALLS_BACK),
    case("env-not-text", env("TOPICS: [boots, tents]"), at=(AZURE, "TOPICS")),
    case("env-not-text", env("TOPICS:"), at=(AZURE, "TOPICS")),
    case("env-unquoted", env("STRICT: yes"), at=(AZURE, "STRICT")),
    case("env-secret", env("SEARCH_API_KEY: 0123456789abcdef"), at=(AZURE, "SEARCH_API_KEY")),
    case("env-secret-expanded", env("SEARCH_API_KEY: ${SEARCH_API_KEY}"), at=(AZURE, "SEARCH_API_KEY")),
    case("env-connection-escape", swap(AZURE, "$${{connections", "${{connections"), at=(AZURE, "SEARCH_KEY"), base=connections_and_layers),
    case("env-connection-unknown", swap(AZURE, "connections.search.", "connections.find."), at=(AZURE, "SEARCH_KEY"), base=connections_and_layers),
    case("env-reserved", env("FOUNDRY_PROJECT_ENDPOINT: ${FOUNDRY_PROJECT_ENDPOINT}"), at=(AZURE, "FOUNDRY_PROJECT")),
    case("env-connection-escape", swap(AZURE, "$${{connections.search.credentials.key}}", "${{connections.search.target}} ${{connections.search.credentials.key}}"), at=(AZURE, "SEARCH_KEY"), base=connections_and_layers),
    case("env-client-id", env("AZURE_CLIENT_ID: 00000000-0000-0000-0000-000000000000"), at=(AZURE, "AZURE_CLIENT_ID")),
    case("env-service-name", env("OTEL_SERVICE_NAME: desk"), at=(AZURE, "OTEL_SERVICE_NAME")),
    case("env-keepalive", env('SSE_KEEPALIVE_INTERVAL: "0.5"'), at=(AZURE, "SSE_KEEPALIVE")),
    case("env-keepalive", swap(DOCKERFILE, "INTERVAL=15", "INTERVAL=15s"), at=(DOCKERFILE, "INTERVAL")),
    case("env-hosting", append(DOCKERFILE, "ENV FOUNDRY_HOSTING_ENVIRONMENT=local\n"), at=(DOCKERFILE, "FOUNDRY_HOSTING")),
    # images
    case("dockerfile-missing", drop(DOCKERFILE), at=(AZURE, "path: ./Dockerfile")),
    case("docker-keys", swap(AZURE, "      remoteBuild", "      target: runtime\n      remoteBuild"), at=(AZURE, "target")),
    case("docker-context", swap(AZURE, "context: ../..", "context: ../../src"), at=(AZURE, "context")),
    case("docker-copy", swap(DOCKERFILE, "COPY agents/desk/requirements.lock", "COPY requirements.lock"), at=(DOCKERFILE, "COPY requirements.lock")),
    case("docker-copy", swap(DOCKERFILE, "COPY agents/desk agents/desk", "COPY ../shared shared"), at=(DOCKERFILE, "COPY ../shared")),
    case("docker-copy-ignored", append(".dockerignore", "**/*.lock\n"), at=(DOCKERFILE, "COPY agents/desk/requirements.lock")),
    case("docker-copy-ignored", put("docs/a.md", "x"), swap(DOCKERFILE, "USER app", "COPY docs docs\nUSER app"), at=(DOCKERFILE, "COPY docs")),
    case("image-latest", swap(DOCKERFILE, "FROM python:3.13-slim\n", "FROM python:latest\n"), at=(DOCKERFILE, "FROM python:latest")),
    case("image-latest", swap(DOCKERFILE, "FROM python:3.13-slim AS", "ARG BASE=python\nFROM ${BASE} AS"), at=(DOCKERFILE, "FROM ${BASE}")),
    case("image-latest", swap(DOCKERFILE, "USER app", "COPY --from=ghcr.io/astral-sh/uv:latest /uv /bin/uv\nUSER app"), at=(DOCKERFILE, "uv:latest")),
    case("dockerignore-secrets", put(".dockerignore", "**/.env*\n!.azure/**\n**/.venv\n**/__pycache__\n**/node_modules\n"), at=(".dockerignore", "**/node_modules")),
    case("image-latest-deployed", swap(AZURE, "    docker:\n      path: ./Dockerfile\n      context: ../..\n      remoteBuild: true\n", "    image: example.azurecr.io/desk:latest\n"), at=(AZURE, "image:")),
    case("image-architecture", swap(DOCKERFILE, "FROM python:3.13-slim\n", "FROM --platform=linux/arm64 python:3.13-slim\n"), at=(DOCKERFILE, "arm64")),
    case("image-architecture", swap(AZURE, "      remoteBuild", "      platform: linux/arm64\n      remoteBuild"), at=(AZURE, "arm64")),
    case("image-latest", swap(DOCKERFILE, "USER app", "COPY --from=ghcr.io/astral-sh/uv /uv /bin/uv\nUSER app"), at=(DOCKERFILE, "/bin/uv")),
    case("docker-health", swap(DOCKERFILE, 'HEALTHCHECK CMD ["python", "-c", "' + URL + '"]', "HEALTHCHECK NONE"), at=(DOCKERFILE, "HEALTHCHECK")),
    case("docker-user", swap(DOCKERFILE, "USER app\n", ""), at=(DOCKERFILE, "FROM python:3.13-slim\n")),
    case("docker-user", append(DOCKERFILE, "USER root\n"), at=(DOCKERFILE, "USER root")),
    case("docker-port", swap(DOCKERFILE, "EXPOSE 8088", "EXPOSE 8000"), at=(DOCKERFILE, "EXPOSE")),
    case("docker-port", append(DOCKERFILE, "ENV PORT 80\n"), at=(DOCKERFILE, "ENV PORT")),
    case("docker-port", swap(DOCKERFILE, '"desk"]', '"desk", "--port", "9000"]'), swap(AGENT, "-m desk", "-m desk --port 9000"), at=(DOCKERFILE, '"9000"')),
    case("docker-host", swap(DOCKERFILE, '"desk"]', '"desk", "--host", "127.0.0.1"]'), swap(AGENT, "-m desk", "-m desk --host 127.0.0.1"), at=(DOCKERFILE, '"--host"')),
    case("docker-health", swap(DOCKERFILE, "/readiness", "/"), at=(DOCKERFILE, "HEALTHCHECK")),
    case("docker-command", swap(DOCKERFILE, 'CMD ["python", "-m", "desk"]\n', ""), at=(DOCKERFILE, "FROM python:3.13-slim\n")),
    case("docker-command-shell", swap(DOCKERFILE, 'CMD ["python", "-m", "desk"]', "CMD python -m desk"), at=(DOCKERFILE, "CMD python -m desk")),
    case("docker-secret", swap(DOCKERFILE, "USER app", "ENV SEARCH_API_KEY=x\nUSER app"), at=(DOCKERFILE, "SEARCH_API_KEY")),
    case("docker-secret", swap(DOCKERFILE, "USER app", f"RUN git clone https://{GITHUB_TOKEN}@example.com/x\nUSER app"), at=(DOCKERFILE, "git clone")),
    case("docker-buildkit", swap(DOCKERFILE, "RUN useradd", "RUN --mount=type=cache,target=/c useradd"), at=(DOCKERFILE, "--mount")),
    case("dockerignore-missing", drop(".dockerignore"), at=(".dockerignore", 1)),
    case("dockerignore-place", put("agents/desk/.dockerignore", "*\n"), at=("agents/desk/.dockerignore", 1)),
    case("dockerignore-secrets", swap(".dockerignore", "**/.env*\n", ""), at=(".dockerignore", "**/tests")),
    case("dockerignore-waste", swap(".dockerignore", "**/.venv\n", ""), at=(".dockerignore", "**/tests")),
    case("dockerignore-waste", put("package.json", "{}"), swap(".dockerignore", "**/node_modules\n", ""), at=(".dockerignore", "**/tests")),
    case("ref-missing", swap(AZURE, "      - name: chat\n", "      - $ref: embedding.yaml\n      - name: chat\n"), at=(AZURE, "embedding.yaml")),
    case("startup-differs", swap(DOCKERFILE, '"-m", "desk"', '"-m", "desk", "--debug"'), at=(AGENT, "startupCommand")),
    # code
    case("startup-missing", swap(AGENT, "startupCommand: python -m desk\n", ""), at=(AZURE, "  desk:")),
    case("startup-shell", swap(AGENT, "python -m desk", "cd src && python -m desk"), at=(AGENT, "startupCommand"), also="startup-differs"),
    case("startup-target", swap(AGENT, "python -m desk", "python -m front"), swap(DOCKERFILE, '"desk"]', '"front"]'), at=(AGENT, "startupCommand")),
    case("startup-target", swap(AGENT, "python -m desk", "python app.py"), swap(DOCKERFILE, '"-m", "desk"]', '"app.py"]'), at=(AGENT, "startupCommand")),
    case("code-and-image", swap(AZURE, "    env:\n", "    docker: {path: ./Dockerfile}\n    env:\n"), at=(AZURE, "docker:"), base=code_deployment),
    case("code-runtime", swap(AGENT, "python_3_13", "python_3_11"), at=(AGENT, "runtime"), base=code_deployment),
    case("code-entry-point", swap(AGENT, "main.py", "-m desk"), at=(AGENT, "entryPoint"), base=code_deployment),
    case("code-resolution", drop("agents/desk/requirements.txt"), at=(AGENT, "codeConfiguration"), base=code_deployment),
    case("code-resolution", swap(AGENT, "remote_build", "remote"), at=(AGENT, "dependencyResolution"), base=code_deployment),
    case("code-outside", append("agents/desk/requirements.txt", "-e ../../shared\n"), at=("agents/desk/requirements.txt", "../../shared"), base=code_deployment),
    # locks
    case("pyproject-syntax", append(PYPROJECT, "[broken\n"), at=(PYPROJECT, "[broken")),
    case("pyproject-syntax", swap(PYPROJECT, '["azure-ai-agentserver-responses>=2.3,<2.4"]', "3"), at=(PYPROJECT, "dependencies")),
    case("lock-missing", drop(LOCK), swap(DOCKERFILE, "COPY agents/desk/requirements.lock ./\n", ""), at=(PYPROJECT, "dependencies")),
    case("lock-hash", append(LOCK, "starlette==1.10.0\n"), at=(LOCK, "starlette")),
    case("lock-drift", swap(PYPROJECT, '<2.4"]', '<2.4", "httpx2>=2"]'), at=(PYPROJECT, "httpx2")),
    case("lock-drift", swap(PYPROJECT, ">=2.3,<2.4", ">=2.4"), at=(LOCK, "responses==")),
    case("lock-index", put(LOCK, "--extra-index-url https://example.com/simple\n" + one_agent()[LOCK]), at=(LOCK, 1)),
    case("lock-agents-differ", swap("agents/desk/requirements.lock", "core==2.2.0", "core==2.1.0"), at=("agents/audit/requirements.lock", 1), base=two_agents),
    case("local-package-by-name", put("shared/runtime/pyproject.toml", '[project]\nname = "desk-runtime"\n'), swap(PYPROJECT, '<2.4"]', '<2.4", "desk_runtime"]'), at=(PYPROJECT, "desk_runtime")),
    case("python-version", swap(DOCKERFILE, "FROM python:3.13-slim\n", "FROM python:3.10-slim\n"), at=(DOCKERFILE, "3.10")),
    case("python-run", swap(PYPROJECT, ">=3.11", ">=3.11,<3.13"), swap(DOCKERFILE, "FROM python:3.13-slim AS", "FROM python:3.12-slim AS"), swap(DOCKERFILE, "FROM python:3.13-slim\n", "FROM python:3.12-slim\n"), at=(PYPROJECT, "requires-python")),
]  # fmt: skip


def found_in(folder: Path) -> list[tuple[str, str, int]]:
    project = read_project(folder)
    reports = examine(project, RULES.values())
    return [(each.rule.id, project.relative(each.finding.file), each.finding.line) for each in reports]


def line_number(text: str, wanted: str | int) -> int:
    if isinstance(wanted, int):
        return wanted
    lines = [number for number, line in enumerate(text.splitlines(keepends=True), start=1) if wanted in line]
    assert len(lines) == 1, f"{wanted!r} is on {len(lines)} lines"
    return lines[0]


@pytest.mark.parametrize("each", CASES, ids=lambda each: f"{each.rule}-{each.file}-{each.line}")
def test_a_rule_finds_its_mistake_once_on_its_line_and_nothing_else(each: Case, tmp_path: Path) -> None:
    folder = each.write(tmp_path)
    file = folder / each.file
    reports = examine(read_project(folder), RULES.values())
    found = [(report.rule.id, report.finding.file, report.finding.line) for report in reports]
    place = (each.rule, file, line_number(file.read_text() if file.is_file() else "", each.line))
    assert [one for one in found if one[0] not in each.also] == [place]
    assert {rule for rule, *_ in found} - {each.rule} == each.also
    assert all(text.strip() for report in reports for text in (report.rule.why, report.fix, report.finding.message))


def test_every_rule_has_a_project_that_it_finds_fault_with() -> None:
    assert {each.rule for each in CASES} == set(RULES)
    assert {each.base for each in CASES} <= set(RIGHT.values()), "without its mistake a project has no finding"


@pytest.mark.parametrize("name", RIGHT)
def test_a_project_that_is_right_has_no_finding(name: str, tmp_path: Path) -> None:
    assert found_in(write(RIGHT[name](), tmp_path)) == []


UV_LOCK = "version = 1\n" + "".join(
    f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ {source} = "{place}" }}\n'
    for name, version, source, place in (
        ("azure-ai-agentserver-core", "2.2.0", "registry", "https://example.com"),
        ("azure-ai-agentserver-responses", "2.3.0", "registry", "https://example.com"),
        ("desk", "0.1.0", "editable", "agents/desk"),
        ("lib", "0.1.0", "editable", "libs/python/lib"),
    )
)
NO_LOCK = (drop(LOCK), swap(DOCKERFILE, "COPY agents/desk/requirements.lock ./\n", ""))


def renamed(tree: Tree) -> None:
    for path in list(tree):
        text = tree.pop(path)
        tree[path.replace("desk", "todo")] = text.replace("desk", "todo")


ALSO_RIGHT: dict[str, tuple[Change, ...]] = {
    "an agent called todo": (renamed,),
    "words that are no placeholders": (env("GREETING: Add it to the todo list of your_team"),),
    "a switch and an address in Key Vault are no secrets": (env("USE_API_KEY: 'false'\n      HOOK_SECRET: https://v.vault.azure.net/secrets/hook"),),
    "a health check of its own": (swap(DOCKERFILE, f'"-c", "{URL}"', '"-m", "desk.health"'),),
    "python3 in the image": (swap(DOCKERFILE, 'CMD ["python", "-m", "desk"]', 'CMD ["python3", "-m", "desk"]'),),
    "an absolute path in the image": (put("agents/desk/main.py", ""), swap(AGENT, "-m desk", "main.py"), swap(DOCKERFILE, '"-m", "desk"]', '"/app/main.py"]')),
    "an option that ends like the port's": (swap(AGENT, "-m desk", "-m desk --top-p 95"), swap(DOCKERFILE, '"desk"]', '"desk", "--top-p", "95"]')),
    "an agent without code": (append(AZURE, "  guide:\n    host: azure.ai.agent\n    project: ./agents/guide\n    kind: prompt\n    name: guide\n    instructions: Press <enter> to go on.\n"), put("agents/guide/notes.py", "")),
    "routes of its own": (swap(PYPROJECT, "azure-ai-agentserver-responses>=2.3,<2.4", "starlette"), put(LOCK, f"starlette==1.0.0{HASH}"), put(SOURCE, "Route('/responses', answer)\n")),
    "a workspace of uv": (*NO_LOCK, put("uv.lock", UV_LOCK), put("libs/python/lib/pyproject.toml", "[project]\nname = 'lib'\n"), swap(PYPROJECT, '<2.4"]\n', '<2.4", "lib"]\n[tool.uv.sources]\nlib = { workspace = true }\n')),
    "a lock that is not read": (*NO_LOCK, put("agents/desk/poetry.lock", "")),
    "a folder that is called like a file": (put("infra/x.json/a", ""),),
}  # fmt: skip


@pytest.mark.parametrize("name", ALSO_RIGHT)
def test_a_project_in_another_shape_that_is_right_has_no_finding(name: str, tmp_path: Path) -> None:
    tree = one_agent()
    for change in ALSO_RIGHT[name]:
        change(tree)
    assert found_in(write(tree, tmp_path)) == []


def test_a_server_that_no_lock_shows_is_no_missing_module_and_a_foreign_lock_in_the_root_is_none(
    tmp_path: Path,
) -> None:
    tree = one_agent()
    for change in (*NO_LOCK, put("uv.lock", UV_LOCK.replace("agents/desk", "tools")), swap(AGENT, "-m desk", "-m uvicorn desk:app"), swap(DOCKERFILE, '"desk"]', '"uvicorn", "desk:app"]')):  # fmt: skip
        change(tree)
    assert {rule for rule, *_ in found_in(write(tree, tmp_path))} == {"lock-missing"}


def test_this_repository_has_no_finding() -> None:
    assert found_in(ROOT) == []


REPAIRED = frozenset(
    "name-differs container-size-text legacy-snake-case protocol-unknown protocol-v1 protocol-1-0 env-unquoted "
    "env-reserved env-injected env-service-name env-connection-escape dockerignore-secrets dockerignore-waste".split()
)
"""The rules that --fix can obey."""


def test_what_is_fixed_is_right_afterwards_and_stays_as_it_is(tmp_path: Path) -> None:
    obeyed = set()
    for number, each in enumerate(CASES):
        folder = each.write(tmp_path / str(number))
        offered = {rule for rule, edit in edits_in(folder) if edit}
        if not offered:
            continue
        obeyed |= offered
        edits = [edit for _, edit in edits_in(folder) if edit]
        assert apply_edits(edits) == len(edits)
        fixed = read_tree(folder)
        assert {rule for rule, *_ in found_in(folder)} <= {each.rule, *each.also} - offered, each
        assert apply_edits(edit for _, edit in edits_in(folder) if edit) == 0
        assert read_tree(folder) == fixed
    assert obeyed == REPAIRED


def test_no_fix_empties_a_map_of_variables(tmp_path: Path) -> None:
    """An empty `env:` is null, which azd refuses."""
    tree = one_agent()
    swap(AZURE, "      AZURE_AI_MODEL_DEPLOYMENT_NAME: chat\n      LOG_LEVEL: info\n", '      PORT: "8088"\n      OTEL_SERVICE_NAME: desk\n')(tree)  # fmt: skip
    found = edits_in(write(tree, tmp_path))
    assert found == [("env-injected", None), ("env-service-name", None)]


def edits_in(folder: Path) -> list[tuple[str, Edit | None]]:
    return [(each.rule.id, each.finding.edit) for each in examine(read_project(folder), RULES.values())]


def read_tree(folder: Path) -> Tree:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_version_is_not_raised_where_the_lock_shows_an_older_library(tmp_path: Path) -> None:
    tree = one_agent()
    swap(AGENT, "version: 2.0.0", "version: v1")(tree)
    swap(LOCK, "core==2.2.0", "core==1.0.0b12")(tree)
    reports = examine(read_project(write(tree, tmp_path)), [RULES["protocol-v1"]])
    assert [each.finding.edit for each in reports] == [None]
