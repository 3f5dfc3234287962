"""Plans by the book: a numbered list in the messages becomes the steps of a plan, and a case the best listed procedure.

A schema asks for a plan when it has an array of objects with a `tool`; it asks for a choice when it has a closed list
of ids that the messages describe line by line. Arguments are left to `schema_filling`.
"""

import re
from dataclasses import dataclass
from typing import Any

from agent_runtime.english.sentences import split_sentences
from agent_runtime.english.tokens import has_stem, stem_set, words

from .json_schema import Schema, allows_null, fits_string, kind_of, properties, resolve, variants
from .schema_filling import Filler, fill_schema, read_known

_NUMBERED = re.compile(r"^\s*(?P<number>\d{1,2})[.)]\s+(?P<text>.*)$")
_CODE = re.compile(r"`([^`\s]+?)(?:\([^`]*\))?`")
_CANDIDATE = re.compile(
    r"^[ \t]*(?:[-*][ \t]+)?[`\"*]*(?P<id>[\w.-]+)[`\"*]*[ \t]*[:\u2014\u2013|-][ \t]+(?P<rest>.+)$", re.MULTILINE
)
_MEANWHILE = re.compile(r"\b(?:meanwhile|at the same time)\b", re.IGNORECASE)
_CASE_LABEL = re.compile(r"^\s*(?:the )?(?:case|message|request|goal|user|text)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Item:
    tool: str
    text: str


@dataclass(frozen=True, slots=True)
class _PlanShape:
    name: str
    """The array property of the plan's steps."""
    tools: dict[str, Schema]
    """The step schema of each tool."""


def fill_plan(schema: Schema, texts: list[str], user_text: str) -> dict[str, Any] | None:
    """The plan for a schema that asks for one; None when it does not, or when no list names its tools.

    `texts` are all messages, newest last; `user_text` is the one with the case.
    """
    shape = _plan_shape(schema)
    if shape is None:
        return None
    # The newest list wins; the user's own message may hold both the list and the case.
    items: list[_Item] = []
    source = ""
    for text in reversed(texts):
        items = _numbered_items(text, set(shape.tools))
        if items:
            source = text
            break
    if not items:
        return None
    case = _case_text(user_text, source)
    steps: list[dict[str, Any]] = []
    for item, needed in zip(items, _needed(items), strict=True):
        steps.append(_step(schema, shape.tools[item.tool], item, len(steps) + 1, needed=needed, case=case))
    plan = _around(schema, shape.name, steps, case)
    plan[shape.name] = steps
    return plan


def choose_candidate(schema: Schema, texts: list[str], user_text: str) -> dict[str, Any] | None:
    """The answer for a schema that asks for one of the ids that the messages list; None when it does not ask that."""
    fields = properties(resolve(schema, schema), schema)
    for name, one in fields.items():
        ids = [each for each in _closed_values(one, schema) if isinstance(each, str)]
        if not ids:
            continue
        described: dict[str, str] = {}
        for text in texts:
            for line in _CANDIDATE.finditer(text):
                if line["id"] in ids:
                    described[line["id"]] = line["rest"]
        if len(described) < max(1, len(ids) // 2):
            continue
        case = "\n".join(line for line in user_text.splitlines() if not _lists_one(line, described))
        best = _best_candidate(described, case)
        filler = Filler(schema, case, {})
        answer: dict[str, Any] = {}
        for other, each in fields.items():
            if other == name:
                nullable = allows_null(each, schema)
                fallback = next((value for value in ("none", "other", "unknown") if value in ids), ids[0])
                answer[other] = best if best is not None else None if nullable else fallback
            elif {"reason", "rationale", "why"} & set(words(other)):
                reason = described.get(best or "", "None of the listed ones fits.")
                room = _string_room(each, schema)
                answer[other] = reason[:room] if room else reason
            else:
                answer[other] = filler.fill(each, other).value
        return answer
    return None


def _lists_one(line: str, described: dict[str, str]) -> bool:
    found = _CANDIDATE.match(line)
    return found is not None and found["id"] in described


def _plan_shape(schema: Schema) -> _PlanShape | None:
    for name, one in properties(resolve(schema, schema), schema).items():
        for array in variants(one, schema):
            if kind_of(array) != "array":
                continue
            tools: dict[str, Schema] = {}
            for option in variants(resolve(array.get("items", {}), schema), schema):
                tool = properties(option, schema).get("tool")
                for each in _closed_values(tool, schema) if tool else []:
                    if isinstance(each, str):
                        tools.setdefault(each, option)
            if tools:
                return _PlanShape(name, tools)
    return None


def _closed_values(schema: Schema, root: Schema) -> list[Any]:
    found: list[Any] = []
    for one in variants(resolve(schema, root), root):
        if "const" in one:
            found.append(one["const"])
        found.extend(one.get("enum") or [])
    return found


def _numbered_items(text: str, tools: set[str]) -> list[_Item]:
    """The items of the last numbered list of a text that name a tool in backticks."""
    lists: list[list[str]] = []
    for line in text.splitlines():
        found = _NUMBERED.match(line)
        if found:
            if int(found["number"]) == 1 or not lists:
                lists.append([])
            lists[-1].append(found["text"].strip())
        elif lists and lists[-1] and line.startswith((" ", "\t")) and line.strip():
            lists[-1][-1] += f" {line.strip()}"
    for one in reversed(lists):
        items = [
            _Item(next(name for name in _CODE.findall(entry) if name in tools), entry)
            for entry in one
            if any(name in tools for name in _CODE.findall(entry))
        ]
        if items:
            return items
    return []


def _case_text(user_text: str, source: str) -> str:
    """The user's text without the procedure, where both came in one message."""
    if source != user_text:
        return user_text
    lines = user_text.splitlines()
    marked = next((at for at, line in enumerate(lines) if _CASE_LABEL.match(line)), None)
    if marked is not None:
        # From the label on, up to the procedure when that comes after it.
        rest = lines[marked + 1 :]
        end = next((at for at, line in enumerate(rest) if _NUMBERED.match(line) or line.startswith("#")), len(rest))
        case = "\n".join([_CASE_LABEL.sub("", lines[marked]), *rest[:end]]).strip()
        if case:
            return case
    kept = [line for line in lines if not _NUMBERED.match(line) and not line.startswith("#")]
    return "\n".join(kept).strip() or user_text


def _step(root: Schema, option: Schema, item: _Item, place: int, *, needed: list[int], case: str) -> dict[str, Any]:
    fields = properties(option, root)
    step: dict[str, Any] = {}
    required = set(option.get("required", fields))
    for name, schema in fields.items():
        if name == "tool":
            step[name] = item.tool
        elif name in ("id", "step_id"):
            step[name] = f"s{place}" if any(kind_of(one) == "string" for one in variants(schema, root)) else place
        elif name in ("number", "order", "position", "index"):
            step[name] = place
        elif name in ("depends_on", "after", "needs"):
            step[name] = _depends_on(schema, root, needed)
        elif name in ("reason", "why", "description", "purpose", "title"):
            step[name] = _fitted(_plain(item.text), schema, root)
        elif name in ("arguments", "args", "parameters", "input", "inputs"):
            step[name] = _arguments(schema, root, case, item.text)
        else:
            found = _argument(name, schema, root, case, item.text)
            if found is not None or name in required:
                step[name] = found
    return step


def _needed(items: list[_Item]) -> list[list[int]]:
    """For each item the places of those it waits for: all since the last that began anew. An item that says
    "meanwhile" or "at the same time" waits for what the one before it waits for."""
    groups: list[list[int]] = [[]]
    needed: list[list[int]] = []
    for place, item in enumerate(items, start=1):
        if place == 1 or not _MEANWHILE.search(item.text):
            groups.append([])
        groups[-1].append(place)
        needed.append(groups[-2])
    return needed


def _depends_on(schema: Schema, root: Schema, needed: list[int]) -> Any:
    for one in variants(schema, root):
        if kind_of(one) == "array":
            items = variants(resolve(one.get("items", {}), root), root)
            whole = any(kind_of(each) == "integer" for each in items)
            return [place if whole else f"s{place}" for place in needed]
        if kind_of(one) == "integer" and needed:
            return needed[-1]
        if kind_of(one) == "string" and needed:
            return f"s{needed[-1]}"
    return None if allows_null(schema, root) else ""


def _arguments(schema: Schema, root: Schema, case: str, item: str) -> Any:
    for option in variants(schema, root):
        if kind_of(option) == "object":
            required = set(option.get("required", []))
            filled: dict[str, Any] = {}
            for name, one in properties(option, root).items():
                value = _argument(name, one, root, case, item)
                if value is not None or name in required:
                    filled[name] = value
            return filled
        if kind_of(option) == "string":
            return "{}"
    return {}


def _argument(name: str, schema: Schema, root: Schema, case: str, item: str) -> Any:
    """A step's argument: named by the item, told by the case, else null, or the first sentence where text must be."""
    for value in _closed_values(schema, root):
        # "with the priority high" settles the argument called priority.
        if isinstance(value, str) and re.search(
            rf"\b{re.escape(name)}\W+(?:is |of |as |to )?[`\"']?{re.escape(value)}\b", item, re.IGNORECASE
        ):
            return value
    filler = Filler(root, case, read_known(case), prose=False)
    found = filler.fill(schema, name)
    if found.told or allows_null(schema, root):
        return found.value
    for one in variants(schema, root):
        if kind_of(one) != "string" or {"enum", "const", "format"} & set(one):
            continue
        text = _fitted(_first_sentence(case), one, root)
        if fits_string(text, one):
            return text
    return found.value


def _around(schema: Schema, steps_name: str, steps: list[dict[str, Any]], case: str) -> dict[str, Any]:
    """The plan's other fields."""
    root = resolve(schema, schema)
    fields = properties(root, schema)
    plan: dict[str, Any] = {}
    for name, one in fields.items():
        if name == steps_name:
            plan[name] = steps
        elif {"goal", "objective", "aim"} & set(words(name)):
            plan[name] = _fitted(_first_sentence(case), one, schema)
        elif any(kind_of(each) == "array" for each in variants(one, schema)) and not one.get("minItems"):
            plan[name] = []
        else:
            rest = {**root, "properties": {name: one}, "required": [name]}
            plan.update(fill_schema(rest, case))
    return plan


def _first_sentence(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    first = _CASE_LABEL.sub("", lines[0]) if lines else ""
    if first.rstrip().endswith(":") and len(lines) > 1:
        first = lines[1]
    sentences = split_sentences(first)
    long_enough = [one for one in sentences if len(words(one)) > 2]
    return (long_enough or sentences or [text.strip()])[0]


def _fitted(text: str, schema: Schema, root: Schema) -> str:
    room = _string_room(schema, root)
    if not room or len(text) <= room:
        return text
    return text[:room].rsplit(" ", 1)[0] if " " in text[:room] else text[:room]


def _string_room(schema: Schema, root: Schema) -> int | None:
    return next((one["maxLength"] for one in variants(schema, root) if isinstance(one.get("maxLength"), int)), None)


def _plain(text: str) -> str:
    """An item without its marks; the tool's name stays as a word of it."""
    return re.sub(r"[`*]", "", text).strip()


def _best_candidate(described: dict[str, str], case: str) -> str | None:
    """The id whose description shares most with the case, rare words first; None when nothing telling is shared."""
    asked = stem_set(case)
    all_stems = {name: stem_set(name, text) for name, text in described.items()}
    best: tuple[float, str] | None = None
    for name, own in all_stems.items():
        score = 0.0
        for one in asked:
            if has_stem(one, own):
                score += 1 / sum(has_stem(one, other) for other in all_stems.values())
        # A long description has more words to be met by chance.
        score /= 1 + 0.01 * len(own)
        if score >= 0.75 and (best is None or score > best[0]):
            best = (score, name)
    return best[1] if best else None
