"""Which pages go on from one stage of a search to the next, finer and dearer one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# How many pages go on from one stage of a search to the next, finer one at once, and what decides on more of them:
# tests/benchmarks/first_stage.py. More at first, or a larger HOPE, is slower and misses less.
FIRST_SCANNED, FIRST_EXACT = 64, 12
HOPE = 1.1


def settle(
    numbers: np.ndarray,
    estimates: np.ndarray,
    k: int,
    first: int,
    score: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Of pages by rising number, with estimates of their scores, those that may be among the k best: numbers, rising,
    and scores.

    The best `first` are scored; what the others may reach is told from how far the estimates were wrong there: by the
    mean error and HOPE sqrt(2 ln n) of its standard deviations, which the largest of n such errors rarely exceeds.
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
        if len(more) > 3 * len(found):  # with these the others may need no look
            more = more[np.sort(largest(estimates[more], 3 * len(found)))]
    order = np.argsort(found)
    return numbers[found[order]], scores[order]


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest scores, in no order; of equal ones those with the lower index."""
    if k >= len(scores):
        return np.arange(len(scores))
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    return np.concatenate([above, np.flatnonzero(scores == threshold)[: k - len(above)]])
