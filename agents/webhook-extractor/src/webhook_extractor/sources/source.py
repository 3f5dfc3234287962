"""What a source of deliveries is: who signs how, and what its payloads state.

A source answers two questions. `verify`: is this request really from the sender? It sees raw bytes and headers, and
nothing has been parsed before it. `read`: what does the payload state, and which parts are free text? Everything else
(storing, answering, retrying, the model) is the same for all sources and lives elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

RELAYED = "x-client-"
"""The platform forwards `x-client-*` headers and drops every provider's own, so a relay renames them."""


class Refused(Exception):
    """The request is not shown to be from the sender it names. Answered 401; `message` is safe for anyone to read.

    `challenge` is the answer's `WWW-Authenticate`, which RFC 9110 (11.6.1) wants on each 401. Signatures have no
    registered scheme, so theirs only names what is missing.
    """

    def __init__(self, code: str, message: str, *, challenge: str = "Webhook-Signature") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.challenge = challenge


class CannotVerify(Exception):
    """Whether the request is from its sender cannot be told right now. Answered 503, so that the sender tries again."""


class DeliveryHeaders:
    """The headers of a request, each readable as the provider sent it or as `x-client-<name>` behind a relay."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._values: dict[str, str] = {}
        for name, value in headers.items():
            lowered = name.lower()
            if lowered.startswith(RELAYED):
                self._values.setdefault(lowered.removeprefix(RELAYED), value)
            else:
                self._values[lowered] = value

    def get(self, name: str) -> str:
        """The value, or an empty string."""
        return self._values.get(name, "")

    def names(self) -> frozenset[str]:
        return frozenset(self._values)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One verified request. `delivery_id` is the sender's own, the same when the sender tries again.

    `identity` is what must be the same then; by default the body. Some senders count their attempts in it.
    """

    source: str
    delivery_id: str
    event: str
    content_type: str
    body: bytes
    identity: bytes | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """A verified request that is no delivery: the sender asks whether it may deliver. `answer` is what the 200 says."""

    answer: Mapping[str, str]


Verified = Delivery | tuple[Delivery, ...] | Handshake
"""What a request turned out to be. A tuple is a batch, in which each delivery is one of its own."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A value that the payload states, and the JSON pointer (RFC 6901) to where. Plain text has the pointer ``""``.

    `written` is what stands there, for a value that had to be converted: 12900 for 129.00 EUR.
    """

    value: str
    pointer: str
    written: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a payload says. `stated` is mapped by code and never passes the model; `texts` is what people wrote.

    Keys of `stated`: customer_name, customer_email, customer_handle, customer_id, order_id, amount (as 129.00 EUR),
    subject, category, happened_at, reported_at, reference. A reading without texts needs `category` and `summary`, and
    no model is asked.
    """

    channel: str
    stated: Mapping[str, Stated]
    texts: tuple[Stated, ...]
    summary: str = ""
    """Made by the source where its payload is no one's words."""
    summary_of: str | None = None
    """The JSON pointer to the part of the payload that `summary` puts into words."""
    skus: tuple[Stated, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """A verified delivery that asks for nothing here: an event of another type, a ping."""

    reason: str


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """What is the same for every request of a source.

    `headers` are its headers, lower case; one of them on a request makes the request this source's. `secret_variable`
    names the setting to fill when the source is off; empty when it needs none. `media_types` are bodies that only this
    source sends. With `fetches_keys`, `verify` may wait for the network, and is called in a thread.
    """

    name: str
    title: str
    headers: frozenset[str] = field(default_factory=frozenset)
    secret_variable: str = ""
    media_types: frozenset[str] = field(default_factory=frozenset)
    fetches_keys: bool = False


class Source(Protocol):
    @property
    def description(self) -> SourceDescription: ...

    @property
    def enabled(self) -> bool:
        """Whether it has a secret."""
        ...

    def verify(self, headers: DeliveryHeaders, body: bytes, now: float) -> Verified:
        """Raises `Refused`, or `CannotVerify`. `now` is in seconds since the epoch."""
        ...

    def read(self, event: str, content_type: str, body: bytes) -> Reading | Ignored:
        """Raises `BadRequest` for a payload that does not fit the source's documentation."""
        ...


@runtime_checkable
class AsksFirst(Protocol):
    """A source whose sender asks by OPTIONS whether it may deliver, before it does."""

    def permission(self, headers: DeliveryHeaders) -> dict[str, str] | None:
        """The headers that permit it; None when the request is not such a question. Raises `Refused`."""
        ...
