"""Fewer and shorter vectors, and every place still found by its content."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.vectors import units

from visret import Grid, Page, PageEmbedding, PageRef, reduction
from visret.codec import CODECS, decode, encode, fit
from visret.encoders.toy import vectors_of as toy_vectors
from visret.errors import ShapeError
from visret.explain.attribution import explain
from visret.reduction import Storage, fit_projection, pool, project, prune


def page(vectors: np.ndarray, where: Grid | np.ndarray) -> PageEmbedding:
    return PageEmbedding(PageRef("a.pdf", 1), (600.0, 800.0), vectors, where)


def boxes(n: int) -> np.ndarray:
    """A place for each vector, told from the others by its x."""
    return np.array([[i / n, 0.1, (i + 1) / n, 0.2] for i in range(n)], np.float32)


vectors = st.builds(
    lambda seed, n, d, kinds: (
        units(np.random.default_rng(seed), kinds, d)[np.arange(n) % kinds]
        + np.float32(1e-3) * units(np.random.default_rng(seed + 1), n, d)
    ),
    st.integers(0, 2**31),
    st.integers(1, 40),
    st.integers(2, 8),
    st.integers(1, 40),
).map(lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True))


@settings(deadline=None)
@given(vectors, st.integers(1, 5))
def test_a_pooled_vector_is_the_mean_of_its_places(rows, factor):
    n = len(rows)
    pooled = pool(page(rows, Grid(n, 1)), factor)
    cluster = pooled.vector_of_place()
    assert len(pooled.vectors) <= -(-n // factor)
    assert list(dict.fromkeys(cluster.tolist())) == list(range(len(pooled.vectors))), "in the order of the first"
    for number, vector in enumerate(pooled.vectors):
        mean = rows[cluster == number].astype(np.float64).mean(axis=0)
        if np.linalg.norm(mean) < 0.05:
            continue
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    as_text = pool(page(rows, boxes(n)), factor)
    np.testing.assert_array_equal(as_text.vectors, pooled.vectors)
    np.testing.assert_array_equal(as_text.vector_of_place(), cluster)
    np.testing.assert_array_equal(as_text.where, boxes(n))


def test_pooling_merges_what_is_alike():
    directions = units(np.random.default_rng(0), 10, 16)
    kinds = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 4))
    rows = directions[kinds] + np.float32(0.03) * units(np.random.default_rng(2), 40, 16)
    pooled = pool(page(rows / np.linalg.norm(rows, axis=1, keepdims=True), Grid(8, 5)), 4)
    cluster = pooled.vector_of_place()
    assert len(pooled.vectors) == 10
    assert ((cluster[:, None] == cluster) == (kinds[:, None] == kinds)).all()


@settings(deadline=None)
@given(vectors, st.floats(0, 1, exclude_max=True))
def test_pruning_leaves_vectors_and_places_together(rows, share):
    n = len(rows)
    pruned = prune(page(rows, boxes(n)), share)
    assert len(pruned.vectors) == n - min(int(n * share), n - 1)
    assert pruned.rows is None
    places = np.rint(pruned.where[:, 0] * n).astype(int)
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(pruned.vectors, rows[places])
    cells = prune(page(rows, Grid(1, n)), share).vector_of_place()
    np.testing.assert_array_equal(np.flatnonzero(cells >= 0), places)
    np.testing.assert_array_equal(cells[places], np.arange(len(places)))


def test_pruning_drops_what_the_page_says_twice():
    directions = units(np.random.default_rng(3), 6, 16)
    kinds = np.array([0, 1, 1, 2, 0, 3, 3, 4, 5, 1])
    pruned = prune(page(directions[kinds], boxes(10)), 0.4)
    np.testing.assert_array_equal(pruned.vectors, directions)


def test_a_page_of_very_many_vectors_is_reduced_part_by_part(monkeypatch):
    """The likeness of all of 41,167 to all ended the process."""
    vectors = units(np.random.default_rng(5), 100, 8)
    vectors[60] = vectors[3]  # in another part
    whole = page(vectors, boxes(100))
    pruned, pooled = prune(whole, 0.3), pool(whole, 5)
    monkeypatch.setattr(reduction, "TOGETHER", 32)
    assert np.array_equal(prune(whole, 0.3).vectors, pruned.vectors)
    made = pool(whole, 5)
    assert 10 < len(made.vectors) <= len(pooled.vectors)
    assert len(made.vector_of_place()) == 100
    for row, vector in enumerate(made.vectors):
        mine = vectors[made.vector_of_place() == row]
        assert vector == pytest.approx(mine.sum(axis=0) / np.linalg.norm(mine.sum(axis=0)), abs=1e-5)
    assert len(pool(whole, 100).vectors) == 1


def test_a_reduced_page_can_be_reduced_again():
    rows = units(np.random.default_rng(4), 60, 8)
    once = prune(pool(page(rows, boxes(60)), 2), 0.5)
    assert len(once.vectors) == 15
    assert once.rows is not None
    assert set(once.rows) == set(range(15)), "each vector has a place"
    again = pool(once, 3)
    assert len(again.vectors) == 5
    for box, row in zip(again.where, again.rows, strict=True):
        (before,) = once.rows[(once.where == box).all(axis=1)]
        assert (again.vectors @ once.vectors[before]).argmax() == row or again.vectors[row] @ once.vectors[before] > 0.3


def test_what_lies_nowhere_stays_nowhere():
    """A prompt's vector after the cells, and a marker among words."""
    rows = np.eye(5, dtype=np.float32)
    for reduced in (prune(page(rows, Grid(2, 2)), 0.4), pool(page(rows[[0, 0, 1, 1, 2]], Grid(2, 2)), 2)):
        assert reduced.where.cells.shape == (2, 2)
    assert len(reduced.vectors) == 3
    assert reduced.where.cells.tolist() == [[0, 0], [1, 1]]
    where = boxes(5)
    where[2] = np.nan
    pooled = pool(page(rows[[0, 1, 2, 0, 1]], where), 2)
    assert pooled.rows.tolist() == [0, 1, 2, 0, 1]
    assert np.isnan(pooled.where[2]).all()


def test_opposites_pooled():
    rows = np.array([[0, 1], [0, -1]], np.float32)
    np.testing.assert_array_equal(pool(page(rows, Grid(2, 1)), 2).vectors, rows[:1])


def test_nothing_to_do():
    one = page(np.eye(3, dtype=np.float32)[:1], boxes(1))
    assert Storage(pool=4, prune=0.9).reduce(one) is one
    many = page(np.eye(3, dtype=np.float32), boxes(3))
    assert Storage().reduce(many) is many


def test_a_projection_keeps_dot_products():
    """Vectors of a plane of 5 in 12 dimensions lose nothing in 5; the axes are orthonormal."""
    rng = np.random.default_rng(5)
    inside = np.linalg.qr(rng.standard_normal((12, 5)))[0].astype(np.float32)
    sample = units(rng, 300, 5) @ inside.T
    projection = fit_projection(sample, 5)
    assert (projection.shape, projection.dtype) == ((12, 5), np.float32)
    np.testing.assert_allclose(projection.T @ projection, np.eye(5), atol=1e-5)
    made = project(sample, projection)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made @ made.T, sample @ sample.T, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(project(units(rng, 9, 12), projection), axis=1), 1, atol=1e-5)


def test_a_projection_keeps_what_is_common():
    """Not centred: a direction that all vectors have counts."""
    rng = np.random.default_rng(6)
    sample = np.concatenate([np.full((500, 1), 3), rng.standard_normal((500, 7)) * 0.1], axis=1).astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    assert abs(fit_projection(sample, 1)[0, 0]) > 0.999


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codec": "zip"}, "codec must be one of float32, .* got 'zip'"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"pool": 0}, "pool must be at least 1"),
        ({"prune": 1.0}, "prune must be at least 0 and below 1"),
        ({"prune": -0.1}, "prune must be"),
        ({"prune": float("nan")}, "prune must be"),
    ],
)
def test_storage_that_cannot_be(wrong, message):
    with pytest.raises(ShapeError, match=message):
        Storage(**wrong)


def test_projections_that_cannot_be():
    with pytest.raises(ShapeError, match="from 1 to the 3 dimensions of the vectors, got 4"):
        fit_projection(np.eye(3, dtype=np.float32), 4)
    with pytest.raises(ShapeError, match=r"must be \(n, 4\), got \(3, 3\)"):
        project(np.eye(3, dtype=np.float32), np.eye(4, dtype=np.float32))


PAPER = [(255, 255, 255), (250, 252, 255), (230, 240, 240), (128, 128, 128), (0, 0, 0), (60, 90, 200), (40, 180, 160)]


def painted(toy, rows: int, cols: int, row: int, col: int) -> PageEmbedding:
    """A page of white, grey, black, blue and green cells, and one red one."""
    rng = np.random.default_rng(rows * 100 + row)
    cells = np.array(PAPER, np.uint8)[rng.integers(len(PAPER), size=(rows, cols))]
    cells[row, col] = 255, 0, 0
    image = Image.fromarray(cells).resize((cols * 5, rows * 5), Image.Resampling.NEAREST)
    (made,) = toy.encode_pages([Page.from_image(image, doc="a.png")])
    assert (made.where.rows, made.where.cols) == (rows, cols)
    return made


@pytest.mark.parametrize("kind", ["grid", "boxes", "spans"])
@pytest.mark.parametrize(
    "storage",
    [
        Storage(),
        Storage(dim=3),
        Storage(pool=2),
        Storage(pool=4),
        Storage(prune=0.5),
        Storage(dim=3, pool=2, prune=0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", CODECS)
def test_a_painted_cell_is_found_where_it_was(toy, name, storage, kind):
    (asked,) = toy.encode_queries(["red"])
    for rows, cols, row, col in ((16, 12, 13, 2), (12, 16, 1, 14)):
        before = painted(toy, rows, cols, row, col)
        number = row * cols + col
        cell_boxes = np.array([before.where.cell_box(r, c) for r in range(rows) for c in range(cols)], np.float32)
        spans = np.stack([np.arange(rows * cols), np.arange(rows * cols) + 1], axis=1).astype(np.float32)
        where = {"grid": before.where, "boxes": cell_boxes, "spans": spans}[kind]
        reduced = storage.reduce(replace(before, where=where))
        made, query = reduced.vectors, asked
        if storage.dim:
            others = np.random.default_rng(7).random((500, 3))
            projection = fit_projection(toy_vectors(others), storage.dim)
            made, query = project(made, projection), replace(asked, vectors=project(asked.vectors, projection))
        fitted = fit(name, made)
        stored = replace(reduced, vectors=decode(encode(made, fitted), fitted))
        why = explain(query, stored)
        if kind == "spans":
            assert [(span.start, span.end) for span in why.spans] == [(number, number + 1)]
        else:
            (box,) = why.boxes
            assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx(before.where.cell_box(row, col))
        if kind == "grid":
            assert np.nanargmax(why.maps[0]) == number
