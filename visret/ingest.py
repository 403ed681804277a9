"""Files into an index: find them, read their pages, encode, write; what fails is reported, and stops nothing.

Worker processes read pages ahead of the encoder (see _render.py): what a file does to the library that reads it costs
a page or that file. The caller's thread encodes batches across files and commits. A page is in the index from its
commit on. Run again, unchanged files are left alone and the rest goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import chain, islice, takewhile
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from visret import _given, _render, documents, ocr
from visret._folders import expanded
from visret._forecast import HOLDING, File
from visret._progress import Progress as Progress
from visret._progress import Watch
from visret._render import sha256 as _sha256
from visret._report import PAGE_SECONDS, EmptyPage, Failure, Lost, Metadata, Patterns, Report, path_in
from visret.documents import formats, office, pictures
from visret.documents.inside import unpacked
from visret.encoders import _scripts
from visret.errors import (
    DocumentError,
    DuplicateDocument,
    InvalidQuery,
    PageIndexError,
    ShapeError,
    VisretError,
)
from visret.index import Document, PageIndex, Snapshot, Writer, renditions
from visret.index.layout import CATALOGUE
from visret.index.model import check_same, record
from visret.reduction import Storage
from visret.types import Encoder, Loss, Page, PageEmbedding, PageRef, Word

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger(__name__)


BATCH_PAGES = {"text": 32, "image": 4}
AHEAD_BYTES = 128 << 20  # of pages that are read before they are encoded, for all workers; one page may be more
MOST_CRASHES = 3  # of workers by one file, before it is given up
MOST_WORKERS = 4
WAKE_SECONDS = 0.25  # in which whoever waits for a page looks at the clock
BATCH_SECONDS = 10.0  # pages that come slowly, as by OCR, do not wait for a full batch
COMMIT_BYTES = 128 << 20
COMMIT_SECONDS = 2.0, 60.0  # the first commit after, and twice as long each time up to: few segments in a long run


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be indexed, or a document inside one.

    path: absolute, links resolved. doc: the name it would like to have. member: its place in the file, "" for the file.
    """

    path: Path
    doc: str
    member: str = ""

    @property
    def shown(self) -> str:
        """The path for people; that of a document inside a file goes on into it."""
        return path_in(self.path, self.member)


class Found(NamedTuple):
    """What is under given paths. ignored: files of kinds that visret does not read."""

    sources: list[Source]
    failures: list[Failure]
    ignored: list[str]


def discover(paths: str | Path | Iterable[str | Path], *, include: Patterns = (), exclude: Patterns = ()) -> Found:
    """The files under files and folders, in order of their names, each once; and the paths that lead to none.

    Folders are searched with everything below them, without hidden files and without following links to folders.
    include, exclude: patterns, see `Retriever.add`.
    """
    found: dict[Path, Source] = {}
    failures: list[Failure] = []
    ignored: dict[str, None] = {}
    wanted, unwanted = _patterns("include", include), _patterns("exclude", exclude)

    def passes(name: Path) -> bool:
        """Whether a file is asked for: by its name in the folder that was given, or that of a folder on the way."""
        on_the_way = [PurePosixPath(_name(part).lower()) for part in (name, *name.parents) if part.name]

        def matches(patterns: Sequence[str]) -> bool:
            return any(part.match(pattern) for part in on_the_way for pattern in patterns)

        return (not wanted or matches(wanted)) and not matches(unwanted)

    def take(file: Path, name: Path) -> None:
        try:
            if not file.is_file():  # a pipe would be read for ever
                failures.append(Failure(str(file), None, "is not a file, or a link that leads nowhere"))
                return
            path = file.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
            failures.append(Failure(str(file), None, f"cannot be reached: {error}"))
            return
        found.setdefault(path, Source(path, _name(name)))

    for given in given_paths(paths):
        try:
            path = expanded(given)
            root = path.resolve() if path.is_dir() else None
        except (OSError, RuntimeError) as error:  # a name that is too long; a link to itself
            failures.append(Failure(str(given), None, f"cannot be reached: {error}"))
            continue
        if root is not None:
            before = len(failures)
            walked = [(file, formats.format_of(file)) for file in _walk(root, failures)]
            files = [file for file, known in walked if known]
            ignored |= {str(file): None for file, known in walked if not known and passes(file.relative_to(root))}
            if not files and len(failures) == before:
                endings = " ".join(sorted(formats.FORMATS))
                failures.append(Failure(str(given), None, f"no documents in this folder (looked for {endings})"))
            for file in files:
                if passes(file.relative_to(root)):
                    take(file, file.relative_to(root))
        elif os.path.lexists(path):
            if passes(Path(path.name)):
                take(path, Path(path.name))
        else:
            failures.append(Failure(str(given), None, "no such file or folder"))
    if not found and not failures and not (wanted or unwanted):
        raise InvalidQuery("there are no paths to read; name files or folders")
    if not found and not failures:
        raise InvalidQuery("include and exclude leave no document; give other patterns")
    return Found(list(found.values()), failures, list(ignored))


def given_paths(paths: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """One path or several as a list. InvalidQuery for what is none."""
    one = isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable)
    listed: list[Any] = [paths] if one else list(paths)  # type: ignore[arg-type]
    for path in listed:
        named = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not isinstance(named, str) or not named:  # "" would be the current folder
            raise InvalidQuery(f"a path to read is text or a pathlib.Path, and not empty; got {path!r}")
    return listed


def _patterns(name: str, given: Patterns) -> list[str]:
    """In the form that names are compared in."""
    patterns = [given] if isinstance(given, str) else given
    for pattern in patterns:
        if not pattern.strip("/") or pattern.startswith("/"):
            raise InvalidQuery(f"{name}: {pattern!r} is no pattern of names; it looks like '*.pdf' or 'drafts'")
    return [pattern.rstrip("/").lower() for pattern in patterns]


def _name(path: Path) -> str:
    """A path as a document's name: with "/", and a question mark for what is not Unicode."""
    return path.as_posix().encode("utf8", "replace").decode("utf8")


_OF_THE_SYSTEM = {"thumbs.db", "desktop.ini"}  # what Windows puts into folders of pictures


def _walk(root: Path, failures: list[Failure]) -> Iterator[Path]:
    def unlisted(error: OSError) -> None:
        failures.append(Failure(str(error.filename), None, f"the folder cannot be listed: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if CATALOGUE in files:  # an index among the documents is none of them
            folders.clear()
            continue
        for name in sorted(files):
            hidden = name.startswith((".", "~$"))  # ~$: what office programs put beside an open document
            if not hidden and name.lower() not in _OF_THE_SYSTEM:
                yield Path(folder, name)


def free_name(source: Source, taken: Mapping[str, object]) -> str:
    """The name a new document gets: its own, or with the shortest parents in front that no other document has."""
    if source.doc not in taken:
        return source.doc
    parts = source.path.parts
    for count in range(source.doc.count("/") + 2, len(parts) + 1):
        name = _name(Path(*parts[-count:]))
        if name not in taken:
            return name
    raise DocumentError(source.path, f"every name for it is taken: {source.doc} is another document")


def add(  # the arguments are those of `Retriever.add`, which says what they mean
    index: PageIndex,
    encoder: Encoder,
    paths: str | Path | Iterable[str | Path],
    *,
    metadata: Metadata = None,
    include: Patterns = (),
    exclude: Patterns = (),
    sync: bool = False,
    retry_failed: bool = False,
    password: str | None = None,
    ocr_mode: str = "auto",
    most_pages: int | None = None,
    page_seconds: float = PAGE_SECONDS,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Bring files and folders into the index."""
    paths = given_paths(paths)
    if most_pages is not None:
        most_pages = _given.whole("most_pages", most_pages)
    common = _common(encoder, password, ocr_mode, most_pages, page_seconds)
    found = discover(paths, include=include, exclude=exclude)
    run = _Run(index, encoder, metadata, retry_failed, common, progress)
    with index.writing() as writer:
        check_same(index.path, index.model, encoder)  # another process may have made it anew
        return run.add(writer, found, gone_below=paths if sync else ())


def replace_document(  # the arguments are those of `Retriever.replace`, which says what they mean
    index: PageIndex,
    encoder: Encoder,
    doc: str,
    path: Path,
    *,
    metadata: Mapping[str, Any] | None,
    password: str | None,
    ocr_mode: str,
    most_pages: int | None,
    page_seconds: float,
    progress: Callable[[Progress], None] | None,
) -> Report:
    """Read a file, and put it in the place of a document with one commit."""
    path = expanded(path).resolve()
    run = _Run(index, encoder, None, False, _common(encoder, password, ocr_mode, most_pages, page_seconds), progress)
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
            task = _Task(Source(path, doc), doc, number, stat.st_size, None, set(), None, stat.st_mtime_ns)
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
    *,
    password: str | None,
    ocr_mode: str,
    page_seconds: float,
    progress: Callable[[Progress], None] | None,
) -> Report:
    """Read every document again, into a new index that takes the place of this one when it has all of them."""
    common = _common(encoder, password, ocr_mode, None, page_seconds)
    with index.reindexing(record(encoder), storage) as (new, writer):
        before = {document.source: document for document in index.snapshot.documents()}
        report = _Run(new, encoder, None, False, common, progress).add_again(writer, index)
        if len(index.snapshot) and not len(new.snapshot):
            reason = f"no page could be read with {encoder.spec.name}, so it stays as it is"
            raise PageIndexError(index.path, f"{reason}; {report.failed[0].reason}" if report.failed else reason)
        for document in new.snapshot.documents():
            if document.source and (hash_ := before[document.source].hash) and document.hash != hash_:
                _log.warning("%s: has changed since it was indexed; it was read as it is now", document.source)
    return report


def _common(
    encoder: Encoder, password: str | None, ocr_mode: str, most_pages: int | None, page_seconds: float
) -> _render.Request:
    """What is asked of every file."""
    return _render.Request(
        "",
        password=password,
        image=encoder.spec.modality == "image",
        ocr=ocr.usable_mode(ocr_mode, encoder.spec.modality),
        most_pages=most_pages,
        page_seconds=page_seconds,
    )


def add_pages(
    index: PageIndex,
    encoder: Encoder,
    pages: Iterable[Page],
    *,
    metadata: Mapping[str, Any] | None = None,
    ocr_mode: str = "auto",
) -> Report:
    """Bring pages made in memory into the index, with their pictures."""
    started = time.monotonic()
    ocr_mode = ocr.usable_mode(ocr_mode, encoder.spec.modality)
    pages = (ocr.with_words(page, ocr_mode) for page in pages)
    metadata = None if metadata is None else _given.metadata("documents", metadata)
    numbers: dict[str, int] = {}
    empty, failed = [], []
    count = updated = 0
    given: set[PageRef] = set()
    filled: set[int] = set()
    with _scripts.said_once(), index.writing() as writer:
        check_same(index.path, index.model, encoder)
        before = index.snapshot
        for batch in _batches(pages, BATCH_PAGES[encoder.spec.modality]):
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
                        renditions.write(index.path, numbers[doc], number, _webp(page.image))
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


def stored_page(index: PageIndex, ref: PageRef, *, image: bool = True) -> Page:
    """A page as the index keeps it: its text, and where it was made in memory its picture, unless `image` is False."""
    embedding = index.embedding(ref)
    if embedding.size_pt is None:
        return Page.from_text(embedding.text, doc=ref.doc, page=ref.page, metadata=embedding.metadata)
    words = None
    if embedding.word_boxes is not None:
        lines = [(word, line) for line, text in enumerate(embedding.text.split("\n")) for word in text.split()]
        boxes = [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in embedding.word_boxes]
        words = tuple(Word(word, box, (), line) for (word, line), box in zip(lines, boxes, strict=True))
    picture = _stored_image(index, ref) if image else None
    return Page(ref, embedding.size_pt, picture, words, None, embedding.metadata)


def _stored_image(index: PageIndex, ref: PageRef) -> Image | None:
    from PIL import Image

    data = renditions.read(index.path, index.snapshot.document(ref.doc).number, ref.page)
    try:
        return None if data is None else Image.open(BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        reason = f"its picture in the index is damaged ({error}); `visret verify` says what else is"
        raise DocumentError(ref.doc, reason, page=ref.page) from error


def drawn_page(index: PageIndex, ref: PageRef, *, dpi: float, password: str | None) -> Page:
    """A page of a file, read again; words that were read by OCR are those that were indexed."""
    snapshot = index.snapshot
    document = snapshot.document(ref.doc)
    check_unchanged(index, document)
    metadata = snapshot.page_metadata(*snapshot.find(ref))
    path = renditions.pdf_of(index.path, document.number) or Path(document.source or "")
    if path == Path(document.source or "") and formats.converts(document.member or path):
        page = stored_page(index, ref)
        if page.size_pt is None:  # HTML that was read as plain text
            return page
        raise DocumentError(path, "the PDF it was converted to is lost; index it again")
    with ExitStack() as stack:
        if document.member and path == Path(document.source or ""):
            path = stack.enter_context(unpacked(path, document.member, password=password))
        opened = stack.enter_context(documents.open_document(path, password=password))
        page = opened.page(ref.page, doc=ref.doc, dpi=dpi, metadata=metadata)
    return replace(page, words=stored_page(index, ref).words) if ocr.METADATA in metadata else page


def check_unchanged(index: PageIndex, document: Document) -> None:
    """Raise DocumentError unless the document's file is the one that was indexed."""
    path = Path(document.source or "")
    if document.member and (file := index.snapshot.at(str(path))) is not None:
        document = index.snapshot.document(file)
    try:
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) == (document.size, document.mtime_ns) or _sha256(path) == document.hash:
            return
    except OSError as error:
        reason = "is no longer there" if isinstance(error, FileNotFoundError) else error.strerror
        raise DocumentError(path, f"{reason}; put it back, or index again") from error
    raise DocumentError(path, "has changed since it was indexed; index it again to see its pages")


def encode(encoder: Encoder, pages: Sequence[Page]) -> Iterator[tuple[PageRef, PageEmbedding | str]]:
    """Each page's embedding, or the reason why it has none."""
    if not pages:
        return
    try:
        yield from zip([page.ref for page in pages], encoder.encode_pages(pages), strict=True)
    except VisretError as error:
        if len(pages) == 1:
            yield pages[0].ref, str(error)
            return
        for page in pages:  # find the one that spoils the batch
            yield from encode(encoder, [page])


@dataclass(slots=True)
class _Task:
    """A file that has to be read, or a document inside one.

    number: 0 for a document inside a file until it has one. hash: None until the file is read. skip: pages that are in
    the index already. pdf: that it was converted to for them. known: what the index has of the documents inside it, by
    their place, and the pages of each that need not be read again, None for all. seen: those that are still there;
    whole: those of them that were left alone with all that is inside them. left: whether nothing of it is read.
    """

    source: Source
    doc: str
    number: int
    size: int
    hash: str | None
    skip: Set[int]
    pdf: Path | None = None
    mtime_ns: int | None = None
    known: Mapping[str, tuple[Document, Set[int] | None]] = field(default_factory=dict)
    parent: _Task | None = None
    seen: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    left: bool = False


@dataclass(frozen=True, slots=True)
class _End:
    """Of a file. pages: how many it has, None where it did not open."""

    pages: int | None


_Answer = _render.Hashed | _render.Converted | _render.Unread | _render.Lost | _render.Begun | Page | _End


@dataclass(frozen=True, slots=True)
class _Read:
    """One thing that came of a file; its last is an _End, or an Unread of the file."""

    task: _Task
    answer: _Answer

    @property
    def page(self) -> Page | None:
        """The page, if this is one."""
        return self.answer if isinstance(self.answer, Page) else None

    @property
    def is_last(self) -> bool:
        """Whether nothing more comes of the file, and of what is inside it."""
        ends = isinstance(self.answer, _End) or (isinstance(self.answer, _render.Unread) and self.answer.page is None)
        return ends and self.task.parent is None


class _Run:
    """One call of `add`."""

    def __init__(
        self,
        index: PageIndex,
        encoder: Encoder,
        metadata: Metadata,
        retry_failed: bool,
        common: _render.Request,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.index = index
        self.encoder = encoder
        self.metadata = metadata if metadata is None or callable(metadata) else _given.metadata("documents", metadata)
        self.retry_failed = retry_failed
        self.common = common
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
                stored.append(_Task(source, document.doc, document.number, 0, None, done))
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
            [_stored(before, task, self.common.ocr) for task in stored],
        )
        return self.report(len(documents))

    def read(self, writer: Writer, tasks: Sequence[_Task], stored: Sequence[_Stored] = ()) -> None:
        """Files, then what is stored already."""
        self.progress.documents_total += len(tasks)
        self.progress.bytes_total = sum(task.size for task in tasks)
        batch: list[_Read] = []
        size = BATCH_PAGES[self.encoder.spec.modality]
        with (
            _scripts.said_once(),
            self.watched(tasks, stored) as watch,
            _Reader(tasks, self.common, watch) as reader,
            ThreadPoolExecutor(1, "visret-write") as self.background,
        ):
            self.watch = watch
            again = (watch.reading(0, one.key, one.reads, time.process_time) for one in stored)
            try:
                taken = time.monotonic()
                for item in chain(reader, chain.from_iterable(again)):
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

    def plan(self, writer: Writer, sources: Sequence[Source]) -> list[_Task]:
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
                digest = known.hash if known and same else _sha256(source.path) if may_be_known else None
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
                    task = _Task(source, doc, known.number, stat.st_size, digest, done, converted, stat.st_mtime_ns)
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
            tasks.append(_Task(source, doc, made, stat.st_size, digest, set(), None, stat.st_mtime_ns, members))
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
        return {*document.pages, *(document.blank if self.common.ocr != "never" else document.empty)}

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
        if self.common.password and document.state == "failed":  # it may be what was missing
            return False
        if document.reason == office.MISSING and office.program():
            return False
        if document.reason == pictures.NO_HEIF and pictures.reads_heif():
            return False
        return document.state != "partial" and not self.may_have_words(document)

    def may_have_words(self, document: Document) -> bool:
        """Whether it has empty pages at which OCR has not looked."""
        return self.common.ocr != "never" and document.state != "failed" and document.empty != document.blank

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

    def take(self, writer: Writer, batch: Sequence[_Read]) -> None:
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

    def watched(self, tasks: Sequence[_Task], stored: Sequence[_Stored]) -> Watch:
        """What sees how far it is."""
        return Watch(
            self.progress,
            self.report_progress,
            [*map(_ahead, tasks), *(File(one.key, "stored", 0, pages=one.pages) for one in stored)],
            lanes=_lanes(len(tasks)),
            common=self.common,
            spec=self.encoder.spec,
            room=AHEAD_BYTES,
        )

    def write(self, writer: Writer, batch: Sequence[_Read], outcomes: Mapping[PageRef, PageEmbedding | str]) -> None:
        """Hand a batch to the writer."""
        for read in batch:
            task = read.task
            if task.left and not isinstance(read.answer, _render.Begun):
                continue
            match read.answer:
                case _render.Begun(hash=digest):
                    self.begin_member(writer, task, digest)
                case Page(ref=ref):
                    self.write_page(writer, task, ref.page, outcomes.get(ref))
                case _render.Hashed(hash=digest):
                    writer.update(task.number, hash=digest)
                case _render.Converted(pdf=data):
                    writer.keep_pdf(task.number, data)
                case _render.Lost(page=page, loss=loss):
                    self.lost.append(Lost(task.source.shown, page, *loss))
                    writer.lose(task.number, page, *loss)
                case _render.Unread(page=int() as page, reason=reason):
                    self.write_page(writer, task, page, reason)
                case _render.Unread(reason=reason, reached=reached):
                    self.failed.append(Failure(task.source.shown, None, reason))
                    if reached:  # else the index has what it had, and the next run looks again
                        self.remove_gone_members(writer, task)
                        writer.finish(task.number, "failed", reason)
                case _End(pages=pages):
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

    def begin_member(self, writer: Writer, task: _Task, digest: str) -> None:
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

    def remove_gone_members(self, writer: Writer, task: _Task) -> None:
        """Remove what was inside an earlier version of a file and is not any more."""
        for place, (document, _) in task.known.items():
            if place not in task.seen and not any(place.startswith(f"{whole}/") for whole in task.whole):
                writer.remove(document.doc)

    def write_page(self, writer: Writer, task: _Task, page: int, outcome: PageEmbedding | str | None) -> None:
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
        writer.skip(task.number, page, outcome, blank=self.common.ocr != "never")
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


@dataclass(frozen=True, slots=True)
class _Stored:
    """A document that was made in memory. pages: how many are to be read. reads: what comes of it, read as needed."""

    key: str
    pages: int
    reads: Iterator[_Read]


def _stored(index: PageIndex, task: _Task, ocr_mode: str) -> _Stored:
    """The pages of a document that was made in memory, as far as they are stored."""
    document = index.snapshot.document(task.number)
    numbers = sorted({*document.pages, *document.empty, *dict(document.failed)} - task.skip)
    return _Stored(document.doc, len(numbers), _read_stored(index, task, document, numbers, ocr_mode))


def _read_stored(
    index: PageIndex, task: _Task, document: Document, numbers: Sequence[int], ocr_mode: str
) -> Iterator[_Read]:
    """What comes of these pages, then the end."""
    answer: Page | _render.Unread
    for page in numbers:
        ref = PageRef(document.doc, page)
        try:
            if page in document.pages:
                answer = stored_page(index, ref)
            else:  # its picture, if an earlier model could read it; else it stays a page without anything to read
                image = _stored_image(index, ref)
                answer = Page(ref, None) if image is None else Page.from_image(image, doc=ref.doc, page=page)
            answer = ocr.with_words(answer, ocr_mode)
        except (OSError, VisretError) as error:
            answer = _render.Unread(page, str(error))
        yield _Read(task, answer)
    yield _Read(task, _End(document.expected))


def _ahead(task: _Task) -> File:
    """A file, for the forecast."""
    path = task.pdf or task.source.path
    found = formats.format_of(path)
    kind = "" if found is None else found.reader
    return File(str(path), kind, task.size, len(task.skip), formats.converts(path))


def _lanes(files: int) -> int:
    """How many workers read so many files."""
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // 2, files))


class _Reader:
    """Reads files in worker processes, ahead of who iterates; gives what comes of them, file by file, in order.

    One worker reads the words of 75 pages in a second of its core, and draws 40: more than two cores encode. With more
    cores there are more workers, each with files of its own. common: what is asked of every file.
    """

    def __init__(self, tasks: Sequence[_Task], common: _render.Request, watch: Watch) -> None:
        self.tasks = tasks
        self.watch = watch
        count = _lanes(len(tasks))
        self.lanes = [_Lane(i, tasks[i::count], common, _Buffer(AHEAD_BYTES // count), watch) for i in range(count)]

    def __enter__(self) -> _Reader:
        for lane in self.lanes:
            lane.start()
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self.lanes:
            lane.stop()
        for lane in self.lanes:
            lane.join()

    def __iter__(self) -> Iterator[_Read]:
        for i in range(len(self.tasks)):
            buffer = self.lanes[i % len(self.lanes)].buffer
            while True:
                item = buffer.get(self.watch.tick)
                if isinstance(item, BaseException):
                    raise item
                yield item
                if item.is_last:
                    break


class _Lane(threading.Thread):
    """Files, the worker that reads them, and what it has read of them."""

    def __init__(
        self, number: int, tasks: Sequence[_Task], common: _render.Request, buffer: _Buffer, watch: Watch
    ) -> None:
        super().__init__(name="visret-reader", daemon=True)
        self.number = number
        self.watch = watch
        self.tasks = tasks
        self.common = common
        self.buffer = buffer
        self.worker: _render.Worker | None = None
        self.stopping = False
        self.starting = threading.Lock()

    def stop(self) -> None:
        """Come to an end, in the middle of a page too."""
        with self.starting:
            self.stopping = True
            if self.worker is not None:
                self.worker.kill()
        self.buffer.close()

    def run(self) -> None:
        """Read all files."""
        try:
            for task in self.tasks:
                reading = _Reading(task, self.common, self)
                for read in self.watch.reading(self.number, str(reading.path), reading.answers(), self.cores):
                    if not self.buffer.put(read, _render.size_in_memory(read.answer)):
                        return
        except BaseException as error:  # noqa: BLE001 - a defect: raised again where the pages are awaited
            self.buffer.put(error)
        finally:
            if self.worker is not None:
                self.worker.close()

    def cores(self) -> float:
        """The seconds of cores that the worker has used."""
        return 0.0 if self.worker is None else self.worker.cpu_seconds

    def ready_worker(self) -> _render.Worker:
        """The worker; a new one where there is none, or none any more."""
        with self.starting:
            if self.stopping:
                raise _render.Died
        if self.worker is None:
            worker = _render.Worker()
            with self.starting:
                self.worker = worker
                if self.stopping:
                    worker.kill()
        return self.worker


class _Reading:
    """One file and the documents inside it, whatever their pages do to the worker."""

    def __init__(self, task: _Task, common: _render.Request, lane: _Lane) -> None:
        self.lane = lane
        self.common = common
        self.task = task
        self.path = task.pdf or task.source.path
        self.parts = {"": _Part(task)}  # the file, and what is inside it, by place
        self.at = ""  # what is being read
        self.crashes = 0

    def answers(self) -> Iterator[_Read]:
        """What comes of them."""
        while True:
            try:
                for answer in self.lane.ready_worker().read(self.request(), doc=self.task.doc):
                    if isinstance(answer, _render.Inside):
                        yield from self.taken(answer.member, answer.answer)
                    else:
                        yield from self.taken("", answer)
                    if self.parts[""].is_over:  # by a reason
                        return
                break
            except _render.Died as death:
                self.lane.worker = None
                if self.lane.stopping:
                    return
                part = self.parts[self.at]
                if self.at == "" and part.pages is not None and part.next_page() is None:
                    yield from self.died_of_unpacking(death)
                    break
                yield from self.died(part, death)
                if self.parts[""].is_over:
                    return
        yield _Read(self.task, _End(self.parts[""].pages))

    def request(self) -> _render.Request:
        """What is still wanted."""
        known: dict[str, tuple[str, tuple[int, ...] | None]] = {
            place: (document.hash or "", None if done is None else tuple(sorted(done)))
            for place, (document, done) in self.task.known.items()
        }
        for place, part in self.parts.items():
            if place:
                known[place] = part.hash or "", None if part.is_over else tuple(sorted(part.done))
        return replace(
            self.common,
            path=str(self.path),
            hash=self.parts[""].hash is None,
            skip=tuple(sorted(self.parts[""].done)),
            opening_seconds=_render.opening_seconds(self.path.name, self.task.size, self.common.page_seconds),
            known=known,
        )

    def taken(self, place: str, answer: _render.Answer) -> Iterator[_Read]:
        """What an answer says that is not known yet."""
        self.at = place
        if isinstance(answer, _render.Begun) and place not in self.parts:
            self.parts[place] = _Part(self.member(place, answer.hash))
            yield _Read(self.parts[place].task, answer)
        part = self.parts[place]
        match answer:
            case _render.Hashed(hash=digest):
                part.hash = digest
            case _render.Opened(pages=pages):
                part.pages = pages
                self.lane.watch.forecast.opened(str(self.path), pages, inside=place != "")
                return
            case _render.Converted() if part.pages is not None:
                return  # after a crash the first one stays
            case _render.Begun() | _render.Looked():
                return
            case _render.Ended():
                if not part.is_over:
                    part.is_over = True
                    yield _Read(part.task, _End(part.pages))
                self.at = ""
                return
            case _render.Unread(page=None):
                part.is_over = True
            case Page(ref=ref):
                part.done.add(ref.page)
            case _render.Unread(page=int() as page):
                part.done.add(page)
        yield _Read(part.task, answer)

    def member(self, place: str, digest: str) -> _Task:
        """The task of a document inside the file."""
        known = self.task.known.get(place)
        doc = known[0].doc if known else f"{self.task.doc}/{place}"
        done = known[1] if known and known[0].hash == digest else None
        source = Source(self.task.source.path, doc, place)
        return _Task(source, doc, 0, 0, digest, done or set(), parent=self.task)

    def died(self, part: _Part, death: _render.Died) -> Iterator[_Read]:
        """The page, or the document, that ended the worker is given up; after too many of them the file is."""
        number = part.next_page()
        if part.pages is None or number is None:
            part.is_over = True
            yield _Read(part.task, _render.Unread(None, str(death)))
        else:
            part.done.add(number)
            yield _Read(part.task, _render.Unread(number, str(death)))
        self.crashes += 1
        file = self.parts[""]
        if self.crashes == MOST_CRASHES and not file.is_over:
            where = f"page {number}" if self.at == "" else f"{self.at} inside it"
            reason = f"was given up at {where}, the last of {self.crashes} that ended so: it {death}"
            file.is_over = True
            yield _Read(self.task, _render.Unread(None, reason))

    def died_of_unpacking(self, death: _render.Died) -> Iterator[_Read]:
        """Nothing is lost where the worker died of closing a file in which there is nothing more."""
        found = formats.format_of(self.path)
        if len(self.parts) > 1 or (found is not None and found.reader in HOLDING):
            loss = Loss("what else is inside it", f"unpack it into a folder: the reading of it {death}")
            yield _Read(self.task, _render.Lost(None, loss))


class _Part:
    """What is read of a file, or of a document inside it.

    hash: None until it is known. pages: None until it is open. done: those that need not be read again.
    """

    def __init__(self, task: _Task) -> None:
        self.task = task
        self.hash = task.hash
        self.done = set(task.skip)
        self.pages: int | None = None
        self.is_over = False

    def next_page(self) -> int | None:
        """The one that is being read; None where none is left."""
        return next((number for number in range(1, (self.pages or 0) + 1) if number not in self.done), None)


class _Buffer:
    """A queue for one thread on either side, bounded by the bytes in it."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.items: deque[tuple[_Read | BaseException, int]] = deque()
        self.bytes = 0
        self.closed = False
        self.changed = threading.Condition()

    def put(self, item: _Read | BaseException, size: int = 0) -> bool:
        """Wait for room; False where nobody waits for it any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or not self.bytes or self.bytes + size <= self.most_bytes)
            self.items.append((item, size))
            self.bytes += size
            self.changed.notify_all()
            return not self.closed

    def get(self, meanwhile: Callable[[], None]) -> _Read | BaseException:
        """Wait for the next; `meanwhile` is called now and then."""
        while not self.await_one():
            meanwhile()
        with self.changed:
            item, size = self.items.popleft()
            self.bytes -= size
            self.changed.notify_all()
            return item

    def await_one(self) -> bool:
        """Whether there is one; False after a while."""
        with self.changed:
            return bool(self.changed.wait_for(lambda: self.items, WAKE_SECONDS))

    def close(self) -> None:
        """Let nobody wait for room."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


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


def _batches(pages: Iterable[Page], size: int) -> Iterator[list[Page]]:
    rest = iter(pages)
    while batch := list(islice(rest, size)):
        yield batch


def _webp(image: Image) -> bytes:
    """Without loss: the picture may be indexed again with another model."""
    out = BytesIO()
    image.save(out, "webp", lossless=True, method=0)
    return out.getvalue()
