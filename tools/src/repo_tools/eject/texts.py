"""The files of an ejected project that this repository has no counterpart of."""

import json
from typing import Any

from repo_tools.repository import Agent

REQUIREMENTS = """\
# All that the agent needs, by hash: for deployments of code and for `azd ai agent run`. Paths start at this folder.
"""

DEPENDENCIES = """\
# The shared packages by direct reference: their names on the public index belong to strangers.
dependencies = [
@WHEELS@"""

DOCKERFILE_HEADER = """\
# Build context: this folder. Plain enough for ACR Tasks: no BuildKit mounts, no --target.
"""

AZURE = """\
# yaml-language-server: $schema=https://raw.githubusercontent.com/Azure/azure-dev/main/schemas/v1.0/azure.yaml.json
# `azd up` builds the image in the registry and deploys it. azure.code.yaml deploys the same agent without an image.
"""

AZURE_CODE = """\
# yaml-language-server: $schema=https://raw.githubusercontent.com/Azure/azure-dev/main/schemas/v1.0/azure.yaml.json
# Deploys the code without an image or a registry: `cp azure.code.yaml azure.yaml`, then `azd up`.
"""

MANIFEST_HEADER = """\
# For `azd ai agent init -m`, which copies this folder into a project of its own (without what .azdignore lists).
"""

MAIN = '''\
"""What a deployment of code starts, `python main.py`; the image starts `python -m {module}`, the same."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))
runpy.run_module("{module}", run_name="__main__", alter_sys=True)
'''

MAKEFILE = """\
PYTHON ?= python3
PORT ?= {port}
AGENTSERVER_STATE_ROOT ?= .state
ARGS ?=

.PHONY: setup run test
setup: .venv/installed

.venv/installed: requirements.lock requirements-dev.lock pyproject.toml $(wildcard wheels/*.whl)
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-index wheels/*.whl
	.venv/bin/python -m pip install --quiet --no-deps --no-index --no-build-isolation --editable .
	touch .venv/installed

run: setup
	PORT=$(PORT) AGENTSERVER_STATE_ROOT=$(AGENTSERVER_STATE_ROOT) .venv/bin/python -m {module}

test: setup
	.venv/bin/python -m pytest $(ARGS)
"""

AGENTIGNORE = """\
# What a deployment of code leaves out of its archive, in gitignore syntax. azd reads no such file in folders below.
agent.yaml
agent.manifest.yaml
azure.yaml
azure.code.yaml
.agentignore
.azdignore
.dockerignore
Dockerfile
Makefile
conftest.py
requirements-dev.lock
infra/
tools/
tests/
examples/
/page/
.env
.env.*
.azure/
.git/
.venv/
.state/
node_modules/
__pycache__/
*.pyc
.pytest_cache/
"""

AZDIGNORE = """\
agent.yaml
azure.yaml
azure.code.yaml
infra/
tools/
.azure/
.env
.env.*
.git/
.venv/
.state/
node_modules/
__pycache__/
.pytest_cache/
"""

DOCKERIGNORE = """\
# By allow-list: only what the image is built from leaves this machine.
*
!requirements.lock
!pyproject.toml
!wheels
!src
**/.env*
**/.venv
**/__pycache__
**/*.egg-info
"""

GITATTRIBUTES = """\
* text=auto eol=lf
*.whl binary
*.png binary
*.lock linguist-generated=true
"""

GITIGNORE = """\
.venv/
__pycache__/
*.egg-info/
.pytest_cache/
.hypothesis/
.state/
.env
.azure/
node_modules/
*.sqlite
*.sqlite-wal
*.sqlite-shm
"""


def wheel_dependencies(wheels: dict[str, str]) -> str:
    """Lines of `dependencies`: package names with the wheels' paths in the project."""
    return "".join(f'  "{name} @ {{root:uri}}/{path}",\n' for name, path in wheels.items())


def pytest_settings(settings: dict[str, Any]) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n[tool.pytest.ini_options]\n" + "\n".join(lines) + "\n"


def readme(agent: Agent, packages: list[str], *, manifest_file: str) -> str:
    """The part about the project. It has no block that a test of the agent would run."""
    shared = " and ".join(f"`{name}`" for name in packages)
    node = sorted(path.parent for path in agent.folder.glob("**/package-lock.json") if "node_modules" not in path.parts)
    folders = [folder.relative_to(agent.folder).as_posix() for folder in node]
    clients = "".join(f"\nnpm ci --prefix {folder}    once, for the tests with Node" for folder in folders)
    protocol = f" --protocol {agent.protocols[0]}" if len(agent.protocols) > 1 else ""
    unlocked = " ".join(f"--no-emit-package {name}" for name in packages)
    return f"""\
## This project

It holds one agent and all that it needs, made by `make eject` of a repository of several agents. {shared}, which
the agents share there, are in `wheels/` and pinned by hash in `requirements.txt`. Verbs that the `Makefile` here does
not have (`make ingest`, `eval`, `bench`, `soak`, `graph`, `python -m repo_tools`) are that repository's.

```
make setup    a virtual environment from the hashed locks
make run      the agent on port {agent.local_port}, with the offline model unless a model is configured
make test     its tests{clients}
```

**Deploy an image**: `azd env new NAME`, `azd up`. The registry builds the `Dockerfile`.

**Deploy the code** without an image: `cp azure.code.yaml azure.yaml`, then the same. Foundry installs
`requirements.txt` and starts `main.py`. Not verified against Azure.

**Beside the agent**: telemetry, and by switches alerts, a Key Vault and a search service; what they cost, and how to
take all of it down: [infra](infra/README.md). A hook of `azure.yaml` grants the agent's identity its roles there.

**Ask it**: `azd ai agent invoke {agent.name}{protocol} "…"`, with `--local` while it runs here.

**Run it through azd**: `azd ai agent run {agent.name}` (Python 3.13).

**Start another project from it**: `azd ai agent init -m path/to/this/folder/{manifest_file}`, in an empty folder.

**Change a dependency**: edit `pyproject.toml`, then

```
uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \\
  {unlocked} --output-file requirements.lock
```

**Change shared code**: there, and eject again. Or unpack its wheel into `src/` and delete the wheel's lines in
`pyproject.toml` and `requirements.txt`.

## The agent
"""
