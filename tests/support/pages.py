"""Pages of vectors that need no file, and how they go into an index."""

import json
import sqlite3
from contextlib import closing

import numpy as np

from support.vectors import units
from visret.index import IndexModel, PageIndex, fields, layout, seal
from visret.reduction import Storage
from visret.types import Grid, PageEmbedding, PageRef

DIM = 8
FLOATS = Storage(codec="float32")
OLD_PAGES = [PageRef("colours.pdf", 1), PageRef("colours.pdf", 2), PageRef("one.pdf", 1)]  # in tests/index/format-*.zip
MODEL = IndexModel("toy", "revision 1", DIM, "image", {"prompt": "", "window": 150})


def embed(doc="a.pdf", page=1, *, n=4, where=None, dim=DIM, size_pt=(600.0, 800.0), text="", **rest):
    """A page whose content follows from its name: no two pages have the same vectors."""
    vectors = units(np.random.default_rng([*doc.encode(), page]), n, dim)
    return PageEmbedding(PageRef(doc, page), size_pt, vectors, Grid(1, n) if where is None else where, text, **rest)


def add(writer, doc, pages=(1,), *, state="done", **fields):
    """A whole document; its number."""
    number = writer.add(doc, **fields)
    for page in pages:
        writer.put(number, page if isinstance(page, PageEmbedding) else embed(doc, page))
    writer.finish(number, state)
    return number


def without(path, number, *names):
    """Let a segment be without some fields, as if it had been written by what does not know them."""
    files = {f"{file}.npy" for f in fields.FIELDS if f.name in names for file in (*f.parts, f.offsets)}
    for file in files:
        (layout.segment_folder(path, number) / file).unlink(missing_ok=True)
    with closing(sqlite3.connect(path / layout.CATALOGUE)) as connection, connection:
        ((text,),) = connection.execute("SELECT checksums FROM segments WHERE number = ?", (number,))
        kept = {file: checksum for file, checksum in json.loads(text).items() if file not in files}
        connection.execute("UPDATE segments SET checksums = ? WHERE number = ?", (json.dumps(kept), number))
        connection.execute("UPDATE settings SET value = value + 1 WHERE key = 'commits'")
    seal.write(path)


def create(path, storage=FLOATS):
    return PageIndex.create(path, model=MODEL, storage=storage)


def refs(index):
    """Every page that can be found, each as often as it is there."""
    snapshot = index.snapshot
    return sorted(snapshot.ref(s.number, int(row)) for s in snapshot.segments for row in snapshot.rows(s.number))


def assert_same_page(got, page, vectors):
    assert got.ref == page.ref
    assert got.size_pt == page.size_pt
    assert got.text == page.text
    assert got.metadata == page.metadata
    np.testing.assert_array_equal(got.vectors, vectors)
    assert got.vectors.dtype == np.float32
    if isinstance(page.where, Grid):
        assert (got.where.rows, got.where.cols) == (page.where.rows, page.where.cols)
        assert (got.where.cells is None) == (page.where.cells is None)
        np.testing.assert_array_equal(got.where.vector_of_cell(), page.where.vector_of_cell())
    else:
        np.testing.assert_array_equal(got.where, page.where)
        assert got.where.dtype == np.float32
    if page.rows is None:
        assert got.rows is None
    else:
        np.testing.assert_array_equal(got.rows, page.rows)
    if page.word_boxes is None:
        assert got.word_boxes is None
    else:
        np.testing.assert_array_equal(got.word_boxes, page.word_boxes)


# Pages of all kinds.
PAGES = [
    embed(page=1, n=6, where=Grid(2, 3), text="grid only"),
    embed(page=2, n=7, where=Grid(2, 3), text=""),
    embed(page=3, n=2, where=Grid(2, 2, np.array([[1, -1], [0, 1]], np.int32)), size_pt=(842.25, 595.125)),
    embed(
        page=4,
        n=3,
        where=np.array([[0, 0.1, 0.2, 0.3], [np.nan] * 4, [0.4, 0.5, 0.6, 0.7]], np.float32),
        text="Füße  und\nÄpfel",
        word_boxes=np.arange(12, dtype=np.float32).reshape(3, 4) / 12,
    ),
    embed(
        page=5,
        n=3,
        where=np.array([[0, 4], [np.nan, np.nan], [5, 9]], np.float32),
        size_pt=None,
        text="🙂 text",
        metadata={"section": "2.1"},
    ),
    embed(page=6, n=1, where=Grid(1, 3, np.array([[0, 0, -1]], np.int32)), text="last"),
    embed(page=7, n=2, where=np.full((2, 4), 0.5, np.float32), text="x", word_boxes=np.ones((1, 4), np.float32)),
    embed(page=8, n=1, where=np.array([[2, 3]], np.float32), size_pt=None),
    embed(
        page=9,
        n=2,
        where=np.array([[0, 0, 0.1, 0.1], [0.2, 0, 0.3, 0.1], [np.nan] * 4, [0.4, 0, 0.5, 0.1]], np.float32),
        rows=np.array([1, 0, 1, 1], np.int32),
    ),
    embed(
        page=10,
        n=2,
        where=np.array([[0, 4], [5, 9], [9, 12]], np.float32),
        rows=np.array([0, 0, 1], np.int32),
        size_pt=None,
        text="pool tog eth",
    ),
    embed(page=11, n=3, where=np.array([[0, 1], [1, 2], [2, 3]], np.float32), size_pt=None),
]
