"""The fields of a segment, as data: their arrays, how a page is packed into them, and what adds one that is missing.

Writing, merging and checking follow FIELDS. To store something new about every page, write the function that packs it,
add an entry, and describe its files in layout.py; `Segment.part` returns a page's part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from visret.codec import Codec, Rows, encode
from visret.errors import ShapeError
from visret.explain.layout import packed_edges
from visret.index import postings
from visret.index.fitted import Fitted
from visret.index.layout import BOXES, CELLS, GRID, SPANS
from visret.reduction import means, summarise, summary_size
from visret.types import Grid, PageEmbedding

Packed = dict[str, np.ndarray]  # a page's part of each array of a segment; of postings, what they are made from
Shape = tuple[np.dtype[Any], tuple[int, ...]]  # of an array: its dtype, and its shape after the first axis


class Field(NamedTuple):
    """One kind of thing that a segment stores about each page.

    arrays: the files that hold it; for stored vectors, rows: the files, and the attribute of `Rows` that each holds.
    offsets: the file that says where each page's part begins; "" where the arrays of "places" tell, and where pages
        have no parts of their own.
    pack: makes a page's part of the arrays, from what `Storage.reduce` left of what the model made.
    pack_vectors: makes rows from the page's vectors (n, d) as they meet in a score, once the index has learned its
        codec.
    pack_text: makes of the page's stored text what `gather` needs.
    gather: makes the arrays of a segment from what its pages were packed into, in order.
    adding: what adds the field to pages that lack it, and what that costs, in words; "" where pages may lack it.
    """

    name: str
    offsets: str
    arrays: Mapping[str, Shape] = MappingProxyType({})
    rows: Mapping[str, str] = MappingProxyType({})
    pack: Callable[[PageEmbedding], Packed] | None = None
    pack_vectors: Callable[[np.ndarray, Codec], Rows] | None = None
    pack_text: Callable[[str], Packed] | None = None
    gather: Callable[[Sequence[Packed]], Packed] | None = None
    adding: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its files but for `offsets`, without ending; the first is there wherever the field is."""
        return (*self.arrays, *self.rows)

    def codec(self, vectors: Codec) -> Codec:
        """Return the codec of its rows, where `vectors` is that of the stored vectors."""
        return vectors if self.name == "vectors" else Codec("int8", vectors.dim)

    def named(self, rows: Rows) -> Packed:
        """Return stored rows under the names of their files."""
        stored = rows._asdict()
        return {name: stored[part] for name, part in self.rows.items() if stored[part] is not None}

    def joined(self, packed: Mapping[str, np.ndarray], codec: Codec) -> Rows:
        """Return the rows that `named` took apart."""
        return codec.empty(0)._replace(**{part: packed[name] for name, part in self.rows.items() if name in packed})


def _summarise(vectors: np.ndarray, codec: Codec) -> Rows:
    return encode(summarise(vectors, summary_size(len(vectors))), codec)


def _mean(vectors: np.ndarray, codec: Codec) -> Rows:
    return encode(means(vectors), codec)


def _pack_places(page: PageEmbedding) -> Packed:
    where, n = page.where, len(page.vectors)
    if not n:  # where nothing lies
        return {}
    kind, grid, packed = GRID, (0, 0), Packed()
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
    return packed | {"kinds": np.array([kind]), "grids": np.array([grid])}


def _pack_rows(page: PageEmbedding) -> Packed:
    return {} if page.rows is None else {"rows": page.rows}


def _pack_made(page: PageEmbedding) -> Packed:
    return {"made": np.array([page.made])} if page.made else {}


def _pack_text(page: PageEmbedding) -> Packed:
    return {"text": np.frombuffer(page.text.encode("utf-8", "replace"), np.uint8)}


def _pack_words(page: PageEmbedding) -> Packed:
    if page.word_boxes is None:
        return {}
    if page.word_boxes.shape != (words := len(page.text.split()), 4):
        raise ShapeError(f"word_boxes must be ({words}, 4), got {page.word_boxes.shape}")
    return {"word_boxes": page.word_boxes}


def _pack_edges(page: PageEmbedding) -> Packed:
    edges = packed_edges(page.text, page.word_boxes, page.size_pt)
    return {"line_edges": edges} if len(edges) else {}


_INT32, _FLOAT32 = np.dtype("<i4"), np.dtype("<f4")

VECTORS = Field(
    "vectors",
    "offsets",
    rows={"vectors": "codes", "scales": "scales", "centroids": "centroids"},
    pack_vectors=encode,
    adding="visret reindex --model NAME reads and encodes all pages again, some a second",
)
SUMMARIES = Field(
    "summaries",
    "summary_offsets",
    rows={"summaries": "codes", "summary_scales": "scales"},
    pack_vectors=_summarise,
    adding="visret compact makes them from the vectors, hundreds of pages a second; until then every page is scanned",
)
MEANS = Field(
    "means",
    "mean_offsets",
    rows={"means": "codes", "mean_scales": "scales"},
    pack_vectors=_mean,
    adding="visret compact makes them from the vectors, hundreds of pages a second; until then dense cannot rank",
)
PLACES = Field(
    "places",
    "",
    {
        "kinds": (np.dtype("u1"), ()),
        "grids": (_INT32, (2,)),
        "cells": (_INT32, ()),
        "boxes": (_FLOAT32, (4,)),
        "spans": (_INT32, (2,)),
    },
    pack=_pack_places,
    adding="visret reindex reads and encodes all pages again, some a second",
)
POSTINGS = Field(
    "postings",
    "",
    postings.ARRAYS,
    pack_text=postings.pack_text,
    gather=postings.gathered,
    adding="visret compact makes them from the stored text, a thousand pages a second; until then BM25 cannot rank",
)
FIELDS = (
    VECTORS,
    SUMMARIES,
    MEANS,
    PLACES,
    Field("rows", "row_offsets", {"rows": (_INT32, ())}, pack=_pack_rows),
    Field("made", "made_offsets", {"made": (_INT32, ())}, pack=_pack_made),
    Field("text", "text_offsets", {"text": (np.dtype("u1"), ())}, pack=_pack_text),
    Field("words", "word_offsets", {"word_boxes": (_FLOAT32, (4,))}, pack=_pack_words),
    Field("edges", "line_edge_offsets", {"line_edges": (np.dtype("i1"), (3,))}, pack=_pack_edges),
    POSTINGS,
)

# Every file but those of stored vectors, and every file.
SHAPES: dict[str, Shape] = {field.offsets: (np.dtype("<i8"), ()) for field in FIELDS if field.offsets}
SHAPES |= {name: shape for field in FIELDS for name, shape in field.arrays.items()}
FILES = (*SHAPES, *(name for field in FIELDS for name in field.rows))


def pack_page(page: PageEmbedding) -> Packed:
    """Pack a page into all fields except those of vectors. Raises ShapeError for what cannot be stored."""
    packed: Packed = {}
    for field in FIELDS:
        if field.pack is not None:
            packed |= field.pack(page)
    # Converting here, not when written, so that what waits for a commit is as small as it will be on disk.
    packed = {name: np.ascontiguousarray(array, SHAPES[name][0]) for name, array in packed.items()}
    return packed | pack_text(packed)


def pack_text(page: Packed) -> Packed:
    """Pack the stored text of a page into the fields that are made from it."""
    text = page["text"].tobytes().decode("utf-8", "replace")
    packed: Packed = {}
    for field in FIELDS:
        if field.pack_text is not None:
            packed |= field.pack_text(text)
    return packed


def pack_vectors(vectors: np.ndarray, fitted: Fitted) -> Packed:
    """Pack a page's vectors (n, D), as the model made them, into the fields that are made from them."""
    vectors = fitted.project(vectors)
    packed: Packed = {}
    for field in FIELDS:
        if field.pack_vectors is not None:
            packed |= field.named(field.pack_vectors(vectors, field.codec(fitted.codec)))
    return packed


def lacking(files: Iterable[str]) -> tuple[Field, ...]:
    """Return the fields that a segment with these files lacks, of those that every page should have."""
    there = set(files)
    return tuple(field for field in FIELDS if field.adding and f"{field.parts[0]}.npy" not in there)
