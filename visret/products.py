"""Matrix products that stay on one core."""

from __future__ import annotations

import numpy as np

_MAX_PRODUCT = 1 << 18  # multiply-adds that OpenBLAS does by itself


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply left (n, d) by right (d, m), so few rows at a time that NumPy's BLAS keeps to one core.

    This is for products of a page, which take less than a millisecond. If other processes keep the cores busy, waiting
    for BLAS's threads takes 10 to 30 ms (measured with OpenBLAS, 554 x 128 x 12).
    """
    rows = rows_at_once(right)
    if len(left) <= rows:
        return np.asarray(left @ right)
    out = np.empty((len(left), right.shape[1]), np.result_type(left, right))
    for start in range(0, len(left), rows):
        np.matmul(left[start : start + rows], right, out=out[start : start + rows])
    return out


def rows_at_once(right: np.ndarray) -> int:
    """Return the largest number of rows whose product with `right` (d, m) BLAS computes on one core."""
    return max(1, _MAX_PRODUCT // right.size)
