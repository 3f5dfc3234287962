"""The desk's tools, as a model sees them: name, description, strict JSON schema, and what each does to the desk.

Business rules are in `refunds`, `returns` and `case_files`, where they hold whoever calls. A tool with a side effect
goes through the ledger, so that a repeated call with the same idempotency key does nothing twice. Agents decide when a
tool is called and whether a person approves first; `irreversible` says which need one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from agent_runtime.state_store import StateStoreError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from support_desk.case_files import (
    ReplyDraft,
    SentReply,
    draft_once,
    open_once,
    read_case,
    read_draft,
    send_once,
    update_once,
)
from support_desk.cases import CaseCategory, CaseFile, CaseId, CasePriority, CaseStatus
from support_desk.catalogue import Sku
from support_desk.desk import Desk
from support_desk.errors import ToolError
from support_desk.ledger import derived_id
from support_desk.money import Amount, Currency, Money, as_json
from support_desk.orders import (
    REFERENCE_DATE,
    Customer,
    CustomerId,
    Email,
    Order,
    OrderId,
    OrderStatus,
    ShipmentStatus,
    UtcTime,
)
from support_desk.passages import HandbookPassages
from support_desk.refunds import DeskRefund, RefundReason, left_to_refund, refund_once, refunds_of
from support_desk.returns import ReturnLabel, label_once, labels_of
from support_desk.strict_schema import strict_schema

__all__ = ["TOOLS", "TOOLS_BY_NAME", "DeskTool", "ToolError"]

_LIST_LIMIT = 20

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
DraftId = Annotated[str, StringConstraints(pattern=r"^DR-[0-9A-F]{10}$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]


class _Input(BaseModel):
    """Every property is required, as strict function calling wants; null says "not given"."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Output(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str
    """The outcome in a sentence or two, for models and people who read no JSON."""


@dataclass(frozen=True)
class DeskTool:
    name: str
    description: str
    input_model: type[BaseModel]
    output_model: type[BaseModel]
    irreversible: bool
    """Whether the effect cannot be undone, so that a person should approve the call first."""
    side_effect: bool
    """Whether the call changes anything; such calls are in the ledger."""
    run: Callable[[Desk, Any, str], Awaitable[BaseModel]]
    """The work itself, given the desk, the validated input and the idempotency key."""
    preview: Callable[[Desk, Any], Awaitable[str]] | None = None
    """What a call would do that its arguments do not show, in a sentence, given the desk and the validated input."""

    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments, fit for strict function calling."""
        return strict_schema(self.input_model)

    async def foresee(self, desk: Desk, arguments: dict[str, Any]) -> str:
        """What a person who approves this call should know beyond its arguments; "" for nothing.

        Raises:
            ToolError: as `call`, for what is wrong already.
        """
        if self.preview is None:
            return ""
        checked = self.checked(arguments)
        try:
            return await self.preview(desk, checked)
        except StateStoreError as error:
            raise _unavailable() from error

    def checked(self, arguments: dict[str, Any]) -> BaseModel:
        given = dict.fromkeys(self.input_model.model_fields) | arguments
        try:
            return self.input_model.model_validate(given)
        except ValidationError as error:
            raise ToolError("invalid_arguments", _complaint(self.name, error)) from None

    async def call(self, desk: Desk, arguments: dict[str, Any], *, idempotency_key: str) -> BaseModel:
        """Validate the arguments, do the work once for this key, and return an `output_model`.

        A property that is missing counts as null. Tools without a side effect ignore the key.

        Raises:
            ToolError: `invalid_arguments`, `idempotency_conflict`, `desk_unavailable`, or a business rule's code.
        """
        checked = self.checked(arguments)
        try:
            if not self.side_effect:
                return await self.run(desk, checked, idempotency_key)

            async def effect() -> dict[str, Any]:
                return as_json(await self.run(desk, checked, idempotency_key))

            result = await desk.ledger.once(idempotency_key, self.name, as_json(checked), effect)
        except StateStoreError as error:
            raise _unavailable() from error
        return self.output_model.model_validate(result)


def _unavailable() -> ToolError:
    return ToolError(
        "desk_unavailable",
        "The desk's records cannot be reached at this moment. Repeat this call later; it will not act twice.",
    )


def _complaint(tool: str, error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in problem["loc"]) or "arguments"
        pattern = problem.get("ctx", {}).get("pattern")
        message = f"must match {pattern}" if pattern else problem["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {message}")
    return f"{tool} was called with arguments that do not fit. {'; '.join(problems)}. Correct them and call again."


# --- search_handbook


class SearchHandbookInput(_Input):
    query: Text = Field(description="What to look for, in a few words or a question, in English.")


async def _search_handbook(desk: Desk, given: SearchHandbookInput, _key: str) -> HandbookPassages:
    return await desk.search_handbook(given.query)


# --- lookup_order


class LookupOrderInput(_Input):
    order_id: OrderId = Field(description="The order number, such as NP-10042.")


class LookupOrderOutput(_Output):
    order: Order
    customer: Customer
    left_to_refund: Money
    desk_refunds: tuple[DeskRefund, ...]
    """Refunds made by the desk. Those from before are in the order itself."""
    return_labels: tuple[ReturnLabel, ...]
    delivered_on: date | None
    days_since_delivery: int | None
    """Counted to `as_of`."""
    as_of: date
    """The day of the order book; "today" for questions about its orders."""


async def _lookup_order(desk: Desk, given: LookupOrderInput, _key: str) -> LookupOrderOutput:
    order = desk.order(given.order_id)
    refunds = await refunds_of(desk.store, order.order_id)
    left = left_to_refund(order, refunds)
    delivered_on = order.delivered_on
    return LookupOrderOutput(
        summary=_describe(order, refunds, left),
        order=order,
        customer=desk.customer(order.customer_id),
        left_to_refund=left,
        desk_refunds=refunds,
        return_labels=await labels_of(desk.store, order.order_id),
        delivered_on=delivered_on,
        days_since_delivery=(REFERENCE_DATE - delivered_on).days if delivered_on else None,
        as_of=REFERENCE_DATE,
    )


def _describe(order: Order, refunds: tuple[DeskRefund, ...], left: Money) -> str:
    """The order in sentences, each true on its own: models quote them."""
    articles = ", ".join(f"{line.quantity} x {line.name} ({line.sku})" for line in order.lines)
    sentences = [
        f"Order {order.order_id} was placed on {order.placed_at.date()} and is {order.status}.",
        f"It contains {articles}, for {order.total} in total.",
    ]
    for shipment in order.shipments:
        parcel = f"The {shipment.carrier} parcel {shipment.tracking_number}"
        if shipment.delivered_at:
            sentences.append(f"{parcel} was delivered on {shipment.delivered_at.date()}.")
        elif shipment.status is ShipmentStatus.LOST:
            sentences.append(f"{parcel} was expected by {shipment.expected_by}; the carrier has declared it lost.")
        elif shipment.status is ShipmentStatus.DELAYED:
            sentences.append(f"{parcel} is delayed; it was expected by {shipment.expected_by}.")
        else:
            sentences.append(f"{parcel} is on its way, expected by {shipment.expected_by}.")
    recalled = [line.name for line in order.lines if line.recalled]
    if recalled:
        sentences.append(f"The {', '.join(recalled)} in this order is under a safety recall.")
    if order.marketplace:
        sentences.append(f"It was bought on the marketplace {order.marketplace}.")
    if order.gift_message:
        sentences.append(f"It is a gift for {order.ship_to_name}.")
    if order.payment.dispute:
        dispute = order.payment.dispute
        sentences.append(
            f"The customer's bank opened chargeback {dispute.reference} over {dispute.amount} on"
            f" {dispute.opened_at.date()}: {dispute.reason.lower()}."
        )
    sentences += [f"{one.amount} was refunded on {one.refunded_at.date()}: {one.reason}." for one in order.refunds]
    sentences += [f"{one.amount} was refunded by the desk as {one.refund_id}." for one in refunds]
    sentences.append(f"{left} can still be refunded.")
    return " ".join(sentences)


# --- list_customer_orders


class ListCustomerOrdersInput(_Input):
    customer_id: CustomerId | None = Field(description="The customer number, such as C-1007; null if not known.")
    email: Email | None = Field(description="The customer's e-mail address; null if not known.")
    status: OrderStatus | None = Field(description="Only orders with this status; null for all.")


class OrderSummary(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: OrderId
    placed_at: UtcTime
    status: OrderStatus
    articles: tuple[str, ...]
    total: Money


class ListCustomerOrdersOutput(_Output):
    customer: Customer
    orders: tuple[OrderSummary, ...]
    """Newest first, at most 20."""
    found: int
    """How many there are in all."""


async def _list_customer_orders(desk: Desk, given: ListCustomerOrdersInput, _key: str) -> ListCustomerOrdersOutput:
    customer = desk.customer(given.customer_id, given.email)
    orders = [
        order
        for order in desk.order_book.orders_of(customer.customer_id)
        if given.status is None or order.status is given.status
    ]
    kind = f"{given.status} orders" if given.status else "orders"
    lines = [
        f"{order.order_id}, placed on {order.placed_at.date()}, is {order.status} ({order.total})."
        for order in orders[:_LIST_LIMIT]
    ]
    return ListCustomerOrdersOutput(
        summary=" ".join([f"{customer.name} ({customer.customer_id}) has {len(orders) or 'no'} {kind}.", *lines]),
        customer=customer,
        orders=tuple(
            OrderSummary(
                order_id=order.order_id,
                placed_at=order.placed_at,
                status=order.status,
                articles=tuple(line.name for line in order.lines),
                total=order.total,
            )
            for order in orders[:_LIST_LIMIT]
        ),
        found=len(orders),
    )


# --- open_case


class OpenCaseInput(_Input):
    category: CaseCategory = Field(description="What the case is about.")
    summary: Text = Field(description="The request in one or two sentences, with the facts that matter.")
    priority: CasePriority | None = Field(
        description="null for normal. urgent is for danger to people, such as a recalled product in use."
    )
    order_id: OrderId | None = Field(description="The order number, such as NP-10042; null if there is none.")
    customer_id: CustomerId | None = Field(
        description="The customer number, such as C-1007; null to take the order's customer, or if not known."
    )


class CaseOutput(_Output):
    case: CaseFile


async def _open_case(desk: Desk, given: OpenCaseInput, key: str) -> CaseOutput:
    customer_id = given.customer_id
    if given.order_id:
        owner = desk.order(given.order_id).customer_id
        if customer_id and customer_id != owner:
            raise ToolError("customer_mismatch", f"Order {given.order_id} does not belong to customer {customer_id}.")
        customer_id = owner
    elif customer_id:
        desk.customer(customer_id)
    now = desk.clock()
    priority = given.priority or CasePriority.NORMAL
    case = await open_once(
        desk.store,
        CaseFile(
            case_id=derived_id("CASE", key),
            status=CaseStatus.OPEN,
            category=given.category,
            priority=priority,
            summary=given.summary,
            customer_id=customer_id,
            order_id=given.order_id,
            opened_at=now,
            answer_by=now + priority.answer_within,
        ),
    )
    about = f" about order {case.order_id}" if case.order_id else ""
    return CaseOutput(
        summary=f"Case {case.case_id}{about} is open with priority {case.priority};"
        f" the customer is to be answered by {case.answer_by:%Y-%m-%d %H:%M} UTC.",
        case=case,
    )


# --- update_case


class UpdateCaseInput(_Input):
    case_id: CaseId = Field(description="The case number that open_case returned, such as CASE-3F9A2B7C41.")
    status: CaseStatus | None = Field(description="The new status; null to leave it.")
    priority: CasePriority | None = Field(description="The new priority; null to leave it.")
    note: Text | None = Field(description="What was found or done, for colleagues; null for none.")


async def _update_case(desk: Desk, given: UpdateCaseInput, key: str) -> CaseOutput:
    if given.status is None and given.priority is None and given.note is None:
        raise ToolError("nothing_to_update", "Give a status, a priority or a note.")
    case = await update_once(
        desk.store,
        given.case_id,
        status=given.status,
        priority=given.priority,
        note=given.note,
        idempotency_key=key,
        now=desk.clock(),
    )
    noted = " The note is in its file." if given.note else ""
    return CaseOutput(
        summary=f"Case {case.case_id} is {_words(case.status)} with priority {case.priority}.{noted}", case=case
    )


# --- draft_reply


class DraftReplyInput(_Input):
    case_id: CaseId | None = Field(description="The case that the reply is about; null if there is none.")
    order_id: OrderId | None = Field(
        description="The order whose customer is written to, such as NP-10042; null if the case names the customer."
    )
    subject: Line = Field(description="The subject line.")
    body: Text = Field(description="The whole reply, in the customer's language, with greeting and closing.")


class DraftReplyOutput(_Output):
    draft: ReplyDraft


async def _draft_reply(desk: Desk, given: DraftReplyInput, key: str) -> DraftReplyOutput:
    case = await read_case(desk.store, given.case_id) if given.case_id else None
    order_id = given.order_id or (case.order_id if case else None)
    if case and given.order_id and case.order_id and given.order_id != case.order_id:
        raise ToolError("order_mismatch", f"Case {case.case_id} is about order {case.order_id}.")
    customer_id = desk.order(order_id).customer_id if order_id else case.customer_id if case else None
    if customer_id is None:
        raise ToolError("recipient_unknown", "Give an order_id, or a case_id whose case names a customer.")
    if case and case.customer_id and case.customer_id != customer_id:
        raise ToolError("customer_mismatch", f"Order {order_id} and case {case.case_id} have different customers.")
    customer = desk.customer(customer_id)
    draft = await draft_once(
        desk.store,
        ReplyDraft(
            draft_id=derived_id("DR", key),
            case_id=given.case_id,
            order_id=order_id,
            customer_id=customer.customer_id,
            to=customer.email,
            subject=given.subject,
            body=given.body,
            drafted_at=desk.clock(),
        ),
    )
    return DraftReplyOutput(
        summary=f"Draft {draft.draft_id} to {draft.to} is stored. It was not sent.",
        draft=draft,
    )


# --- send_reply


class SendReplyInput(_Input):
    draft_id: DraftId = Field(description="The draft that draft_reply returned, such as DR-3F9A2B7C41.")
    subject: Line | None = Field(description="The subject line to send; null for the draft's.")
    body: Text | None = Field(description="The whole text to send; null for the draft's.")


class SendReplyOutput(_Output):
    reply: SentReply


async def _send_reply(desk: Desk, given: SendReplyInput, key: str) -> SendReplyOutput:
    reply = await send_once(
        desk.store,
        given.draft_id,
        subject=given.subject,
        body=given.body,
        idempotency_key=key,
        now=desk.clock(),
    )
    return SendReplyOutput(
        summary=f"Reply {reply.reply_id} to {reply.to} was sent: it is in the desk's outbox.", reply=reply
    )


async def _foresee_reply(desk: Desk, given: SendReplyInput) -> str:
    draft = await read_draft(desk.store, given.draft_id)
    subject, body = given.subject or draft.subject, given.body or draft.body
    return f"the draft {given.draft_id} goes to {draft.to}, with the subject “{subject}”: {body}"


# --- issue_refund


class IssueRefundInput(_Input):
    order_id: OrderId = Field(description="The order number, such as NP-10042.")
    amount: Amount = Field(description="How much to pay back, with two digits after the point, such as 49.90.")
    currency: Currency = Field(description="The currency that the order was paid in.")
    reason: RefundReason | None = Field(description="Why; null if none of these fits.")
    note: Text | None = Field(description="A sentence for the record; null for none.")


class IssueRefundOutput(_Output):
    refund: DeskRefund


async def _issue_refund(desk: Desk, given: IssueRefundInput, key: str) -> IssueRefundOutput:
    refund = await refund_once(
        desk.store,
        desk.order(given.order_id),
        Money(amount=given.amount, currency=given.currency),
        reason=given.reason or RefundReason.OTHER,
        note=given.note,
        idempotency_key=key,
        now=desk.clock(),
    )
    return IssueRefundOutput(
        summary=f"Refund {refund.refund_id}: {refund.amount} on order {refund.order_id}."
        f" {refund.left_after} can still be refunded.",
        refund=refund,
    )


# --- create_return_label


class CreateReturnLabelInput(_Input):
    order_id: OrderId = Field(description="The order number, such as NP-10042.")
    skus: tuple[Sku, ...] | None = Field(
        description="Article numbers of the order's lines to send back, such as TNT-201; null for the whole order."
    )
    reason: Text | None = Field(description="Why it comes back, in the customer's words; null if not said.")


class CreateReturnLabelOutput(_Output):
    label: ReturnLabel


async def _create_return_label(desk: Desk, given: CreateReturnLabelInput, key: str) -> CreateReturnLabelOutput:
    order = desk.order(given.order_id)
    label = await label_once(
        desk.store,
        order,
        left_to_refund(order, await refunds_of(desk.store, order.order_id)),
        skus=given.skus,
        reason=given.reason,
        idempotency_key=key,
        now=desk.clock(),
    )
    return CreateReturnLabelOutput(
        summary=f"Return label {label.label_id} with {label.carrier}, tracking number {label.tracking_number},"
        f" for {', '.join(label.skus)} of order {label.order_id}.",
        label=label,
    )


def _words(status: CaseStatus) -> str:
    return status.replace("_", " ")


TOOLS: tuple[DeskTool, ...] = (
    DeskTool(
        name="search_handbook",
        description=(
            "Search Northpeak's handbook: policies and procedures on returns, refunds, warranty, repairs, shipping,"
            " payments, disputes, loyalty, product care, recalls and privacy. Use it before answering any question"
            " about what the shop does or allows, and again with other words when the first search finds nothing."
            " Not for facts about one order: use lookup_order. Returns numbered passages with their addresses; an"
            " empty list means that the handbook does not say."
        ),
        input_model=SearchHandbookInput,
        output_model=HandbookPassages,
        irreversible=False,
        side_effect=False,
        run=_search_handbook,
    ),
    DeskTool(
        name="lookup_order",
        description=(
            "Find one order by its number (NP- and five digits): status, articles, parcels and tracking, delivery"
            " date, payment, refunds so far, what is left to refund, and its customer. Use it before anything that"
            " touches the order. If only the customer is known, use list_customer_orders instead."
        ),
        input_model=LookupOrderInput,
        output_model=LookupOrderOutput,
        irreversible=False,
        side_effect=False,
        run=_lookup_order,
    ),
    DeskTool(
        name="list_customer_orders",
        description=(
            "List the orders of one customer, newest first, by customer number (C- and four digits) or e-mail"
            " address. Use it when the order number is not known. Returns the customer and short lines; call"
            " lookup_order for the details of one."
        ),
        input_model=ListCustomerOrdersInput,
        output_model=ListCustomerOrdersOutput,
        irreversible=False,
        side_effect=False,
        run=_list_customer_orders,
    ),
    DeskTool(
        name="open_case",
        description=(
            "Open a support case, so that the request has a number and a colleague can follow it up. Use it once per"
            " request, when something must be done or followed up; not for a question that an answer settles."
            " Returns the case with its number, which update_case and draft_reply take."
        ),
        input_model=OpenCaseInput,
        output_model=CaseOutput,
        irreversible=False,
        side_effect=True,
        run=_open_case,
    ),
    DeskTool(
        name="update_case",
        description=(
            "Change the status or priority of an existing case, or add a note to its file. Use it after each step"
            " that a colleague should know of, and to resolve or close the case. Does not open a case: use open_case."
            " Returns the case as it is now."
        ),
        input_model=UpdateCaseInput,
        output_model=CaseOutput,
        irreversible=False,
        side_effect=True,
        run=_update_case,
    ),
    DeskTool(
        name="draft_reply",
        description=(
            "Write a reply to the customer of an order or case and store it as a draft. Nothing is sent: a colleague"
            " reviews it, or send_reply sends it after approval. Use it when the facts are known; promise nothing that"
            " was not done. Returns the draft with its number."
        ),
        input_model=DraftReplyInput,
        output_model=DraftReplyOutput,
        irreversible=False,
        side_effect=True,
        run=_draft_reply,
    ),
    DeskTool(
        name="send_reply",
        description=(
            "Send a stored draft to its customer. This cannot be undone. Use it only when a runbook says so, after"
            " draft_reply, whose number it takes; a draft is sent once. Returns the reply with its number."
        ),
        input_model=SendReplyInput,
        output_model=SendReplyOutput,
        irreversible=True,
        side_effect=True,
        run=_send_reply,
        preview=_foresee_reply,
    ),
    DeskTool(
        name="issue_refund",
        description=(
            "Pay money back to the customer of an order. This cannot be undone. Use it only when the handbook allows"
            " the refund and the amount is known; look the order up first. The amount must be in the order's currency"
            " and not above what is left to refund. Not for orders with an open chargeback, nor for unshipped orders."
            " Returns the refund with its number and what is left."
        ),
        input_model=IssueRefundInput,
        output_model=IssueRefundOutput,
        irreversible=True,
        side_effect=True,
        run=_issue_refund,
    ),
    DeskTool(
        name="create_return_label",
        description=(
            "Make a prepaid return label for a delivered order, whole or some of its articles. Use it when the"
            " customer sends something back; check the return window in the handbook first. Not for orders still on"
            " their way, nor for lost parcels. Returns the carrier and the tracking number of the return."
        ),
        input_model=CreateReturnLabelInput,
        output_model=CreateReturnLabelOutput,
        irreversible=False,
        side_effect=True,
        run=_create_return_label,
    ),
)

TOOLS_BY_NAME = {tool.name: tool for tool in TOOLS}
