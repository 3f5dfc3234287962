"""What a search of the handbook gives a model: numbered passages with the address of each, ready to be cited as [1]."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from agent_runtime.retrieval import SearchHit


class HandbookPassage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    """What the model cites, in square brackets."""
    title: str
    heading: str
    """The headings above the passage, from the outermost, joined by ` > `."""
    text: str
    url: str


class HandbookPassages(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    passages: tuple[HandbookPassage, ...]

    def numbered_from(self, first_number: int) -> "HandbookPassages":
        """The same passages with numbers from `first_number`, for a turn's second search."""
        return self.model_copy(
            update={
                "passages": tuple(
                    passage.model_copy(update={"number": number})
                    for number, passage in enumerate(self.passages, first_number)
                )
            }
        )


def number_hits(query: str, hits: "Sequence[SearchHit]", base_url: str, first_number: int = 1) -> HandbookPassages:
    return HandbookPassages(
        query=query,
        passages=tuple(
            HandbookPassage(
                number=number,
                title=hit.passage.title,
                heading=" > ".join(hit.passage.heading_path),
                text=hit.passage.text,
                url=hit.passage.url(base_url),
            )
            for number, hit in enumerate(hits, first_number)
        ),
    )
