"""The choice of the pages that advance from one stage of a search to the next, which is finer and more expensive."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# The number of pages that advance to the next stage at once, and what decides about more of them; measured by
# tests/benchmarks/first_stage.py. More pages at first, or a larger HOPE, is slower and misses less.
FIRST_SCANNED, FIRST_EXACT = 64, 12
HOPE = 1.1


def settle(
    numbers: np.ndarray,
    estimates: np.ndarray,
    k: int,
    first: int,
    score: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers, rising, and the scores of the pages that may be among the k best.

    numbers: of the pages, rising. estimates: of their scores. first: how many are scored at once. score: scores pages
    by number.

    The best `first` pages are scored. The errors of their estimates tell how far the other pages may rise: by the mean
    error plus HOPE sqrt(2 ln n) standard deviations, which the largest of n such errors rarely exceeds.
    """
    hope = HOPE * math.sqrt(2 * math.log(max(len(numbers), 2)))
    open_ = np.ones(len(numbers), bool)
    found = np.empty(0, np.int64)
    scores = np.empty(0, np.float32)
    more = np.sort(largest(estimates, max(first, k + 2)))
    while len(more):
        open_[more] = False
        found, scores = np.append(found, more), np.append(scores, score(numbers[more]))
        errors = scores - estimates[found]
        kth = np.partition(scores, -k)[-k] if len(scores) > k else -np.inf
        more = np.flatnonzero(open_ & (estimates >= kth - errors.mean() - hope * errors.std()))
        if len(more) > 3 * len(found):  # once these are scored, the others may not need to be
            more = more[np.sort(largest(estimates[more], 3 * len(found)))]
    order = np.argsort(found)
    return numbers[found[order]], scores[order]


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the places of the k largest scores, in no order; of equal scores, those with the lower index."""
    if k >= len(scores):
        return np.arange(len(scores))
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    return np.concatenate([above, np.flatnonzero(scores == threshold)[: k - len(above)]])
