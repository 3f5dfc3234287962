"""Money as the desk writes it: a decimal amount with two digits and an ISO 4217 currency, never a float."""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

CENT = Decimal("0.01")
AMOUNT_PATTERN = r"^\d{1,7}\.\d{2}$"
_LARGEST = Decimal("9999999.99")


class Currency(StrEnum):
    EUR = "EUR"
    USD = "USD"
    GBP = "GBP"
    NOK = "NOK"
    SEK = "SEK"
    CHF = "CHF"
    CAD = "CAD"


def to_cents(amount: Decimal) -> Decimal:
    """Round half up to two digits, as invoices do."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)


def _amount(value: object) -> Decimal:
    # Models send 49.9, "49.9" and "49.90" for the same sum. More digits than the currency has are refused, not rounded:
    # a refund must be the amount that was approved.
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("must be a decimal amount such as 49.90")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(
            "must be a decimal amount such as 49.90, without currency sign or thousands separator"
        ) from None
    if not number.is_finite() or number < 0 or number > _LARGEST:
        raise ValueError("must be between 0.00 and 9999999.99")
    cents = number.quantize(CENT)
    if cents != number:
        raise ValueError("must not have more than two digits after the point")
    # -0 would print as -0.00.
    return cents.copy_abs()


Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": AMOUNT_PATTERN}),
]
"""A decimal from 0.00 to 9999999.99 with two digits; a string in JSON, so that no reader turns it into a float."""


class Money(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Amount
    currency: Currency

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    @classmethod
    def of(cls, amount: Decimal | str | int, currency: Currency) -> "Money":
        return cls.model_validate({"amount": amount, "currency": currency})


def total(amounts: Iterable[Money], currency: Currency) -> Money:
    """The sum of amounts that are all in `currency`."""
    return Money.of(sum((money.amount for money in amounts), Decimal("0.00")), currency)


def as_json(model: BaseModel) -> dict[str, Any]:
    """The model as JSON types: amounts are strings, times end with Z."""
    return model.model_dump(mode="json")
