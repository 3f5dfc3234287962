"""Checks that every source makes of a verified payload: its media type and its shape."""

from typing import Any, TypeVar

from agent_runtime.hosting.errors import BadRequest
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def refuse_other_media_types(content_type: str, *accepted: str) -> None:
    """Raises `BadRequest` (415) when `content_type` is set and none of `accepted`."""
    media_type = content_type.partition(";")[0].strip().lower()
    if (
        media_type
        and media_type not in accepted
        and not (media_type.endswith("+json") and "application/json" in accepted)
    ):
        raise BadRequest("unsupported_media_type", f"Send {' or '.join(accepted)}.", status=415)


def checked(model: type[Model], document: dict[str, Any]) -> Model:
    """`document` as `model`. Raises `BadRequest` (422) that names the first field that does not fit."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = "".join(f"/{part}" for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise BadRequest(
            "invalid_payload", f"{where or 'The payload'}: {message}.", status=422, param=where or None
        ) from None
