"""The web side: checks a delivery, stores it, answers; shows, cancels. What happens to it later is for `processing`.

The order in `_accept` is the point of this agent: the signature over the raw bytes, then parsing, then the commit, then
the answer. Nothing is read from a body whose sender is not known.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx2
from agent_runtime.hosting import BadRequest, error_response, host_options, protect
from agent_runtime.hosting.invocation_ids import answer_with_id
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from webhook_extractor.agent import CaseExtractor
from webhook_extractor.case_building import CaseDraft
from webhook_extractor.case_opening import CaseOpening
from webhook_extractor.development_secrets import with_development_secrets
from webhook_extractor.inbox import (
    RESERVED_PREFIX,
    DeliveryConflict,
    Inbox,
    InboxUnavailable,
    Incoming,
    Record,
    invocation_id_of,
)
from webhook_extractor.key_vault import KeyVault, SecretRefresh, open_key_vault
from webhook_extractor.open_inbox import open_inbox
from webhook_extractor.openapi import openapi_document
from webhook_extractor.processing import Retries, Worker
from webhook_extractor.settings import WebhookExtractorSettings
from webhook_extractor.sources.direct import read_direct
from webhook_extractor.sources.registry import DIRECT, build_sources, source_of
from webhook_extractor.sources.source import (
    AsksFirst,
    CannotVerify,
    Delivery,
    DeliveryHeaders,
    Handshake,
    Ignored,
    Refused,
    Source,
    Verified,
)
from webhook_extractor.waiting import seconds_to_wait

logger = logging.getLogger(__name__)

_STATUS = {"new": "queued", "busy": "in_progress", "done": "completed", "dead": "failed", "cancelled": "cancelled"}
"""The inbox's states in the words of the invocations protocol."""
_ABOUT_THE_CASE = {"provenance", "remarks", "model"}


def build_app(
    settings: WebhookExtractorSettings,
    *,
    model_transport: httpx2.AsyncBaseTransport | None = None,
    inbox: Inbox | None = None,
    vault: KeyVault | None = None,
) -> InvocationAgentServerHost:
    """The host, ready to serve. The vault, if there is one, is read here; files are opened when it starts. Tests bring
    their own model, inbox and vault.

    Raises:
        SettingsError: the vault cannot be read, or holds no secret.
    """
    vault = vault or open_key_vault(settings)
    if vault:
        settings = vault.read_at_start()
    settings, development_secrets = with_development_secrets(settings)
    host = InvocationAgentServerHost(openapi_spec=openapi_document(settings), **host_options(settings))
    extractor = CaseExtractor(settings, transport=model_transport)
    webhooks = Webhooks(settings, inbox or open_inbox(settings), extractor, CaseOpening(settings))
    host.invoke_handler(webhooks.accept)
    host.get_invocation_handler(webhooks.show)
    host.cancel_invocation_handler(webhooks.cancel)
    # Of the protocol's paths the SDK's host serves only its own methods; senders of CloudEvents ask by OPTIONS first.
    host.router.routes.append(Route("/invocations", webhooks.permit, methods=["OPTIONS"]))
    host.register_pre_shutdown_callback(webhooks.stop_waiting)
    # No JSON rule for /invocations: the signature comes before any parsing.
    protect(host, settings)

    serving = host.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with serving(app) as state, webhooks.running(), _secrets_kept_fresh(vault, settings, webhooks):
            for source in webhooks.sources:
                about = source.description
                how = "on" if source.enabled else f"off, deliveries get 401: set {about.secret_variable} to turn it on"
                logger.info("Source %s: %s", about.title, how)
            if development_secrets:
                logger.info("No secret is configured. Development secrets are in %s", development_secrets)
            if vault:
                seconds = settings.key_vault_refresh_seconds
                logger.info("Secrets are from %s, read again every %g s", settings.key_vault_endpoint, seconds)
            yield state

    host.router.lifespan_context = lifespan
    return host


@asynccontextmanager
async def _secrets_kept_fresh(
    vault: KeyVault | None, settings: WebhookExtractorSettings, webhooks: "Webhooks"
) -> AsyncIterator[None]:
    if vault is None:
        yield
        return
    refresh = SecretRefresh(vault, settings, webhooks.use_secrets)
    refresh.start()
    try:
        yield
    finally:
        refresh.stop()


class Webhooks:
    """The handlers of one host, with the inbox and the worker behind them."""

    def __init__(
        self, settings: WebhookExtractorSettings, inbox: Inbox, extractor: CaseExtractor, opening: CaseOpening
    ) -> None:
        self._settings = settings
        self._extractor = extractor
        self._opening = opening
        self._inbox = inbox
        self._worker: Worker | None = None
        self._stopping = asyncio.Event()
        self.use_secrets(settings)

    def use_secrets(self, settings: WebhookExtractorSettings) -> None:
        """From the next request on. Of `settings`, only what sources are made of may have changed."""
        self.sources = build_sources(settings)
        self._by_name = {source.description.name: source for source in self.sources}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        recovered = await self._inbox.open()
        if recovered:
            logger.warning("Found %d deliveries half processed by a process that was killed; queued again", recovered)
        self._worker = Worker(
            self._inbox,
            self._extract,
            self._open_case,
            jobs=self._settings.workers,
            sweep_seconds=self._settings.sweep_seconds,
            job_seconds=self._settings.job_timeout_seconds,
            retries=Retries(self._settings.first_retry_seconds, self._settings.longest_retry_seconds),
        )
        self._worker.start()
        try:
            yield
        finally:
            self.stop_waiting()
            await self._worker.stop()
            await self._inbox.close()
            await self._extractor.close()
            await self._opening.close()

    def stop_waiting(self) -> None:
        """Answer waiting callers 202 now: the process is about to end, and their deliveries are safe."""
        self._stopping.set()

    async def accept(self, request: Request) -> Response:
        """POST /invocations."""
        body = await request.body()
        try:
            return await self._accept(request, body)
        except Refused as refusal:
            return _refused(refusal)
        except CannotVerify as problem:
            return error_response("cannot_verify", str(problem), 503, headers={"retry-after": "10"})
        except BadRequest as problem:
            return problem.response()
        except DeliveryConflict:
            return error_response(
                "delivery_conflict", "This delivery id was used before, with another body. The first one stands.", 409
            )
        except InboxUnavailable as error:
            logger.error("A delivery could not be stored: %s", error)
            return _unavailable()

    async def _accept(self, request: Request, body: bytes) -> Response:
        headers = DeliveryHeaders(request.headers)
        source = source_of(headers, self.sources)
        settings = self._settings
        if source is None:
            incoming = self._direct(request, body)
            default_wait = settings.max_wait_seconds
        else:
            verified = await _verify(source, headers, body)
            if isinstance(verified, Handshake):
                return JSONResponse(dict(verified.answer))
            if isinstance(verified, tuple):
                return await self._accept_batch(request, source, verified)
            read = self._incoming(source, verified)
            if isinstance(read, Ignored):
                return JSONResponse({"status": "ignored", "reason": read.reason})
            incoming = read
            default_wait = 0.0
        wait = seconds_to_wait(
            request.headers.get("prefer", ""), default=default_wait, longest=settings.max_wait_seconds
        )
        answer_with_id(request, incoming.id)
        record, is_new = await self._inbox.accept(incoming)
        if is_new and self._worker is not None:
            self._worker.wake()
        if wait > 0:
            record = await self._inbox.wait_for_end(record.id, wait, self._stopping) or record
            if record.ended:
                return JSONResponse(document_of(record))
        return JSONResponse(_accepted(request, record), 202, {"retry-after": _retry_after(record)})

    async def _accept_batch(self, request: Request, source: Source, batch: tuple[Delivery, ...]) -> Response:
        """Each event is a delivery of its own. All are read before any is stored: the sender tries again with all."""
        events = [self._incoming(source, delivery) for delivery in batch]
        wanted = [event for event in events if isinstance(event, Incoming)]
        stored = dict(
            zip(
                (event.id for event in wanted),
                await asyncio.gather(*(self._inbox.accept(event) for event in wanted)),
                strict=True,
            )
        )
        if self._worker is not None and any(is_new for _, is_new in stored.values()):
            self._worker.wake()
        answers: list[dict[str, Any]] = [
            {"status": "ignored", "reason": event.reason}
            if isinstance(event, Ignored)
            else _accepted(request, stored[event.id][0])
            for event in events
        ]
        return JSONResponse({"deliveries": answers}, 202 if wanted else 200, {"retry-after": "1"} if wanted else None)

    def _incoming(self, source: Source, delivery: Delivery) -> Incoming | Ignored:
        reading = source.read(delivery.event, delivery.content_type, delivery.body)
        if isinstance(reading, Ignored):
            return reading
        return Incoming(
            id=invocation_id_of(delivery.source, delivery.delivery_id),
            source=delivery.source,
            delivery_id=delivery.delivery_id,
            owner="",
            event=delivery.event,
            content_type=delivery.content_type,
            body=delivery.body,
            max_attempts=self._settings.max_attempts,
            identity=delivery.identity,
        )

    def _direct(self, request: Request, body: bytes) -> Incoming:
        invocation_id: str = request.state.invocation_id
        asked_for = request.headers.get("x-agent-invocation-id")
        if asked_for and asked_for != invocation_id:
            # The SDK takes a random one instead: the caller would never find its invocation by the id it gave.
            message = "x-agent-invocation-id must be 1 to 256 letters, digits, or any of . _ : -"
            raise BadRequest("invalid_invocation_id", message)
        if invocation_id.startswith(RESERVED_PREFIX):
            raise BadRequest("invocation_id_reserved", f"Ids that start with {RESERVED_PREFIX} belong to deliveries.")
        if not body:
            raise BadRequest("empty_body", "The body is empty. Send the message, as text or as JSON.")
        content_type = request.headers.get("content-type", "")
        read_direct(content_type, body)
        return Incoming(
            id=invocation_id,
            source=DIRECT,
            delivery_id=invocation_id,
            owner=request.state.user_id,
            event="",
            content_type=content_type,
            body=body,
            max_attempts=self._settings.direct_max_attempts,
        )

    async def permit(self, request: Request) -> Response:
        """OPTIONS /invocations: a sender asks whether it may deliver."""
        headers = DeliveryHeaders(request.headers)
        try:
            for source in self.sources:
                if isinstance(source, AsksFirst) and (allowed := source.permission(headers)):
                    return Response(headers=allowed)
        except Refused as refusal:
            return _refused(refusal)
        return Response(status_code=204, headers={"allow": "OPTIONS, POST"})

    async def show(self, request: Request) -> Response:
        """GET /invocations/{id}."""
        try:
            record = await self._inbox.get(request.path_params["invocation_id"])
        except InboxUnavailable:
            return _unavailable()
        if record is None or not _may_see(request, record):
            return _not_found()
        headers = {} if record.ended else {"retry-after": _retry_after(record)}
        return JSONResponse(document_of(record), headers=headers)

    async def cancel(self, request: Request) -> Response:
        """POST /invocations/{id}/cancel."""
        invocation_id = request.path_params["invocation_id"]
        try:
            record = await self._inbox.get(invocation_id)
            if record is None or not _may_see(request, record):
                return _not_found()
            done, record = await self._inbox.cancel(invocation_id)
        except InboxUnavailable:
            return _unavailable()
        if record is None:
            return _not_found()
        if done and self._worker is not None:
            self._worker.drop(invocation_id)
        if record.state == "cancelled":
            return JSONResponse(document_of(record))
        why = "has already ended" if record.ended else "is already opening its case, which cannot be stopped half-way"
        return error_response("not_cancellable", f"The invocation {why} (status {_STATUS[record.state]}).", 409)

    async def _extract(self, record: Record) -> str:
        if record.source == DIRECT:
            reading = read_direct(record.content_type, record.body)
        else:
            read = self._by_name[record.source].read(record.event, record.content_type, record.body)
            if isinstance(read, Ignored):  # stored by an older version that read this event
                raise BadRequest("event_not_read", read.reason, status=422)
            reading = read
        draft = await self._extractor.extract(reading, received_at=record.accepted_at)
        return draft.model_dump_json(exclude_none=True)

    async def _open_case(self, record: Record, extracted: str) -> str:
        draft = CaseDraft.model_validate_json(extracted)
        case_file, order_is_known = await self._opening.open(draft.case, idempotency_key=record.id)
        if not order_is_known:
            draft = draft.with_remark("unusable", "order_id", "The desk has no order with this id.")
        result = {"result": draft.case.model_dump(mode="json"), "case_file": case_file}
        return json.dumps(result | draft.model_dump(mode="json", include=_ABOUT_THE_CASE, exclude_none=True))


async def _verify(source: Source, headers: DeliveryHeaders, body: bytes) -> Verified:
    if source.description.fetches_keys:
        return await asyncio.to_thread(source.verify, headers, body, time.time())
    return source.verify(headers, body, time.time())


def document_of(record: Record) -> dict[str, Any]:
    """What GET answers. `error` is there only when there is one: azd takes the key for a failure."""
    document: dict[str, Any] = {
        "invocation_id": record.id,
        "status": _STATUS[record.state],
        "source": record.source,
        "attempts": record.attempts,
        "accepted_at": _time(record.accepted_at),
    }
    if record.ended_at is not None:
        document["ended_at"] = _time(record.ended_at)
    if record.state == "done" and record.result is not None:
        document |= json.loads(record.result)
    if record.state == "dead":
        document["error"] = {"code": record.error_code, "message": record.error_message}
    elif record.state == "new" and record.error_code:
        document["last_error"] = {"code": record.error_code, "message": record.error_message}
        document["next_attempt_at"] = _time(record.due)
    return document


def _accepted(request: Request, record: Record) -> dict[str, Any]:
    return {
        "invocation_id": record.id,
        "status": _STATUS[record.state],
        "status_url": _status_url(request, record.id),
    }


def _refused(refusal: Refused) -> Response:
    logger.info("Refused a request: %s", refusal.code)
    return error_response(refusal.code, refusal.message, 401, headers={"www-authenticate": refusal.challenge})


def _may_see(request: Request, record: Record) -> bool:
    """A direct call's record is for the user who made it. Deliveries are the shop's, so any caller may follow them."""
    return record.source != DIRECT or record.owner == request.state.user_id


def _status_url(request: Request, invocation_id: str) -> str:
    """Below the protocol's root. Hosted, the session must be named again, or another sandbox answers."""
    session = request.query_params.get("agent_session_id")
    query = f"?agent_session_id={quote(session, safe='')}" if session else ""
    return f"/invocations/{invocation_id}{query}"


def _retry_after(record: Record) -> str:
    return str(min(30, max(1, math.ceil(record.due - time.time()))))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _not_found() -> Response:
    return error_response("invocation_not_found", "No invocation with this id, or it has expired.", 404)


def _unavailable() -> Response:
    message = "Deliveries cannot be stored or read right now. Try again later."
    return error_response("inbox_unavailable", message, 503, headers={"retry-after": "10"})
