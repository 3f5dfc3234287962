"""The command line of the repository's tools: `python -m repo_tools --help`."""

import argparse
import sys
from pathlib import Path

from repo_tools import code_style, lock
from repo_tools.doctor import command as doctor_command
from repo_tools.ingest.limits import Limits
from repo_tools.repository import ROOT, agents


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="repo_tools", description="The verbs of this repository.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    run = verbs.add_parser("run", help="start the agents on this machine and show their logs")
    run.add_argument("agents", nargs="*", metavar="AGENT", help="which ones (default: all)")
    run.add_argument("--ready-timeout", type=float, default=120.0, metavar="SECONDS", help="default: %(default)s")

    relock = verbs.add_parser("lock", help="write the hashed locks")
    relock.add_argument("--upgrade", action="store_true", help="take newer versions where the ranges allow them")
    ingest = verbs.add_parser("ingest", help="take a folder of your own documents into rag-chat")
    limits = Limits()
    ingest.add_argument("folder", nargs="?", type=Path, help="with markdown, text, HTML, PDF and DOCX files")
    ingest.add_argument("--name", help="of the collection (default: the folder's name)")
    ingest.add_argument("--list", action="store_true", help="show the collections")
    ingest.add_argument("--remove", metavar="NAME", help="remove a collection")
    ingest.add_argument("--max-mb", type=float, default=limits.megabytes, help="size of a file (%(default)g)")
    ingest.add_argument("--max-seconds", type=float, default=limits.seconds, help="for a file (%(default)g)")
    ingest.add_argument("--max-memory-mb", type=int, default=limits.memory_megabytes, help="for a file (%(default)s)")
    bench = verbs.add_parser("bench", help="measure speed and memory against baselines of the same run")
    bench.add_argument("benchmark", nargs="?", help="which one (default: all)")
    bench.add_argument("--size", type=int, metavar="N", help="of the benchmark: passages, conversations")
    evaluate = verbs.add_parser("evaluate", help="ask an agent questions with known answers, and judge what it says")
    evaluate.add_argument("agent", nargs="?", help="which one (default: all that have an evaluation)")
    evaluate.add_argument("--split", choices=["development", "test", "all"], default="all", help="default: %(default)s")
    evaluate.add_argument("--question", metavar="ID", help="this one only; thresholds are for whole splits")
    evaluate.add_argument("--output", type=Path, metavar="DIR", help="of the results (default: .state/evaluations)")
    evaluate.add_argument("--no-gate", action="store_true", help="do not fail where a threshold is not held")
    evaluate.add_argument("--at-once", type=int, default=2, metavar="N", help="conversations (default: %(default)s)")
    evaluate.add_argument("--compare", nargs=2, type=Path, metavar=("A.json", "B.json"), help="two runs; asks nothing")
    search_index = verbs.add_parser(
        "search-index",
        help="fill the index of Azure AI Search that rag-chat can search",
        epilog="Roles: push needs Search Index Data Contributor, create and delete Search Service Contributor, "
        "the agent's identity Search Index Data Reader.",
    )
    search_index.add_argument("action", choices=["create", "push", "delete"])
    search_index.add_argument("--docs", type=Path, metavar="DIR", help="push this folder alone (default: rag-chat's)")
    search_index.add_argument("--dry-run", action="store_true", help="say what would be done; push reads the index")
    verbs.add_parser("deploy", help="deploy, list, show, delete and ask agents in Foundry without azd", add_help=False)
    doctor = verbs.add_parser("doctor", help="say what a deployment would fail on, before Azure does")
    doctor_command.add_arguments(doctor, ROOT)
    ejected = verbs.add_parser("eject", help="write a project of one agent that needs nothing of this repository")
    ejected.add_argument("agent", help="which one")
    ejected.add_argument("--to", type=Path, metavar="DIR", help="a new or empty folder (default: dist/AGENT)")
    images = verbs.add_parser("images", help="build the agents' images, and write what is in them")
    images.add_argument("agents", nargs="*", metavar="AGENT", help="which ones (default: all)")
    images.add_argument("--engine", choices=["docker", "podman", "buildah"], help="default: the first that works")
    images.add_argument("--only-sbom", action="store_true", help="build nothing, write the bills of materials")
    images.add_argument("--try", action="store_true", dest="try_each", help="run each once, ask it and measure it")
    images.add_argument(
        "--output", type=Path, default=ROOT / "dist", metavar="DIR", help="of the bills (default: dist)"
    )
    verbs.add_parser("manifests", help="write each agent's agent.manifest.yaml from its agent.yaml and azure.yaml")
    verbs.add_parser("graph", help="draw langgraph-planner's graph into its README")
    verbs.add_parser("lint", help="check style and formatting")
    verbs.add_parser("format", help="format the code and fix what can be fixed")

    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["deploy"]:
        # It has verbs of its own, and only it needs the SDK of Foundry.
        from repo_tools.deploy import command as deploy_command  # noqa: PLC0415

        return deploy_command.main(given[1:])
    options = parser.parse_args(given)
    if options.verb in ("run", "images", "eject"):
        try:
            known = {agent.name: agent for agent in agents()}
        except ValueError as error:
            print(f"{options.verb}: {error}", file=sys.stderr)
            return 2
        names = [options.agent] if options.verb == "eject" else options.agents
        unknown = [name for name in names if name not in known]
        if unknown:
            print(f"{options.verb}: no agent is called {unknown[0]}. There are: {', '.join(known)}", file=sys.stderr)
            return 2
        chosen = [agent for agent in known.values() if not names or agent.name in names]
        if options.verb == "eject":
            from repo_tools.eject import command as eject_command  # noqa: PLC0415

            return eject_command.run(chosen[0], options.to or ROOT / "dist" / options.agent)
        if options.verb == "images":
            from repo_tools import images as agent_images  # noqa: PLC0415

            return agent_images.run(
                chosen,
                engine=options.engine,
                only_sbom=options.only_sbom,
                try_each=options.try_each,
                output=options.output,
            )
        # Only this verb needs the agents' packages; the others must work while those are broken.
        from repo_tools import run_agents  # noqa: PLC0415

        return run_agents.run(chosen, ready_timeout=options.ready_timeout)
    if options.verb == "bench":
        from repo_tools.benchmarks import BENCHMARKS  # noqa: PLC0415

        if options.benchmark not in (None, *BENCHMARKS):
            print(
                f"bench: no benchmark is called {options.benchmark}. There are: {', '.join(BENCHMARKS)}",
                file=sys.stderr,
            )
            return 2
        chosen_benchmarks = [options.benchmark] if options.benchmark else list(BENCHMARKS)
        return max(BENCHMARKS[name](options.size) for name in chosen_benchmarks)
    if options.verb == "evaluate":
        from repo_tools.evaluation import command  # noqa: PLC0415

        return command.run(options)
    if options.verb == "ingest":
        from repo_tools.ingest.command import ingest as ingest_folder  # noqa: PLC0415

        return ingest_folder(options)
    if options.verb == "search-index":
        from repo_tools.search_index import command as search_index_command  # noqa: PLC0415

        return search_index_command.run(options)
    if options.verb == "doctor":
        return doctor_command.run(options)
    if options.verb == "graph":
        from repo_tools import graph_picture  # noqa: PLC0415

        return graph_picture.write()
    if options.verb == "manifests":
        from repo_tools import manifest  # noqa: PLC0415

        return manifest.write_all()
    if options.verb == "lock":
        return lock.lock(upgrade=options.upgrade)
    return code_style.lint() if options.verb == "lint" else code_style.format_code()


if __name__ == "__main__":
    sys.exit(main())
