"""One run: find files, read their pages, encode, write; what fails is reported, and stops nothing.

Worker processes read pages ahead of the encoder: what a file does to the library that reads it costs a page or that
file. The caller's thread encodes batches across files and commits. A page is in the index from its commit on. Run
again, unchanged files are left alone and the rest goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, takewhile
from pathlib import Path
from types import FrameType
from typing import Any

from visret import _given, ocr
from visret._folders import expanded
from visret.documents import formats, office, pictures
from visret.encoders import _scripts
from visret.errors import (
    DocumentError,
    DuplicateDocument,
    InvalidQuery,
    PageIndexError,
    ShapeError,
)
from visret.index import Document, PageIndex, Snapshot, Writer, renditions
from visret.index.model import check_same, record
from visret.ingest import messages, reader
from visret.ingest.discovery import Found, Source, discover, free_name, given_paths
from visret.ingest.encoding import batch_pages, batches, encode
from visret.ingest.forecast import File
from visret.ingest.options import ReadOptions
from visret.ingest.progress import Watch
from visret.ingest.reader import Reader, lane_count
from visret.ingest.report import EmptyPage, Failure, Lost, Metadata, Patterns, Progress, Report
from visret.ingest.stored import Stored, stored_document, webp
from visret.ingest.tasks import End, Read, Task, file_ahead
from visret.reduction import Storage
from visret.types import Encoder, Page, PageEmbedding, PageRef

_log = logging.getLogger(__name__)
BATCH_SECONDS = 10.0  # pages that come slowly, as by OCR, do not wait for a full batch
COMMIT_BYTES = 128 << 20
COMMIT_SECONDS = 2.0, 60.0  # the first commit after, and twice as long each time up to: few segments in a long run


def add(  # the arguments are those of `Retriever.add`, which says what they mean
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
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Bring files and folders into the index."""
    paths = given_paths(paths)
    options = _usable(options, encoder)
    found = discover(paths, include=include, exclude=exclude)
    run = _Run(index, encoder, metadata, retry_failed, options, progress)
    with index.writing() as writer:
        check_same(index.path, index.model, encoder)  # another process may have made it anew
        return run.add(writer, found, gone_below=paths if sync else ())


def replace_document(  # the arguments are those of `Retriever.replace`, which says what they mean
    index: PageIndex,
    encoder: Encoder,
    doc: str,
    path: Path,
    options: ReadOptions,
    *,
    metadata: Mapping[str, Any] | None,
    progress: Callable[[Progress], None] | None,
) -> Report:
    """Read a file, and put it in the place of a document with one commit."""
    path = expanded(path).resolve()
    run = _Run(index, encoder, None, False, _usable(options, encoder), progress)
    run.at_once = True
    try:
        with index.writing() as writer:
            check_same(index.path, index.model, encoder)
            before = index.snapshot.document(doc)
            stat = path.stat()
            writer.update(before.number, source=str(path), member="")  # now the file is a new version of the document
            for member in run.members_of(before):
                writer.update(member.number, source=str(path))
            number = writer.add(
                doc,
                source=str(path),
                size=stat.st_size,
                mtime_ns=stat.st_mtime_ns,
                metadata=metadata,
            )
            task = Task(Source(path, doc), doc, number, stat.st_size, None, set(), None, stat.st_mtime_ns)
            task.known = run.known_members(before)
            run.read(writer, [task])
            if not run.added:
                raise _Unread  # so that nothing of it is published
    except OSError as error:
        run.failed.append(Failure(str(path), None, error.strerror or str(error)))
    except _Unread:
        run.pages = 0
    return run.report(1)


class _Unread(Exception):
    """A file that was to replace a document could not be read."""


def reindex(  # the arguments are those of `Retriever.reindex`, which says what they mean
    index: PageIndex,
    encoder: Encoder,
    storage: Storage,
    options: ReadOptions,
    *,
    progress: Callable[[Progress], None] | None,
) -> Report:
    """Read every document again, into a new index that takes the place of this one when it has all of them."""
    options = _usable(options, encoder)
    with index.reindexing(record(encoder), storage) as (new, writer):
        before = {document.source: document for document in index.snapshot.documents()}
        report = _Run(new, encoder, None, False, options, progress).add_again(writer, index)
        if len(index.snapshot) and not len(new.snapshot):
            reason = f"no page could be read with {encoder.spec.name}, so it stays as it is"
            raise PageIndexError(index.path, f"{reason}; {report.failed[0].reason}" if report.failed else reason)
        for document in new.snapshot.documents():
            if document.source and (hash_ := before[document.source].hash) and document.hash != hash_:
                _log.warning("%s: has changed since it was indexed; it was read as it is now", document.source)
    return report


def _usable(options: ReadOptions, encoder: Encoder) -> ReadOptions:
    """Return the options as they are with this model. InvalidQuery for what cannot be one."""
    if options.max_pages is not None:
        options = replace(options, max_pages=_given.whole("most_pages", options.max_pages))
    modality = encoder.spec.modality
    return replace(options, ocr=ocr.usable_mode(options.ocr, modality), pictures=modality == "image")


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
    metadata = None if metadata is None else _given.metadata("documents", metadata)
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
                    raise InvalidQuery(
                        f"page {number} of {doc!r} is given twice; pages of one document need page=1, 2 ..."
                    )
                given.add(page.ref)
                if doc not in numbers:
                    numbers[doc] = writer.add(doc, metadata=metadata)
                    updated += doc in before.docs() and _is_other(before.document(doc), metadata)
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
            if writer.pending_bytes > COMMIT_BYTES and not writer.awaits_more:
                writer.commit()
        for number in numbers.values():
            writer.finish(number, "done" if number in filled else "empty")
    seconds = round(time.monotonic() - started, 3)
    return Report(len(numbers), count, len(numbers), 0, 0, empty, failed, seconds, updated)


class _Run:
    """One call of `add`."""

    def __init__(
        self,
        index: PageIndex,
        encoder: Encoder,
        metadata: Metadata,
        retry_failed: bool,
        options: ReadOptions,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.index = index
        self.encoder = encoder
        self.metadata = metadata if metadata is None or callable(metadata) else _given.metadata("documents", metadata)
        self.retry_failed = retry_failed
        self.options = options
        self.report_progress = progress or (lambda _: None)
        self.progress = Progress()
        self.empty: list[EmptyPage] = []
        self.failed: list[Failure] = []
        self.lost: list[Lost] = []
        self.ignored: list[str] = []
        self.inside = 0  # documents inside files
        self.pages = self.added = self.unchanged = self.removed = 0
        self.updated: set[int] = set()
        self.renamed: set[int] = set()
        self.with_pages: set[int] = set()
        self.committed = time.monotonic()
        self.patience = COMMIT_SECONDS[0]
        self.at_once = False  # whether nothing is committed here, but all of it by whoever has the writer
        self.background: Executor
        self.watch: Watch
        self.writing: Future[None] | None = None

    def add(
        self,
        writer: Writer,
        found: Found,
        *,
        gone_below: Sequence[str | Path],
    ) -> Report:
        self.failed += found.failures
        self.ignored += found.ignored
        tasks = self.plan(writer, found.sources)
        self.remove_gone(writer, gone_below, found.sources)
        self.read(writer, tasks)
        return self.report(len(found.sources) + len(found.failures) + self.inside)

    def add_again(self, writer: Writer, before: PageIndex) -> Report:
        """Every document of the index that has no pages yet. before: has the pages that were made in memory."""
        sources, stored = [], []
        documents = list(self.index.snapshot.documents())
        for document in documents:
            source = Source(Path(document.source or document.doc), document.doc, document.member)
            if document.member and os.path.isfile(source.path):  # noqa: PTH113 - it raises nothing
                continue  # it is read, or left alone, with the file that it is in
            if self.is_settled_with_members(document):
                self.leave_with_members(document, source)
            elif document.source is None:
                done = {*document.pages, *document.empty}
                stored.append(Task(source, document.doc, document.number, 0, None, done))
            elif os.path.isfile(source.path):  # noqa: PTH113 - it raises nothing
                sources.append(source)
            else:
                reason = "is no longer there; put it back and index it again"
                self.failed.append(Failure(source.shown, None, reason))
                writer.finish(document.number, "partial", reason)
        self.progress.documents_total = len(stored)
        self.read(
            writer,
            self.plan(writer, sources),
            [stored_document(before, task, self.options.ocr) for task in stored],
        )
        return self.report(len(documents))

    def read(self, writer: Writer, tasks: Sequence[Task], stored: Sequence[Stored] = ()) -> None:
        """Files, then what is stored already."""
        self.progress.documents_total += len(tasks)
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
                        self.take(writer, batch)
                        batch, taken = [], time.monotonic()
                self.take(writer, batch)
            finally:  # after Ctrl-C too, what has been encoded is kept
                with _uninterrupted():
                    try:
                        self.written()
                    finally:
                        if not self.at_once:
                            writer.commit()

    def report(self, documents: int) -> Report:
        """What was done."""
        return Report(
            documents=documents,
            pages=self.pages,
            added=self.added,
            unchanged=self.unchanged,
            removed=self.removed,
            empty=self.empty,
            failed=self.failed,
            seconds=round(time.monotonic() - self.progress.started, 3),
            updated=len(self.updated),
            lost=self.lost,
            ignored=self.ignored,
        )

    def plan(self, writer: Writer, sources: Sequence[Source]) -> list[Task]:
        """What has to be read, by size, time of change, and where only those differ by content.

        The others are hashed when they are read: the first page does not wait for the hash of the last file. Metadata
        goes with the content where that is known, as of a file that was moved over another, else with the path.
        """
        snapshot = self.index.snapshot
        numbers, taken = snapshot.sources(), dict(snapshot.docs())
        lost: dict[str, list[Document]] = {}  # documents whose file is gone, by content
        for document in snapshot.documents():
            if document.source and document.hash and not document.member and not os.path.lexists(document.source):
                lost.setdefault(document.hash, []).append(document)
        changed = {document.hash: document for document in _changed(snapshot, sources)}
        moved_sizes = {document.size for document in [*chain.from_iterable(lost.values()), *changed.values()]}
        tasks = []
        for source in sources:
            number = numbers.get(str(source.path))
            known = None if number is None else snapshot.document(number)
            metadata = self.metadata_of(source.path)
            for one in [known, *self.members_of(known)]:
                self.describe(writer, one, metadata)
            try:
                stat = source.path.stat()
                same = known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
                if known and same and self.is_settled_with_members(known):
                    self.leave_with_members(known, source)
                    continue
                may_be_known = stat.st_size in moved_sizes or (known and stat.st_size == known.size)
                digest = known.hash if known and same else messages.sha256(source.path) if may_be_known else None
                doc = known.doc if known else free_name(source, taken)
            except OSError as error:
                self.failed.append(Failure(str(source.path), None, error.strerror or str(error)))
                continue
            except DocumentError as error:
                self.failed.append(Failure(str(source.path), None, error.reason))
                continue
            same = known is not None and digest is not None and known.hash == digest
            if known and same:
                for one in [known, *self.members_of(known)]:
                    writer.update(one.number, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
            elif digest and lost.get(digest):  # the same content under another name
                if known:  # which another document had
                    writer.remove(known.doc)
                    self.updated.discard(known.number)
                    del taken[known.doc]
                known = _likeliest(lost[digest], source)
                lost[digest].remove(known)
                for one in [known, *self.members_of(known)]:
                    self.describe(writer, one, metadata)
                    del taken[one.doc]
                doc = free_name(source, taken)
                for one in [known, *self.members_of(known)]:
                    name = f"{doc}/{one.member}" if one.member else doc
                    taken[name] = one.number
                    writer.update(one.number, doc=name, source=str(source.path), mtime_ns=stat.st_mtime_ns)
                    self.renamed.add(one.number)
                same = True
            if known and same:
                if self.is_settled_with_members(known):
                    self.leave_with_members(known, source)
                    continue
                converted = renditions.pdf_of(self.index.path, known.number)
                from_here = converted or not formats.converts(source.path)
                goes_on = known.state == "partial" or self.may_have_words(known)
                if from_here and (goes_on or self.is_settled(known)):  # settled: but what is inside it is not
                    done = self.resumed(writer, known, source)
                    task = Task(source, doc, known.number, stat.st_size, digest, done, converted, stat.st_mtime_ns)
                    task.known = self.known_members(known)
                    tasks.append(task)
                    continue
            elif metadata is None and digest in changed:  # its file has another name now, and another file its own
                metadata = changed[digest].metadata
            made = writer.add(
                doc,
                source=str(source.path),
                hash=digest,
                size=stat.st_size,
                mtime_ns=stat.st_mtime_ns,
                metadata=metadata,
            )
            taken[doc] = made
            members = self.known_members(known)
            tasks.append(Task(source, doc, made, stat.st_size, digest, set(), None, stat.st_mtime_ns, members))
        return tasks

    def members_of(self, document: Document | None) -> list[Document]:
        """What the index has of the documents inside a file."""
        if document is None or document.source is None or document.member:
            return []
        snapshot = self.index.snapshot
        return [snapshot.document(number) for _, number in sorted(snapshot.members(document.source).items())]

    def known_members(self, document: Document | None) -> dict[str, tuple[Document, Set[int] | None]]:
        """By their place, and which of their pages need not be read again while they are the same; None for all."""
        members = {member.member: member for member in self.members_of(document)}
        settled = {place for place, member in members.items() if self.is_settled(member)}
        known: dict[str, tuple[Document, Set[int] | None]] = {}
        for place, member in members.items():
            inside = [other for other in members if other == place or other.startswith(f"{place}/")]
            done = self.done_pages(member) if not (self.retry_failed and member.failed) else set(member.pages)
            known[place] = (member, None if settled.issuperset(inside) else done)
        return known

    def done_pages(self, document: Document) -> set[int]:
        """Pages that need not be read again."""
        return {*document.pages, *(document.blank if self.options.ocr != "never" else document.empty)}

    def resumed(self, writer: Writer, document: Document, source: Source) -> set[int]:
        """The pages of a document that need not be read again; what is known of them counts."""
        done = self.done_pages(document)
        self.empty += [EmptyPage(source.shown, page) for page in document.empty if page in done]
        for page, what, help_ in document.lost:
            if page in done:
                self.lost.append(Lost(source.shown, page, what, help_))
            else:
                writer.regain(document.number, page)
        if document.pages:
            self.with_pages.add(document.number)
        return done

    def is_settled_with_members(self, document: Document) -> bool:
        """Whether neither an unchanged file nor what is inside it needs a second look."""
        return all(map(self.is_settled, [document, *self.members_of(document)]))

    def leave_with_members(self, document: Document, source: Source) -> None:
        """A file that is as it was, with the documents inside it."""
        self.leave(document, source)
        for member in self.members_of(document):
            self.inside += 1
            self.leave(member, Source(source.path, member.doc, member.member))

    def is_settled(self, document: Document) -> bool:
        """Whether an unchanged file needs no second look."""
        if self.retry_failed and (document.state == "failed" or document.failed):
            return False
        if self.options.password and document.state == "failed":  # it may be what was missing
            return False
        if document.reason == office.MISSING and office.program():
            return False
        if document.reason == pictures.NO_HEIF and pictures.reads_heif():
            return False
        return document.state != "partial" and not self.may_have_words(document)

    def may_have_words(self, document: Document) -> bool:
        """Whether it has empty pages at which OCR has not looked."""
        return self.options.ocr != "never" and document.state != "failed" and document.empty != document.blank

    def leave(self, document: Document, source: Source) -> None:
        """A document that is as it was: what it lacks is reported again."""
        path = source.shown
        if document.state == "failed":
            self.failed.append(Failure(path, None, document.reason or "failed before"))
        else:
            self.unchanged += 1
        self.failed += [Failure(path, page, reason) for page, reason in document.failed]
        self.empty += [EmptyPage(path, page) for page in document.empty]
        self.lost += [Lost(path, page, what, help_) for page, what, help_ in document.lost]

    def remove_gone(self, writer: Writer, paths: Sequence[str | Path], sources: Sequence[Source]) -> None:
        """Remove the documents of the given folders and files that are no longer there."""
        here = {str(source.path) for source in sources}
        try:
            roots = [expanded(path).resolve(strict=True) for path in paths]
        except (OSError, RuntimeError):
            return  # out of reach with all that is below: not gone
        for document in self.index.snapshot.documents():
            if document.source is None or document.member or document.source in here:
                continue
            if document.number in self.renamed or os.path.lexists(document.source):
                continue  # hidden, for instance: not gone
            if any(Path(document.source).is_relative_to(root) for root in roots):
                writer.remove(document.doc)
                self.removed += 1

    def metadata_of(self, path: Path) -> Mapping[str, Any] | None:
        """What a file is to have; None leaves what the index has."""
        if not callable(self.metadata):
            return self.metadata
        given = self.metadata(path)
        return None if given is None else _given.metadata(str(path), given)

    def describe(self, writer: Writer, known: Document | None, metadata: Mapping[str, Any] | None) -> None:
        """Give a document of the index other metadata, whatever becomes of its pages."""
        if known is not None and _is_other(known, metadata):
            writer.update(known.number, metadata=metadata)
            self.updated.add(known.number)

    def take(self, writer: Writer, batch: Sequence[Read]) -> None:
        """Encode the pages of a batch, and have what came of each written down while the next is encoded."""
        pages = [read.page for read in batch if read.page is not None and self.encoder.can_read(read.page)]
        with self.watch.encoding([read.page for read in batch if read.page is not None]):
            outcomes = dict(encode(self.encoder, pages))
        with _uninterrupted():
            self.written()
            self.writing = self.background.submit(self.write, writer, batch, outcomes)

    def written(self) -> None:
        """Wait for the batch that is being written."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()
            self.progress.pages, self.progress.failed = self.pages, len(self.failed)
            self.watch.tell_now()

    def watched(self, tasks: Sequence[Task], stored: Sequence[Stored]) -> Watch:
        """What sees how far it is."""
        return Watch(
            self.progress,
            self.report_progress,
            [*map(file_ahead, tasks), *(File(one.key, "stored", 0, pages=one.pages) for one in stored)],
            lanes=lane_count(len(tasks)),
            options=self.options,
            spec=self.encoder.spec,
            room=reader.AHEAD_BYTES,
        )

    def write(self, writer: Writer, batch: Sequence[Read], outcomes: Mapping[PageRef, PageEmbedding | str]) -> None:
        """Hand a batch to the writer."""
        for read in batch:
            task = read.task
            if task.left and not isinstance(read.answer, messages.Begun):
                continue
            match read.answer:
                case messages.Begun(hash=digest):
                    self.begin_member(writer, task, digest)
                case Page(ref=ref):
                    self.write_page(writer, task, ref.page, outcomes.get(ref))
                case messages.Hashed(hash=digest):
                    writer.update(task.number, hash=digest)
                case messages.Converted(pdf=data):
                    writer.keep_pdf(task.number, data)
                case messages.Lost(page=page, loss=loss):
                    self.lost.append(Lost(task.source.shown, page, *loss))
                    writer.lose(task.number, page, *loss)
                case messages.Unread(page=int() as page, reason=reason):
                    self.write_page(writer, task, page, reason)
                case messages.Unread(reason=reason, reached=reached):
                    self.failed.append(Failure(task.source.shown, None, reason))
                    if reached:  # else the index has what it had, and the next run looks again
                        self.remove_gone_members(writer, task)
                        writer.finish(task.number, "failed", reason)
                case End(pages=pages):
                    self.added += 1
                    self.remove_gone_members(writer, task)
                    writer.update(task.number, expected=pages)
                    filled = task.number in self.with_pages or task.seen
                    writer.finish(task.number, "done" if filled else "empty")
            if read.is_last:
                self.progress.documents += 1
                self.progress.bytes += task.size
        due = writer.pending_bytes > COMMIT_BYTES or time.monotonic() - self.committed > self.patience
        if due and not writer.awaits_more and not self.at_once:
            writer.commit()
            self.patience = min(2 * self.patience, COMMIT_SECONDS[1])
            self.committed = time.monotonic()

    def begin_member(self, writer: Writer, task: Task, digest: str) -> None:
        """Give a document inside a file its row: the one that it has, if it is the same, else a new one."""
        assert task.parent is not None
        task.parent.seen.add(task.source.member)
        self.inside += 1
        known, done = task.parent.known.get(task.source.member, (None, None))
        if known is not None and known.hash == digest:
            task.number = known.number
            if done is None:
                task.left = True
                task.parent.whole.add(task.source.member)
                self.leave(known, task.source)
            else:
                self.resumed(writer, known, task.source)
            return
        try:
            task.number = writer.add(
                task.doc,
                source=str(task.source.path),
                hash=digest,
                size=task.parent.size,
                mtime_ns=task.parent.mtime_ns,
                metadata=None if known else self.metadata_of(task.source.path),
                member=task.source.member,
            )
        except DuplicateDocument as error:
            task.left = True
            self.failed.append(Failure(task.source.shown, None, error.reason))

    def remove_gone_members(self, writer: Writer, task: Task) -> None:
        """Remove what was inside an earlier version of a file and is not any more."""
        for place, (document, _) in task.known.items():
            if place not in task.seen and not any(place.startswith(f"{whole}/") for whole in task.whole):
                writer.remove(document.doc)

    def write_page(self, writer: Writer, task: Task, page: int, outcome: PageEmbedding | str | None) -> None:
        """A page's embedding, the reason why it has none, or None where it is empty."""
        path = task.source.shown
        if isinstance(outcome, PageEmbedding):
            try:
                writer.put(task.number, outcome)
            except ShapeError as error:  # vectors that cannot be stored
                outcome = str(error)
            else:
                self.with_pages.add(task.number)
                self.pages += 1
                return
        writer.skip(task.number, page, outcome, blank=self.options.ocr != "never")
        if outcome is None:
            self.empty.append(EmptyPage(path, page))
        else:
            self.failed.append(Failure(path, page, outcome))


def _changed(snapshot: Snapshot, sources: Sequence[Source]) -> Iterator[Document]:
    """The documents of files that may not be what they were."""
    numbers = snapshot.sources()
    for source in sources:
        if (number := numbers.get(str(source.path))) is None:
            continue
        document = snapshot.document(number)
        with suppress(OSError):
            stat = source.path.stat()
            if document.hash and (document.size, document.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
                yield document


def _is_other(document: Document, metadata: Mapping[str, Any] | None) -> bool:
    """Whether a document would get other metadata than it has; as JSON, where 1 is not true."""
    then, now = (json.dumps(one, sort_keys=True) for one in (document.metadata, metadata))
    return metadata is not None and then != now


def _likeliest(lost: Sequence[Document], source: Source) -> Document:
    """Of documents with the content of a file: the one that shares most of the end of its path, else the first."""

    def shared(document: Document) -> int:
        pairs = zip(reversed(Path(document.source or "").parts), reversed(source.path.parts), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(lost, key=shared)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: a writer that is stopped between two steps holds half a page."""
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
