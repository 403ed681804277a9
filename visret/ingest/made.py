"""Pages that were made in memory, as a source of a run: those that are given to it, and those that the index keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from visret import ocr
from visret.errors import InvalidArgument, VisretError
from visret.index import Document, PageIndex, Snapshot
from visret.ingest import messages
from visret.ingest.options import ReadOptions
from visret.ingest.plan import is_other
from visret.ingest.stored import stored_image, stored_page
from visret.ingest.tasks import End, NewDocument, Read, Task, TaskAnswer
from visret.types import Page, PageRef

_NOTHING: set[Any] = set()  # is known of a document made in memory; one for all, as a run may have millions of them


@dataclass(frozen=True, slots=True)
class MadePages:
    """Pages that were made in memory. key: their name in the forecast. pages: how many are to be read, None if unknown.

    reads: what comes of them, read as needed.
    """

    key: str
    pages: int | None
    reads: Iterator[Read]


def given_pages(
    before: Snapshot,
    pages: Iterable[Page],
    options: ReadOptions,
    *,
    metadata: Mapping[str, Any] | None,
    pictures: bool,
) -> MadePages:
    """Return the pages that a caller hands over, as documents with this metadata.

    before: the state of the index before the run. metadata: None leaves what a document has. pictures: whether the
    index keeps the pictures of the pages. Reading them raises InvalidArgument for a page that is given twice.
    """
    return MadePages("", None, _read_given(before, pages, options, metadata, pictures))


def _read_given(
    before: Snapshot, pages: Iterable[Page], options: ReadOptions, metadata: Mapping[str, Any] | None, pictures: bool
) -> Iterator[Read]:
    tasks: dict[str, Task] = {}
    given: set[PageRef] = set()
    for page in pages:
        doc, number = page.ref
        if page.ref in given:
            raise InvalidArgument(f"page {number} of {doc!r} is given twice; pages of one document need page=1, 2 ...")
        given.add(page.ref)
        if doc not in tasks:
            task = Task(None, doc, 0, 0, None, _NOTHING, seen=_NOTHING, whole=_NOTHING, keeps_pictures=pictures)
            tasks[doc] = task
            updates = doc in before.docs() and is_other(before.document(doc), metadata)
            yield Read(task, NewDocument(metadata, updates))
        for answer in _answers(page, options):
            yield Read(tasks[doc], answer)
    for task in tasks.values():  # not before: pages of one document may come between those of another
        yield Read(task, End(None))


def stored_document(index: PageIndex, task: Task, options: ReadOptions) -> MadePages:
    """Return the pages of a document that was made in memory, as far as they are stored."""
    document = index.snapshot.document(task.number)
    numbers = sorted({*document.pages, *document.empty, *dict(document.failed)} - task.skip)

    def read() -> Iterator[Read]:
        for number in numbers:
            try:
                page = _stored(index, document, number)
            except (OSError, VisretError) as error:
                yield Read(task, messages.Unread(number, str(error)))
                continue
            for answer in _answers(page, options):
                yield Read(task, answer)
        yield Read(task, End(document.expected))

    return MadePages(document.doc, len(numbers), read())


def _stored(index: PageIndex, document: Document, number: int) -> Page:
    """Return a page, or its picture if an earlier model could read it; else the page stays empty."""
    ref = PageRef(document.doc, number)
    if number in document.pages:
        return stored_page(index, ref)
    image = stored_image(index, ref)
    return Page(ref, None) if image is None else Page.from_image(image, doc=ref.doc, page=number)


def _answers(page: Page, options: ReadOptions) -> Iterator[TaskAnswer]:
    """Yield a page with the words of its picture, after what is known to be missing from it, or why it is unread."""
    try:
        page = ocr.with_words(page, options.ocr)
    except (OSError, VisretError) as error:
        yield messages.Unread(page.ref.page, str(error))
        return
    for loss in page.lost:
        yield messages.Lacking(page.ref.page, loss)
    yield page
