"""Facts that can be recognised in free text by their form: order ids, article numbers, e-mail addresses, sums of money.

They are found by code, each with its place in the text, and a model's word for one counts only when it is among them.
So no model and no trick in a text can bring in an order or a sum that nobody wrote.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

_ORDER_ID = re.compile(r"(?<![\w-])NP-\d{5}(?![\w-])", re.IGNORECASE | re.ASCII)
_SKU = re.compile(r"(?<![\w-])[A-Z]{3}-\d{3}(?![\w-])", re.ASCII)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}", re.ASCII)
_SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "us$": "USD", "ca$": "CAD", "c$": "CAD", "euro": "EUR", "euros": "EUR"}
_CURRENCY = r"EUR|USD|GBP|NOK|SEK|CHF|CAD|euros?|US\$|CA\$|C\$|[€$£]"
_NUMBER = r"\d{1,3}(?:[.,' \u00a0\u202f]\d{3}){1,2}(?:[.,]\d{2})?(?!\d)|\d{1,7}(?:[.,]\d{2})?(?![\d.,]?\d)"
_SPACE = r"[\s\u00a0\u202f]?"  # French and Norwegian put a space there that does not break the line
_MONEY = re.compile(
    rf"(?<![\w.,])(?:(?P<c1>{_CURRENCY}){_SPACE}(?P<n1>{_NUMBER})|(?P<n2>{_NUMBER}){_SPACE}(?P<c2>{_CURRENCY})(?!\w))",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A literal in its normal form, and where it stands: `text[start:end]`."""

    value: str
    start: int
    end: int


def find_order_ids(text: str) -> list[Found]:
    return [Found(match[0].upper(), *match.span()) for match in _ORDER_ID.finditer(text)]


def find_skus(text: str) -> list[Found]:
    return [Found(match[0], *match.span()) for match in _SKU.finditer(text)]


def find_emails(text: str) -> list[Found]:
    return [Found(match[0].lower(), *match.span()) for match in _EMAIL.finditer(text)]


def find_amounts(text: str) -> list[Found]:
    """Sums with a currency, as `129.00 EUR`. A sum without a currency is no sum."""
    found = []
    for match in _MONEY.finditer(text):
        currency = (match["c1"] or match["c2"]).lower()
        number = _decimal(match["n1"] or match["n2"])
        found.append(Found(f"{number:.2f} {_SIGNS.get(currency, currency.upper())}", *match.span()))
    return found


def find_phrase(text: str, phrase: str) -> Found | None:
    """`phrase` as it stands in `text`, whatever the case and the white space."""
    words = phrase.split()
    if not words:
        return None
    match = re.search(r"\s+".join(re.escape(word) for word in words), text, re.IGNORECASE)
    return Found(" ".join(match[0].split()), *match.span()) if match else None


def _decimal(written: str) -> Decimal:
    """`1.299,00`, `1,299.00`, `1 299` and `129` alike: two digits after the last separator are cents."""
    cents = re.fullmatch(r"(.*?)[.,](\d{2})", written)
    whole, fraction = (cents[1], cents[2]) if cents else (written, "00")
    return Decimal(f"{re.sub(r'[^0-9]', '', whole)}.{fraction}")
