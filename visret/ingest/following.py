"""An index that follows folders: what is new, changed or gone there is brought in or removed, for as long as it runs.

The system only says when to look. What is different is found by looking at the files and at the index, so a message
that is lost or comes twice does no harm, and following without messages (`poll`) is the same.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from visret.errors import IndexLocked, InvalidArgument, MissingExtra, VisretError
from visret.folders import expanded
from visret.ingest.differences import Differences
from visret.ingest.discovery import FoundFiles, Source
from visret.ingest.plan import Judge
from visret.ingest.report import Failure, Patterns, Report
from visret.stores.objects import is_address

_log = logging.getLogger(__name__)

REST = 2.0  # seconds without change after which a file counts as written
RESCAN = 600.0  # seconds after which everything is looked at, even if the system has said nothing
MAX_FILES, MAX_BYTES = 32, 16 << 20  # of a batch; the index is locked while it is read
LOCKED_SECONDS = 1.0  # between two tries to write
TICK = 0.5  # seconds between two looks at what waits
WAIT = 1.0 if os.name == "nt" else 60.0  # seconds; on Windows Ctrl-C does not end a wait
NO_ROOM = {errno.ENOSPC, errno.EMFILE}  # inotify's words for too many folders
Made = TypeVar("Made")


def follow(
    paths: Sequence[str | Path],
    *,
    judge: Callable[[], Judge],
    bring: Callable[[FoundFiles, bool], Report],
    remove: Callable[[list[str]], object],
    include: Patterns = (),
    exclude: Patterns = (),
    rest: float = REST,
    poll: float | None = None,
    ignore: Path | None = None,
) -> Generator[Report, None, None]:
    """Keep an index in step with files and folders. Yields a report of each batch; ends only by being closed.

    judge: makes a judge of the index as it is now. bring: reads files into the index; its second argument says whether
    they failed before. remove: removes documents by the paths of their files. include, exclude: as in `Retriever.add`.
    rest: the seconds for which a file must stay as it is before it is read or removed. poll: the seconds between two
    looks where the system does not say what changes, as in folders of other machines; None trusts the system. ignore: a
    folder whose changes mean nothing, such as the index itself.

    While another process writes to the index, it waits. Raises InvalidArgument for a path that is not there, unless it
    is polled for, and for object storage; and MissingExtra without the package that tells of changes.
    """
    if addresses := [path for path in paths if is_address(path)]:
        raise InvalidArgument(
            f"object storage does not tell of changes: run `visret index {addresses[0]} --sync` again, now and then"
        )
    with _changes(paths, poll, ignore) as changed:
        differences = Differences(paths, include=include, exclude=exclude, rest=rest)
        said: set[Failure] = set()
        first, look_at, tick = True, 0.0, min(rest, TICK)
        while True:
            if (now := time.monotonic()) >= look_at:
                changed.clear()
                differences.look(judge(), now)
                new = [one for one in differences.found.failures if one not in said]
                said = set(differences.found.failures)
                ignored = differences.found.ignored if first else []
                if new or ignored:
                    yield Report(0, 0, 0, 0, 0, [], new, 0.0, ignored=ignored)
                # As a large folder takes long to look at, it is looked at less often.
                first, pause = False, 3 * (time.monotonic() - now)
                look_at = time.monotonic() + max(poll or RESCAN, pause)
                soonest = time.monotonic() + max(tick, pause)
            due = differences.due(time.monotonic())
            for sources, again in ((due.changed, False), (due.failed, True)):
                for batch in _batches(sources):
                    found = FoundFiles(list(batch), [], [])
                    report = _when_free(partial(bring, found, again))
                    yield replace(report, failed=differences.done(batch, report, time.monotonic()))
            if due.gone:
                report = _when_free(partial(_removed, judge, due.gone, remove))
                differences.removed(due.gone)
                if report.removed:  # else they have moved
                    yield report
            now, next_due = time.monotonic(), differences.next_due()
            until = look_at if next_due is None else min(look_at, max(next_due, now + tick))
            if changed.wait(max(0.0, min(until - now, WAIT))):
                time.sleep(max(tick, soonest - time.monotonic()))  # more will follow
                look_at = 0.0


def _removed(judge: Callable[[], Judge], paths: Sequence[str], remove: Callable[[list[str]], object]) -> Report:
    """Remove the documents of files that are gone, as far as they have not moved."""
    snapshot = judge().snapshot
    docs = [snapshot.document(number).doc for path in paths if (number := snapshot.at(path)) is not None]
    if docs:
        remove(docs)
    return Report(0, 0, 0, 0, len(docs), [], [], 0.0)


def _batches(sources: Sequence[Source]) -> Iterator[list[Source]]:
    batch: list[Source] = []
    size = 0
    for source in sources:
        try:
            here = source.path.stat().st_size
        except OSError:  # whoever reads it says why
            here = 0
        if batch and (len(batch) == MAX_FILES or size + here > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += here
    if batch:
        yield batch


def _when_free(work: Callable[[], Made]) -> Made:
    """Do the work once no other process writes to the index."""
    told = False
    while True:
        try:
            return work()
        except IndexLocked as error:
            if not told:
                _log.warning("%s; waiting", error)
            told = True
            time.sleep(LOCKED_SECONDS)


@contextmanager
def _changes(paths: Sequence[str | Path], poll: float | None, ignore: Path | None) -> Iterator[threading.Event]:
    """Give an event that is set whenever something changes under the paths; with `poll` it is never set."""
    changed = threading.Event()
    if poll is not None:
        yield changed
        return
    for path in paths:
        if not expanded(path).exists():
            raise InvalidArgument(f"there is no {path} to watch; if it will come, --poll SECONDS waits for it")
    try:
        from watchdog import events
        from watchdog.observers import Observer
    except ImportError as error:
        raise MissingExtra(
            'to be told of changes needs watchdog: pip install "visret[watch]"; or give --poll SECONDS'
        ) from error

    class Handler:
        def dispatch(self, event: Any) -> None:  # all that an observer asks of a handler
            if ignore is None or not Path(str(event.src_path)).is_relative_to(ignore):
                changed.set()

    # Not the events of files that are only read: visret reads them itself.
    kinds = [events.FileCreatedEvent, events.FileModifiedEvent, events.FileClosedEvent, events.FileMovedEvent]
    kinds += [events.FileDeletedEvent, events.DirCreatedEvent, events.DirMovedEvent, events.DirDeletedEvent]
    observer = Observer()
    try:
        for path in {expanded(path).resolve() for path in paths}:
            folder = path if path.is_dir() else path.parent
            observer.schedule(Handler(), str(folder), recursive=path.is_dir(), event_filter=kinds)
        observer.start()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise VisretError(
            f"the system can watch no more folders ({error.strerror}): raise fs.inotify.max_user_watches, or give "
            "--poll SECONDS"
        ) from error
    try:
        yield changed
    finally:
        observer.stop()
        observer.join()
