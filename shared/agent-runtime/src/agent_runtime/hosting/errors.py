"""The one shape of every HTTP error: `{"error": {"code", "message", "type", "param"}}`, the shape of OpenAI's API.

BadRequest      the client sent something that cannot be served: answered 4xx with its code and message
"""

from collections.abc import Mapping

from starlette.responses import JSONResponse


class BadRequest(Exception):
    """Raised where a request cannot be served as sent. `message` is shown to the client: it says what to correct."""

    def __init__(self, code: str, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.param = param

    def response(self) -> JSONResponse:
        return error_response(self.code, self.message, self.status, param=self.param)


def error_body(code: str, message: str, status: int, *, param: str | None = None) -> dict[str, dict[str, str | None]]:
    """The error as a JSON-compatible object. `type` follows from the status, as in OpenAI's API."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"code": code, "message": message, "type": kind, "param": param}}


def error_response(
    code: str,
    message: str,
    status: int = 400,
    *,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The error as a response, with the header by which the platform tells a caller's mistake from a fault of ours."""
    source = "upstream" if status >= 500 else "user"
    return JSONResponse(
        error_body(code, message, status, param=param),
        status_code=status,
        headers={"x-platform-error-source": source, **(headers or {})},
    )
