"""Which tools a request calls for, and their arguments, by the tools' own names, descriptions and parameter schemas.

Ids decide first (a parameter's pattern that the text matches), then words. A tool whose name says that it changes
something is called only when the request asks for just that. What the results say is left to `answering`.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from agent_runtime.english.tokens import content_words, has_stem, listed, stem, stem_set, words
from agent_runtime.model_exchange import FunctionTool, ToolCall

from .cannot_do import CannotDo
from .json_schema import Schema, allows_null, find_by_pattern, kind_of, patterns, properties, resolve, variants
from .schema_checks import loops
from .schema_filling import EMPTY_VALUES, Filler, read_known
from .turns import Conversation

_SMALL_TALK = frozenset(
    listed("""
    hi hello hey hiya howdy greetings good morning afternoon evening night day bye goodbye welcome thanks thank
    you cheers great nice perfect cool fine ok okay lovely excellent wonderful awesome super well who are what
    how your name bot robot human real ai assistant model language doing today there much very so everything all
    right alright a an the is that it was am i i'm be been this for help helpful helped can do me does could
    please yes no of to meet appreciated appreciate sure see later soon have talk chat speak with ciao lot lots
    bunch heaps million
    """)
)
_QUESTION = re.compile(
    r"^\W*(?:(?:and|but|so|also|hi|hello|hey|ok|thanks)\W+)*"
    r"(?:how|what|when|why|where|who|whom|whose|which|is|are|was|were|do|does|did|may|am|has|have|had"
    r"|can i|can we|could i|should|must|will|would it|explain|describe|tell me)\b",
    re.IGNORECASE,
)
_READING = stem_set("lookup find list search fetch check view retrieve query read browse describe track status") | {
    "get", "look", "show", "see", "up", "lookup", "find", "list", "read", "know",
}  # fmt: skip
_PLAIN_VERBS = frozenset(
    stem(word)
    for word in listed(
        "create make issue do send open add start submit record give put new run set update change request"
    )
)
_FREE_NAMES = {"query", "question", "search", "q", "keywords", "keyword", "terms", "topic"}
_ID = re.compile(r"\b[A-Za-z]+-(?=[\w-]*\d)[\w-]+")
_PARTS = re.compile(r"(?<=[.?!;])\s+|,?\s+and\s+(?=(?:how|what|when|can|is|do|which)\b)", re.IGNORECASE)
_MANY = re.compile(r"\b(?:list|all|every|history|which|other|recent|previous|past)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Choice:
    tool: FunctionTool
    arguments: dict[str, Any]
    score: float
    by_id: bool
    changes: bool


def is_small_talk(text: str) -> bool:
    """Whether a text only greets, thanks, or asks who is there."""
    said = words(text)
    return len(said) <= 16 and all(word in _SMALL_TALK or word.removesuffix("'s") in _SMALL_TALK for word in said)


def choose_calls(conversation: Conversation) -> tuple[ToolCall, ...]:
    """The calls to make now; none when the request needs none or no tool fits it."""
    request = conversation.request
    if not request.tools or request.tool_choice == "none":
        return ()
    forced = request.tool_choice not in ("auto", "none")
    tools = [one for one in request.tools if request.tool_choice in ("auto", "required", one.name)]
    tools = [one for one in tools if not loops(one.parameters)]
    if not forced and is_small_talk(conversation.user_text):
        return ()
    made = {(one.name, _canonical(one.arguments)) for one in conversation.calls}
    if made:
        if forced:
            return _fresh(conversation, _forced(conversation, tools))
        return _further_call(conversation, tools, made)
    choices = _ranked(conversation, tools)
    if not choices:
        return _fresh(conversation, _forced(conversation, tools)) if forced else ()
    best = choices[0]
    picked = [*_same_tool_other_ids(conversation, best)]
    if (search := _search_beside(conversation, best, choices)) is not None:
        picked.append(search)
    if not request.parallel_tool_calls:
        picked = picked[:1]
    return _fresh(conversation, picked)


def _fresh(conversation: Conversation, choices: list[_Choice]) -> tuple[ToolCall, ...]:
    """The chosen calls that were not made yet, with ids that the same conversation always gives."""
    made = {(one.name, _canonical(one.arguments)) for one in conversation.calls}
    calls: dict[str, ToolCall] = {}
    for one in choices:
        arguments = json.dumps(one.arguments, ensure_ascii=False)
        if (one.tool.name, _canonical(arguments)) in made:
            continue
        turn = f"{len(conversation.request.messages)}:{conversation.user_text}"
        place = f"{turn}:{len(calls)}:{one.tool.name}:{arguments}"
        call_id = f"call_{hashlib.sha256(place.encode()).hexdigest()[:24]}"
        calls.setdefault(f"{one.tool.name} {arguments}", ToolCall(call_id, one.tool.name, arguments))
    return tuple(calls.values())


def _canonical(arguments: str) -> str:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    if isinstance(value, dict):
        value = {name: one for name, one in value.items() if one is not None}
    return json.dumps(value, sort_keys=True)


def _ranked(conversation: Conversation, tools: list[FunctionTool], extra: str = "") -> list[_Choice]:
    """The tools that fit the request with their arguments, best first."""
    text = conversation.user_text
    asked = stem_set(conversation.question)
    informs = bool(_QUESTION.search(text))
    spread = Counter(one for tool in conversation.request.tools for one in _tool_stems(tool))
    choices: list[_Choice] = []
    for at, tool in enumerate(tools):
        arguments, by_id, free = _arguments(conversation, tool, extra)
        if arguments is None:
            continue
        if not by_id and not free and _needs_an_id(tool, arguments):
            continue  # The request does not say whose, so words alone do not call for this tool.
        name = [stem(word) for word in words(tool.name)]
        verbs = [one for one in name if one in _READING or one in _PLAIN_VERBS]
        objects = [one for one in name if one not in verbs]
        changes = not (set(name) & _READING) and not free
        if changes and (informs or not objects or not all(has_stem(one, asked) for one in objects)):
            continue
        score = 0.0
        for one in asked:
            rarity = 1 / max(1, sum(count for other, count in spread.items() if has_stem(one, [other])))
            if has_stem(one, name):
                score += 1 + rarity
            elif has_stem(one, stem_set(tool.description)):
                score += 0.4 + 0.6 * rarity
            elif has_stem(one, stem_set(*properties(tool.parameters, tool.parameters))):
                score += 0.3
        if by_id:
            score += 3
        if changes:
            score += 2
        if "list" in name and _MANY.search(text):
            score += 1
        if not by_id and not free and not changes and score < 1.2:
            continue
        if free and not by_id:
            # A search takes what no other tool is made for.
            score = min(score, 1.5) + (0.5 if informs else 0)
        choices.append(_Choice(tool, arguments, score - 0.001 * at, by_id, changes))
    return sorted(choices, key=lambda one: -one.score)


def _needs_an_id(tool: FunctionTool, arguments: dict[str, Any]) -> bool:
    """Whether a tool looks something up by an id or address, and the request names none."""
    root = tool.parameters
    fields = properties(resolve(root, root), root)
    keys = [name for name, schema in fields.items() if patterns(schema, root) or "format" in schema]
    return bool(keys) and all(arguments.get(name) is None for name in keys)


def _tool_stems(tool: FunctionTool) -> frozenset[str]:
    return stem_set(tool.name, tool.description)


def _arguments(conversation: Conversation, tool: FunctionTool, extra: str) -> tuple[dict[str, Any] | None, bool, bool]:
    """The arguments (None when a required one cannot be had), whether an id told one, and whether it is a search."""
    try:
        return _filled_arguments(conversation, tool, extra)
    except CannotDo:
        return None, False, False


def _filled_arguments(
    conversation: Conversation, tool: FunctionTool, extra: str
) -> tuple[dict[str, Any] | None, bool, bool]:
    root = tool.parameters
    fields = properties(resolve(root, root), root)
    required = set(resolve(root, root).get("required", []))
    filler = Filler(root, conversation.user_text, read_known(conversation.user_text), prose=False)
    arguments: dict[str, Any] = {}
    by_id = searches = False
    for name, schema in fields.items():
        if id_patterns := patterns(schema, root):
            found = _ids(conversation, id_patterns, extra)
            if found:
                arguments[name] = found[0]
                by_id = True
                continue
            if any(find_by_pattern(one, _example_of(one)) for one in id_patterns):
                if name in required and not allows_null(schema, root):
                    return None, False, False
                if name in required:
                    arguments[name] = None
                continue
        if is_search_text(name, schema, root):
            query = search_words(conversation, schema)
            if query:
                arguments[name] = query
                searches = searches or (name in required and not allows_null(schema, root)) or len(fields) == 1
                continue
        value = filler.fill(schema, name)
        if not value.told and extra:
            value = Filler(root, extra, read_known(extra), prose=False).fill(schema, name)
        if value.told:
            arguments[name] = value.value
        elif name in required:
            spare = (
                _has_empty_value(schema)
                or {"const", "default"} & set(schema)
                or kind_of(variants(schema, root)[0]) in ("array", "boolean")
            )
            prose = Filler(root, conversation.user_text).fill(schema, name)
            if allows_null(schema, root):
                arguments[name] = None
            elif prose.told or spare:
                arguments[name] = prose.value
            else:
                return None, False, False
    return arguments, by_id, searches


def _has_empty_value(schema: Schema) -> bool:
    """Whether a closed list has a value for what is not known."""
    closed = schema.get("enum")
    return isinstance(closed, list) and any(one in EMPTY_VALUES for one in closed)


def _example_of(pattern: str) -> str:
    """A piece of text that a simple id pattern matches, to tell an id's pattern from a loose one."""
    bare = re.sub(r"^\^|\$$|\\[bAZ]|[()]", "", pattern)
    bare = re.sub(r"\?:", "", bare)
    bare = re.sub(r"\[A-Z[^\]]*\]|\[a-z[^\]]*\]", "X", bare)
    bare = re.sub(r"\\d|\[0-9\]", "7", bare)
    return re.sub(r"(.)\{(\d+)(?:,\d*)?\}", lambda one: one[1] * int(one[2]), bare).replace("+", "").replace("\\", "")


def _ids(conversation: Conversation, id_patterns: list[str], extra: str = "") -> list[str]:
    """Ids of the patterns: in the last turn, else, where it points back or names none, in the turns before it."""
    texts = [conversation.user_text]
    if conversation.is_follow_up or re.search(r"\b(?:it|its|that|this|they|them|same)\b", conversation.user_text, re.I):
        texts.extend(conversation.earlier_turns)
    if extra:
        texts.append(extra)
    for text in texts:
        found = [one for pattern in id_patterns for one in find_by_pattern(pattern, text)]
        if found:
            return list(dict.fromkeys(found))
    return []


def is_search_text(name: str, schema: Schema, root: Schema) -> bool:
    """Whether a parameter takes the words to search for."""
    option = variants(schema, root)[0] if variants(schema, root) else {}
    free = kind_of(option) == "string" and not {"enum", "const", "format"} & set(option)
    return free and bool(_FREE_NAMES & set(words(name)))


def search_words(conversation: Conversation, schema: Schema) -> str:
    """The content words of the request, those of the turn that it leans on first."""
    own = content_words(_ID.sub(" ", conversation.user_text))
    found = list(dict.fromkeys([*content_words(_ID.sub(" ", conversation.leans_on)), *own]))[:16]
    if not found:
        found = words(conversation.user_text)[:12]
    query = " ".join(found)
    room = schema.get("maxLength")
    return query[:room].rsplit(" ", 1)[0] if isinstance(room, int) and len(query) > room else query


def _same_tool_other_ids(conversation: Conversation, best: _Choice) -> list[_Choice]:
    """The choice, once for each id that the request names for it."""
    root = best.tool.parameters
    for name, schema in properties(resolve(root, root), root).items():
        found = _ids(conversation, patterns(schema, root)) if patterns(schema, root) else []
        if len(found) > 1 and not best.changes and best.arguments.get(name) in found:
            return [replace(best, arguments={**best.arguments, name: one}) for one in found[:8]]
    return [best]


def _search_beside(conversation: Conversation, best: _Choice, choices: list[_Choice]) -> _Choice | None:
    """A search to make beside an id's tool, when another part of the request asks what that tool cannot know."""
    if not best.by_id or best.changes:
        return None
    parts = _PARTS.split(conversation.user_text)
    known = stem_set(best.tool.name, best.tool.description, *properties(best.tool.parameters, best.tool.parameters))
    ids = {str(one).lower() for one in best.arguments.values()}
    for part in parts if len(parts) > 1 else []:
        if not _QUESTION.search(part) or any(one in part.lower() for one in ids):
            continue
        if any(not has_stem(one, known) for one in stem_set(part)):
            others = (one for one in choices if not one.by_id and not one.changes)
            return next((one for one in others if one.tool is not best.tool), None)
    return None


def _further_call(
    conversation: Conversation, tools: list[FunctionTool], made: set[tuple[str, str]]
) -> tuple[ToolCall, ...]:
    """One more call of another tool, when the request plainly asks for it and its turn has come."""
    called = {name for name, _ in made}
    if len(called) > 1 or any(_is_error(one) for one in conversation.results):
        return ()
    rest = [one for one in tools if one.name not in called]
    for one in _ranked(conversation, rest, extra="\n".join(conversation.results)):
        in_text = any(str(value) in conversation.user_text for value in one.arguments.values() if value)
        objects = [
            word for word in words(one.tool.name) if stem(word) not in _READING and stem(word) not in _PLAIN_VERBS
        ]
        asked = stem_set(conversation.user_text)
        named = bool(objects) and all(has_stem(stem(word), asked) for word in objects)
        fresh_id = one.by_id and not set(map(str, one.arguments.values())) & _values_of(conversation.calls)
        if one.by_id and (one.changes or (fresh_id and named and (in_text or _MANY.search(conversation.user_text)))):
            return _fresh(conversation, [one])
    return ()


def _values_of(calls: tuple[ToolCall, ...]) -> set[str]:
    found: set[str] = set()
    for one in calls:
        try:
            value = json.loads(one.arguments or "{}")
        except ValueError:
            continue
        if isinstance(value, dict):
            found.update(str(each) for each in value.values())
    return found


def _is_error(result: str) -> bool:
    try:
        value = json.loads(result)
    except ValueError:
        return False
    return isinstance(value, dict) and bool(value.get("error"))


def _forced(conversation: Conversation, tools: list[FunctionTool]) -> list[_Choice]:
    """A call of the tool that must be called, whatever its words; none when its arguments cannot be had."""
    for tool in tools:
        arguments, by_id, _ = _arguments(conversation, tool, "\n".join(conversation.results))
        if arguments is not None:
            return [_Choice(tool, arguments, 0.0, by_id, changes=False)]
    return []
