"""Puts a `SupportCase` together from what is stated and what the model read, and notes the origin of every field.

A stated value wins over a text, and a text over the model. Where they disagree the case keeps the stated value and the
difference is reported. A value that does not fit its field is left out and reported too: a typing error in an address
must not cost the customer's message.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError
from support_desk.cases import CaseCategory, CasePriority, RequestedAction, SupportCase
from support_desk.catalogue import Sku
from support_desk.money import Money
from support_desk.orders import CustomerId, Email, OrderId

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
_CUSTOMER_ID: TypeAdapter[str] = TypeAdapter(CustomerId)
_SKU: TypeAdapter[str] = TypeAdapter(Sku)
_AMOUNT: TypeAdapter[str] = TypeAdapter(Annotated[str, AfterValidator(lambda amount: _money(amount) and amount)])
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


RemarkKind = Literal["contradiction", "ambiguous", "unusable"]


class Origin(BaseModel):
    """Where a field's value comes from.

    `how`: stated (in the payload), found (in the text, by its form), extracted (by the model, from the text), derived
    (by a rule, which `rule` names). `pointer` is the JSON pointer into the payload, empty for plain text; `start` and
    `end` are character positions in the string there. What the model chose or put into its own words has the whole
    text that it was chosen from. `original` is the value as written, where that differs.
    """

    how: Literal["stated", "found", "extracted", "derived"]
    pointer: str | None = None
    start: int | None = None
    end: int | None = None
    original: str | None = None
    rule: str | None = None


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
        self.note_stated(field, given, value)
        return value

    def note_stated(self, field: str, given: Stated, value: str) -> None:
        written = given.written or given.value
        self.provenance[field] = Origin(
            how="stated", pointer=given.pointer, original=written if written != value else None
        )

    def derived(self, field: str, rule: str, pointer: str | None = None) -> None:
        self.provenance[field] = Origin(how="derived", pointer=pointer, rule=rule)

    def extracted(self, field: str, value: str | None = None) -> None:
        """The model's: where `value` stands in a text word for word, else the longest text, which it was made from."""
        for part in self.reading.texts:
            if value and (hit := find_phrase(part.value, value)):
                self._note("extracted", field, part, hit)
                return
        part = max(self.reading.texts, key=lambda text: len(text.value))
        self.provenance[field] = Origin(how="extracted", pointer=part.pointer, start=0, end=len(part.value))

    def skus(self) -> list[str]:
        """The stated ones, else those in the text; each has a provenance of its own, as `skus.0`."""
        found = {hit.value: (part, hit) for part in reversed(self.reading.texts) for hit in find_skus(part.value)[::-1]}
        in_text = list(reversed(found))
        stated: dict[str, Stated] = {}
        for given in self.reading.skus:
            try:
                stated.setdefault(_SKU.validate_python(given.value), given)
            except ValidationError:
                self.remark("unusable", "skus", "The payload's value does not fit the field skus.", given.value)
        for place, (sku, given) in enumerate(stated.items()):
            self.note_stated(f"skus.{place}", given, sku)
        if stated:
            others = [sku for sku in in_text if sku not in stated]
            if others:
                self.remark("contradiction", "skus", "The text names other articles.", *stated, *others)
            return list(stated)
        for place, sku in enumerate(in_text):
            self._note("found", f"skus.{place}", *found[sku])
        return in_text

    def literal(
        self,
        field: str,
        find: Callable[[str], list[Found]],
        stated: str | None,
        chosen: str | None,
        *,
        only_chosen: bool = False,
    ) -> str | None:
        """A value recognised in the text: the only one, or the one that the model chose among several.

        With `only_chosen` even the only one must be the model's choice: not every sum in a text is asked for, and not
        every address is the sender's.
        """
        found = [(part, hit) for part in self.reading.texts for hit in find(part.value)]
        values = list(dict.fromkeys(hit.value for _, hit in found))
        if stated is not None:
            others = [value for value in values if value != stated]
            if others and stated not in values:
                self.remark("contradiction", field, "The payload and the text name different values.", stated, *others)
            return stated
        wanted = values[0] if len(values) == 1 and not only_chosen else self._among(values, find, chosen)
        if wanted is None:
            if len(values) > 1:
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

    def report_other_name(self, stated: str | None, read: str | None) -> None:
        """A text that is signed by someone else than the payload names."""
        if not stated or not read or not any(find_phrase(part.value, read) for part in self.reading.texts):
            return
        if not set(stated.casefold().split()) & set(read.casefold().split()):
            self.remark(
                "contradiction", "customer.name", "The payload and the text name different values.", stated, read
            )

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
    builder.derived("channel", "the source of the delivery")
    category = CaseCategory(builder.stated("category", "category") or extraction.get("category") or CaseCategory.OTHER)
    if "category" not in builder.provenance:
        if extraction.get("category"):
            builder.extracted("category")
        else:
            builder.derived("category", "nothing tells the category")
    builder.derived("priority", "the category")
    action = extraction.get("requested_action")
    if action:
        builder.extracted("requested_action")

    name = builder.stated("customer_name", "customer.name")
    builder.report_other_name(name, extraction.get("customer_name"))
    handle = builder.stated("customer_handle", "customer.name") if name is None else None
    if name is None and handle is None:
        name = builder.phrase("customer.name", extraction.get("customer_name"))
    email = builder.literal(
        "customer.email",
        find_emails,
        builder.stated("customer_email", "customer.email", _EMAIL),
        extraction.get("customer_email"),
        only_chosen=True,
    )
    order_id = builder.literal(
        "order_id", find_order_ids, builder.stated("order_id", "order_id", _ORDER_ID), extraction.get("order_id")
    )
    amount = builder.literal(
        "amount",
        find_amounts,
        builder.stated("amount", "amount", _AMOUNT),
        extraction.get("amount"),
        only_chosen=True,
    )
    customer_id = builder.stated("customer_id", "customer.customer_id", _CUSTOMER_ID)
    case = SupportCase.model_validate(
        {
            "channel": reading.channel,
            "category": category,
            "priority": _PRIORITIES.get(category, CasePriority.NORMAL),
            "summary": _summary(builder, extraction.get("summary")),
            "requested_action": RequestedAction(action) if action else None,
            "customer": {"name": (name or handle or "")[:200] or None, "email": email, "customer_id": customer_id},
            "order_id": order_id,
            "skus": builder.skus(),
            "amount": _money(amount),
            "language": _language(builder, extraction.get("language")),
            "reference": (builder.stated("reference", "reference") or "")[:500] or None,
            "happened_at": _stated_time(builder, "happened_at", "happened_at"),
            "received_at": _received_at(builder, received_at),
        }
    )
    return CaseDraft(case=case, provenance=builder.provenance, remarks=tuple(builder.remarks), model=model)


def _summary(builder: _Builder, extracted: str | None) -> str:
    """The model's, else what people wrote: the subject, else the beginning of the message."""
    if extracted and extracted.strip():
        summary = " ".join(extracted.split())[:2000]
        builder.extracted("summary", summary)
        return summary
    if builder.reading.summary:
        builder.derived("summary", "the event in words", builder.reading.summary_of)
        return builder.reading.summary[:2000]
    part = builder.reading.texts[0]
    summary = " ".join(part.value.split())
    if len(summary) > _LONGEST_SUMMARY:
        summary = summary[:_LONGEST_SUMMARY].rsplit(" ", 1)[0] + " …"
    builder.provenance["summary"] = Origin(
        how="derived", pointer=part.pointer, start=0, end=len(part.value), rule="the beginning of the text"
    )
    return summary


def _money(amount: str | None) -> Money | None:
    if amount is None:
        return None
    number, currency = amount.split()
    return Money.model_validate({"amount": number, "currency": currency})


def _language(builder: _Builder, language: str | None) -> str | None:
    if not language or not _LANGUAGE.fullmatch(language):
        return None
    builder.extracted("language")
    return language


def _received_at(builder: _Builder, accepted_at: datetime) -> datetime:
    """As the sender says; without it, when the delivery was accepted."""
    time = _stated_time(builder, "reported_at", "received_at")
    if time is None:
        builder.derived("received_at", "the time of acceptance")
    return time or accepted_at


def _stated_time(builder: _Builder, name: str, field: str) -> datetime | None:
    """In UTC, with the original kept."""
    given = builder.reading.stated.get(name)
    if given is None:
        return None
    try:
        time = datetime.fromisoformat(given.value)
        if time.tzinfo is None:
            raise ValueError("no time zone")
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        builder.remark("unusable", field, "Not an ISO 8601 time with a zone.", given.value)
        return None
    written = given.written or given.value
    builder.provenance[field] = Origin(how="stated", pointer=given.pointer, original=written)
    return time
