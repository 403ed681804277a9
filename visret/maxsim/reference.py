"""The definition of MaxSim: slow and readable. Every fast kernel is tested against it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def page_scores(query: np.ndarray, vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Score pages: the best matching vector of a page for every query token, summed over the tokens; (P,) float32.

    query: (m, d). vectors: (N, d). offsets: (P + 1,). See Khattab and Zaharia 2020, ColBERT, equation 3.
    """
    query, vectors = query.astype(np.float32), vectors.astype(np.float32)
    pages = pairwise(offsets)
    return np.array([(vectors[a:b] @ query.T).max(axis=0).sum() for a, b in pages], np.float32)
