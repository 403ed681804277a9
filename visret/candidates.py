"""The first stage for large collections: a page's summary is just a smaller page.

A summary is k centroids of the page's own vectors, scored by the same MaxSim kernel as the page; the best pages by
their summaries are then scored exactly. It decides only what is looked at. Nothing is learned across pages, so a page
that comes or goes changes nothing for the others, and any collection is served from its first page on.

The sizes below come from tests/benchmarks/first_stage.py: 16,834 real pages of 200 vectors (128 dimensions), 200
questions. One row for 32 keeps .95 of the exact ten best pages in a shortlist of 452 and .99 in one of 1,541, and both
grow with the square root of the number of pages. With twice the rows the shortlist is a quarter to two fifths shorter,
which saves less than the rows cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from visret._products import product
from visret.maxsim import packed
from visret.maxsim.packed import PackedPages

EXACT_UP_TO = 1 << 29
"""Values (vectors x dimensions) that are scanned whole, in some 25 to 100 ms on two cores."""

_ROUNDS = 4  # of k-means; more find no more
_LEAST_COSINE = 0.1


def summarise(vectors: np.ndarray, k: int) -> np.ndarray:
    """At most k rows that stand for a page's vectors (n, d) float32, unit rows; (<= k, d) float32.

    Spherical k-means; k rows or fewer stand for themselves. A centroid is longer than 1 the more its vectors differ:
    the best of them is nearer to a query than their middle is, by about 1 / sqrt(their mean cosine with it).
    """
    if len(vectors) <= k:
        return vectors
    # Rows follow the reading order, so rows at equal distances are spread over what the page is about.
    centroids = vectors[np.arange(k) * len(vectors) // k]
    for _ in range(_ROUNDS):
        nearest = product(vectors, centroids.T).argmax(axis=1)
        by_centroid = np.argsort(nearest, kind="stable")
        kept, first = np.unique(nearest[by_centroid], return_index=True)
        sums = np.add.reduceat(vectors[by_centroid], first)
        counts = np.diff(first, append=len(vectors))[:, None].astype(np.float32)
        before = centroids[kept]
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        cosines = np.maximum(lengths / counts, _LEAST_COSINE)
        # Vectors that cancel out have no middle.
        centroids = np.where(lengths > 1e-3 * counts, sums / np.maximum(lengths, 1e-6), before)
    return np.asarray(centroids / np.sqrt(cosines))


def summary_size(rows: int) -> int:
    """How many rows stand for a page of so many."""
    return max(4, rows // 32)


def shortlist_size(pages: int, k: int) -> int:
    """How many of so many pages, the best by their summaries, are scored exactly where k are wanted."""
    return min(pages, max(4 * k, 64, 4 * math.isqrt(k * pages)))


def needed(rows: int, dim: int) -> bool:
    """Whether so many vectors are searched through the summaries of their pages, rather than all of them."""
    return rows * dim > EXACT_UP_TO


class Part(NamedTuple):
    """Pages with their summaries, row by row, and which of them are wanted (None: all)."""

    pages: PackedPages
    summaries: PackedPages
    only: np.ndarray | None = None


def top_k_of_parts(
    parts: Sequence[Part], queries: Sequence[np.ndarray], k: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """As `packed.top_k_of_parts`, but of much that would have to be scanned only what has the best summaries is."""
    count = shortlist(parts, k)
    if count is None:
        return packed.top_k_of_parts([(part.pages, part.only) for part in parts], queries, k)
    near = packed.shortlists([(part.summaries, part.only) for part in parts], queries, count)
    return [
        packed.top_k_of_parts([(part.pages, rows) for part, rows in zip(parts, lists, strict=True)], [query], k)[0]
        for query, lists in zip(queries, near, strict=True)
    ]


def shortlist(parts: Sequence[Part], k: int) -> int | None:
    """How many pages are scored by more than their summaries; None for all of them."""
    lengths = [
        np.diff(part.pages.offsets) if part.only is None else np.diff(part.pages.offsets)[part.only] for part in parts
    ]
    if not parts or not needed(sum(int(some.sum()) for some in lengths), parts[0].pages.dim):
        return None
    return shortlist_size(sum(map(len, lengths)), k)
