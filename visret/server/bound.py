"""An index as the holder of a bound key sees it: the pages that pass the filter of the key, and nothing else.

`View` stands in for the Retriever, and has only what was made for it here: a route that asks for anything else fails.
A page belongs to a key if it passes the filter; a document, with its file, if it passes itself and all its pages and
all documents inside it do. What does not belong to a key is answered for as what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from fastapi import HTTPException

from visret.choices import DENSE, LATE, TOGETHER
from visret.errors import DocumentError, InvalidArgument, PageIndexError, VisretError
from visret.index import Document, Snapshot
from visret.index.layout import MAX_NUMBER
from visret.retriever import Retriever, pipeline_of
from visret.server import uploads
from visret.server.api import Library, Made, check_filter
from visret.server.batches import Asked, Hits
from visret.server.keys import CURRENT, Key, tolerant
from visret.types import Box, Hit, Page, PageRef, Passage, Ranked, page_ref

if TYPE_CHECKING:
    from PIL.Image import Image

    from visret.explain.attribution import Explanation

At = TypeVar("At", bound=Hit | tuple[str, int])
# The ways of ranking whose warnings come from the model alone; those of others tell what is in all pages.
BY_MODEL = (LATE, "maxsim", "poly", "xtr")


class _Seen:
    """The pages and documents of one committed state that belong to a key."""

    def __init__(self, snapshot: Snapshot, where: Mapping[str, Any]) -> None:
        self.snapshot = snapshot
        self.where = where
        self.keys = _page_keys(snapshot, where)  # sorted

    @cached_property
    def owned(self) -> Mapping[int, str]:
        """The documents, by number in the order they were added, with their names."""
        every, count = np.unique(_page_keys(self.snapshot, None) >> 32, return_counts=True)
        seen, seen_count = np.unique(self.keys >> 32, return_counts=True)
        pages = dict(zip(every.tolist(), count.tolist(), strict=True))
        here = dict(zip(seen.tolist(), seen_count.tolist(), strict=True))
        whole = {one for one in self.snapshot.passing(self.where) if pages.get(one) == here.get(one)}
        names = {number: doc for doc, number in self.snapshot.docs().items()}
        return {number: names[number] for number in sorted(whole) if whole.issuperset(self._inside(number))}

    @cached_property
    def count(self) -> int:
        """The number of documents that have pages here."""
        return len(np.unique(self.keys >> 32))

    def pages(self, number: int) -> tuple[int, ...]:
        """Return the pages of a document that are here."""
        first, end = np.searchsorted(self.keys, (number << 32, number + 1 << 32))
        return tuple((self.keys[first:end] & MAX_NUMBER).tolist())

    def _inside(self, number: int) -> Collection[int]:
        source, member = self.snapshot.place(number)
        return () if source is None or member else self.snapshot.members(source).values()

    def has(self, doc: str, page: int) -> bool:
        """Return whether a page is there for the key."""
        number = self.snapshot.docs().get(doc)
        if number is None or not 1 <= page <= MAX_NUMBER:
            return False
        at = int(np.searchsorted(self.keys, key := number << 32 | page))
        return at < len(self.keys) and int(self.keys[at]) == key


class View:
    """The Retriever of a bound key: what the routes ask of one, for the key of the request that is being answered."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._latest: dict[str, _Seen] = {}  # by the filter

    def key(self) -> Key:
        """Return the key of this request. Raises LookupError if it is not bound, which no request here is."""
        key = CURRENT.get()
        if key is None or key.where is None:
            raise LookupError("a request without a bound key has come to the routes of bound keys")
        return key

    def seen(self) -> _Seen:
        """Return what belongs to the key now."""
        key, snapshot = self.key(), pipeline_of(self._retriever).snapshot
        seen = self._latest.get(key.space)
        if seen is None or seen.snapshot is not snapshot:
            seen = self._latest[key.space] = _Seen(snapshot, tolerant(key.where, snapshot.metadata_keys))
        return seen

    def narrowed(self, where: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return a filter of what the client asks for, among what belongs to the key."""
        known = pipeline_of(self._retriever).snapshot.metadata_keys
        return {"and": [tolerant(self.key().where, known), tolerant(where, known)]}

    def refresh(self) -> bool:
        """Take in what was committed."""
        return self._retriever.refresh()

    def info(self) -> dict[str, Any]:
        """Return what the holder of the key may know of the index. done: the documents that have pages."""
        seen, facts = self.seen(), self._retriever.info()
        counts = {"documents": len(seen.owned), "pages": len(seen.keys), "done": seen.count}
        return {**counts, **{name: facts[name] for name in ("model", "dim", "added_models")}}

    def documents(self) -> list[str]:
        """Return the names of the documents."""
        return list(self.seen().owned.values())

    def document(self, doc: str) -> Document:
        """Return a document. Raises InvalidArgument in the same words if it is another's, and if there is none."""
        seen = self.seen()
        number = seen.snapshot.docs().get(doc)
        if number is None or number not in seen.owned:
            raise InvalidArgument(f"no document {doc!r} in this index")
        return seen.snapshot.document(number)

    def original(self, doc: str) -> Path | None:
        """Return the file of a document."""
        return self._retriever.original(self.document(doc).doc)

    def incomplete(self) -> Iterator[Document]:
        """Yield the documents that `unread_counts` is about."""
        seen = self.seen()
        return (document for document in seen.snapshot.unread() if document.number in seen.owned)

    def unread_counts(self) -> tuple[int, int]:
        """Count failures and empty pages."""
        failed = empty = 0
        if self._retriever.unread_counts() == (0, 0):  # then nobody need know what is whose
            return 0, 0
        for document in self.incomplete():
            failed += (document.state == "failed" or bool(document.reason)) + len(document.failed)
            empty += len(document.empty)
        return failed, empty

    def checked(self, page: At) -> At:
        """Return the page. Raises InvalidArgument in the same words if it is another's, and if there is none."""
        doc, number = page_ref(page)
        if not self.seen().has(doc, number):
            raise InvalidArgument(f"no page {number} of {doc} in this index")
        return page

    def picture(self, ref: tuple[str, int], *, dpi: int, box: Box | None = None) -> Image:
        """Return the picture of a page, or of a part of it."""
        return self._retriever.picture(self.checked(ref), dpi=dpi, box=box)

    def heatmap(self, question: str, hit: Hit | tuple[str, int], *, index: str | None = None) -> Explanation:
        """Return where on a page a question is answered."""
        return self._retriever.heatmap(question, self.checked(hit), index=index)

    def read(self, hit: Hit | tuple[str, int], *, picture: bool = True) -> tuple[Page, DocumentError | None]:
        """Return a page for a reader."""
        return self._retriever.read(self.checked(hit), picture=picture)

    def search(self, question: str, k: int) -> Ranked[Hit]:
        """Return the best pages."""
        return self.told(self._retriever.search(question, k, where=self.narrowed(None)), None)

    def passages(self, question: str, k: int, *, where: Mapping[str, Any] | None, **how: Any) -> Ranked[Hit]:
        """Return the best passages."""
        found = self._retriever.passages(question, k, where=self.narrowed(where), **how)
        return self.told(found, how["by"])

    def passages_of(self, question: str, ref: tuple[str, int], n: int) -> list[Passage]:
        """Return the places on a page that answer a question."""
        return self._retriever.passages_of(question, self.checked(ref), n)

    def crop(self, hit: Hit) -> Image:
        """Return the picture of a passage."""
        return self._retriever.crop(self.checked(hit))

    def told(self, found: Ranked[Any], by: Any) -> Ranked[Any]:
        """Return what was found, without warnings that tell of the pages of others."""
        pipeline = pipeline_of(self._retriever)
        way = by or pipeline.default
        if way == TOGETHER and (added := pipeline.snapshot.added_for(DENSE)) is not None:
            way = DENSE if pipeline.snapshot.count_lacking(added[0]) else LATE  # its warnings count the pages that lack
        return found if way in BY_MODEL else Ranked(found, ())

    def search_like(
        self, page: tuple[str, int] | str, *, where: Mapping[str, Any] | None = None, **how: Any
    ) -> Ranked[Hit]:
        """Return the pages that are most like a page or a text."""
        page = page if isinstance(page, str) else self.checked(page)
        return self._retriever.search_like(page, where=self.narrowed(where), **how)

    def set_metadata(self, doc: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change metadata of a document, but for what binds the key. Raises InvalidArgument for that."""
        doc = self.document(doc).doc
        if held := sorted(set(changes) & set(self.key().equalities or {})):
            raise InvalidArgument(f"this key cannot change {held[0]!r}, by which it is bound")
        return self._retriever.set_metadata(doc, changes)


class BoundLibrary(Library):
    """The library of bound keys. It shares the queue, the writer and the limits of the library of all pages."""

    def __init__(self, library: Library) -> None:
        self.view = View(library.retriever)
        self.retriever = cast(Retriever, self.view)
        self.rerankers, self.folder, self.most_pages = library.rerankers, library.folder, library.most_pages
        self._drawing, self._comparing = library._drawing, library._comparing
        self._library, self.labels = library, library.labels  # the labels of pages that were found

    def ask(self, asked: Asked) -> Future[Hits]:
        """Put a question to the pages of the key."""
        check_filter(asked.where)
        return self._library.ask(replace(asked, where=self.view.narrowed(asked.where)))

    def state(self) -> object:
        """Return an object that is another after each change of the index, and for each filter."""
        return self.view.seen()

    async def answered(self, asked: Asked) -> Hits:
        """Return what was found. Warnings about words or vectors that no page has would tell of the pages of others."""
        try:
            hits = await super().answered(asked)
        except PageIndexError as error:  # it may name a part of the index that others have made
            raise VisretError("this index cannot be searched in this way; its operator is told why") from error
        return self.view.told(hits, asked.by)

    def explain(self, question: str, ref: PageRef, by: str | None) -> Explanation:
        """Return where on a page of the key a question is answered."""
        self.view.checked(ref)
        return self._library.explain(question, ref, by)

    def find(self, doc: str, page: int | None = None) -> Document:
        """Find a document of the key, or one of its pages, of whose document then only the key's pages are told."""
        if page is None:
            return super().find(doc)
        name = self._name(doc)
        try:
            self.view.checked((name, page))
        except InvalidArgument as error:
            raise HTTPException(404, str(error)) from error
        seen = self.view.seen()
        document = seen.snapshot.document(name)
        pages = seen.pages(document.number)
        return replace(document, pages=pages, empty=(), blank=(), failed=(), lost=(), metadata={}, reason=None)

    async def write(self, work: Callable[[], Made]) -> Made:
        """Change the index, one change at a time, with the rights of this request."""
        return await self._library.write(partial(copy_context().run, work))

    async def add(self, files: Sequence[tuple[str, IO[bytes]]], metadata: Mapping[str, Any] | None) -> uploads.Uploaded:
        """Bring files into the index, apart from those of others, with the metadata that bind the key."""
        held = self.view.key().equalities or {}
        for name in sorted(set(held) & set(metadata or {})):
            if (metadata or {})[name] != held[name] or type((metadata or {})[name]) is not type(held[name]):
                raise InvalidArgument(f"what this key adds has {name} = {held[name]!r}; leave it out of the metadata")
        space = uploads.Space(self.view.key().space, held, lambda document: document.number in self.view.seen().owned)
        return await self.write(
            partial(
                uploads.add,
                self._library.retriever,
                self.folder,
                files,
                metadata=metadata,
                space=space,
                most_pages=self.most_pages,
                progress=self._library._go_on,
            )
        )

    async def remove(self, doc: str) -> None:
        """Remove a document of the key from the index."""

        def work() -> None:
            uploads.remove(self._library.retriever, self.folder, self.view.document(doc).doc)

        await self.write(work)


def _page_keys(snapshot: Snapshot, where: Mapping[str, Any] | None) -> np.ndarray:
    """Return the keys of the pages that pass a filter, (n,) int64 sorted."""
    rows = snapshot.select(where).rows
    parts = [snapshot.keys(np.full(len(at), number), at) for number, at in rows.items()]
    return np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
