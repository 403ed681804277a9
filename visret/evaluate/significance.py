"""Tests of whether the difference between two systems may be noise, due to the questions that happened to be asked.

The permutation test swaps the two systems question by question: under the hypothesis that they are the same, each
difference could as well have had the other sign. The p-value is the share of all ways of swapping in which the mean
differs as much as it did. Several comparisons are corrected together, as Holm (1979) does. The interval resamples the
questions (bootstrap).

A permutation test knows from the questions that differ alone, and before it looks at the signs, which p-values are
possible. A comparison in which none is at most .05 is never called a difference, so it is left out of the correction
(Tarone 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
LEAST = 6  # questions that differ: five have 32 ways of swapping, and no p-value below 2 / 32
EXACT_UP_TO = 16  # questions that differ: 65,536 ways of swapping are all looked at
SWAPS = 20_000
RESAMPLES = 10_000
MAX_CELLS = 1 << 22  # of one array
SLACK = 1e-9  # of a sum: what rounding changes


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two systems in a measure.

    system, against: their names.
    kind: the kind of the questions, None for all of them.
    questions: how many they are.
    differ: for how many of them the two systems have different values.
    difference: the mean of `system` less that of `against`.
    low, high: the ends of its 95 % interval.
    p: the p-value of the permutation test by itself.
    p_holm: the same, corrected for all comparisons that are shown; 1 where fewer than 6 questions differ, so that no
        outcome could have had a p-value of at most .05.
    """

    system: str
    against: str
    measure: str
    kind: str | None
    questions: int
    differ: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float

    @property
    def is_real(self) -> bool:
        """True if it is more than noise: p_holm is at most .05, and 0 is not in the interval."""
        return self.p_holm <= LEVEL and not self.low <= 0 <= self.high


def permutation_p(differences: np.ndarray, *, seed: int = 0) -> float:
    """Return the two-sided p-value of a paired permutation test. differences: (Q,), of each question.

    It is exact where at most 16 questions differ, and from 20,000 random ways of swapping otherwise, the same ones
    for the same seed.
    """
    kept = np.asarray(differences, np.float64)
    kept = kept[kept != 0]  # swapping these changes nothing
    if not len(kept):
        return 1.0
    reached = abs(kept.sum()) - SLACK * np.abs(kept).sum()
    if len(kept) <= EXACT_UP_TO:
        ways = np.arange(1 << len(kept))[:, None] >> np.arange(len(kept)) & 1
        return float(np.mean(np.abs(kept.sum() - 2 * (ways @ kept)) >= reached))
    rng = np.random.default_rng(seed)
    count, rows = 0, max(1, MAX_CELLS // len(kept))
    for start in range(0, SWAPS, rows):
        bits = rng.integers(0, 256, (min(rows, SWAPS - start), -(-len(kept) // 8)), dtype=np.uint8)
        swaps = np.unpackbits(bits, axis=1, count=len(kept))
        count += int(np.sum(np.abs(kept.sum() - 2 * (swaps @ kept)) >= reached))
    return (count + 1) / (SWAPS + 1)


def interval(differences: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean by a percentile bootstrap. differences: (Q,), of each question."""
    values = np.asarray(differences, np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    rows = max(1, MAX_CELLS // len(values))
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, len(values), (min(rows, RESAMPLES - start), len(values)), dtype=np.int32)
        means[start : start + rows] = values[drawn].mean(axis=1)
    low, high = np.percentile(means, [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
    return float(low), float(high)


def corrected(comparisons: Sequence[tuple[float, int]]) -> list[float]:
    """Return the p-values of comparisons, corrected for one another. Each has its p and how many questions differ."""
    counted = [at for at, (_, differ) in enumerate(comparisons) if differ >= LEAST]
    made = [1.0] * len(comparisons)
    for at, p in zip(counted, holm([comparisons[at][0] for at in counted]), strict=True):
        made[at] = p
    return made


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for one another, in their order: none is below its own, or above 1."""
    made = [0.0] * len(p_values)
    largest = 0.0
    for place, at in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, p_values[at] * (len(p_values) - place)))
        made[at] = largest
    return made
