"""One committed state of an index: what a reader searches, whatever a writer does meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from visret import arguments
from visret.errors import InvalidArgument
from visret.index import embedded
from visret.index.catalogue import (
    Document,
    DocumentRow,
    Floor,
    IndexModel,
    LivePages,
    Losses,
    UnreadPage,
    load_source,
    parse_object,
    reading_errors,
)
from visret.index.embedded import Embedded
from visret.index.filters import BUILT_IN, And, Filter, Not, Or, Test, parse
from visret.index.fitted import Fitted
from visret.index.layout import MAX_NUMBER
from visret.index.segment import PlacedText, Segment
from visret.types import Grid, PageEmbedding, PageRef, Selection

NEAR = 3  # names that an error shows
COMPARED = 2000  # documents at most whose names are compared with one that is not there: 30 ms

_Masks = dict[int, np.ndarray]  # segment number to (L,) bool


class Snapshot:
    """One committed state of an index. Immutable, and safe to use from several threads.

    segments: the open segments with live pages, by number. commits: how many commits came before.
    model: of its vectors. fitted: how vectors are stored; None while there is no page that it could be learned from.
    floor: what `visret.search.elsewhere` has measured; None if it has not. added: the added models, by number.
    """

    def __init__(
        self,
        index: Path,
        commits: int,
        model: IndexModel,
        fitted: Fitted | None,
        segments: Mapping[int, tuple[Segment, LivePages]],
        documents: Mapping[int, DocumentRow],
        unread: Mapping[int, list[UnreadPage]],
        losses: Losses,
        keys: frozenset[str],
        floor: Floor | None = None,
        added: Mapping[int, IndexModel] = MappingProxyType({}),
    ) -> None:
        self.commits = commits
        self.model = model
        self.added = added
        self.fitted = fitted
        self.floor = floor
        self._index = index
        self._entries = segments
        self._documents = documents
        self._unread = unread
        self._losses = losses
        self._keys = keys
        self._parsed: dict[int, dict[str, Any]] = {}  # metadata of documents that somebody asked for

    def __len__(self) -> int:
        """Return the number of pages."""
        return sum(len(live.rows) for _, live in self._entries.values())

    @property
    def metadata_keys(self) -> frozenset[str]:
        """The keys of all metadata that was ever written, which filters can use."""
        return self._keys

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The open segments, by number."""
        return tuple(segment for segment, _ in self._entries.values())

    def segment(self, number: int) -> Segment:
        """Return the open segment of this number."""
        return self._entries[number][0]

    def rows(self, segment: int) -> np.ndarray:
        """Return the rows of a segment that are pages of the index, (L,) int64, sorted."""
        return self._entries[segment][1].rows

    def added_for(self, kind: str) -> tuple[int, IndexModel] | None:
        """Return the number and the record of the added model that makes vectors of a kind; None if there is none."""
        return embedded.of_kind(self.added, kind)

    def made_by(self, number: int) -> dict[int, Embedded]:
        """Return what an added model made, by the number of the segment; those it has not been over are left out."""
        model = self.added[number]
        return {one.number: one.embedded(number, model) for one in self.segments if number in one.added}

    def count_made(self, number: int) -> int:
        """Return how many pages have vectors of an added model."""
        return sum(int((one.lengths[self.rows(at)] > 0).sum()) for at, one in self.made_by(number).items())

    def count_lacking(self, number: int) -> int:
        """Return how many pages an added model has not been over."""
        return sum(len(live.rows) for one, live in self._entries.values() if number not in one.added)

    def select(
        self, where: Mapping[str, Any] | None = None, among: Iterable[tuple[str, int]] | None = None
    ) -> Selection:
        """Return the pages that pass: segment number to rows, (L,) int64 sorted; segments without any are left out.

        where: `{"key": value}` of a page's or its document's metadata (the page's wins), or of "doc", "page" and
            "source"; `[a, b]` is any of them; several keys must all hold. `{"key": {">=": 2020, "<": 2024}}` is a range
            (of numbers, or of text), `{"key": {"!=": value}}` the opposite of `{"key": value}`. `{"and": [...]}` and
            `{"or": [...]}` join filters, `{"not": {...}}` negates one. `visret.index.filters` says what they mean.
        among: only these (doc, page).

        Raises InvalidArgument for a key that was never written, an unknown operator, a page in `among` that is not
        there, or values that are not text, numbers, true, false or null.
        """
        if not where and among is None:
            return Selection({number: live.rows for number, (_, live) in self._entries.items()}, None, True)
        try:
            tree = parse(where or {}, self._keys)
            masks = self._passing(tree)
        except RecursionError:
            raise InvalidArgument("the filter is nested too deeply") from None
        if among is not None:
            chosen: dict[int, list[int]] = {}
            for ref in among:
                segment, row = self.find(ref)
                chosen.setdefault(segment, []).append(row)
            for number, (_, live) in self._entries.items():
                masks[number] &= np.isin(live.rows, chosen.get(number, []))
        rows = {number: self.rows(number)[mask] for number, mask in masks.items() if mask.any()}
        return Selection(rows, tree if where else None, False)

    def passing(self, where: Mapping[str, Any]) -> set[int]:
        """Return the numbers of the documents that pass a filter by themselves, whether or not their pages do.

        A document passes nothing about "page". Raises InvalidArgument as `select` does.
        """
        return self._passing_documents(parse(where, self._keys))

    def find(self, ref: tuple[str, int]) -> tuple[int, int]:
        """Return the segment number and the row of (doc, page). Raises InvalidArgument if there is no such page."""
        doc, page = ref
        number = self._numbers.get(doc)
        if number is None:
            raise no_document(doc, self._numbers)
        if isinstance(page, int | np.integer) and 1 <= page <= MAX_NUMBER:
            with suppress(KeyError):
                return self.locate(number << 32 | int(page))
        raise InvalidArgument(f"no page {page} of {doc} in this index")

    def keys(self, segments: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the keys of the pages in live rows of segments, (n,) int64 all: `document << 32 | page`."""
        keys = np.empty(len(rows), np.int64)
        for number in np.unique(segments).tolist():
            live, here = self._entries[number][1], segments == number
            at = np.searchsorted(live.rows, rows[here])
            keys[here] = live.documents[at] << 32 | live.pages[at]
        return keys

    def locate(self, key: int) -> tuple[int, int]:
        """Return the segment number and the row of the page with this key. Raises KeyError where there is none."""
        keys, segments, rows = self._directory
        at = int(np.searchsorted(keys, key))
        if at == len(keys) or keys[at] != key:
            raise KeyError(key)
        return int(segments[at]), int(rows[at])

    def only(self, keys: np.ndarray) -> Selection:
        """Return the selection of the pages with these keys, (n,) int64 sorted; they must be there."""
        directory, segments, rows = self._directory
        at = np.searchsorted(directory, keys)
        numbers = segments[at]
        return Selection({n: np.sort(rows[at[numbers == n]]) for n in np.unique(numbers).tolist()}, None, False)

    def ref(self, segment: int, row: int) -> PageRef:
        """Return the page in a live row of a segment."""
        live, at = self._at(segment, row)
        return PageRef(self._documents[int(live.documents[at])].doc, int(live.pages[at]))

    def size_pt(self, segment: int, row: int) -> tuple[float, float] | None:
        """Return width and height in points; None for plain text."""
        live, at = self._at(segment, row)
        width, height = live.sizes[at].tolist()
        return None if np.isnan(width) else (width, height)

    def page_metadata(self, segment: int, row: int) -> dict[str, Any]:
        """Return the page's own metadata."""
        with reading_errors(self._index):
            return dict(self._entries[segment][1].metadata.get(row, {}))

    def own_metadata(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the key and the own metadata of each page that has any."""
        with reading_errors(self._index):
            for _, live in self._entries.values():
                at = np.searchsorted(live.rows, np.fromiter(live.metadata, np.int64, len(live.metadata)))
                yield from zip(
                    (live.documents[at] << 32 | live.pages[at]).tolist(), live.metadata.values(), strict=True
                )

    def metadata(self, segment: int, row: int) -> dict[str, Any]:
        """Return the document's metadata with the page's over it: what filters see."""
        live, at = self._at(segment, row)
        return self._metadata(int(live.documents[at])) | self.page_metadata(segment, row)

    def embedding(self, ref: tuple[str, int]) -> PageEmbedding:
        """Return a page as stored: its vectors are what scoring sees. Raises InvalidArgument if there is none."""
        segment, row = self.find(ref)
        stored = self.segment(segment).page(row)
        text, word_boxes = self.words(segment, row)
        return PageEmbedding(
            ref=PageRef(*ref),
            size_pt=self.size_pt(segment, row),
            vectors=stored.vectors,
            where=stored.where if isinstance(stored.where, Grid) else arguments.clipped(stored.where),
            rows=stored.rows,
            made=made if (made := int(self.segment(segment).made[row])) > len(stored.vectors) else 0,
            text=text,
            word_boxes=word_boxes,
            metadata=self.page_metadata(segment, row),
        )

    def words(self, segment: int, row: int) -> tuple[str, np.ndarray | None]:
        """Return the text of the page in a row of a segment, and the boxes of its words, (w, 4), where it has any."""
        boxes = self.segment(segment).word_boxes(row)
        return self.segment(segment).text(row), None if boxes is None else arguments.clipped(boxes)

    def placed_text(self, key: int) -> PlacedText:
        """Return the text of the page with this key, and where it stands, to quote a line from.

        Boxes are not checked as in `embedding`: an invalid one simply lies around no word.
        """
        segment, row = self.locate(key)
        return self.segment(segment).placed_text(row)

    def docs(self) -> Mapping[str, int]:
        """Return the number of every document by its name, also of failed and empty ones."""
        return self._numbers

    def place(self, number: int) -> tuple[str | None, str]:
        """Return the file of a document, None for pages made in memory, and its place in it, "" for the file itself."""
        row = self._documents[number]
        return load_source(row.source), row.member

    def sources(self) -> Mapping[str, int]:
        """Return the number of every document that is a file, by its absolute path."""
        return {source: members[""] for source, members in self._sources.items() if "" in members}

    def at(self, source: str) -> int | None:
        """Return the number of the document that is this file, an absolute path; None if there is none."""
        return self._sources.get(source, {}).get("")

    def members(self, source: str) -> Mapping[str, int]:
        """Return the number of every document inside a file, an absolute path, by its place in it."""
        return {member: number for member, number in self._sources.get(source, {}).items() if member}

    def documents(self) -> Iterator[Document]:
        """Yield all documents, in the order they were added."""
        return map(self.document, sorted(self._documents))

    def unread(self) -> Iterator[Document]:
        """Yield the documents that failed, or have pages that cannot be found."""
        rows = self._documents.items()
        lacking = [n for n, row in rows if row.state == "failed" or row.reason or n in self._unread]
        return map(self.document, sorted(lacking))

    @cached_property
    def unread_counts(self) -> tuple[int, int]:
        """The number of files and pages that failed, and of pages that are empty."""
        files = sum(row.state == "failed" or bool(row.reason) for row in self._documents.values())
        pages = [page.reason for n, pages in self._unread.items() if n in self._documents for page in pages]
        empty = pages.count(None)
        return files + len(pages) - empty, empty

    @cached_property
    def lost_counts(self) -> tuple[int, int]:
        """The number of documents with content known to be missing, and of those of which nobody recorded it.

        The second are those that were read into an index of format 2.
        """
        unknown = sum(n < self._losses.known_from and row.source is not None for n, row in self._documents.items())
        return sum(n in self._documents for n in self._losses.of), unknown

    def document(self, doc: str | int) -> Document:
        """Return a document by name or number. Raises InvalidArgument if there is none."""
        number = self._numbers.get(doc) if isinstance(doc, str) else doc
        if number is None or number not in self._documents:
            raise no_document(doc, self._numbers)
        row = self._documents[number]
        keys = self._directory[0]
        first, last = np.searchsorted(keys, [number << 32, (number + 1) << 32])
        unread = self._unread.get(number, [])
        return Document(
            **(row._asdict() | {"source": load_source(row.source), "metadata": dict(self._metadata(number))}),
            pages=tuple((keys[first:last] & 0xFFFFFFFF).tolist()),
            empty=tuple(page for page, reason, _ in unread if reason is None),
            blank=tuple(page for page, reason, blank in unread if reason is None and blank),
            failed=tuple((page, reason) for page, reason, _ in unread if reason is not None),
            lost=tuple(self._losses.of.get(number, ())),
        )

    def _metadata(self, number: int) -> dict[str, Any]:
        if number not in self._parsed:
            with reading_errors(self._index):
                self._parsed[number] = parse_object(self._documents[number].metadata)
        return self._parsed[number]

    def _at(self, segment: int, row: int) -> tuple[LivePages, int]:
        live = self._entries[segment][1]
        at = int(np.searchsorted(live.rows, row))
        if at == len(live.rows) or live.rows[at] != row:
            raise IndexError(f"row {row} of segment {segment} is no page of this index")
        return live, at

    def _passing(self, tree: Filter) -> _Masks:
        """Return which live pages pass a filter."""
        if isinstance(tree, Not):
            return {number: ~mask for number, mask in self._passing(tree.part).items()}
        if not isinstance(tree, And | Or):
            return self._testing(tree.key, tree.test())
        masks = self._all(isinstance(tree, And))
        for part in tree.parts:
            for number, mask in self._passing(part).items():
                masks[number] = masks[number] | mask if isinstance(tree, Or) else masks[number] & mask
        return masks

    def _passing_documents(self, tree: Filter) -> set[int]:
        if isinstance(tree, Not):
            return set(self._documents) - self._passing_documents(tree.part)
        if isinstance(tree, And | Or):
            parts = [self._passing_documents(part) for part in tree.parts]
            return set().union(*parts) if isinstance(tree, Or) else set(self._documents).intersection(*parts)
        return set() if tree.key == "page" else set(self._matching_documents(tree.key, tree.test()))

    def _all(self, value: bool) -> _Masks:
        return {number: np.full(len(live.rows), value) for number, (_, live) in self._entries.items()}

    def _testing(self, key: str, test: Test) -> _Masks:
        """Return which live pages have a value of the key that passes, of their own or their document's."""
        if key == "page":
            return {number: each(live.pages, test) for number, (_, live) in self._entries.items()}
        documents = self._matching_documents(key, test)
        masks = {number: np.isin(live.documents, documents) for number, (_, live) in self._entries.items()}
        if key not in BUILT_IN:
            with reading_errors(self._index):
                for number, (_, live) in self._entries.items():
                    own = {row: holds(data, key, test) for row, data in live.metadata.items() if key in data}
                    at = np.searchsorted(live.rows, np.fromiter(own, np.int64, len(own)))
                    masks[number][at] = np.fromiter(own.values(), bool, len(own))
        return masks

    def _matching_documents(self, key: str, test: Test) -> list[int]:
        """List the numbers of the documents with a value that passes."""
        documents = self._documents.items()
        if key == "doc":
            return [number for number, row in documents if test(row.doc)]
        if key == "source":
            return [number for number, row in documents if test(load_source(row.source))]
        return [number for number, _ in documents if holds(self._metadata(number), key, test)]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {row.doc: number for number, row in self._documents.items()}

    @cached_property
    def _sources(self) -> dict[str, dict[str, int]]:
        """The number of each document that is or lies in a file, by absolute path and place in the file."""
        found: dict[str, dict[str, int]] = {}
        for number, row in self._documents.items():
            if (source := load_source(row.source)) is not None:
                found.setdefault(source, {})[row.member] = number
        return found

    @cached_property
    def _directory(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pages by their keys: (P,) each of sorted keys, segments, rows. A million pages take 20 ms, once."""
        lives = [(number, live) for number, (_, live) in self._entries.items()]
        empty = np.empty(0, np.int64)
        keys = np.concatenate([empty, *(live.documents << 32 | live.pages for _, live in lives)])
        segments = np.concatenate([empty, *(np.full(len(live.rows), number) for number, live in lives)])
        rows = np.concatenate([empty, *(live.rows for _, live in lives)])
        order = np.argsort(keys)
        return keys[order], segments[order], rows[order]


def no_document(doc: str | int, there: Collection[str]) -> InvalidArgument:
    """Return the error for a name that no document has, with those that are near it."""
    asked = str(doc)
    near = [name for name in there if asked and name.endswith(f"/{asked}")][:NEAR]
    if not near and len(there) <= COMPARED:
        near = get_close_matches(asked, there, NEAR)
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InvalidArgument(f"no document {doc!r} in this index{meant}")


def holds(metadata: Mapping[str, Any], key: str, test: Test) -> bool:
    """Return whether metadata has a value of this key that passes, or a list with such an item."""
    if key not in metadata:
        return False
    value = metadata[key]
    items = value if isinstance(value, list) else [value]
    return any(test(item) for item in items if not isinstance(item, list | dict))


def each(values: np.ndarray, test: Test) -> np.ndarray:
    """Return which of (L,) numbers pass: (L,) bool."""
    distinct, at = np.unique(values, return_inverse=True)
    return np.fromiter(map(test, distinct.tolist()), bool, len(distinct))[at]
