"""The quality of a ranking, computed on plain lists: no arrays, no index, no model."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence


def ndcg(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int = 5) -> float:
    """Return nDCG@k with binary relevance (Jarvelin and Kekalainen 2002): 1 if all of the first places are relevant."""
    gain = sum(1 / math.log2(place + 2) for place, item in enumerate(ranked[:k]) if item in relevant)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))
    return gain / ideal if ideal else 0.0


def recall(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int = 5) -> float:
    """Return recall@k: the share of the relevant items that are among the first k."""
    return len(set(ranked[:k]) & set(relevant)) / len(set(relevant)) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int = 10) -> float:
    """Return 1 / the place of the first relevant item among the first k, 0 if there is none. Its mean is MRR@k."""
    return next((1 / place for place, item in enumerate(ranked[:k], 1) if item in relevant), 0.0)
