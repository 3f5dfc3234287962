"""The desk: the order book, the store of what was done, and the handbook's search, held together for the tools."""

from typing import TYPE_CHECKING

from agent_runtime.settings import AgentSettings
from agent_runtime.state_store import StateStore, open_state_store

from support_desk.errors import ToolError
from support_desk.ledger import Clock, Ledger, utc_now
from support_desk.orders import Customer, Order, OrderBook
from support_desk.passages import HandbookPassages, number_hits
from support_desk.settings import DEFAULT_HANDBOOK_URL, SupportDeskSettings

if TYPE_CHECKING:
    from agent_runtime.retrieval import Retriever


class Desk:
    """What the desk's tools work on. One for the whole process; safe to use from many requests at once."""

    def __init__(
        self,
        order_book: OrderBook,
        store: StateStore,
        retriever: "Retriever | None" = None,
        *,
        handbook_base_url: str = DEFAULT_HANDBOOK_URL,
        clock: Clock = utc_now,
    ) -> None:
        self.order_book = order_book
        self.store = store
        self.retriever = retriever
        self.handbook_base_url = handbook_base_url
        self.clock = clock
        self.ledger = Ledger(store, clock)

    def order(self, order_id: str) -> Order:
        """Raises ToolError `order_not_found`."""
        order = self.order_book.order(order_id)
        if order is None:
            raise ToolError("order_not_found", f"There is no order {order_id}. Check the number with the customer.")
        return order

    def customer(self, customer_id: str | None = None, email: str | None = None) -> Customer:
        """The customer with this id, this e-mail address, or both.

        Raises:
            ToolError: `customer_not_found`; `customer_mismatch` when id and address belong to two customers;
                `customer_unknown` when neither is given.
        """
        if customer_id is None and email is None:
            raise ToolError("customer_unknown", "Give customer_id or email. Ask the customer for one of them.")
        by_id = self.order_book.customer(customer_id) if customer_id else None
        by_email = self.order_book.customer_by_email(email) if email else None
        if (customer_id and by_id is None) or (email and by_email is None):
            missing = email if email and by_email is None else customer_id
            raise ToolError("customer_not_found", f"There is no customer {missing}. Check it with the customer.")
        if by_id and by_email and by_id != by_email:
            raise ToolError("customer_mismatch", f"{email} is not the address of customer {customer_id}.")
        customer = by_id or by_email
        assert customer is not None  # noqa: S101 - one was given, and what was given was found
        return customer

    async def search_handbook(self, query: str, *, limit: int = 5, first_number: int = 1) -> HandbookPassages:
        """The handbook's best passages for `query`, numbered from `first_number`.

        Raises:
            ToolError: `handbook_unavailable` when this desk was opened without a handbook.
        """
        if self.retriever is None:
            raise ToolError("handbook_unavailable", "The handbook cannot be searched here. Say so; do not guess.")
        hits = await self.retriever.search(query, limit)
        return number_hits(query, hits, self.handbook_base_url, first_number)

    async def close(self) -> None:
        await self.store.close()


def open_desk(settings: AgentSettings, retriever: "Retriever | None" = None) -> Desk:
    """The desk that all agents of one machine (or one project, when hosted) share.

    What was done is kept without expiry: a forgotten refund could be made again. Without a `retriever` the desk
    searches nothing, and `search_handbook` says so.

    Raises:
        OrderBookError: the order book cannot be written below the state root.
    """
    order_book = OrderBook.open(settings.state_root / "support-desk")
    store = open_state_store(settings, "support-desk", expires_after=None)
    base_url = settings.handbook_base_url if isinstance(settings, SupportDeskSettings) else DEFAULT_HANDBOOK_URL
    return Desk(order_book, store, retriever, handbook_base_url=base_url)
