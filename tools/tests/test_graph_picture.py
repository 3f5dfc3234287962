"""The picture of the planner's graph in its README is the one that the code makes."""

import pytest
from repo_tools import graph_picture


def test_the_readme_shows_the_graph_that_the_code_builds() -> None:
    page = graph_picture.PAGE.read_text(encoding="utf-8")
    assert graph_picture.picture_in(page) == graph_picture.draw(), "run `make graph`"


def test_the_picture_has_every_node_and_where_it_can_go() -> None:
    drawn = graph_picture.draw()
    for edge in ("check_plan -.-> ask_plan", "prepare_steps -.-> ask_approval", "decide -.-> run_step"):
        assert edge in drawn


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="The graph"):
        graph_picture.picture_in("# A page\n")
