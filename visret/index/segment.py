"""One segment: arrays of some pages, written once, then memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visret.codec import Codec, Rows, decode, encode, matches
from visret.errors import IndexFormatError, PageIndexError, ShapeError
from visret.index import arrays
from visret.index.arrays import Arrays
from visret.index.catalogue import SegmentRow, parse_object
from visret.index.fitted import Fitted
from visret.index.layout import (
    ARRAYS,
    BOXES,
    CELLS,
    GRID,
    MAX_NUMBER,
    OFFSETS,
    OPTIONAL,
    SPANS,
    SUMMARIES,
    VECTORS,
    segment_folder,
)
from visret.reduction import summarise, summary_size
from visret.types import Grid, Matches, PageEmbedding, vector_of_place

Packed = dict[str, np.ndarray]  # a page's part of each array of a segment

FILES = (*VECTORS, *SUMMARIES, *ARRAYS)


class SegmentPage(NamedTuple):
    """A page as stored, the fields as in `PageEmbedding`; vectors (n, d) are decoded to float32."""

    vectors: np.ndarray
    where: Grid | np.ndarray
    rows: np.ndarray | None
    text: str
    word_boxes: np.ndarray | None


class PlacedText(NamedTuple):
    """The text of a page as stored, and where it and the page's vectors lie; the fields as in `PageEmbedding`.

    size: how many vectors the page has.
    """

    text: str
    word_boxes: np.ndarray | None
    where: Grid | np.ndarray
    rows: np.ndarray | None
    size: int

    def vector_of_place(self) -> np.ndarray:
        """Return (places,) int32, as `PageEmbedding.vector_of_place`."""
        return vector_of_place(self.where, self.rows, self.size)


class Segment:
    """An open segment: read-only, and never closed while somebody holds one of its arrays.

    rows: the N stored vectors, mapped; offsets: (P+1,) int64, in memory; codec: of the vectors.
    summaries, summary_offsets: the same of the pages' summaries, whose codec is int8.
    The rest is mapped, and read when a page is asked for.
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
        if number < 1 or pages < 1 or vectors < pages:
            raise IndexFormatError(index, f"segment {number} of {pages} pages and {vectors} vectors cannot be")
        self.number = number
        self.model = model
        self.codec = codec
        self._pages = pages
        self._files = Arrays(index, segment_folder(index, number), f"segment {number}", FILES, checksums)
        self.offsets = self._offsets("vectors", least=1, end=vectors)
        self.rows = self._map(VECTORS, codec, vectors)
        self.summary_offsets = self._offsets("summaries", least=1)
        self.summaries = self._map(SUMMARIES, Codec("int8", codec.dim), int(self.summary_offsets[-1]))

    def __len__(self) -> int:
        return self._pages

    def page(self, row: int) -> SegmentPage:
        """Everything stored of the page in this row."""
        with self._decoding(row) as stored:
            vectors = decode(stored, self.codec)
        return SegmentPage(vectors, *self._where(row), self.text(row), self.word_boxes(row))

    def matches(self, row: int, query: np.ndarray) -> Matches:
        """Return where query vectors (m, d) float32 find their best matches on the page in this row."""
        with self._decoding(row) as stored:
            return matches(stored, self.codec, query)

    def placed_text(self, row: int) -> PlacedText:
        """Return the text of the page in this row and where it stands, without reading a vector."""
        size = int(self.offsets[row + 1] - self.offsets[row])
        return PlacedText(self.text(row), self.word_boxes(row), *self._where(row), size)

    def packed(self, row: int) -> Packed:
        """The page's part of each array, as it is stored."""
        places = self._places
        kind, first = places.kinds[row], int(places.first[row])
        height, width = (int(x) for x in places.grids[row])
        at = {"rows": places.rows, "text": places.text, "word_boxes": places.words}
        parts = {name: self._of_page(name, at[name], row) for name in OPTIONAL}
        for names, stored, offsets in (
            (VECTORS, self.rows, self.offsets),
            (SUMMARIES, self.summaries, self.summary_offsets),
        ):
            some = stored.part(slice(offsets[row], offsets[row + 1]))._asdict()
            parts |= {name: some[field] for name, field in names.items() if some[field] is not None}
        if kind == CELLS:
            parts["cells"] = self._part("cells", first, height * width)
        elif kind in (BOXES, SPANS):
            name = "boxes" if kind == BOXES else "spans"
            parts[name] = self._part(name, first, len(parts["rows"]) or len(parts["vectors"]))
        return parts | {"kinds": places.kinds[row : row + 1], "grids": places.grids[row : row + 1]}

    def text(self, row: int) -> str:
        """The text of the page in this row; "" where unknown."""
        return self._of_page("text", self._places.text, row).tobytes().decode("utf-8", "replace")

    def word_boxes(self, row: int) -> np.ndarray | None:
        """(w, 4) float32 boxes of the words of the page in this row; None where it has none."""
        boxes = self._of_page("word_boxes", self._places.words, row)
        return boxes if len(boxes) else None

    def problems(self) -> Iterator[str]:
        """What is wrong with the content, in words, beyond what the checksums say."""
        wrong = f"segment {self.number}: "
        for name, scales in (("scales", self.rows.scales), ("summary_scales", self.summaries.scales)):
            if scales is not None and not (np.isfinite(scales) & (scales > 0)).all():
                yield f"{wrong}{name}.npy has values that are not positive"
        known, named = self.codec.centroids, self.rows.centroids
        if known is not None and named is not None and named.max() >= len(known):
            yield f"{wrong}centroids.npy names centroids that fitted/centroids.npy does not have"
        try:
            for row in range(len(self)):
                self._where(row)
        except PageIndexError as error:
            yield error.reason

    @contextmanager
    def _decoding(self, row: int) -> Iterator[Rows]:
        """The stored vectors of a page; numbers in them that mean nothing are damage of the file."""
        try:
            yield self.rows.part(slice(self.offsets[row], self.offsets[row + 1]))
        except ShapeError as error:
            raise self._files.damaged("centroids", f"page {row}: {error}") from error

    def _where(self, row: int) -> tuple[Grid | np.ndarray, np.ndarray | None]:
        """`where` and `rows` of the page."""
        places = self._places
        kind, first, n = places.kinds[row], int(places.first[row]), int(self.offsets[row + 1] - self.offsets[row])
        if kind in (BOXES, SPANS):
            rows = self._of_page("rows", places.rows, row)
            if len(rows) and (rows.min() < 0 or rows.max() >= n):
                raise self._files.damaged("rows", f"page {row} names vectors it does not have")
            name = "boxes" if kind == BOXES else "spans"
            where = self._part(name, first, len(rows) or n)
            if kind == SPANS:
                where = where.astype(np.float32)
                where[where < 0] = np.nan
            return where, rows if len(rows) else None
        height, width = (int(x) for x in places.grids[row])
        if kind == GRID:
            return Grid(height, width), None
        cells = self._part("cells", first, height * width)
        if cells.min() < -1 or cells.max() >= n:
            raise self._files.damaged("cells", f"page {row} names vectors it does not have")
        return Grid(height, width, cells.reshape(height, width)), None

    @cached_property
    def _places(self) -> _Places:
        pages = len(self)
        kinds, grids = self._read("kinds", pages), self._read("grids", pages)
        n, cells = np.diff(self.offsets), grids[:, 0].astype(np.int64) * grids[:, 1]
        gridded = kinds <= CELLS
        wrong = (grids[gridded] < 1).any() or (cells > MAX_NUMBER).any() or (cells > n)[kinds == GRID].any()
        if wrong or kinds.max() > SPANS:
            raise self._files.damaged("kinds", "the pages do not fit their grids")
        optional = []
        for name in OPTIONAL:
            optional.append(offsets := self._offsets(name, least=0))
            self._files.check(name, *ARRAYS[name], int(offsets[-1]))
        rows = np.diff(optional[0])
        boxes = np.where(rows > 0, rows, n)
        first = np.zeros(pages, np.int64)
        for kind, name, sizes in ((CELLS, "cells", cells), (BOXES, "boxes", boxes), (SPANS, "spans", boxes)):
            ends = np.cumsum(np.where(kinds == kind, sizes, 0))
            first[kinds == kind] = (ends - sizes)[kinds == kind]
            self._files.check(name, *ARRAYS[name], int(ends[-1]))
        return _Places(kinds, grids, first, *optional)

    def _offsets(self, name: str, *, least: int, end: int | None = None) -> np.ndarray:
        """The offsets of an array, checked; all zero where no page has any of it."""
        file, count = OFFSETS[name], self._pages + 1
        if least == 0 and file not in self._files:
            return np.zeros(count, np.int64)
        offsets = self._read(file, count)
        if offsets[0] != 0 or (end is not None and offsets[-1] != end) or (offsets[1:] - offsets[:-1] < least).any():
            raise self._files.damaged(file, "the offsets do not rise to the number of rows")
        return offsets

    def _map(self, names: Mapping[str, str], codec: Codec, count: int) -> Rows:
        like = codec.empty(0)._asdict()
        fields = {field: (name, like[field]) for name, field in names.items() if like[field] is not None}
        return Rows(**{f: self._files.map(name, a.dtype, a.shape[1:], count) for f, (name, a) in fields.items()})

    def _of_page(self, name: str, offsets: np.ndarray, row: int) -> np.ndarray:
        start, stop = (int(x) for x in offsets[row : row + 2])
        return self._part(name, start, stop - start)

    def _read(self, name: str, count: int) -> np.ndarray:
        return self._files.read(name, *ARRAYS[name], count)

    def _part(self, name: str, first: int, count: int) -> np.ndarray:
        return self._files.part(name, *ARRAYS[name], first, count)


class _Places(NamedTuple):
    """Where a segment's pages have theirs. first: row in cells, boxes or spans, by kind; the rest: offsets."""

    kinds: np.ndarray
    grids: np.ndarray
    first: np.ndarray
    rows: np.ndarray
    text: np.ndarray
    words: np.ndarray


def open_segment(index: Path, row: SegmentRow, codec: Codec) -> Segment:
    """The segment of a row of the catalogue."""
    sums = parse_object(row.checksums)
    return Segment(
        index, row.number, model=row.model, codec=codec, pages=row.pages, vectors=row.vectors, checksums=sums
    )


def problems(index: Path, row: SegmentRow, codec: Codec) -> Iterator[str]:
    """What is wrong with the files of a segment, in words; reads all of them."""
    folder, what = segment_folder(index, row.number), f"segment {row.number}"
    wrong = list(Arrays(index, folder, what, (), parse_object(row.checksums)).problems())
    yield from wrong
    try:
        yield from open_segment(index, row, codec).problems()
    except PageIndexError as error:
        if not wrong:
            yield error.reason


def pack_page(page: PageEmbedding) -> Packed:
    """The page's part of all arrays but those of `pack_vectors`. Raises ShapeError for what cannot be stored."""
    n = len(page.vectors)
    packed = {"text": np.frombuffer(page.text.encode("utf-8", "replace"), np.uint8)}
    where, kind, grid = page.where, GRID, (0, 0)
    if isinstance(where, Grid):
        grid = (where.rows, where.cols)
        if where.cells is not None:
            kind, packed["cells"] = CELLS, where.cells.reshape(-1)
            if where.cells.min() < -1 or where.cells.max() >= n:
                raise ShapeError(f"cells name vectors outside 0..{n - 1}")
        elif where.rows * where.cols > n:
            raise ShapeError(f"{n} vectors for {where.rows} x {where.cols} cells")
    elif where.shape[1] == 4:
        kind, packed["boxes"] = BOXES, where
    else:
        kind, packed["spans"] = SPANS, np.nan_to_num(where, nan=-1)
    if page.rows is not None:
        packed["rows"] = page.rows
    if page.word_boxes is not None:
        packed["word_boxes"] = page.word_boxes
        if page.word_boxes.shape != (words := len(page.text.split()), 4):
            raise ShapeError(f"word_boxes must be ({words}, 4), got {page.word_boxes.shape}")
    packed["kinds"], packed["grids"] = np.array([kind]), np.array([grid])
    # Converting here, not when written, so that what waits for a commit is as small as it will be on disk.
    return {name: np.ascontiguousarray(array, ARRAYS[name][0]) for name, array in packed.items()}


def pack_vectors(vectors: np.ndarray, fitted: Fitted) -> Packed:
    """A page's part of the arrays of vectors (n, D), as the model made them, and of summaries."""
    vectors = fitted.project(vectors)
    summary = summarise(vectors, summary_size(len(vectors)))
    packed: Packed = {}
    for names, rows in (
        (VECTORS, encode(vectors, fitted.codec)),
        (SUMMARIES, encode(summary, Codec("int8", fitted.codec.dim))),
    ):
        stored = rows._asdict()
        packed |= {name: stored[field] for name, field in names.items() if stored[field] is not None}
    return packed


def write_segment(folder: Path, pages: Sequence[Packed]) -> dict[str, str]:
    """Write the folder of a new segment and make it durable; file name to SHA-256."""
    parts = {name: [page[name] for page in pages if name in page] for name in FILES}
    for name, offsets in OFFSETS.items():
        if any(map(len, parts[name])):
            ends = accumulate((len(page.get(name, ())) for page in pages), initial=0)
            parts[offsets] = [np.fromiter(ends, ARRAYS[offsets][0])]
    return arrays.write(folder, parts)
