"""A local server in Foundry's place: it checks every request (host, API version, token, content type), records it, and
plays back what a test wrote down. Answers have the shapes of the documentation; nothing here was tried against Azure."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from repo_tools.deploy.foundry import Network

HOST = "desk.services.ai.azure.com"
ENDPOINT = f"https://{HOST}/api/projects/desk"
SCOPE = "https://ai.azure.com/.default"
TOKEN = "a-token-for-foundry"
PROJECT = "/api/projects/desk"


class Login:
    def __init__(self) -> None:
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        return AccessToken(TOKEN if scopes == (SCOPE,) else "a-token-for-something-else", 4102444800)


class NoLogin:
    def get_token(self, *_: str, **__: Any) -> AccessToken:
        raise ClientAuthenticationError("Please run 'az login'\nand much more")


@dataclass
class Answer:
    """`body` is JSON, text, or a list of pieces that are streamed; `broken` closes the connection after them."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    broken: bool = False


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


@dataclass
class FoundryService:
    port: int = 0
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    login: Login = field(default_factory=Login)
    agents: dict[str, str] = field(default_factory=dict)
    """agents that run on this machine: name → address; their endpoints are led there, as the platform does"""

    def on(self, method: str, path: str, *answers: Answer | Any) -> None:
        """The answers to a path below the project, in this order; the last one stays."""
        self.answers[method, path] = [each if isinstance(each, Answer) else Answer(body=each) for each in answers]

    def sent(self, method: str, path: str) -> list[Asked]:
        return [each for each in self.asked if (each.method, each.path) == (method, path)]

    @property
    def network(self) -> Network:
        port = self.port

        class SdkToLoopback(RequestsTransport):
            def send(self, request: Any, **options: Any) -> Any:
                address = request.url
                request.headers["Host"] = urlsplit(address).netloc
                request.url = loopback(address, port)
                try:
                    return super().send(request, **options)
                finally:
                    request.url = address  # the SDK may send it again, and looks at its scheme first

        class HttpToLoopback(httpx2.HTTPTransport):
            def handle_request(self, request: httpx2.Request) -> httpx2.Response:
                request.url = httpx2.URL(loopback(str(request.url), port))
                return super().handle_request(request)

        return Network(sdk=SdkToLoopback(), http=HttpToLoopback())

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.headers.get("host") != HOST:
            self.wrong.append(f"{asked.path}: for {asked.headers.get('host')}")
        if asked.query.get("api-version") != "v1":
            self.wrong.append(f"{asked.path}: api-version {asked.query.get('api-version')}")
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            self.wrong.append(f"{asked.path}: not the token for {SCOPE}")
        kind = asked.headers.get("content-type", "")
        if asked.method == "POST" and "/invocations" not in asked.path and kind != "application/json":
            self.wrong.append(f"{asked.path}: a body of {kind}")
        scripted = self.answers.get((asked.method, asked.path))
        if scripted is None:
            return error(404, "not_found", f"nothing is at {asked.path}")
        return scripted.pop(0) if len(scripted) > 1 else scripted[0]


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"error": {"code": code, "message": message}}, named)


def events(*payloads: dict[str, Any], broken: bool = False, **headers: str) -> Answer:
    """A stream of server-sent events as the Responses protocol writes them."""
    pieces = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in payloads]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, pieces, {"Content-Type": "text/event-stream", **named}, broken)


def loopback(url: str, port: int) -> str:
    parts = urlsplit(url)
    assert parts.scheme == "https", "a token must not travel in clear text"
    return parts._replace(scheme="http", netloc=f"127.0.0.1:{port}").geturl()


@contextmanager
def served() -> Iterator[FoundryService]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(
                self.command,
                parts.path.removeprefix(PROJECT),
                {name: values[0] for name, values in parse_qs(parts.query).items()},
                {name.lower(): value for name, value in self.headers.items()},
                content,
            )
            if not parts.path.startswith(PROJECT):
                service.wrong.append(f"outside of the project: {parts.path}")
            found = service.answer(asked)
            name, _, route = asked.path.removeprefix("/agents/").partition("/endpoint/protocols/")
            if name in service.agents and route:
                self.relay(asked, service.agents[name] + "/" + route.removeprefix("openai/"))
                return
            if isinstance(found.body, list) and found.headers.get("Content-Type") == "text/event-stream":
                self.stream(found)
                return
            payload = found.body if isinstance(found.body, str) else json.dumps(found.body)
            raw = b"" if found.body is None else payload.encode()
            self.send_response(found.status)
            for name, value in {"Content-Type": "application/json", **found.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def relay(self, asked: Asked, url: str) -> None:
            kept = {name: asked.headers[name] for name in ("accept", "content-type") if name in asked.headers}
            headers = kept | {"x-agent-user-id": "someone", "x-agent-foundry-call-id": "call-1"}
            query = {name: value for name, value in asked.query.items() if name != "api-version"}
            with (
                httpx2.Client(timeout=60) as client,
                client.stream(asked.method, url, params=query, content=asked.content, headers=headers) as answer,
            ):
                self.send_response(answer.status_code)
                dropped = ("content-length", "transfer-encoding", "connection", "date", "server")
                for name, value in answer.headers.items():
                    if name not in dropped:
                        self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    for piece in answer.iter_raw():
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")
                except ConnectionError:
                    self.close_connection = True  # who asked has gone

        def stream(self, found: Answer) -> None:
            self.send_response(found.status)
            for name, value in {**found.headers, "Transfer-Encoding": "chunked"}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in found.body:
                self.wfile.write(f"{len(piece.encode()):x}\r\n{piece}\r\n".encode())
                self.wfile.flush()
            if not found.broken:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        do_GET = do_POST = do_DELETE = do_PATCH = handle_any

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    service = FoundryService(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
