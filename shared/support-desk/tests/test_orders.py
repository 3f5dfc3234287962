import hashlib
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from support_desk.money import Currency, Money, total
from support_desk.order_generator import GENERATOR_VERSION, generate
from support_desk.orders import (
    REFERENCE_DATE,
    Order,
    OrderBook,
    OrderBookError,
    OrderFlag,
    OrderStatus,
    PaymentStatus,
    SalesChannel,
    ShipmentStatus,
)

# The fingerprint of what generator version 1 makes. When it differs, raise GENERATOR_VERSION with the change: files that
# were made before are reused by version.
FINGERPRINT = (1, "ea877ea146ecfb6f")


@pytest.fixture(scope="module")
def orders() -> tuple[Order, ...]:
    return generate()[1]


def test_the_generated_book_is_the_one_that_its_version_stands_for() -> None:
    customers, orders = generate()
    text = json.dumps([record.model_dump(mode="json") for record in (*customers, *orders)], sort_keys=True)
    assert (GENERATOR_VERSION, hashlib.sha256(text.encode()).hexdigest()[:16]) == FINGERPRINT


def test_the_book_is_large_and_mixed(orders: tuple[Order, ...]) -> None:
    customers, _ = generate()
    assert len(orders) >= 300
    assert len(customers) >= 80
    assert {order.currency for order in orders} == set(Currency)
    assert len({customer.country for customer in customers}) >= 7
    assert {order.status for order in orders} == set(OrderStatus)
    assert {flag for order in orders for flag in order.flags} == set(OrderFlag)
    assert len({line.category for order in orders for line in order.lines}) == 10
    statuses = Counter(shipment.status for order in orders for shipment in order.shipments)
    assert set(statuses) == set(ShipmentStatus)


def test_ids_are_unique_and_rise_with_time(orders: tuple[Order, ...]) -> None:
    ids = [order.order_id for order in orders]
    assert ids == sorted(set(ids))
    times = [order.placed_at for order in orders]
    assert times == sorted(times)
    assert times[-1] < datetime(REFERENCE_DATE.year, REFERENCE_DATE.month, REFERENCE_DATE.day, tzinfo=UTC)


def test_every_order_adds_up_and_keeps_to_one_currency(orders: tuple[Order, ...]) -> None:
    for order in orders:
        goods = total((line.price for line in order.lines), order.currency)
        assert order.total.amount == goods.amount + order.shipping_fee.amount - order.discount.amount, order.order_id
        money = [order.total, order.payment.paid, order.discount, *(refund.amount for refund in order.refunds)]
        assert {one.currency for one in money} == {order.currency}
        assert total((refund.amount for refund in order.refunds), order.currency).amount <= order.payment.paid.amount


def test_status_parcels_and_payment_agree(orders: tuple[Order, ...]) -> None:
    reference = datetime(REFERENCE_DATE.year, REFERENCE_DATE.month, REFERENCE_DATE.day, tzinfo=UTC)
    for order in orders:
        unshipped = order.status in (OrderStatus.PLACED, OrderStatus.PACKED, OrderStatus.CANCELLED)
        assert unshipped == (not order.shipments), order.order_id
        assert unshipped == (order.payment.paid.amount == 0), order.order_id
        arrived = order.status in (OrderStatus.DELIVERED, OrderStatus.RETURNED)
        assert arrived == (order.delivered_on is not None), order.order_id
        assert (order.payment.status is PaymentStatus.REFUNDED) == (order.status is OrderStatus.RETURNED)
        assert (order.payment.dispute is not None) == (OrderFlag.CHARGEBACK in order.flags)
        for shipment in order.shipments:
            assert order.placed_at < shipment.shipped_at < reference
            assert shipment.delivered_at is None or shipment.shipped_at < shipment.delivered_at < reference
        events = [shipment.delivered_at or shipment.shipped_at for shipment in order.shipments]
        for refund in order.refunds:
            assert max(events) < refund.refunded_at < reference, order.order_id


def test_difficult_orders_are_what_their_flag_says(orders: tuple[Order, ...]) -> None:
    for order in orders:
        assert any(line.recalled for line in order.lines) == (OrderFlag.RECALLED_ITEM in order.flags)
        assert (order.gift_message is not None) == (OrderFlag.GIFT in order.flags)
        assert (order.channel is SalesChannel.MARKETPLACE) == (OrderFlag.MARKETPLACE in order.flags)
        assert (len(order.shipments) > 1) == (OrderFlag.SPLIT_SHIPMENT in order.flags)
        lost = any(shipment.status is ShipmentStatus.LOST for shipment in order.shipments)
        assert lost == (OrderFlag.LOST_PARCEL in order.flags)


def test_a_second_opening_reuses_the_file(tmp_path: Path) -> None:
    first = OrderBook.open(tmp_path)
    before = first.path.stat()
    second = OrderBook.open(tmp_path)
    assert (second.path.stat().st_ino, second.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [file.name for file in tmp_path.iterdir()] == [f"orders-v{GENERATOR_VERSION}.sqlite"]


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00 and then nothing", b"\x00" * 4096])
def test_a_damaged_file_is_made_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"orders-v{GENERATOR_VERSION}.sqlite"
    path.write_bytes(content)
    assert len(OrderBook.open(tmp_path).orders()) == len(generate()[1])


def test_several_processes_that_start_at_once_get_the_same_book(tmp_path: Path) -> None:
    code = (
        "import sys, hashlib; from pathlib import Path; from support_desk.orders import OrderBook\n"
        "book = OrderBook.open(Path(sys.argv[1]))\n"
        "print(hashlib.sha256(repr(book.orders()).encode()).hexdigest())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    digests = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(digests) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OrderBookError, match="cannot be written below"):
        OrderBook.open(tmp_path / "file" / "support-desk")


def test_what_is_read_back_is_what_was_generated(tmp_path: Path) -> None:
    customers, orders = generate()
    book = OrderBook.open(tmp_path)
    assert book.orders() == orders
    assert book.customers() == customers
    assert book.order("NP-10042") == next(order for order in orders if order.order_id == "NP-10042")
    assert book.order("NP-99999") is None
    assert book.customer_by_email(f"  {customers[3].email.upper()} ") == customers[3]


def test_orders_are_filtered_by_status_and_flag(tmp_path: Path) -> None:
    book = OrderBook.open(tmp_path)
    lost = book.orders(flag=OrderFlag.LOST_PARCEL, status=OrderStatus.SHIPPED)
    assert lost
    assert all(OrderFlag.LOST_PARCEL in order.flags for order in lost)
    assert book.orders(flag=OrderFlag.LOST_PARCEL, status=OrderStatus.DELIVERED) == ()
    assert len(book.orders(limit=7)) == 7


@pytest.mark.parametrize("text", ["1.005", "-1.00", "NaN", "Infinity", "12,50", "1e9", True, None, "", "€5"])
def test_money_refuses_what_is_not_an_amount(text: object) -> None:
    with pytest.raises(ValueError, match="amount"):
        Money.model_validate({"amount": text, "currency": "EUR"})


@pytest.mark.parametrize(("given", "expected"), [("5", "5.00"), (49.9, "49.90"), (0, "0.00"), (Decimal("1.2"), "1.20")])
def test_money_is_written_with_two_digits(given: object, expected: str) -> None:
    assert Money.model_validate({"amount": given, "currency": "EUR"}).model_dump(mode="json")["amount"] == expected
