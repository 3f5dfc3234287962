"""Puts a `SupportCase` together from what is stated and what the model read, and notes the origin of every field.

A stated value wins over a text, and a text over the model. Where they disagree the case keeps the stated value and the
difference is reported. A value that does not fit its field is left out and reported too: a typing error in an address
must not cost the customer's message.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError
from support_desk.cases import CaseCategory, CasePriority, RequestedAction, SupportCase
from support_desk.money import Money
from support_desk.orders import Email, OrderId

from webhook_extractor.literals import Found, find_amounts, find_emails, find_order_ids, find_phrase, find_skus
from webhook_extractor.sources.source import Reading, Stated

_PRIORITIES = {
    CaseCategory.RECALL: CasePriority.URGENT,
    CaseCategory.PAYMENT_DISPUTE: CasePriority.HIGH,
    CaseCategory.PRIVACY: CasePriority.HIGH,
    CaseCategory.LOST_PARCEL: CasePriority.HIGH,
    CaseCategory.PRODUCT_QUESTION: CasePriority.LOW,
}
"""Priority follows from the category, by the desk's rule; else whoever writes URGENT would be first."""

_LONGEST_SUMMARY = 400
_ORDER_ID: TypeAdapter[str] = TypeAdapter(OrderId)
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


RemarkKind = Literal["contradiction", "ambiguous", "unusable"]


class Origin(BaseModel):
    """Where a field's value comes from.

    `how`: stated (in the payload), found (in the text, by its form), extracted (by the model, from the text), derived
    (from other fields, by a rule). `pointer` is the JSON pointer into the payload, empty for plain text; `start` and
    `end` are character positions in the string there. `original` is the value as written, where that differs.
    """

    how: Literal["stated", "found", "extracted", "derived"]
    pointer: str | None = None
    start: int | None = None
    end: int | None = None
    original: str | None = None


class Remark(BaseModel):
    """Something that a person should know: a contradiction, an ambiguous or an unusable value."""

    kind: RemarkKind
    field: str
    message: str
    values: tuple[str, ...]


class CaseDraft(BaseModel):
    """A case that is ready to be opened."""

    case: SupportCase
    provenance: dict[str, Origin]
    remarks: tuple[Remark, ...] = ()
    model: str | None = None
    """None where there was no free text to read."""

    def with_remark(self, kind: RemarkKind, field: str, message: str) -> "CaseDraft":
        remark = Remark(kind=kind, field=field, message=message, values=(str(getattr(self.case, field)),))
        return self.model_copy(update={"remarks": (*self.remarks, remark)})


class _Builder:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.provenance: dict[str, Origin] = {}
        self.remarks: list[Remark] = []

    def stated(self, name: str, field: str, check: TypeAdapter[str] | None = None) -> str | None:
        """A stated value in its normal form; a remark instead where it does not fit."""
        given = self.reading.stated.get(name)
        if given is None:
            return None
        value = given.value
        if check is not None:
            try:
                value = check.validate_python(given.value)
            except ValidationError:
                self.remark("unusable", field, f"The payload's value does not fit the field {field}.", given.value)
                return None
        original = given.value if given.value != value else None
        self.provenance[field] = Origin(how="stated", pointer=given.pointer, original=original)
        return value

    def literal(
        self, field: str, find: Callable[[str], list[Found]], stated: str | None, chosen: str | None
    ) -> str | None:
        """A value recognised in the text: the only one, or the one that the model chose among several."""
        found = [(part, hit) for part in self.reading.texts for hit in find(part.value)]
        values = list(dict.fromkeys(hit.value for _, hit in found))
        if stated is not None:
            others = [value for value in values if value != stated]
            if others and stated not in values:
                self.remark("contradiction", field, "The payload and the text name different values.", stated, *others)
            return stated
        wanted = values[0] if len(values) == 1 else self._among(values, find, chosen)
        if wanted is None:
            if values:
                self.remark("ambiguous", field, "The text names several values, and none is clearly meant.", *values)
            return None
        part, hit = next((part, hit) for part, hit in found if hit.value == wanted)
        self._note("found", field, part, hit)
        return wanted

    def phrase(self, field: str, value: str | None) -> str | None:
        """The model's value, if it stands in the text."""
        for part in self.reading.texts:
            if value and (hit := find_phrase(part.value, value)):
                self._note("extracted", field, part, hit)
                return hit.value
        return None

    def remark(self, kind: RemarkKind, field: str, message: str, *values: str) -> None:
        self.remarks.append(Remark(kind=kind, field=field, message=message, values=values))

    def _note(self, how: Literal["found", "extracted"], field: str, part: Stated, hit: Found) -> None:
        written = part.value[hit.start : hit.end]
        original = written if written != hit.value else None
        self.provenance[field] = Origin(how=how, pointer=part.pointer, start=hit.start, end=hit.end, original=original)

    @staticmethod
    def _among(values: list[str], find: Callable[[str], list[Found]], chosen: str | None) -> str | None:
        picked = [hit.value for hit in find(chosen or "")]
        return picked[0] if len(picked) == 1 and picked[0] in values else None


def build_case(reading: Reading, extraction: dict[str, Any], *, model: str | None, received_at: datetime) -> CaseDraft:
    """`extraction` is the model's answer, its enums checked. `received_at` holds where the payload names no time."""
    builder = _Builder(reading)
    text = "\n\n".join(part.value for part in reading.texts)

    category = CaseCategory(builder.stated("category", "category") or extraction.get("category") or CaseCategory.OTHER)
    builder.provenance.setdefault("category", Origin(how="extracted" if extraction.get("category") else "derived"))
    builder.provenance["priority"] = Origin(how="derived")
    action = extraction.get("requested_action")
    if action:
        builder.provenance["requested_action"] = Origin(how="extracted")

    name = builder.stated("customer_name", "customer.name")
    handle = builder.stated("customer_handle", "customer.name") if name is None else None
    if name is None and handle is None:
        name = builder.phrase("customer.name", extraction.get("customer_name"))
    email = builder.literal(
        "customer.email", find_emails, builder.stated("customer_email", "customer.email", _EMAIL), None
    )
    order_id = builder.literal(
        "order_id", find_order_ids, builder.stated("order_id", "order_id", _ORDER_ID), extraction.get("order_id")
    )
    amount = builder.literal("amount", find_amounts, builder.stated("amount", "amount"), extraction.get("amount"))
    skus = list(dict.fromkeys(hit.value for hit in find_skus(text)))
    if skus:
        builder.provenance["skus"] = Origin(how="found")

    case = SupportCase.model_validate(
        {
            "channel": reading.channel,
            "category": category,
            "priority": _PRIORITIES.get(category, CasePriority.NORMAL),
            "summary": _summary(builder, extraction.get("summary")),
            "requested_action": RequestedAction(action) if action else None,
            "customer": {"name": (name or handle or "")[:200] or None, "email": email},
            "order_id": order_id,
            "skus": skus,
            "amount": _money(amount),
            "language": _language(builder, extraction.get("language")),
            "reference": (builder.stated("reference", "reference") or "")[:500] or None,
            "received_at": _received_at(builder, received_at),
        }
    )
    return CaseDraft(case=case, provenance=builder.provenance, remarks=tuple(builder.remarks), model=model)


def _summary(builder: _Builder, extracted: str | None) -> str:
    """The model's, else what people wrote: the subject, else the beginning of the message."""
    if extracted and extracted.strip():
        builder.provenance["summary"] = Origin(how="extracted")
        return " ".join(extracted.split())[:2000]
    if builder.reading.summary:
        builder.provenance["summary"] = Origin(how="derived")
        return builder.reading.summary[:2000]
    part = builder.reading.texts[0]
    summary = " ".join(part.value.split())
    if len(summary) > _LONGEST_SUMMARY:
        summary = summary[:_LONGEST_SUMMARY].rsplit(" ", 1)[0] + " …"
    builder.provenance["summary"] = Origin(how="stated", pointer=part.pointer)
    return summary


def _money(amount: str | None) -> Money | None:
    if amount is None:
        return None
    number, currency = amount.split()
    return Money.model_validate({"amount": number, "currency": currency})


def _language(builder: _Builder, language: str | None) -> str | None:
    if not language or not _LANGUAGE.fullmatch(language):
        return None
    builder.provenance["language"] = Origin(how="extracted")
    return language


def _received_at(builder: _Builder, accepted_at: datetime) -> datetime:
    given = builder.reading.stated.get("reported_at")
    if given is None:
        builder.provenance["received_at"] = Origin(how="derived")
        return accepted_at
    try:
        time = datetime.fromisoformat(given.value)
        if time.tzinfo is None:
            raise ValueError("no time zone")
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        builder.remark("unusable", "received_at", "Not an ISO 8601 time with a zone.", given.value)
        builder.provenance["received_at"] = Origin(how="derived")
        return accepted_at
    builder.provenance["received_at"] = Origin(how="stated", pointer=given.pointer, original=given.value)
    return time
