"""The pages of a collection, as `index.Snapshot` has those of an index, so that a search goes the same way with both.

A document has a number here as soon as one of its pages is met, which holds as long as the collection is open; it takes
the place of a segment, and the page's number that of a row. Pages are read in whole, and the last few hundred are kept.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from visret import arguments, codec
from visret.errors import IndexFormatError, InvalidArgument
from visret.index import Document, IndexModel, terms
from visret.index.embedded import of_kind
from visret.index.filters import parse
from visret.index.segment import PlacedText
from visret.index.snapshot import no_document
from visret.maxsim import matching
from visret.stores import _points
from visret.stores._engine import Engine, Payload
from visret.types import Grid, Matches, PageEmbedding, PageRef, Selection

if TYPE_CHECKING:
    from visret.types import Scorer

KEPT = 512  # pages

_OF_DOCUMENTS = ("doc", "page", "source", "member", "file", "metadata", "own_metadata")


class StoredPage:
    """A page as a collection keeps it."""

    def __init__(self, payload: Payload, made_by: codec.Codec) -> None:
        self._rows, self._arrays = _points.rows_of(payload)
        self.payload = {key: value for key, value in payload.items() if key != "arrays"}
        self.ref = PageRef(payload["doc"], payload["page"])
        self._codec = made_by

    def matches(self, query: np.ndarray) -> Matches:
        """Return where query vectors (m, d) float32 find their best matches."""
        return matching.matches(self._rows, self._codec, query)

    @property
    def vectors(self) -> np.ndarray:
        """The vectors as the index stores them, (n, d) float32."""
        return codec.decode(self._rows, self._codec)

    @property
    def single(self) -> np.ndarray:
        """The single vectors of the added model, (n, d) float32; there may be none."""
        return _points.single_vectors(self._arrays)

    @property
    def made(self) -> int:
        """The number of vectors that the model made of it."""
        return int(self.payload["made"])

    @property
    def order(self) -> tuple[int, int, str]:
        """The place among pages that score the same, as in the index."""
        return self.payload["number"], self.ref.page, self.ref.doc

    @property
    def where(self) -> Grid | np.ndarray:
        """The places of its vectors, as in `PageEmbedding`."""
        if (grid := self.payload["grid"]) is None:
            return self._arrays["where"]
        rows, cols = grid
        return Grid(rows, cols, self._arrays.get("where"))

    @property
    def placed_text(self) -> PlacedText:
        """The text and where it stands."""
        rows, boxes = self._arrays.get("rows"), self._arrays.get("word_boxes")
        edges = self._arrays.get("edges")
        return PlacedText(self.payload["text"], boxes, self.where, rows, len(self._rows.codes), edges)

    @cached_property
    def terms(self) -> Counter[str]:
        """The terms of its text, and how often it has each."""
        return Counter(terms.of_page(self.payload["text"]))


class Pages:
    """The pages of a collection, which are read from the engine as they are asked for.

    Unlike a Snapshot this is not one committed state: the engine ranks what is there now, while pages that were read
    before are kept as they were. scorers: what ranks the pages, by the names of ways of ranking.
    """

    commits = 0

    def __init__(self, engine: Engine, manifest: Payload, scorers: Mapping[str, Callable[[Pages], Scorer]]) -> None:
        for what, here in (("format", _points.FORMAT), ("terms", terms.VERSION)):
            if manifest[what] != here:
                raise IndexFormatError(
                    engine.name, f"has {what} {manifest[what]}, and this visret reads {here}; export again"
                )
        self.engine = engine
        self.manifest = manifest
        self.model, self.storage, fitted, self.floor = _points.model_of(manifest)
        self.fitted = fitted
        self._codec = fitted.codec
        self._guard = RLock()
        self._numbers: dict[str, int] = {}
        self._docs: list[str] = []
        self._files: dict[int, tuple[str | None, str]] = {}
        self._kept: OrderedDict[UUID, StoredPage] = OrderedDict()
        self._ways = scorers
        self._scorers: dict[str, Scorer] = {}

    def scorer(self, name: str) -> Scorer:
        """Return what ranks these pages under a name. Raises InvalidArgument for a name that is not among them."""
        if name not in self._ways:
            raise InvalidArgument(
                f"pages in {self.engine.product} are ranked by {', '.join(map(repr, self._ways))}, not by {name!r}"
            )
        if name not in self._scorers:
            self._scorers[name] = self._ways[name](self)
        return self._scorers[name]

    @cached_property
    def mean_terms(self) -> float:
        """The mean number of terms of a page, by which the engine weighs words."""
        mean = self.manifest["mean_terms"]
        return self.engine.mean_terms() if mean is None else float(mean)

    # ---- what is there

    @cached_property
    def _count(self) -> int:
        return self.engine.count(_points.is_page())

    def __len__(self) -> int:
        return self._count

    def select(
        self, where: Mapping[str, Any] | None = None, among: Iterable[tuple[str, int]] | None = None
    ) -> Selection:
        """Return the pages that pass, as `Snapshot.select`; the engine selects them, by the condition in `filter`."""
        if not where and among is None:
            return Selection({}, None, True)
        parts = []
        if where:
            try:
                parts.append(_points.condition(parse(where, self.manifest["keys"])))
            except RecursionError:
                raise InvalidArgument("the filter is nested too deeply") from None
        if among is not None:
            listed = list(among)
            self._find(listed)
            parts.append(_points.only([_points.id_of(*ref) for ref in listed]))
        made = {"must": parts}
        return Selection(_Passing(self, made), made, False)

    def only(self, keys: np.ndarray) -> Selection:
        """Return the selection of the pages with these keys."""
        ids = [_points.id_of(*self.ref(key >> 32, key & 0xFFFFFFFF)) for key in keys.tolist()]
        return Selection({}, _points.only(ids), False)

    def find(self, ref: tuple[str, int]) -> tuple[int, int]:
        """Return the numbers of (doc, page). Raises InvalidArgument if there is no such page."""
        (page,) = self._find([ref])
        return self._numbers[page.ref.doc], page.ref.page

    def locate(self, key: int) -> tuple[int, int]:
        """Return the numbers of the document and of the page with this key."""
        return key >> 32, key & 0xFFFFFFFF

    def keys(self, segments: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the keys of pages, (n,) int64."""
        return segments.astype(np.int64) << 32 | rows.astype(np.int64)

    def ref(self, segment: int, row: int) -> PageRef:
        """Return the page with these numbers."""
        return PageRef(self._docs[segment], row)

    def key_of(self, ref: PageRef) -> int:
        """Return the key of a page that was read."""
        return self._numbers[ref.doc] << 32 | ref.page

    # ---- one page

    def page(self, key: int) -> StoredPage:
        """Return the page with this key."""
        (page,) = self._find([self.ref(*self.locate(key))])
        return page

    def read(self, ids: Sequence[UUID]) -> list[StoredPage]:
        """Return those of the pages with these ids that are there, in order, and keep them for a while."""
        with self._guard:
            known = {one: self._kept[one] for one in ids if one in self._kept}
        if len(known) < len(ids):
            payloads = self.engine.retrieve([one for one in ids if one not in known])
            known |= {one: StoredPage(payload, self._codec) for one, payload in payloads.items()}
        pages = [known[one] for one in ids if one in known]
        with self._guard:
            for one, page in known.items():
                self._number(page.payload)
                self._kept[one] = page
                self._kept.move_to_end(one)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return pages

    def size_pt(self, segment: int, row: int) -> tuple[float, float] | None:
        """Return width and height in points; None for plain text."""
        size = self.page(segment << 32 | row).payload["size_pt"]
        return None if size is None else (size[0], size[1])

    def page_metadata(self, segment: int, row: int) -> dict[str, Any]:
        """Return the page's own metadata."""
        return dict(self.page(segment << 32 | row).payload["own_metadata"])

    def metadata(self, segment: int, row: int) -> dict[str, Any]:
        """Return the document's metadata with the page's over it."""
        return dict(self.page(segment << 32 | row).payload["metadata"])

    def words(self, segment: int, row: int) -> tuple[str, np.ndarray | None]:
        """Return the text of a page, and the boxes of its words, (w, 4), where it has any."""
        placed = self.page(segment << 32 | row).placed_text
        return placed.text, None if placed.word_boxes is None else arguments.clipped(placed.word_boxes)

    def placed_text(self, key: int) -> PlacedText:
        """Return the text of the page with this key, and where it stands."""
        return self.page(key).placed_text

    def embedding(self, ref: tuple[str, int]) -> PageEmbedding:
        """Return a page as stored."""
        (page,) = self._find([ref])
        vectors, where, placed = page.vectors, page.where, page.placed_text
        boxes = placed.word_boxes
        return PageEmbedding(
            ref=page.ref,
            size_pt=self.size_pt(*self.find(ref)),
            vectors=vectors,
            where=where if isinstance(where, Grid) else arguments.clipped(where),
            rows=placed.rows,
            made=page.made if page.made > len(vectors) else 0,
            text=placed.text,
            word_boxes=None if boxes is None else arguments.clipped(boxes),
            metadata=page.payload["own_metadata"],
        )

    def place(self, number: int) -> tuple[str | None, str]:
        """Return the file of a document, and its place in it."""
        return self._files[number]

    # ---- what a Snapshot has as segments: here, pages spread over the collection, and the lengths of pages

    @property
    def segments(self) -> tuple[_Sample, ...]:
        """The pages that say what a page of the collection is like in general."""
        return (self._sample,)

    @cached_property
    def _sample(self) -> _Sample:
        return _Sample(self.read([UUID(one) for one in self.manifest["sample"]]))

    def segment(self, number: int) -> _Sample | _Made:
        """Return what tells how many vectors were made of the pages of a document."""
        return _Made(self, number)

    def rows(self, segment: int) -> np.ndarray:
        """Return the places of the pages in the sample."""
        return np.arange(len(self.segments[segment].pages))

    # ---- documents

    def documents(self) -> Iterator[Document]:
        """Yield the documents with pages, by name."""
        names = {payload["doc"] for _, payload in self.engine.scroll(["doc"], _points.is_page())}
        return map(self.document, sorted(names))

    def document(self, doc: str | int) -> Document:
        """Return a document by name or number. Raises InvalidArgument if there is none."""
        name = self._docs[doc] if isinstance(doc, int) else doc
        where = {"must": [{"key": _points.WHERE, "match": {"any": [_points.word("doc", name)]}}]}
        found = sorted((one["page"], one) for _, one in self.engine.scroll(_OF_DOCUMENTS, where))
        if not found:
            raise no_document(name, ())
        first = found[0][1]
        hash_, size, mtime_ns = first["file"]
        own = set(first["own_metadata"])
        return Document(
            number=self._number(first),
            doc=name,
            source=first["source"],
            hash=hash_,
            size=size,
            mtime_ns=mtime_ns,
            state="done",
            reason=None,
            metadata={key: value for key, value in first["metadata"].items() if key not in own},
            expected=None,
            member=first["member"],
            pages=tuple(page for page, _ in found),
            empty=(),
            blank=(),
            failed=(),
            lost=(),
        )

    def docs(self) -> Mapping[str, int]:
        """Return the number of every document by its name."""
        return {document.doc: document.number for document in self.documents()}

    def at(self, source: str) -> None:
        """Return None: which document a whole archive is, a collection does not say."""

    def unread(self) -> Iterator[Document]:
        """Yield nothing: what could not be read is told where documents are read."""
        return iter(())

    unread_counts = lost_counts = (0, 0)

    # ---- of the models that were added to the index, the one that makes single vectors

    @cached_property
    def added(self) -> Mapping[int, IndexModel]:
        """The added model, by a number of its own; nothing if there is none."""
        model = _points.added_in(self.manifest)
        return MappingProxyType({} if model is None else {1: model})

    def added_for(self, kind: str) -> tuple[int, IndexModel] | None:
        """Return the number and the record of the added model that makes vectors of a kind."""
        return of_kind(self.added, kind)

    def count_lacking(self, number: int) -> int:  # noqa: ARG002 - there is one
        """Return how many pages the added model had not been over when they were exported."""
        return int(self.manifest[_points.ADDED]["lacking"])

    def count_made(self, number: int) -> int:
        """Return how many pages have vectors of the added model, or nothing that it reads."""
        return len(self) - self.count_lacking(number)

    # ---- inside

    def _find(self, refs: Sequence[tuple[str, int]]) -> list[StoredPage]:
        """Return pages by name. Raises InvalidArgument for one that is not there."""
        found = {page.ref: page for page in self.read([_points.id_of(*ref) for ref in refs])}
        for doc, page in refs:
            if (doc, page) not in found:
                raise InvalidArgument(f"no page {page} of {doc} in {self.engine.name}")
        return [found[PageRef(doc, page)] for doc, page in refs]

    def _number(self, payload: Payload) -> int:
        with self._guard:
            doc = payload["doc"]
            if (number := self._numbers.get(doc)) is None:
                number = self._numbers[doc] = len(self._docs)
                self._docs.append(doc)
                self._files[number] = payload["source"], payload["member"]
            return number


class _Sample:
    """Some pages, in the place of a segment."""

    number = 0
    lacks = ()

    def __init__(self, pages: list[StoredPage]) -> None:
        self.pages = pages

    def matches(self, row: int, query: np.ndarray) -> Matches:
        """Return the best matches of a question on one of them."""
        return self.pages[row].matches(query)


class _Made:
    """The number of vectors that the model made of each page of a document, by the page's number; and its text."""

    def __init__(self, pages: Pages, number: int) -> None:
        self._pages = pages
        self._number = number

    @property
    def made(self) -> _Made:
        """The numbers, by page."""
        return self

    def __getitem__(self, page: int) -> int:
        return self._pages.page(self._number << 32 | page).made

    def text(self, page: int) -> str:
        """Return the text of a page."""
        return str(self._pages.page(self._number << 32 | page).payload["text"])


class _Passing(Mapping[int, np.ndarray]):
    """The pages of each document that pass a condition, asked for one document at a time."""

    def __init__(self, pages: Pages, condition: Payload) -> None:
        self._pages = pages
        self._condition = condition

    def __getitem__(self, number: int) -> np.ndarray:
        doc = self._pages.ref(number, 0).doc
        of_doc = {"key": _points.WHERE, "match": {"any": [_points.word("doc", doc)]}}
        found = self._pages.engine.scroll(["page"], {"must": [of_doc, self._condition]})
        return np.array(sorted(payload["page"] for _, payload in found), np.int64)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._pages.docs().values()))

    def __len__(self) -> int:
        return len(self._pages.docs())
