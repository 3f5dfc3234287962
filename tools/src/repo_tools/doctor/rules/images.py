"""Images: the Dockerfile, its build context and what .dockerignore lets through."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from posixpath import normpath

from repo_tools.doctor.dockerfile import Dockerfile, Instruction
from repo_tools.doctor.documents import Value, path_from
from repo_tools.doctor.project import Agent, Project
from repo_tools.doctor.rule import Edit, Finding, rule
from repo_tools.doctor.rules.documents import secret_in
from repo_tools.doctor.rules.environment import is_secret_name

_PORT = "8088"
_DOCKER_KEYS = ("path", "context", "platform", "registry", "image", "tag", "buildArgs", "network", "remoteBuild")
_SECRET_FILES = {".env": "secrets of the environment", ".azure/dev/.env": "azd's environment"}
_WASTE = {
    ".venv/bin/python": "a virtual environment",
    "node_modules/a/index.js": "node modules",
    "__pycache__/a.pyc": "bytecode",
}
_PATTERN = {".env": "**/.env*", ".azure/dev/.env": "**/.azure"}
_WASTE_PATTERN = {
    ".venv/bin/python": "**/.venv",
    "node_modules/a/index.js": "**/node_modules",
    "__pycache__/a.pyc": "**/__pycache__",
}


def _images(project: Project) -> Iterator[tuple[Agent, Dockerfile]]:
    for agent in project.agents:
        if agent.dockerfile and agent.dockerfile.stages:
            yield agent, agent.dockerfile


def command(dockerfile: Dockerfile) -> Instruction | None:
    """What the container starts: the last CMD, else the last ENTRYPOINT."""
    found = dockerfile.final("CMD") or dockerfile.final("ENTRYPOINT")
    return found[-1] if found else None


@rule(
    "dockerfile-missing",
    "error",
    "There is no Dockerfile",
    fix="Add one, set `docker.path`, or deploy code with codeConfiguration.",
)
def dockerfile_missing(project: Project) -> Iterator[Finding]:
    """Without a Dockerfile azd tries buildpacks silently, which know nothing of the contract (#3551; Azure/azure-dev,
    pkg/project/container_helper.go)."""
    for agent in project.agents:
        if agent.builds_image and agent.folder.is_dir() and not agent.dockerfile:
            place = agent.docker["path"] if agent.docker["path"] else agent.definition
            path = project.relative(agent.dockerfile_path)
            what = "is empty" if agent.dockerfile_path.is_file() else "is not there"
            yield Finding(place.file, place.line, f"{path} of {agent.key} {what}")
        elif agent.dockerfile and not agent.dockerfile.stages:
            yield Finding(agent.dockerfile.file, 1, "the Dockerfile has no FROM")


@rule("docker-keys", "error", "The docker block has an unknown key", fix=f"The keys are {', '.join(_DOCKER_KEYS)}.")
def docker_keys(project: Project) -> Iterator[Finding]:
    """The schema admits no others, and azd ignores what it does not know (Azure/azure-dev,
    schemas/v1.0/azure.yaml.json, definitions/docker)."""
    for agent in project.agents:
        for key, value in agent.docker.members.items():
            if key not in _DOCKER_KEYS:
                yield Finding(value.file, value.line, f"`docker.{key}` of {agent.key} does not exist")


@rule(
    "docker-context",
    "error",
    "The build context is not there",
    fix="Correct `docker.context`; it starts at the service's folder.",
)
def docker_context(project: Project) -> Iterator[Finding]:
    """azd joins `docker.context` to the service's folder, so the repository's root is `../..` from agents/<name>
    (Azure/azure-dev, pkg/project/container_helper.go)."""
    for agent in project.agents:
        context = agent.docker["context"]
        if context.text and agent.folder.is_dir() and not agent.context.is_dir():
            yield Finding(context.file, context.line, f"{context.text} of {agent.key} is not a folder")


@rule(
    "docker-copy",
    "error",
    "COPY takes what the context does not have",
    fix="Name the path from the context's root, and set `docker.context` to the folder that holds all that is copied.",
)
def docker_copy(project: Project) -> Iterator[Finding]:
    """Sources of COPY and ADD are relative to the build context and cannot leave it (Dockerfile reference, COPY)."""
    for agent, dockerfile in _images(project):
        for instruction, source in _copied(dockerfile):
            clean = normpath(source.lstrip("/"))
            if clean.startswith(".."):
                yield Finding(dockerfile.file, instruction.line, f"{source} is outside of the context")
            elif agent.context.is_dir() and not _exists(agent.context, clean):
                context = project.relative(agent.context)
                yield Finding(dockerfile.file, instruction.line, f"{source} is not in the context {context}")


def _exists(context: Path, source: str) -> bool:
    if any(letter in source for letter in "*?["):
        # `**` alone may stand in a pattern of pathlib; Docker takes it as `*`.
        return any(context.glob(re.sub(r"\*{2,}", "*", source)))
    return path_from(context, source).exists()


def _copied(dockerfile: Dockerfile) -> Iterator[tuple[Instruction, str]]:
    """Sources that COPY and ADD take from the context, those with variables left out."""
    for instruction in dockerfile.instructions("COPY", "ADD"):
        if "from" in instruction.flags or "<<" in instruction.arguments:
            continue
        for source in instruction.operands[:-1]:
            if "$" not in source and "://" not in source and not source.startswith("git@"):
                yield instruction, source


@rule(
    "docker-copy-ignored",
    "error",
    "COPY takes what .dockerignore keeps away",
    fix="Take the path back with a `!` line, or do not copy it.",
)
def docker_copy_ignored(project: Project) -> Iterator[Finding]:
    """The file is not in the archive that azd sends, and the build ends with "not found" (Azure/azure-dev,
    pkg/containerregistry/pack_source.go)."""
    for agent, dockerfile in _images(project):
        for instruction, source in _copied(dockerfile):
            clean = normpath(source.lstrip("/"))
            path = path_from(agent.context, clean)
            if agent.ignore_file and path.is_file() and agent.ignore_file.excludes(clean):
                yield Finding(
                    dockerfile.file,
                    instruction.line,
                    f"{source} is excluded by {project.relative(agent.ignore_file.file)}",
                )
            elif agent.ignore_file and clean != "." and path.is_dir():
                files = [each for each in islice(path.rglob("*"), 2000) if each.is_file()]
                left = (each.relative_to(agent.context).as_posix() for each in files)
                if files and all(agent.ignore_file.excludes(each) for each in left):
                    yield Finding(
                        dockerfile.file,
                        instruction.line,
                        f"all of {source} is excluded by {project.relative(agent.ignore_file.file)}",
                    )


@rule(
    "image-latest",
    "warning",
    "A base image is not fixed",
    fix="Name a version, better with its digest, and let Dependabot raise it.",
)
def image_latest(project: Project) -> Iterator[Finding]:
    """Without a tag or with `latest` the next build may take another Python or another system (Docker, building best
    practices: pin base image versions)."""
    for agent, dockerfile in _images(project):
        for stage in dockerfile.base_images():
            if not stage.image or "$" in stage.image or "@sha256:" in stage.image:
                continue
            tag = stage.image.rpartition("/")[2].partition(":")[2]
            if tag in ("", "latest"):
                yield Finding(dockerfile.file, stage.line, f"{agent.key} builds on {stage.image}")
        for each in dockerfile.instructions("COPY"):
            source = each.flags.get("from", "")
            named = "/" in source and not re.search(r"[:@]", source.rpartition("/")[2])
            if (named and "$" not in source) or source.endswith(":latest"):
                yield Finding(dockerfile.file, each.line, f"{agent.key} copies from {source}")


@rule(
    "image-latest-deployed",
    "error",
    "The deployed image is called latest",
    fix="Name a tag that changes with its content, or a digest.",
)
def image_latest_deployed(project: Project) -> Iterator[Finding]:
    """Versions are immutable and an equal definition makes no new version, so a pushed `latest` does not arrive (Learn,
    concepts/hosted-agents)."""
    for agent in project.agents:
        tag = agent.docker["tag"]
        if tag.text == "latest":
            yield Finding(tag.file, tag.line, f"{agent.key} is pushed as latest")
        image = agent.service.first("image") if agent.service["image"] else agent.definition["image"]
        if image.text and "@sha256:" not in image.text:
            name = image.text.rpartition("/")[2]
            if name.partition(":")[2] in ("", "latest") and not name.endswith("}"):
                yield Finding(image.file, image.line, f"{agent.key} deploys {image.text}")


@rule(
    "image-architecture",
    "error",
    "The image is built for another architecture",
    fix="Build for linux/amd64: delete the platform, or name that one.",
)
def image_architecture(project: Project) -> Iterator[Finding]:
    """Sandboxes and ACR's remote builds run linux/amd64 only (Learn, how-to/deploy-hosted-agent; Azure/azure-dev,
    pkg/project/container_helper.go)."""

    def wrong(text: str) -> bool:
        return bool(re.search(r"arm|aarch64|s390x|ppc64|riscv|windows", text)) and "$" not in text

    for agent in project.agents:
        platform = agent.docker["platform"]
        if wrong(platform.text):
            yield Finding(platform.file, platform.line, f"{agent.key} is built for {platform.text}")
    for agent, dockerfile in _images(project):
        for instruction in dockerfile.instructions("FROM"):
            image = instruction.operands[0] if instruction.operands else ""
            if wrong(instruction.flags.get("platform", "")) or re.match(r"(?:arm64v8|arm32v7|arm64)/", image):
                yield Finding(dockerfile.file, instruction.line, f"{agent.key} builds on {instruction.arguments}")


@rule(
    "docker-user",
    "warning",
    "The container runs as root",
    fix="Add a user with `RUN useradd --create-home app` and `USER app` as the last user.",
)
def docker_user(project: Project) -> Iterator[Finding]:
    """Code that a prompt or a document talks into something should not be root (Docker, building best practices:
    USER; CIS Docker Benchmark 4.1)."""
    for agent, dockerfile in _images(project):
        users = dockerfile.final("USER")
        if not users and not any("nonroot" in stage.image or "chiseled" in stage.image for stage in dockerfile.stages):
            yield Finding(dockerfile.file, dockerfile.last_line, f"the image of {agent.key} sets no USER")
        elif users and users[-1].arguments.partition(":")[0] in ("root", "0"):
            yield Finding(dockerfile.file, users[-1].line, f"the image of {agent.key} ends as {users[-1].arguments}")


@rule(
    "docker-port",
    "error",
    "The container listens on another port",
    fix="Listen on $PORT, 8088 where it is not set, and EXPOSE 8088.",
)
def docker_port(project: Project) -> Iterator[Finding]:
    """The platform asks 0.0.0.0:$PORT, which is 8088, for /readiness and restarts what does not answer: 424
    session_not_ready (Learn, concepts/hosted-agent-contract)."""
    for agent, dockerfile in _images(project):
        exposed = dockerfile.final("EXPOSE")
        ports = {port.partition("/")[0] for each in exposed for port in each.words}
        if ports and _PORT not in ports and not any("$" in port for port in ports):
            yield Finding(dockerfile.file, exposed[-1].line, f"{agent.key} exposes {', '.join(sorted(ports))}")
        value, line = dockerfile.environment().get("PORT", (_PORT, 1))
        if value != _PORT and "$" not in value:
            yield Finding(dockerfile.file, line, f"the image of {agent.key} sets PORT={value}")
        start = command(dockerfile)
        found = (
            re.search(r"(?<![\w-])(?:--port|-p|--bind|-b)[\s=\",\[]+(?:[\w.\[\]:]*:)?(\d{2,5})\b", start.arguments)
            if start
            else None
        )
        if start and found and found[1] != _PORT:
            yield Finding(dockerfile.file, start.line, f"{agent.key} starts on port {found[1]}")


@rule("docker-host", "error", "The container listens on loopback only", fix="Listen on 0.0.0.0.")
def docker_host(project: Project) -> Iterator[Finding]:
    """Nothing outside of the container reaches 127.0.0.1 in it; the contract is 0.0.0.0 (Learn,
    concepts/hosted-agent-contract)."""
    for agent, dockerfile in _images(project):
        start = command(dockerfile)
        if start and re.search(
            r"(?<![\w-])(?:--host|--bind|-b)[\s=\",]+(?:127\.0\.0\.1|localhost|\[::1\])", start.arguments
        ):
            yield Finding(dockerfile.file, start.line, f"{agent.key} starts on loopback")


@rule(
    "docker-health",
    "warning",
    "There is no health check on /readiness",
    fix="Add a HEALTHCHECK that asks http://127.0.0.1:$PORT/readiness.",
)
def docker_health(project: Project) -> Iterator[Finding]:
    """/readiness is what the platform asks; a check of `/` is 404 with the agent server libraries, and without one a
    local `docker run` shows nothing (Learn, concepts/hosted-agent-contract)."""
    for agent, dockerfile in _images(project):
        checks = dockerfile.final("HEALTHCHECK")
        if not checks:
            yield Finding(dockerfile.file, dockerfile.last_line, f"the image of {agent.key} has no HEALTHCHECK")
        elif _asks_elsewhere(checks[-1].arguments):
            yield Finding(dockerfile.file, checks[-1].line, f"the HEALTHCHECK of {agent.key} does not ask /readiness")


def _asks_elsewhere(check: str) -> bool:
    """What a script or a module of the agent's own asks is not seen, and taken for right."""
    return "/readiness" not in check and (check.strip() == "NONE" or bool(re.search(r"https?:|curl|wget", check)))


@rule("docker-command", "error", "The image starts nothing", fix='Add CMD ["python", "-m", "<package>"].')
def docker_command(project: Project) -> Iterator[Finding]:
    """The definition has no command for a container: what the image's CMD or ENTRYPOINT starts is what runs
    (azure-ai-projects 2.10, ContainerConfiguration), and a plain Python image starts a shell and ends."""
    for agent, dockerfile in _images(project):
        if command(dockerfile) is None and all(
            "python" in stage.image or "debian" in stage.image for stage in dockerfile.base_images()
        ):
            yield Finding(
                dockerfile.file, dockerfile.last_line, f"the image of {agent.key} has neither CMD nor ENTRYPOINT"
            )


@rule(
    "docker-command-shell",
    "warning",
    "A shell stands between the platform and the agent",
    fix='Write CMD as a JSON list: CMD ["python", "-m", "<package>"].',
)
def docker_command_shell(project: Project) -> Iterator[Finding]:
    """In shell form /bin/sh is process 1 and does not pass SIGTERM on, so requests in flight are cut instead of
    finished (Dockerfile reference, shell and exec form; Learn, concepts/hosted-agent-contract: SIGTERM)."""
    for agent, dockerfile in _images(project):
        start = command(dockerfile)
        if start and start.exec_form is None and not start.arguments.startswith("exec "):
            yield Finding(dockerfile.file, start.line, f"{agent.key} is started by a shell")


@rule(
    "docker-secret",
    "error",
    "The image holds a secret",
    fix="Take it out, revoke it, and read it at run time from Key Vault or a connection.",
)
def docker_secret(project: Project) -> Iterator[Finding]:
    """ENV and ARG stay in the image's history for whoever may pull it (Docker, check SecretsUsedInArgOrEnv)."""
    for agent, dockerfile in _images(project):
        for each in dockerfile.instructions("ENV", "ARG"):
            names = re.findall(r"(?:^|\s)([A-Za-z_]\w*)(?==)", each.arguments) or each.words[:1]
            if secret := next((name for name in names if is_secret_name(name)), ""):
                yield Finding(dockerfile.file, each.line, f"{each.keyword} {secret} in the image of {agent.key}")
        for each in dockerfile.instructions("RUN", "ENV", "ARG", "CMD", "ENTRYPOINT", "LABEL"):
            if kind := secret_in(each.arguments):
                yield Finding(dockerfile.file, each.line, f"{each.keyword} holds {kind}")
        for each, source in _copied(dockerfile):
            if re.fullmatch(r"\.env(?!\.example|\.sample)[\w.-]*|.*\.pem|id_rsa.*", source.rpartition("/")[2]):
                yield Finding(dockerfile.file, each.line, f"{source} goes into the image of {agent.key}")


@rule(
    "docker-buildkit",
    "warning",
    "The Dockerfile needs BuildKit",
    fix="Leave out RUN --mount, here-documents and `# syntax=`, or set `docker.remoteBuild: false`.",
)
def docker_buildkit(project: Project) -> Iterator[Finding]:
    """azd's remote build sends the Dockerfile to ACR Tasks without control over BuildKit, targets or secrets
    (Azure/azure-dev, pkg/project/container_helper.go)."""
    for agent, dockerfile in _images(project):
        if agent.docker["remoteBuild"].text != "true":
            continue
        needing = [
            each
            for each in dockerfile.instructions("RUN", "COPY", "ADD")
            if {"mount", "link"} & set(each.flags) or "<<" in each.arguments
        ]
        needing += [each for each in dockerfile.directives if each.keyword == "syntax"]
        for each in needing[:1]:
            yield Finding(dockerfile.file, each.line, f"{agent.key} is built remotely, and this line needs BuildKit")


@rule(
    "dockerignore-missing",
    "warning",
    "The build context has no .dockerignore",
    fix="Add one to the context's root, best as an allow-list: `*`, then `!` for what is copied.",
)
def dockerignore_missing(project: Project) -> Iterator[Finding]:
    """azd packs the whole context but .git and sends it to the registry, once per agent (Azure/azure-dev,
    pkg/containerregistry/pack_source.go)."""
    bare = dict.fromkeys(agent.context for agent, _ in _images(project) if agent.ignore_file is None)
    for context in bare:
        if context.is_dir():
            yield Finding(
                context / ".dockerignore", 1, f"the whole of {project.relative(context)} is sent to the registry"
            )


@rule(
    "dockerignore-place",
    "warning",
    "A .dockerignore is never read",
    fix="Move it to the context's root, or name it <Dockerfile>.dockerignore.",
)
def dockerignore_place(project: Project) -> Iterator[Finding]:
    """Only <Dockerfile>.dockerignore and the one in the root of the context count (Azure/azure-dev,
    pkg/containerregistry/pack_source.go; Docker, build context)."""
    for agent, _ in _images(project):
        path = agent.folder / ".dockerignore"
        if agent.context != agent.folder and path.is_file():
            yield Finding(path, 1, f"the context of {agent.key} is {project.relative(agent.context) or '.'}")


@rule("dockerignore-secrets", "error", ".dockerignore lets secrets through", fix="Add the pattern to .dockerignore.")
def dockerignore_secrets(project: Project) -> Iterator[Finding]:
    """What is not excluded goes to the registry's build, and with `COPY . .` into the image (Azure/azure-dev,
    pkg/containerregistry/pack_source.go). Looked at as if the file were there: it is on the developer's machine."""
    yield from _let_through(project, _SECRET_FILES, _PATTERN)


@rule(
    "dockerignore-waste", "warning", ".dockerignore lets large folders through", fix="Add the pattern to .dockerignore."
)
def dockerignore_waste(project: Project) -> Iterator[Finding]:
    """Gigabytes are sent once per agent, and a foreign .venv may end up in the image (Azure/azure-dev,
    pkg/containerregistry/pack_source.go)."""
    yield from _let_through(project, _WASTE, _WASTE_PATTERN)


def _let_through(project: Project, samples: dict[str, str], patterns: dict[str, str]) -> Iterator[Finding]:
    for agent in {agent.context: agent for agent, _ in _images(project)}.values():
        ignore = agent.ignore_file
        if ignore is None:
            continue
        node = any((place / "package.json").is_file() for place in (agent.context, agent.folder))
        folder = _below(agent.context, agent.folder)
        for sample, what in samples.items():
            places = [sample] if folder in (None, "") else [sample, f"{folder}/{sample}"]
            if sample.startswith("node_modules") and not node:
                continue
            if sample.startswith(".azure"):
                # azd keeps its folder beside azure.yaml.
                root = _below(agent.context, project.root) if project.azure else None
                places = [] if root is None else [f"{root}/{sample}".lstrip("/")]
            if open_place := next((place for place in places if not ignore.excludes(place)), ""):
                last = max((line for *_, line in ignore.rules), default=1)
                pattern = patterns[sample]
                yield Finding(
                    ignore.file, last, f"{open_place} ({what}) is sent to the registry", f"Add the line {pattern}",
                    Edit(ignore.file, 0, "", pattern),
                )  # fmt: skip


def _below(context: Path, folder: Path) -> str | None:
    """The folder's path in the context; None where it is outside."""
    found = folder.relative_to(context).as_posix() if folder.is_relative_to(context) else None
    return "" if found == "." else found


def startup(agent: Agent) -> Value:
    places = (agent.service, agent.service["config"], agent.definition)
    return next((each["startupCommand"] for each in places if each["startupCommand"]), Value(agent.folder, 1))


@rule(
    "startup-differs",
    "warning",
    "Locally and in the image something else starts",
    fix="Start the same command in `startupCommand` and in CMD.",
)
def startup_differs(project: Project) -> Iterator[Finding]:
    """`azd ai agent run` starts `startupCommand`, the container its CMD (Azure/azure-dev,
    azure.ai.agents/schemas/azure.ai.agent.json): what was tried locally is then not what is deployed."""
    for agent, dockerfile in _images(project):
        start, local = command(dockerfile), startup(agent)
        if start and local.text and start.exec_form and not dockerfile.final("ENTRYPOINT"):
            said, built = local.text.split(), start.exec_form
            if _program(said) != _program(built):
                yield Finding(
                    local.file,
                    local.line,
                    f"{agent.key} starts `{local.text}` here and `{' '.join(built)}` in its image",
                )


def _program(words: list[str]) -> list[str]:
    """The command without the paths of interpreter and script and without options that change no program."""
    interpreter = re.sub(r"^python[\d.]*$", "python", Path(words[0]).name)
    rest = [word for word in words[1:] if word not in ("-u", "-B", "-I")]
    return [interpreter, *(Path(word).name if word.endswith(".py") else word for word in rest)]
