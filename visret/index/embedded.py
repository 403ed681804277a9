"""The vectors that added models made of pages: single ones ("dense"), or sparse ones in postings ("sparse").

An index has one model that makes its pages, and may have others beside it, at most one of each kind. What such a model
makes of a segment's pages stands in files of its own in the segment's folder, whose names have the number of the model
in the catalogue; layout.py describes them. A segment has these files for all its pages or for none.

A page by itself is its part of them: "codes" and "scales" of its rows, or "ids" and "weights" of its sparse vector. So
segments are merged without computing anything anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from visret.choices import DENSE, KINDS, SPARSE
from visret.codec import Codec, Rows, encode
from visret.errors import ShapeError
from visret.index.arrays import Arrays
from visret.index.catalogue import IndexModel
from visret.types import SparseVector

Packed = dict[str, np.ndarray]

CODEC = "int8"
"""The codec of single vectors. It keeps lengths, for models whose scores are dot products."""

_INT64, _UINT32, _FLOAT32 = np.dtype("<i8"), np.dtype("<u4"), np.dtype("<f4")
# The endings of the files of each kind; the first is there wherever the model has been over the segment.
_ENDINGS = {DENSE: ("_offsets", "", "_scales"), SPARSE: ("_lengths", "_ids", "_offsets", "_rows", "_weights")}
_NAME = re.compile(r"(dense|sparse)_([1-9][0-9]{0,9})(_[a-z]+)?(\.npy)?")


class Posting(NamedTuple):
    """The pages that have a dimension. rows: (n,) uint32, sorted. weights: (n,) float32."""

    rows: np.ndarray
    weights: np.ndarray


def kind_of(model: IndexModel) -> str:
    """Return the kind of vectors that an added model makes; ValueError for a model that makes none of them."""
    kind = model.preprocessing.get("kind")
    if kind not in KINDS:
        raise ValueError(f"{model.name} makes {kind!r}, expected {' or '.join(KINDS)}")
    return str(kind)


def adding(model: IndexModel) -> str:
    """Return what adds the vectors of a model to pages that lack them, and what that costs, in words."""
    source = "stored text" if model.modality == "text" else "pictures"
    return (
        f"visret add-model makes them from the {source} of pages, some a second; until then {kind_of(model)} does not "
        "find them"
    )


def numbers(files: Iterable[str]) -> frozenset[int]:
    """Return the numbers of the added models that have been over the pages of a segment with these files."""
    found = (_NAME.fullmatch(file) for file in files)
    return frozenset(int(m[2]) for m in found if m is not None and m[3] == _ENDINGS[m[1]][0])


def number_of(file: str) -> int | None:
    """Return the number of the model that a file belongs to; None for any other file."""
    found = _NAME.fullmatch(file)
    return None if found is None else int(found[2])


def names(files: Iterable[str]) -> list[str]:
    """Return the names of files of added models that a segment can have, without ending, of those in `files`."""
    there = set(files)
    every = {f"{kind}_{n}{ending}" for n in numbers(there) for kind in KINDS for ending in _ENDINGS[kind]}
    return sorted(name for name in every if f"{name}.npy" in there)


def packed(model: IndexModel, made: np.ndarray | SparseVector | None) -> Packed:
    """Pack what a model made of a page. None: nothing, since it finds nothing to read there.

    Raises ShapeError for what cannot be stored: other dimensions, or values that are not finite.
    """
    if kind_of(model) == SPARSE:
        empty = SparseVector(np.empty(0, _UINT32), np.empty(0, _FLOAT32))
        return _packed_sparse(model, empty if made is None else made)
    rows = np.empty((0, model.dim), np.float32) if made is None else np.asarray(made)
    if rows.ndim != 2 or rows.shape[1] != model.dim:
        raise ShapeError(f"{model.name}: expected rows (n, {model.dim}) of a page, got {rows.shape}")
    stored = encode(rows.astype(np.float32, copy=False), Codec(CODEC, model.dim))
    assert stored.scales is not None
    return {"codes": stored.codes, "scales": stored.scales}


def _packed_sparse(model: IndexModel, made: Any) -> Packed:
    ids, weights = np.asarray(made[0]), np.asarray(made[1], np.float32)
    if ids.ndim != 1 or ids.shape != weights.shape or ids.dtype.kind not in "iu":
        raise ShapeError(f"{model.name}: expected ids and weights (n,), got {ids.shape} {ids.dtype}, {weights.shape}")
    if len(ids) and not (ids[0] >= 0 and ids[-1] < model.dim and (ids[1:] > ids[:-1]).all()):
        raise ShapeError(f"{model.name}: the ids of a sparse vector must rise, from 0 to {model.dim - 1}")
    if not np.isfinite(weights).all():
        raise ShapeError(f"{model.name}: has weights that are not finite")
    return {"ids": ids.astype(_UINT32), "weights": weights.astype(_FLOAT32)}


def gathered(model: IndexModel, number: int, pages: Sequence[Packed]) -> Packed:
    """Return the arrays of a segment of these pages, which are its rows, by the names of their files."""
    kind = kind_of(model)
    made = _gathered_dense(model, pages) if kind == DENSE else _gathered_sparse(pages)
    return {f"{kind}_{number}{ending}": np.ascontiguousarray(array) for ending, array in made.items()}


def _gathered_dense(model: IndexModel, pages: Sequence[Packed]) -> Packed:
    empty = Codec(CODEC, model.dim).empty(0)
    assert empty.scales is not None
    return {
        "_offsets": np.cumsum([0, *(len(page["codes"]) for page in pages)]).astype(_INT64),
        "": np.concatenate([empty.codes, *(page["codes"] for page in pages)]),
        "_scales": np.concatenate([empty.scales, *(page["scales"] for page in pages)]).astype(_FLOAT32),
    }


def _gathered_sparse(pages: Sequence[Packed]) -> Packed:
    lengths = np.array([len(page["ids"]) for page in pages], _UINT32)
    each = np.concatenate([np.empty(0, _UINT32), *(page["ids"] for page in pages)])
    weights = np.concatenate([np.empty(0, _FLOAT32), *(page["weights"] for page in pages)])
    order = np.argsort(each, kind="stable")  # the rows of a dimension stay in order
    ids, counts = np.unique(each, return_counts=True)
    return {
        "_lengths": lengths,
        "_ids": ids,
        "_offsets": np.append(0, np.cumsum(counts)).astype(_INT64) if len(ids) else np.empty(0, _INT64),
        "_rows": np.repeat(np.arange(len(pages), dtype=_UINT32), lengths)[order],
        "_weights": weights[order],
    }


class DenseVectors:
    """The single vectors of a segment's pages, mapped; a page has none, one, or several."""

    def __init__(self, files: Arrays, number: int, model: IndexModel, pages: int) -> None:
        name = f"{DENSE}_{number}"
        self.codec = Codec(CODEC, model.dim)
        self.offsets = files.read(f"{name}_offsets", _INT64, (), pages + 1)
        """The row at which the vectors of each page begin, (P+1,) int64, in memory."""
        count = int(self.offsets[-1])
        if self.offsets[0] != 0 or (self.offsets[1:] < self.offsets[:-1]).any():
            raise files.damaged(f"{name}_offsets", "the offsets do not rise to the number of rows")
        self.rows = self.codec.empty(0)
        """The N stored vectors, mapped."""
        if count:
            codes = files.map(name, np.dtype("u1"), (model.dim,), count)
            self.rows = Rows(codes, files.map(f"{name}_scales", _FLOAT32, (), count))
        self._name = name

    @property
    def lengths(self) -> np.ndarray:
        """The number of vectors of each page, (P,) int64."""
        return np.diff(self.offsets)

    def page(self, row: int) -> Packed:
        """Return a page by itself, as `packed` made it."""
        part = self.rows.part(slice(int(self.offsets[row]), int(self.offsets[row + 1])))
        assert part.scales is not None
        return {"codes": part.codes, "scales": part.scales}

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the content, in words."""
        assert self.rows.scales is not None
        if not (np.isfinite(self.rows.scales) & (self.rows.scales > 0)).all():
            yield f"{self._name}_scales.npy has values that are not positive"


class SparseVectors:
    """The sparse vectors of a segment's pages as postings, mapped: for every dimension the pages that have it."""

    def __init__(self, files: Arrays, number: int, model: IndexModel, pages: int) -> None:
        self._name, self._files, self._dim = f"{SPARSE}_{number}", files, model.dim
        self.lengths = files.map(f"{self._name}_lengths", _UINT32, (), pages)
        """The number of dimensions of each page, (P,) uint32."""
        count = int(self.lengths.sum(dtype=np.int64))
        if not count:
            self._ids, self._offsets = np.empty(0, _UINT32), np.zeros(1, _INT64)
            self._rows, self._weights = np.empty(0, _UINT32), np.empty(0, _FLOAT32)
            return
        self._ids = files.map(f"{self._name}_ids", _UINT32, ())
        self._offsets = files.map(f"{self._name}_offsets", _INT64, (), len(self._ids) + 1)
        self._rows = files.map(f"{self._name}_rows", _UINT32, (), count)
        self._weights = files.map(f"{self._name}_weights", _FLOAT32, (), count)
        ends = self._offsets
        if ends[0] or ends[-1] != count or (ends[1:] <= ends[:-1]).any():
            raise files.damaged(f"{self._name}_offsets", "the offsets do not rise to the number of rows")

    def scores(self, question: SparseVector) -> np.ndarray:
        """Return the dot product of a question with every page, (P,) float64; 0 where they share no dimension."""
        found = [(self.of(int(n)), float(w)) for n, w in zip(question.ids, question.weights, strict=True)]
        rows = np.concatenate([np.empty(0, _UINT32), *(one.rows for one, _ in found)])
        parts = np.concatenate([np.empty(0), *(np.multiply(one.weights, w, dtype=float) for one, w in found)])
        return np.bincount(rows, parts, len(self.lengths))

    def of(self, number: int) -> Posting:
        """Return the pages that have a dimension. Raises IndexFormatError where they are not there."""
        at = int(np.searchsorted(self._ids, number))
        if at == len(self._ids) or self._ids[at] != number:
            return Posting(self._rows[:0], self._weights[:0])
        here = slice(int(self._offsets[at]), int(self._offsets[at + 1]))
        rows = self._rows[here]
        if not len(rows) > 0 or rows.max() >= len(self.lengths):
            raise self._files.damaged(f"{self._name}_rows", "a dimension is on pages that are not there")
        return Posting(rows, self._weights[here])

    def page(self, row: int) -> Packed:
        """Return a page by itself, as `packed` made it."""
        ids, weights, bounds = self._by_page
        here = slice(int(bounds[row]), int(bounds[row + 1]))
        return {"ids": ids[here], "weights": weights[here]}

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the content, in words."""
        if len(self._ids) and (self._ids[-1] >= self._dim or (self._ids[1:] <= self._ids[:-1]).any()):
            yield f"{self._name}_ids.npy is damaged: the dimensions are not in order"
        if not np.array_equal(np.bincount(self._rows, minlength=len(self.lengths)), self.lengths):
            yield f"{self._name}_rows.npy is damaged: the lengths of pages are not those of their vectors"
        if not np.isfinite(self._weights).all():
            yield f"{self._name}_weights.npy has values that are not finite"

    @cached_property
    def _by_page(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The vectors by page: (n,) their dimensions, rising, (n,) their weights, (P+1,) where each page begins."""
        order = np.argsort(self._rows, kind="stable")
        ids = np.repeat(self._ids, np.diff(self._offsets))[order]
        return ids, self._weights[order], np.append(0, np.cumsum(self.lengths, dtype=np.int64))


Embedded = DenseVectors | SparseVectors


def opened(files: Arrays, number: int, model: IndexModel, pages: int) -> Embedded:
    """Map what an added model made of a segment's pages. Raises IndexFormatError where that is damaged."""
    kind = DenseVectors if kind_of(model) == DENSE else SparseVectors
    return kind(files, number, model, pages)


def of_kind(models: Mapping[int, IndexModel], kind: str) -> tuple[int, IndexModel] | None:
    """Return the number and the record of the added model that makes vectors of a kind; None if there is none."""
    return next(((number, model) for number, model in models.items() if kind_of(model) == kind), None)
