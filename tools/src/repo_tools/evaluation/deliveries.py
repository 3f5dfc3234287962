"""The deliveries of webhook-extractor's evaluation: what is sent, what is expected, and what is wrong with a record.

A delivery is a provider's documented payload (`shapes.yaml`) with some of its values replaced. The fields of records
and shapes are told in the README beside the files.
"""

import copy
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from support_desk.cases import CaseCategory, RequestedAction

from repo_tools.evaluation.results import EvaluationError

Category = Literal[
    "plain",
    "language",
    "missing",
    "conflict",
    "injection",
    "very_long",
    "emoji",
    "right_to_left",
    "html_mail",
    "number_formats",
    "several_orders",
    "provider_edge",
]
SPLITS = ("development", "test")
FEWEST_DELIVERIES = 96
TEST_SHARE = (0.28, 0.40)
VERY_LONG = (10_000, 51_200)
"""Bytes of the body of a very_long delivery."""

CHOICES = {
    "category": {item.value for item in CaseCategory},
    "requested_action": {item.value for item in RequestedAction},
}
TEXT_FIELDS = (
    "category",
    "requested_action",
    "language",
    "customer.name",
    "customer.email",
    "order_id",
    "amount",
    "skus",
)
"""Free-text fields that are judged one by one; `summary` has its own rule."""
STATED_FIELDS = (
    "channel",
    "category",
    "customer.name",
    "customer.email",
    "customer.customer_id",
    "order_id",
    "skus",
    "amount",
    "reference",
    "happened_at",
    "received_at",
    "summary",
)


class Shape(BaseModel):
    """A provider's payload with what it states as it is here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documented: str
    """Where the provider describes it."""
    source: Literal["github", "stripe", "standard-webhooks", "cloudevents", "direct"]
    event: str = ""
    content_type: str = "application/json"
    payload: Any
    stated: dict[str, Any]


class Delivery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    category: Category
    shape: str
    set: dict[str, Any] = {}
    without: tuple[str, ...] = ()
    stated: dict[str, Any] = {}
    text: dict[str, list[Any] | None] = {}
    summary: tuple[tuple[str, ...], ...] = ()
    remarks: frozenset[str] = frozenset()
    forbidden: dict[str, tuple[str, ...]] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if unknown := set(self.stated) - set(STATED_FIELDS):
            raise ValueError(f"not a stated field: {', '.join(sorted(unknown))}")
        if unknown := set(self.text) - set(TEXT_FIELDS):
            raise ValueError(f"not a field of the text: {', '.join(sorted(unknown))}")
        if both := set(self.text) & set(self.stated):
            raise ValueError(f"stated and of the text at once: {', '.join(sorted(both))}")
        for field, known in CHOICES.items():
            if unknown := {str(value) for value in self.text.get(field) or () if value is not None} - known:
                raise ValueError(f"{field}: no such value: {', '.join(sorted(unknown))}")
        if any(accepted == [] for accepted in self.text.values()) or not all(self.summary):
            raise ValueError("a field without accepted values can never be right; write null where the text is silent")
        if any(len(remark.split()) != 2 for remark in self.remarks):
            raise ValueError("a remark is its kind and its field, such as `contradiction order_id`")
        if (self.category == "injection") != bool(self.forbidden):
            raise ValueError("an injection has forbidden values, and nothing else has")
        if self.category == "conflict" and not self.remarks:
            raise ValueError("a conflict expects a remark")
        return self


class Ready(BaseModel):
    """A delivery with its shape: what goes out."""

    model_config = ConfigDict(frozen=True)

    delivery: Delivery
    shape: Shape

    @cached_property
    def payload(self) -> Any:
        payload = copy.deepcopy(self.shape.payload)
        for pointer in self.delivery.without:
            parent, name = _place(payload, pointer, self.delivery.id)
            del parent[name]
        for pointer, value in self.delivery.set.items():
            if not pointer:
                payload = expanded(value)
                continue
            parent, name = _place(payload, pointer, self.delivery.id, new=True)
            parent[name] = expanded(value)
        if self.shape.source in ("stripe", "cloudevents"):
            # The id of the event is its sender's delivery id, and a second use of one would be a conflict.
            payload["id"] = self.delivery.id
        return payload

    @cached_property
    def body(self) -> bytes:
        if self.shape.content_type == "text/plain":
            return str(self.payload).encode()
        return json.dumps(self.payload, ensure_ascii=False).encode()

    @property
    def stated(self) -> dict[str, Any]:
        """The shape's, except what this delivery states otherwise or leaves to its text."""
        stated = {**self.shape.stated, **self.delivery.stated}
        return {field: value for field, value in stated.items() if field not in self.delivery.text}


def expanded(value: Any) -> Any:
    """`{parts: [...]}` as one string; a part is a string or `{repeat: text, times: n}`, `{n}` in it the round."""
    if not isinstance(value, dict) or set(value) != {"parts"}:
        return value
    written = []
    for part in value["parts"]:
        if isinstance(part, dict):
            rounds = range(1, int(part["times"]) + 1)
            written += [str(part["repeat"]).replace("{n}", str(number)) for number in rounds]
        else:
            written.append(str(part))
    return "".join(written)


def read_deliveries(folder: Path, split: str) -> list[Ready]:
    """
    Raises:
        EvaluationError: a file cannot be read, or a record is not as it must be. The text names the record.
    """
    shapes = _read(folder / "shapes.yaml", TypeAdapter(dict[str, Shape]))
    found = []
    for delivery in _read(folder / f"{split}.yaml", TypeAdapter(list[Delivery])):
        if delivery.shape not in shapes:
            raise EvaluationError(f"{split}.yaml: {delivery.id}: there is no shape {delivery.shape}")
        found.append(Ready(delivery=delivery, shape=shapes[delivery.shape]))
    return found


def check_deliveries(splits: Mapping[str, Sequence[Ready]]) -> list[str]:
    """One line for each thing that makes the delivery files unfit."""
    every = [ready for split in splits.values() for ready in split]
    ids = Counter(ready.delivery.id for ready in every)
    problems = [f"{name}: the id is used {count} times" for name, count in ids.items() if count > 1]
    bodies = Counter(ready.body for ready in every)
    problems += [f"{ready.delivery.id}: another is the same" for ready in every if bodies[ready.body] > 1]
    for ready in every:
        size = len(ready.body)
        if ready.delivery.category == "very_long" and not VERY_LONG[0] <= size <= VERY_LONG[1]:
            problems.append(f"{ready.delivery.id}: has {size} bytes, and must have {VERY_LONG[0]} to {VERY_LONG[1]}")
    if len(every) < FEWEST_DELIVERIES:
        problems.append(f"there are {len(every)} deliveries, and must be {FEWEST_DELIVERIES}")
    share = len(splits.get("test", ())) / max(1, len(every))
    if not TEST_SHARE[0] <= share <= TEST_SHARE[1]:
        problems.append(f"test is {share:.0%} of the deliveries, and must be about a third")
    for split in SPLITS:
        missing = set(get_args(Category)) - {ready.delivery.category for ready in splits.get(split, ())}
        problems += [f"{split} has no delivery of the category {category}" for category in sorted(missing)]
    return problems


def value_at(document: Any, pointer: str) -> Any:
    """RFC 6901. Raises `LookupError` for a place that is not there."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            if not name.isdecimal():
                raise KeyError(pointer)
            document = document[int(name)]
        elif isinstance(document, dict):
            document = document[name]
        else:
            raise KeyError(pointer)
    return document


def _place(payload: Any, pointer: str, delivery: str, *, new: bool = False) -> tuple[Any, Any]:
    parent_pointer, _, name = pointer.rpartition("/")
    try:
        parent = value_at(payload, parent_pointer)
        place: Any = int(name) if isinstance(parent, list) else name
        if not new:
            parent[place]
    except (LookupError, TypeError, ValueError):
        raise EvaluationError(f"{delivery}: its shape has no {pointer}") from None
    return parent, place


def _read(file: Path, model: TypeAdapter[Any]) -> Any:
    try:
        records = yaml.safe_load(file.read_text(encoding="utf-8"))
        return model.validate_python(records)
    except (OSError, yaml.YAMLError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from None
    except ValidationError as error:
        raise EvaluationError("\n".join(_problem(file, records, dict(one)) for one in error.errors())) from None


def _problem(file: Path, records: object, problem: Mapping[str, Any]) -> str:
    place = list(problem["loc"])
    if place and isinstance(records, list) and isinstance(place[0], int) and isinstance(records[place[0]], dict):
        place[0] = records[place[0]].get("id", place[0])
    return f"{file.name}: {'.'.join(map(str, place)) or 'the file'}: {problem['msg']}"
