"""Recording a run in the index: a plan is carried out, and what comes of its files is written and counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from enum import Enum
from typing import TYPE_CHECKING, Any

from visret.errors import DuplicateDocument, ShapeError
from visret.index import Document, Writer
from visret.index.packing import PackedPage
from visret.ingest import messages
from visret.ingest.discovery import FoundFiles
from visret.ingest.execution import Encoded
from visret.ingest.options import ReadOptions
from visret.ingest.plan import Begin, Fail, Leave, MetadataOf, Plan, Remove, Resume, Update
from visret.ingest.report import EmptyPage, Failure, Lost, Progress, Report
from visret.ingest.stored import webp
from visret.ingest.tasks import End, NewDocument, Task
from visret.types import Page, PageEmbedding

if TYPE_CHECKING:
    from PIL.Image import Image

COMMIT_BYTES = 128 << 20
COMMIT_SECONDS = 2.0, 60.0  # until the first commit, and at most; doubled each time, so a long run has few segments


class Commits(Enum):
    """The moments at which a run commits, besides its end."""

    OFTEN = "after some seconds, when much is waiting, and after an error, since the next run goes on from there"
    WHEN_FULL = "when much is waiting"
    AT_END = "never: all of it is published at once, or nothing"


class Recorder:
    """A recorder that writes one run into an index. It is used by one thread at a time.

    metadata_of: gives a new document inside a file its metadata. progress: is told which files are done. commits: when
    it commits.
    """

    def __init__(
        self,
        writer: Writer,
        options: ReadOptions,
        progress: Progress,
        *,
        metadata_of: MetadataOf = lambda _: None,
        commits: Commits = Commits.OFTEN,
    ) -> None:
        self.writer = writer
        self.options = options
        self.metadata_of = metadata_of
        self.progress = progress
        self.commits = commits
        self.empty: list[EmptyPage] = []
        self.failed: list[Failure] = []
        self.lost: list[Lost] = []
        self.ignored: list[str] = []
        self.inside = 0  # documents inside files
        self.pages = self.added = self.unchanged = self.removed = self.updated = 0
        self.with_pages: set[int] = set()
        self.committed = time.monotonic()
        self.patience = COMMIT_SECONDS[0]

    def carry_out(self, plan: Plan, found: FoundFiles | None = None) -> list[Task]:
        """Write what a plan decides, and count what was found; return the files to be read, each with its number."""
        if found is not None:
            self.failed += found.failures
            self.ignored += found.ignored
        for step in plan.steps:
            match step:
                case Leave(source):
                    self.inside += source.member != ""
                    self.leave(step)
                case Update(number, columns):
                    self.writer.update(number, **columns)
                case Remove(doc, is_gone):
                    self.writer.remove(doc)
                    self.removed += is_gone
                case Begin(task, metadata):
                    self.begin(task, metadata)
                case Resume(task, document):
                    self.resume(document, task, task.skip)
                case Fail(failure, number):
                    self.failed.append(failure)
                    if number is not None:
                        self.writer.finish(number, "partial", failure.reason)
        self.updated += len(plan.updated)
        return plan.tasks

    def leave(self, step: Leave) -> None:
        """Count a document that stays as it is, and report again what it lacks."""
        self.unchanged += step.is_read
        self.failed += step.failed
        self.empty += step.empty
        self.lost += step.lost

    def begin(self, task: Task, metadata: Mapping[str, Any] | None) -> None:
        """Give a file or a document made in memory its row."""
        path = None if task.source is None else task.source.address
        size = None if path is None else task.size
        task.number = self.writer.add(
            task.doc, source=path, hash=task.hash, size=size, mtime_ns=task.mtime_ns, metadata=metadata
        )

    def resume(self, document: Document, task: Task, done: Set[int]) -> None:
        """Count the pages of a document that are not read again, and what is known of them."""
        self.empty += [EmptyPage(task.shown, page) for page in document.empty if page in done]
        for page, what, help_ in document.lost:
            if page in done:
                self.lost.append(Lost(task.shown, page, what, help_))
            else:
                self.writer.regain(document.number, page)
        if document.pages:
            self.with_pages.add(document.number)

    def write(self, batch: Encoded) -> None:
        """Write what came of files."""
        for read in batch.reads:
            task = read.task
            if task.left and not isinstance(read.answer, messages.Begun):
                continue
            match read.answer:
                case messages.Begun(hash=digest):
                    self.begin_member(task, digest)
                case NewDocument(metadata=metadata, updates=updates):
                    self.begin(task, metadata)
                    self.updated += updates
                case Page(ref=ref, image=image):
                    self.write_page(task, ref.page, batch.outcomes.get(ref), image if task.keeps_pictures else None)
                case messages.Hashed(hash=digest):
                    self.writer.update(task.number, hash=digest)
                case messages.Converted(pdf=data):
                    self.writer.keep_pdf(task.number, data)
                case messages.Lacking(page=page, loss=loss):
                    self.lost.append(Lost(task.shown, page, *loss))
                    self.writer.lose(task.number, page, *loss)
                case messages.Unread(page=int() as page, reason=reason):
                    self.write_page(task, page, reason)
                case messages.Unread(reason=reason, reached=reached):
                    self.failed.append(Failure(task.shown, None, reason))
                    if reached:  # else the index keeps what it had, and the next run looks again
                        self.remove_gone_members(task)
                        self.writer.finish(task.number, "failed", reason)
                case End(pages=pages):
                    self.added += 1
                    self.remove_gone_members(task)
                    self.writer.update(task.number, expected=pages)
                    filled = task.number in self.with_pages or task.seen
                    self.writer.finish(task.number, "done" if filled else "empty")
            if read.is_last:
                self.progress.documents += 1
                self.progress.bytes += task.size

    def commit_where_due(self) -> None:
        """Commit if much is waiting to be committed, or something has waited for long, as far as `commits` allows."""
        full = self.writer.pending_bytes > COMMIT_BYTES
        late = self.commits is Commits.OFTEN and time.monotonic() - self.committed > self.patience
        if self.commits is not Commits.AT_END and (full or late) and not self.writer.awaits_more:
            self.writer.commit()
            self.patience = min(2 * self.patience, COMMIT_SECONDS[1])
            self.committed = time.monotonic()

    def begin_member(self, task: Task, digest: str) -> None:
        """Give a document inside a file its row: the one that it has if it is unchanged, else a new one."""
        assert task.parent is not None
        assert task.source is not None
        task.parent.seen.add(task.source.member)
        self.inside += 1
        known, done = task.parent.known.get(task.source.member, (None, None))
        if known is not None and known.hash == digest:
            task.number = known.number
            if done is None:
                task.left = True
                task.parent.whole.add(task.source.member)
                self.leave(Leave.as_it_is(known, task.source))
            else:
                self.resume(known, task, done)
            return
        try:
            task.number = self.writer.add(
                task.doc,
                source=task.source.address,
                hash=digest,
                size=task.parent.size,
                mtime_ns=task.parent.mtime_ns,
                metadata=None if known else self.metadata_of(task.source.named),
                member=task.source.member,
            )
        except DuplicateDocument as error:
            task.left = True
            self.failed.append(Failure(task.shown, None, error.reason))

    def remove_gone_members(self, task: Task) -> None:
        """Remove the documents that an earlier version of a file held and this one does not."""
        for place, (document, _) in task.known.items():
            if place not in task.seen and not any(place.startswith(f"{whole}/") for whole in task.whole):
                self.writer.remove(document.doc)

    def write_page(
        self, task: Task, page: int, outcome: PageEmbedding | PackedPage | str | None, image: Image | None = None
    ) -> None:
        """Write a page's vectors with the picture to be kept, the reason why it has none, or, if None, that it is
        empty.
        """
        path = task.shown
        if isinstance(outcome, PageEmbedding | PackedPage):
            try:
                self.writer.put(task.number, outcome)
            except ShapeError as error:  # vectors that cannot be stored
                outcome = str(error)
            else:
                if image is not None:
                    self.writer.keep_picture(task.number, page, webp(image))
                self.with_pages.add(task.number)
                self.pages += 1
                return
        self.writer.skip(task.number, page, outcome, blank=self.options.ocr != "never")
        if outcome is None:
            self.empty.append(EmptyPage(path, page))
        else:
            self.failed.append(Failure(path, page, outcome))

    def report(self, documents: int) -> Report:
        """Return the report of what was done with so many documents."""
        return Report(
            documents=documents,
            pages=self.pages,
            added=self.added,
            unchanged=self.unchanged,
            removed=self.removed,
            empty=self.empty,
            failed=self.failed,
            seconds=round(time.monotonic() - self.progress.started, 3),
            updated=self.updated,
            lost=self.lost,
            ignored=self.ignored,
        )
