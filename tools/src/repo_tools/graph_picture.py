"""`make graph`: writes langgraph-planner's graph, as LangGraph draws it, into its README as a Mermaid picture.

The picture is made from the code, so it cannot differ from it: a test makes it again and compares.
"""

import re
import sys

from repo_tools.repository import ROOT

PAGE = ROOT / "agents" / "langgraph-planner" / "README.md"
_PICTURE = re.compile(r"(?<=## The graph\n)(.*?```mermaid\n)(.*?)(?=```)", re.DOTALL)


def draw() -> str:
    """The graph in Mermaid's language, without colours: a reader's theme sets them."""
    # Only this verb needs the agent; the others must work while it is broken.
    from langgraph_planner.graph import compile_graph  # noqa: PLC0415

    lines = compile_graph().get_graph().draw_mermaid(with_styles=False).splitlines()
    return "\n".join(line.replace("\t", "  ").rstrip() for line in lines if line.strip()) + "\n"


def picture_in(page: str) -> str:
    """The picture that a page holds.

    Raises:
        ValueError: the page has no heading "The graph" with a Mermaid block.
    """
    found = _PICTURE.search(page)
    if found is None:
        raise ValueError(f'{PAGE.name} has no heading "The graph" with a Mermaid block below it')
    return found[2]


def write() -> int:
    page = PAGE.read_text(encoding="utf-8")
    try:
        old = picture_in(page)
    except ValueError as error:
        print(f"graph: {error}", file=sys.stderr)
        return 1
    new = draw()
    if new == old:
        print("the picture is up to date")
        return 0
    PAGE.write_text(_PICTURE.sub(lambda found: found[1] + new, page, count=1), encoding="utf-8")
    print(f"wrote the graph into {PAGE.relative_to(ROOT)}")
    return 0
