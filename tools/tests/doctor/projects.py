"""Small projects that a deployment takes as they are: as trees of files, so that a test can break one thing in one."""

from pathlib import Path

Tree = dict[str, str]

AZURE_YAML = """\
name: desk-project
requiredVersions:
  azd: ">=1.31.1"
  extensions:
    azure.ai.agents: ">=1.0.0-beta.11"
    azure.ai.projects: ">=1.0.0-beta.6"
infra:
  provider: microsoft.foundry
services:
  ai-project:
    host: azure.ai.project
    deployments:
      - name: chat
        model: {format: OpenAI, name: gpt-5.4-mini, version: "2026-03-17"}
        sku: {name: GlobalStandard, capacity: 50}
  desk:
    host: azure.ai.agent
    project: ./agents/desk
    language: docker
    docker:
      path: ./Dockerfile
      context: ../..
      remoteBuild: true
    env:
      AZURE_AI_MODEL_DEPLOYMENT_NAME: chat
      LOG_LEVEL: info
    $ref: ./agents/desk/agent.yaml
"""

DEFINITION = """\
kind: hosted
name: desk
description: Answers questions of the desk.
protocols:
  - protocol: responses
    version: 2.0.0
container:
  resources:
    cpu: "0.5"
    memory: 1Gi
sessionConfiguration:
  idleTimeoutSeconds: 900
startupCommand: python -m desk
"""

DOCKERFILE = """\
FROM python:3.13-slim AS build
COPY agents/desk/requirements.lock ./
RUN python -m venv /opt/agent && /opt/agent/bin/pip install --require-hashes -r requirements.lock
COPY agents/desk agents/desk
RUN /opt/agent/bin/pip install --no-deps ./agents/desk

FROM python:3.13-slim
ENV PATH=/opt/agent/bin:$PATH SSE_KEEPALIVE_INTERVAL=15
RUN useradd --create-home app
COPY --from=build /opt/agent /opt/agent
USER app
EXPOSE 8088
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8088/readiness')"]
CMD ["python", "-m", "desk"]
"""

PYPROJECT = """\
[project]
name = "desk"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["azure-ai-agentserver-responses>=2.3,<2.4"]
"""

_HASH = "sha256:" + "0" * 64
LOCK = f"""\
azure-ai-agentserver-core==2.2.0 \\
    --hash={_HASH}
azure-ai-agentserver-responses==2.3.0 \\
    --hash={_HASH}
"""

IGNORE = """\
*
!agents
**/.env*
**/.venv
**/__pycache__
**/node_modules
**/tests
"""

MAIN = "from azure.ai.agentserver.responses import ResponsesAgentServerHost\n\nResponsesAgentServerHost().run()\n"


def one_agent() -> Tree:
    """The base of every broken fixture: one agent, its definition included with `$ref`, built from the root."""
    return {
        "azure.yaml": AZURE_YAML,
        ".dockerignore": IGNORE,
        "agents/desk/agent.yaml": DEFINITION,
        "agents/desk/Dockerfile": DOCKERFILE,
        "agents/desk/pyproject.toml": PYPROJECT,
        "agents/desk/requirements.lock": LOCK,
        "agents/desk/src/desk/__init__.py": "",
        "agents/desk/src/desk/__main__.py": MAIN,
    }


def inline_definition() -> Tree:
    tree = one_agent()
    definition = "".join(f"    {line}\n" for line in tree.pop("agents/desk/agent.yaml").splitlines())
    tree["azure.yaml"] = AZURE_YAML.replace("    $ref: ./agents/desk/agent.yaml\n", definition)
    return tree


def two_agents() -> Tree:
    """A second agent, `audit`, comes first in the alphabet: desk may read its address."""
    tree = one_agent()
    service = AZURE_YAML[AZURE_YAML.index("  desk:") :].replace("desk", "audit")
    with_peer = AZURE_YAML.replace(
        "      LOG_LEVEL: info\n", "      LOG_LEVEL: info\n      AUDIT_URL: ${AGENT_AUDIT_RESPONSES_ENDPOINT}\n"
    )
    for path in [path for path in tree if path.startswith("agents/desk/")]:
        tree[path.replace("desk", "audit")] = tree[path].replace("desk", "audit")
    tree["azure.yaml"] = with_peer + service
    return tree


def code_deployment() -> Tree:
    """No image: azd sends the agent's folder, and the service installs its requirements."""
    tree = one_agent()
    for path in (
        ".dockerignore",
        "agents/desk/Dockerfile",
        "agents/desk/pyproject.toml",
        "agents/desk/requirements.lock",
    ):
        del tree[path]
    start, end = AZURE_YAML.index("    language: docker"), AZURE_YAML.index("    env:")
    tree["azure.yaml"] = AZURE_YAML[:start] + "    language: python\n" + AZURE_YAML[end:]
    tree["agents/desk/agent.yaml"] = DEFINITION.replace("startupCommand: python -m desk\n", "") + (
        "codeConfiguration:\n  runtime: python_3_13\n  entryPoint: main.py\n  dependencyResolution: remote_build\n"
    )
    tree["agents/desk/main.py"] = MAIN
    tree["agents/desk/requirements.txt"] = "azure-ai-agentserver-core==2.2.0\nazure-ai-agentserver-responses==2.3.0\n"
    return tree


def smallest() -> Tree:
    """Nothing that is not needed: an existing project, a Dockerfile beside the code, its folder as the context."""
    return {
        "azure.yaml": """\
name: smallest
requiredVersions: {azd: ">=1.31.1", extensions: {microsoft.foundry: ">=1.0.0-beta.2"}}
services:
  project:
    host: azure.ai.project
    endpoint: ${FOUNDRY_PROJECT_ENDPOINT}
  echo:
    host: azure.ai.agent
    project: echo
    kind: hosted
    name: echo
    protocols: [{protocol: invocations, version: 2.0.0}]
""",
        "echo/Dockerfile": """\
FROM python:3.13-slim
COPY requirements.txt main.py ./
RUN pip install --require-hashes -r requirements.txt
USER nobody
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8088/readiness')"]
CMD ["python", "main.py"]
""",
        "echo/.dockerignore": "*\n!requirements.txt\n!main.py\n",
        "echo/requirements.txt": LOCK.replace("responses==2.3.0", "invocations==1.2.0"),
        "echo/main.py": MAIN,
    }


def connections_and_layers() -> Tree:
    """What larger projects have: infrastructure in layers, a connection whose key an agent reads."""
    tree = one_agent()
    tree["azure.yaml"] = (
        AZURE_YAML.replace(
            "infra:\n  provider: microsoft.foundry\n",
            "infra:\n  layers:\n    - {name: foundry, path: infra/foundry, provider: microsoft.foundry}\n"
            "    - {name: extras, path: infra/extras, provider: bicep, dependsOn: [foundry]}\n",
        ).replace(
            "      LOG_LEVEL: info\n",
            "      LOG_LEVEL: info\n      SEARCH_KEY: $${{connections.search.credentials.key}}\n      SWITCH: 'on'\n",
        )
        + "  search:\n    host: azure.ai.connection\n    category: CognitiveSearch\n    target: ${SEARCH_ENDPOINT}\n"
        "    authType: AAD\n"
    )
    tree["infra/extras/main.bicep"] = "output FOUNDRY_PROJECT_ENDPOINT string = 'https://example.com'\n"
    return tree


RIGHT = {
    "one agent": one_agent,
    "an inline definition": inline_definition,
    "two agents": two_agents,
    "a code deployment": code_deployment,
    "the smallest": smallest,
    "connections and layers": connections_and_layers,
}


def write(tree: Tree, folder: Path) -> Path:
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
