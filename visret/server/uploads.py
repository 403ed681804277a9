"""The files that clients upload. They lie under safe names in a folder of the index, and are its documents.

A file is never overwritten: the new version of a document is a file beside the old one, which is deleted once the index
names the new one. So a file that no document names was left by a server that was killed.
"""

from __future__ import annotations

import filecmp
import json
import logging
import math
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from itertools import count
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any

from visret.documents import formats
from visret.errors import InvalidArgument
from visret.index import Document, versions
from visret.index.catalogue import load_source
from visret.index.filters import BUILT_IN, JOINS
from visret.index.layout import UPLOADS, UPLOADS_LOCK
from visret.index.writer import writer_lock
from visret.ingest.discovery import FoundFiles, Source
from visret.ingest.options import ReadOptions
from visret.ingest.report import EmptyPage, Failure, Progress, Report
from visret.retriever import Retriever, add_found
from visret.server.answers import without_paths

_log = logging.getLogger(__name__)

PAGE_SECONDS = 20.0  # for a page to be read
MAX_NAME = 120  # characters
MAX_BYTES = 240  # of a name; file systems take 255, and a number may follow
MAX_METADATA_CHARACTERS = 1 << 16
MAX_METADATA_DEPTH, MAX_METADATA_VALUES = 10, 1000  # lists and objects inside each other, and values in all


@dataclass(frozen=True, slots=True)
class Brought:
    """The outcome for a file.

    file: the name that it was given. doc: the name of its document, None if it is in none. change: added, replaced,
    unchanged or failed. state: that of the document. pages: how many of its pages can be found. reason: why it failed.
    """

    file: str
    doc: str | None
    change: str
    state: str
    pages: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Uploaded(Report):
    """A report whose paths are the names that the files were given. files: the outcome for each file, in order."""

    files: list[Brought] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Space:
    """A folder for the uploads of some clients, apart from those of all others.

    name: of the folder, and the beginning of its documents' names. metadata: what every document in it gets. owns: says
    whether a document, which an operator may have given to others, is still theirs.
    """

    name: str
    metadata: Mapping[str, Any]
    owns: Callable[[Document], bool]


@dataclass(frozen=True, slots=True)
class _Place:
    """The place that a file gets. path: in uploads/. earlier: the document of an earlier upload of its name.

    known: whether the same content is at `path` already.
    """

    path: Path
    earlier: Document | None
    known: bool


TAKEN = formats.endings(name for name, reader in formats.READERS.items() if reader.is_taken)


def safe_name(given: str) -> str:
    """Return the last part of a name that a client gave, without characters that mean something to a file system.

    Raises InvalidArgument if nothing is left of it, or if files of its kind are not read.
    """
    last = re.split(r"[/\\]", given)[-1]
    name = "".join("_" if sign in '<>:"|?*' else sign for sign in last if sign.isprintable()).strip(" .")
    path = Path(name)
    if formats.ending(path) not in TAKEN:
        raise InvalidArgument(f"{last!r} is not accepted; files ending in {' '.join(TAKEN)} are")
    stem = path.stem[: MAX_NAME - len(path.suffix)].encode()[: MAX_BYTES - len(path.suffix.encode())]
    return stem.decode(errors="ignore").rstrip(" .") + path.suffix


def keep(paths: Sequence[str | Path], folder: Path) -> list[Path]:
    """Move files into the folder, each under its own name; a number follows if another file has that name."""
    kept = []
    for path in map(Path, paths):
        target, number = folder / path.name, 1
        while target.exists() and not filecmp.cmp(path, target, shallow=False):
            number += 1
            target = target.with_name(f"{path.stem} ({number}){path.suffix}")
        kept.append(Path(shutil.move(path, target)))
    return kept


def add(
    retriever: Retriever,
    folder: Path,
    files: Sequence[tuple[str, IO[bytes]]],
    *,
    metadata: Mapping[str, Any] | None = None,
    space: Space | None = None,
    most_pages: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Uploaded:
    """Bring files, by name, into the index of a folder; what cannot be read is not kept.

    A file replaces an earlier upload of its name once it has been read, and never a file that was not uploaded.
    metadata: None keeps what documents have. space: where the files of some clients lie apart from those of others.
    Raises InvalidArgument, and keeps nothing, for a name that is not allowed, and IndexLocked while another server
    changes its uploads. Only one call may run at a time.
    """
    names = [safe_name(name) for name, _ in files]
    uploads = folder / UPLOADS if space is None else folder / UPLOADS / space.name
    uploads.mkdir(parents=True, exist_ok=True)
    uploads = uploads.resolve()
    how: dict[str, Any] = {"most_pages": most_pages, "page_seconds": PAGE_SECONDS, "progress": progress}
    with writer_lock(folder, UPLOADS_LOCK):
        _tidy(retriever, folder, **how)
        try:
            with tempfile.TemporaryDirectory(dir=uploads, prefix=".") as incoming:
                received = [Path(incoming, str(number), name) for number, name in enumerate(names)]
                for path, (_, file) in zip(received, files, strict=True):
                    path.parent.mkdir()
                    with path.open("wb") as copy:
                        shutil.copyfileobj(file, copy)
                places = _places(retriever, uploads, received, space)
            added, failures = _read(retriever, places, metadata, space, how)
        finally:
            documents = _documents(retriever, uploads)
            _let_go(retriever, folder, uploads)
    brought = [
        _brought(name, place, documents.get(str(place.path)), failures.get(place.path))
        for (name, _), place in zip(files, places, strict=True)
    ]
    return _named(added, brought, {str(place.path): name for (name, _), place in zip(files, places, strict=True)})


def remove(retriever: Retriever, folder: Path, doc: str) -> None:
    """Remove a document from the index of a folder, and delete its file if it was uploaded.

    Raises InvalidArgument if there is no such document.
    """
    document = retriever.document(doc)
    source = document.source
    if source is None or document.member or not Path(source).is_relative_to((folder / UPLOADS).resolve()):
        retriever.remove(doc)
        return
    with writer_lock(folder, UPLOADS_LOCK):
        retriever.remove(doc)
        Path(source).unlink(missing_ok=True)


def recover(
    retriever: Retriever,
    folder: Path,
    *,
    most_pages: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Finish what a killed server has left: read the rest of half a document, delete a file that no document names.

    Raises IndexLocked while another server changes its uploads, which are not abandoned then.
    """
    if (folder / UPLOADS).is_dir():
        with writer_lock(folder, UPLOADS_LOCK):
            _tidy(retriever, folder, most_pages=most_pages, page_seconds=PAGE_SECONDS, progress=progress)


def parse_metadata(text: str) -> dict[str, Any] | None:
    """Parse a JSON object; empty text gives None, which leaves the metadata as it is.

    Raises InvalidArgument for anything that cannot be stored.
    """
    if not text.strip():
        return None
    if len(text) > MAX_METADATA_CHARACTERS:
        raise InvalidArgument(f"metadata is at most {MAX_METADATA_CHARACTERS:,} characters long")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"metadata is not JSON ({error})") from None
    if not isinstance(metadata, dict):
        raise InvalidArgument('metadata is a JSON object such as {"year": 2024}')
    check_metadata(metadata)
    return metadata


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for metadata that cannot be stored."""
    for key in metadata:
        if key in (*BUILT_IN, *JOINS):
            raise InvalidArgument(f"metadata: {key!r} cannot be a key, since filters use it; choose another name")
    level: list[Any] = [metadata]
    parts = 0
    for _ in range(MAX_METADATA_DEPTH + 1):
        parts += len(level)
        for value in level:
            if isinstance(value, float) and not math.isfinite(value):
                raise InvalidArgument("metadata: NaN and Infinity are not JSON; leave the key out, or use null")
        inside = [list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [part for one in inside for part in one]
    if level or parts > MAX_METADATA_VALUES:
        raise InvalidArgument(f"metadata has at most {MAX_METADATA_DEPTH} levels and {MAX_METADATA_VALUES} values")
    try:
        json.dumps(metadata, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidArgument("metadata holds text that is not Unicode") from None


def _places(retriever: Retriever, uploads: Path, received: Sequence[Path], space: Space | None) -> list[_Place]:
    """Move files to where they stay, each beside the file that it may replace."""
    there_now = _documents(retriever, uploads).values()
    kept = there_now if space is None else [document for document in there_now if space.owns(document)]
    earlier = {PurePosixPath(document.doc).name: document for document in kept}
    taken: dict[str, list[_Place]] = {}  # by the names of this request
    used: set[str] = set()
    # Two files of one name are two documents, and one of them may be there already.
    known = {path: path.name in earlier and _holds(earlier[path.name], path) for path in received}
    places = {}
    for path in sorted(received, key=lambda path: not known[path]):
        there = next((one for one in taken.get(path.name, ()) if filecmp.cmp(path, one.path, shallow=False)), None)
        if there is None:
            name = next(name for name in _names(path) if _is_free(name, path, used, earlier))
            used.add(name)
            before = earlier.get(name)
            if before and before.source and _holds(before, path):
                there = _Place(Path(before.source), before, known=True)
            else:
                there = _Place(Path(shutil.move(path, _free(uploads / name))), before, known=False)
            taken.setdefault(path.name, []).append(there)
        places[path] = there
    return [places[path] for path in received]


def _names(path: Path, numbered: str = "{} ({})") -> Iterator[str]:
    """Yield the name of a path, and then the same name with numbers."""
    yield path.name
    yield from (numbered.format(path.stem, number) + path.suffix for number in count(2))


def _is_free(name: str, path: Path, used: Collection[str], earlier: Mapping[str, Document]) -> bool:
    """Return whether a file may take a name. Under its own it replaces what is there; another must be free."""
    return name not in used and (name == path.name or name not in earlier or _holds(earlier[name], path))


def _holds(document: Document, path: Path) -> bool:
    """Return whether a document was made of the same content as a file."""
    source = Path(document.source or "")
    return source.is_file() and filecmp.cmp(source, path, shallow=False)


def _free(path: Path) -> Path:
    """Return the path; if there is such a file, with a number in a form that no client's name has."""
    return next(target for target in map(path.with_name, _names(path, "{}~{}")) if not target.exists())


def _read(
    retriever: Retriever,
    places: Sequence[_Place],
    metadata: Mapping[str, Any] | None,
    space: Space | None,
    how: dict[str, Any],
) -> tuple[list[Report], dict[Path, str]]:
    """Read the files; return the reports, and for each file that did not replace another the reason."""
    if metadata is not None and space is not None:
        metadata = {**metadata, **space.metadata}
    replacing = {place.path: place.earlier for place in places if place.earlier and not place.known}
    reports, failures = [], {}
    if new := list(dict.fromkeys(place.path for place in places if place.path not in replacing)):
        reports.append(_add(retriever, new, metadata, space, how))
    for path, before in replacing.items():
        report = retriever.replace(before.doc, path, metadata=metadata, **how)
        if not report.added:
            reason = f"{report.failed[-1].reason}; the earlier upload of this name stays"
            report = replace(report, failed=[Failure(str(path), None, reason)])
            failures[path] = reason
        reports.append(report)
    return reports, failures


def _add(
    retriever: Retriever,
    new: Sequence[Path],
    metadata: Mapping[str, Any] | None,
    space: Space | None,
    how: dict[str, Any],
) -> Report:
    if space is None:
        return retriever.add(new, metadata=metadata, **how)
    # Named after their space, whatever names are taken; and the same content elsewhere is another document.
    found = FoundFiles([Source(path, f"{space.name}/{path.name}") for path in new], [], [])
    options = ReadOptions(None, "auto", how["most_pages"], how["page_seconds"])
    return add_found(
        retriever, found, options, metadata=metadata or space.metadata, moves=False, progress=how["progress"]
    )


def _documents(retriever: Retriever, uploads: Path) -> dict[str, Document]:
    """Return the documents of uploaded files, by path."""
    documents = map(retriever.document, retriever.documents())
    files = ((one.source, one) for one in documents if one.source and not one.member)
    return {source: one for source, one in files if Path(source).parent == uploads}


def _tidy(retriever: Retriever, folder: Path, **how: Any) -> None:
    """Do what `recover` does; the caller holds the lock."""
    retriever.refresh()
    top = (folder / UPLOADS).resolve()
    for left in [*top.glob(".*"), *top.glob("*/.*")]:
        shutil.rmtree(left, ignore_errors=True)
    for uploads in [top, *(one for one in top.iterdir() if one.is_dir())]:
        _delete_unnamed(retriever, folder, uploads)
        for document in _documents(retriever, uploads).values():
            if document.state == "partial" and Path(str(document.source)).is_file():
                retriever.add([str(document.source)], metadata=dict(document.metadata), **how)
        _let_go(retriever, folder, uploads)


def _let_go(retriever: Retriever, folder: Path, uploads: Path) -> None:
    """Remove documents that failed with their files, and delete files that no document names."""
    for path, document in _documents(retriever, uploads).items():
        if document.state == "failed":
            retriever.remove(document.doc)
            Path(path).unlink(missing_ok=True)
    _delete_unnamed(retriever, folder, uploads)


def _delete_unnamed(retriever: Retriever, folder: Path, uploads: Path) -> None:
    """Delete the uploads that no document is made of, in this version of the index or in those kept beside it.

    Files are compared by name alone: an index that was moved or copied still names their old place.
    """
    sources = [retriever.document(doc).source for doc in retriever.documents()]
    sources += [load_source(source) for (source,) in versions.select(folder, "SELECT source FROM documents")]
    paths = [PurePath(source) for source in sources if source]
    named = {_folded(path.name) for path in paths if path.parent.name == uploads.name}
    for file in uploads.iterdir():
        if _folded(file.name) not in named and file.is_file():
            _log.info("%s: no document is made of it", file)
            with suppress(OSError):  # open on Windows: it is deleted the next time
                file.unlink()


def _folded(name: str) -> str:
    """Return a name as file systems compare it, even those that ignore case or the composition of letters."""
    return unicodedata.normalize("NFC", name).casefold()


def _brought(name: str, place: _Place, document: Document | None, failure: str | None) -> Brought:
    if document is None or document.state == "failed":
        reason = failure or (document.reason if document else None) or "cannot be read"
        return Brought(name, None, "failed", "failed", 0, without_paths(reason))
    change = "unchanged" if place.known else "replaced" if place.earlier else "added"
    return Brought(name, document.doc, change, document.state, len(document.pages), document.reason)


def _named(reports: Sequence[Report], files: list[Brought], names: Mapping[str, str]) -> Uploaded:
    """Merge reports into one, with names in place of paths."""

    def name(path: str) -> str:
        return names.get(path) or PurePath(path).name

    counts = [one.name for one in fields(Report) if one.type == "int"]
    return Uploaded(
        **{count: sum(getattr(report, count) for report in reports) for count in counts},
        empty=[EmptyPage(name(one.path), one.page) for report in reports for one in report.empty],
        failed=[
            Failure(name(one.path), one.page, without_paths(one.reason)) for report in reports for one in report.failed
        ],
        lost=[replace(one, path=name(one.path)) for report in reports for one in report.lost],
        ignored=[name(path) for report in reports for path in report.ignored],
        seconds=round(sum(report.seconds for report in reports), 3),
        files=files,
    )
