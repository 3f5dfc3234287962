"""`python -m repo_tools deploy`: creates versions and waits for them; `list`, `show`, `delete` and `invoke` besides."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repo_tools.azure_environment import LOGIN, NotSignedIn, environment_values, project_endpoint, sign_in
from repo_tools.deploy import invocations, responses
from repo_tools.deploy.advice import Action, advise
from repo_tools.deploy.by_rest import ByRest
from repo_tools.deploy.by_sdk import BySdk, agent_client
from repo_tools.deploy.definition import CannotDeploy, VersionRequest, image_variable, version_request
from repo_tools.deploy.foundry import Foundry, FoundryError, Network, error_of, other_traffic
from repo_tools.deploy.waiting import Outcome, wait
from repo_tools.doctor.command import examine
from repo_tools.doctor.project import Agent, NotAProject, Project, read_project
from repo_tools.doctor.rule import load_rules
from repo_tools.repository import ROOT

_ME = ".venv/bin/python -m repo_tools deploy"
_EPILOG = f"""\
{_ME} list                       the project's agents
{_ME} show AGENT                 one agent: status, versions, image, identity
{_ME} delete AGENT               an agent with all its versions, or --version N
{_ME} invoke AGENT "a question"  ask one that is deployed
each has --help.

Images are not built here. Push one, and name it by --image, by `image` of the service in azure.yaml, or in the azd
environment: azd env set {image_variable("rag-chat")} <registry>/<repository>:<tag>

The project's endpoint is --endpoint, else FOUNDRY_PROJECT_ENDPOINT of the shell or the azd environment, else
`endpoint` of the service azure.ai.project. You need a login (azd auth login, or az login) and the role Foundry User
on the project. Exit codes: 0 done, 1 refused or failed, 2 nothing was tried.
"""


class _Refused(Exception):
    """Nothing was tried; the message says what is missing."""


def main(arguments: list[str], *, credential: Any = None, network: Network | None = None) -> int:
    """Returns the exit code: 0 done, 1 Foundry refused or the agent failed, 2 nothing was tried.

    `credential` and `network` replace the sign-in and the way to Azure, for tests.
    """
    verbs: dict[str, Callable[[argparse.Namespace, Any, Network], int]] = {
        "list": _list, "show": _show, "delete": _delete, "invoke": _invoke,
    }  # fmt: skip
    verb = arguments[0] if arguments and arguments[0] in verbs else ""
    # Intermixed: `invoke AGENT --session ID "a question"` is as good as the question before the option.
    options = _parser(verb).parse_intermixed_args(arguments[1:] if verb else arguments)
    try:
        return verbs.get(verb, _create)(options, credential or sign_in(), network or Network())
    except (_Refused, CannotDeploy, NotAProject) as error:
        return _say(str(error), 2)
    except NotSignedIn as error:
        return _say(f"it needs a login: {LOGIN} ({error})", 2)
    except FoundryError as error:
        return _explain(error, "invoke" if verb == "invoke" else "manage")
    except KeyboardInterrupt:
        return 130


def _parser(verb: str) -> argparse.ArgumentParser:
    described = {
        "": "Create a new version of each agent and wait until it is active, without azd.",
        "list": "List the agents of the Foundry project.",
        "show": "Show an agent: its status, versions, image, protocols and identity.",
        "delete": "Delete an agent with all its versions and its identity, or one version.",
        "invoke": "Ask a deployed agent, over the protocol that it declares.",
    }
    parser = argparse.ArgumentParser(
        prog=f"repo_tools deploy {verb}".strip(),
        description=described[verb],
        epilog=None if verb else _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if verb in ("show", "delete", "invoke"):
        parser.add_argument("agent", metavar="AGENT")
    if verb == "":
        parser.add_argument("agents", nargs="*", metavar="AGENT", help="which ones (default: all of azure.yaml)")
        parser.add_argument(
            "--image",
            action="append",
            default=[],
            metavar="[AGENT=]IMAGE",
            help="what was pushed, <registry>/<repository>:<tag>; without AGENT= where one agent is deployed",
        )
        parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="default: %(default)g")
        parser.add_argument(
            "--interval", type=float, default=5, metavar="SECONDS", help="between two looks (%(default)g)"
        )
        parser.add_argument("--no-wait", action="store_true", help="do not wait until the versions are active")
        parser.add_argument("--no-doctor", action="store_true", help="deploy although the doctor finds errors")
        parser.add_argument(
            "--dry-run", action="store_true", help="print the bodies that would be sent; needs no login"
        )
    if verb == "delete":
        parser.add_argument("--version", metavar="N", help="this version only")
        parser.add_argument("--force", action="store_true", help="although sessions are running")
        parser.add_argument("--yes", action="store_true", help="do not ask")
    if verb == "invoke":
        _add_question(parser)
    else:
        parser.add_argument(
            "--via", choices=["sdk", "rest"], default="sdk", help="azure-ai-projects or plain REST (%(default)s)"
        )
    if verb in ("list", "show"):
        parser.add_argument("--json", action="store_true", help="print what Foundry answered")
    parser.add_argument("--endpoint", metavar="URL", help="of the Foundry project")
    parser.add_argument("--environment", metavar="NAME", help="of azd (default: the selected one)")
    parser.add_argument(
        "--project", type=Path, default=ROOT, metavar="DIR", help="with azure.yaml (default: this repository)"
    )
    return parser


def _add_question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("message", nargs="?", help="what to ask")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="ask this; for Responses a JSON list is a list of items"
    )
    parser.add_argument("--protocol", choices=["responses", "invocations"], help="where the agent declares both")
    parser.add_argument("--session", metavar="ID", help="go on in this sandbox (agent_session_id)")
    parser.add_argument("--resume", metavar="ID", help="follow a response or an invocation that is under way")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="default: %(default)g")
    parser.add_argument("--interval", type=float, default=2, metavar="SECONDS", help="between two polls (%(default)g)")
    of_responses = parser.add_argument_group("Responses")
    of_responses.add_argument("--conversation", metavar="ID", help="go on in this conversation; `new` begins one")
    of_responses.add_argument("--previous", metavar="ID", help="go on after this response")
    of_responses.add_argument("--approve", metavar="ID", help="an approval request of --previous")
    of_responses.add_argument("--reject", metavar="ID", help="the same; the message is the reason")
    of_responses.add_argument("--background", action="store_true", help="it goes on without a connection")
    of_responses.add_argument("--no-stream", action="store_true", help="show the answer when it is whole")
    of_responses.add_argument("--after", type=int, metavar="N", help="of --resume: the last event that was seen")


def _create(options: argparse.Namespace, credential: Any, network: Network) -> int:
    project = read_project(options.project)
    values = environment_values(project.root, options.environment)
    requests = _requests(project, values, options)
    if not options.no_doctor:
        _ask_doctor(project)
    if options.dry_run:
        print(json.dumps({each.name: each.as_json() for each in requests}, indent=2))
        return 0
    with _foundry(options, project, values, credential, network) as foundry:
        pending, refused = {}, 0
        width = max(len(each.name) for each in requests)
        for each in requests:
            try:
                made = foundry.create_version(each)
            except FoundryError as error:
                refused = _explain(error, "deploy", each.name)
                continue
            pending[each.name] = str(made.get("version"))
            print(f"{each.name:{width}}  version {pending[each.name]} is made of {each.image}", flush=True)
        if options.no_wait or not pending:
            return refused

        def report(name: str, what: str, seconds: float) -> None:
            print(f"{name:{width}}  version {pending[name]}: {what} ({seconds:.0f} s)", flush=True)

        try:
            outcomes = wait(foundry, pending, timeout=options.timeout, interval=options.interval, report=report)
        except KeyboardInterrupt:
            _say(f"they go on being made; look later: {_ME} list", 1)
            raise
        active = [name for name, each in outcomes.items() if each.status == "active" and each.refusal is None]
        passing_by = {name: _traffic(foundry, name) for name in active}
    return max(
        [
            refused,
            *(_ended(name, pending[name], each, options, passing_by.get(name, "")) for name, each in outcomes.items()),
        ]
    )


def _requests(project: Project, values: dict[str, str], options: argparse.Namespace) -> list[VersionRequest]:
    known = {agent.key: agent for agent in project.agents}
    for name in options.agents:
        if name not in known:
            hint = f"; `{name}` goes first: deploy {name} …" if name in ("list", "show", "delete", "invoke") else ""
            raise _Refused(f"no agent is called {name}. There are: {', '.join(known)}{hint}")
    chosen: list[Agent] = [known[name] for name in options.agents or known]
    images: dict[str, str] = {}
    for given in options.image:
        name, found, image = given.partition("=")
        if not found:
            if len(chosen) != 1:
                raise _Refused(f"--image {given}: say whose it is, --image <agent>={given}")
            name, image = chosen[0].key, given
        if name not in {agent.key for agent in chosen}:
            raise _Refused(f"--image {given}: {name} is not deployed now")
        images[name] = image
    return [version_request(agent, values, image=images.get(agent.key)) for agent in chosen]


def _ask_doctor(project: Project) -> None:
    errors = [each for each in examine(project, load_rules().values()) if each.rule.severity == "error"]
    for each in errors:
        place = f"{project.relative(each.finding.file)}:{each.finding.line}"
        print(f"{place}: error [{each.rule.id}] {each.finding.message}\n    fix: {each.fix}", file=sys.stderr)
    if errors:
        raise _Refused("the doctor found errors; --no-doctor deploys all the same")


def _traffic(foundry: Foundry, name: str) -> str:
    """Where requests go if not to the new version; the deployment does not fail by not knowing."""
    try:
        return other_traffic(foundry.agent(name))
    except (FoundryError, KeyError, TypeError):
        return ""


def _ended(name: str, version: str, outcome: Outcome, options: argparse.Namespace, other: str) -> int:
    if outcome.refusal is not None:
        return _explain(outcome.refusal, "manage", f"{name} {version}, which was {outcome.status} when last seen")
    if outcome.status == "active":
        identity = (outcome.version.get("instance_identity") or {}).get("principal_id")
        print(f"{name} {version} is active" + (f"; its identity is {identity}" if identity else ""))
        if other:
            print(f"    but requests go to version {other}: azd ai agent endpoint show {name}")
        print(f'    ask it: {_ME} invoke {name} "…"')
        return 0
    if outcome.status == "failed":
        return _explain(error_of(0, outcome.version, {}), "deploy", f"{name} {version} failed")
    if outcome.seen:
        return _say(f"{name} {version} is {outcome.status}", 1)
    return _say(
        f"{name} {version} is still {outcome.status} after {options.timeout:g} s; it may become active yet. "
        f"Look later: {_ME} show {name}",
        1,
    )


def _list(options: argparse.Namespace, credential: Any, network: Network) -> int:
    with _connected(options, credential, network) as foundry:
        found = list(foundry.agents())
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    rows = [("agent", "version", "status", "made", "protocols")]
    for agent in found:
        latest = agent.get("versions", {}).get("latest", {})
        protocols = latest.get("definition", {}).get("protocol_versions") or []
        rows.append((
            str(agent.get("name")), str(latest.get("version")), str(latest.get("status") or "-"),
            _time(latest.get("created_at")), ", ".join(f"{each['protocol']} {each['version']}" for each in protocols),
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows if found else []:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        print("no agents")
    return 0


def _show(options: argparse.Namespace, credential: Any, network: Network) -> int:
    with _connected(options, credential, network) as foundry:
        agent = foundry.agent(options.agent)
        versions = list(foundry.versions(options.agent))
    if options.json:
        print(json.dumps({"agent": agent, "versions": versions}, indent=2))
        return 0
    latest = agent.get("versions", {}).get("latest", {})
    definition = latest.get("definition", {})
    identity = agent.get("instance_identity") or latest.get("instance_identity") or {}
    protocols = [f"{each['protocol']} {each['version']}" for each in definition.get("protocol_versions") or []]
    # Names only: a value may be a secret of another project.
    variables = sorted(definition.get("environment_variables") or {})
    made = f"{latest.get('status') or 'status not said'}, {_time(latest.get('created_at'))}"
    lines = {
        "agent": f"{agent.get('name')} ({agent.get('state') or 'state not said'})",
        "version": f"{latest.get('version')}, {made}",
        "image": (definition.get("container_configuration") or {}).get("image") or definition.get("image") or "-",
        "size": f"{definition.get('cpu')} vCPU, {definition.get('memory')}",
        "protocols": ", ".join(protocols) or "-",
        "variables": ", ".join(variables) or "-",
        "identity": f"{identity.get('principal_id') or '-'} (object id, for roles)",
        "traffic": other_traffic(agent) or "latest",
        "versions": ", ".join(f"{each.get('version')} {each.get('status') or ''}".strip() for each in versions),
    }
    for name, text in lines.items():
        print(f"{name:9}  {text}")
    if latest.get("status") == "failed":
        return _explain(error_of(0, latest, {}), "deploy", f"{options.agent} {latest.get('version')} failed")
    return 0


def _delete(options: argparse.Namespace, credential: Any, network: Network) -> int:
    what = (
        f"version {options.version} of {options.agent}"
        if options.version
        else f"{options.agent}, all its versions and its identity"
    )
    with _connected(options, credential, network) as foundry:
        if not options.yes:
            if not sys.stdin.isatty():
                raise _Refused(f"this deletes {what}; say --yes")
            if input(f"Delete {what}? [y/N] ").strip().lower() != "y":
                return 2
        if options.version:
            foundry.delete_version(options.agent, options.version, force=options.force)
        else:
            foundry.delete(options.agent, force=options.force)
    print(f"deleted {what}")
    return 0


def _invoke(options: argparse.Namespace, credential: Any, network: Network) -> int:
    project, values = _project(options)
    endpoint = _endpoint(options, project, values)
    protocol = options.protocol or _protocol(options, project, endpoint, credential, network)
    if protocol == "invocations":
        return _invoke_invocations(options, endpoint, credential, network)
    return _invoke_responses(options, endpoint, credential, network)


def _invoke_responses(options: argparse.Namespace, endpoint: str, credential: Any, network: Network) -> int:
    question = responses.Question(
        agent=options.agent,
        body={} if options.resume else _body(options),
        stream=not options.no_stream,
        background=options.background,
        resume=options.resume,
        after=options.after,
        timeout=options.timeout,
        interval=options.interval,
    )
    with agent_client(endpoint, options.agent, credential, network, timeout=options.timeout) as client:
        if options.conversation == "new" and not options.resume:
            conversation = responses.new_conversation(client)
            question.body["conversation"] = conversation
            print(f"deploy: conversation {conversation}", file=sys.stderr)
        final = responses.ask(client, question, _write)
    session = final.get("agent_session_id")
    print(
        f"deploy: {final.get('id')} is {final.get('status')}" + (f", session {session}" if session else ""),
        file=sys.stderr,
    )
    for identity, asked in responses.approvals(final):
        print(
            f"deploy: it asks for your approval: {asked}\n"
            f"    {_ME} invoke {options.agent} --previous {final.get('id')} --approve {identity}   (or --reject)",
            file=sys.stderr,
        )
    if final.get("status") == "completed":
        return 0
    reason = final.get("error") or final.get("incomplete_details") or {}
    said = reason.get("message") or reason.get("reason") or "no reason given"
    said += f" ({reason['code']})" if reason.get("code") else ""
    return _say(f"the response is {final.get('status')}: {said}", 1)


def _body(options: argparse.Namespace) -> dict[str, Any]:
    text = _content(options).decode(errors="replace")
    asked: Any = text
    if options.approve or options.reject:
        if not options.previous:
            raise _Refused("--approve and --reject answer a request of --previous <response>")
        answer: dict[str, Any] = {
            "type": "mcp_approval_response",
            "approval_request_id": options.approve or options.reject,
            "approve": bool(options.approve),
        }
        asked = [answer | ({"reason": text} if text else {})]
    elif options.file:
        try:
            items = json.loads(text)
        except ValueError:
            items = None
        asked = items if isinstance(items, list) else text
    body: dict[str, Any] = {"input": asked}
    if options.previous:
        body["previous_response_id"] = options.previous
    if options.conversation and options.conversation != "new":
        body["conversation"] = options.conversation
    if options.session:
        body["extra_body"] = {"agent_session_id": options.session}
    return body


def _invoke_invocations(options: argparse.Namespace, endpoint: str, credential: Any, network: Network) -> int:
    for name in ("conversation", "previous", "approve", "reject", "background", "no_stream"):
        if getattr(options, name):
            raise _Refused(f"--{name.replace('_', '-')} is for Responses; an invocation takes what its agent defines")
    ended = invocations.invoke(
        endpoint,
        credential,
        invocations.Invocation(
            agent=options.agent,
            content=b"" if options.resume else _content(options),
            session=options.session,
            resume=options.resume,
            timeout=options.timeout,
            interval=options.interval,
        ),
        _write,
        network,
    )
    named = {"invocation": ended.invocation, "session": ended.session}
    if any(named.values()):
        print("deploy: " + ", ".join(f"{name} {value}" for name, value in named.items() if value), file=sys.stderr)
    return _say(f"the agent says: {ended.failure}", 1) if ended.failure else 0


def _content(options: argparse.Namespace) -> bytes:
    if options.file:
        if options.message and not options.reject:
            raise _Refused("give a message or --file, not both")
        try:
            content: bytes = options.file.read_bytes()
        except OSError as error:
            raise _Refused(f"{options.file} cannot be read: {error.strerror}") from error
        return content
    if options.message is None and not (options.approve or options.reject):
        raise _Refused('what to ask? deploy invoke <agent> "a question", or --file')
    return (options.message or "").encode()


def _protocol(
    options: argparse.Namespace, project: Project | None, endpoint: str, credential: Any, network: Network
) -> str:
    """What azure.yaml declares for the agent, else what its deployed version does."""
    declared = [
        each["protocol"].text for agent in (project.agents if project else ()) if agent.name.text == options.agent
        for each in agent.protocols
    ]  # fmt: skip
    if not declared:
        foundry = ByRest(endpoint, credential, network)
        try:
            definition = foundry.agent(options.agent)["versions"]["latest"]["definition"]
        finally:
            foundry.close()
        declared = [each["protocol"] for each in definition.get("protocol_versions") or []]
    spoken = [each for each in declared if each in ("responses", "invocations")]
    if len(spoken) != 1:
        said = " and ".join(spoken) or "neither Responses nor Invocations"
        raise _Refused(f"{options.agent} declares {said}: choose by --protocol")
    return spoken[0]


def _project(options: argparse.Namespace) -> tuple[Project | None, dict[str, str]]:
    """The project where there is one: asking needs its azd environment only."""
    try:
        project = read_project(options.project)
    except NotAProject:
        return None, environment_values(options.project.resolve(), options.environment)
    return project, environment_values(project.root, options.environment)


def _endpoint(options: argparse.Namespace, project: Project | None, values: dict[str, str]) -> str:
    written = [service["endpoint"].text for _, service in project.services("azure.ai.project")] if project else []
    found = options.endpoint or values.get("FOUNDRY_PROJECT_ENDPOINT") or next((each for each in written if each), "")
    if not found:
        raise _Refused(
            "FOUNDRY_PROJECT_ENDPOINT is not set: run `azd provision`, choose --environment, or give --endpoint "
            "https://<account>.services.ai.azure.com/api/projects/<project>"
        )
    try:
        return project_endpoint(found)
    except ValueError as error:
        raise _Refused(str(error)) from None


@contextmanager
def _connected(options: argparse.Namespace, credential: Any, network: Network) -> Iterator[Foundry]:
    project, values = _project(options)
    with _foundry(options, project, values, credential, network) as foundry:
        yield foundry


@contextmanager
def _foundry(
    options: argparse.Namespace, project: Project | None, values: dict[str, str], credential: Any, network: Network
) -> Iterator[Foundry]:
    endpoint = _endpoint(options, project, values)
    foundry: Foundry = (ByRest if options.via == "rest" else BySdk)(endpoint, credential, network)
    print(f"deploy: {endpoint} by {options.via}", file=sys.stderr)
    try:
        yield foundry
    finally:
        foundry.close()


def _explain(error: FoundryError, action: Action, what: str = "") -> int:
    status = f"{error.status} " if error.status else ""
    code = f"[{error.details or error.code}] " if error.details or error.code else ""
    request = f" (request id {error.request_id})" if error.request_id else ""
    _say(f"{what + ': ' if what else ''}{status}{code}{error.message}{request}", 1)
    advice = advise(error, action)
    if advice:
        print(advice, file=sys.stderr)
    return 1


def _say(message: str, code: int) -> int:
    print(f"deploy: {message}", file=sys.stderr)
    return code


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _time(value: Any) -> str:
    """Seconds since 1970, or the text of a time, which the SDK makes of them."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    return str(value or "-").replace("T", " ")[:16]
