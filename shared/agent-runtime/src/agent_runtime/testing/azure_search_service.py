"""A small Azure AI Search for tests: it checks the shape of each request, and searches by common words.

It was written from the SDK's models, not recorded from the service nor checked against it. `LoopbackTransport` carries
what the SDK sends to an https address, where alone it sends tokens, to this server: the SDK's own checks stay.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import AioHttpTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent_runtime.testing.serving import serve

ENDPOINT = "https://passages.search.windows.net"
API_VERSION = "2026-04-01"
_SEARCH_TYPES: dict[str, type] = {
    "search": str,
    "top": int,
    "select": str,
    "filter": str,
    "orderby": str,
    "queryType": str,
    "semanticConfiguration": str,
    "vectorQueries": list,
}
_ACTIONS = {"upload", "merge", "mergeOrUpload", "delete"}
_AFTER = re.compile(r"key gt '([\w=-]*)'")


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TestCredential:
    """A token for the audience of the service, and for no other."""

    __test__ = False

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if scopes != ("https://search.azure.com/.default",):
            raise ValueError(f"a token for {scopes} was asked for")
        return AccessToken("a-token", 4102444800)

    async def close(self) -> None: ...

    async def __aenter__(self) -> "TestCredential":
        return self

    async def __aexit__(self, *_: object) -> None: ...


class LoopbackTransport(AioHttpTransport):  # type: ignore[misc] # azure-core exports it lazily, untyped
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def send(self, request: Any, **options: Any) -> Any:
        request.url = self._url + request.url.removeprefix(ENDPOINT)
        return await super().send(request, **options)


class AzureSearchService:
    def __init__(self) -> None:
        self.indexes: dict[str, dict[str, Any]] = {}
        self.documents: dict[str, dict[str, dict[str, Any]]] = {}
        self.searches: list[dict[str, Any]] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.refuse: int | None = None
        """A status that every request is answered with."""
        self.fail_keys: set[str] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        routes = [Route("/{path:path}", self._answer, methods=["GET", "PUT", "POST", "DELETE"])]
        async with serve(Starlette(routes=routes)) as url:
            yield url

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._checked(request)
        except Refused as error:
            return JSONResponse({"error": {"code": "", "message": str(error)}}, error.status)

    async def _checked(self, request: Request) -> Response:
        if "api-key" in request.headers or request.headers.get("authorization") != "Bearer a-token":
            raise Refused(401, "no bearer token, or a key")
        if self.refuse:
            raise Refused(self.refuse, "as the test wants it")
        if request.query_params.get("api-version") != API_VERSION:
            raise Refused(400, "The api-version query parameter is missing or not known.")
        path = re.fullmatch(r"/indexes\('([a-z0-9-]+)'\)(/docs/search\.(?:post\.search|index))?", request.url.path)
        if not path:
            raise Refused(404, f"no such resource: {urlsplit(str(request.url)).path}")
        name, operation = path.groups()
        if operation is None:
            return await self._index(request, name)
        if name not in self.indexes:
            raise Refused(404, f"The index '{name}' was not found.")
        if request.method != "POST":
            raise Refused(405, "POST only")
        body = await request.json()
        return self._search(name, body) if operation.endswith("search") else self._push(name, body)

    async def _index(self, request: Request, name: str) -> Response:
        if request.method == "DELETE":
            found = self.indexes.pop(name, None)
            self.documents.pop(name, None)
            return Response(status_code=204 if found else 404)
        if request.method != "PUT":
            raise Refused(405, "PUT or DELETE")
        body = await request.json()
        keys = [field for field in body["fields"] if field.get("key")]
        if body["name"] != name or len(keys) != 1 or keys[0]["type"] != "Edm.String":
            raise Refused(400, "The index must have one key field, of type Edm.String, and the name of the address.")
        profiles = {one["name"] for one in (body.get("vectorSearch") or {}).get("profiles", [])}
        for field in body["fields"]:
            vector = field["type"] == "Collection(Edm.Single)"
            if vector and (field.get("vectorSearchProfile") not in profiles or not field.get("dimensions")):
                raise Refused(400, f"The vector field '{field['name']}' needs dimensions and a profile that exists.")
        new = name not in self.indexes
        self.indexes[name] = body
        self.documents.setdefault(name, {})
        return JSONResponse(body, 201 if new else 200)

    def _search(self, name: str, body: dict[str, Any]) -> Response:
        for field, value in body.items():
            if field not in _SEARCH_TYPES or not isinstance(value, _SEARCH_TYPES[field]):
                raise Refused(400, f"The parameter '{field}' is not known, or not of its type.")
        fields = {field["name"]: field for field in self.indexes[name]["fields"]}
        if unknown := set(body.get("select", "key").split(",")) - {f for f in fields if f != "vector"}:
            raise Refused(400, f"Could not find a property named {unknown}.")
        semantic = body.get("queryType") == "semantic"
        known = [one["name"] for one in (self.indexes[name].get("semantic") or {}).get("configurations", [])]
        if semantic != ("semanticConfiguration" in body) or (semantic and body["semanticConfiguration"] not in known):
            raise Refused(400, "queryType=semantic and a semanticConfiguration that exists go together.")
        for query in body.get("vectorQueries", []):
            if query.get("kind") != "text" or set(query) - {"kind", "text", "fields", "k"} or "text" not in query:
                raise Refused(400, "A vector query of kind 'text' has text, fields and k.")
            if "dimensions" not in fields.get(query["fields"], {}):
                raise Refused(400, f"The field '{query['fields']}' is not a vector field.")
        self.searches.append(body)
        found = self._found(name, body, semantic=semantic)
        return JSONResponse({"@odata.context": "", "value": found[: body.get("top", 50)]})

    def _found(self, name: str, body: dict[str, Any], *, semantic: bool) -> list[dict[str, Any]]:
        documents = sorted(self.documents[name].items())
        if "filter" in body:
            match = _AFTER.fullmatch(body["filter"])
            if not match:
                raise Refused(400, "Invalid expression.")
            documents = [(key, one) for key, one in documents if key > match[1]]
        words = set(re.findall(r"\w+", body.get("search", "*").lower()))
        found = []
        for _, document in documents:
            text = " ".join([document["title"], *document["heading_path"], document["text"]]).lower()
            score = len(words & set(re.findall(r"\w+", text)))
            if score or body.get("search", "*") == "*":
                row = {field: document.get(field) for field in body["select"].split(",")}
                row["@search.score"] = score / 10
                if semantic:
                    row["@search.rerankerScore"] = float(score)
                found.append(row)
        return sorted(found, key=lambda row: -row["@search.score"])

    def _push(self, name: str, body: dict[str, Any]) -> Response:
        batch = body.get("value")
        if set(body) != {"value"} or not isinstance(batch, list) or not 1 <= len(batch) <= 1000:
            raise Refused(400, "value must hold 1 to 1000 actions.")
        fields = {field["name"]: field for field in self.indexes[name]["fields"]}
        self.batches.append(batch)
        results = []
        for action in batch:
            document = dict(action)
            kind, key = document.pop("@search.action", "upload"), document.get("key", "")
            if kind not in _ACTIONS or not re.fullmatch(r"[\w=-]+", key, re.ASCII) or set(document) - set(fields):
                raise Refused(400, "The request is invalid: an action, a key or a property.")
            vector = document.get("vector")
            if vector is not None and len(vector) != fields["vector"]["dimensions"]:
                raise Refused(400, "The vector does not have the dimensions of its field.")
            failed = key in self.fail_keys
            if not failed and kind == "delete":
                self.documents[name].pop(key, None)
            elif not failed:
                self.documents[name][key] = document
            message = "a document that the test lets fail" if failed else None
            status = 422 if failed else 200
            results.append({"key": key, "status": not failed, "errorMessage": message, "statusCode": status})
        return JSONResponse({"value": results}, 207 if any(not one["status"] for one in results) else 200)
