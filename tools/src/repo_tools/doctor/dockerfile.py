"""A Dockerfile as its instructions, with line numbers, and the final stage as what the container will be.

Enough of the language for the rules: comments, continuation lines, here-documents, JSON and shell form, ARG defaults,
stages that build on one another. Sources: the Dockerfile reference, https://docs.docker.com/reference/dockerfile/.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEREDOC = re.compile(r"<<-?[\"']?([A-Za-z_]\w*)[\"']?")


@dataclass(frozen=True, slots=True)
class Instruction:
    keyword: str
    """in capitals"""
    arguments: str
    line: int

    @property
    def exec_form(self) -> list[str] | None:
        """The words of `["python", "main.py"]`; None in shell form."""
        try:
            words = json.loads(self.arguments)
        except ValueError:
            return None
        return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None

    @property
    def words(self) -> list[str]:
        """The words in either form, flags included."""
        if (words := self.exec_form) is not None:
            return words
        try:
            return shlex.split(self.arguments)
        except ValueError:
            return self.arguments.split()

    @property
    def flags(self) -> dict[str, str]:
        """`--platform=linux/amd64` as {"platform": "linux/amd64"}."""
        found = re.match(r"(?:--\S+\s+)*", self.arguments)
        pairs = found.group().split() if found else []
        return {name.removeprefix("--"): value for name, _, value in (pair.partition("=") for pair in pairs)}

    @property
    def operands(self) -> list[str]:
        """The words behind the flags; of COPY the sources and the destination."""
        rest = re.sub(r"^(?:--\S+\s+)*", "", self.arguments)
        return Instruction(self.keyword, rest, self.line).words


@dataclass(frozen=True, slots=True)
class Stage:
    image: str
    """what FROM names, with the defaults of ARG filled in"""
    name: str
    line: int
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    file: Path
    stages: tuple[Stage, ...]
    directives: tuple[Instruction, ...]
    """`# syntax=…` and other parser directives"""

    def instructions(self, *keywords: str) -> Iterator[Instruction]:
        for stage in self.stages:
            yield from (each for each in stage.instructions if each.keyword in keywords)

    def final(self, *keywords: str) -> list[Instruction]:
        """Instructions that shape the final image, in order: those of the last stage and of the stages it builds on."""
        chain: list[Stage] = []
        stage = self.stages[-1] if self.stages else None
        while stage is not None and stage not in chain:
            chain.insert(0, stage)
            base = stage.image
            earlier = self.stages[: self.stages.index(stage)]
            stage = next((each for each in earlier if each.name and each.name == base.lower()), None)
        return [each for stage in chain for each in stage.instructions if each.keyword in keywords]

    def base_images(self) -> list[Stage]:
        """Stages that start from an image of a registry, not from another stage or from nothing."""
        names = {stage.name for stage in self.stages if stage.name}
        return [stage for stage in self.stages if stage.image.lower() not in names | {"scratch"}]

    def environment(self) -> dict[str, tuple[str, int]]:
        """The variables that the final image sets, with the line of the last ENV of each."""
        found: dict[str, tuple[str, int]] = {}
        for instruction in self.final("ENV"):
            words = instruction.words
            if words and "=" not in words[0]:
                found[words[0]] = (" ".join(words[1:]), instruction.line)
                continue
            for word in words:
                name, _, value = word.partition("=")
                found[name] = (value, instruction.line)
        return found

    @property
    def last_line(self) -> int:
        return self.stages[-1].line if self.stages else 1


def read_dockerfile(path: Path) -> Dockerfile:
    instructions, directives = _instructions(path.read_text(encoding="utf-8-sig", errors="replace"))
    arguments: dict[str, str] = {}
    stages: list[tuple[Instruction, list[Instruction]]] = []
    for instruction in instructions:
        if instruction.keyword == "FROM":
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif instruction.keyword == "ARG":
            name, _, default = instruction.arguments.partition("=")
            arguments[name.strip()] = default.strip().strip("\"'")
    return Dockerfile(path, tuple(_stage(start, rest, arguments) for start, rest in stages), tuple(directives))


def _stage(start: Instruction, rest: list[Instruction], arguments: dict[str, str]) -> Stage:
    words = [*start.operands, ""]
    image = re.sub(r"\$\{?(\w+)(?::-([^}]*))?\}?", lambda found: arguments.get(found[1]) or found[2] or "", words[0])
    name = words[2].lower() if len(words) > 3 and words[1].upper() == "AS" else ""
    return Stage(image, name, start.line, (start, *rest))


def _instructions(text: str) -> tuple[list[Instruction], list[Instruction]]:
    found: list[Instruction] = []
    directives: list[Instruction] = []
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, raw in lines:
        line = raw.strip()
        if not found and (directive := re.match(r"#\s*(syntax|escape|check)\s*=\s*(\S+)", line)):
            directives.append(Instruction(directive[1], directive[2], number))
        if not line or line.startswith("#"):
            continue
        while line.endswith("\\"):
            following = next(lines, None)
            if following is None:
                break
            # A comment or an empty line between continuation lines is dropped.
            if following[1].strip() and not following[1].lstrip().startswith("#"):
                line = line[:-1].rstrip() + " " + following[1].strip()
        keyword, _, arguments = line.partition(" ")
        for end in _HEREDOC.findall(arguments) if keyword.upper() in ("RUN", "COPY", "ADD") else []:
            for _, inner in lines:
                if inner.strip() == end:
                    break
        found.append(Instruction(keyword.upper(), arguments.strip(), number))
    return found, directives
