"""Case files in the store: opened once per key, changed by compare-and-set, and the drafts of replies beside them."""

from datetime import datetime

from agent_runtime.state_store import StateStore
from pydantic import BaseModel, ConfigDict

from support_desk.cases import CaseFile, CaseId, CasePriority, CaseStatus, CaseUpdate
from support_desk.errors import ToolError
from support_desk.ledger import derived_id
from support_desk.money import as_json
from support_desk.orders import CustomerId, Email, OrderId, UtcTime
from support_desk.stored_documents import Document, edit_document


class ReplyDraft(BaseModel):
    """A reply that waits for a person to review it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draft_id: str
    case_id: CaseId | None
    order_id: OrderId | None
    customer_id: CustomerId
    to: Email
    subject: str
    body: str
    drafted_at: UtcTime


class SentReply(BaseModel):
    """A reply that has left the desk: it is in the outbox, from which a fork's mail service takes it. Nothing in this
    package sends mail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reply_id: str
    draft_id: str
    case_id: CaseId | None
    order_id: OrderId | None
    to: Email
    subject: str
    body: str
    sent_at: UtcTime


async def read_case(store: StateStore, case_id: str) -> CaseFile:
    """Raises ToolError `case_not_found`."""
    item = await store.get(_case_key(case_id))
    if item is None:
        raise _no_case(case_id)
    return CaseFile.model_validate(item.value)


async def open_once(store: StateStore, case: CaseFile) -> CaseFile:
    """Store a case file whose id is derived from its key; the one that is there already wins."""
    _, item = await store.put_if_absent(_case_key(case.case_id), as_json(case), tags={"kind": "case"})
    return CaseFile.model_validate(item.value)


async def update_once(
    store: StateStore,
    case_id: str,
    *,
    status: CaseStatus | None,
    priority: CasePriority | None,
    note: str | None,
    idempotency_key: str,
    now: datetime,
) -> CaseFile:
    """Change an existing case; the update of the same key is not made twice.

    Raises:
        ToolError: `case_not_found`, `case_closed`.
    """
    update = CaseUpdate(
        update_id=derived_id("UP", idempotency_key), at=now, status=status, priority=priority, note=note
    )

    def apply(document: Document | None) -> Document:
        if document is None:
            raise _no_case(case_id)
        case = CaseFile.model_validate(document)
        if any(made.update_id == update.update_id for made in case.updates):
            return document
        if case.status is CaseStatus.CLOSED:
            raise ToolError("case_closed", f"Case {case_id} is closed. Open a new case that mentions it.")
        return as_json(
            case.model_copy(
                update={
                    "status": status or case.status,
                    "priority": priority or case.priority,
                    "answer_by": case.opened_at + (priority or case.priority).answer_within,
                    "updates": (*case.updates, update),
                }
            )
        )

    return CaseFile.model_validate(await edit_document(store, _case_key(case_id), apply, tags={"kind": "case"}))


async def draft_once(store: StateStore, draft: ReplyDraft) -> ReplyDraft:
    """Store a draft whose id is derived from its key; the one that is there already wins."""
    _, item = await store.put_if_absent(f"draft/{draft.draft_id}", as_json(draft), tags={"kind": "draft"})
    return ReplyDraft.model_validate(item.value)


async def read_draft(store: StateStore, draft_id: str) -> ReplyDraft:
    """Raises ToolError `draft_not_found`."""
    item = await store.get(f"draft/{draft_id}")
    if item is None:
        raise ToolError("draft_not_found", f"There is no draft {draft_id}. draft_reply writes one.")
    return ReplyDraft.model_validate(item.value)


async def send_once(
    store: StateStore,
    draft_id: str,
    *,
    subject: str | None,
    body: str | None,
    idempotency_key: str,
    now: datetime,
) -> SentReply:
    """Put a draft into the outbox, with another subject or body where one is given. A draft is sent once; the same key
    again gets what it sent.

    Raises:
        ToolError: `draft_not_found`, `already_sent`.
    """
    draft = await read_draft(store, draft_id)
    reply = SentReply(
        reply_id=derived_id("RP", idempotency_key),
        draft_id=draft_id,
        case_id=draft.case_id,
        order_id=draft.order_id,
        to=draft.to,
        subject=subject or draft.subject,
        body=body or draft.body,
        sent_at=now,
    )
    # The key is the draft's, so that two sandboxes cannot both send it.
    _, item = await store.put_if_absent(f"outbox/{draft_id}", as_json(reply), tags={"kind": "sent_reply"})
    sent = SentReply.model_validate(item.value)
    if sent.reply_id != reply.reply_id:
        raise ToolError("already_sent", f"Draft {draft_id} was sent as {sent.reply_id}. Write a new draft to say more.")
    return sent


def _case_key(case_id: str) -> str:
    return f"case/{case_id}"


def _no_case(case_id: str) -> ToolError:
    return ToolError("case_not_found", f"There is no case {case_id}. Open one with open_case, or check the id.")
