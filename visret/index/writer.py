"""The writer of an index: one at a time, one transaction a commit."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from visret import arguments, forks
from visret.errors import (
    DuplicateDocument,
    IndexLocked,
    InvalidArgument,
    PageIndexError,
    ShapeError,
)
from visret.index import arrays, compaction, embedded, renditions, versions
from visret.index import fitted as fits
from visret.index.catalogue import (
    DocumentRow,
    Floor,
    IndexModel,
    SegmentRow,
    connect,
    parse_object,
    read_models,
    read_segments,
    read_settings,
    reading_errors,
    store_source,
    without_locks,
    writing_errors,
)
from visret.index.fields import Packed, pack_vectors
from visret.index.filters import BUILT_IN, JOINS
from visret.index.fitted import Fitted
from visret.index.layout import (
    FITTED,
    LOCK,
    MAX_NUMBER,
    NEXT,
    SEAL,
    SEGMENTS,
    STATES,
    UNFINISHED,
    fitted_folder,
    segment_folder,
)
from visret.index.packing import PackedPage, Packing
from visret.index.segment import Segment, write_segment
from visret.index.snapshot import Snapshot, no_document
from visret.reduction import Storage, losing_lengths
from visret.types import PageEmbedding

_log = logging.getLogger(__name__)

# What an index learns, it learns from this many vectors, if its first commit can wait for them, or as many as fill
# these bytes. With fewer than ENOUGH, a larger collection would be stored worse than it could be.
SAMPLE = 1 << 17
SAMPLE_BYTES = 1 << 28
ENOUGH = 1 << 13


class Writer:
    """A writer that collects changes and publishes them with `commit`; until then nothing can be seen or is durable.

    It is made by `PageIndex.writing()`, and used by one thread at a time.

        with index.writing() as writer:
            number = writer.add("a.pdf", source="/papers/a.pdf", hash="...", expected=2)
            writer.put(number, embedding_of_page_1)
            writer.commit()                                    # a.pdf can be searched, and is "partial"
            writer.put(number, embedding_of_page_2)
            writer.finish(number, "done")                      # committed at the end of the block

    A document appears with its first page (put or skipped) or when it is finished, and the earlier version that it
    replaces is gone with the same commit. The numbers of documents that are in the index work too, so a partial one
    goes on with `writer.put(snapshot.docs()["a.pdf"], ...)`.
    """

    def __init__(
        self,
        index: Path,
        connection: sqlite3.Connection,
        snapshot: Snapshot,
        *,
        model: IndexModel,
        storage: Storage,
        fitted: Fitted | None,
        committed: Callable[[int], None],
        sweep: Callable[[], None],
    ) -> None:
        self._index = index
        self._connection = connection
        self._model = model
        self._storage = storage
        self._fitted = fitted  # None: `_pages` hold the vectors of the model as float32, until they are enough
        self._learned: Fitted | None = None  # what the next commit has to publish
        self._committed = committed
        self._sweep = sweep
        self._merging = True
        self._commits = snapshot.commits
        # Names as they will be after the next commit.
        self._docs = dict(snapshot.docs())
        self._places: dict[str, dict[str, int]] = {}  # a file, and the place in it
        self._texts: dict[int, str] = {}  # metadata of documents, as far as it was told here
        self._names: dict[int, tuple[str, str | None, str]] = {}  # doc, source, member
        for doc, number in self._docs.items():
            self._remember(number, doc, *snapshot.place(number))
        # Documents that are not visible yet: row, and number of the version they replace.
        self._added: dict[int, tuple[DocumentRow, int | None]] = {}
        self._operations: list[tuple[str, tuple[Any, ...]]] = []
        self._pages: list[Packed] = []
        self._placed: set[tuple[int, int]] = set()  # document and page of each, and of what else is in renditions/
        self._vectors = self._bytes = 0
        self._next_document = self._next("documents")

    @property
    def pending_pages(self) -> int:
        """The number of pages that wait for the next commit."""
        return len(self._pages)

    @property
    def pending_vectors(self) -> int:
        """The number of vectors that wait for the next commit."""
        return self._vectors

    @property
    def pending_bytes(self) -> int:
        """The bytes that wait for the next commit, in memory now and on disk later."""
        return self._bytes

    @property
    def awaits_more(self) -> bool:
        """True if the next commit should wait: what this index learns from its first vectors, it learns once."""
        return self._fitted is None and self._vectors < SAMPLE and self._bytes < SAMPLE_BYTES

    def add(
        self,
        doc: str,
        *,
        source: str | None = None,
        hash: str | None = None,  # noqa: A002
        size: int | None = None,
        mtime_ns: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected: int | None = None,
        member: str = "",
    ) -> int:
        """Begin a document, or a new version of one of the same name and place, and return its number.

        source, member: the file, and the place of the document in it; "" for the file itself.

        metadata: None leaves what the earlier version has: a filter that hides a document goes on hiding it.
        Raises DuplicateDocument where another source has the name, or the source is there under another name.
        """
        earlier = self._docs.get(doc)
        if earlier is not None and self._names[earlier][1:] != (source, member):
            raise DuplicateDocument(self._index, f"{doc!r} is the name of another document; choose another name")
        self._check_names(earlier, doc, source, member)
        text = self._metadata_of(earlier) if metadata is None else self._metadata(doc, metadata)
        number, self._next_document = self._next_document, self._next_document + 1
        if member and source is not None and (file := self._places.get(source, {}).get("")) is not None:
            self._appear(file)  # never after what is inside it: else an interrupted run would begin the file anew
        path = store_source(source)
        row = DocumentRow(number, doc, path, hash, size, mtime_ns, "partial", None, text, expected, member)
        if earlier is not None:
            self._forget(earlier)
            if earlier in self._added:  # never became visible: what it would have replaced is replaced now
                earlier = self._added.pop(earlier)[1]
        self._added[number] = (row, earlier)
        self._texts[number] = text
        self._remember(number, doc, source, member)
        return number

    @property
    def packing(self) -> Packing:
        """The way from an embedding to what is stored of it, for a process that packs pages before they are `put`."""
        return Packing(self._index, self._model, self._storage, self._fitted)

    def put(self, number: int, page: PageEmbedding | PackedPage) -> None:
        """Add one page to a document. An embedding is made smaller and encoded here, so that what waits is as small as
        on disk; vectors that the index has still to learn from wait as they are.

        Raises ModelMismatch for vectors of another size, ShapeError for what cannot be stored, DuplicateDocument for
        a page that is there already.
        """
        doc, at = page.ref.doc, (number, int(page.ref.page))
        self._check_page(number, page.ref.page)
        if self._docs.get(doc) != number:
            raise InvalidArgument(
                f"page {page.ref.page} is of {doc!r}, but document {number} is {self._names[number][0]!r}"
            )
        if page.size_pt is not None:
            arguments.size(page.size_pt)
        if isinstance(page, PageEmbedding):
            self.packing.check_dim(page)
        with reading_errors(self._index):
            there = self._connection.execute("SELECT 1 FROM pages WHERE document = ? AND page = ?", at).fetchone()
        if there or at in self._placed:
            raise DuplicateDocument(self._index, f"page {page.ref.page} of {doc} is in the index already")
        text = self._metadata(f"{doc}, page {page.ref.page}", page.metadata) if page.metadata else None
        packed = page.arrays if isinstance(page, PackedPage) else self.packing.pack(page)
        self._appear(number)
        self._do("DELETE FROM unread_pages WHERE document = ? AND page = ?", *at)
        self._do(
            "INSERT INTO pages (document, page, width_pt, height_pt, segment, row, metadata) "
            "VALUES (?, ?, ?, ?, (SELECT max(number) FROM segments), ?, ?)",
            *(*at, *(page.size_pt or (None, None)), len(self._pages), text),
        )
        self._pages.append(packed)
        self._placed.add(at)
        self._vectors += len(packed.get("vectors", ()))
        self._bytes += sum(array.nbytes for array in packed.values())

    def skip(self, number: int, page: int, reason: str | None = None, *, blank: bool = False) -> None:
        """Record a page without vectors: empty for this model, and `blank` for OCR too, or, with a reason, failed."""
        self._check_page(number, page)
        self._appear(number)
        blank = blank and reason is None
        self._do("INSERT OR REPLACE INTO unread_pages VALUES (?, ?, ?, ?)", number, page, reason, int(blank))

    def lose(self, number: int, page: int | None, what: str, help: str) -> None:  # noqa: A002
        """Record content that is known to be missing from a page, or, page None, from the document."""
        self._check_page(number, page or 1)
        self._appear(number)
        self._do("INSERT OR REPLACE INTO lost VALUES (?, ?, ?, ?)", number, page or 0, what, help)

    def regain(self, number: int, page: int | None) -> None:
        """Forget what was missing from a page, or, page None, from the document: it is read again."""
        self._check_page(number, page or 1)
        self._appear(number)
        self._do("DELETE FROM lost WHERE document = ? AND page = ?", number, page or 0)

    def keep_pdf(self, number: int, data: bytes) -> None:
        """Keep what a document was converted to, before its pages: they are drawn from it."""
        self._check_number(number)
        self._appear(number)
        renditions.write(self._index, number, renditions.PDF, data)
        self._placed.add((number, renditions.PDF))

    def keep_picture(self, number: int, page: int, data: bytes) -> None:
        """Keep the picture, as WebP, of a page that was `put` and has no file from which it could be drawn again."""
        self._check_page(number, page)
        renditions.write(self._index, number, page, data)

    def finish(self, number: int, state: str = "done", reason: str | None = None) -> None:
        """Set the state of a document: done, partial, failed or empty."""
        if state not in STATES:
            raise InvalidArgument(f"a document is one of {', '.join(STATES)}, not {state!r}")
        self._check_number(number)
        self._appear(number)
        self._do("UPDATE documents SET state = ?, reason = ? WHERE number = ?", state, reason, number)

    def update(
        self,
        number: int,
        *,
        doc: str | None = None,
        source: str | None = None,
        hash: str | None = None,  # noqa: A002
        size: int | None = None,
        mtime_ns: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected: int | None = None,
        member: str | None = None,
    ) -> None:
        """Change what is known of a document, its name and place included; None leaves a field as it is."""
        self._check_number(number)
        name, path, inside = self._names[number]
        name, path, inside = doc or name, source or path, inside if member is None else member
        self._check_names(number, name, path, inside)
        text = None if metadata is None else self._metadata(name, metadata)
        fields: dict[str, Any] = {"doc": doc, "source": store_source(source), "hash": hash, "size": size}
        fields |= {"mtime_ns": mtime_ns, "metadata": text, "expected": expected, "member": member}
        changed = {column: value for column, value in fields.items() if value is not None}
        if number in self._added:
            row, earlier = self._added[number]
            self._added[number] = row._replace(**changed), earlier
        else:
            for column, value in changed.items():
                self._do(f"UPDATE documents SET {column} = ? WHERE number = ?", value, number)
        if text is not None:
            self._texts[number] = text
        self._forget(number)
        self._remember(number, name, path, inside)

    def remove(self, doc: str) -> None:
        """Remove a document with its pages, and a file with the documents in it.

        Raises InvalidArgument where there is none of this name.
        """
        number = self._docs.get(doc)
        if number is None:
            raise no_document(doc, self._docs)
        _, source, member = self._names[number]
        inside = self._places[source] if source is not None and not member else {}
        for one in [number, *(other for other in inside.values() if other != number)]:
            self._remove(one)

    def _remove(self, number: int | None) -> None:
        assert number is not None
        self._forget(number)
        if number in self._added:
            number = self._added.pop(number)[1]
        if number is not None:
            self._delete(number)

    def set_floor(self, floor: Floor) -> None:
        """Store what was measured of questions about something else."""
        self._do("INSERT OR REPLACE INTO settings VALUES ('floors', ?)", json.dumps(floor._asdict()))

    def add_model(self, model: IndexModel) -> int:
        """Record a model that is added to the index, at once, and return its number.

        Raises InvalidArgument where another model makes vectors of that kind.
        """
        self.commit()
        models, kind = self._added_models(), embedded.kind_of(model)
        if (there := embedded.of_kind(models, kind)) is not None:
            if there[1] == model:
                return there[0]
            raise InvalidArgument(f"the {kind} vectors here are those of {there[1].name}; remove that model first")
        number = self._next("models")
        values = (number, model.name, model.identity, model.dim, model.modality)
        made = json.dumps(dict(model.preprocessing), sort_keys=True)
        self._do("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)", *values, made)
        self.commit()
        return number

    def remove_model(self, number: int) -> None:
        """Forget an added model and what it made of pages, at once."""
        self.commit()
        with reading_errors(self._index):
            segments = read_segments(self._connection)
        for row in segments:
            sums = parse_object(row.checksums)
            kept = {file: checksum for file, checksum in sums.items() if embedded.number_of(file) != number}
            if kept != sums:
                self._set_files(row.number, kept)
        self._do("DELETE FROM models WHERE number = ?", number)
        self.commit()
        self._sweep()

    def embed(self, segment: int, number: int, pages: Sequence[Packed]) -> None:
        """Publish what an added model made of all pages of a segment, at once. Until then none of them has any.

        pages: what `embedded.packed` made of each row of the segment, in order; nothing of rows that are dead.
        After a PageIndexError the index is as it was.
        """
        self.commit()
        with reading_errors(self._index):
            (row,) = (one for one in read_segments(self._connection) if one.number == segment)
        if len(pages) != row.pages:
            raise ShapeError(f"segment {segment} has {row.pages} pages, got {len(pages)}")
        folder, published = segment_folder(self._index, segment), []
        made = embedded.gathered(self._added_models()[number], number, pages)
        try:
            with writing_errors(self._index):
                for name in made:  # what a crash left
                    (folder / f"{name}.npy").unlink(missing_ok=True)
                files = arrays.add(folder, {name: [array] for name, array in made.items()})
            self._set_files(segment, parse_object(row.checksums) | files)
            self._publish((), self._operations, None, lambda: published.append(True))
        except BaseException:
            if not published:
                for name in made:
                    (folder / f"{name}.npy").unlink(missing_ok=True)
            raise
        finally:
            self._done()

    def merge(self) -> None:
        """Merge small segments where they have become many, as `commit` does."""
        self.commit()
        self._merge()

    def _set_files(self, segment: int, checksums: Mapping[str, str]) -> None:
        """Set which files a segment has."""
        folder = segment_folder(self._index, segment)
        size = sum((folder / name).stat().st_size for name in checksums)
        text = json.dumps(dict(checksums), sort_keys=True)
        self._do("UPDATE segments SET checksums = ?, bytes = ? WHERE number = ?", text, size, segment)

    def _added_models(self) -> dict[int, IndexModel]:
        with reading_errors(self._index):
            models = read_models(self._connection)
        return {number: model for number, model in models.items() if number != min(models)}

    def commit(self) -> int:
        """Write the pending pages as one segment, publish all changes in one transaction, and count the pages.

        The first pages decide what the index learns, so a long run commits them late: see `awaits_more`.
        After a PageIndexError the index is as it was, and the same changes can be committed again.
        """
        if not self._operations:
            return 0
        if self._pages and self._fitted is None:
            self._learn()
        pages = [(self._pages, Packed())] if self._pages else []
        published = len(self._pages)
        self._publish(pages, self._operations, self._learned, self._done)
        self._merge()
        return published

    def compact(self, *, codec: str | None = None, dim: int | None = None) -> None:
        """Write segments again without the pages that were removed, small ones together; commits what is pending.
        It also drops what `reindex` has built or replaced.

        codec, dim: store vectors smaller from now on; what has to be learned for that is learned from pages of the
        whole index. Raises InvalidArgument where the stored vectors have lost what would be needed.
        """
        if not self._model.makes_vectors and (codec is not None or dim is not None):
            raise InvalidArgument("this index was made without a model: no vectors can be stored in another way")
        if not self._model.unit_vectors and (lost := losing_lengths(Storage(codec or "int8", dim))):
            raise InvalidArgument(f"the vectors of {self._model.name} differ in length, and {lost} does not keep that")
        versions.discard(self._index / NEXT)
        with reading_errors(self._index):
            if read_settings(self._connection).previous is not None:
                self._do("DELETE FROM settings WHERE key = 'previous'")
        self.commit()
        stored = self._storage.dim or self._model.dim
        after = compaction.check_change(self._storage, codec, dim, stored)
        with reading_errors(self._index):
            segments = read_segments(self._connection)
        self._rewrite(compaction.groups(segments, all_of_them=after is not None), segments, after)
        self._sweep()

    def _merge(self) -> None:
        """Merge small segments where they have become many. It can wait, so if it fails, the commit still counts."""
        try:
            with reading_errors(self._index):
                while self._merging and (numbers := compaction.due(segments := read_segments(self._connection))):
                    self._rewrite([numbers], segments, None)
                    self._sweep()
        except PageIndexError as error:
            self._merging = False
            _log.warning("%s; small segments are merged by a later run", error)

    def _rewrite(self, groups: list[list[int]], segments: Sequence[SegmentRow], after: Storage | None) -> None:
        """Publish each group of segments as a new one, all in one transaction. after: stored as this says."""
        if not groups and after is None:
            return
        change: compaction.Change | None = None
        chosen = [row for row in segments if any(row.number in group for group in groups)]
        with reading_errors(self._index):
            places = [list(compaction.live_places(self._connection, group)) for group in groups]
        opened: dict[int, Segment] = {}
        if chosen:
            assert self._fitted is not None
            before = self._fitted.codec
            opened = compaction.open_segments(self._index, chosen, before, self._added_models())
        if after is not None:
            change = compaction.Change(after, fits.unfitted(after, self._model.dim), None)
            if chosen:
                assert self._fitted is not None
                sample = compaction.sample(opened, [place for group in places for place in group], SAMPLE)
                change = compaction.learn(self._fitted, after, sample)

        def pages(group: list[compaction.Place]) -> Iterator[Packed]:
            for number, row in group:
                page = compaction.whole_page(opened[number], row)
                yield page if change is None else change.page(page, before)

        first = self._next_segment()
        moves = (
            ("UPDATE pages SET segment = ?, row = ? WHERE segment = ? AND row = ?", (first + i, row, *place))
            for i, group in enumerate(places)
            for row, place in enumerate(group)
        )
        ends = (("UPDATE segments SET live = 0 WHERE number = ?", (row.number,)) for row in chosen)
        operations: Iterable[tuple[str, tuple[Any, ...]]] = chain(moves, ends)
        if change is not None:
            text = json.dumps(asdict(change.storage))
            operations = chain(operations, [("UPDATE settings SET value = ? WHERE key = 'storage'", (text,))])
            if not chosen:  # what was learned before is of no page any more
                operations = chain(operations, [("UPDATE settings SET value = '{}' WHERE key = 'fitted'", ())])

        def done() -> None:
            if change is not None:
                self._storage, self._fitted = change.storage, change.fitted

        models = self._added_models()
        groups_made = ((list(pages(group)), compaction.made_by_added(opened, group, models)) for group in places)
        self._publish(groups_made, operations, change.fitted if change else None, done)

    def _publish(
        self,
        segments: Iterable[tuple[Sequence[Packed], Packed]],
        operations: Iterable[tuple[str, tuple[Any, ...]]],
        learned: Fitted | None,
        done: Callable[[], None],
    ) -> None:
        """Write segments, then make them and the operations visible in one transaction, and call `done`.

        segments: the pages of each, and the arrays of added models.

        After an error the index is as it was, unless the transaction went through nevertheless: then `done` is called
        before it is raised.
        """
        first = self._next_segment()
        folders: list[Path] = []
        fitted: Path | None = None
        rows = []
        try:
            with writing_errors(self._index):
                if learned is not None:
                    number = fits.next_number(self._index)
                    fitted = fitted_folder(self._index, number)
                    record = json.dumps(fits.write(self._index, learned, number), sort_keys=True)
                for number, (pages, made) in enumerate(segments, first):
                    folders.append(folder := segment_folder(self._index, number))
                    checksums = json.dumps(write_segment(folder, pages, made), sort_keys=True)
                    size = sum(file.stat().st_size for file in folder.iterdir())
                    vectors = sum(len(page.get("vectors", ())) for page in pages)
                    rows.append((number, len(pages), len(pages), vectors, size, checksums))
                pictures = list(renditions.seal(self._index, self._placed))
                execute = self._connection.execute
                execute("BEGIN IMMEDIATE")
                if learned is not None:
                    execute("UPDATE settings SET value = ? WHERE key = 'fitted'", (record,))
                for row in rows:
                    execute("INSERT INTO segments VALUES (?, (SELECT min(number) FROM models), ?, ?, ?, ?, ?)", row)
                for statement, values in operations:
                    execute(statement, values)
                for picture in pictures:
                    execute("INSERT OR IGNORE INTO renditions VALUES (?, ?, ?)", picture)
                execute("DELETE FROM segments WHERE live = 0")
                execute("UPDATE settings SET value = value + 1 WHERE key = 'commits'")
                execute("COMMIT")
        except BaseException:
            if self._is_published():  # interrupted between the commit and its return
                self._sealed()
                done()
                raise
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            if fitted is not None:
                shutil.rmtree(fitted, ignore_errors=True)
            raise
        self._sealed()
        done()

    def _sealed(self) -> None:
        self._commits += 1
        self._committed(self._commits)

    def _learn(self) -> None:
        """Fit projection and codec to the vectors that wait, and store these by it."""
        sample = np.concatenate([page["vectors"] for page in self._pages])
        ends = np.cumsum([len(page["vectors"]) for page in self._pages])
        for page, vectors in zip(self._pages, np.split(sample, ends[:-1]), strict=True):
            page["vectors"] = vectors  # they are large: not kept twice
        learned = fits.fit(self._storage, sample)
        if learned.vectors < ENOUGH:
            _log.warning(
                "%s: its storage was fitted to %d vectors only; to bring in many more, index all documents at once in "
                "a new folder",
                self._index,
                learned.vectors,
            )
        pages = [page | pack_vectors(page["vectors"], learned) for page in self._pages]
        self._pages, self._fitted, self._learned = pages, learned, learned
        self._bytes = sum(array.nbytes for page in pages for array in page.values())

    def _is_published(self) -> bool:
        """Return whether the transaction went through in spite of an error. If not, it is rolled back."""
        with reading_errors(self._index):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return read_settings(self._connection).commits != self._commits

    def _done(self) -> None:
        self._operations, self._pages, self._placed = [], [], set()
        self._vectors = self._bytes = 0
        self._learned = None

    def _appear(self, number: int) -> None:
        """Make a document that `add` began part of the next commit."""
        if number in self._added:
            row, earlier = self._added.pop(number)
            if earlier is not None:
                self._delete(earlier)
            self._do(f"INSERT INTO documents VALUES ({', '.join('?' * len(row))})", *row)

    def _delete(self, number: int) -> None:
        self._do(
            "UPDATE segments SET live = live - "
            "(SELECT count(*) FROM pages WHERE pages.document = ? AND pages.segment = segments.number) "
            "WHERE number IN (SELECT segment FROM pages WHERE document = ?)",
            number,
            number,
        )
        self._do("DELETE FROM documents WHERE number = ?", number)

    def _do(self, statement: str, *values: Any) -> None:
        self._operations.append((statement, values))

    def _next_segment(self) -> int:
        """Return the next number of a segment: catalogues beside this one have theirs in the same folder."""
        folders = (self._index / SEGMENTS).glob("*")
        return max([self._next("segments"), *(int(f.name) + 1 for f in folders if f.name.isdecimal())])

    def _next(self, table: str) -> int:
        """Return the number after the last one ever used in a table; nobody else takes it, as there is one writer."""
        with reading_errors(self._index):
            found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return (found[0] if found else 0) + 1

    def _remember(self, number: int, doc: str, source: str | None, member: str) -> None:
        self._names[number] = (doc, source, member)
        self._docs[doc] = number
        if source is not None:
            self._places.setdefault(source, {})[member] = number

    def _forget(self, number: int) -> None:
        doc, source, member = self._names.pop(number)
        del self._docs[doc]
        if source is not None:
            del self._places[source][member]

    def _check_names(self, number: int | None, doc: str, source: str | None, member: str) -> None:
        """Refuse a name that is not text, and a name or source that belongs to a document other than this one."""
        try:
            valid = bool(doc.encode()) and "\0" not in doc
        except UnicodeEncodeError:
            valid = False
        if not valid:
            raise PageIndexError(self._index, f"{doc!r} cannot name a document: a name is valid text, and not empty")
        if self._docs.get(doc, number) != number:
            raise DuplicateDocument(self._index, f"{doc!r} is the name of another document; choose another name")
        other = number if source is None else self._places.get(source, {}).get(member, number)
        if other is not None and other != number:
            place = f"{member} in {source}" if member else source
            raise DuplicateDocument(self._index, f"{place} is in the index already, as {self._names[other][0]!r}")

    def _check_number(self, number: int) -> None:
        if number not in self._names:
            raise InvalidArgument(f"no document {number} in this index")

    def _check_page(self, number: int, page: int) -> None:
        self._check_number(number)
        if not 1 <= page <= MAX_NUMBER:
            raise InvalidArgument(f"pages count from 1, got page {page} of {self._names[number][0]}")

    def _metadata(self, what: str, metadata: Mapping[str, Any]) -> str:
        """Encode metadata as JSON; its keys become known to filters with the next commit."""
        made = arguments.metadata(what, metadata)
        for key in made:
            if key in (*BUILT_IN, *JOINS):
                raise InvalidArgument(f"metadata of {what}: {key!r} cannot be a key; choose another name")
        try:
            text = json.dumps(made, sort_keys=True, allow_nan=False)
            "".join(made).encode()
        except ValueError as error:
            raise InvalidArgument(f"metadata of {what} must be a JSON object: {error}") from error
        for key in made:
            self._do("INSERT OR IGNORE INTO metadata_keys VALUES (?)", key)
        return text

    def _metadata_of(self, number: int | None) -> str:
        """Return the metadata of a document as JSON, as it will be after the next commit."""
        if number is None or number in self._texts:
            return "{}" if number is None else self._texts[number]
        with reading_errors(self._index):
            (text,) = self._connection.execute("SELECT metadata FROM documents WHERE number = ?", (number,)).fetchone()
        return str(text)


def sweep(index: Path, *, keep: set[int]) -> None:
    """Delete what no catalogue lists: segments except those in `keep`, renditions, what was learned before.

    Only the writer may call this. What cannot be deleted now (open on Windows) is tried again by the next writer.
    """
    try:
        folders = [index, *versions.tidy(index)]
        segments, learned, documents = set(keep), set[Path](), set[int]()
        files = dict[int, set[str]]()
        for folder in folders:
            with closing(connect(folder)) as connection, reading_errors(folder):
                for number, checksums in connection.execute("SELECT number, checksums FROM segments"):
                    files.setdefault(number, set()).update(parse_object(checksums))
                segments |= files.keys()
                documents |= {number for (number,) in connection.execute("SELECT number FROM documents")}
                record = read_settings(connection).fitted
            learned |= {fitted_folder(index, record["number"])} if record else set()
    except PageIndexError as error:  # of a version that cannot be read nothing is known, so nothing is deleted
        _log.warning("%s; nothing is tidied up: visret verify --repair drops what is damaged", error)
        return
    for folder in folders:
        with suppress(OSError):
            (folder / f"{SEAL}.new").unlink()
    for folder in index.glob(f"{FITTED}*"):
        if folder not in learned and re.fullmatch(rf"{FITTED}(-[0-9]+)?", folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (index / SEGMENTS).glob("*"):
        if re.fullmatch(r"[0-9]{6,}", folder.name) and int(folder.name) not in segments:
            shutil.rmtree(folder, ignore_errors=True)
    for number, listed in files.items():  # of added models that were removed, or had not come to their commit
        for file in segment_folder(index, number).glob("*.npy"):
            if file.name not in listed and embedded.number_of(file.name) is not None:
                with suppress(OSError):
                    file.unlink()
    for file in index.glob(f"{UNFINISHED}-*.npz"):
        found = re.fullmatch(rf"{UNFINISHED}-[0-9]+-([0-9]+)\.npz", file.name)
        if found is None or int(found[1]) not in files:
            with suppress(OSError):
                file.unlink()
    renditions.sweep(index, documents)


@contextmanager
def writer_lock(index: Path, name: str = LOCK) -> Iterator[None]:
    """Hold the lock that only one writer can have; it vanishes with the process. Raises IndexLocked."""
    try:
        file = (index / name).open("a+b")
    except OSError as error:
        raise PageIndexError(index, f"cannot be written: {error.strerror}") from error
    with file, forks.not_for_children(file.fileno()):
        try:
            locked = _try_lock(file.fileno())
        except OSError as error:
            raise without_locks(index, error) from error
        if not locked:
            raise IndexLocked(index, "is being written by another process or thread; wait for it to end, or stop it")
        yield


def _try_lock(descriptor: int) -> bool:
    if os.name == "nt":
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EACCES, where the lock of a network drive is one of fcntl
        return False
    return True
