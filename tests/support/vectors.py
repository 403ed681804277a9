"""Vectors drawn at random, and how they are compared."""

import numpy as np
from hypothesis import strategies as st


def units(rng, count, dim=16):
    """(count, dim) float32 rows of length 1."""
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@st.composite
def problems(draw, dims, longest):
    """(query, vectors, offsets): ragged pages, some all on the far side of the query, so that maxima are negative."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dim = draw(st.sampled_from(dims))
    lengths = draw(st.lists(st.integers(1, longest), min_size=1, max_size=12))
    query = units(rng, draw(st.integers(1, 40)), dim)
    vectors = units(rng, sum(lengths), dim)
    if draw(st.booleans()):
        vectors, query = -np.abs(vectors), np.abs(query)
    return query, vectors, np.concatenate([[0], np.cumsum(lengths)])


def assert_same(ours, theirs, atol=1e-5):
    np.testing.assert_allclose(ours, theirs, atol=atol, rtol=0)
