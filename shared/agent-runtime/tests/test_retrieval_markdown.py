"""How a document is cut: what stays together, what is repeated, what a passage is called."""

import itertools

from agent_runtime.retrieval import Passage, chunk_markdown, read_front_matter

DOCUMENT = """\
---
title: Returns
updated: 2026-03-01
---
# Returns

Bring it back within 60 days.

## Exceptions

Not returnable:

- opened food
  and fuel
- gift cards

## Costs by country

| Country | Cost |
|---|---|
| Norway | NOK 99 |

### Norway & "Svalbard"

By boat.
"""


def by_anchor(passages: list[Passage]) -> dict[str, Passage]:
    return {passage.anchor: passage for passage in passages}


def test_a_passage_keeps_the_path_of_its_headings_without_the_title() -> None:
    paths = [passage.heading_path for passage in chunk_markdown("returns", DOCUMENT)]
    assert paths == [(), ("Exceptions",), ("Costs by country",), ("Costs by country", 'Norway & "Svalbard"')]


def test_a_list_stays_whole_and_with_the_line_that_introduces_it() -> None:
    text = by_anchor(chunk_markdown("returns", DOCUMENT))["exceptions"].text
    assert text == "Not returnable:\n\n- opened food\n  and fuel\n- gift cards"


def test_a_table_stays_whole() -> None:
    rows = "\n".join(f"| country {number} | costs of the parcel {number} |" for number in range(60))
    table = f"| Country | Cost |\n|---|---|\n{rows}"
    (passage,) = chunk_markdown("costs", f"## Costs\n\n{table}\n")
    assert passage.text == table


def test_a_table_too_large_for_any_model_is_cut_between_rows_and_keeps_its_head() -> None:
    rows = [f"| country {number} | costs of the parcel {number} |" for number in range(400)]
    passages = chunk_markdown("costs", "## Costs\n\n| Country | Cost |\n|---|---|\n" + "\n".join(rows))
    assert len(passages) > 5
    assert all(passage.text.startswith("| Country | Cost |\n|---|---|\n| country") for passage in passages)
    assert [row for passage in passages for row in passage.text.split("\n")[2:]] == rows


def test_long_prose_is_cut_between_sentences_and_repeats_the_last_one() -> None:
    sentences = [f"Sentence number {number} says that the tent is dry." for number in range(100)]
    texts = [passage.text for passage in chunk_markdown("tents", " ".join(sentences))]
    assert all(len(text) <= 1200 for text in texts)
    assert all(sentence in " ".join(texts) for sentence in sentences)
    for before, after in itertools.pairwise(texts):
        assert before.endswith(after.split(". ")[0] + ".")


def test_paragraphs_packed_into_several_passages_overlap_by_a_sentence() -> None:
    paragraphs = [f"First of {number}. {'Filling words of a rule. ' * 20}Last of {number}." for number in range(4)]
    first, second, *_ = [passage.text for passage in chunk_markdown("rules", "\n\n".join(paragraphs))]
    assert first.endswith("Last of 1.")
    assert second.startswith("Last of 1.\n\nFirst of 2.")


def test_a_sentence_without_end_is_cut_between_words() -> None:
    passages = chunk_markdown("noise", "word " * 2000)
    assert all(0 < len(passage.text) <= 1200 for passage in passages)


def test_anchors_are_those_of_github() -> None:
    headings = (
        "## What's new?\n\na\n\n## `NP-10001` — [orders](x.md)\n\nb\n\n## Fees\n\nc\n\n## Fees\n\nd\n\n## Größe\n\ne\n"
    )
    anchors = [passage.anchor for passage in chunk_markdown("x", headings)]
    assert anchors == ["whats-new", "np-10001--orders", "fees", "fees-1", "größe"]


def test_ids_and_urls_are_stable_and_name_document_and_anchor() -> None:
    passage = by_anchor(chunk_markdown("staff/returns", DOCUMENT))["costs-by-country"]
    assert passage.id == "staff/returns#costs-by-country:1"
    assert passage.url("https://handbook.example/") == "https://handbook.example/staff/returns#costs-by-country"
    assert [p.id for p in chunk_markdown("r", DOCUMENT)] == [p.id for p in chunk_markdown("r", DOCUMENT + "\nMore.\n")]


def test_front_matter_is_read_and_not_searched() -> None:
    values, rest = read_front_matter(DOCUMENT)
    assert values == {"title": "Returns", "updated": "2026-03-01"}
    assert rest.startswith("# Returns")
    assert not any("2026-03-01" in passage.text for passage in chunk_markdown("returns", DOCUMENT))


def test_the_title_is_the_first_heading_or_the_name_where_the_front_matter_has_none() -> None:
    assert chunk_markdown("a", "Care of wool\n============\n\nWash cold.")[0].title == "Care of wool"
    assert chunk_markdown("care/of-wool", "Wash cold.")[0].title == "Of wool"


def test_headings_inside_code_are_code() -> None:
    (passage,) = chunk_markdown("a", "```\n# not a heading\n```\n")
    assert passage.text == "```\n# not a heading\n```"


def test_an_empty_document_has_no_passages() -> None:
    assert chunk_markdown("a", "") == []
    assert chunk_markdown("a", "---\ntitle: A\n---\n\n# A\n\n<!-- later -->\n") == []


def test_line_ends_and_byte_order_marks_do_not_matter() -> None:
    windows = "\ufeff" + DOCUMENT.replace("\n", "\r\n")
    assert chunk_markdown("returns", windows) == chunk_markdown("returns", DOCUMENT)
