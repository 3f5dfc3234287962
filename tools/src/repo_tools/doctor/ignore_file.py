"""Which files of a build context a `.dockerignore` keeps away.

The rules are Docker's, not git's: patterns start at the context's root, the last match decides, `!` takes back, and a
pattern that matches a folder matches what is in it
(https://docs.docker.com/build/concepts/context/#dockerignore-files).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    file: Path
    rules: tuple[tuple[re.Pattern[str], bool, int], ...]
    """pattern, whether it excludes, line"""

    def excludes(self, path: str) -> bool:
        """`path` is relative to the context, with slashes."""
        parts = path.split("/")
        ways = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        excluded = False
        for pattern, keeps_away, _ in self.rules:
            if any(pattern.fullmatch(way) for way in ways):
                excluded = keeps_away
        return excluded


def read_ignore_file(path: Path) -> IgnoreFile:
    rules = []
    for number, raw in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        negated = line.startswith("!")
        pattern = normpath(line.removeprefix("!").strip().lstrip("/") or ".")
        rules.append((re.compile(_expression(pattern)), not negated, number))
    return IgnoreFile(path, tuple(rules))


def _expression(pattern: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            parts.append("(?:.*/)?")
            position += 3
        elif pattern.startswith("**", position):
            parts.append(".*")
            position += 2
        elif pattern[position] == "*":
            parts.append("[^/]*")
            position += 1
        elif pattern[position] == "?":
            parts.append("[^/]")
            position += 1
        elif pattern[position] == "[" and (end := pattern.find("]", position + 2)) > 0:
            parts.append(f"[{pattern[position + 1 : end].replace(chr(92), chr(92) * 2)}]")
            position = end + 1
        else:
            parts.append(re.escape(pattern[position]))
            position += 1
    return "".join(parts)
