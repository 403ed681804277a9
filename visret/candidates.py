"""The first stage: a page's summary is just a smaller page.

A summary is k centroids of the page's own vectors, scored by the same MaxSim kernel as the page; then those pages are
scanned that their summaries leave a hope of being among the best (`packed.top_k_of_parts`). It decides only what is
looked at. Nothing is learned across pages, so a page that comes or goes changes nothing for the others, and any
collection is served from its first page on.

tests/benchmarks/first_stage.py measures it beside other ways: of 16,834 real pages of 200 vectors, one row for 32
leaves 900 to scan, and keeps .995 of the ten best. With twice the rows some fewer are left, which saves less than the
rows cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from visret._products import product
from visret.maxsim import packed
from visret.maxsim.packed import PackedPages

EXACT_UP_TO = 1 << 25
"""Values (vectors x dimensions) that are scanned whole, in some milliseconds on two cores."""

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


def needed(rows: int, dim: int) -> bool:
    """Whether so many vectors are searched through the summaries of their pages, rather than all of them."""
    return rows * dim > EXACT_UP_TO


class Part(NamedTuple):
    """Pages with their summaries, row by row, and which of them are wanted (None: all)."""

    pages: PackedPages
    summaries: PackedPages
    only: np.ndarray | None = None


def top_k_of_parts(
    parts: Sequence[Part], queries: Sequence[np.ndarray], k: int, *, exact: bool = False
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """As `packed.top_k_of_parts`, but of much that would have to be scanned only what its summaries leave a hope for.

    exact: scan all of it.
    """
    summaries = [part.summaries for part in parts] if not exact and used(parts) else None
    return packed.top_k_of_parts([(part.pages, part.only) for part in parts], queries, k, summaries=summaries)


def used(parts: Sequence[Part]) -> bool:
    """Whether a search of these parts reads the summaries first."""
    rows = 0
    for pages, _, only in parts:
        rows += int(pages.offsets[-1] if only is None else (pages.offsets[only + 1] - pages.offsets[only]).sum())
    return bool(parts) and needed(rows, parts[0].pages.dim)
