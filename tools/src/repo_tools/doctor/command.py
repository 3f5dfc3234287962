"""`python -m repo_tools doctor`: runs the rules over a project, prints what they found, and repairs what is safe."""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repo_tools.azure_environment import sign_in
from repo_tools.doctor.project import NotAProject, Project, read_project
from repo_tools.doctor.rule import Edit, Finding, Rule, load_rules

if TYPE_CHECKING:
    from repo_tools.doctor import cloud

ALLOW = re.compile(r"#\s*doctor:\s*allow\s+([\w-]+)\s+\S")
"""`# doctor: allow <rule> <reason>` on the line, or alone on the line above, takes a finding away."""


@dataclass(frozen=True, slots=True)
class Report:
    rule: Rule
    finding: Finding

    @property
    def fix(self) -> str:
        return self.finding.fix or self.rule.fix


def add_arguments(parser: argparse.ArgumentParser, root: Path) -> None:
    parser.add_argument("path", nargs="?", type=Path, default=root, help="of the project (default: this repository)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--fix", action="store_true", help="repair what can be repaired safely, then look again")
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument("--rule", action="append", metavar="ID", default=[], help="only this rule; may be repeated")
    parser.add_argument(
        "--rules",
        action="append",
        type=Path,
        metavar="FILE",
        default=[],
        help="a Python file with rules of yours; it is executed",
    )
    parser.add_argument("--list", action="store_true", help="show the rules")
    parser.add_argument("--table", action="store_true", help="print the page docs/doctor.md")
    parser.add_argument("--cloud", action="store_true", help="ask Azure too; needs `azd auth login` or `az login`")


def run(options: argparse.Namespace, *, credential: "cloud.Credential | None" = None, transport: Any = None) -> int:
    """0: nothing that fails; 1: errors (with --strict warnings too); 2: not a project, or the command cannot run.

    `credential` and `transport` replace the sign-in and the network of --cloud, for tests.
    """
    from repo_tools.doctor import cloud  # noqa: PLC0415 - the other verbs do without its HTTP client

    try:
        rules = load_rules(tuple(options.rules))
    except (OSError, ImportError, SyntaxError, ValueError) as error:
        return _refuse(f"the rules cannot be loaded: {error}")
    unknown = [name for name in options.rule if name not in {*rules, *(cloud.CHECKS if options.cloud else ())}]
    if unknown:
        return _refuse(f"no rule is called {unknown[0]}; --list shows them, and those of the cloud want --cloud")
    if options.table:
        from repo_tools.doctor import page  # noqa: PLC0415

        print(page.page(rules.values(), [rule for rule, _ in cloud.CHECKS.values()]), end="")
        return 0
    if options.list:
        for rule in (*rules.values(), *(each for each, _ in cloud.CHECKS.values())):
            print(f"{rule.id:24} {rule.severity:8} {rule.title}")
        return 0
    chosen = [rule for name, rule in rules.items() if not options.rule or name in options.rule]
    azure = None
    try:
        project = read_project(options.path)
        reports = examine(project, chosen)
        fixed = 0
        if options.fix:
            edits = [report.finding.edit for report in reports if report.finding.edit]
            # A project may include a file from elsewhere; only its own files are written.
            fixed = apply_edits(edit for edit in edits if edit.file.resolve().is_relative_to(project.root))
            project = read_project(options.path)
            reports = examine(project, chosen)
        if options.cloud:
            azure = cloud.Azure(cloud.environment(project.root), credential or sign_in(), transport)
            with azure.client:
                reports += [Report(rule, finding) for rule, finding in cloud.ask(project, azure, options.rule)]
    except (NotAProject, cloud.CannotAsk, OSError) as error:
        return _refuse(str(error))
    _print(project, chosen, reports, fixed, azure, as_json=options.json)
    if azure and azure.not_checked and not azure.answers:
        return _refuse("Azure was not reached; the lines above say why")
    failing = [report for report in reports if options.strict or report.rule.severity == "error"]
    return 1 if failing else 0


def examine(project: Project, rules: Iterable[Rule]) -> list[Report]:
    """Every finding once, by file and line, those that the project allows left out."""
    reports: dict[tuple[str, Path, int, str], Report] = {}
    for rule in rules:
        for finding in rule.check(project):
            reports.setdefault((rule.id, finding.file, finding.line, finding.message), Report(rule, finding))
    allowed: dict[Path, set[tuple[int, str]]] = {}
    left = []
    for report in reports.values():
        file = report.finding.file
        if file not in allowed:
            allowed[file] = _allowed(file)
        if (report.finding.line, report.rule.id) not in allowed[file]:
            left.append(report)
    return sorted(left, key=lambda each: (project.relative(each.finding.file), each.finding.line, each.rule.id))


def _allowed(file: Path) -> set[tuple[int, str]]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    found = set()
    for number, line in enumerate(lines, start=1):
        for identity in ALLOW.findall(line):
            found.add((number + 1 if line.lstrip().startswith("#") else number, identity))
    return found


def apply_edits(edits: Iterable[Edit]) -> int:
    """Write the changes, the last line of a file first; returns how many were made."""
    by_file: dict[Path, set[Edit]] = {}
    for edit in edits:
        by_file.setdefault(edit.file, set()).add(edit)
    count = 0
    for file, changes in by_file.items():
        try:
            with file.open(encoding="utf-8", newline="") as stream:  # the ends of the lines stay as they are
                lines = stream.readlines()
        except (OSError, UnicodeDecodeError):
            continue  # the findings stay
        touched: set[int] = set()
        for edit in sorted(changes, key=lambda each: (-each.line, each.new)):
            if edit.line == 0:
                end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
                if lines and not lines[-1].endswith("\n"):
                    lines[-1] += end
                lines.append(edit.new + end)
            elif edit.line in touched or edit.line > len(lines):
                continue
            elif edit.old is None:
                del lines[edit.line - 1]
            elif (at := lines[edit.line - 1].find(edit.old, edit.column)) >= 0:
                line = lines[edit.line - 1]
                lines[edit.line - 1] = line[:at] + edit.new + line[at + len(edit.old) :]
            else:
                continue
            touched.add(edit.line)
            count += 1
        file.write_text("".join(lines), encoding="utf-8", newline="")
    return count


def _print(
    project: Project,
    rules: list[Rule],
    reports: list[Report],
    fixed: int,
    azure: "cloud.Azure | None",
    *,
    as_json: bool,
) -> None:
    errors = sum(report.rule.severity == "error" for report in reports)
    warnings = len(reports) - errors
    if as_json:
        findings = [
            {
                "rule": each.rule.id,
                "severity": each.rule.severity,
                "file": project.relative(each.finding.file),
                "line": each.finding.line,
                "message": each.finding.message,
                "why": each.rule.why,
                "fix": each.fix,
                "fixable": each.finding.edit is not None,
            }
            for each in reports
        ]
        counts = {
            "agents": len(project.agents),
            "rules": len(rules),
            "errors": errors,
            "warnings": warnings,
            "fixed": fixed,
        }
        asked = {"deployed": azure.deployed, "not_checked": azure.not_checked} if azure else {}
        print(json.dumps({"path": str(project.root), **counts, **asked, "findings": findings}, indent=2))
        return
    for each in reports:
        place = f"{project.relative(each.finding.file)}:{each.finding.line}"
        print(f"{place}: {each.rule.severity} [{each.rule.id}] {each.finding.message}")
        print(f"    why: {each.rule.why}\n    fix: {each.fix}" + (" (--fix does it)" if each.finding.edit else ""))
    for deployed in azure.deployed if azure else ():
        print(f"deployed: {deployed}")
    for missing in azure.not_checked if azure else ():
        print(f"not checked: {missing}")
    repaired = f", {fixed} lines repaired" if fixed else ""
    print(f"doctor: {len(project.agents)} agents, {len(rules)} rules, {errors} errors, {warnings} warnings{repaired}")


def _refuse(message: str) -> int:
    print(f"doctor: {message}", file=sys.stderr)
    return 2
