"""The best matches of the vectors of a question on one page."""

from __future__ import annotations

import numpy as np

from visret.codec import Codec, Rows, decode
from visret.maxsim import linear
from visret.products import rows_at_once
from visret.types import Matches


def matches(rows: Rows, codec: Codec, query: np.ndarray) -> Matches:
    """Return the stored vector of a page that is most like each query vector (m, d) float32, and how alike they are.

    The similarities are those of `decode(rows, codec) @ query.T`, except for the order in which float32 values are
    added. The rows are never all decoded in memory: a page of the default model would take a megabyte, again for every
    hit.
    """
    count, asked = len(query), np.ascontiguousarray(query.T)
    if codec.form.is_biased:
        assert rows.scales is not None
        columns = np.zeros((codec.dim, -(-count // linear.lanes()) * linear.lanes()), np.float32)
        columns[:, :count] = asked
        products = linear.product(rows.codes, columns)
        # The 128 and the scale of a row are taken out of its products, which are fewer than its components.
        products -= 128 * columns.sum(axis=0)
        products *= rows.scales[:, None]
        similar = products[:, :count]
    else:
        similar, size = np.empty((len(rows.codes), count), np.float32), rows_at_once(asked)
        for start in range(0, len(rows.codes), size):
            where = slice(start, start + size)
            np.matmul(decode(rows.part(where), codec), asked, out=similar[where])
    best = similar.argmax(axis=0)
    return Matches(best, similar[best, np.arange(count)], similar)
