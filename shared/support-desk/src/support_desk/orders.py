"""Orders and customers, and the book that holds them: a read-only SQLite file, generated from a seed on first use.

What the desk does to an order (refunds, return labels) is not written here: the desk's store keeps that. So the file
can be made again at any time, by any process, and is the same every time (`order_generator`).
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from support_desk.catalogue import Category, Sku
from support_desk.money import Currency, Money

REFERENCE_DATE = date(2026, 11, 1)
"""The day on which the order book was closed. Days since delivery count from here, so that answers never change."""

ORDER_ID_PATTERN = r"^NP-\d{5}$"
CUSTOMER_ID_PATTERN = r"^C-\d{4}$"
EMAIL_PATTERN = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"


def _tidy(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _tidy_email(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


OrderId = Annotated[str, StringConstraints(pattern=ORDER_ID_PATTERN), BeforeValidator(_tidy)]
"""`NP-` and five digits, such as NP-10042. Lower case and spaces around are forgiven."""
CustomerId = Annotated[str, StringConstraints(pattern=CUSTOMER_ID_PATTERN), BeforeValidator(_tidy)]
"""`C-` and four digits, such as C-1007."""
Email = Annotated[str, StringConstraints(pattern=EMAIL_PATTERN, max_length=254), BeforeValidator(_tidy_email)]
UtcTime = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]


class OrderStatus(StrEnum):
    PLACED = "placed"
    PACKED = "packed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    RETURNED = "returned"
    CANCELLED = "cancelled"


class ShipmentStatus(StrEnum):
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"
    DELAYED = "delayed"
    LOST = "lost"


class PaymentStatus(StrEnum):
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    CHARGED_BACK = "charged_back"
    VOIDED = "voided"


class PaymentMethod(StrEnum):
    CARD = "card"
    PAYPAL = "paypal"
    INVOICE = "invoice"
    BANK_TRANSFER = "bank_transfer"
    GIFT_CARD = "gift_card"
    MARKETPLACE = "marketplace"


class SalesChannel(StrEnum):
    WEB = "web"
    APP = "app"
    STORE = "store"
    MARKETPLACE = "marketplace"


class LoyaltyTier(StrEnum):
    NONE = "none"
    TRAIL = "trail"
    RIDGE = "ridge"
    SUMMIT = "summit"


class OrderFlag(StrEnum):
    """What makes an order unlike the plain case. Several may hold."""

    GIFT = "gift"
    MARKETPLACE = "marketplace"
    RECALLED_ITEM = "recalled_item"
    CHARGEBACK = "chargeback"
    LOST_PARCEL = "lost_parcel"
    DELAYED_PARCEL = "delayed_parcel"
    SPLIT_SHIPMENT = "split_shipment"
    DAMAGED_ON_ARRIVAL = "damaged_on_arrival"
    PARTIAL_REFUND = "partial_refund"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Customer(_Record):
    customer_id: CustomerId
    name: str
    email: Email
    country: str
    """ISO 3166-1 alpha-2."""
    language: str
    """BCP 47, such as de or nb."""
    currency: Currency
    loyalty_tier: LoyaltyTier
    customer_since: date


class OrderLine(_Record):
    sku: Sku
    name: str
    category: Category
    quantity: int
    unit_price: Money
    recalled: bool = False

    @property
    def price(self) -> Money:
        return Money.of(self.unit_price.amount * self.quantity, self.unit_price.currency)


class Shipment(_Record):
    carrier: str
    tracking_number: str
    status: ShipmentStatus
    skus: tuple[Sku, ...]
    shipped_at: UtcTime
    expected_by: date
    delivered_at: UtcTime | None = None


class Refund(_Record):
    """Money given back. The order book holds those from before the reference date, the desk's store its own."""

    refund_id: str
    amount: Money
    reason: str
    refunded_at: UtcTime


class Dispute(_Record):
    """A chargeback: the customer's bank took the money back and decides who keeps it."""

    reference: str
    amount: Money
    opened_at: UtcTime
    reason: str


class Payment(_Record):
    method: PaymentMethod
    status: PaymentStatus
    paid: Money
    """What was captured; zero until the order ships and after a cancellation before that."""
    captured_at: UtcTime | None = None
    dispute: Dispute | None = None


class Order(_Record):
    order_id: OrderId
    customer_id: CustomerId
    placed_at: UtcTime
    status: OrderStatus
    channel: SalesChannel
    marketplace: str | None = None
    lines: tuple[OrderLine, ...]
    shipping_fee: Money
    discount: Money
    total: Money
    payment: Payment
    ship_to_name: str
    ship_to_country: str
    gift_message: str | None = None
    shipments: tuple[Shipment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    flags: tuple[OrderFlag, ...] = ()

    @property
    def currency(self) -> Currency:
        return self.total.currency

    @property
    def delivered_on(self) -> date | None:
        """The day the last parcel arrived; None while one is still out."""
        times = [shipment.delivered_at for shipment in self.shipments]
        if not times or any(time is None for time in times):
            return None
        return max(time for time in times if time is not None).date()


class OrderBookError(Exception):
    """The order book cannot be made or read where the settings put it. The text names the path and the cause."""


_TABLES = """
CREATE TABLE customers (customer_id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, placed_at TEXT NOT NULL,
    status TEXT NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX orders_of_customer ON orders (customer_id, placed_at);
CREATE TABLE order_flags (
    flag TEXT NOT NULL, order_id TEXT NOT NULL REFERENCES orders, PRIMARY KEY (flag, order_id)
) WITHOUT ROWID;
"""


class OrderBook:
    """The shop's orders, read-only. Every call opens the file for itself, so one book serves all threads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, folder: Path) -> "OrderBook":
        """The book in `folder`, generated first where it is not there yet.

        The generator's version is part of the file's name, and the file appears by a rename: processes that start at
        once, even of two versions, never see half a book or each other's.

        Raises:
            OrderBookError: the folder cannot be written.
        """
        from support_desk.order_generator import GENERATOR_VERSION, generate  # noqa: PLC0415 - only a first start needs it

        path = folder / f"orders-v{GENERATOR_VERSION}.sqlite"
        book = cls(path)
        if not book._complete():
            customers, orders = generate()
            _write(path, customers, orders)
        return book

    def order(self, order_id: str) -> Order | None:
        rows = self._rows("SELECT record FROM orders WHERE order_id = ?", order_id)
        return Order.model_validate_json(rows[0]) if rows else None

    def customer(self, customer_id: str) -> Customer | None:
        rows = self._rows("SELECT record FROM customers WHERE customer_id = ?", customer_id)
        return Customer.model_validate_json(rows[0]) if rows else None

    def customer_by_email(self, email: str) -> Customer | None:
        rows = self._rows("SELECT record FROM customers WHERE email = ?", email.strip().lower())
        return Customer.model_validate_json(rows[0]) if rows else None

    def orders_of(self, customer_id: str) -> tuple[Order, ...]:
        """All orders of one customer, newest first."""
        rows = self._rows(
            "SELECT record FROM orders WHERE customer_id = ? ORDER BY placed_at DESC, order_id DESC", customer_id
        )
        return tuple(Order.model_validate_json(row) for row in rows)

    def orders(
        self, *, status: OrderStatus | None = None, flag: OrderFlag | None = None, limit: int = 1000
    ) -> tuple[Order, ...]:
        """Orders by id, filtered by status, by flag, or both."""
        rows = self._rows(
            "SELECT record FROM orders WHERE (?1 IS NULL OR status = ?1)"
            " AND (?2 IS NULL OR order_id IN (SELECT order_id FROM order_flags WHERE flag = ?2))"
            " ORDER BY order_id LIMIT ?3",
            status,
            flag,
            limit,
        )
        return tuple(Order.model_validate_json(row) for row in rows)

    def customers(self) -> tuple[Customer, ...]:
        rows = self._rows("SELECT record FROM customers ORDER BY customer_id")
        return tuple(Customer.model_validate_json(row) for row in rows)

    def _rows(self, query: str, *values: object) -> list[str]:
        with _read_only(self.path) as connection:
            return [row[0] for row in connection.execute(query, values)]

    def _complete(self) -> bool:
        """Whether the file is there and holds orders. Someone else's or a damaged file is made again."""
        if not self.path.exists():
            return False
        try:
            return bool(self._rows("SELECT record FROM orders LIMIT 1"))
        except (OrderBookError, sqlite3.DatabaseError):
            return False


@contextmanager
def _read_only(path: Path) -> Iterator[sqlite3.Connection]:
    # immutable: the file is replaced as a whole and never written, so no locks are needed.
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    except sqlite3.OperationalError as error:
        raise OrderBookError(f"The order book at {path} cannot be opened: {error}.") from error
    with closing(connection):
        yield connection


def _write(path: Path, customers: Iterable[Customer], orders: Iterable[Order]) -> None:
    """Write to a file of this process's own, then rename: whoever is last wins, and all wrote the same."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OrderBookError(f"The order book cannot be written below {path.parent}: {error.strerror}.") from error
    unfinished = Path(name)
    try:
        with closing(sqlite3.connect(unfinished)) as connection, connection:
            connection.executescript(_TABLES)
            connection.executemany(
                "INSERT INTO customers VALUES (?, ?, ?)",
                [(customer.customer_id, customer.email, customer.model_dump_json()) for customer in customers],
            )
            everything = list(orders)
            connection.executemany(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?)",
                [
                    (
                        order.order_id,
                        order.customer_id,
                        order.placed_at.isoformat(),
                        order.status,
                        order.model_dump_json(),
                    )
                    for order in everything
                ],
            )
            connection.executemany(
                "INSERT INTO order_flags VALUES (?, ?)",
                [(flag, order.order_id) for order in everything for flag in order.flags],
            )
        unfinished.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise OrderBookError(f"The order book at {path} cannot be written: {error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)
