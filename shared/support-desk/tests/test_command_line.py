import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from agent_runtime.settings import load_settings
from support_desk.__main__ import main
from support_desk.desk import open_desk
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.settings import SupportDeskSettings


def refund_something() -> None:
    async def work() -> None:
        desk = open_desk(load_settings(SupportDeskSettings))
        refund = {"order_id": "NP-10316", "amount": "298.00", "currency": "EUR", "reason": "lost_parcel"}
        await TOOLS_BY_NAME["issue_refund"].call(desk, refund, idempotency_key="k")
        await desk.close()

    asyncio.run(work())


def test_the_module_runs_and_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "support_desk", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    for command in ("orders", "order", "customer", "ledger"):
        assert command in shown.stdout


def test_orders_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["orders", "--limit", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("NP-10001  2025-")
    assert main(["orders", "--flag", "lost_parcel", "--status", "shipped"]) == 0
    assert all(line.endswith("lost_parcel") for line in capsys.readouterr().out.splitlines())


def test_an_order_is_shown_in_sentences_or_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["order", "NP-10042"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Order NP-10042 was placed on 2025-10-02 and is delivered."
    assert main(["order", "NP-10042", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["order"]["order_id"] == "NP-10042"


def test_a_customer_is_found_by_number_and_address(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("C-1019", "lena.brandt@example.org"):
        assert main(["customer", name]) == 0
        assert capsys.readouterr().out.startswith("Lena Brandt (C-1019) has ")


def test_the_ledger_shows_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger"]) == 0
    assert "The ledger is empty" in capsys.readouterr().out
    refund_something()
    assert main(["ledger"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "done" in line
    assert "298.00 EUR on order NP-10316" in line
    assert main(["ledger", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["arguments"]["amount"] == "298.00"


def test_what_is_not_there_ends_with_one_line_and_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["order", "NP-99999"]) == 1
    assert capsys.readouterr().err == "There is no order NP-99999. Check the number with the customer.\n"


def test_a_state_root_that_cannot_be_used_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AGENTSERVER_STATE_ROOT", str(tmp_path / "file"))
    assert main(["orders"]) == 2
    assert "cannot be written below" in capsys.readouterr().err
