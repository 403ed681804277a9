"""MaxSim, the late-interaction score: for every query token its best match on the page, summed."""

from __future__ import annotations

import numpy as np

from visret.codec import Codec, Rows
from visret.errors import ShapeError
from visret.maxsim.packed import PackedPages, pack

__all__ = ["PackedPages", "pack", "page_scores"]


def page_scores(query: np.ndarray, vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """query (m, d), vectors (N, d), offsets (P + 1,) -> (P,) float32, exact (float32 products and sums).

    Page p is vectors[offsets[p]:offsets[p + 1]] and must not be empty. The definition is `maxsim.reference`.
    """
    rows = np.ascontiguousarray(vectors, np.float32)
    if not np.isfinite(rows).all():
        raise ShapeError("vectors: have values that are not finite")
    if rows.ndim != 2 or not rows.shape[1]:
        raise ShapeError(f"vectors: expected (N, d), got {rows.shape}")
    return PackedPages(Rows(rows), np.asarray(offsets), Codec("float32", rows.shape[1])).scores(query)
