"""A run: files are found, planned, read, encoded and recorded; a failure is reported, and stops nothing.

Worker processes read pages ahead of the encoder: what a file does to the library that reads it costs a page or that
file. The caller's thread encodes batches across files, and what is encoded is recorded meanwhile. A page is in the
index from its commit on. When it is run again, unchanged files are left alone and the rest goes on where it stopped.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, cast

from visret import arguments, ocr
from visret.encoders import _languages
from visret.errors import DocumentError, PageIndexError
from visret.folders import expanded
from visret.index import PageIndex
from visret.index.model import check_same, record
from visret.ingest.discovery import FoundFiles, discover, given_paths, source_at
from visret.ingest.execution import Encoded, Here, Job
from visret.ingest.made import MadePages, given_pages, stored_document
from visret.ingest.options import ReadOptions
from visret.ingest.plan import (
    Begin,
    Judge,
    Plan,
    Update,
    metadata_of_files,
    plan_again,
    plan_files,
    plan_removals,
)
from visret.ingest.progress import Teller
from visret.ingest.recorder import Commits, Recorder
from visret.ingest.report import Failure, Metadata, Patterns, Progress, Report
from visret.ingest.tasks import Task
from visret.reduction import Storage
from visret.stores import objects
from visret.types import Encoder, Executor, Page

_log = logging.getLogger(__name__)

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
    executor: Executor[Job, Encoded] | None = None,
) -> Report:
    """Bring files and folders into the index."""
    paths = given_paths(paths)
    found = discover(paths, include=include, exclude=exclude)
    how: dict[str, Any] = {
        "metadata": metadata,
        "retry_failed": retry_failed,
        "progress": progress,
        "executor": executor or Here(),
    }
    return add_found(index, encoder, found, options, gone_below=paths if sync else (), **how)


def add_found(
    index: PageIndex,
    encoder: Encoder,
    found: FoundFiles,
    options: ReadOptions,
    *,
    gone_below: Sequence[str | Path] = (),
    metadata: Metadata = None,
    retry_failed: bool = False,
    moves: bool = True,
    progress: Tell = None,
    executor: Executor[Job, Encoded] = Here(),  # noqa: B008 - it has no state
) -> Report:
    """Bring files that were found into the index.

    gone_below: where documents whose files are gone are removed. moves: whether a file may be one that the index knows
    from a place where it is gone; its document then moves with it.
    """
    options = usable(options, encoder)
    metadata_of = metadata_of_files(metadata)
    done = Progress()
    with index.writing() as writer:
        check_same(index.path, index.model, encoder)  # another process may have made the index anew
        judge = Judge(index.snapshot, options, retry_failed=retry_failed)
        plan = plan_files(index, found.sources, judge, metadata_of, moves=moves, listed=found.listed)
        if gone_below:
            plan_removals(plan, judge.snapshot, gone_below, found.sources, found.listed)
        recorded = Recorder(writer, options, done, metadata_of=metadata_of)
        tasks = recorded.carry_out(plan, found)
        _Run(encoder, options, recorded, progress, executor).read(tasks)
        return recorded.report(len(found.sources) + len(found.failures) + recorded.inside)


def replace_document(  # `Retriever.replace` explains the arguments
    index: PageIndex,
    encoder: Encoder,
    doc: str,
    path: str | Path,
    options: ReadOptions,
    *,
    metadata: Mapping[str, Any] | None,
    progress: Tell,
) -> Report:
    """Read a file, and put it in the place of a document, in one commit."""
    options = usable(options, encoder)
    done = Progress()
    path = path if objects.is_address(path) else expanded(path).resolve()
    try:
        source = source_at(path, doc)
    except (OSError, DocumentError) as error:
        reason = error.reason if isinstance(error, DocumentError) else "no such file"
        return Report(1, 0, 0, 0, 0, [], [Failure(str(path), None, reason)], round(done.seconds, 3))
    try:
        with index.writing() as writer:
            check_same(index.path, index.model, encoder)
            before, judge = index.snapshot.document(doc), Judge(index.snapshot, options)
            size, mtime_ns = source.version()
            task = Task(source, doc, 0, size, None, set(), mtime_ns=mtime_ns)
            task.known = judge.known_members(before)
            new_version = {"source": source.address, "member": ""}
            plan = Plan([Update(before.number, new_version)])
            plan.steps += [Update(member.number, {"source": source.address}) for member in judge.members_of(before)]
            plan.steps.append(Begin(task, metadata))
            recorded = Recorder(writer, options, done, commits=Commits.AT_END)
            _Run(encoder, options, recorded, progress).read(recorded.carry_out(plan))
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
    options = usable(options, encoder)
    with index.reindexing(record(encoder), storage) as (new, writer):
        before = {document.source: document for document in index.snapshot.documents()}
        documents, done = len(new.snapshot.docs()), Progress()
        plan = plan_again(new, Judge(new.snapshot, options))
        recorded = Recorder(writer, options, done)
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


def add_pages(  # `Retriever.add_pages` explains the arguments
    index: PageIndex,
    encoder: Encoder,
    pages: Iterable[Page],
    options: ReadOptions,
    *,
    metadata: Mapping[str, Any] | None = None,
    pictures: bool = True,
) -> Report:
    """Bring pages made in memory into the index."""
    options = usable(options, encoder)
    metadata = None if metadata is None else arguments.metadata("documents", metadata)
    done = Progress()
    with index.writing() as writer:
        check_same(index.path, index.model, encoder)
        recorded = Recorder(writer, options, done, commits=Commits.WHEN_FULL)
        given = given_pages(index.snapshot, pages, options, metadata=metadata, pictures=pictures)
        _Run(encoder, options, recorded, None).read([], [given])
    return recorded.report(recorded.added)


def usable(options: ReadOptions, encoder: Encoder) -> ReadOptions:
    """Return the options as this model needs them. Raises InvalidArgument for a wrong option."""
    if options.max_pages is not None:
        options = replace(options, max_pages=arguments.whole("most_pages", options.max_pages))
    modality = encoder.spec.modality
    return replace(options, ocr=ocr.usable_mode(options.ocr, modality), pictures=modality == "image")


class _Run:
    """A run, in which an executor reads and encodes, while what came before is recorded."""

    def __init__(
        self,
        encoder: Encoder,
        options: ReadOptions,
        recorded: Recorder,
        tell: Tell,
        executor: Executor[Job, Encoded] = Here(),  # noqa: B008 - it has no state
    ) -> None:
        self.encoder = encoder
        self.options = options
        self.recorder = recorded
        self.executor = executor
        self.progress = recorded.progress
        self.teller = Teller(self.progress, tell or (lambda _: None))
        self.background: ThreadPoolExecutor
        self.writing: Future[None] | None = None

    def read(self, tasks: Sequence[Task], made: Sequence[MadePages] = ()) -> None:
        """Read files, then the pages that were made in memory."""
        self.progress.documents_total = len(tasks) + len(made)
        self.progress.bytes_total = sum(task.size for task in tasks)
        job = Job(tasks, made, self.options, self.encoder, lambda: self.recorder.writer.packing, self.teller)
        encoded = cast(Generator[Encoded], self.executor.carry_out(job))
        with (
            _languages.said_once(),
            closing(encoded),
            ThreadPoolExecutor(1, "visret-write") as self.background,
        ):
            try:
                for batch in encoded:
                    with _uninterrupted():
                        self.written()
                        self.writing = self.background.submit(self.write, batch)
            finally:  # what has been encoded is written after Ctrl-C too
                with _uninterrupted():
                    try:
                        self.written()
                    finally:
                        if self.recorder.commits is Commits.OFTEN:
                            self.recorder.writer.commit()

    def write(self, batch: Encoded) -> None:
        """Record a batch."""
        self.recorder.write(batch)
        self.recorder.commit_where_due()

    def written(self) -> None:
        """Wait for the batch that is being written."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()
            self.progress.pages, self.progress.failed = self.recorder.pages, len(self.recorder.failed)
            self.teller.now()


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
