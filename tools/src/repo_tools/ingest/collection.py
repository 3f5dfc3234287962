"""The documents of one folder of files, kept up to date: what is new or changed is converted, what is gone is removed.

A manifest beside the documents says what each was made of. Documents and manifest are replaced atomically, and the
manifest is written after the documents: whatever ends a run, the next one finds whole documents and does what is left.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import stat
import threading
import time
import unicodedata
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from repo_tools.ingest.conversion import EMPTY, NO_READERS, Source, document_name, supported, version
from repo_tools.ingest.limits import Limits
from repo_tools.ingest.reader_process import ReaderProcess

MANIFEST = ".manifest.json"
_FORMAT = 1
_SAVE_SECONDS = 2.0
_TEMPORARY = ".converting-"
_REMOVED = ".removed-"

Kind = Literal["added", "changed", "removed", "unchanged", "skipped"]


class CollectionError(Exception):
    """The collection cannot be brought up to date; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about one file."""

    name: str
    kind: Kind
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the manifest holds for a file."""

    size: int
    mtime_ns: int
    sha256: str
    version: str
    document: bool
    """Whether there is a document, of this content or, where there is a problem, of an earlier one."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    name: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class _Scan:
    files: list[_File] = field(default_factory=list)
    skipped: list[Outcome] = field(default_factory=list)
    unreadable_folders: list[str] = field(default_factory=list)


class Collection:
    """The folder `name` below the folder of all documents.

    Raises:
        CollectionError: where a folder of that name was not made by this class.
    """

    def __init__(self, documents: Path, name: str) -> None:
        self.name = name
        self.folder = documents / name
        self.source = ""
        """The folder that the documents come from; empty where there is no collection yet."""
        self._entries: dict[str, _Entry] = {}
        self._saved = 0.0
        self._load()

    @property
    def documents(self) -> int:
        return sum(entry.document for entry in self._entries.values())

    def update(self, source: Path, limits: Limits, report: Callable[[Outcome, int, int], None]) -> None:
        """Make the documents those of the files below `source`.

        `report` is called for each file with its number and the number of files, in the order of their names.

        Raises:
            CollectionError: where nothing was done.
        """
        source = source.resolve()
        if self.source and Path(self.source) != source:
            raise CollectionError(
                f"the collection {self.name!r} holds the documents of {self.source}. Give those of {source} another "
                f'name (ARGS="--name NAME"), or remove the collection first (ARGS="--remove {self.name}").'
            )
        scan = _scan(source, without=self.folder.parent.resolve())
        if not scan.files and not scan.skipped and self.documents:
            raise CollectionError(
                f'{source} is empty. If that is meant, remove its documents: ARGS="--remove {self.name}".'
            )
        self.source = str(source)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._save()  # first, so that a folder with documents always has a manifest
        try:
            removed = self._remove_gone(scan)
            total = len(removed) + len(scan.skipped) + len(scan.files)
            with contextlib.closing(self._converted(scan.files, limits)) as converted:
                for number, outcome in enumerate(itertools.chain(removed, scan.skipped, converted), 1):
                    report(outcome, number, total)
        finally:
            self._save()
        self._sweep()

    def remove(self) -> None:
        """Remove the documents, all or none."""
        remove_leftovers(self.folder.parent)
        self.folder.rename(self.folder.parent / f"{_REMOVED}{self.name}")
        remove_leftovers(self.folder.parent)

    def _remove_gone(self, scan: _Scan) -> list[Outcome]:
        present = {file.name for file in scan.files}
        unknown = tuple(f"{folder}/" for folder in scan.unreadable_folders)
        gone = [name for name in self._entries if name not in present and not name.startswith(unknown)]
        removed = [Outcome(name, "removed") for name in gone if self._entries[name].document]
        for name in gone:
            del self._entries[name]
        self._sweep()
        return removed

    def _converted(self, files: list[_File], limits: Limits) -> Generator[Outcome, None, None]:
        readers = _Readers(limits)
        executor = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 4))
        try:
            futures: list[Future[_Entry | None]] = [
                executor.submit(self._bring_up_to_date, file, self.folder / f"{_TEMPORARY}{number}", readers)
                for number, file in enumerate(files)
            ]
            for number, (file, future) in enumerate(zip(files, futures, strict=True)):
                yield self._record(file, future.result(), self.folder / f"{_TEMPORARY}{number}")
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            readers.kill()
            executor.shutdown()
            readers.close()

    def _bring_up_to_date(self, file: _File, temporary: Path, readers: "_Readers") -> _Entry | None:
        """What the manifest shall hold for the file, with the new document, if there is one, in `temporary`; None where
        the manifest needs no change. Runs in a thread and changes nothing."""
        known = self._entries.get(file.name)
        wanted = version(file.name)
        if known and known.document and not self._document(file.name).is_file():
            known = None
        current = known is not None and known.version == wanted
        if known and current and (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
            return None
        document = known is not None and known.document

        def problem(reason: str) -> _Entry:
            """Not of this version: the next run tries again."""
            return _Entry(file.size, file.mtime_ns, "", "", document, reason)

        if file.size > readers.limits.megabytes * 1_000_000:
            return problem(f"larger than {readers.limits.megabytes:g} MB")
        if not wanted:
            return problem(NO_READERS)
        try:
            with file.path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            return problem(error.strerror or str(error))
        if known and current and known.sha256 == digest:
            return _Entry(file.size, file.mtime_ns, digest, wanted, known.document, known.problem)
        updated = datetime.fromtimestamp(file.mtime_ns / 1e9).date().isoformat()
        failed = readers.of_this_thread().read(Source(file.path, file.name, updated), temporary)
        if failed is None:
            return _Entry(file.size, file.mtime_ns, digest, wanted, document=True)
        if failed.lasting:
            return _Entry(file.size, file.mtime_ns, digest, wanted, document and failed.reason != EMPTY, failed.reason)
        return problem(failed.reason)

    def _record(self, file: _File, entry: _Entry | None, temporary: Path) -> Outcome:
        before = self._entries.get(file.name)
        outcome = Outcome(file.name, "unchanged")
        if temporary.is_file() and entry is not None and not entry.problem:
            document = self._document(file.name)
            outcome = Outcome(file.name, "changed" if before and before.document else "added")
            try:
                document.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(document)
            except OSError as error:
                had = before is not None and before.document
                entry = _Entry(file.size, file.mtime_ns, "", "", had, error.strerror or str(error))
        if entry is not None:
            self._entries[file.name] = entry
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self._save()
        now = self._entries[file.name]
        if now.problem:
            return Outcome(file.name, "skipped", now.problem + (" (its earlier version stays)" if now.document else ""))
        return outcome

    def _document(self, name: str) -> Path:
        return self.folder / f"{document_name(name)}.md"

    def _sweep(self) -> None:
        """Remove documents of files that are gone, and what an interrupted run left."""
        wanted = {self._document(name) for name, entry in self._entries.items() if entry.document}
        wanted.add(self.folder / MANIFEST)
        for folder, _, names in os.walk(self.folder, topdown=False):
            for name in names:
                if Path(folder, name) not in wanted:
                    Path(folder, name).unlink()
            with contextlib.suppress(OSError):  # not empty
                Path(folder).rmdir()

    def _load(self) -> None:
        try:
            manifest = json.loads((self.folder / MANIFEST).read_bytes())
            if manifest["format"] == _FORMAT:
                entries = {name: _Entry(**entry) for name, entry in manifest["files"].items()}
                self.source, self._entries = manifest["folder"], entries
        except FileNotFoundError:
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise CollectionError(
                    f"{self.folder} was not made by ingest, which would replace what is in it. Choose another name: "
                    'ARGS="--name NAME".'
                ) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # damaged, and ours: everything is converted again

    def _save(self) -> None:
        files = {name: asdict(entry) for name, entry in sorted(self._entries.items())}
        temporary = self.folder / f"{_TEMPORARY}manifest"
        manifest = {"format": _FORMAT, "folder": self.source, "files": files}
        temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        temporary.replace(self.folder / MANIFEST)
        self._saved = time.monotonic()


class _Readers:
    """One reader process for each thread that needs one."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._local = threading.local()
        self._lock = threading.Lock()
        self._all: list[ReaderProcess] = []
        self._killed = False

    def of_this_thread(self) -> ReaderProcess:
        reader: ReaderProcess | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = ReaderProcess(self.limits)
            with self._lock:
                self._all.append(reader)
                if self._killed:
                    reader.kill()
        return reader

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            for reader in self._all:
                reader.kill()

    def close(self) -> None:
        for reader in self._all:
            reader.close()


def _scan(source: Path, *, without: Path) -> _Scan:
    """The files below `source`, without hidden ones and the lock files of word processors."""
    scan = _Scan()

    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(source).as_posix()
        scan.unreadable_folders.append(name)
        scan.skipped.append(Outcome(f"{name}/", "skipped", f"{error.strerror} (what it held stays)"))

    for folder, folders, names in os.walk(source, onerror=unreadable):
        links = [name for name in folders if not _hidden(name) and Path(folder, name).is_symlink()]
        folders[:] = sorted(
            name for name in folders if not _hidden(name) and name not in links and Path(folder, name) != without
        )
        for name in sorted([*links, *names]):
            path = Path(folder, name)
            if not _hidden(name):
                _add(scan, source, path, path.relative_to(source).as_posix())
    scan.files.sort(key=lambda file: file.name)
    scan.skipped.sort(key=lambda outcome: outcome.name)
    return scan


def _hidden(name: str) -> bool:
    return name.startswith((".", "~$"))


def _add(scan: _Scan, source: Path, path: Path, name: str) -> None:
    def skip(reason: str) -> None:
        scan.skipped.append(Outcome(_printable(name), "skipped", reason))

    if _printable(name) != name:
        return skip("its name holds characters that cannot be shown")
    try:
        properties = path.stat()
        if not path.resolve().is_relative_to(source):
            return skip("symbolic link that leaves the folder")
    except OSError as error:
        return skip("broken symbolic link" if path.is_symlink() else error.strerror or str(error))
    if stat.S_ISDIR(properties.st_mode):
        return skip("symbolic link to a folder, whose files are taken where they are")
    if not stat.S_ISREG(properties.st_mode):
        return skip("not a regular file")
    if not supported(name):
        return skip("unsupported type")
    scan.files.append(_File(path, name, properties.st_size, properties.st_mtime_ns))
    return None


def _printable(name: str) -> str:
    """Without control characters, and without bytes that are not text."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(one) in ("Cc", "Cs") else one for one in name)


def collections(documents: Path) -> list[Collection]:
    """All that there are, by name."""
    names = sorted(manifest.parent.name for manifest in documents.glob(f"*/{MANIFEST}"))
    return [Collection(documents, name) for name in names if not name.startswith(_REMOVED)]


def remove_leftovers(documents: Path) -> None:
    """Of a removal that did not come to its end."""
    for folder in documents.glob(f"{_REMOVED}*"):
        shutil.rmtree(folder)
