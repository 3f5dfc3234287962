"""Direct calls: JSON or plain text by a caller whom the platform has authenticated, as `azd ai agent invoke` sends.

There is no signature. Hosted, only an Entra token with access to the agent reaches this code; on a laptop, whoever
reaches the port may call. A request that carries any header of a signed source never comes here.
"""

import json
from typing import Annotated

from agent_runtime.hosting.errors import BadRequest
from agent_runtime.hosting.json_body import parse_json_object
from pydantic import BaseModel, ConfigDict, StringConstraints

from webhook_extractor.sources.payload import checked, refuse_other_media_types
from webhook_extractor.sources.source import Reading, Stated

Line = Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)]


class DirectMessage(BaseModel):
    """The JSON form. Unknown fields are refused, so that a typing error does not lose a fact."""

    model_config = ConfigDict(extra="forbid")

    message: Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
    subject: Line | None = None
    name: Line | None = None
    email: Line | None = None
    order_id: Line | None = None
    created_at: Line | None = None


def read_direct(content_type: str, body: bytes) -> Reading:
    """What a direct call says. A JSON string counts as plain text. Raises `BadRequest`."""
    refuse_other_media_types(content_type, "application/json", "text/plain")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in ("", "text/plain") or body.lstrip()[:1] == b'"':
        return Reading("direct", {}, (Stated(_text(body, media_type), ""),))
    message = checked(DirectMessage, parse_json_object(body))
    named = {
        "customer_name": "name",
        "customer_email": "email",
        "order_id": "order_id",
        "subject": "subject",
        "reported_at": "created_at",
    }
    stated = {field: Stated(value, f"/{name}") for field, name in named.items() if (value := getattr(message, name))}
    texts = [stated["subject"]] if "subject" in stated else []
    return Reading("direct", stated, (*texts, Stated(message.message, "/message")))


def _text(body: bytes, media_type: str) -> str:
    try:
        text = body.decode()
        if media_type not in ("", "text/plain"):
            text = json.loads(text)
            text.encode()  # an escaped surrogate without its other half parses, and can never be written again
    except UnicodeDecodeError:
        raise BadRequest("invalid_utf8", "The body is not UTF-8 text.") from None
    except ValueError:
        raise BadRequest("invalid_json", "The body is not valid JSON.") from None
    if not text.strip():
        raise BadRequest("empty_body", "The body is empty. Send the message, as text or as JSON.")
    return text
