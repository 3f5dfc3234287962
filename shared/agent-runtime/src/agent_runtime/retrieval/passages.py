"""What retrieval is about: passages of documents, hits of a search, and the one method that every retriever has."""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that can be read, and cited, by itself."""

    id: str
    """`document#anchor:ordinal`; the same for as long as the document keeps its name, its headings and their order."""
    document_id: str
    title: str
    """The document's title."""
    heading_path: tuple[str, ...]
    """The headings above the passage, from the outermost; without the title."""
    text: str
    """Markdown."""
    anchor: str
    """GitHub's anchor of the nearest heading, without `#`; empty above the first heading."""
    address: str = ""
    """The document's own address, where it is not below that of the other documents."""

    def url(self, base: str) -> str:
        """The address of the passage below `base`, the address of the folder of documents."""
        address = self.address or f"{base.rstrip('/')}/{quote(self.document_id)}"
        return f"{address}#{quote(self.anchor)}" if self.anchor else address


@dataclass(frozen=True, slots=True)
class SearchHit:
    passage: Passage
    score: float
    """Higher is better. Comparable within one search only."""


def embedded_text(passage: Passage) -> str:
    """What of a passage is embedded: its title and headings tell what a table or a list is about."""
    return "\n".join([passage.title, *passage.heading_path, passage.text])


class Retriever(Protocol):
    async def search(self, query: str, limit: int = 5) -> list[SearchHit]:
        """The passages that fit `query` best, best first; none where nothing fits. Any text is a valid query."""
        ...


class SearchUnavailable(Exception):
    """The search did not happen, which is not the same as finding nothing; the text says why and what to do."""
