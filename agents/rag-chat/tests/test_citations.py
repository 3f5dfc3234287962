"""Markers become annotations, whatever pieces they come in."""

import time

import pytest
from rag_chat.citations import Marker, MarkerFilter, annotations
from rag_chat.turn import Source

SOURCES = {
    number: Source(f"Document {number}", f"https://handbook.test/{number}", "It costs EUR 3.50, in two days.")
    for number in (1, 2, 3)
}


def read(text: str, size: int = 1) -> tuple[str, list[tuple[str, str]]]:
    """The text that a user sees, and (cited part, last character of the URL) of each annotation."""
    markers = MarkerFilter()
    pieces = [markers.feed(text[start : start + size]) for start in range(0, len(text), size)]
    shown = "".join([*pieces, markers.finish()])
    assert shown == markers.text
    found = annotations(shown, markers.markers, SOURCES)
    return shown, [(shown[a["start_index"] : a["end_index"]], a["url"][-1]) for a in found]


CASES = {
    "after the sentence": ("One is so. [1] Two is so. [2]", "One is so. Two is so.", [("One is so.", "1"), ("Two is so.", "2")]),
    "before the full stop": ("One is so [1]. Two [2].", "One is so. Two.", [("One is so.", "1"), ("Two.", "2")]),
    "two at one sentence": ("So it is. [1][2]", "So it is.", [("So it is.", "1"), ("So it is.", "2")]),
    "two in one marker": ("So it is [1, 3].", "So it is.", [("So it is.", "1"), ("So it is.", "3")]),
    "two in one sentence": ("Boots [1], and tents [2].", "Boots, and tents.", [("Boots", "1"), ("and tents.", "2")]),
    "uncited before": ("Hello there. It is so. [2]", "Hello there. It is so.", [("It is so.", "2")]),
    "uncited after": ("It is so. [2] Anything else?", "It is so. Anything else?", [("It is so.", "2")]),
    "an invented number": ("It is so. [7] It is. [1]", "It is so. It is.", [("It is.", "1")]),
    "a list": ("- Boots [1]\n- Tents [2]\n", "- Boots\n- Tents\n", [("Boots", "1"), ("Tents", "2")]),
    "a numbered list": ("1. Boots. [1]\n2. Tents. [2]", "1. Boots.\n2. Tents.", [("Boots.", "1"), ("Tents.", "2")]),
    "an abbreviation": ("It takes approx. two days. [1]", "It takes approx. two days.", [("It takes approx. two days.", "1")]),
    "a decimal": ("It costs 3.5 EUR. [1]", "It costs 3.5 EUR.", [("It costs 3.5 EUR.", "1")]),
    "a year is text": ("Since [2024] it is.", "Since [2024] it is.", []),
    "words are text": ("See [the page](x) and [a].", "See [the page](x) and [a].", []),
    "unfinished": ("It is so. [1", "It is so. [1", []),
    "only a marker": ("[1]", "", []),
    "a marker first": ("[1] It is so.", "It is so.", []),
    "the same twice": ("It is so [1][1].", "It is so.", [("It is so.", "1")]),
    "other brackets": ("It is so.【2†source】", "It is so.", [("It is so.", "2")]),
    "a quotation": ('It says "so." [1] Yes.', 'It says "so." Yes.', [('It says "so."', "1")]),
    "other letters": ("Größe zählt. Übrigens 🎒 auch. [3]", "Größe zählt. Übrigens 🎒 auch.", [("Übrigens 🎒 auch.", "3")]),
    "spaces are kept": ("Two  spaces \n\n end ", "Two  spaces \n\n end ", []),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("case", CASES)
def test_markers_become_annotations_of_their_sentences(case: str, size: int) -> None:
    text, shown, cited = CASES[case]
    assert read(text, size) == (shown, cited)


def test_no_more_is_held_back_than_may_become_a_marker() -> None:
    markers = MarkerFilter()
    assert markers.feed("Boots are dry") == "Boots are dry"
    assert markers.feed(". [1") == "."
    assert markers.feed("] And") == " And"
    assert markers.feed(" [no") == " [no"


def test_long_texts_take_time_in_proportion() -> None:
    text = "It is so and so. [1] " * 5000
    shown, cited = read(text, 50)
    assert len(cited) == 5000
    assert "[" not in shown


PASSAGE = (
    "Unused gear can be returned within 60 days. A label costs NOK 1,250.50 from 1 June, and fourteen days are a loan."
)


@pytest.mark.parametrize(
    ("sentence", "asked", "supported"),
    [
        ("You have 60 days.", "", True),
        ("You have 45 days.", "", False),
        ("You have sixty days.", "", True),  # no digits: the model's word
        ("A loan is for 14 days.", "", True),
        ("It costs NOK 1 250,50.", "", True),
        ("It costs NOK 1250.5.", "", True),
        ("It costs NOK 125.50.", "", False),
        ("45 days are too late, after 60 it ends.", "", True),
        ("45 days are too late.", "Can I return it after 45 days?", True),
        ("45 days are too late, 30 is the most.", "Can I return it after 45 days?", False),
        ("Ja, innerhalb von 60 Tagen.", "", True),
    ],
)
def test_a_sentence_is_cited_only_where_its_numbers_are_in_the_passage(
    sentence: str, asked: str, supported: bool
) -> None:
    source = Source("Returns", "https://handbook.test/returns", PASSAGE)
    found = annotations(sentence, [Marker(len(sentence), (1,))], {1: source}, asked)
    assert [one["url"] for one in found] == [source.url] * supported


def test_a_model_that_writes_nothing_but_spaces_does_not_stop_the_agent() -> None:
    markers = MarkerFilter()
    begun = time.process_time()
    assert len(markers.feed(" " * 40_000)) > 39_000
    markers.feed("x [1]")
    assert time.process_time() - begun < 5  # half a minute, were each space tried with all that follow
    assert markers.text.endswith("x")
