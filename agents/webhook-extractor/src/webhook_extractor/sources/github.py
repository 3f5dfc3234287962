"""GitHub: `issues` and `issue_comment` events, signed with HMAC-SHA256 over the raw body.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries. The signature covers the body only:
the delivery id and the event name are as trustworthy as whoever relays them, so a payload must also fit its event.
"""

import hashlib
import hmac
from collections.abc import Sequence

from agent_runtime.hosting.json_body import parse_json_object
from pydantic import BaseModel

from webhook_extractor.sources.payload import checked, refuse_other_media_types
from webhook_extractor.sources.source import (
    Delivery,
    DeliveryHeaders,
    Ignored,
    Reading,
    Refused,
    SourceDescription,
    Stated,
)


class _User(BaseModel):
    login: str


class _Issue(BaseModel):
    number: int
    title: str
    body: str | None = None
    html_url: str
    created_at: str
    user: _User


class _Repository(BaseModel):
    full_name: str


class _IssuesEvent(BaseModel):
    """The part of the payload that is read. GitHub adds fields at any time; they are ignored."""

    action: str
    issue: _Issue
    repository: _Repository
    sender: _User


class _Comment(BaseModel):
    body: str
    html_url: str
    created_at: str
    user: _User


class _IssueCommentEvent(_IssuesEvent):
    comment: _Comment


class GitHub:
    description = SourceDescription(
        name="github",
        title="GitHub",
        headers=frozenset({"x-hub-signature-256", "x-hub-signature", "x-github-event", "x-github-delivery"}),
        secret_variable="GITHUB_WEBHOOK_SECRET",  # noqa: S106 - the variable's name, no secret
    )

    def __init__(self, secrets: Sequence[str]) -> None:
        if not all(secrets):
            raise ValueError("an empty secret would let anyone sign")
        self._keys = [secret.encode() for secret in secrets]

    @property
    def enabled(self) -> bool:
        return bool(self._keys)

    def verify(self, headers: DeliveryHeaders, body: bytes, now: float) -> Delivery:
        signature, event, delivery_id = (
            headers.get(name) for name in ("x-hub-signature-256", "x-github-event", "x-github-delivery")
        )
        if not signature:
            raise Refused(
                "signature_missing", "The header X-Hub-Signature-256 is missing. Set a secret at the webhook."
            )
        if not event or not delivery_id:
            raise Refused("signature_missing", "X-GitHub-Event and X-GitHub-Delivery must come with the signature.")
        expected = [b"sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest().encode() for key in self._keys]
        # Every secret is compared, whichever matches: the time taken must not tell which one is in use.
        matches = [hmac.compare_digest(value, signature.encode()) for value in expected]
        if not any(matches):
            raise Refused("signature_invalid", "X-Hub-Signature-256 does not fit the body and the secret.")
        return Delivery("github", delivery_id, event, headers.get("content-type"), body)

    def read(self, event: str, content_type: str, body: bytes) -> Reading | Ignored:
        if event == "ping":
            return Ignored("A ping: the webhook is set up.")
        if event == "issue_comment":
            return self._read_comment(content_type, body)
        if event != "issues":
            return Ignored("Only `issues` and `issue_comment` events are read.")
        refuse_other_media_types(content_type, "application/json")
        payload = checked(_IssuesEvent, parse_json_object(body))
        if payload.action != "opened":
            return Ignored("Only opened issues become cases.")
        issue = payload.issue
        texts = [Stated(issue.title, "/issue/title")]
        if issue.body and issue.body.strip():
            texts.append(Stated(issue.body, "/issue/body"))
        return Reading(
            channel="github",
            stated={
                "customer_handle": Stated(issue.user.login, "/issue/user/login"),
                "subject": Stated(issue.title, "/issue/title"),
                "reported_at": Stated(issue.created_at, "/issue/created_at"),
                "reference": Stated(issue.html_url, "/issue/html_url"),
            },
            texts=tuple(texts),
        )

    @staticmethod
    def _read_comment(content_type: str, body: bytes) -> Reading | Ignored:
        refuse_other_media_types(content_type, "application/json")
        payload = checked(_IssueCommentEvent, parse_json_object(body))
        comment = payload.comment
        if payload.action != "created" or not comment.body.strip():
            return Ignored("Only new comments that say something become cases.")
        return Reading(
            channel="github",
            stated={
                "customer_handle": Stated(comment.user.login, "/comment/user/login"),
                "subject": Stated(payload.issue.title, "/issue/title"),
                "reported_at": Stated(comment.created_at, "/comment/created_at"),
                "reference": Stated(comment.html_url, "/comment/html_url"),
            },
            # Not the issue itself: what it says was read when it was opened.
            texts=(Stated(comment.body, "/comment/body"),),
        )
