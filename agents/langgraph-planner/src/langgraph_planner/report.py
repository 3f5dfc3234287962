"""What the planner says to people, written from its records: what happened, and nothing that a model thinks."""

from collections.abc import Mapping, Sequence
from typing import Any

_MARKS = {
    "done": "Done",
    "failed": "Failed",
    "unknown": "Not known",
    "skipped": "Not done",
    "rejected": "Not approved",
}


def report(runbook: str, records: Sequence[Mapping[str, Any]], *, stopped_in: Sequence[tuple[str, str]] = ()) -> str:
    """One line for each step, in order, with what its tool said or why it was not done. `stopped_in` are the tools of
    the steps in which the run was stopped, and what became of each."""
    done = sum(record["status"] == "done" for record in records)
    lines = [f"I followed the runbook “{runbook}”: {done} of {len(records)} steps were done.", ""]
    for number, record in enumerate(records, start=1):
        said = record.get("output", {}).get("summary") or record.get("reason") or _found(record)
        lines.append(f"{number}. {_MARKS[record['status']]} — {record['tool']}: {said}")
    for number, (tool, became) in enumerate(stopped_in, start=len(records) + 1):
        lines.append(f"{number}. Stopped — {tool}: {became}")
    return "\n".join(lines)


def ask_for_approval(tool: str, arguments: Mapping[str, Any], foreseen: str = "") -> str:
    """`foreseen` says what the call would do better than its arguments can."""
    named = ", ".join(f"{name} {value}" for name, value in arguments.items() if value is not None)
    what = foreseen or f"{named.removesuffix('.')}."
    return f"{tool} cannot be undone and needs your approval: {what}"


def ask_for_information(tool: str, names: Sequence[str], reason: str) -> str:
    """One question with all that a step lacks."""
    lacking = " and ".join(name.replace("_", " ") for name in names)
    return (
        f"What is the {lacking}? I need it for {tool} ({reason.rstrip('.')}), and nobody said it so far."
        " If it is not known, say so: I then go on without this step."
    )


def ask_for_plan(plan: Mapping[str, Any], problems: Sequence[str]) -> str:
    """The plan in words, with what is wrong with an edited one."""
    wrong = ["The edited plan cannot be carried out:", *(f"- {problem}" for problem in problems), ""]
    marks = {True: " (asks for approval)", False: ""}
    steps = [
        f"{number}. {step['tool']}{marks[step['irreversible']]} — {step['reason']}"
        for number, step in enumerate(plan["steps"], start=1)
    ]
    ready = "The plan is ready and none of it was done. Approve run_plan to have it carried out."
    return "\n".join([*(wrong if problems else []), ready, *steps])


def not_run(runbook: str, reason: str) -> str:
    return f"The plan by the runbook “{runbook}” was not approved: {reason}. Nothing was done."


def nothing_fits(titles: Sequence[str]) -> str:
    listed = "\n".join(f"- {title}" for title in titles)
    return f"No runbook applies to this case, so nothing was done. I can plan these:\n{listed}"


def no_plan(runbook: str, problems: Sequence[str]) -> str:
    listed = "\n".join(f"- {problem}" for problem in problems)
    return (
        f"The runbook “{runbook}” applies, but no plan that can be carried out came of it. Nothing was done.\n{listed}"
    )


def _found(record: Mapping[str, Any]) -> str:
    """The handbook's search has no summary: its passages speak for themselves."""
    passages = record.get("output", {}).get("passages", [])
    if not passages:
        return "nothing was found."
    return "found " + "; ".join(dict.fromkeys(f"“{passage['title']}”" for passage in passages[:3])) + "."
