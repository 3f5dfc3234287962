"""Refunds wait for a person: the run ends with a question, and a later run brings the answer.

What is carried out comes from the server's record of the question, never from the conversation that a page sends. The
first answer to a question is kept before anything is done, and the refund has the question's idempotency key: double
clicks, two tabs, a replayed request and a restart in the middle all lead to one refund, the one that was decided first.
Only an approval that had not begun to act, because its run was stopped or died, gives way to a later refusal.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from agent_runtime.hosting.errors import BadRequest
from agent_runtime.state_store import StateStore
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from support_desk.desk import Desk
from support_desk.desk_tools import TOOLS_BY_NAME, ToolError
from support_desk.money import Amount
from support_desk.refunds import left_to_refund, refunds_of

from ag_ui_streamer.progress import Question
from ag_ui_streamer.threads import digest

REFUND = TOOLS_BY_NAME["issue_refund"]
_REASON = "approval_required"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page's `resume` says of one question."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class Decision(BaseModel):
    """The payload of a resolved question, as its response schema says."""

    model_config = ConfigDict(extra="forbid")

    approved: bool
    amount: Amount | None = None
    """Another amount than the proposed one."""
    reason: str | None = Field(default=None, max_length=1000)
    """Why it is rejected."""


class Approvals:
    def __init__(
        self, desk: Desk, store: StateStore, *, open_for: timedelta, now: Callable[[], float] = time.time
    ) -> None:
        self._desk = desk
        self._store = store
        self._open_for = open_for.total_seconds()
        self._now = now

    async def ask(self, call_id: str, arguments: dict[str, Any]) -> Question:
        """The question for a refund that the model wants.

        Raises:
            ToolError: for a refund that would be refused whoever approved it.
        """
        given = REFUND.checked(arguments).model_dump(mode="json")
        order = self._desk.order(given["order_id"])
        left = left_to_refund(order, await refunds_of(self._desk.store, order.order_id))
        if given["currency"] != left.currency:
            raise ToolError("currency_mismatch", f"Order {order.order_id} was paid in {left.currency}.")
        customer = self._desk.customer(order.customer_id)
        message = (
            f"Refund {given['amount']} {given['currency']} on order {order.order_id} to {customer.name}?"
            f" {left} can still be refunded. A refund cannot be undone."
        )
        until = datetime.fromtimestamp(self._now() + self._open_for, UTC)
        return Question(
            interrupt_id=f"int_{uuid4().hex}",
            reason=_REASON,
            message=message,
            call_id=call_id,
            response_schema=_schema(given),
            expires_at=until.isoformat(timespec="seconds"),
            arguments=given,
            tool=REFUND.name,
        )

    def check(self, pending: Sequence[Question], answers: Sequence[Answer], answered: Sequence[str]) -> None:
        """Whether these answers may resume a thread that waits with `pending`; `answered` are its earlier questions.

        Raises:
            BadRequest: `unknown_interrupt`, `interrupt_answered`, `interrupt_unanswered`, `interrupt_expired` or
                `invalid_resume`. Nothing was done.
        """
        waiting = {one.interrupt_id: one for one in pending}
        for number, answer in enumerate(answers):
            where = f"resume.{number}"
            if answer.interrupt_id in answered:
                message = "This question was answered before. Nothing was done again."
                raise BadRequest("interrupt_answered", message, param=where, status=409)
            if answer.interrupt_id not in waiting:
                raise BadRequest("unknown_interrupt", "This thread asked no such question.", param=where)
            if answer.status == "cancelled":
                continue
            if self._has_expired(waiting[answer.interrupt_id]):
                message = "This question was not answered in time. Cancel it; nothing was done."
                raise BadRequest("interrupt_expired", message, param=where, status=409)
            decision = read_decision(answer.payload, where)
            if decision.amount is not None and waiting[answer.interrupt_id].tool != REFUND.name:
                message = "payload.amount: this question has no amount to change."
                raise BadRequest("invalid_resume", message, param=f"{where}.payload.amount")
        if len({answer.interrupt_id for answer in answers}) < len(answers):
            raise BadRequest("invalid_resume", "A question is answered twice.", param="resume")
        given = {answer.interrupt_id for answer in answers}
        if missing := [one for one in pending if one.interrupt_id not in given and not self._is_over(one, answers)]:
            message = f"The thread waits for an answer to {missing[0].interrupt_id}: resolve it or cancel it."
            raise BadRequest("interrupt_unanswered", message, param="resume", status=409)

    async def carry_out(self, user: str, pending: Question, answer: Answer | None) -> dict[str, Any]:
        """The output of the call that waited: what the refund returned, or why there is none. Without an answer the
        question was left behind.

        Raises:
            StateStoreError, ToolError: the records cannot be reached; the same answer may be given again.
        """
        given = answer or Answer(pending.interrupt_id, "cancelled")
        first = await self.first_answer(user, given)
        if refused := _refusal(first):
            return refused
        key = f"ag-ui/{pending.interrupt_id}"
        if (refused := _refusal(given)) and await self._desk.ledger.fence(key, REFUND.name) is None:
            return refused
        decision = read_decision(first.payload, "resume")
        arguments = dict(pending.arguments)
        if decision.amount is not None:
            arguments["amount"] = str(decision.amount)
        try:
            done = await REFUND.call(self._desk, arguments, idempotency_key=key)
        except ToolError as error:
            if error.code == "desk_unavailable":
                raise
            return _not_done(error.code, error.message)
        output: dict[str, Any] = done.model_dump(mode="json")
        return output

    async def first_answer(self, user: str, given: Answer) -> Answer:
        """Keep the answer, unless one was kept before: the one that holds.

        Raises:
            StateStoreError: the records cannot be reached.
        """
        _, kept = await self._store.put_if_absent(f"answer/{digest(user)}/{given.interrupt_id}", asdict(given))
        return Answer(**kept.value)

    def _is_over(self, pending: Question, answers: Sequence[Answer]) -> bool:
        """Whether a run without any answers may leave this question behind: it can be answered no more."""
        return not answers and self._has_expired(pending)

    def _has_expired(self, question: Question) -> bool:
        if not question.expires_at:
            return False
        return self._now() > datetime.fromisoformat(question.expires_at).timestamp()


def read_decision(payload: Any, where: str) -> Decision:
    try:
        return Decision.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in ("payload", *first["loc"]))
        raise BadRequest("invalid_resume", f"{field}: {first['msg']}", param=f"{where}.{field}") from None


def approves(answer: Answer) -> bool:
    return answer.status == "resolved" and read_decision(answer.payload, "resume").approved


def _refusal(answer: Answer) -> dict[str, Any] | None:
    """The output of a call that was not approved; None for one that was."""
    if answer.status == "cancelled":
        return _not_done("approval_cancelled", "Nobody decided about the refund. It was not issued.")
    decision = read_decision(answer.payload, "resume")
    if decision.approved:
        return None
    why = f" The reason given: {decision.reason}" if decision.reason else ""
    return _not_done("approval_rejected", f"The refund was rejected and not issued.{why}")


def _schema(arguments: Mapping[str, Any]) -> dict[str, Any]:
    amount = REFUND.parameters()["properties"]["amount"]
    return {
        "type": "object",
        "properties": {
            "approved": {"type": "boolean", "title": "Issue the refund"},
            "amount": {
                "type": "string",
                "pattern": amount["pattern"],
                "title": f"Amount in {arguments['currency']}",
                "default": arguments["amount"],
            },
            "reason": {"type": "string", "maxLength": 1000, "title": "Why it is rejected"},
        },
        "required": ["approved"],
        "additionalProperties": False,
    }


def _not_done(code: str, message: str) -> dict[str, Any]:
    return ToolError(code, message).as_output()
