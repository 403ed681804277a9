"""One segment: arrays of some pages, written once, then memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from visret.codec import Codec, Rows, decode
from visret.errors import IndexFormatError, PageIndexError, ShapeError
from visret.index import arrays, embedded
from visret.index.arrays import Arrays
from visret.index.catalogue import IndexModel, SegmentRow, parse_object
from visret.index.embedded import Embedded
from visret.index.fields import FIELDS, FILES, PLACES, POSTINGS, SHAPES, VECTORS, Field, Packed, lacking
from visret.index.layout import BOXES, CELLS, GRID, MAX_NUMBER, SPANS, segment_folder
from visret.index.postings import Postings
from visret.types import Grid, Matches, vector_of_place


class SegmentPage(NamedTuple):
    """A page as stored, with the fields of `PageEmbedding`; vectors (n, d) are decoded to float32."""

    vectors: np.ndarray
    where: Grid | np.ndarray
    rows: np.ndarray | None
    text: str
    word_boxes: np.ndarray | None


class PlacedText(NamedTuple):
    """The text of a page as stored, and where it and the page's vectors lie; the fields are those of `PageEmbedding`.

    size: how many vectors the page has. edges: as `visret.explain.layout.packed_edges` returns them.
    """

    text: str
    word_boxes: np.ndarray | None
    where: Grid | np.ndarray
    rows: np.ndarray | None
    size: int
    edges: np.ndarray | None = None

    def vector_of_place(self) -> np.ndarray:
        """Return (places,) int32, as `PageEmbedding.vector_of_place`."""
        return vector_of_place(self.where, self.rows, self.size)


class Segment:
    """An open segment: read-only, and never closed while somebody holds one of its arrays.

    lacks: the fields that it does not have, though every page should; code that needs one of them raises
        PageIndexError, which says what adds it. codec: of the vectors; that of other fields made of them is int8.
    Everything else is mapped, and read when a page is asked for.
    """

    def __init__(
        self,
        index: Path,
        number: int,
        *,
        model: int,
        codec: Codec,
        pages: int,
        vectors: int,
        checksums: Mapping[str, str],
    ) -> None:
        self.number = number
        self.model = model
        self.codec = codec
        self.lacks = lacking(checksums)
        if number < 1 or pages < 1 or (vectors < pages and VECTORS not in self.lacks):
            raise IndexFormatError(index, f"segment {number} of {pages} pages and {vectors} vectors cannot be")
        self._index = index
        self._pages = pages
        names = (*FILES, *embedded.names(checksums))
        self._files = Arrays(index, segment_folder(index, number), f"segment {number}", names, checksums)
        self._embedded: dict[int, Embedded] = {}
        ends = {VECTORS.name: vectors}
        made = [field for field in FIELDS if field.rows]
        self._offsets_of = {field.name: self._offsets(field, end=ends.get(field.name)) for field in made}
        self._rows = {field.name: self._map(field) for field in made if field not in self.lacks}

    def __len__(self) -> int:
        return self._pages

    @property
    def checksums(self) -> Mapping[str, str]:
        """The SHA-256 of each of its files, by name."""
        return self._files.checksums

    @cached_property
    def added(self) -> frozenset[int]:
        """The numbers of the added models that have been over its pages."""
        return embedded.numbers(self.checksums)

    def embedded(self, number: int, model: IndexModel) -> Embedded:
        """Return what an added model made of its pages, mapped. The number must be one of `added`."""
        if number not in self._embedded:
            self._embedded[number] = embedded.opened(self._files, number, model, len(self))
        return self._embedded[number]

    @property
    def offsets(self) -> np.ndarray:
        """The row at which the vectors of each page begin, (P+1,) int64, in memory."""
        return self.offsets_of(VECTORS)

    @cached_property
    def made(self) -> np.ndarray:
        """The number of vectors that the model made of each page, (P,) int64, before pruning and pooling.

        Segments of earlier versions do not tell; for them it is how many are stored.
        """
        counts, there = np.diff(self.offsets), np.flatnonzero(np.diff(self._bounds["made"]))
        counts[there] = [self.part("made", row)[0] for row in there.tolist()]
        return counts

    @property
    def rows(self) -> Rows:
        """The N stored vectors, mapped."""
        return self.stored(VECTORS)

    def offsets_of(self, field: Field) -> np.ndarray:
        """Return where each page's rows of a field that is made of vectors begin, (P+1,) int64."""
        return self._offsets_of[field.name]

    def stored(self, field: Field) -> Rows:
        """Return the rows of a field that is made of vectors, mapped. Raises PageIndexError where it is lacking."""
        if field in self.lacks:
            raise self._lacking(field)
        return self._rows[field.name]

    def page(self, row: int) -> SegmentPage:
        """Return everything stored of the page in this row."""
        with self._decoding(row) as stored:
            vectors = decode(stored, self.codec)
        return SegmentPage(vectors, *self._where(row), self.text(row), self.word_boxes(row))

    def matches(self, row: int, query: np.ndarray) -> Matches:
        """Return where query vectors (m, d) float32 find their best matches on the page in this row."""
        from visret.maxsim.matching import matches  # it loads a compiler

        with self._decoding(row) as stored:
            return matches(stored, self.codec, query)

    def placed_text(self, row: int) -> PlacedText:
        """Return the text of the page in this row and where it stands, without reading a vector."""
        size = int(self.offsets[row + 1] - self.offsets[row])
        return PlacedText(self.text(row), self.word_boxes(row), *self._where(row), size, self.edges(row))

    @cached_property
    def postings(self) -> Postings:
        """The postings of its terms, mapped. Raises PageIndexError where they are lacking."""
        if POSTINGS in self.lacks:
            raise self._lacking(POSTINGS)
        there = {name: shape for name, shape in POSTINGS.arrays.items() if name in self._files}
        mapped = {name: self._files.map(name, *shape) for name, shape in there.items()}
        if len(mapped["lengths"]) != len(self):
            raise self._files.damaged("lengths", f"it has {len(mapped['lengths'])} pages")
        return Postings(mapped, self._files.damaged)

    def packed(self, row: int) -> Packed:
        """Return the page's part of each array, as it is stored."""
        parts = {name: self.part(name, row) for name in self._bounds}
        if POSTINGS not in self.lacks:
            parts |= self.postings.page(row)
        for field in FIELDS:
            if field.name in self._rows:
                first, end = self.offsets_of(field)[row : row + 2].tolist()
                parts |= field.named(self._rows[field.name].part(slice(first, end)))
        return parts

    def part(self, name: str, row: int) -> np.ndarray:
        """Return what an array has of the page in this row, read-only; for every array but those of stored vectors."""
        first, end = self._bounds[name][row : row + 2].tolist()
        return self._files.part(name, *SHAPES[name], first, end - first)

    def text(self, row: int) -> str:
        """Return the text of the page in this row; "" where unknown."""
        return self.part("text", row).tobytes().decode("utf-8", "replace")

    def edges(self, row: int) -> np.ndarray | None:
        """Return where passages may begin and end on the page in this row, (L+1, 3) int8; None if it is not known."""
        edges = self.part("line_edges", row)
        return edges if len(edges) else None

    def word_boxes(self, row: int) -> np.ndarray | None:
        """Return (w, 4) float32 boxes of the words of the page in this row; None where it has none."""
        boxes = self.part("word_boxes", row)
        return boxes if len(boxes) else None

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the content, in words, beyond what the checksums say."""
        wrong = f"segment {self.number}: "
        for field in FIELDS:
            scales = self._rows[field.name].scales if field.name in self._rows else None
            if scales is not None and not (np.isfinite(scales) & (scales > 0)).all():
                (name,) = (name for name, part in field.rows.items() if part == "scales")
                yield f"{wrong}{name}.npy has values that are not positive"
        known, named = self.codec.centroids, None if VECTORS in self.lacks else self.rows.centroids
        if known is not None and named is not None and named.max() >= len(known):
            yield f"{wrong}centroids.npy names centroids that fitted/centroids.npy does not have"
        try:
            for row in range(len(self) if self._has_places else 0):
                self._where(row)
            if POSTINGS not in self.lacks:
                yield from (f"{wrong}{problem}" for problem in self.postings.problems())
        except PageIndexError as error:
            yield error.reason

    @contextmanager
    def _decoding(self, row: int) -> Iterator[Rows]:
        """Yield the stored vectors of a page; numbers in them that mean nothing are damage to the file."""
        try:
            yield self.rows.part(slice(self.offsets[row], self.offsets[row + 1]))
        except ShapeError as error:
            raise self._files.damaged("centroids", f"page {row}: {error}") from error

    def _where(self, row: int) -> tuple[Grid | np.ndarray, np.ndarray | None]:
        """Return `where` and `rows` of the page."""
        if not self._has_places:
            raise self._lacking(VECTORS if VECTORS in self.lacks else PLACES)
        (kind,), n = self.part("kinds", row).tolist(), int(self.offsets[row + 1] - self.offsets[row])
        if kind in (BOXES, SPANS):
            rows = self.part("rows", row)
            if len(rows) and (rows.min() < 0 or rows.max() >= n):
                raise self._files.damaged("rows", f"page {row} names vectors it does not have")
            where = self.part("boxes" if kind == BOXES else "spans", row)
            if kind == SPANS:
                where = where.astype(np.float32)
                where[where < 0] = np.nan
            return where, rows if len(rows) else None
        height, width = self.part("grids", row)[0].tolist()
        if kind == GRID:
            return Grid(height, width), None
        cells = self.part("cells", row)
        if cells.min() < -1 or cells.max() >= n:
            raise self._files.damaged("cells", f"page {row} names vectors it does not have")
        return Grid(height, width, cells.reshape(height, width)), None

    @property
    def _has_places(self) -> bool:
        """True if it says where vectors lie; without vectors, places mean nothing."""
        return VECTORS not in self.lacks and PLACES not in self.lacks

    @cached_property
    def _bounds(self) -> dict[str, np.ndarray]:
        """The bounds of each page's part of each array, (P+1,) int64; checked, as are the arrays themselves."""
        bounds: dict[str, np.ndarray] = {}
        for field in FIELDS:
            if field.offsets and field.pack is not None:
                bounds |= dict.fromkeys(field.arrays, self._offsets(field))
        if self._has_places:
            bounds |= self._bounds_of_places(np.diff(bounds["rows"]))
        for name, offsets in bounds.items():
            self._files.check(name, *SHAPES[name], int(offsets[-1]))
        return bounds

    def _bounds_of_places(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the bounds of the arrays of places. rows: (P,) how many places have a vector by its number."""
        pages = len(self)
        kinds, grids = (self._files.read(name, *SHAPES[name], pages) for name in ("kinds", "grids"))
        n, cells = np.diff(self.offsets), grids[:, 0].astype(np.int64) * grids[:, 1]
        gridded = kinds <= CELLS
        wrong = (grids[gridded] < 1).any() or (cells > MAX_NUMBER).any() or (cells > n)[kinds == GRID].any()
        if wrong or kinds.max() > SPANS:
            raise self._files.damaged("kinds", "the pages do not fit their grids")
        places = np.where(rows > 0, rows, n)
        bounds = dict.fromkeys(("kinds", "grids"), np.arange(pages + 1))
        for kind, name, sizes in ((CELLS, "cells", cells), (BOXES, "boxes", places), (SPANS, "spans", places)):
            bounds[name] = np.append(0, np.cumsum(np.where(kinds == kind, sizes, 0)))
        return bounds

    def _offsets(self, field: Field, *, end: int | None = None) -> np.ndarray:
        """Return the offsets of a field, checked; all zero where no page has any of it."""
        name, count = field.offsets, self._pages + 1
        if field in self.lacks or (not field.adding and name not in self._files):
            return np.zeros(count, np.int64)
        offsets = self._files.read(name, *SHAPES[name], count)
        least = 1 if field.adding else 0
        if offsets[0] != 0 or (end is not None and offsets[-1] != end) or (offsets[1:] - offsets[:-1] < least).any():
            raise self._files.damaged(name, "the offsets do not rise to the number of rows")
        return offsets

    def _map(self, field: Field) -> Rows:
        codec, count = field.codec(self.codec), int(self.offsets_of(field)[-1])
        like = field.named(codec.empty(0))
        mapped = {name: self._files.map(name, array.dtype, array.shape[1:], count) for name, array in like.items()}
        return field.joined(mapped, codec)

    def _lacking(self, field: Field) -> PageIndexError:
        """Return the error for what needs a field that is not there."""
        return PageIndexError(self._index, f"segment {self.number} has no {field.name}: {field.adding}")


def open_segment(index: Path, row: SegmentRow, codec: Codec) -> Segment:
    """Open the segment of a row of the catalogue."""
    sums = parse_object(row.checksums)
    return Segment(
        index, row.number, model=row.model, codec=codec, pages=row.pages, vectors=row.vectors, checksums=sums
    )


def problems(
    index: Path, row: SegmentRow, codec: Codec, models: Mapping[int, IndexModel] = MappingProxyType({})
) -> Iterator[str]:
    """Yield what is wrong with the files of a segment, in words; reads all of them. models: those that were added."""
    folder, what = segment_folder(index, row.number), f"segment {row.number}"
    files = Arrays(index, folder, what, (), parse_object(row.checksums))
    # What a crash left of an added model before its commit; the next writer removes it.
    wrong = list(files.problems(is_leftover=lambda name: embedded.number_of(name) is not None))
    yield from wrong
    try:
        opened = open_segment(index, row, codec)
        yield from opened.problems()
        for number in sorted(opened.added & models.keys()):
            made = opened.embedded(number, models[number]).problems()
            yield from (f"segment {row.number}: {problem}" for problem in made)
    except PageIndexError as error:
        if not wrong:
            yield error.reason


def write_segment(folder: Path, pages: Sequence[Packed], made: Packed | None = None) -> dict[str, str]:
    """Write the folder of a new segment and make it durable; return the SHA-256 of each file by its name.

    made: the arrays of added models, by the names of their files (`embedded.gathered`).
    """
    parts = {name: [page[name] for page in pages if name in page] for field in FIELDS for name in field.parts}
    for field in FIELDS:
        first = field.parts[0]
        if field.offsets and any(map(len, parts[first])):
            ends = accumulate((len(page.get(first, ())) for page in pages), initial=0)
            parts[field.offsets] = [np.fromiter(ends, SHAPES[field.offsets][0])]
        if field.gather is not None:
            parts |= {name: [array] for name, array in field.gather(pages).items()}
    return arrays.write(folder, parts | {name: [array] for name, array in (made or {}).items()})
