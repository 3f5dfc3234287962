"""What azd runs after a deployment (`hooks.postdeploy` in azure.yaml): `python -m repo_tools.agent_roles`.

Run again with `azd hooks run postdeploy`: what is there stays as it is. Anything that is not granted ends it with 1.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping

from repo_tools.agent_roles.grant import Assignment, NotAllowed, RequestFailed, ResourceManager
from repo_tools.agent_roles.needs import needs_of

_SCOPE = "https://management.azure.com/.default"
_PRINCIPAL = "_INSTANCE_IDENTITY_PRINCIPAL_ID"
_NAME = "_NAME"


class NoToken(Exception):
    """Neither azd nor the Azure CLI gave a token; the text has what each said."""


def token(tenant: str = "") -> str:
    """A token for Resource Manager, from azd's login, else from that of the Azure CLI.

    Raises:
        NoToken
    """
    reasons = []
    for program, arguments, tenant_option, key in (
        ("azd", ["auth", "token", "--scope", _SCOPE, "--output", "json"], "--tenant-id", "token"),
        ("az", ["account", "get-access-token", "--scope", _SCOPE, "--output", "json"], "--tenant", "accessToken"),
    ):
        path = shutil.which(program)
        if path is None:
            reasons.append(f"{program} is not there")
            continue
        command = [path, *arguments, *([tenant_option, tenant] if tenant else [])]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode == 0:
                return str(json.loads(done.stdout)[key])
            reasons.append(f"{program}: {(done.stderr or done.stdout).strip() or f'ended with {done.returncode}'}")
        except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
            # Not the error's text: that of a parser may repeat what was read, which may be the token.
            reasons.append(f"{program}: {type(error).__name__}")
    raise NoToken("; ".join(reasons))


def deployed(environment: Mapping[str, str]) -> dict[str, str]:
    """The agents that azd has deployed, by name, each with the object id of its identity or an empty text.

    azd writes AGENT_<KEY>_NAME and AGENT_<KEY>_INSTANCE_IDENTITY_PRINCIPAL_ID (Azure/azure-dev, azure.ai.agents,
    `envkey.go`).
    """
    keys = {
        name.removeprefix("AGENT_").removesuffix(end)
        for name in environment
        for end in (_PRINCIPAL, _NAME)
        if name.startswith("AGENT_") and name.endswith(end)
    }
    return {
        environment.get(f"AGENT_{key}{_NAME}") or key.lower().replace("_", "-"): environment.get(
            f"AGENT_{key}{_PRINCIPAL}", ""
        )
        for key in sorted(keys)
    }


def run(
    environment: Mapping[str, str], open_resource_manager: Callable[[str], ResourceManager] = ResourceManager
) -> int:
    """Grant what is needed; 0 when all of it is there, 1 otherwise."""
    agents = deployed(environment)
    if not agents:
        return _stop("the azd environment names no deployed agent (AGENT_<NAME>_NAME). Run `azd deploy` again.")
    wanted, problems = [], []
    for agent, principal in agents.items():
        for need in needs_of(agent):
            scope = environment.get(need.scope, "")
            if not scope:
                continue
            try:
                wanted.append((agent, need, Assignment(principal, need.role.id, scope)))
            except ValueError as error:
                missing = "azd has no identity of it" if not principal else str(error)
                problems.append(f"{agent}: {missing}. Run `azd deploy {agent}` again.")
                break
    if not wanted and not problems:
        print(f"agent roles: {', '.join(agents)}: nothing is needed beyond what each identity has by itself")
        return 0
    refused: list[tuple[str, str, Assignment]] = []
    if wanted:
        try:
            manager = open_resource_manager(token(environment.get("AZURE_TENANT_ID", "")))
        except NoToken as error:
            return _stop(f"nobody is signed in. Run `azd auth login`, then `azd hooks run postdeploy`. {error}")
        for agent, need, assignment in wanted:
            what = f"{agent}: {need.role.name} on {assignment.scope.rpartition('/')[2]}"
            try:
                if _has(manager, assignment):
                    print(f"agent roles: {what}: was there")
                else:
                    manager.grant(assignment)
                    print(f"agent roles: {what}: granted")
            except NotAllowed as error:
                refused.append((f"{what} ({need.without} without it): {error}", agent, assignment))
            except RequestFailed as error:
                problems.append(f"{what}: {error}")
    for problem in problems:
        _stop(problem)
    if refused:
        for text, _, _ in refused:
            _stop(f"not allowed: {text}")
        print(
            "agent roles: you may not assign these roles. The agents are deployed; let an administrator (Owner, or "
            "Role Based Access Control Administrator) run:\n",
            file=sys.stderr,
        )
        print("\n".join(assignment.command for _, _, assignment in refused), file=sys.stderr)
        print("\nand then run: azd hooks run postdeploy", file=sys.stderr)
    return 1 if refused or problems else 0


def _has(manager: ResourceManager, assignment: Assignment) -> bool:
    """Who may not read assignments may be allowed to write them; granting tells."""
    try:
        return manager.has(assignment)
    except NotAllowed:
        return False


def _stop(problem: str) -> int:
    print(f"agent roles: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  azd takes any Python that it finds
        sys.exit("agent roles: needs Python 3.11 or newer")
    sys.exit(run(os.environ))
