"""What a run says to a reader: a table for each split, the questions that fell short, and both as files."""

from collections.abc import Sequence
from pathlib import Path

from repo_tools.evaluation.results import Evaluation, Judged, Run


def parts(judged: Sequence[Judged], apart: Sequence[str]) -> dict[str, list[Judged]]:
    """The columns of a table: all, all without the categories that are reported apart, and each category."""
    columns = {"all": list(judged)}
    if any(one.category in apart for one in judged):
        columns[f"all but_{', '.join(apart)}"] = [one for one in judged if one.category not in apart]
    for one in judged:
        columns.setdefault(one.category, []).append(one)
    return columns


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text: the first column to the left, the others to the right. An underscore in the head breaks a line."""
    broken = [cell.split("_") for cell in head]
    height = max(map(len, broken))
    heads = [[cell[line] if line < len(cell) else "" for cell in broken] for line in range(height)]
    widths = [max(len(row[place]) for row in [*heads, *rows]) for place in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [*heads, *rows]
    ]
    return [*lines[:height], "  ".join("-" * width for width in widths), *lines[height:]]


def number(value: float | None) -> str:
    """Counts and times whole, shares with three places that are cut, so that only a full share shows as 1.000."""
    if value is None:
        return "-"
    if isinstance(value, int) or value > 1:
        return f"{value:.0f}"
    return f"{int(value * 1000 + 1e-9) / 1000:.3f}"


def summary(run: Run, evaluation: Evaluation) -> list[str]:
    """The setup and the tables, as lines."""
    setup = ", ".join(f"{name}: {value}" for name, value in run.setup.items())
    lines = [f"{run.agent} at {run.commit}, {setup}", f"{len(run.judged)} questions in {run.seconds:.0f} s"]
    for split in run.splits:
        judged = [one for one in run.judged if one.split == split]
        columns = parts(judged, evaluation.apart)
        rows = [["questions", *(str(len(part)) for part in columns.values())]]
        for name, figure in evaluation.figures.items():
            rows.append([name, *(number(figure(part)) for part in columns.values())])
        lines += ["", *table([split, *columns], rows), *evaluation.remarks(judged)]
    errors = sum(1 for one in run.judged if one.error)
    if errors:
        lines += ["", f"{errors} questions were not answered at all; see the misses"]
    return lines


def misses(run: Run) -> list[str]:
    """Each question that fell short, with what was expected and what was found, as markdown."""
    short = [one for one in run.judged if one.misses or one.error]
    lines = [f"## Misses: {len(short)} of {len(run.judged)} questions", ""]
    for one in short:
        lines.append(f"### {one.id} ({one.split}, {one.category})")
        lines += ["", *(f"- asked: {_line(turn)}" for turn in one.turns)]
        lines.append(f"- answer: {_line(one.answer) or '(none)'}")
        lines += [f"- {_line(miss)}" for miss in ([one.error] if one.error else one.misses)]
        lines.append("")
    return lines


def write(run: Run, evaluation: Evaluation, folder: Path) -> tuple[Path, Path]:
    """The run as JSON, and as markdown; gives the two files."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text = folder / f"{run.name}.json", folder / f"{run.name}.md"
    data.write_text(run.model_dump_json(indent=1) + "\n", encoding="utf-8")
    lines = [f"# Evaluation of {run.agent}, {run.started:%Y-%m-%d %H:%M} UTC", ""]
    lines += ["```", *summary(run, evaluation), "```", "", *misses(run)]
    text.write_text("\n".join(lines), encoding="utf-8")
    return data, text


def _line(text: str) -> str:
    return " ".join(text.split())
