"""Dead letters: list them, show one with its cause and payload, queue one or all again.

`python -m webhook_extractor.dead_letters list | show ID | replay ID | replay --all`. Works on the inbox file with the
agent running or not; a running agent takes up what was queued within two seconds.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from agent_runtime.settings import SettingsError, load_settings

from webhook_extractor.inbox import InboxUnavailable, Record
from webhook_extractor.open_inbox import open_inbox
from webhook_extractor.settings import WebhookExtractorSettings


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "replay" and bool(options.id) == options.all:
        parser.error("replay needs an ID, or --all")
    try:
        settings = load_settings(WebhookExtractorSettings)
        if not settings.hosted and not settings.inbox_file.exists():
            print(
                f"dead_letters: no inbox at {settings.inbox_file}; is AGENTSERVER_STATE_ROOT the agent's?",
                file=sys.stderr,
            )
            return 2
        return asyncio.run(_run(settings, options))
    except (SettingsError, InboxUnavailable) as error:
        print(f"dead_letters: {error}", file=sys.stderr)
        return 2


async def _run(settings: WebhookExtractorSettings, options: argparse.Namespace) -> int:
    inbox = open_inbox(settings)
    await inbox.open(to_work=False)
    try:
        if options.command == "list":
            return _list(await inbox.dead_letters(options.limit))
        if options.command == "show":
            return _show(await inbox.get(options.id))
        replayed = await inbox.replay(None if options.all else options.id)
        if not replayed and options.id:
            print(f"dead_letters: {options.id} is not a dead letter", file=sys.stderr)
            return 1
        print(f"Queued again: {replayed}")
        return 0
    finally:
        await inbox.close()


def _list(records: list[Record]) -> int:
    for record in records:
        print(
            f"{record.id}  {_time(record.ended_at)}  {record.source}  {record.attempts} attempts  {record.error_code}"
        )
    if not records:
        print("No dead letters.")
    return 0


def _show(record: Record | None) -> int:
    if record is None or record.state != "dead":
        print("dead_letters: no dead letter with this id", file=sys.stderr)
        return 1
    shown = {
        "invocation_id": record.id,
        "source": record.source,
        "delivery_id": record.delivery_id,
        "event": record.event,
        "attempts": record.attempts,
        "accepted_at": _time(record.accepted_at),
        "ended_at": _time(record.ended_at),
        "error": {"code": record.error_code, "message": record.error_message},
        "payload": record.body.decode(errors="replace"),
    }
    print(json.dumps(shown, indent=2, ensure_ascii=False))
    return 0


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m webhook_extractor.dead_letters",
        description="Deliveries that failed after their last attempt: list, show, queue again.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the newest first")
    listing.add_argument("--limit", type=int, default=100)
    commands.add_parser("show", help="one, with its cause and payload").add_argument("id")
    replay = commands.add_parser("replay", help="queue one again, or all, with all attempts")
    replay.add_argument("id", nargs="?")
    replay.add_argument("--all", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
