"""Files that cannot be read as they were meant: YAML, includes, placeholders nobody filled in, secrets in clear
text."""

import re
from collections.abc import Iterator

from repo_tools.doctor.project import Project
from repo_tools.doctor.rule import Finding, rule

_PLACEHOLDER = re.compile(
    r"<(?i:your|my|insert|enter|add|replace|fill)[^<>]*>|^(?:TODO|FIXME)(?=:|$)|\b(?:(?i:CHANGE_?ME|REPLACE_?ME)|YOUR_[A-Z_]+)\b"
)
"""In capitals where it is a word that people also write: an agent may be called todo."""
_PROSE = ("description", "displayName", "instructions")
_SECRETS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "a storage or Service Bus key": re.compile(r"\b(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{20,}"),
    "a shared access signature": re.compile(r"[?&]sig=[A-Za-z0-9%+/]{30,}"),
    "an OpenAI key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    "a Stripe key": re.compile(r"\b(?:[sr]k_live_|whsec_)[A-Za-z0-9+/]{16,}"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    "a Google API key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "a password in a URL": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@]+:[^\s:/@${}]{6,}@"),
}


def secret_in(text: str) -> str:
    """What kind of secret the text holds; empty where it holds none that is known."""
    return next((name for name, pattern in _SECRETS.items() if pattern.search(text)), "")


def _problems(project: Project, identity: str) -> Iterator[Finding]:
    for problem in project.problems:
        if problem.rule == identity:
            yield Finding(problem.file, problem.line, problem.message)


@rule(
    "yaml-syntax", "error", "A file is not valid YAML", fix="Correct the line; an editor with the YAML schema shows it."
)
def yaml_syntax(project: Project) -> Iterator[Finding]:
    """azd stops at the first file it cannot parse (YAML 1.2.2 specification, https://yaml.org/spec/1.2.2/)."""
    yield from _problems(project, "yaml-syntax")


@rule("yaml-duplicate-key", "error", "A key stands twice in one mapping", fix="Keep one of the two.")
def yaml_duplicate_key(project: Project) -> Iterator[Finding]:
    """YAML demands unique keys, and the parser of azd (go-yaml v3) refuses the file: "mapping key already defined"
    (YAML 1.2.2, 3.2.1.3; many other parsers silently take the last one)."""
    yield from _problems(project, "yaml-duplicate-key")


@rule(
    "ref-missing", "error", "A $ref names no file", fix="Correct the path; it starts at the file that holds the $ref."
)
def ref_missing(project: Project) -> Iterator[Finding]:
    """A relative `$ref` is resolved from the file that contains it (Azure/azure-dev,
    azure.ai.agents/schemas/FileRef.json)."""
    yield from _problems(project, "ref-missing")


@rule("ref-remote", "error", "A $ref names an address", fix="Copy the file into the repository and name its path.")
def ref_remote(project: Project) -> Iterator[Finding]:
    """ "Remote URLs are not supported" in `$ref` (Azure/azure-dev, azure.ai.agents/schemas/FileRef.json)."""
    yield from _problems(project, "ref-remote")


@rule(
    "placeholder-unresolved", "error", "A template's {{placeholder}} is still there",
    fix="Write the value; `{{…}}` is filled in only by `azd ai agent init -m`, from a manifest.",
)  # fmt: skip
def placeholder_unresolved(project: Project) -> Iterator[Finding]:
    """`{{NAME}}` is replaced once, when init reads a manifest; in azure.yaml and agent.yaml azd sends it as it stands
    (Azure/azure-dev, azure.ai.agents, internal/pkg/agents/agent_yaml/parameters.go)."""
    for document in project.documents:
        for _, value in document.scalars():
            if found := re.search(r"(?<!\$)\{\{\s*([\w.-]+)\s*\}\}", value.text):
                yield Finding(value.file, value.line, f"{found.group()} was never replaced")


@rule(
    "placeholder-text", "error", "A value still says that it is to be filled in", fix="Write the value you mean.",
)  # fmt: skip
def placeholder_text(project: Project) -> Iterator[Finding]:
    """Text such as <your-project> or CHANGEME is deployed as it stands and fails at the first request that uses it; azd
    looks for `{{…}}` only (Azure/azure-dev, azure.ai.agents, internal/pkg/agents/agent_yaml/parameters.go)."""
    for document in project.documents:
        for path, value in document.scalars():
            if path[-1] not in _PROSE and (found := _PLACEHOLDER.search(value.text)):
                yield Finding(value.file, value.line, f"{path[-1]} is the placeholder {found.group()}")


@rule(
    "secret-in-file", "error", "A secret stands in a deployment file",
    fix="Revoke it, and keep the new one in Key Vault or a connection: `$${{connections.<name>.credentials.key}}`.",
)  # fmt: skip
def secret_in_file(project: Project) -> Iterator[Finding]:
    """Whoever reads the repository, or the agent's version in Foundry, has it (Learn, how-to/deploy-hosted-agent:
    secrets by connection references; the value is resolved when the sandbox starts)."""
    for document in project.documents:
        for path, value in document.scalars():
            if kind := secret_in(value.text):
                yield Finding(value.file, value.line, f"{path[-1]} holds {kind}")
    for file, text in project.infrastructure:
        for number, line in enumerate(text.splitlines(), start=1):
            if kind := secret_in(line):
                yield Finding(file, number, f"this line holds {kind}")


@rule(
    "env-file-tracked", "error", "git tracks a file of environment variables",
    fix="`git rm --cached` it, add it to .gitignore, and replace every secret that it ever held.",
)  # fmt: skip
def env_file_tracked(project: Project) -> Iterator[Finding]:
    """`.env` and `.azure/` hold what belongs to one developer and one environment: keys, subscription and tenant ids
    (azd writes a .gitignore into `.azure/` for that reason)."""
    for name in sorted(project.tracked or ()):
        parts = name.split("/")
        is_env = re.fullmatch(r"\.env(\.(?!example$|sample$|template$|dist$)[\w.-]+)?", parts[-1])
        if is_env or (".azure" in parts[:-1] and parts[-1] == "config.json"):
            yield Finding(project.root / name, 1, f"{name} is in the repository")
