"""MaxSim as its definition: slow, readable, and what every fast kernel is tested against."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def page_scores(query: np.ndarray, vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """query (m, d), vectors (N, d), offsets (P + 1,) -> (P,) float32.

    For every query token the best matching vector of the page, summed over the tokens (Khattab and Zaharia 2020,
    ColBERT, equation 3).
    """
    query, vectors = query.astype(np.float32), vectors.astype(np.float32)
    pages = pairwise(offsets)
    return np.array([(vectors[a:b] @ query.T).max(axis=0).sum() for a, b in pages], np.float32)
