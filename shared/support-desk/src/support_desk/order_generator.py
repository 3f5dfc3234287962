"""Makes the order book: the same customers and orders in every place and on every Python, from one seed.

Only `Random.random()` is used, the one method whose sequence Python promises to keep. Every hundred orders bring a few
of each difficult kind. Nothing here depends on the clock.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TypeVar

from support_desk.catalogue import PRODUCTS, Product
from support_desk.money import Currency, Money, to_cents, total
from support_desk.orders import (
    REFERENCE_DATE,
    Customer,
    Dispute,
    LoyaltyTier,
    Order,
    OrderFlag,
    OrderLine,
    OrderStatus,
    Payment,
    PaymentMethod,
    PaymentStatus,
    Refund,
    SalesChannel,
    Shipment,
    ShipmentStatus,
)

GENERATOR_VERSION = 1
"""Raise it with every change to what is generated: existing files are then left aside and made again."""

SEED = 20261101
CUSTOMERS = 96
ORDERS = 360
FIRST_ORDER = 10001
FIRST_CUSTOMER = 1001

_NOW = datetime(REFERENCE_DATE.year, REFERENCE_DATE.month, REFERENCE_DATE.day, tzinfo=UTC)
_HISTORY = timedelta(days=480)
_RECALLED = next(product for product in PRODUCTS if product.recall)
_SOUND = tuple(product for product in PRODUCTS if not product.recall)
_MARKETPLACES = ("TrekHub", "OutdoorBay")


@dataclass(frozen=True)
class _Country:
    code: str
    language: str
    currency: Currency
    carriers: tuple[tuple[str, str], ...]
    """Name and the first letters of its tracking numbers."""
    transit_days: tuple[int, int]
    shipping_eur: str
    people: tuple[tuple[str, ...], tuple[str, ...]]
    """First and last names."""


_COUNTRIES = (
    _Country(
        "DE", "de", Currency.EUR, (("DHL", "JD01"), ("DPD", "0150")), (2, 4), "4.90",
        (("Lena", "Jonas", "Mara", "Felix", "Greta"), ("Brandt", "Vogel", "Seidel", "Krüger", "Ahrens", "Lindner")),
    ),
    _Country(
        "FR", "fr", Currency.EUR, (("Colissimo", "6A"), ("DPD", "0152")), (3, 5), "6.90",
        (("Camille", "Hugo", "Manon", "Louis", "Inès"), ("Moreau", "Lefèvre", "Girard", "Chevalier", "Roussel")),
    ),
    _Country(
        "NL", "nl", Currency.EUR, (("PostNL", "3S"), ("DHL", "JD02")), (2, 4), "4.90",
        (("Sanne", "Daan", "Fleur", "Thijs"), ("de Vries", "Bakker", "Visser", "Smit")),
    ),
    _Country(
        "NO", "nb", Currency.NOK, (("Posten Bring", "7072"), ("PostNord", "0037")), (2, 5), "7.50",
        (("Ingrid", "Sindre", "Astrid", "Håkon", "Silje"), ("Haugen", "Solberg", "Lie", "Bakken", "Nygård", "Moen")),
    ),
    _Country(
        "SE", "sv", Currency.SEK, (("PostNord", "0073"), ("DHL", "JD03")), (2, 5), "6.50",
        (("Elsa", "Oskar", "Saga", "Axel", "Linnea"), ("Lindqvist", "Åkesson", "Holm", "Ekström", "Sandberg")),
    ),
    _Country(
        "GB", "en", Currency.GBP, (("Royal Mail", "RM"), ("DPD UK", "1550")), (3, 6), "7.90",
        (("Amelia", "Oliver", "Freya", "Isla", "Callum"), ("Whitfield", "Fraser", "Ashworth", "Doyle", "Pryce")),
    ),
    _Country(
        "CH", "de", Currency.CHF, (("Swiss Post", "9960"),), (3, 6), "9.90",
        (("Nina", "Luca", "Seraina", "Reto"), ("Zbinden", "Keller", "Frei", "Caduff")),
    ),
    _Country(
        "US", "en", Currency.USD, (("UPS", "1Z"), ("FedEx", "7712")), (4, 9), "14.90",
        (("Harper", "Mason", "Zoe", "Caleb", "Naomi"), ("Whitaker", "Ortega", "Bennett", "Kim", "Delgado", "Parks")),
    ),
    _Country(
        "CA", "en", Currency.CAD, (("Canada Post", "4004"), ("UPS", "1Z")), (4, 9), "14.90",
        (("Chloe", "Liam", "Maëlle", "Nathan"), ("Tremblay", "MacLeod", "Gagnon", "Singh")),
    ),
)  # fmt: skip

_GIFT_MESSAGES = (
    "Happy birthday, see you on the ridge!",
    "For your first winter tour. Love, Mum",
    "Congratulations on the new job, now go outside.",
    "Thank you for looking after the dog.",
)

# By the last two digits of the order's number: what happened to it after it arrived, or how it was bought.
_KINDS: Mapping[int, OrderFlag] = {
    4: OrderFlag.GIFT,
    9: OrderFlag.MARKETPLACE,
    13: OrderFlag.RECALLED_ITEM,
    17: OrderFlag.PARTIAL_REFUND,
    21: OrderFlag.SPLIT_SHIPMENT,
    26: OrderFlag.DAMAGED_ON_ARRIVAL,
    31: OrderFlag.CHARGEBACK,
    44: OrderFlag.GIFT,
    53: OrderFlag.MARKETPLACE,
    58: OrderFlag.RECALLED_ITEM,
    63: OrderFlag.PARTIAL_REFUND,
    69: OrderFlag.SPLIT_SHIPMENT,
    74: OrderFlag.DAMAGED_ON_ARRIVAL,
    79: OrderFlag.GIFT,
    88: OrderFlag.MARKETPLACE,
    92: OrderFlag.RECALLED_ITEM,
    97: OrderFlag.PARTIAL_REFUND,
}
# A parcel that is lost or late is still out on the reference date, so these are orders of its last weeks.
_LOST = frozenset({10285, 10292, 10298, 10305, 10310, 10316})
_DELAYED = frozenset({10323, 10329, 10334, 10338})
_HALF_OUT = 10321
"""From here on, the second parcel of a split shipment has not arrived yet."""
_SETTLED = 10325
"""Before this number an order has had time to arrive, whatever its destination."""


_Option = TypeVar("_Option")


class _Dice:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - a reproducible order book, no secret

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, options: Sequence[_Option]) -> _Option:
        return options[int(self._random.random() * len(options))]

    def digits(self, count: int) -> str:
        return "".join(str(self.between(0, 9)) for _ in range(count))


def generate() -> tuple[tuple[Customer, ...], tuple[Order, ...]]:
    """All customers and all orders, by id. Order numbers rise with time, faster towards the end: the shop grew."""
    dice = _Dice(SEED)
    customers = tuple(_customers(dice))
    countries = {country.code: country for country in _COUNTRIES}
    orders = []
    for position in range(ORDERS):
        customer = dice.pick(customers)
        left = 1 - (position + 0.9 * dice.between(0, 100) / 100) / ORDERS
        minutes = int(_HISTORY / timedelta(minutes=1) * left**1.6)
        placed_at = _NOW - timedelta(minutes=max(minutes, 20))
        orders.append(_order(dice, FIRST_ORDER + position, placed_at, customer, countries[customer.country]))
    return customers, tuple(orders)


def _customers(dice: _Dice) -> Iterator[Customer]:
    taken: set[str] = set()
    tiers = [LoyaltyTier.NONE] * 4 + [LoyaltyTier.TRAIL] * 3 + [LoyaltyTier.RIDGE] * 2 + [LoyaltyTier.SUMMIT]
    for number in range(CUSTOMERS):
        country = _COUNTRIES[number % len(_COUNTRIES)]
        first, last = dice.pick(country.people[0]), dice.pick(country.people[1])
        address = _ascii(f"{first}.{last}".replace(" ", "").lower())
        if address in taken:
            address = f"{address}{number}"
        taken.add(address)
        yield Customer(
            customer_id=f"C-{FIRST_CUSTOMER + number}",
            name=f"{first} {last}",
            email=f"{address}@example.{dice.pick(('com', 'org', 'net'))}",
            country=country.code,
            language="fr" if country.code == "CA" and dice.chance(0.3) else country.language,
            currency=country.currency,
            loyalty_tier=dice.pick(tiers),
            customer_since=(_NOW - _HISTORY - timedelta(days=dice.between(1, 1500))).date(),
        )


def _ascii(name: str) -> str:
    plain = name.replace("ø", "o").replace("æ", "ae").replace("å", "a")
    return unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()


def _kind(number: int) -> OrderFlag | None:
    if number in _LOST:
        return OrderFlag.LOST_PARCEL
    if number in _DELAYED:
        return OrderFlag.DELAYED_PARCEL
    kind = _KINDS.get(number % 100)
    timeless = (OrderFlag.GIFT, OrderFlag.MARKETPLACE, OrderFlag.SPLIT_SHIPMENT)
    return kind if kind in timeless or number < _SETTLED else None


def _order(dice: _Dice, number: int, placed_at: datetime, customer: Customer, country: _Country) -> Order:
    kind = _kind(number)
    lines = _lines(dice, kind, customer.currency)
    goods = total((line.price for line in lines), customer.currency)
    shipping_fee = _shipping_fee(goods, country)
    discount = Money.of(to_cents(goods.amount / 10) if dice.chance(0.12) else 0, customer.currency)
    sum_total = Money.of(goods.amount + shipping_fee.amount - discount.amount, customer.currency)
    marketplace = dice.pick(_MARKETPLACES) if kind is OrderFlag.MARKETPLACE else None

    shipments = _shipments(dice, number, kind, placed_at, lines, country)
    status = _status(dice, kind, placed_at, shipments)
    if status in (OrderStatus.PLACED, OrderStatus.PACKED, OrderStatus.CANCELLED):
        shipments = ()
    payment, refunds = _payment(dice, number, kind, status, placed_at, shipments, lines, sum_total)
    gift = kind is OrderFlag.GIFT
    return Order(
        order_id=f"NP-{number}",
        customer_id=customer.customer_id,
        placed_at=placed_at,
        status=status,
        channel=SalesChannel.MARKETPLACE
        if marketplace
        else dice.pick((SalesChannel.WEB, SalesChannel.WEB, SalesChannel.WEB, SalesChannel.APP, SalesChannel.STORE)),
        marketplace=marketplace,
        lines=lines,
        shipping_fee=shipping_fee,
        discount=discount,
        total=sum_total,
        payment=payment,
        ship_to_name=f"{dice.pick(country.people[0])} {dice.pick(country.people[1])}" if gift else customer.name,
        ship_to_country=country.code,
        gift_message=dice.pick(_GIFT_MESSAGES) if gift else None,
        shipments=shipments,
        refunds=refunds,
        flags=(kind,) if kind else (),
    )


def _lines(dice: _Dice, kind: OrderFlag | None, currency: Currency) -> tuple[OrderLine, ...]:
    count = dice.pick((1, 1, 2, 2, 3, 4))
    if kind is OrderFlag.SPLIT_SHIPMENT:
        count = max(count, 2)
    chosen: dict[str, Product] = {}
    if kind is OrderFlag.RECALLED_ITEM:
        chosen[_RECALLED.sku] = _RECALLED
    while len(chosen) < count:
        product = dice.pick(_SOUND)
        chosen[product.sku] = product
    return tuple(
        OrderLine(
            sku=product.sku,
            name=product.name,
            category=product.category,
            quantity=dice.pick((1, 1, 1, 1, 2)) if product.price_eur > 40 else dice.between(1, 3),
            unit_price=product.price_in(currency),
            recalled=product.recall is not None,
        )
        for product in chosen.values()
    )


def _shipping_fee(goods: Money, country: _Country) -> Money:
    # Free above a hundred euros of goods, measured on the same price list.
    list_price = Product(sku="AAA-000", name="", category=PRODUCTS[0].category, price_eur=Decimal(country.shipping_eur))
    threshold = list_price.model_copy(update={"price_eur": Decimal(100)}).price_in(goods.currency)
    if goods.amount >= threshold.amount:
        return Money.of(0, goods.currency)
    return list_price.price_in(goods.currency)


def _shipments(  # noqa: PLR0917 - private, and called once
    dice: _Dice,
    number: int,
    kind: OrderFlag | None,
    placed_at: datetime,
    lines: tuple[OrderLine, ...],
    country: _Country,
) -> tuple[Shipment, ...]:
    """The parcels as they are meant to go; `_status` drops those that had not left by the reference date."""
    skus = tuple(line.sku for line in lines)
    parts = [skus[:1], skus[1:]] if kind is OrderFlag.SPLIT_SHIPMENT else [skus]
    shipments = []
    for index, part in enumerate(parts):
        carrier, prefix = dice.pick(country.carriers)
        shipped_at = placed_at + timedelta(hours=dice.between(20, 44) + 36 * index, minutes=dice.between(0, 59))
        days = dice.between(*country.transit_days)
        arrives = (shipped_at + timedelta(days=days)).replace(hour=dice.between(8, 18), minute=dice.between(0, 59))
        expected = (shipped_at + timedelta(days=country.transit_days[1])).date()
        out = arrives > _NOW or (index > 0 and number >= _HALF_OUT)
        status = ShipmentStatus.IN_TRANSIT if out else ShipmentStatus.DELIVERED
        if kind is OrderFlag.LOST_PARCEL:
            status = ShipmentStatus.LOST
        elif kind is OrderFlag.DELAYED_PARCEL:
            status, expected = ShipmentStatus.DELAYED, min(expected, (_NOW - timedelta(days=2)).date())
        shipments.append(
            Shipment(
                carrier=carrier,
                tracking_number=prefix + dice.digits(10),
                status=status,
                skus=part,
                shipped_at=shipped_at,
                expected_by=expected,
                delivered_at=arrives if status is ShipmentStatus.DELIVERED else None,
            )
        )
    return tuple(shipments)


def _status(dice: _Dice, kind: OrderFlag | None, placed_at: datetime, shipments: tuple[Shipment, ...]) -> OrderStatus:
    age = _NOW - placed_at
    plain = kind is None
    if plain and dice.chance(0.06):
        return OrderStatus.CANCELLED
    if any(shipment.shipped_at > _NOW for shipment in shipments):
        return OrderStatus.PLACED if age < timedelta(hours=14) else OrderStatus.PACKED
    if any(shipment.delivered_at is None for shipment in shipments):
        return OrderStatus.SHIPPED
    if plain and age > timedelta(days=30) and dice.chance(0.09):
        return OrderStatus.RETURNED
    return OrderStatus.DELIVERED


def _payment(  # noqa: PLR0917 - private, and called once
    dice: _Dice,
    number: int,
    kind: OrderFlag | None,
    status: OrderStatus,
    placed_at: datetime,
    shipments: tuple[Shipment, ...],
    lines: tuple[OrderLine, ...],
    owed: Money,
) -> tuple[Payment, tuple[Refund, ...]]:
    method = dice.pick((PaymentMethod.CARD, PaymentMethod.CARD, PaymentMethod.CARD, PaymentMethod.PAYPAL))
    if kind is OrderFlag.MARKETPLACE:
        method = PaymentMethod.MARKETPLACE
    elif kind is not OrderFlag.CHARGEBACK and dice.chance(0.2):
        method = dice.pick((PaymentMethod.INVOICE, PaymentMethod.BANK_TRANSFER, PaymentMethod.GIFT_CARD))
    elif kind is OrderFlag.CHARGEBACK:
        method = PaymentMethod.CARD

    nothing = Money.of(0, owed.currency)
    if status is OrderStatus.CANCELLED:
        return Payment(method=method, status=PaymentStatus.VOIDED, paid=nothing), ()
    if not shipments:
        return Payment(method=method, status=PaymentStatus.AUTHORIZED, paid=nothing), ()

    captured_at = shipments[0].shipped_at
    last_event = max(shipment.delivered_at or shipment.shipped_at for shipment in shipments)
    refunds: tuple[Refund, ...] = ()
    payment_status = PaymentStatus.CAPTURED
    dispute = None
    later = min(last_event + timedelta(days=dice.between(3, 14), hours=dice.between(1, 9)), _NOW - timedelta(hours=3))
    if status is OrderStatus.RETURNED:
        payment_status = PaymentStatus.REFUNDED
        refunds = (_refund(number, owed, "Order returned in full", later),)
    elif kind is OrderFlag.PARTIAL_REFUND:
        payment_status = PaymentStatus.PARTIALLY_REFUNDED
        part = Money.of(to_cents(lines[0].unit_price.amount * Decimal("0.25")), owed.currency)
        refunds = (_refund(number, part, f"Price adjustment for {lines[0].name}", later),)
    elif kind is OrderFlag.CHARGEBACK:
        payment_status = PaymentStatus.CHARGED_BACK
        dispute = Dispute(
            reference=f"DP-{number}",
            amount=owed,
            opened_at=later,
            reason=dice.pick(("Product not received", "Transaction not recognised", "Product not as described")),
        )
    return (
        Payment(method=method, status=payment_status, paid=owed, captured_at=captured_at, dispute=dispute),
        refunds,
    )


def _refund(number: int, amount: Money, reason: str, refunded_at: datetime) -> Refund:
    return Refund(refund_id=f"RF-{number}", amount=amount, reason=reason, refunded_at=refunded_at)
