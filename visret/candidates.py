"""The cheap first stage for large collections: a page's summary is just a smaller page.

A summary is k centroids of the page's own vectors, scored by the same MaxSim kernel as the page itself. The best
`shortlist_size` pages by summary are then scored exactly, so the first stage decides only what is looked at.
It needs no training across pages, so adding and removing pages changes nothing for the others.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 4
# Below this many values (rows x dimensions) the exact scan alone is fast enough.
EXACT_UP_TO = 1 << 30


def summarise(vectors: np.ndarray, k: int) -> np.ndarray:
    """Spherical k-means of one page: vectors (n, d) float32 unit rows -> at most k unit rows, (<= k, d) float32.

    Deterministic. A page of at most k rows is its own summary.
    """
    if len(vectors) <= k:
        return vectors
    # Rows follow the reading order, so rows at equal distances are spread over what the page is about.
    centroids = vectors[np.arange(k) * len(vectors) // k]
    for _ in range(ROUNDS):
        nearest = (vectors @ centroids.T).argmax(axis=1)
        members = (np.arange(len(centroids))[:, None] == nearest).astype(np.float32)
        sums = members @ vectors
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        kept = norms[:, 0] > 1e-6  # a centroid without rows, or of rows that cancel out, is dropped
        centroids = sums[kept] / norms[kept]
    return centroids


def summary_size(rows: int) -> int:
    """How many centroids stand for a page of this many rows."""
    return max(4, rows // 16)


def shortlist_size(pages: int, k: int) -> int:
    """How many of the pages, best summaries first, are scored exactly when k are wanted."""
    return min(pages, max(1_000, 50 * k))


def needed(rows: int, dim: int) -> bool:
    """Whether a collection of this many vectors is searched through its summaries first."""
    return rows * dim > EXACT_UP_TO
