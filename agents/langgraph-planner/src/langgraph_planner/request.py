"""What a request names: orders, customers, cases. Read by their numbers alone, so nothing is guessed."""

import re
from typing import Any

from support_desk.desk import Desk
from support_desk.desk_tools import ToolError

_ORDER = re.compile(r"\bNP-\d{5}\b", re.IGNORECASE)
_CUSTOMER = re.compile(r"\bC-\d{4}\b", re.IGNORECASE)
_CASE = re.compile(r"\bCASE-[0-9A-F]{10}\b", re.IGNORECASE)


def read_request(desk: Desk, text: str) -> tuple[dict[str, Any], str]:
    """The facts that a request states, and why it cannot be planned for, or "".

    A number is a fact when it is the only one of its kind. A request is unclear when it is empty, or when none of the
    orders that it names exists.
    """
    if not text.strip():
        return {}, "The request has no text, so nothing was done. Say what happened, and which order it is about."
    facts: dict[str, Any] = {}
    orders = _named(_ORDER, text)
    known = [order for order in orders if _exists(desk, order)]
    if orders and not known:
        return (
            {},
            f"There is no order {' and no order '.join(orders)}, so nothing was done. Check the number and ask again.",
        )
    for name, numbers in (
        ("order_id", orders),
        ("customer_id", _named(_CUSTOMER, text)),
        ("case_id", _named(_CASE, text)),
    ):
        if len(numbers) == 1:
            facts[name] = numbers[0]
    return facts, ""


def _named(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(found.upper() for found in pattern.findall(text)))


def _exists(desk: Desk, order_id: str) -> bool:
    try:
        desk.order(order_id)
    except ToolError:
        return False
    return True
