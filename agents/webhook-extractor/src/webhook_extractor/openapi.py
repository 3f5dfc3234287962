"""The agent's OpenAPI document, served at `/invocations/docs/openapi.json`. Written by hand, held true by tests.

Nothing of the request body is a `$ref`: azd reads the example from there and follows no references. The example works
when it is posted.
"""

from typing import Any, Literal

from pydantic import BaseModel
from support_desk.cases import CaseFile, SupportCase

from webhook_extractor import __version__
from webhook_extractor.case_building import Origin, Remark
from webhook_extractor.settings import WebhookExtractorSettings
from webhook_extractor.sources.cloud_events import BATCH, STRUCTURED
from webhook_extractor.sources.direct import DirectMessage

EXAMPLE = {
    "subject": "Torn seam",
    "message": "My jacket from order NP-10001 arrived with a torn seam. Please send me a replacement.",
    "name": "Ines Duarte",
    "email": "ines.duarte@example.com",
    "order_id": "NP-10001",
}


def _inline(model: type[BaseModel], mode: Literal["serialization", "validation"] = "serialization") -> dict[str, Any]:
    """The JSON schema of what the model is written as, with every reference replaced by what it refers to."""
    schema = model.model_json_schema(mode=mode)
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rpartition("/")[2]]) | {
                k: v for k, v in node.items() if k != "$ref"
            }
        return {key: resolve(value) for key, value in node.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "type": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}
_CAUSE = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
_TIME = {"type": "string", "format": "date-time"}
_STATUS = {"type": "string", "enum": ["queued", "in_progress", "completed", "failed", "cancelled"]}
_ACCEPTED = {
    "type": "object",
    "required": ["invocation_id", "status", "status_url"],
    "properties": {
        "invocation_id": {"type": "string"},
        "status": _STATUS,
        "status_url": {"type": "string", "description": "Path of the record, below the protocol's root."},
    },
}
_RECORD = {
    "type": "object",
    "required": ["invocation_id", "status", "source", "attempts", "accepted_at"],
    "properties": {
        "invocation_id": {"type": "string"},
        "status": _STATUS,
        "source": {"type": "string"},
        "attempts": {"type": "integer", "minimum": 0},
        "accepted_at": _TIME,
        "ended_at": _TIME,
        "next_attempt_at": _TIME,
        "last_error": {**_CAUSE, "description": "Why the last attempt failed, while another one will be made."},
        "result": _inline(SupportCase),
        "case_file": {**_inline(CaseFile), "description": "The case as opened at the desk."},
        "provenance": {
            "type": "object",
            "description": "Where each field of the result comes from.",
            "additionalProperties": _inline(Origin, "validation"),
        },
        "remarks": {"type": "array", "items": _inline(Remark)},
        "model": {"type": "string", "description": "The model that read the free text. Absent where there was none."},
        "error": {**_CAUSE, "description": "Why the invocation failed. Present only then."},
    },
}
_IGNORED = {
    "type": "object",
    "required": ["status", "reason"],
    "properties": {"status": {"const": "ignored"}, "reason": {"type": "string"}},
}
_BATCH = {
    "type": "object",
    "description": "A batch of events: one entry for each, in their order.",
    "required": ["deliveries"],
    "properties": {"deliveries": {"type": "array", "items": {"anyOf": [_ACCEPTED, _IGNORED]}}},
}
_HANDSHAKE = {
    "type": "object",
    "description": "Event Grid's validation, answered.",
    "required": ["validationResponse"],
    "properties": {"validationResponse": {"type": "string"}},
}
_CHALLENGE = {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "What the request lacks."}}
_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "time": {"type": "string"},
        "data": {},
    },
}
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}}
_INVOCATION_ID = {
    "name": "invocation_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,256}$"},
}
_LINKS = {
    operation: {"operationId": operation, "parameters": {"invocation_id": "$response.body#/invocation_id"}}
    for operation in ("getInvocation", "cancelInvocation")
}
_USER_ID = {
    "name": "x-agent-user-id",
    "in": "header",
    "description": "Set by the platform. A direct call's record is shown to its user only.",
    "schema": {"type": "string"},
}


def openapi_document(settings: WebhookExtractorSettings) -> dict[str, Any]:
    schema = DirectMessage.model_json_schema()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": settings.name,
            "version": __version__,
            "description": "Turns signed webhook deliveries, and direct calls, into validated support cases.",
        },
        "paths": {
            "/invocations": {
                "post": {
                    "operationId": "createInvocation",
                    "summary": "Send a delivery, or a message",
                    "description": (
                        "With the headers of a signed source the body is that source's payload, and the signature is "
                        "checked before anything is read. Each such header may be sent as x-client-<name>. Without "
                        "any, it is a direct call by an authenticated caller. A delivery is stored before it is "
                        "answered; the same delivery again gets the same invocation."
                    ),
                    "parameters": _post_parameters(settings),
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {
                                "schema": {"anyOf": [schema, {"type": "string", "pattern": "\\S"}]},
                                "example": EXAMPLE,
                            },
                            "text/plain": {
                                "schema": {"type": "string", "pattern": "\\S"},
                                "example": EXAMPLE["message"],
                            },
                            STRUCTURED: {"schema": _EVENT},
                            BATCH: {"schema": {"type": "array", "items": _EVENT}},
                        },
                    },
                    "responses": {
                        "200": _json(
                            "The result, if it was ready in time; or the delivery is ignored; or a handshake.",
                            {"anyOf": [_RECORD, _IGNORED, _BATCH, _HANDSHAKE]},
                        ),
                        "202": _json("Stored; the result comes later.", {"anyOf": [_ACCEPTED, _BATCH]}, _RETRY_AFTER)
                        | {"links": _LINKS},
                        "400": _json("The body or an id cannot be read.", _ERROR),
                        "401": _json(
                            "The signature or token is missing, wrong or old, or the source is off.", _ERROR, _CHALLENGE
                        ),
                        "409": _json("The id was used before with another body.", _ERROR),
                        "413": _json("The body is too large.", _ERROR),
                        "415": _json("The media type is not one of these.", _ERROR),
                        "422": _json("The payload does not fit its source's schema.", _ERROR),
                        "503": _json(
                            "Busy, or deliveries cannot be verified or stored right now.", _ERROR, _RETRY_AFTER
                        ),
                    },
                },
                "options": {
                    "operationId": "mayDeliver",
                    "summary": "A sender of CloudEvents asks whether it may deliver",
                    "description": "Does not reach a hosted agent: the platform routes no OPTIONS.",
                    "parameters": [
                        {
                            "name": "WebHook-Request-Origin",
                            "in": "header",
                            "description": "Who asks. Without it the answer is 204 with Allow, as of any OPTIONS.",
                            "schema": {"type": "string"},
                        },
                        {
                            "name": "WebHook-Request-Rate",
                            "in": "header",
                            "description": "How many deliveries a minute it would like to send.",
                            "schema": {"type": "string"},
                        },
                    ],
                    "responses": {
                        "200": {
                            "description": "It may.",
                            "headers": {
                                "WebHook-Allowed-Origin": {"schema": {"type": "string"}, "required": True},
                                "WebHook-Allowed-Rate": {"schema": {"type": "string"}},
                            },
                        },
                        "401": _json("Not this origin, or the source is off.", _ERROR, _CHALLENGE),
                        "204": {"description": "Nobody asks.", "headers": {"Allow": {"schema": {"type": "string"}}}},
                        "413": _json("The body is too large.", _ERROR),
                        "503": _json("Busy.", _ERROR, _RETRY_AFTER),
                    },
                },
            },
            "/invocations/{invocation_id}": {
                "get": {
                    "operationId": "getInvocation",
                    "summary": "Status and result",
                    "parameters": [_INVOCATION_ID, _USER_ID],
                    "responses": {
                        "200": _json("The record. Retry-After says when to ask again.", _RECORD),
                        "400": _json("Not an invocation id.", _ERROR),
                        "404": _json("Unknown, expired, or another user's.", _ERROR),
                        "503": _json("Records cannot be read right now.", _ERROR, _RETRY_AFTER),
                    },
                }
            },
            "/invocations/{invocation_id}/cancel": {
                "post": {
                    "operationId": "cancelInvocation",
                    "summary": "Cancel what has not reached its side effect",
                    "parameters": [_INVOCATION_ID, _USER_ID],
                    "responses": {
                        "200": _json("Cancelled, now or before.", _RECORD),
                        "400": _json("Not an invocation id.", _ERROR),
                        "404": _json("Unknown, expired, or another user's.", _ERROR),
                        "409": _json("It has ended, or its case is being opened.", _ERROR),
                        "503": _json("Records cannot be changed right now.", _ERROR, _RETRY_AFTER),
                    },
                }
            },
        },
    }


def _post_parameters(settings: WebhookExtractorSettings) -> list[dict[str, Any]]:
    text = {"type": "string"}
    signed = {
        "X-Hub-Signature-256": "GitHub: sha256= and the HMAC of the raw body, in hex.",
        "X-GitHub-Event": "GitHub: the event. `issues` and `issue_comment` are read.",
        "X-GitHub-Delivery": "GitHub: the delivery's id.",
        "Stripe-Signature": "Stripe: t and one or more v1.",
        "webhook-id": "Standard Webhooks: the message's id.",
        "webhook-timestamp": "Standard Webhooks: seconds since the epoch.",
        "Authorization": "CloudEvents: Bearer and the Entra token that Event Grid sends.",
        "webhook-signature": "Standard Webhooks: one or more of v1,<base64>, separated by spaces.",
    }
    wait = (
        f"`wait=N` answers 200 with the result if it is ready within N (at most {settings.max_wait_seconds:g}) seconds."
    )
    return [
        {
            "name": "Prefer",
            "in": "header",
            "description": f"{wait} Direct calls wait unless `respond-async` is sent.",
            "schema": text,
        },
        {
            "name": "agent_session_id",
            "in": "query",
            "description": "Hosted: the sandbox to use. Without it each call starts a new one.",
            "schema": text,
        },
        {
            "name": "x-agent-invocation-id",
            "in": "header",
            "description": "Direct calls: an id of the caller's own, the same when it calls again. Empty is as none.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{0,256}$"},
        },
        _USER_ID,
        *({"name": name, "in": "header", "description": about, "schema": text} for name, about in signed.items()),
    ]


def _json(description: str, schema: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    response: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        response["headers"] = headers
    return response
