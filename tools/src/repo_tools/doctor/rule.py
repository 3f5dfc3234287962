"""What a rule is, and the register of all of them.

A rule is a generator over a `Project` with the decorator `rule`; its docstring is the reason, with its source. To add
one, put a module into `rules/`, or name a file with `--rules`: importing it is all it takes.
"""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from repo_tools.doctor.documents import Value
from repo_tools.doctor.project import Project

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one line that is right whatever the author meant: from `column` on, the first `old` becomes `new`.
    `old` None takes the line away; line 0 appends `new` to the file."""

    file: Path
    line: int
    old: str | None
    new: str = ""
    column: int = 0


def edit_scalar(value: Value, new: str) -> Edit | None:
    """Writes another text in the place of a scalar; None where it does not stand on one line beside its key."""
    return None if value.column is None else Edit(value.file, value.line, value.text, new, value.column)


@dataclass(frozen=True, slots=True)
class Finding:
    file: Path
    line: int
    message: str
    fix: str = ""
    """what to do here, where the rule's own sentence is too general"""
    edit: Edit | None = None


Check = Callable[[Project], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    severity: Severity
    """error: a deployment fails, or the agent does; warning: it works worse than its author thinks"""
    title: str
    fix: str
    check: Callable[..., Iterator[Finding]]
    theme: str

    @property
    def why(self) -> str:
        return " ".join((inspect.getdoc(self.check) or "").split())


RULES: dict[str, Rule] = {}


def rule(identity: str, severity: Severity, title: str, *, fix: str) -> Callable[[Check], Check]:
    """Register a rule.

    Raises:
        ValueError: the id is taken, or the docstring that should say why is missing.
    """

    def register(check: Check) -> Check:
        if identity in RULES:
            raise ValueError(f"two rules are called {identity}")
        if not inspect.getdoc(check):
            raise ValueError(f"the rule {identity} has no docstring that says why")
        theme = check.__module__.rpartition(".")[2]
        RULES[identity] = Rule(identity, severity, title, fix, check, theme)
        return check

    return register


def load_rules(extra: tuple[Path, ...] = ()) -> dict[str, Rule]:
    """Import every module of `rules/` and the named files; returns the register.

    Raises:
        OSError, ImportError, SyntaxError: a named file cannot be imported.
    """
    from repo_tools.doctor import rules  # noqa: PLC0415 - its modules import this one

    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"{rules.__name__}.{module.name}")
    for path in extra:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python file")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return RULES
