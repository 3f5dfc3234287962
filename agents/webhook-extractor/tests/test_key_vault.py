"""Secrets from Key Vault: the real SDK against a vault on loopback that checks each request, and the agent as a process
that signs in, by TLS and a proxy, with nothing of it replaced.

The answers are in the form of https://learn.microsoft.com/azure/key-vault/general/rest-error-codes, not recorded from
the service.
"""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from agent_runtime.settings import SettingsError, load_settings
from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.serving import free_port
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import CredentialUnavailableError
from azure.keyvault.secrets._shared.http_challenge_cache import clear as forget_challenges
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from webhook_extractor.app import build_app
from webhook_extractor.key_vault import KeyVault
from webhook_extractor.settings import WebhookExtractorSettings
from webhook_extractor.sign import main as sign

HOST = "kv-desk.vault.azure.net"
ENDPOINT = f"https://{HOST}"
API_VERSION = "2026-04-01"
TOKEN = "the-agents-token"
IN_VAULT = "github secret of the vault"
GITHUB, NEXT, STRIPE = "github-webhook-secret", "github-webhook-secret-next", "stripe-webhook-secret"
STANDARD, CONTACT_SECRET = "standard-webhooks-secret", "whsec_b25lIG9mIHRoZSB2YXVsdCdzIG93bg=="


@dataclass
class Vault:
    """What the vault holds, and what was asked of it. `refuse` is a status and an inner code that all get."""

    secrets: dict[str, str] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    refuse: tuple[int, str] | None = None
    resource: str = "https://vault.azure.net"
    asked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, authorization: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        parts = urlsplit(path)
        name = re.fullmatch(r"/secrets/([0-9a-zA-Z-]{1,127})/?", parts.path)
        if method != "GET" or not name or parse_qs(parts.query) != {"api-version": [API_VERSION]}:
            self.faults.append(f"{method} {path}")
            return 400, _error("BadParameter"), {}
        if authorization != f"Bearer {TOKEN}":
            if authorization:
                self.faults.append("another token")
            challenge = f'Bearer authorization="https://login.microsoftonline.com/a", resource="{self.resource}"'
            return 401, _error("Unauthorized"), {"WWW-Authenticate": challenge}
        self.asked.append(name[1])
        if self.refuse:
            status, inner = self.refuse
            return status, _error("Forbidden" if status == 403 else "Throttled", inner), {}
        if name[1] in self.disabled:
            return 403, _error("Forbidden", "SecretDisabled"), {}
        if name[1] not in self.secrets:
            return 404, _error("SecretNotFound"), {}
        version = f"{ENDPOINT}/secrets/{name[1]}/{'0' * 32}"
        return 200, {"value": self.secrets[name[1]], "id": version, "attributes": {"enabled": True}}, {}

    def settled(self) -> Callable[[], bool]:
        """Whether two more readings have begun since the call: the first of them is over then."""
        before = len(self.asked)
        readings = 2 * max(1, len(set(self.asked)))
        return lambda: len(self.asked) > before + readings


def _error(code: str, inner: str = "") -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": "as the test wants it"}
    return {"error": error | ({"innererror": {"code": inner}} if inner else {})}


def _handler(vault: Vault) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, document, headers = vault.answer("GET", self.path, self.headers.get("Authorization", ""))
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (
                {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def served(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def vault() -> Iterator[Vault]:
    held = Vault({GITHUB: IN_VAULT})
    forget_challenges()
    with served(_handler(held)) as port:
        held.url = f"http://127.0.0.1:{port}"
        yield held
    assert held.faults == []


class Loopback(RequestsTransport):  # type: ignore[misc] # azure-core exports it lazily, untyped
    """Carries what the SDK sends to an https address, where alone it sends tokens, to the vault on loopback."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(self, request: Any, **options: Any) -> Any:
        asked = request.url
        request.url = self._url + asked.removeprefix(ENDPOINT)
        try:
            return super().send(request, **options)
        finally:
            request.url = asked  # the SDK looks at it again before it answers a challenge


class Identity:
    """A token for Key Vault, and for nothing else."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if scopes != ("https://vault.azure.net/.default",):
            raise ValueError(f"a token for {scopes} was asked for")
        return AccessToken(TOKEN, int(time.time()) + 3600)


def key_vault(settings: WebhookExtractorSettings, url: str, credential: Any = None) -> KeyVault:
    return KeyVault(settings, credential=credential or Identity(), transport=Loopback(url))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> WebhookExtractorSettings:
    monkeypatch.setenv("AZURE_KEY_VAULT_ENDPOINT", f"{ENDPOINT}/")
    return load_settings(WebhookExtractorSettings)


@pytest.fixture
def agent(agent: Any, vault: Vault) -> Callable[..., Any]:
    """As the agent of the other tests, with secrets from the vault, which is read again and again."""

    def run(seconds: str = "0.05", **environment: str) -> Any:
        of_the_vault = {
            "GITHUB_WEBHOOK_SECRET": "",
            "STANDARD_WEBHOOKS_SECRET": "",
            "AZURE_KEY_VAULT_ENDPOINT": f"{ENDPOINT}/",
            "KEY_VAULT_REFRESH_SECONDS": seconds,
        }
        return agent(open_vault=lambda settings: key_vault(settings, vault.url), **(of_the_vault | environment))

    return run


async def until(reached: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def until_answered(status: int, send: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while (answer := await send()).status_code != status:
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.02)


async def test_deliveries_are_checked_with_the_secrets_of_the_vault(agent: Any, vault: Vault) -> None:
    vault.secrets[STANDARD] = CONTACT_SECRET
    async with agent(seconds="60") as deliveries:
        assert (await deliveries.github(secret=IN_VAULT)).status_code == 202
        assert (await deliveries.github(secret="another")).json()["error"]["code"] == "signature_invalid"
        assert (await deliveries.contact(secret=CONTACT_SECRET)).status_code == 202
        stripe = await deliveries.post(b"{}", {"stripe-signature": "t=1,v1=00"})
        assert stripe.json()["error"]["code"] == "source_not_configured"
    assert sorted(vault.asked) == sorted({*vault.asked})
    assert {NEXT, STRIPE, f"{STANDARD}-next"} < {*vault.asked}


async def test_a_secret_is_rotated_without_a_restart_and_without_a_refused_delivery(agent: Any, vault: Vault) -> None:
    async with agent() as deliveries:

        async def new() -> Any:
            return await deliveries.github(secret="the new one", delivery="d-2")

        assert (await new()).status_code == 401
        vault.secrets[NEXT] = "the new one"
        await until_answered(202, new)
        assert (await deliveries.github(secret=IN_VAULT, delivery="d-3")).status_code == 202
        vault.secrets[GITHUB] = "the new one"
        del vault.secrets[NEXT]

        async def old() -> Any:
            assert (await new()).status_code == 202
            return await deliveries.github(secret=IN_VAULT, delivery="d-4")

        await until_answered(401, old)


def test_a_secret_that_is_moved_while_the_vault_is_read_is_not_missed(
    vault: Vault, settings: WebhookExtractorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.secrets[NEXT] = "the new one"
    answer = vault.answer

    def then_move(*request: str) -> Any:
        answered = answer(*request)
        if vault.asked and NEXT in vault.secrets:
            vault.secrets[GITHUB] = vault.secrets.pop(NEXT)
        return answered

    monkeypatch.setattr(vault, "answer", then_move)
    with contextlib.closing(key_vault(settings, vault.url)) as opened:
        assert "the new one" in opened.read_at_start().github_secrets
    assert NEXT not in vault.secrets


async def test_a_vault_that_fails_later_changes_nothing_and_is_read_again(
    agent: Any, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent() as deliveries:
        vault.secrets[GITHUB] = "the new one"
        vault.refuse = (403, "ForbiddenByRbac")
        await until(lambda: "stay as they were" in caplog.text)
        await until(vault.settled())
        assert (await deliveries.github(secret=IN_VAULT)).status_code == 202
        assert "Key Vault Secrets User" in caplog.text
        vault.secrets[GITHUB] = "  "
        vault.refuse = None
        await until(lambda: f"{GITHUB} there is blank" in caplog.text)
        assert (await deliveries.github(secret=IN_VAULT, delivery="d-2")).status_code == 202
        vault.secrets[GITHUB] = "the new one"
        await until_answered(202, lambda: deliveries.github(secret="the new one", delivery="d-3"))


@pytest.mark.parametrize("revoke", ["disable", "delete"])
async def test_a_secret_that_is_revoked_is_soon_refused_and_the_others_stay(
    revoke: str, agent: Any, vault: Vault
) -> None:
    vault.secrets[STANDARD] = CONTACT_SECRET
    async with agent() as deliveries:
        assert (await deliveries.github(secret=IN_VAULT)).status_code == 202
        if revoke == "disable":
            vault.disabled.add(GITHUB)
        else:
            del vault.secrets[GITHUB]
        await until_answered(401, lambda: deliveries.github(secret=IN_VAULT, delivery="d-2"))
        assert (await deliveries.contact(secret=CONTACT_SECRET)).status_code == 202


async def test_the_next_secret_works_alone_when_the_first_one_is_disabled(agent: Any, vault: Vault) -> None:
    vault.secrets[NEXT] = "the next one"
    vault.disabled.add(GITHUB)
    async with agent(seconds="60") as deliveries:
        assert (await deliveries.github(secret="the next one")).status_code == 202
        assert (await deliveries.github(secret=IN_VAULT, delivery="d-2")).status_code == 401


async def test_a_source_with_a_variable_is_not_looked_up_in_the_vault(agent: Any, vault: Vault) -> None:
    vault.secrets[STRIPE] = "whsec_of_the_vault"
    async with agent(seconds="60", GITHUB_WEBHOOK_SECRET="of the environment") as deliveries:
        assert (await deliveries.github(secret="of the environment")).status_code == 202
        assert (await deliveries.github(secret=IN_VAULT, delivery="d-2")).status_code == 401
    assert STRIPE in vault.asked
    assert not {GITHUB, NEXT} & {*vault.asked}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secrets": {}}, f"no webhook secret is there .*az keyvault secret set --vault-name kv-desk --name {GITHUB} "),
        ({"disabled": {GITHUB}}, rf"disabled \({GITHUB}\).*set-attributes --vault-name kv-desk .*--enabled true"),
        ({"refuse": (403, "ForbiddenByRbac")}, "may not read secrets.*Key Vault Secrets User: azd hooks run"),
        ({"refuse": (403, "ForbiddenByFirewall")}, "its firewall refuses this network"),
        ({"refuse": (400, "")}, "it answered 400 Throttled. Check the address"),
        ({"secrets": {GITHUB: " \t"}}, f"{GITHUB} there is blank.*Write it again"),
        ({"secrets": {STANDARD: "whsec_no key!"}}, f"{STANDARD} there is not base64.*Write it again"),
        ({"resource": "https://storage.azure.com"}, "what answers there is no Key Vault"),
    ],
)
def test_a_start_without_usable_secrets_ends_with_one_line_that_says_what_to_do(
    change: dict[str, Any], said: str, vault: Vault, settings: WebhookExtractorSettings
) -> None:
    for name, value in change.items():
        setattr(vault, name, value)
    with pytest.raises(SettingsError) as stopped:
        build_app(settings, vault=key_vault(settings, vault.url))
    assert re.fullmatch(rf"AZURE_KEY_VAULT_ENDPOINT: .*{said}.*", str(stopped.value))
    assert "no key!" not in str(stopped.value)


def test_a_vault_that_cannot_be_reached_stops_the_start(settings: WebhookExtractorSettings) -> None:
    with pytest.raises(SettingsError, match=r"cannot be reached. Check the address and the network \(.*refused"):
        key_vault(settings, f"http://127.0.0.1:{free_port()}").read_at_start()


def test_without_a_sign_in_the_start_says_how_to_get_one(vault: Vault, settings: WebhookExtractorSettings) -> None:
    class Nobody:
        def get_token(self, *_: str, **__: Any) -> AccessToken:
            raise CredentialUnavailableError("No credential\nin this chain")

    with pytest.raises(SettingsError, match=r"az login \(No credential in this chain\)\.$"):
        key_vault(settings, vault.url, Nobody()).read_at_start()


def test_the_line_break_of_a_file_is_no_part_of_the_secret(vault: Vault, settings: WebhookExtractorSettings) -> None:
    vault.secrets[GITHUB] = f" {IN_VAULT} \r\n"
    with contextlib.closing(key_vault(settings, vault.url)) as opened:
        assert opened.read_at_start().github_secrets == (f" {IN_VAULT} ",)


@pytest.mark.parametrize(
    "endpoint",
    ["http://kv-desk.vault.azure.net", "kv-desk", "https://", "https://kv-desk.vault.azure.net/secrets/x", "https://[",
     "https://user:word@kv-desk.vault.azure.net", "https://kv-desk.vault.azure.net:0"],
)  # fmt: skip
def test_an_address_that_is_no_vault_s_is_refused_without_showing_it(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_KEY_VAULT_ENDPOINT", endpoint)
    with pytest.raises(
        SettingsError, match=r"^AZURE_KEY_VAULT_ENDPOINT: must (be the address|hold no user)"
    ) as refused:
        load_settings(WebhookExtractorSettings)
    assert "word" not in str(refused.value).replace("password", "")


def test_an_empty_address_is_no_vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AZURE_KEY_VAULT_ENDPOINT", "")
    monkeypatch.setenv("AGENTSERVER_STATE_ROOT", str(tmp_path))
    build_app(load_settings(WebhookExtractorSettings))
    assert (tmp_path / "webhook-extractor/development-secrets.json").exists()


async def test_no_secret_and_no_token_is_logged_at_any_level(
    agent: Any, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    vault.secrets |= {NEXT: "the next one", STANDARD: CONTACT_SECRET}
    with caplog.at_level(logging.DEBUG):
        async with agent() as deliveries:
            await deliveries.github(secret=IN_VAULT)
            vault.secrets[NEXT] = "the last one"
            await until(lambda: "has other secrets than before: github_secret_next" in caplog.text)
            vault.refuse = (403, "ForbiddenByRbac")
            await until(lambda: "stay as they were" in caplog.text)
    assert f"/secrets/{NEXT}" in caplog.text
    for secret in (IN_VAULT, "the next one", "the last one", CONTACT_SECRET, TOKEN):
        assert secret not in caplog.text


# The agent as it is shipped: DefaultAzureCredential asks the identity endpoint that the environment names, as it does in
# Foundry, and the vault is reached under its real name, by TLS, through a proxy that knows where it really is.


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority, both = folder / "authority.pem", folder / "vault.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(authority.read_bytes() + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, authority


class _Cloud(BaseHTTPRequestHandler):
    """The identity endpoint, the proxy, and a collector of telemetry."""

    vault_port = 0
    sent: list[bytes]
    tunnels: list[str]

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        known = self.headers.get("X-IDENTITY-HEADER") == "of the sandbox"
        if not known or asked.get("resource") != ["https://vault.azure.net"]:
            self.send_error(400)
            return
        token = {"access_token": TOKEN, "expires_on": str(int(time.time()) + 3600), "resource": asked["resource"][0]}
        self._answer(json.dumps(token | {"token_type": "Bearer"}).encode())

    def do_POST(self) -> None:
        self.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"")

    def do_CONNECT(self) -> None:
        self.tunnels.append(self.path)
        with socket.create_connection(("127.0.0.1", self.vault_port)) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(there, self.connection))
            back.start()
            _copy(self.connection, there)
            back.join()
        self.close_connection = True

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def cloud(vault: Vault, tmp_path: Path) -> Iterator[tuple[dict[str, str | None], type[_Cloud]]]:
    """The environment of an agent that finds all of it, and the cloud."""
    tls, authority = _certificate(tmp_path)
    with served(_handler(vault), tls) as port:
        there = type("There", (_Cloud,), {"vault_port": port, "sent": [], "tunnels": []})
        with served(there) as cloud_port:
            url = f"http://{ipaddress.ip_address('127.0.0.1')}:{cloud_port}"
            environment: dict[str, str | None] = {
                "AZURE_KEY_VAULT_ENDPOINT": f"{ENDPOINT}/",
                "KEY_VAULT_REFRESH_SECONDS": "0.1",
                "AZURE_TOKEN_CREDENTIALS": "prod",
                "IDENTITY_ENDPOINT": f"{url}/token",
                "IDENTITY_HEADER": "of the sandbox",
                "HTTPS_PROXY": url,
                "NO_PROXY": "127.0.0.1",
                "REQUESTS_CA_BUNDLE": str(authority),
                "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                "LOG_LEVEL": "debug",
            }
            yield environment, there


async def test_the_agent_signs_in_with_its_identity_and_tells_nobody_what_it_was_given(
    vault: Vault, cloud: tuple[dict[str, str | None], type[_Cloud]], sender: Any
) -> None:
    environment, there = cloud
    async with AgentProcess("webhook_extractor", env=environment) as agent:
        deliveries = sender(agent.url)
        async with deliveries.client:
            assert (await deliveries.github(secret=IN_VAULT)).status_code == 202
            vault.secrets[NEXT] = "the next one"
            await until_answered(202, lambda: deliveries.github(secret="the next one", delivery="d-2"))
        assert await agent.terminate(timeout=10) == 0
    assert {*there.tunnels} == {f"{HOST}:443"}
    told = b"\n".join([*there.sent, agent.output().encode()])
    # What was asked is told, to the collector and in the log, and what was answered is not.
    assert f"/secrets/{GITHUB}/".encode() in b"".join(there.sent)
    assert f"/secrets/{GITHUB}/" in agent.output()
    assert f"Secrets are from {ENDPOINT}, read again every 0.1 s".encode() in told
    for secret in (IN_VAULT, "the next one", TOKEN, "of the sandbox"):
        assert secret.encode() not in told


async def test_the_agent_does_not_start_without_its_role_and_says_so_in_one_line(
    vault: Vault, cloud: tuple[dict[str, str | None], type[_Cloud]]
) -> None:
    environment, _ = cloud
    vault.refuse = (403, "ForbiddenByRbac")
    with pytest.raises(RuntimeError, match="exit code 2") as ended:
        async with AgentProcess("webhook_extractor", env=environment | {"LOG_LEVEL": "info"}):
            pass
    assert f"webhook-extractor: AZURE_KEY_VAULT_ENDPOINT: cannot read {ENDPOINT}: its identity may" in str(ended.value)
    assert "Traceback" not in str(ended.value)


async def test_a_reading_that_hangs_does_not_hold_up_the_end(
    vault: Vault, cloud: tuple[dict[str, str | None], type[_Cloud]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, _ = cloud
    hanging, release = threading.Event(), threading.Event()
    answer = vault.answer

    def hang(*request: str) -> Any:
        hanging.set()
        release.wait(30)
        return answer(*request)

    async with AgentProcess("webhook_extractor", env=environment) as agent:
        monkeypatch.setattr(vault, "answer", hang)
        try:
            assert await asyncio.to_thread(hanging.wait, 20)
            begun = time.monotonic()
            assert await agent.terminate(timeout=10) == 0
            assert time.monotonic() - begun < 4
        finally:
            release.set()


def test_the_sign_command_takes_the_secret_of_the_vault(
    vault: Vault,
    settings: WebhookExtractorSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    payload = tmp_path / "issue.json"
    payload.write_text("{}")
    monkeypatch.setattr("webhook_extractor.sign.open_key_vault", lambda _: key_vault(settings, vault.url))
    command = ["github", "--file", str(payload), "--headers-only"]
    assert sign(command) == 0
    from_vault = capsys.readouterr().out
    assert sign([*command, "--secret", IN_VAULT]) == 0
    signature = "X-Hub-Signature-256: "
    assert from_vault.partition(signature)[2] == capsys.readouterr().out.partition(signature)[2] != ""
    vault.refuse = (403, "ForbiddenByRbac")
    assert sign(command) == 2
    assert "Key Vault Secrets User" in capsys.readouterr().err
