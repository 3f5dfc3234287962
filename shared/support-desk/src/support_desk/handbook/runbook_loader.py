"""Reads runbooks: markdown with flat front matter (`id`, `title`, `when`) and a numbered list under `## Steps`.

Only what a planner needs is parsed: when the runbook applies, and its steps in order, each naming its tool in
backticks. The text stays as it was written; the front matter is left out of it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_STEP = re.compile(r"^\s{0,3}(\d+)[.)]\s+(.*)$")
_CODE = re.compile(r"`([a-z][a-z0-9_]*)`")


class HandbookError(Exception):
    """A handbook file cannot be read as what it says it is. The text names the file and what is missing."""


@dataclass(frozen=True, slots=True)
class Runbook:
    id: str
    title: str
    when: str
    """The situation the runbook is for, in a sentence."""
    steps: tuple[str, ...]
    """The items of the numbered list, without their numbers."""
    text: str
    """The markdown without the front matter."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The first name in backticks of each step that has one, in the order of the steps."""
        return tuple(found.group(1) for step in self.steps if (found := _CODE.search(step)))


def handbook_folder() -> Path:
    """The folder of the handbook that comes with this package."""
    return Path(__file__).parent


def load_runbooks(folder: Path | None = None) -> tuple[Runbook, ...]:
    """The runbooks of `folder` (default: the package's handbook), in the order of their ids.

    Raises:
        HandbookError: a runbook has no front matter, lacks a field, has no numbered steps, or shares its id.
    """
    files = sorted(((folder or handbook_folder()) / "runbooks").glob("*.md"))
    found: dict[str, Runbook] = {}
    for file in files:
        runbook = _read(file)
        if runbook.id in found:
            raise HandbookError(f"{file.name}: another runbook has the id '{runbook.id}' already. Give it its own.")
        found[runbook.id] = runbook
    return tuple(found[identifier] for identifier in sorted(found))


def _read(file: Path) -> Runbook:
    fields, text = _split(file)
    missing = [name for name in ("id", "title", "when") if not fields.get(name)]
    if missing:
        raise HandbookError(f"{file.name}: the front matter lacks {', '.join(missing)}.")
    steps = _steps(text)
    if not steps:
        raise HandbookError(f"{file.name}: there is no numbered list below a '## Steps' heading.")
    return Runbook(fields["id"], fields["title"], fields["when"], steps, text)


def _split(file: Path) -> tuple[dict[str, str], str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    try:
        end = lines.index("---", 1) if lines and lines[0] == "---" else -1
    except ValueError:
        end = -1
    if end < 0:
        raise HandbookError(f"{file.name}: does not start with front matter between two '---' lines.")
    fields: dict[str, str] = {}
    for line in lines[1:end]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip()] = value.strip().strip("\"'")
    return fields, "\n".join(lines[end + 1 :]).strip() + "\n"


def _steps(text: str) -> tuple[str, ...]:
    steps: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("## "):
            inside = line[3:].strip().lower() == "steps"
        elif inside and (item := _STEP.match(line)):
            steps.append(item.group(2).strip())
        elif inside and steps and line.startswith((" ", "\t")) and line.strip():
            # A continuation line of the item above, wrapped by whoever wrote it.
            steps[-1] = f"{steps[-1]} {line.strip()}"
    return tuple(steps)
