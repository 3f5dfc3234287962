"""`python -m repo_tools evaluate AGENT`: ask, judge, print, write, and hold the thresholds."""

import argparse
import asyncio
import sys
from collections.abc import Callable

from agent_runtime.settings import SettingsError
from dotenv import load_dotenv

from repo_tools.evaluation import report
from repo_tools.evaluation.comparison import compare, read_run
from repo_tools.evaluation.gates import below_target, read_thresholds, shortfalls
from repo_tools.evaluation.langgraph_planner import langgraph_planner
from repo_tools.evaluation.questions import SPLITS
from repo_tools.evaluation.rag_chat import rag_chat
from repo_tools.evaluation.results import Evaluation, EvaluationError
from repo_tools.evaluation.webhook_extractor import webhook_extractor
from repo_tools.repository import ROOT

EVALUATIONS: dict[str, Callable[[], Evaluation]] = {
    "rag-chat": rag_chat,
    "webhook-extractor": webhook_extractor,
    "langgraph-planner": langgraph_planner,
}


def run(options: argparse.Namespace) -> int:
    """Do what `repo_tools.__main__` parsed.

    Returns the exit code: 1 where a threshold is not held or a question was not answered, 2 where nothing was done.
    """
    if options.agent not in (None, *EVALUATIONS):
        print(
            f"evaluate: there is no evaluation of {options.agent}. There are: {', '.join(EVALUATIONS)}", file=sys.stderr
        )
        return 2
    if options.question and not options.agent and len(EVALUATIONS) > 1:
        print(f"evaluate: name the agent that --question is for: {', '.join(EVALUATIONS)}", file=sys.stderr)
        return 2
    if options.at_once < 1:
        print("evaluate: --at-once must be 1 or more", file=sys.stderr)
        return 2
    load_dotenv(ROOT / ".env")
    try:
        if options.compare:
            print("\n".join(compare(*map(read_run, options.compare))))
            return 0
        chosen = [options.agent] if options.agent else list(EVALUATIONS)
        return max(_evaluate(EVALUATIONS[name](), options) for name in chosen)
    except (EvaluationError, SettingsError, RuntimeError) as error:
        for line in str(error).splitlines():
            print(f"evaluate: {line}", file=sys.stderr)
        return 2


def _evaluate(evaluation: Evaluation, options: argparse.Namespace) -> int:
    gated = not options.no_gate and not options.question
    thresholds = read_thresholds(evaluation.folder / "thresholds.yaml") if gated else {}
    splits = SPLITS if options.split == "all" else (options.split,)
    done = asyncio.run(evaluation.judge(splits, options.question, options.at_once))
    data, text = report.write(done, evaluation, options.output or ROOT / ".state" / "evaluations")
    print("\n".join(report.summary(done, evaluation)))
    if options.question:
        print("", *report.misses(done), sep="\n")
    print(f"\nmisses: {text}\neach question: {data}")
    short = shortfalls(done, evaluation, thresholds)
    for line in short:
        print(f"falls short: {line}")
    for line in below_target(done, evaluation, thresholds):
        print(f"below its target: {line}")
    return 1 if short or any(one.error for one in done.judged) else 0
