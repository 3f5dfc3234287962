"""docs/doctor.md: what the doctor is, and the table of its rules, written from the rules themselves."""

from collections.abc import Iterable

from repo_tools.doctor.rule import Rule

_INTRODUCTION = """\
# The doctor

<!-- Written by `.venv/bin/python -m repo_tools doctor --table > docs/doctor.md`; a test compares it with the rules. -->

`make doctor` reads the repository and says what a deployment would fail on, before Azure does: each finding with its
file and line, the reason with its source, and the fix. It needs no login, no network and no running agent.

```
make doctor                                            this repository
make doctor ARGS="--fix"                               repair what is safe, then look again
.venv/bin/python -m repo_tools doctor PATH             any other project of hosted agents
.venv/bin/python -m repo_tools doctor --json           for CI: one JSON document
.venv/bin/python -m repo_tools doctor --rule lock-drift --rule env-reserved
```

It ends with 0 where nothing fails (warnings may be left; `--strict` fails on them), with 1 on errors, with 2 where the
folder holds no hosted agent or the command cannot run.

**To allow a finding**, say why on its line, or alone on the line above:
`# doctor: allow docker-user the base image needs root for X`.

**To add a rule**, put a module into `tools/src/repo_tools/doctor/rules/`; all modules there are loaded. For a project
that only borrows the doctor, name a file: `--rules my_rules.py` (it is executed; nothing of the examined project is
loaded unless you name it). A rule is a function; its docstring is the reason:

```python
from collections.abc import Iterator

from repo_tools.doctor.project import Project
from repo_tools.doctor.rule import Finding, rule


@rule("team-label", "error", "An agent has no team", fix="Add metadata.team to its definition.")
def team_label(project: Project) -> Iterator[Finding]:
    \"\"\"The on-call list is made from it.\"\"\"
    for agent in project.agents:
        if not agent.definition.at("metadata", "team"):
            yield Finding(agent.definition.file, agent.definition.line, f"{agent.key} has no team")
```
"""
_CLOUD = """\
## With a login

`make doctor ARGS="--cloud"` also asks Azure; it reads and changes nothing. It needs `azd auth login` or `az login`,
and the values that `azd provision` leaves in the azd environment (or in the environment of the shell).
Without them it says what it needs and ends with 2; a check that cannot be made is listed as such, never passed. Tested
against a local server that checks each request; **not verified against Azure**.

"""
_TABLE = """\
## The rules

`Azure/azure-dev` is the public repository of azd, `#N` an issue or pull request there, `Learn` the documentation below
<https://learn.microsoft.com/azure/foundry/agents/>.
"""


def page(rules: Iterable[Rule], cloud: Iterable[Rule]) -> str:
    themes: dict[str, list[Rule]] = {}
    for rule in rules:
        themes.setdefault(rule.theme, []).append(rule)
    parts = [_INTRODUCTION, _CLOUD + _table(cloud), _TABLE]
    parts += [f"### {theme.capitalize()}\n\n{_table(members)}" for theme, members in themes.items()]
    return "\n".join(parts)


def _table(rules: Iterable[Rule]) -> str:
    lines = ["| rule | | finding | why | fix |", "|---|---|---|---|---|"]
    for each in rules:
        cells = (f"`{each.id}`", each.severity, each.title, each.why, each.fix)
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Outside of code, `<name>` would be taken for HTML."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part.replace("<", "&lt;") if number % 2 == 0 else part for number, part in enumerate(parts))
