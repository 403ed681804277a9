"""Pages of vectors that need no file, and how they go into an index."""

import numpy as np

from visret.index import IndexModel
from visret.reduction import Storage
from visret.types import Grid, PageEmbedding, PageRef

DIM = 8
FLOATS = Storage(codec="float32")
MODEL = IndexModel("toy", "revision 1", DIM, "image", {"prompt": "", "window": 150})


def embed(doc="a.pdf", page=1, *, n=4, where=None, dim=DIM, size_pt=(600.0, 800.0), text="", **rest):
    """A page whose content follows from its name: no two pages have the same vectors."""
    rng = np.random.default_rng([*doc.encode(), page])
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return PageEmbedding(PageRef(doc, page), size_pt, vectors, Grid(1, n) if where is None else where, text, **rest)


def add(writer, doc, pages=(1,), *, state="done", **fields):
    """A whole document; its number."""
    number = writer.add(doc, **fields)
    for page in pages:
        writer.put(number, page if isinstance(page, PageEmbedding) else embed(doc, page))
    writer.finish(number, state)
    return number


def refs(index):
    """Every page that can be found, each as often as it is there."""
    snapshot = index.snapshot
    return sorted(snapshot.ref(s.number, int(row)) for s in snapshot.segments for row in snapshot.rows(s.number))
