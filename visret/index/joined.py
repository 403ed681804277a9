"""The pages of several indexes of the same documents, as `Snapshot` has those of one, so that they are ranked together.

A document is known in another index by the content of its file, whatever its name or folder there; one that was made in
memory, by its name. Its pages have the same numbers in both, and a page may be in one of them only: a text model finds
nothing on a scan, for which a picture model has vectors. A file that was changed between the two runs of indexing has
other pages in each, so those of the later index are left out, and `changed` names it.

A document has a number here that takes the place of a segment, and a page's number that of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from visret.errors import InvalidArgument
from visret.index.catalogue import Document, IndexModel
from visret.index.filters import And, Filter, Not, Or, parse
from visret.index.page_index import PageIndex
from visret.index.segment import PlacedText
from visret.index.snapshot import Snapshot, each, holds, no_document
from visret.reduction import Storage
from visret.types import PageEmbedding, PageRef, Selection

_STATES = ("done", "partial", "empty", "failed")  # the best one of a document first
_PAGE = 0xFFFFFFFF  # the part of a key that is the number of the page


class JoinedPages:
    """The pages of committed states of several indexes. Immutable, and safe to use from several threads.

    parts: the states by the names of their indexes, the first one first. changed: the names of documents of which
    another index has an earlier or later version, by the index whose version is left out.
    """

    def __init__(self, parts: Mapping[str, Snapshot]) -> None:
        self.parts = dict(parts)
        self.changed: dict[str, list[str]] = {}
        self._docs: list[dict[str, Document]] = []  # of each joined document, by the index that has it
        for name, snapshot in self.parts.items():
            self._take(name, snapshot)
        self._names = self._named()
        self._numbers = {doc: number for number, doc in enumerate(self._names)}
        keys = {name: self._keys_of(name) for name in self.parts}
        self._keys = np.unique(np.concatenate(list(keys.values())))
        self._there = {name: np.isin(self._keys, one) for name, one in keys.items()}

    def __len__(self) -> int:
        """Return the number of pages that at least one index has."""
        return len(self._keys)

    # ---- which index has what

    def counts(self, names: Iterable[str]) -> int:
        """Return how many pages are in at least one of these indexes."""
        return int(np.logical_or.reduce([self._there[name] for name in names]).sum())

    def shared(self, name: str) -> int:
        """Return how many documents this index has in common with others."""
        return sum(name in docs and len(docs) > 1 for docs in self._docs)

    def has(self, name: str, keys: np.ndarray) -> np.ndarray:
        """Return which pages with these keys, (n,) int64, an index has: (n,) bool."""
        there: np.ndarray = self._there[name][np.searchsorted(self._keys, keys)]
        return there

    def holders(self, key: int) -> list[str]:
        """Return the names of the indexes that have a page."""
        return [name for name in self.parts if self.has(name, np.array([key]))[0]]

    def home(self, ref: tuple[str, int], name: str | None = None) -> tuple[str, PageRef]:
        """Return an index that has a page, with the name that the page has there.

        name: that of the wanted index; None for the first that has the page. Raises InvalidArgument if there is none.
        """
        number, page = self.find(ref)
        holders = self.holders(number << 32 | page)
        if name is not None and name not in holders:
            known = "has no such page" if name in self.parts else "is not searched here"
            raise InvalidArgument(f"{ref[0]}, page {ref[1]}: {name!r} {known}; it is in {', '.join(holders)}")
        chosen = name or holders[0]
        return chosen, PageRef(self._docs[number][chosen].doc, page)

    def own_keys(self, name: str, keys: np.ndarray) -> np.ndarray:
        """Return the keys, (n,) int64, that pages have in an index, which must have them."""
        own: np.ndarray = self._numbers_in[name][keys >> 32] << 32 | keys & _PAGE
        return own

    def joined_keys(self, name: str, keys: np.ndarray) -> np.ndarray:
        """Return the keys, (n,) int64, of pages that have these in an index."""
        own = self._numbers_in[name]
        order = np.argsort(own)
        return order[np.searchsorted(own, keys >> 32, sorter=order)].astype(np.int64) << 32 | keys & _PAGE

    def part_of(self, name: str, among: Selection) -> Selection:
        """Return the pages of a selection that an index has, as it selects them itself."""
        snapshot = self.parts[name]
        if among.is_all and name not in self.changed:
            return snapshot.select()
        if among.is_all:
            keys = self._keys
        else:
            rows = [np.full(len(pages), number) << 32 | pages for number, pages in among.rows.items()]
            keys = np.concatenate([np.empty(0, np.int64), *rows])
        return snapshot.only(np.sort(self.own_keys(name, keys[self.has(name, keys)])))

    # ---- what a Snapshot has

    @property
    def model(self) -> IndexModel:
        """The model of the first index."""
        return next(iter(self.parts.values())).model

    @property
    def metadata_keys(self) -> frozenset[str]:
        """The keys of all metadata of all indexes, which filters can use."""
        return frozenset().union(*(snapshot.metadata_keys for snapshot in self.parts.values()))

    def select(
        self, where: Mapping[str, Any] | None = None, among: Iterable[tuple[str, int]] | None = None
    ) -> Selection:
        """Return the pages that pass, as `Snapshot.select`: numbers of documents to those of their pages.

        A page is seen with the metadata of all indexes that have its document, those of the first one over the others.
        """
        if not where and among is None:
            return Selection({}, None, True)
        try:
            tree = parse(where or {}, self.metadata_keys)
            mask = self._passing(tree)
        except RecursionError:
            raise InvalidArgument("the filter is nested too deeply") from None
        if among is not None:
            mask &= np.isin(self._keys, [number << 32 | page for number, page in map(self.find, among)])
        return self._selection(self._keys[mask], tree if where else None)

    def only(self, keys: np.ndarray) -> Selection:
        """Return the selection of the pages with these keys, (n,) int64 sorted; they must be there."""
        return self._selection(keys, None)

    def find(self, ref: tuple[str, int]) -> tuple[int, int]:
        """Return the numbers of (doc, page). Raises InvalidArgument if no index has such a page."""
        doc, page = ref
        number = self._numbers.get(doc)
        if number is None:
            raise no_document(doc, self._numbers)
        if isinstance(page, int | np.integer) and 0 < page <= _PAGE and self._is_there(number << 32 | int(page)):
            return number, int(page)
        raise InvalidArgument(f"no page {page} of {doc} in these indexes")

    def locate(self, key: int) -> tuple[int, int]:
        """Return the numbers of the document and of the page with this key."""
        return key >> 32, key & _PAGE

    def keys(self, segments: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the keys of pages, (n,) int64."""
        return segments.astype(np.int64) << 32 | rows.astype(np.int64)

    def ref(self, segment: int, row: int) -> PageRef:
        """Return the page with these numbers."""
        return PageRef(self._names[segment], row)

    def size_pt(self, segment: int, row: int) -> tuple[float, float] | None:
        """Return width and height in points; None for plain text."""
        snapshot, own = self._first(segment, row)
        return snapshot.size_pt(*snapshot.find(own))

    def page_metadata(self, segment: int, row: int) -> dict[str, Any]:
        """Return the page's own metadata."""
        return dict(self._own.get(segment << 32 | row, {}))

    def metadata(self, segment: int, row: int) -> dict[str, Any]:
        """Return the document's metadata with the page's over it: what filters see."""
        return self._metadata(segment) | self.page_metadata(segment, row)

    def words(self, segment: int, row: int) -> tuple[str, np.ndarray | None]:
        """Return the text of a page, and the boxes of its words, (w, 4), where it has any."""
        snapshot, own = self._first(segment, row)
        return snapshot.words(*snapshot.find(own))

    def placed_text(self, key: int) -> PlacedText:
        """Return the text of the page with this key, and where it stands."""
        snapshot, own = self._first(*self.locate(key))
        segment, row = snapshot.find(own)
        return snapshot.segment(segment).placed_text(row)

    def embedding(self, ref: tuple[str, int]) -> PageEmbedding:
        """Return a page as the first index that has it stores it."""
        name, own = self.home(ref)
        return replace(self.parts[name].embedding(own), ref=PageRef(*ref))

    def docs(self) -> Mapping[str, int]:
        """Return the number of every document by its name."""
        return self._numbers

    def place(self, number: int) -> tuple[str | None, str]:
        """Return the file of a document, None for pages made in memory, and its place in it."""
        document = next(iter(self._docs[number].values()))
        return document.source, document.member

    def documents(self) -> Iterator[Document]:
        """Yield all documents: those of the first index, then those that only later ones have."""
        return map(self.document, range(len(self._docs)))

    def document(self, doc: str | int) -> Document:
        """Return a document by name or number, with the pages of all indexes. Raises InvalidArgument without one."""
        number = self._numbers.get(doc) if isinstance(doc, str) else doc
        if number is None or not 0 <= number < len(self._docs):
            raise no_document(doc, self._numbers)
        every = list(self._docs[number].values())
        best = min(every, key=lambda one: _STATES.index(one.state))
        pages = {page for one in every for page in one.pages}
        failed = {page: reason for one in reversed(every) for page, reason in one.failed if page not in pages}
        empty = {page for one in every for page in one.empty} - pages - failed.keys()
        return replace(
            every[0],
            number=number,
            doc=self._names[number],
            state=best.state,
            reason=best.reason,
            metadata=self._metadata(number),
            pages=tuple(sorted(pages)),
            empty=tuple(sorted(empty)),
            blank=tuple(sorted(empty & {page for one in every for page in one.blank})),
            failed=tuple(sorted(failed.items())),
            lost=tuple(dict.fromkeys(loss for one in every for loss in one.lost)),
        )

    def unread(self) -> Iterator[Document]:
        """Yield the documents that failed, or have pages that no index finds."""
        return (one for one in self.documents() if one.state == "failed" or one.reason or one.failed or one.empty)

    @cached_property
    def unread_counts(self) -> tuple[int, int]:
        """The number of files and pages that failed, and of pages that are empty."""
        every = list(self.unread())
        files = sum(one.state == "failed" or bool(one.reason) for one in every)
        return files + sum(len(one.failed) for one in every), sum(len(one.empty) for one in every)

    # ---- inside

    def _take(self, name: str, snapshot: Snapshot) -> None:
        """Add the documents of an index to those that are known, or to the list."""
        known: dict[tuple[str, ...], list[dict[str, Document]]] = {}
        at_place: dict[tuple[str, str], Document] = {}
        for docs in self._docs:
            first = next(iter(docs.values()))
            known.setdefault(_identity(first), []).append(docs)
            if first.source is not None and first.hash is not None:
                at_place[first.source, first.member] = first
        for document in snapshot.documents():
            free = [docs for docs in known.get(_identity(document), ()) if name not in docs]
            there = at_place.get((document.source or "", document.member))
            if free:  # of several copies, the one at the same place
                max(free, key=lambda docs: _likeness(next(iter(docs.values())), document))[name] = document
            elif there is not None and document.hash is not None and there.hash != document.hash:
                self.changed.setdefault(name, []).append(document.doc)
            else:
                self._docs.append({name: document})

    def _named(self) -> list[str]:
        """Return a name for each document: its own in the first index that has it, if no other document has it."""
        names: dict[str, None] = {}
        for docs in self._docs:
            index, document = next(iter(docs.items()))
            doc = document.doc
            while doc in names:
                doc = f"{index}/{doc}"
            names[doc] = None
        return list(names)

    def _keys_of(self, name: str) -> np.ndarray:
        pages = [(number, docs[name].pages) for number, docs in enumerate(self._docs) if name in docs]
        each_ = [number << 32 | np.array(found, np.int64) for number, found in pages]
        return np.concatenate([np.empty(0, np.int64), *each_])

    @cached_property
    def _numbers_in(self) -> dict[str, np.ndarray]:
        """The numbers of the documents in each index, (n,) int64; -1 where it has none."""
        return {
            name: np.array([docs[name].number if name in docs else -1 for docs in self._docs], np.int64)
            for name in self.parts
        }

    @cached_property
    def _own(self) -> dict[int, dict[str, Any]]:
        """The own metadata of the pages that have any, by key."""
        found: dict[int, dict[str, Any]] = {}
        for name, snapshot in self.parts.items():
            own = dict(snapshot.own_metadata())
            keys = self._keys[self._there[name]]
            for key, there in zip(keys.tolist(), self.own_keys(name, keys).tolist(), strict=True):
                if there in own:
                    found[key] = own[there] | found.get(key, {})
        return found

    def _metadata(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for document in self._docs[number].values():
            found = {**document.metadata, **found}
        return found

    def _first(self, number: int, page: int) -> tuple[Snapshot, PageRef]:
        name, own = self.home(self.ref(number, page))
        return self.parts[name], own

    def _is_there(self, key: int) -> bool:
        at = int(np.searchsorted(self._keys, key))
        return at < len(self._keys) and int(self._keys[at]) == key

    def _selection(self, keys: np.ndarray, tree: Filter | None) -> Selection:
        numbers, first = np.unique(keys >> 32, return_index=True)
        parts = np.split(keys & _PAGE, first[1:])
        return Selection(dict(zip(numbers.tolist(), parts, strict=False)), tree, False)

    def _passing(self, tree: Filter) -> np.ndarray:
        """Return which pages pass a filter, (P,) bool."""
        if isinstance(tree, Not):
            return ~self._passing(tree.part)
        if isinstance(tree, And | Or):
            joined = np.logical_and if isinstance(tree, And) else np.logical_or
            passing: np.ndarray = joined.reduce(
                [np.full(len(self), isinstance(tree, And)), *map(self._passing, tree.parts)]
            )
            return passing
        test = tree.test()
        if tree.key == "page":
            return each(self._keys & _PAGE, test)
        if tree.key == "doc":
            documents = [test(doc) for doc in self._names]
        elif tree.key == "source":
            documents = [test(self.place(number)[0]) for number in range(len(self._docs))]
        else:
            documents = [holds(self._metadata(number), tree.key, test) for number in range(len(self._docs))]
        mask: np.ndarray = np.array(documents, bool)[self._keys >> 32]
        if tree.key not in ("doc", "source"):
            own = {key: holds(data, tree.key, test) for key, data in self._own.items() if tree.key in data}
            mask[np.searchsorted(self._keys, np.fromiter(own, np.int64, len(own)))] = list(own.values())
        return mask


class JoinedIndex:
    """Several indexes in the place of one, for a Retriever; they are only read.

    path, model, storage: those of the first.
    """

    def __init__(self, parts: Mapping[str, PageIndex]) -> None:
        self._parts = dict(parts)
        self._first = next(iter(self._parts.values()))
        self._joined = JoinedPages({name: index.snapshot for name, index in self._parts.items()})

    @property
    def path(self) -> Path:
        """The folder of the first index."""
        return self._first.path

    @property
    def address(self) -> str:
        """The path of the first index, which opens that alone."""
        return self._first.address

    @property
    def model(self) -> IndexModel:
        """The model of the first index."""
        return self._first.model

    @property
    def storage(self) -> Storage:
        """The way the first index stores vectors."""
        return self._first.storage

    @property
    def snapshot(self) -> JoinedPages:
        """The committed states of the indexes that readers see, joined."""
        joined, now = self._joined, {name: index.snapshot for name, index in self._parts.items()}
        if any(now[name] is not part for name, part in joined.parts.items()):
            self._joined = joined = JoinedPages(now)
        return joined

    def refresh(self) -> bool:
        """Go to the latest committed states, and return whether any of them differs from the one before."""
        changed = [index.refresh() for index in self._parts.values()]  # each of them, whatever the first one says
        return any(changed)

    def writing(self) -> NoReturn:
        """Refuse to write."""
        raise InvalidArgument(
            "indexes that are searched together are only read; open each of them by itself to change it"
        )

    def compact(self, **_: object) -> NoReturn:
        """Refuse to write."""
        self.writing()

    def reindexing(self, *_: object) -> NoReturn:
        """Refuse to write."""
        self.writing()

    go_back = writing

    def close(self) -> None:
        """Close the files of all indexes."""
        for index in self._parts.values():
            index.close()


def _identity(document: Document) -> tuple[str, ...]:
    """Return what tells whether two documents are the same: the content of the file, or a name without one."""
    if document.hash is not None:
        return (document.hash,)
    return document.source or "", document.member, document.doc


def _likeness(one: Document, other: Document) -> tuple[bool, bool]:
    return (one.source, one.member) == (other.source, other.member), one.doc == other.doc
