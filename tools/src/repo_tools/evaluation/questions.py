"""The question file of an agent that answers from documents, and what is wrong with one.

One YAML list for each split; the fields are told in the README beside the files.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

import yaml
from agent_runtime.retrieval import Passage, chunk_markdown
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from repo_tools.evaluation.results import EvaluationError

Category = Literal[
    "single_passage",
    "multi_passage",
    "follow_up",
    "paraphrase",
    "unanswerable",
    "near_miss",
    "false_premise",
    "injected",
]
SPLITS = ("development", "test")
FEWEST_QUESTIONS = 120
TEST_SHARE = (0.28, 0.40)


class Alternative(BaseModel):
    """One passage that supports a need by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: str
    heading: str
    quote: str = Field(min_length=1)

    def is_in(self, passage: Passage) -> bool:
        heading = passage.heading_path[-1] if passage.heading_path else passage.title
        return (
            passage.document_id == self.document
            and _plain(heading) == _plain(self.heading)
            and _spaced(self.quote) in _spaced(passage.text)
        )


Need = tuple[Alternative, ...]


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    category: Category
    turns: tuple[str, ...] = Field(min_length=1)
    support: tuple[Need, ...] = ()
    facts: tuple[tuple[str, ...], ...] = ()
    refuse: bool = False
    forbidden: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.refuse and (self.support or self.facts):
            raise ValueError("a question to refuse has no support and no facts")
        if not self.refuse and not (self.support and self.facts):
            raise ValueError("a question to answer has support and facts")
        if not all(self.support) or not all(self.facts):
            raise ValueError("a need or a fact without alternatives can never be met")
        if not all(
            text.strip() for text in (*self.turns, *self.forbidden, *(one for fact in self.facts for one in fact))
        ):
            raise ValueError("a turn, a spelling of a fact or a forbidden string is empty")
        if self.category in ("unanswerable", "near_miss") and not self.refuse:
            raise ValueError(f"{self.category} needs refuse: true")
        if self.category in ("single_passage", "multi_passage", "paraphrase") and self.refuse:
            raise ValueError(f"{self.category} can be answered")
        if self.category == "multi_passage" and len(self.support) < 2:
            raise ValueError("multi_passage has two needs or more")
        if self.category == "follow_up" and len(self.turns) < 2:
            raise ValueError("a follow_up has an earlier turn")
        if (self.category == "injected") != bool(self.forbidden):
            raise ValueError("an injected question has forbidden strings, and nothing else has")
        return self

    def needs_met(self, passage: Passage) -> frozenset[int]:
        """The numbers of the needs that `passage` meets."""
        return frozenset(
            number
            for number, need in enumerate(self.support)
            if any(alternative.is_in(passage) for alternative in need)
        )


def read_questions(file: Path) -> list[Question]:
    """
    Raises:
        EvaluationError: the file cannot be read, or a record is not as it must be. The text names the records.
    """
    try:
        records = yaml.safe_load(file.read_text(encoding="utf-8"))
        return TypeAdapter(list[Question]).validate_python(records)
    except (OSError, yaml.YAMLError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from None
    except ValidationError as error:
        raise EvaluationError("\n".join(_problem(file, records, dict(one)) for one in error.errors())) from None


def read_passages(folders: Iterable[Path]) -> list[Passage]:
    """The passages of the documents in `folders`, cut as the agents cut them."""
    return [
        passage
        for folder in folders
        for file in sorted(folder.rglob("*.md"))
        for passage in chunk_markdown(
            file.relative_to(folder).with_suffix("").as_posix(), file.read_text(encoding="utf-8")
        )
    ]


def check_questions(splits: Mapping[str, Sequence[Question]], passages: Sequence[Passage]) -> list[str]:
    """One line for each thing that makes the question files unfit: ids, quotes, sizes."""
    every = [question for questions in splits.values() for question in questions]
    problems = [
        f"{name}: the id is used {count} times" for name, count in _counts(one.id for one in every) if count > 1
    ]
    for question in every:
        for need in question.support:
            for alternative in need:
                held = any(alternative.is_in(passage) for passage in passages)
                place = f"{alternative.document} below '{alternative.heading}'"
                problems += [] if held else [f"{question.id}: no passage of {place} holds '{alternative.quote}'"]
    if len(every) < FEWEST_QUESTIONS:
        problems.append(f"there are {len(every)} questions, and must be {FEWEST_QUESTIONS}")
    share = len(splits.get("test", ())) / max(1, len(every))
    if not TEST_SHARE[0] <= share <= TEST_SHARE[1]:
        problems.append(f"test is {share:.0%} of the questions, and must be about a third")
    for split in SPLITS:
        missing = set(get_args(Category)) - {question.category for question in splits.get(split, ())}
        problems += [f"{split} has no question of the category {category}" for category in sorted(missing)]
    return problems


def _counts(names: Iterable[str]) -> Iterable[tuple[str, int]]:
    return Counter(names).items()


def _problem(file: Path, records: object, problem: Mapping[str, object]) -> str:
    place = problem["loc"]
    record = ""
    if isinstance(place, tuple) and place and isinstance(records, list) and isinstance(place[0], int):
        known = records[place[0]]
        record = str(known.get("id", "")) if isinstance(known, dict) else ""
        place = ".".join(map(str, place[1:]))
    return f"{file.name}: {record or 'the file'}: {place or ''}: {problem['msg']}".replace(": :", ":")


def _plain(heading: str) -> str:
    return _spaced(heading.replace("*", "").replace("`", "")).casefold()


def _spaced(text: str) -> str:
    return " ".join(text.split())
