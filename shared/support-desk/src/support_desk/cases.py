"""Support cases: what a customer's message or a provider's event is turned into, and the file the desk keeps about it.

`SupportCase` is the typed content, closed in every enum, with decimal money and UTC times. `CaseFile` is an opened
case: its id, its status and what happened since. Where a case comes from is the business of who fills it in.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from support_desk.catalogue import Sku
from support_desk.money import Money
from support_desk.orders import CustomerId, Email, OrderId, UtcTime

CASE_ID_PATTERN = r"^CASE-[0-9A-F]{10}$"
CaseId = Annotated[
    str,
    StringConstraints(pattern=CASE_ID_PATTERN),
    # After the constraint in this list, so before it in time, and so that the schema shows the pattern.
    BeforeValidator(lambda value: value.strip().upper() if isinstance(value, str) else value),
]
"""`CASE-` and ten hexadecimal digits, such as CASE-3F9A2B7C41."""


class CaseCategory(StrEnum):
    RETURN = "return"
    REFUND = "refund"
    DELIVERY = "delivery"
    LOST_PARCEL = "lost_parcel"
    DAMAGED_ITEM = "damaged_item"
    WARRANTY = "warranty"
    REPAIR = "repair"
    RECALL = "recall"
    PAYMENT = "payment"
    PAYMENT_DISPUTE = "payment_dispute"
    CANCELLATION = "cancellation"
    LOYALTY = "loyalty"
    PRIVACY = "privacy"
    PRODUCT_QUESTION = "product_question"
    COMPLAINT = "complaint"
    OTHER = "other"


class CasePriority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"

    @property
    def answer_within(self) -> timedelta:
        """How soon the customer gets a first answer."""
        return {
            CasePriority.LOW: timedelta(days=5),
            CasePriority.NORMAL: timedelta(days=2),
            CasePriority.HIGH: timedelta(days=1),
            CasePriority.URGENT: timedelta(hours=4),
        }[self]


class CaseChannel(StrEnum):
    """The way a case came in."""

    GITHUB = "github"
    CONTACT_FORM = "contact_form"
    EMAIL = "email"
    CHAT = "chat"
    PHONE = "phone"
    PAYMENT_PROVIDER = "payment_provider"
    CARRIER = "carrier"
    MARKETPLACE = "marketplace"
    DIRECT = "direct"


class RequestedAction(StrEnum):
    """What the customer asks for, as they say it; whether they get it is the desk's decision."""

    REFUND = "refund"
    PARTIAL_REFUND = "partial_refund"
    REPLACEMENT = "replacement"
    REPAIR = "repair"
    RETURN_LABEL = "return_label"
    CANCELLATION = "cancellation"
    TRACKING = "tracking"
    INFORMATION = "information"
    DATA_EXPORT = "data_export"
    DATA_DELETION = "data_deletion"
    CALLBACK = "callback"
    OTHER = "other"


class CaseStatus(StrEnum):
    OPEN = "open"
    IN_PROGRESS = "in_progress"
    WAITING_FOR_CUSTOMER = "waiting_for_customer"
    RESOLVED = "resolved"
    CLOSED = "closed"


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseCustomer(_Closed):
    """Who writes, as far as the case says. `customer_id` only where it was stated or looked up, never guessed."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = None
    email: Email | None = None
    customer_id: CustomerId | None = None


class SupportCase(_Closed):
    """A customer's request, or an event about an order, in the desk's terms. What was not stated is None or empty."""

    channel: CaseChannel
    category: CaseCategory
    priority: CasePriority = CasePriority.NORMAL
    summary: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
    """What it is about, in a sentence or two."""
    requested_action: RequestedAction | None = None
    customer: CaseCustomer = CaseCustomer()
    order_id: OrderId | None = None
    skus: tuple[Sku, ...] = ()
    amount: Money | None = None
    """The sum that is asked for, disputed, or was charged."""
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    """BCP 47, of the customer's own words."""
    reference: Annotated[str, StringConstraints(max_length=500)] | None = None
    """What the source calls it: an issue's URL, a dispute's id."""
    happened_at: UtcTime | None = None
    """When the thing happened that the case is about."""
    received_at: UtcTime


class CaseUpdate(_Closed):
    """One change of a case's file. The id is derived from the idempotency key of the call that made it."""

    update_id: str
    at: UtcTime
    status: CaseStatus | None = None
    priority: CasePriority | None = None
    note: str | None = None


class CaseFile(_Closed):
    case_id: CaseId
    status: CaseStatus
    category: CaseCategory
    priority: CasePriority
    summary: str
    customer_id: CustomerId | None = None
    order_id: OrderId | None = None
    opened_at: UtcTime
    answer_by: UtcTime
    updates: tuple[CaseUpdate, ...] = Field(default=())
