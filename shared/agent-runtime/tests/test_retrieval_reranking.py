"""The second look at the candidates of a search: what of the question do they speak of?"""

from agent_runtime.english.synonyms import phrase_synonyms, synonym_stems, synonyms_of
from agent_runtime.retrieval import Passage, SearchHit
from agent_runtime.retrieval.reranking import rerank


def hit(text: str, score: float = 1.0, heading: str = "") -> SearchHit:
    return SearchHit(Passage(text, "document", "Document", (heading,) if heading else (), text, ""), score)


def ranked(query: str, *hits: SearchHit) -> list[str]:
    return [one.passage.text for one in rerank(query, hits)]


def test_more_of_the_question_counts_for_more_than_one_word_of_it_often() -> None:
    often = hit("Tent, tent, tent. A tent is a tent.", 9.0)
    more = hit("A tent is dried within a day.", 3.0)
    assert ranked("how soon must a wet tent be dried?", often, more)[0] == more.passage.text


def test_words_of_one_sentence_count_for_more_than_words_here_and_there() -> None:
    apart = hit("A label is printed. Norway has fjords. Costs vary.")
    together = hit("A label for Norway costs NOK 99. Ask first.")
    assert ranked("costs of a label for Norway", apart, together)[0] == together.passage.text
    assert ranked("costs of a label for Norway", together, apart)[0] == together.passage.text


def test_headings_are_read_with_each_sentence() -> None:
    elsewhere = hit("The deposit is EUR 20.", heading="Bottles")
    below = hit("The deposit is EUR 50.", heading="Rented tents")
    assert ranked("deposit of a rented tent", elsewhere, below)[0] == below.passage.text


def test_a_synonym_counts_for_less_than_the_word() -> None:
    other, same = hit("Hiring a tent costs EUR 20."), hit("Renting a tent costs EUR 20.")
    neither = hit("Selling a tent costs EUR 20.")
    assert ranked("what does it cost to rent a tent?", neither, other, same) == [
        one.passage.text for one in (same, other, neither)
    ]


def test_a_story_around_the_question_does_not_hide_it() -> None:
    story = hit("On Friday and Monday the shop in Munich is open for families.", 8.0)
    answer = hit("A child carrier costs EUR 29 for a weekend.", 2.0)
    query = "fly to Munich on Friday with our toddler, home on Monday, what does hiring a child carrier cost"
    assert ranked(query, story, answer)[0] == answer.passage.text


def test_ties_keep_their_order_and_nothing_stays_nothing() -> None:
    first, second = hit("A tent is red."), hit("A tent is blue.")
    assert ranked("tent", first, second) == [first.passage.text, second.passage.text]
    assert rerank("tent", []) == []
    assert [one.score > 0 for one in rerank("unrelated", [first, second])] == [True, True]


def test_synonyms_meet_whatever_the_form_of_the_word() -> None:
    assert "rental" in synonyms_of("hiring")
    assert "hire" in synonyms_of("rented")
    assert "hire" not in synonyms_of("hire")
    assert synonym_stems("zzz") == frozenset()
    assert phrase_synonyms("Can I have my MONEY back?") == {"money": frozenset({"refund"})}
