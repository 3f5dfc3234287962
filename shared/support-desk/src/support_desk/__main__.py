"""`python -m support_desk`: a look at the order book and the ledger from the shell. Reads only."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence

from agent_runtime.settings import SettingsError, load_settings
from agent_runtime.state_store import StateStoreError

from support_desk.desk import Desk, open_desk
from support_desk.desk_tools import TOOLS_BY_NAME
from support_desk.errors import ToolError
from support_desk.ledger import LedgerEntry
from support_desk.orders import OrderBookError, OrderFlag, OrderStatus
from support_desk.settings import SupportDeskSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 for what was not found, 2 where settings or state are unusable."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options))
    except ToolError as error:
        print(error.message, file=sys.stderr)
        return 1
    except (SettingsError, OrderBookError, StateStoreError) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m support_desk",
        description="Look at the order book of Northpeak Outfitters and at what the agents did.",
        epilog="The order book and the ledger are below AGENTSERVER_STATE_ROOT (default: ~/.agentserver).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    orders = commands.add_parser("orders", help="list orders, one line for each", description="List orders by number.")
    orders.add_argument("--limit", type=_positive, default=20, metavar="N", help="how many lines (default: 20)")
    orders.add_argument("--status", choices=[status.value for status in OrderStatus], help="only this status")
    orders.add_argument("--flag", choices=[flag.value for flag in OrderFlag], help="only orders of this kind")

    order = commands.add_parser(
        "order", help="show one order", description="Show what the tool lookup_order tells a model about one order."
    )
    order.add_argument("order_id", help="such as NP-10042")
    order.add_argument("--json", action="store_true", help="everything, as JSON")

    customer = commands.add_parser(
        "customer", help="list one customer's orders", description="List a customer's orders."
    )
    customer.add_argument("customer", help="number, such as C-1007, or e-mail address")

    ledger = commands.add_parser(
        "ledger", help="list side effects", description="List the side effects that the desk's tools had, oldest first."
    )
    ledger.add_argument("--json", action="store_true", help="one JSON object a line, with arguments and results")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


async def _run(options: argparse.Namespace) -> int:
    desk = open_desk(load_settings(SupportDeskSettings))
    try:
        if options.command == "orders":
            for line in _orders(desk, options.status, options.flag, options.limit):
                print(line)
        elif options.command == "order":
            await _order(desk, options.order_id, as_json=options.json)
        elif options.command == "customer":
            name = "email" if "@" in options.customer else "customer_id"
            output = await TOOLS_BY_NAME["list_customer_orders"].call(
                desk, {name: options.customer}, idempotency_key="command-line"
            )
            print(_sentences(output.model_dump()["summary"]))
        else:
            await _ledger(desk, as_json=options.json)
    finally:
        await desk.close()
    return 0


def _orders(desk: Desk, status: str | None, flag: str | None, limit: int) -> Iterator[str]:
    for order in desk.order_book.orders(
        status=OrderStatus(status) if status else None, flag=OrderFlag(flag) if flag else None, limit=limit
    ):
        flags = ", ".join(order.flags)
        yield (
            f"{order.order_id}  {order.placed_at.date()}  {order.status:<9}  {order.customer_id}"
            f"  {order.total!s:>12}  {flags}".rstrip()
        )


async def _order(desk: Desk, order_id: str, *, as_json: bool) -> None:
    output = await TOOLS_BY_NAME["lookup_order"].call(desk, {"order_id": order_id}, idempotency_key="command-line")
    print(output.model_dump_json(indent=2) if as_json else _sentences(output.model_dump()["summary"]))


async def _ledger(desk: Desk, *, as_json: bool) -> None:
    after: str | None = None
    seen = 0
    while True:
        page = await desk.ledger.entries(limit=200, after=after)
        for entry in page.entries:
            print(entry.model_dump_json() if as_json else _entry(entry))
        seen += len(page.entries)
        after = page.after
        if after is None:
            break
    if not seen and not as_json:
        print("The ledger is empty: no tool with a side effect has run yet.")


def _entry(entry: LedgerEntry) -> str:
    outcome = entry.result["summary"] if entry.result else json.dumps(entry.arguments, ensure_ascii=False)
    return f"{entry.claimed_at:%Y-%m-%d %H:%M:%S}  {entry.state:<7}  {entry.tool:<19}  {outcome}"


def _sentences(text: str) -> str:
    return text.replace(". ", ".\n")


if __name__ == "__main__":
    sys.exit(main())
