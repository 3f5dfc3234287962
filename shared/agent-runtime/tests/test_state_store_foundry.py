"""Foundry's state store as it behaves over HTTP: the SDK's client and its retries, against a small stand-in of the service.

The paths, bodies and status codes are those that the SDK's client sends and reads (azure-ai-agentserver-core 2.2).
"""

import base64
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from agent_runtime.state_store import StateConflict, StateStoreUnavailable
from agent_runtime.state_store.foundry import FoundryItems
from agent_runtime.testing.serving import serve
from azure.ai.agentserver.core.storage import FoundryStateStore
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import AioHttpTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Credential:
    async def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        return AccessToken("a-token", int(time.time()) + 3600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> "Credential":
        return self

    async def __aexit__(self, *args: object) -> None: ...


class WithoutTls(AioHttpTransport):
    """The client refuses to send a token over plain HTTP, and the stand-in has no certificate."""

    async def send(self, request: Any, **config: Any) -> Any:
        url = request.url
        request.url = url.replace("https://", "http://")
        try:
            return await super().send(request, **config)
        finally:
            request.url = url


class Service:
    """Items in a dict. `fail_after` makes the next requests of a method do their work and answer 503 all the same."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.fail_after: list[str] = []
        self.down = False
        self.seen: list[tuple[str, str]] = []
        self.app = Starlette(
            routes=[
                Route("/storage/state_stores", self.store, methods=["POST"]),
                Route("/storage/state_stores/{store}", self.store),
                Route("/storage/state_stores/{store}/items", self.create, methods=["POST"]),
                Route("/storage/state_stores/{store}/items:keys", self.keys),
                Route("/storage/state_stores/{store}/items/{key}", self.item, methods=["GET", "PUT", "DELETE"]),
            ]
        )

    def answer(self, request: Request, body: dict[str, Any], status: int = 200) -> Response:
        if self.down or request.method in self.fail_after:
            if not self.down:
                self.fail_after.remove(request.method)
            return JSONResponse({"error": {"code": "busy", "message": "later"}}, 503, headers={"retry-after-ms": "1"})
        return JSONResponse(body, status)

    async def store(self, request: Request) -> Response:
        name = base64.urlsafe_b64decode(request.path_params.get("store", "") + "===").decode()
        self.seen.append((request.method, name))
        return self.answer(request, {"id": "s", "object": "state_store", "name": name})

    async def create(self, request: Request) -> Response:
        body = await request.json()
        if body["key"] in self.items:
            return self.answer(request, {"error": {"code": "conflict", "message": "exists"}}, 409)
        return self.answer(request, self.write(body["key"], body))

    async def item(self, request: Request) -> Response:
        encoded = request.path_params["key"]
        key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        present = self.items.get(key)
        wanted = request.headers.get("if-match")
        if wanted is not None and (present is None or wanted != present["etag"]):
            return self.answer(request, {"error": {"code": "precondition", "message": "etag"}}, 412)
        if request.method == "PUT":
            return self.answer(request, self.write(key, await request.json()))
        if present is None:
            return self.answer(request, {"error": {"code": "not_found", "message": "none"}}, 404)
        if request.method == "DELETE":
            del self.items[key]
            return self.answer(request, {"id": key, "object": "state_store.item", "key": key, "deleted": True})
        return self.answer(request, present)

    async def keys(self, request: Request) -> Response:
        tags = {k.removeprefix("tags."): v for k, v in request.query_params.items() if k.startswith("tags.")}
        found = [item for item in self.items.values() if tags.items() <= (item["tags"] or {}).items()]
        ids = [item["id"] for item in found]
        start = ids.index(request.query_params["after"]) + 1 if "after" in request.query_params else 0
        page = found[start : start + int(request.query_params["limit"])]
        return self.answer(
            request,
            {
                "object": "list",
                "data": [{k: v for k, v in item.items() if k != "value"} for item in page],
                "last_id": page[-1]["id"] if page else None,
                "has_more": start + len(page) < len(found),
            },
        )

    def write(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        old = self.items.get(key, {"created_at": 1_700_000_000, "number": 0})
        self.items[key] = {
            "id": f"it_{key[:12]}",
            "object": "state_store.item",
            "key": key,
            "value": body["value"],
            "tags": body.get("tags"),
            "etag": f'"{old["number"] + 1}"',
            "number": old["number"] + 1,
            "created_at": old["created_at"],
            "updated_at": 1_700_000_000,
        }
        return self.items[key]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def store(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FoundryItems]:
    monkeypatch.setenv("FOUNDRY_HOSTING_ENVIRONMENT", "sandbox")
    monkeypatch.setenv("AZURE_AI_AGENTSERVER_DISABLE_EXPERIMENTAL_WARNING", "true")
    async with serve(service.app) as url:

        async def connect() -> FoundryStateStore:
            https = url.replace("http://", "https://")
            return await FoundryStateStore.get_or_create("desk", Credential(), https, transport=WithoutTls())

        items = FoundryItems(connect, expires_after=timedelta(days=1))
        yield items
        await items.close()


async def test_an_item_goes_over_the_wire_under_the_hash_of_its_key_and_comes_back(
    store: FoundryItems, service: Service
) -> None:
    stored, item = await store.put_if_absent("delivery/ü/1", {"a": 1}, tags={"state": "new"})
    assert stored
    assert await store.get("delivery/ü/1") == item
    [key] = service.items
    assert len(key) == 64
    page = await store.list({"state": "new"})
    assert (page.items, page.after) == ([item], None)


async def test_a_conflict_with_ones_own_repeated_write_is_a_win(store: FoundryItems, service: Service) -> None:
    await store.get("warm-up")
    service.fail_after = ["POST"]
    stored, item = await store.put_if_absent("k", 1)
    assert (stored, item.value) == (True, 1)
    service.fail_after = ["PUT"]
    changed = await store.compare_and_set("k", 2, etag=item.etag)
    assert service.fail_after == []
    assert changed == await store.get("k")


@pytest.mark.parametrize("by_etag", [True, False])
async def test_a_delete_that_was_sent_twice_is_one_that_was_done(
    store: FoundryItems, service: Service, by_etag: bool
) -> None:
    _, item = await store.put_if_absent("k", 1)
    service.fail_after = ["DELETE"]
    assert await store.delete("k", etag=item.etag if by_etag else None) is True
    assert service.fail_after == []
    assert await store.delete("k") is False


async def test_a_conflict_with_another_writer_is_a_conflict(store: FoundryItems, service: Service) -> None:
    _, item = await store.put_if_absent("k", 1)
    await store.compare_and_set("k", 2, etag=item.etag)
    with pytest.raises(StateConflict):
        await store.compare_and_set("k", 3, etag=item.etag)
    assert (await store.put_if_absent("k", 4))[0] is False


async def test_pages_follow_the_services_cursor(store: FoundryItems) -> None:
    for n in range(5):
        await store.put_if_absent(f"k{n}", n)
    first = await store.list({}, limit=3)
    second = await store.list({}, limit=3, after=first.after)
    assert [item.value for item in first.items + second.items] == [0, 1, 2, 3, 4]
    assert second.after is None


async def test_a_failing_service_is_unavailable_and_names_no_internals(store: FoundryItems, service: Service) -> None:
    await store.get("warm-up")
    service.down = True
    for operation in (store.get("k"), store.put_if_absent("k", 1), store.list({}), store.delete("k")):
        with pytest.raises(StateStoreUnavailable) as caught:
            await operation
        assert "127.0.0.1" not in str(caught.value)
