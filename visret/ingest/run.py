"""A run: files are found, planned, read, encoded and recorded; a failure is reported, and stops nothing.

Worker processes read pages ahead of the encoder: what a file does to the library that reads it costs a page or that
file. The caller's thread encodes batches across files, and what is encoded is recorded meanwhile. A page is in the
index from its commit on. When it is run again, unchanged files are left alone and the rest goes on where it stopped.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from visret import arguments, ocr
from visret.encoders import _scripts
from visret.errors import InvalidArgument, PageIndexError
from visret.folders import expanded
from visret.index import PageIndex, renditions
from visret.index.model import check_same, record
from visret.ingest import reader, recorder
from visret.ingest.costs import File
from visret.ingest.discovery import Source, discover, given_paths
from visret.ingest.encoding import batch_pages, batches, encode
from visret.ingest.options import ReadOptions
from visret.ingest.plan import (
    Begin,
    Judge,
    Plan,
    Update,
    is_other,
    metadata_of_files,
    plan_again,
    plan_files,
    plan_removals,
)
from visret.ingest.progress import Watch
from visret.ingest.reader import Reader, lane_count
from visret.ingest.recorder import Recorder
from visret.ingest.report import EmptyPage, Failure, Metadata, Patterns, Progress, Report
from visret.ingest.stored import Stored, stored_document, webp
from visret.ingest.tasks import Read, Task, file_ahead
from visret.reduction import Storage
from visret.types import Encoder, Page, PageEmbedding, PageRef

_log = logging.getLogger(__name__)

BATCH_SECONDS = 10.0  # pages that come slowly, as by OCR, do not wait for a full batch

Tell = Callable[[Progress], None] | None


def add(  # `Retriever.add` explains the arguments
    index: PageIndex,
    encoder: Encoder,
    paths: str | Path | Iterable[str | Path],
    options: ReadOptions,
    *,
    metadata: Metadata = None,
    include: Patterns = (),
    exclude: Patterns = (),
    sync: bool = False,
    retry_failed: bool = False,
    progress: Tell = None,
) -> Report:
    """Bring files and folders into the index."""
    paths = given_paths(paths)
    options = _usable(options, encoder)
    found = discover(paths, include=include, exclude=exclude)
    metadata_of = metadata_of_files(metadata)
    done = Progress()
    with index.writing() as writer:
        check_same(index.path, index.model, encoder)  # another process may have made the index anew
        judge = Judge(index.snapshot, options, retry_failed=retry_failed)
        plan = plan_files(index, found.sources, judge, metadata_of)
        if sync:
            plan_removals(plan, judge.snapshot, paths, found.sources)
        recorded = Recorder(writer, options, metadata_of, done)
        tasks = recorded.carry_out(plan, found)
        _Run(encoder, options, recorded, progress).read(tasks)
        return recorded.report(len(found.sources) + len(found.failures) + recorded.inside)


def replace_document(  # `Retriever.replace` explains the arguments
    index: PageIndex,
    encoder: Encoder,
    doc: str,
    path: Path,
    options: ReadOptions,
    *,
    metadata: Mapping[str, Any] | None,
    progress: Tell,
) -> Report:
    """Read a file, and put it in the place of a document, in one commit."""
    path = expanded(path).resolve()
    options = _usable(options, encoder)
    done = Progress()
    try:
        with index.writing() as writer:
            check_same(index.path, index.model, encoder)
            before, judge = index.snapshot.document(doc), Judge(index.snapshot, options)
            stat = path.stat()
            task = Task(Source(path, doc), doc, 0, stat.st_size, None, set(), mtime_ns=stat.st_mtime_ns)
            task.known = judge.known_members(before)
            plan = Plan([Update(before.number, {"source": str(path), "member": ""})])  # the file is its new version
            plan.steps += [Update(member.number, {"source": str(path)}) for member in judge.members_of(before)]
            plan.steps.append(Begin(task, metadata))
            recorded = Recorder(writer, options, lambda _: None, done)
            _Run(encoder, options, recorded, progress, commits=False).read(recorded.carry_out(plan))
            if not recorded.added:
                raise _Unread  # nothing of it is published then
    except OSError as error:
        failure = Failure(str(path), None, error.strerror or str(error))
        return Report(1, 0, 0, 0, 0, [], [failure], round(done.seconds, 3))
    except _Unread:
        recorded.pages = 0
    return recorded.report(1)


class _Unread(Exception):
    """A file that was to replace a document could not be read."""


def reindex(  # `Retriever.reindex` explains the arguments
    index: PageIndex,
    encoder: Encoder,
    storage: Storage,
    options: ReadOptions,
    *,
    progress: Tell,
) -> Report:
    """Read every document again, into a new index that takes the place of this one when it has all of them."""
    options = _usable(options, encoder)
    with index.reindexing(record(encoder), storage) as (new, writer):
        before = {document.source: document for document in index.snapshot.documents()}
        documents, done = len(new.snapshot.docs()), Progress()
        plan = plan_again(new, Judge(new.snapshot, options))
        recorded = Recorder(writer, options, lambda _: None, done)
        tasks = recorded.carry_out(plan)
        stored = [stored_document(index, task, options) for task in plan.stored]
        _Run(encoder, options, recorded, progress).read(tasks, stored)
        report = recorded.report(documents)
        if len(index.snapshot) and not len(new.snapshot):
            reason = f"no page could be read with {encoder.spec.name}, so it stays as it is"
            raise PageIndexError(index.path, f"{reason}; {report.failed[0].reason}" if report.failed else reason)
        for document in new.snapshot.documents():
            if document.source and (hash_ := before[document.source].hash) and document.hash != hash_:
                _log.warning("%s: has changed since it was indexed; it was read as it is now", document.source)
    return report


def add_pages(
    index: PageIndex,
    encoder: Encoder,
    pages: Iterable[Page],
    options: ReadOptions,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> Report:
    """Bring pages made in memory into the index, with their pictures."""
    started = time.monotonic()
    options = _usable(options, encoder)
    pages = (ocr.with_words(page, options.ocr) for page in pages)
    metadata = None if metadata is None else arguments.metadata("documents", metadata)
    numbers: dict[str, int] = {}
    empty, failed = [], []
    count = updated = 0
    given: set[PageRef] = set()
    filled: set[int] = set()
    with _scripts.said_once(), index.writing() as writer:
        check_same(index.path, index.model, encoder)
        before = index.snapshot
        for batch in batches(pages, encoder):
            outcomes = dict(encode(encoder, [page for page in batch if encoder.can_read(page)]))
            for page in batch:
                doc, number = page.ref
                if page.ref in given:
                    raise InvalidArgument(
                        f"page {number} of {doc!r} is given twice; pages of one document need page=1, 2 ..."
                    )
                given.add(page.ref)
                if doc not in numbers:
                    numbers[doc] = writer.add(doc, metadata=metadata)
                    updated += doc in before.docs() and is_other(before.document(doc), metadata)
                outcome = outcomes.get(page.ref)
                if isinstance(outcome, PageEmbedding):
                    writer.put(numbers[doc], outcome)
                    if page.image is not None:
                        renditions.write(index.path, numbers[doc], number, webp(page.image))
                    count += 1
                    filled.add(numbers[doc])
                    continue
                writer.skip(numbers[doc], number, outcome)
                if outcome is None:
                    empty.append(EmptyPage(doc, number))
                else:
                    failed.append(Failure(doc, number, outcome))
            if writer.pending_bytes > recorder.COMMIT_BYTES and not writer.awaits_more:
                writer.commit()
        for number in numbers.values():
            writer.finish(number, "done" if number in filled else "empty")
    seconds = round(time.monotonic() - started, 3)
    return Report(len(numbers), count, len(numbers), 0, 0, empty, failed, seconds, updated)


def _usable(options: ReadOptions, encoder: Encoder) -> ReadOptions:
    """Return the options as this model needs them. Raises InvalidArgument for a wrong option."""
    if options.max_pages is not None:
        options = replace(options, max_pages=arguments.whole("most_pages", options.max_pages))
    modality = encoder.spec.modality
    return replace(options, ocr=ocr.usable_mode(options.ocr, modality), pictures=modality == "image")


class _Run:
    """A run, which reads, encodes and records at the same time. commits: whether it commits results as it goes on."""

    def __init__(
        self, encoder: Encoder, options: ReadOptions, recorded: Recorder, tell: Tell, *, commits: bool = True
    ) -> None:
        self.encoder = encoder
        self.options = options
        self.recorder = recorded
        self.progress = recorded.progress
        self.tell = tell or (lambda _: None)
        self.commits = commits
        self.background: Executor
        self.watch: Watch
        self.writing: Future[None] | None = None

    def read(self, tasks: Sequence[Task], stored: Sequence[Stored] = ()) -> None:
        """Read files, then the stored documents."""
        self.progress.documents_total = len(tasks) + len(stored)
        self.progress.bytes_total = sum(task.size for task in tasks)
        batch: list[Read] = []
        size = batch_pages(self.encoder)
        with (
            _scripts.said_once(),
            self.watched(tasks, stored) as watch,
            Reader(tasks, self.options, watch) as reads,
            ThreadPoolExecutor(1, "visret-write") as self.background,
        ):
            self.watch = watch
            again = (watch.reading(0, one.key, one.reads, time.process_time) for one in stored)
            try:
                taken = time.monotonic()
                for item in chain(reads, chain.from_iterable(again)):
                    batch.append(item)
                    full = sum(read.page is not None for read in batch) >= size
                    if full or time.monotonic() - taken > BATCH_SECONDS:
                        self.take(batch)
                        batch, taken = [], time.monotonic()
                self.take(batch)
            finally:  # what has been encoded is kept after Ctrl-C too
                with _uninterrupted():
                    try:
                        self.written()
                    finally:
                        if self.commits:
                            self.recorder.writer.commit()

    def take(self, batch: Sequence[Read]) -> None:
        """Encode the pages of a batch, and have the results written while the next batch is encoded."""
        pages = [read.page for read in batch if read.page is not None and self.encoder.can_read(read.page)]
        with self.watch.encoding([read.page for read in batch if read.page is not None]):
            outcomes = dict(encode(self.encoder, pages))
        with _uninterrupted():
            self.written()
            self.writing = self.background.submit(self.write, batch, outcomes)

    def write(self, batch: Sequence[Read], outcomes: Mapping[PageRef, PageEmbedding | str]) -> None:
        """Record a batch."""
        self.recorder.write(batch, outcomes)
        if self.commits:
            self.recorder.commit_where_due()

    def written(self) -> None:
        """Wait for the batch that is being written."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()
            self.progress.pages, self.progress.failed = self.recorder.pages, len(self.recorder.failed)
            self.watch.tell_now()

    def watched(self, tasks: Sequence[Task], stored: Sequence[Stored]) -> Watch:
        """Return the watch on this run."""
        return Watch(
            self.progress,
            self.tell,
            [*map(file_ahead, tasks), *(File(one.key, "stored", 0, pages=one.pages) for one in stored)],
            lanes=lane_count(len(tasks)),
            options=self.options,
            spec=self.encoder.spec,
            room=reader.AHEAD_BYTES,
        )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: a writer that is stopped between two steps holds half a page."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
        if caught and callable(before):
            before(*caught[0])
