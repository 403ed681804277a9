"""One segment: arrays of some pages, written once, then memory-mapped."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import mmap
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from visret.codec import DTYPES, decode, encode
from visret.errors import IndexFormatError, PageIndexError, ShapeError
from visret.index.layout import ARRAYS, BOXES, CELLS, GRID, MAX_NUMBER, SPANS, TEXTS, segment_folder
from visret.types import Grid, PageEmbedding


class SegmentPage(NamedTuple):
    """A page as stored, the fields as in `PageEmbedding`; vectors (n, d) are decoded to float32."""

    vectors: np.ndarray
    where: Grid | np.ndarray
    text: str
    word_boxes: np.ndarray | None


class Segment:
    """An open segment: read-only, and never closed while somebody holds one of its arrays.

    vectors: (N, d) codes, mapped. scales: (N,) float32, mapped, or None. offsets: (P+1,) int64, in memory.
    The rest is read when a page is asked for: before Python 3.13 each map keeps a file open.
    """

    def __init__(
        self,
        index: Path,
        number: int,
        *,
        model: int,
        dim: int,
        codec: str,
        pages: int,
        vectors: int,
        checksums: Mapping[str, str],
    ) -> None:
        if number < 1 or pages < 1 or vectors < pages:
            raise IndexFormatError(index, f"segment {number} of {pages} pages and {vectors} vectors cannot be")
        self.number = number
        self.model = model
        self.codec = codec
        self._index = index
        self._data: dict[str, int] = {}  # where the data of the files begins, once their headers are checked
        self._folder = segment_folder(index, number)
        self._pages = pages
        self._checksums = checksums
        self.offsets = self._read("offsets", pages + 1)
        self._check_offsets("offsets", self.offsets, vectors, least=1)
        self.vectors = self._map("vectors", vectors, DTYPES[codec], (dim,))
        self.scales = self._map("scales", vectors, *ARRAYS["scales"]) if codec == "int8" else None

    def __len__(self) -> int:
        return self._pages

    def page(self, row: int) -> SegmentPage:
        """Everything stored of the page in this row."""
        start, stop = self.offsets[row], self.offsets[row + 1]
        scales = None if self.scales is None else self.scales[start:stop]
        return SegmentPage(
            decode(self.vectors[start:stop], scales), self._where(row), self.text(row), self.word_boxes(row)
        )

    def text(self, row: int) -> str:
        """The text of the page in this row; "" where unknown."""
        start, stop = self._places.text[row : row + 2]
        return self._read("text", int(stop - start), first=int(start)).tobytes().decode("utf-8", "replace")

    def word_boxes(self, row: int) -> np.ndarray | None:
        """(w, 4) float32 boxes of the words of the page in this row; None where it has none."""
        start, stop = self._places.words[row : row + 2]
        return self._read("word_boxes", int(stop - start), first=int(start)) if stop > start else None

    def problems(self) -> Iterator[str]:
        """What is wrong with the files, in words; reads all of them."""
        checksums = self._checksums
        there = {file.name for file in self._folder.iterdir()} if self._folder.is_dir() else set()
        for name in sorted(there | set(checksums)):
            if name not in there:
                yield f"segment {self.number}: {name} is missing"
            elif name not in checksums:
                yield f"segment {self.number}: {name} does not belong here"
            elif _sha256(self._folder / name) != checksums[name]:
                yield f"segment {self.number}: {name} is damaged (its checksum differs)"
        try:
            if self.scales is not None and not (np.isfinite(self.scales) & (self.scales > 0)).all():
                yield f"segment {self.number}: scales.npy has values that are not positive"
            for row in range(len(self)):
                self._where(row)
        except PageIndexError as error:
            yield error.reason

    def _where(self, row: int) -> Grid | np.ndarray:
        places = self._places
        kind, first, n = places.kinds[row], int(places.first[row]), int(self.offsets[row + 1] - self.offsets[row])
        if kind == BOXES:
            return self._read("boxes", n, first=first)
        if kind == SPANS:
            spans = self._read("spans", n, first=first).astype(np.float32)
            spans[spans < 0] = np.nan
            return spans
        rows, cols = (int(x) for x in places.grids[row])
        if kind == GRID:
            return Grid(rows, cols)
        cells = self._read("cells", rows * cols, first=first)
        if cells.min() < -1 or cells.max() >= n:
            raise self._damaged("cells", f"page {row} names vectors it does not have")
        return Grid(rows, cols, cells.reshape(rows, cols))

    @cached_property
    def _places(self) -> _Places:
        pages = len(self)
        kinds, grids = self._read("kinds", pages), self._read("grids", pages)
        n, cells = np.diff(self.offsets), grids[:, 0].astype(np.int64) * grids[:, 1]
        gridded = kinds <= CELLS
        wrong = (grids[gridded] < 1).any() or (cells > MAX_NUMBER).any() or (cells > n)[kinds == GRID].any()
        if wrong or kinds.max() > SPANS:
            raise self._damaged("kinds", "the pages do not fit their grids")
        first = np.zeros(pages, np.int64)
        for kind, name, sizes in ((CELLS, "cells", cells), (BOXES, "boxes", n), (SPANS, "spans", n)):
            ends = np.cumsum(np.where(kinds == kind, sizes, 0))
            first[kinds == kind] = (ends - sizes)[kinds == kind]
            self._check_length(name, int(ends[-1]))
        texts = []
        for name, offsets_name in TEXTS.items():
            there = f"{offsets_name}.npy" in self._checksums
            offsets = self._read(offsets_name, pages + 1) if there else np.zeros(pages + 1, np.int64)
            self._check_offsets(offsets_name, offsets, int(offsets[-1]), least=0)
            self._check_length(name, int(offsets[-1]))
            texts.append(offsets)
        return _Places(kinds, grids, first, *texts)

    def _check_offsets(self, name: str, offsets: np.ndarray, end: int, *, least: int) -> None:
        if offsets[0] != 0 or offsets[-1] != end or (offsets[1:] - offsets[:-1] < least).any():
            raise self._damaged(name, "the offsets do not rise to the number of rows")

    def _check_length(self, name: str, length: int) -> None:
        if length:
            dtype, rest = ARRAYS[name]
            with self._open(name) as file:
                self._header(file, name, length, dtype, rest)

    def _read(self, name: str, count: int, *, first: int | None = None) -> np.ndarray:
        """`count` rows of an array from row `first`; the whole array, which must have `count` rows, without it."""
        dtype, rest = ARRAYS[name]
        if not count:
            return np.empty((0, *rest), dtype)
        with self._open(name) as file:
            data = None if first is None else self._data.get(name)
            if data is None:
                data = self._header(file, name, count if first is None else None, dtype, rest)
            width = math.prod(rest)
            file.seek(data + (first or 0) * width * dtype.itemsize)
            out = np.fromfile(file, dtype, count * width)
        if len(out) != count * width:
            raise self._damaged(name, "it is too short")
        return out.reshape(count, *rest)

    def _map(self, name: str, length: int, dtype: np.dtype, rest: tuple[int, ...]) -> np.ndarray:
        with self._open(name) as file:
            data = self._header(file, name, length, dtype, rest)
            # A map needs no open file, and a large index has more maps than a process may have files.
            if sys.platform != "win32" and sys.version_info >= (3, 13):
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, trackfd=False)
            else:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, dtype, math.prod((length, *rest)), data).reshape(length, *rest)

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        try:
            with (self._folder / f"{name}.npy").open("rb") as file:
                yield file
        except FileNotFoundError as error:
            gone = not self._folder.exists()
            hint = "its pages were removed since this index was opened; refresh()" if gone else "run visret verify"
            raise IndexFormatError(self._index, f"segment {self.number}: {name}.npy is missing; {hint}") from error
        except OSError as error:
            reason = f"segment {self.number}: {name}.npy cannot be read: {error.strerror}"
            hint = "; allow more open files (ulimit -n)" if error.errno == errno.EMFILE else ""
            raise PageIndexError(self._index, reason + hint) from error

    def _header(self, file: BinaryIO, name: str, length: int | None, dtype: np.dtype, rest: tuple[int, ...]) -> int:
        """Check a .npy header; the position of the data. Anything but the expected array is refused unread."""
        try:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise self._damaged(name, f"its .npy version is {version}")
            shape, fortran, got = np.lib.format.read_array_header_1_0(file)
        except (ValueError, EOFError) as error:
            raise self._damaged(name, "it is not a .npy file") from error
        data = file.tell()
        whole = shape[:1] if length is None else (length,)
        if got != dtype or fortran or shape != (*whole, *rest):
            raise self._damaged(name, f"expected {(*whole, *rest)} {dtype}, got {shape} {got}")
        if os.fstat(file.fileno()).st_size != data + math.prod(shape) * dtype.itemsize:
            raise self._damaged(name, "its length is not what its header says")
        self._data[name] = data
        return data

    def _damaged(self, name: str, what: str) -> IndexFormatError:
        return IndexFormatError(self._index, f"segment {self.number}: {name}.npy is damaged: {what}")


class _Places(NamedTuple):
    """Where a segment's pages have theirs. first: row in cells, boxes or spans, by kind; text, words: offsets."""

    kinds: np.ndarray
    grids: np.ndarray
    first: np.ndarray
    text: np.ndarray
    words: np.ndarray


def pack_page(page: PageEmbedding, codec: str) -> dict[str, np.ndarray]:
    """The page's part of each array of a segment. Raises ShapeError for what cannot be stored."""
    n = len(page.vectors)
    try:
        codes, scales = encode(page.vectors, codec)
    except ShapeError as error:
        raise ShapeError(f"{page.ref.doc}, page {page.ref.page}: {error}") from error
    arrays = {"vectors": codes, "text": np.frombuffer(page.text.encode("utf-8", "replace"), np.uint8)}
    if scales is not None:
        arrays["scales"] = scales
    where, kind, grid = page.where, GRID, (0, 0)
    if isinstance(where, Grid):
        grid = (where.rows, where.cols)
        if where.cells is not None:
            kind, arrays["cells"] = CELLS, where.cells.reshape(-1)
            if where.cells.min() < -1 or where.cells.max() >= n:
                raise ShapeError(f"{page.ref.doc}, page {page.ref.page}: cells name vectors outside 0..{n - 1}")
        elif where.rows * where.cols > n:
            raise ShapeError(f"{page.ref.doc}, page {page.ref.page}: {n} vectors for {where.rows} x {where.cols} cells")
    elif where.shape[1] == 4:
        kind, arrays["boxes"] = BOXES, where
    else:
        kind, arrays["spans"] = SPANS, np.nan_to_num(where, nan=-1)
    if page.word_boxes is not None:
        arrays["word_boxes"] = page.word_boxes
        if page.word_boxes.shape != (words := len(page.text.split()), 4):
            got = page.word_boxes.shape
            raise ShapeError(f"{page.ref.doc}, page {page.ref.page}: word_boxes must be ({words}, 4), got {got}")
    arrays["kinds"], arrays["grids"] = np.array([kind]), np.array([grid])
    # Converting here, not when written, so that what waits for a commit is as small as it will be on disk.
    return {
        name: array if name == "vectors" else np.ascontiguousarray(array, ARRAYS[name][0])
        for name, array in arrays.items()
    }


def write_segment(folder: Path, pages: Sequence[Mapping[str, np.ndarray]]) -> dict[str, str]:
    """Write the folder of a new segment and make it durable; file name to SHA-256. `pages`: made by `pack_page`."""
    folder.mkdir(parents=True)
    parts = {name: [page[name] for page in pages if name in page] for name in ("vectors", *ARRAYS)}
    for name, offsets in {"vectors": "offsets", **TEXTS}.items():
        if any(map(len, parts[name])):
            ends = accumulate((len(page.get(name, ())) for page in pages), initial=0)
            parts[offsets] = [np.fromiter(ends, ARRAYS[offsets][0])]
    checksums = {}
    for name, arrays in parts.items():
        if any(map(len, arrays)):
            checksums[f"{name}.npy"] = _write(folder / f"{name}.npy", arrays)
    sync_folder(folder)
    sync_folder(folder.parent)
    return checksums


def _write(path: Path, parts: Sequence[np.ndarray]) -> str:
    """Write one .npy file from arrays that follow each other; its SHA-256."""
    dtype = parts[0].dtype
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in chain([header.getvalue()], (part.tobytes() for part in parts)):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
