"""An explanation accounts for the whole score, and points at the right place."""

import numpy as np
import pytest
from PIL import Image

from visret import heatmap
from visret.errors import ShapeError
from visret.maxsim import reference
from visret.types import Grid, PageEmbedding, PageRef, QueryEmbedding


def unit(rng, count, dim=16):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ask(vectors):
    return QueryEmbedding("q", vectors, tuple(f"t{i}" for i in range(len(vectors))), np.ones(len(vectors), bool))


def page(vectors, where, **more):
    return PageEmbedding(PageRef("a.pdf", 1), (600.0, 800.0), vectors, where, **more)


def test_the_parts_sum_to_the_score_on_every_kind_of_page():
    rng = np.random.default_rng(0)
    vectors, query = unit(rng, 40), unit(rng, 9)
    boxes = np.tile(np.array([0.1, 0.1, 0.2, 0.2], np.float32), (40, 1))
    boxes[3:] = np.nan
    score = reference.page_scores(query, vectors, np.array([0, 40]))[0]
    cells = np.full((5, 9), -1, np.int32)
    cells[2, 4] = 7
    for where in (Grid(6, 6), Grid(5, 9, cells), boxes, boxes[:, :2]):
        why = heatmap.explain(ask(query), page(vectors, where))
        assert why.score == pytest.approx(score, abs=1e-5)
        assert why.by_place.sum() + why.unplaced == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("rows", "cols"), [(7, 3), (3, 7)])
def test_the_marked_cell_is_where_the_vector_lies(rows, cols):
    """Portrait and landscape, by content: one vector answers, its cell is painted, nothing else is."""
    rng = np.random.default_rng(1)
    vectors = -np.abs(unit(rng, rows * cols))
    row, col = rows - 1, 1
    vectors[row * cols + col] = np.eye(16, dtype=np.float32)[0]
    query = np.eye(16, dtype=np.float32)[:1]
    sheet = Image.new("RGB", (cols * 20, rows * 20), "white")
    why = heatmap.explain(ask(query), page(vectors, Grid(rows, cols)), render=lambda _: sheet)
    assert np.unravel_index(np.nanargmax(why.maps[0]), (rows, cols)) == (row, col)
    (box,) = why.boxes
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((col / cols, row / rows, (col + 1) / cols, 1.0))
    assert box.score == pytest.approx(1)
    changed = (np.asarray(why.image()) != 255).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert (ys.min() // 20, xs.min() // 20) == (row, col)
    assert ys.max() <= (row + 1) * 20
    assert xs.max() <= (col + 1) * 20


def test_cells_that_share_a_vector_or_have_none():
    vectors = np.eye(4, dtype=np.float32)
    cells = np.array([[-1, 0], [0, 2]], np.int32)
    why = heatmap.explain(ask(vectors[[0, 2, 3]]), page(vectors, Grid(2, 2, cells)))
    assert np.isnan(why.maps[:, 0, 0]).all()
    assert why.maps[0].ravel()[1:].tolist() == [1, 1, 0]
    assert why.by_place.ravel() == pytest.approx([0, 1 / 6, 1 / 6, 1 / 3])  # the two of vector 0 share what it found
    assert why.unplaced == pytest.approx(1 / 3)  # vector 3 stands for no cell


WORDS = "the cat sat\non the mat\n\nnot here"
BOXES = np.array(
    [
        *([0.1, 0.1, 0.2, 0.12], [0.21, 0.1, 0.3, 0.12], [0.31, 0.1, 0.4, 0.12]),
        *([0.1, 0.13, 0.2, 0.15], [0.21, 0.13, 0.3, 0.15], [0.31, 0.13, 0.4, 0.15]),
        *([0.1, 0.5, 0.2, 0.52], [0.8, 0.5, 0.9, 0.52]),
    ],
    np.float32,
)


def test_words_of_one_line_are_one_box_and_the_best_line_is_quoted():
    vectors = np.eye(16, dtype=np.float32)[:8]
    query = vectors[[4, 5, 7]]
    why = heatmap.explain(ask(query), page(vectors, BOXES, text=WORDS, word_boxes=BOXES))
    assert [(round(b.x0, 2), round(b.y0, 2), round(b.x1, 2)) for b in why.boxes] == [(0.21, 0.13, 0.4), (0.8, 0.5, 0.9)]
    assert [b.score for b in why.boxes] == pytest.approx([2 / 3, 1 / 3])
    assert why.line == "on the mat"
    assert why.maps.shape == (3, 8)


def test_word_pieces_are_one_word():
    vectors = np.eye(16, dtype=np.float32)[:3]
    why = heatmap.explain(ask(vectors[1:3]), page(vectors, BOXES[[0, 1, 1]], text="the cat", word_boxes=BOXES[:2]))
    assert why.maps.shape == (2, 2)
    assert why.by_place == pytest.approx([0, 1])


def test_words_that_share_a_vector_share_what_it_found():
    """Of "the cat sat" the first and the last word, and a marker, have vector 1; another marker has vector 2."""
    vectors = np.eye(16, dtype=np.float32)[:3]
    where = np.concatenate([BOXES[:3], np.full((2, 4), np.nan, np.float32)])
    rows = np.array([1, 0, 1, 1, 2], np.int32)
    pooled = page(vectors, where, rows=rows, text=WORDS, word_boxes=BOXES)
    why = heatmap.explain(ask(vectors[[1, 1, 2, 0]]), pooled)
    assert why.maps.tolist() == [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert why.by_place == pytest.approx([1 / 4, 1 / 4, 1 / 4])
    assert why.unplaced == pytest.approx(1 / 4)
    assert why.line == "the cat sat"
    spans = np.array([[0, 3], [4, 7], [12, 14], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
    why = heatmap.explain(ask(vectors[[1]]), PageEmbedding(PageRef("a.txt", 1), None, vectors, spans, WORDS, rows=rows))
    assert [(span.start, span.end, span.score) for span in why.spans] == [(0, 3, 0.5), (12, 14, 0.5)]


@pytest.mark.parametrize(
    ("where", "rows", "message"),
    [
        (BOXES[:2], np.array([0, 3], np.int32), "rows name vectors 0 to 3 of 3"),
        (BOXES[:2], np.array([-1, 0], np.int32), "rows name vectors -1 to 0"),
        (BOXES[:2], np.array([0, 1, 2], np.int32), r"where must be a Grid, \(3, 4\)"),
        (BOXES[:2], np.array([0, 1]), "int32"),
        (Grid(1, 2), np.array([0, 1], np.int32), "cells"),
        (BOXES[:2], None, r"\(3, 4\)"),
    ],
)
def test_places_need_a_vector_each(where, rows, message):
    with pytest.raises(ShapeError, match=message):
        page(np.eye(3, dtype=np.float32), where, rows=rows)


def test_a_patch_quotes_the_line_it_lies_on():
    vectors = np.eye(16, dtype=np.float32)[:8]
    why = heatmap.explain(ask(vectors[:1]), page(vectors, Grid(8, 1), text=WORDS, word_boxes=BOXES))
    assert why.line in {"the cat sat", ""}
    why = heatmap.explain(ask(vectors[4:5]), page(vectors, Grid(8, 1), text=WORDS, word_boxes=BOXES))
    assert why.line == "not here"


def test_plain_text_has_spans_and_no_picture():
    vectors = np.eye(16, dtype=np.float32)[:3]
    spans = np.array([[0, 3], [4, 7], [12, 14]], np.float32)
    embedding = PageEmbedding(PageRef("a.txt", 1), None, vectors, spans, text=WORDS)
    why = heatmap.explain(ask(vectors[[2]]), embedding)
    assert [(span.start, span.end) for span in why.spans] == [(12, 14)]
    assert WORDS[12:14] == "on"
    assert why.line == "on the mat"
    assert why.boxes == []
    with pytest.raises(ShapeError, match="plain text"):
        why.image()


def test_a_negative_match_explains_nothing():
    vectors = np.eye(4, dtype=np.float32)[:2]
    why = heatmap.explain(ask(-vectors), page(-vectors[:1] * 0 - np.ones((1, 4), np.float32) / -2, Grid(1, 1)))
    assert why.score < 0
    assert why.boxes == []
    assert why.unplaced == 0


def test_at_most_twenty_boxes_best_first():
    vectors = np.eye(32, dtype=np.float32)
    boxes = np.array([[0.1, i / 40, 0.2, i / 40 + 0.01] for i in range(32)], np.float32)
    weights = np.linspace(0.5, 1, 32, dtype=np.float32)[:, None]
    why = heatmap.explain(ask(vectors * weights), page(vectors, boxes))
    assert len(why.boxes) == 20
    assert [b.score for b in why.boxes] == sorted((b.score for b in why.boxes), reverse=True)
    assert why.boxes[0].y0 == pytest.approx(31 / 40)
