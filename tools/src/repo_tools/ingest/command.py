"""The verb `ingest`: which folder, into which collection, and what the user sees of it."""

import argparse
import contextlib
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dotenv import load_dotenv

from repo_tools.ingest.collection import Collection, CollectionError, Outcome, collections, remove_leftovers
from repo_tools.ingest.limits import Limits
from repo_tools.repository import ROOT

AGENT = "rag-chat"
USAGE = "name a folder: make ingest DOCS=path/to/folder"
_NAME = re.compile(r"[^\W_][^/\\\x00-\x1f]*")


def documents_folder() -> Path:
    """Where the agent looks when it is started by `make run`."""
    load_dotenv(ROOT / ".env")
    if given := os.environ.get("DOCUMENTS_DIR"):
        return Path(given).expanduser()
    root = os.environ.get("AGENTSERVER_STATE_ROOT") or str(ROOT / ".state")
    return Path(root).expanduser() / AGENT / "documents"


def ingest(options: argparse.Namespace) -> int:
    """Returns the exit code: 0 when done, 1 when no file could be read, 2 when nothing was tried, 130 after Ctrl-C."""
    documents = documents_folder()
    try:
        if options.list:
            return _list(documents)
        with _alone(documents):
            if options.remove:
                return _remove(documents, options.remove)
            if options.folder is None:
                raise CollectionError(f"{USAGE}. ARGS=--list shows what was ingested before.")
            return _update(documents, options)
    except CollectionError as error:
        print(f"ingest: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ingest: {documents} cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2


def _update(documents: Path, options: argparse.Namespace) -> int:
    folder: Path = options.folder.expanduser()
    if not folder.is_dir():
        raise CollectionError(f"{folder} is not a folder; {USAGE}")
    if folder.resolve().is_relative_to(documents.resolve()):
        raise CollectionError(f"{folder} holds documents made by ingest; name the folder that they come from.")
    name = options.name or folder.resolve().name
    if not _NAME.fullmatch(name):
        raise CollectionError(f'{name!r} cannot be the name of a collection. Give another: ARGS="--name NAME".')
    collection = Collection(documents, name)
    counts: Counter[str] = Counter()
    start = time.monotonic()

    def report(outcome: Outcome, number: int, total: int) -> None:
        counts[outcome.kind] += 1
        if outcome.kind != "unchanged":
            reason = f": {outcome.reason}" if outcome.reason else ""
            print(f"{number:>{len(str(total))}}/{total}  {outcome.kind:<8} {outcome.name}{reason}", flush=True)

    interrupted = False
    try:
        collection.update(folder, Limits(options.max_mb, options.max_seconds, options.max_memory_mb), report)
    except KeyboardInterrupt:
        interrupted = True
    seconds = time.monotonic() - start
    converted = counts["added"] + counts["changed"]
    rate = f" ({converted / seconds:.1f} converted a second)" if converted else ""
    print(
        f"{name}: {', '.join(f'{counts[kind]} {kind}' for kind in ('added', 'changed', 'removed', 'unchanged'))}, "
        f"{counts['skipped']} skipped in {seconds:.1f} s{rate}; {collection.documents} documents",
        flush=True,
    )
    if interrupted:
        print("ingest: interrupted; the same command does the rest", file=sys.stderr)
        return 130
    if counts["added"] or counts["changed"] or counts["removed"]:
        print(f"{AGENT} answers from them from its next start on: make run AGENT={AGENT}")
    return 1 if counts["skipped"] and not collection.documents else 0


def _list(documents: Path) -> int:
    found = collections(documents)
    for collection in found:
        print(f"{collection.name}  {collection.documents} documents of {collection.source}")
    if not found:
        print(f"Nothing was ingested yet; {USAGE}")
    return 0


def _remove(documents: Path, name: str) -> int:
    found = {collection.name: collection for collection in collections(documents)}
    if name not in found:
        raise CollectionError(f"there is no collection {name!r}. There are: {', '.join(found) or 'none'}")
    found[name].remove()
    print(f"{name}: {found[name].documents} removed; {AGENT} forgets them with its next start")
    return 0


@contextlib.contextmanager
def _alone(documents: Path) -> Iterator[None]:
    """Two runs at once would undo each other's work."""
    documents.mkdir(parents=True, exist_ok=True)
    with (documents / ".lock").open("w") as lock:
        try:
            import fcntl  # noqa: PLC0415 - not on Windows, where two runs are the user's care

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError:
            raise CollectionError("another ingest is running; wait for its end.") from None
        remove_leftovers(documents)
        yield
