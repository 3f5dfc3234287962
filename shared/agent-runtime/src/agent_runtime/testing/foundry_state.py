"""A stand-in for Foundry's state store, over HTTP, for the SDK's own client with its retries.

The paths, bodies and status codes are those that the SDK's client sends and reads (azure-ai-agentserver-core 2.2).
"""

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from azure.ai.agentserver.core.storage import FoundryStateStore
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import AioHttpTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent_runtime.state_store.foundry import FoundryItems
from agent_runtime.testing.serving import serve


class _Credential:
    async def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        return AccessToken("a-token", int(time.time()) + 3600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> "_Credential":
        return self

    async def __aexit__(self, *args: object) -> None: ...


class _WithoutTls(AioHttpTransport):  # type: ignore[misc]  # untyped
    """The client refuses to send a token over plain HTTP, and the stand-in has no certificate."""

    async def send(self, request: Any, **config: Any) -> Any:
        url = request.url
        request.url = url.replace("https://", "http://")
        try:
            return await super().send(request, **config)
        finally:
            request.url = url


class StateService:
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


@asynccontextmanager
async def serve_foundry_items(service: StateService) -> AsyncIterator[FoundryItems]:
    """The service on a free loopback port, and a store over the SDK's client to it.

    The SDK's client connects only where `FOUNDRY_HOSTING_ENVIRONMENT` is set.
    """
    async with serve(service.app) as url:

        async def connect() -> FoundryStateStore:
            https = url.replace("http://", "https://")
            return await FoundryStateStore.get_or_create("desk", _Credential(), https, transport=_WithoutTls())

        items = FoundryItems(connect, expires_after=timedelta(days=1))
        try:
            yield items
        finally:
            await items.close()
