from typing import Any

import pytest
from pydantic import ValidationError
from support_desk.cases import SupportCase

CASE: dict[str, Any] = {
    "channel": "contact_form",
    "category": "damaged_item",
    "summary": "The tent pole was broken on arrival.",
    "requested_action": "replacement",
    "customer": {"name": "Lena Brandt", "email": "Lena.Brandt@Example.org"},
    "order_id": "np-10304",
    "amount": {"amount": 49.9, "currency": "EUR"},
    "language": "de",
    "happened_at": "2026-10-30T14:05:00+01:00",
    "received_at": "2026-10-30T15:00:00Z",
}


def test_a_case_has_decimal_money_utc_times_and_tidy_ids() -> None:
    case = SupportCase.model_validate(CASE).model_dump(mode="json")
    assert case["amount"] == {"amount": "49.90", "currency": "EUR"}
    assert case["happened_at"] == "2026-10-30T13:05:00Z"
    assert case["order_id"] == "NP-10304"
    assert case["customer"] == {"name": "Lena Brandt", "email": "lena.brandt@example.org", "customer_id": None}
    assert case["priority"] == "normal"


def test_a_case_reads_back_from_its_own_json() -> None:
    case = SupportCase.model_validate(CASE)
    assert SupportCase.model_validate_json(case.model_dump_json()) == case


@pytest.mark.parametrize(
    "change",
    [
        {"category": "weather"},
        {"channel": "fax"},
        {"requested_action": "everything"},
        {"priority": "extreme"},
        {"order_id": "10304"},
        {"summary": " "},
        {"amount": {"amount": "49.90", "currency": "XXX"}},
        {"amount": {"amount": "49.905", "currency": "EUR"}},
        {"received_at": "2026-10-30T15:00:00"},
        {"customer": {"email": "not an address"}},
        {"language": "German"},
        {"unknown": 1},
    ],
)
def test_a_case_refuses_what_is_outside_its_closed_sets(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SupportCase.model_validate(CASE | change)
