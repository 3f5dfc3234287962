"""The client for each provider: where it connects, what it sends, how it signs in, and what it never does."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from agent_runtime.model_client import FOUNDRY_SCOPE, create_model_client, describe_model
from agent_runtime.model_exchange import ModelReply, ModelRequest
from agent_runtime.model_transport import ModelTransport
from agent_runtime.settings import AgentSettings
from agent_runtime.testing import ScriptedModel
from azure.ai.agentserver.core import FoundryAgentRequestContext, reset_request_context, set_request_context
from azure.ai.projects.aio import AIProjectClient
from azure.core.credentials import AccessToken, AccessTokenInfo

ENDPOINT = "https://northpeak.services.ai.azure.com/api/projects/desk"
DEPLOYMENT = "gpt-5-mini"


class FakeCredential:
    """Signs in as nobody, and remembers for which scopes."""

    def __init__(self) -> None:
        self.scopes: list[tuple[str, ...]] = []
        self.closed = False

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes.append(scopes)
        return AccessToken("secret-token", int(time.time()) + 3600)

    async def get_token_info(self, *scopes: str, **_: Any) -> AccessTokenInfo:
        self.scopes.append(scopes)
        return AccessTokenInfo("secret-token", int(time.time()) + 3600)

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> "FakeCredential":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class RecordingTransport(ModelTransport):
    """Answers every call, and keeps the requests as they would leave the machine."""

    def __init__(self) -> None:
        super().__init__(lambda _: ModelReply("ok"))
        self.sent: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        return await super().handle_async_request(request)


@pytest.fixture
def foundry(monkeypatch: pytest.MonkeyPatch) -> AgentSettings:
    monkeypatch.setenv("FOUNDRY_PROJECT_ENDPOINT", ENDPOINT + "/")
    monkeypatch.setenv("AZURE_AI_MODEL_DEPLOYMENT_NAME", DEPLOYMENT)
    return AgentSettings()


@pytest.fixture
def server_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AgentSettings]:
    def make(base_url: str, **more: str) -> AgentSettings:
        for name, value in {"OPENAI_BASE_URL": base_url, "MODEL_NAME": "llama3.2", **more}.items():
            monkeypatch.setenv(name, value)
        return AgentSettings()

    return make


async def _use(client: openai.AsyncOpenAI) -> None:
    await client.responses.create(model=DEPLOYMENT, input="Hello", temperature=0.1)
    async for _ in await client.responses.create(model=DEPLOYMENT, input="Hello", stream=True):
        pass
    await client.chat.completions.create(model=DEPLOYMENT, messages=[{"role": "user", "content": "Hello"}])


async def test_foundry_gets_what_the_project_client_sends(foundry: AgentSettings) -> None:
    """`AIProjectClient.get_openai_client()` of azure-ai-projects is the reference; only its user agent differs."""
    theirs, ours = RecordingTransport(), RecordingTransport()
    their_credential, our_credential = FakeCredential(), FakeCredential()
    async with AIProjectClient(ENDPOINT, their_credential) as project:
        reference = project.get_openai_client(http_client=httpx2.AsyncClient(transport=theirs))
        await _use(reference)
        await reference.close()
    client = create_model_client(foundry, transport=ours, credential=our_credential)
    await _use(client)
    await client.close()

    def wire(request: httpx2.Request) -> tuple[Any, ...]:
        varying = {"user-agent", "x-stainless-read-timeout", "host", "content-length", "connection"}
        headers = {name: value for name, value in request.headers.items() if name not in varying}
        return request.method, str(request.url), headers, json.loads(request.content)

    assert [wire(request) for request in ours.sent] == [wire(request) for request in theirs.sent]
    assert str(ours.sent[0].url) == f"{ENDPOINT}/openai/v1/responses"
    assert ours.sent[0].headers["authorization"] == "Bearer secret-token"
    assert set(our_credential.scopes) == set(their_credential.scopes) == {(FOUNDRY_SCOPE,)}
    assert not our_credential.closed, "a credential that the caller gave is the caller's to close"


async def test_foundry_gets_the_call_id_of_the_request_being_served(foundry: AgentSettings) -> None:
    transport = RecordingTransport()
    client = create_model_client(foundry, transport=transport, credential=FakeCredential())

    async def serve(call_id: str | None) -> None:
        token = set_request_context(FoundryAgentRequestContext(call_id=call_id, user_id="alice"))
        try:
            await client.responses.create(model=DEPLOYMENT, input=call_id or "none")
        finally:
            reset_request_context(token)

    await asyncio.gather(serve("call-1"), serve("call-2"), serve(None))
    seen = {json.loads(sent.content)["input"]: sent.headers.get("x-agent-foundry-call-id") for sent in transport.sent}
    assert seen == {"call-1": "call-1", "call-2": "call-2", "none": None}
    assert not any("alice" in str(sent.headers) for sent in transport.sent)


async def test_no_other_provider_gets_the_call_id(server_settings: Callable[..., AgentSettings]) -> None:
    transport = RecordingTransport()
    client = create_model_client(server_settings("https://models.example/v1"), transport=transport)
    token = set_request_context(FoundryAgentRequestContext(call_id="call-1", user_id="alice"))
    await client.responses.create(model="m", input="x")
    reset_request_context(token)
    assert "x-agent-foundry-call-id" not in transport.sent[0].headers


async def test_a_server_without_a_key_can_be_used(server_settings: Callable[..., AgentSettings]) -> None:
    model = ScriptedModel()
    model.enqueue("Hello.")
    async with model.serve() as base_url, create_model_client(server_settings(base_url)) as client:
        assert (await client.responses.create(model="llama3.2", input="Hi")).output_text == "Hello."


async def test_a_server_gets_the_key_that_is_configured(server_settings: Callable[..., AgentSettings]) -> None:
    transport = RecordingTransport()
    settings = server_settings("https://models.example/v1/", OPENAI_API_KEY="sk-secret")
    await create_model_client(settings, transport=transport).responses.create(model="m", input="x")
    assert transport.sent[0].headers["authorization"] == "Bearer sk-secret"
    assert str(transport.sent[0].url) == "https://models.example/v1/responses"
    assert "sk-secret" not in describe_model(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_model_on_this_machine_is_not_reached_through_a_proxy(
    server_settings: Callable[..., AgentSettings], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # Nothing listens on the discard port.
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    model = ScriptedModel()
    model.enqueue("Hello.")
    async with model.serve() as base_url:
        client = create_model_client(server_settings(base_url.replace("127.0.0.1", host), MODEL_MAX_RETRIES="0"))
        assert (await client.responses.create(model="m", input="Hi")).output_text == "Hello."
        await client.close()


async def test_a_remote_model_is_reached_through_the_proxy_of_the_environment(
    server_settings: Callable[..., AgentSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ScriptedModel()
    model.enqueue("Hello.")
    async with model.serve() as base_url:
        monkeypatch.setenv("HTTP_PROXY", base_url.removesuffix("/v1"))
        client = create_model_client(server_settings("http://models.example/v1"))
        assert (await client.responses.create(model="m", input="Hi")).output_text == "Hello."
        await client.close()


async def test_a_failing_server_is_tried_again_as_often_as_configured(
    server_settings: Callable[..., AgentSettings],
) -> None:
    class Failing(RecordingTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.sent.append(request)
            return httpx2.Response(503, headers={"retry-after-ms": "1"}, json={"error": {"message": "busy"}})

    transport = Failing()
    client = create_model_client(
        server_settings("https://models.example/v1", MODEL_MAX_RETRIES="3"), transport=transport
    )
    with pytest.raises(openai.InternalServerError):
        await client.responses.create(model="m", input="x")
    assert len(transport.sent) == 4


async def test_the_offline_model_answers_with_no_configuration_at_all() -> None:
    settings = AgentSettings()
    async with create_model_client(settings) as client:
        response = await client.responses.create(model=settings.model, input="Hello!")
        assert response.output_text
        completion = await client.chat.completions.create(
            model=settings.model, messages=[{"role": "user", "content": "Hello!"}]
        )
        assert completion.choices[0].message.content == response.output_text


async def test_what_the_offline_model_cannot_do_is_an_api_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent_runtime.offline_model import CannotDo, OfflineModel

    def refuse(self: OfflineModel, request: ModelRequest) -> ModelReply:
        raise CannotDo("It cannot write poems.")

    monkeypatch.setattr(OfflineModel, "answer", refuse)
    async with create_model_client(AgentSettings()) as client:
        with pytest.raises(openai.BadRequestError, match="cannot write poems") as caught:
            await client.responses.create(model="m", input="Write a poem.")
    assert caught.value.code == "unsupported_by_offline_model"


def test_the_model_in_use_is_described_in_one_line(
    foundry: AgentSettings, server_settings: Callable[..., AgentSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describe_model(foundry) == f"gpt-5-mini (Foundry project {ENDPOINT})"
    monkeypatch.delenv("FOUNDRY_PROJECT_ENDPOINT")
    assert describe_model(AgentSettings()) == "offline-extractive (offline, no model configured)"
    server = server_settings("http://user:password@127.0.0.1:11434/v1")
    assert describe_model(server) == "llama3.2 (OpenAI-compatible server http://127.0.0.1:11434/v1)"
    monkeypatch.setenv("MODEL_PROVIDER", "offline")
    assert describe_model(AgentSettings()) == "offline-extractive (offline, chosen by MODEL_PROVIDER)"


def test_importing_the_module_loads_no_heavy_library() -> None:
    code = (
        "import sys, agent_runtime.model_client, agent_runtime.model_errors;"
        "print([name for name in ('openai', 'azure.identity', 'azure.ai.agentserver') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"


def test_making_the_foundry_client_signs_nobody_in_and_loads_no_sign_in_library() -> None:
    code = (
        "import sys; from agent_runtime.model_client import create_model_client;"
        "from agent_runtime.settings import AgentSettings; create_model_client(AgentSettings());"
        "print('azure.identity' in sys.modules)"
    )
    environment = {"FOUNDRY_PROJECT_ENDPOINT": ENDPOINT, "AZURE_AI_MODEL_DEPLOYMENT_NAME": DEPLOYMENT}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert result.stdout.strip() == "False"
