"""Where vectors match best on a page, read from what is stored, is what NumPy says of the decoded page."""

import numpy as np
import pytest
from support.vectors import units

from visret.codec import CODECS, decode, encode, fit
from visret.errors import ShapeError
from visret.maxsim.matching import matches


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(("n", "d", "m"), [(1, 8, 1), (7, 5, 3), (900, 384, 12), (300, 130, 40)])
def test_matches_are_the_maxima_of_the_decoded_products(name, n, d, m):
    """Of one row, of fewer than are read at once, and of some such blocks with a rest."""
    rng = np.random.default_rng(n)
    vectors, query = units(rng, n, d), units(rng, m, d) * np.float32(0.9)
    fitted = fit(name, vectors)
    rows = encode(vectors, fitted)
    similar = decode(rows, fitted).astype(np.float64) @ query.T.astype(np.float64)
    best, values, found = matches(rows, fitted, query)
    assert (best.shape, values.shape, values.dtype) == ((m,), (m,), np.float32)
    np.testing.assert_allclose(found, similar, atol=2e-6)
    np.testing.assert_allclose(values, similar.max(axis=0), atol=2e-6)
    np.testing.assert_allclose(similar[best, np.arange(m)], similar.max(axis=0), atol=2e-6)


def test_matches_of_centroids_that_are_not_there_are_refused():
    vectors = units(np.random.default_rng(0), 40, 8)
    fitted = fit("residual2", vectors)
    rows = encode(vectors, fitted)
    rows.centroids[7] = len(fitted.centroids)
    with pytest.raises(ShapeError, match="centroids, got number"):
        matches(rows, fitted, vectors[:2])
