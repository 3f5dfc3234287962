"""The page of the live desk, served by the agent itself where it runs locally. Its source is in `page/` beside the
package; what is served is built from it and committed.

A hosted agent serves none: its endpoint wants an Entra token, which a browser does not have.
"""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes() -> list[Route]:
    """`/` and what the page loads from `/page/`. The files are read when they are asked for."""

    async def serve(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        content = (files("ag_ui_streamer") / "page" / name).read_bytes() if name in _TYPES else b""
        if not content:
            return Response("There is no such file.", 404, media_type="text/plain", headers=_HEADERS)
        return Response(content, headers=_HEADERS | {"content-type": _TYPES[name]})

    return [Route("/", serve), Route("/page/{name}", serve)]
