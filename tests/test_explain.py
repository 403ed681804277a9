"""An explanation accounts for the whole score, and points at the right place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.vectors import units

from visret.errors import InvalidArgument, ShapeError
from visret.explain import drawing
from visret.explain.attribution import best_line, explain, shares
from visret.maxsim import reference
from visret.types import Grid, PageEmbedding, PageRef, QueryEmbedding


def ask(vectors):
    return QueryEmbedding("q", vectors, tuple(f"t{i}" for i in range(len(vectors))), np.ones(len(vectors), bool))


def page(vectors, where, **more):
    return PageEmbedding(PageRef("a.pdf", 1), (600.0, 800.0), vectors, where, **more)


def test_the_parts_sum_to_the_score_on_every_kind_of_page():
    rng = np.random.default_rng(0)
    vectors, query = units(rng, 40), units(rng, 9)
    boxes = np.tile(np.array([0.1, 0.1, 0.2, 0.2], np.float32), (40, 1))
    boxes[3:] = np.nan
    score = reference.page_scores(query, vectors, np.array([0, 40]))[0]
    cells = np.full((5, 9), -1, np.int32)
    cells[2, 4] = 7
    for where in (Grid(6, 6), Grid(5, 9, cells), boxes, boxes[:, :2]):
        why = explain(ask(query), page(vectors, where))
        assert why.score == pytest.approx(score, abs=1e-5)
        assert why.by_place.sum() + why.unplaced == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("rows", "cols"), [(7, 3), (3, 7)])
def test_the_marked_cell_is_where_the_vector_lies(rows, cols):
    """Portrait and landscape, by content: one vector answers, its cell is painted, nothing else is."""
    rng = np.random.default_rng(1)
    vectors = -np.abs(units(rng, rows * cols))
    row, col = rows - 1, 1
    vectors[row * cols + col] = np.eye(16, dtype=np.float32)[0]
    query = np.eye(16, dtype=np.float32)[:1]
    sheet = Image.new("RGB", (cols * 20, rows * 20), "white")
    why = explain(ask(query), page(vectors, Grid(rows, cols)), render=lambda _: sheet)
    assert np.unravel_index(np.nanargmax(why.maps[0]), (rows, cols)) == (row, col)
    (box,) = why.boxes
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((col / cols, row / rows, (col + 1) / cols, 1.0))
    assert box.score == pytest.approx(1)
    changed = (np.asarray(why.image(mode="attribution")) != 255).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert (ys.min() // 20, xs.min() // 20) == (row, col)
    assert ys.max() <= (row + 1) * 20
    assert xs.max() <= (col + 1) * 20


def test_cells_that_share_a_vector_or_have_none():
    vectors = np.eye(4, dtype=np.float32)
    cells = np.array([[-1, 0], [0, 2]], np.int32)
    why = explain(ask(vectors[[0, 2, 3]]), page(vectors, Grid(2, 2, cells)))
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
    why = explain(ask(query), page(vectors, BOXES, text=WORDS, word_boxes=BOXES))
    assert [(round(b.x0, 2), round(b.y0, 2), round(b.x1, 2)) for b in why.boxes] == [(0.21, 0.13, 0.4), (0.8, 0.5, 0.9)]
    assert [b.score for b in why.boxes] == pytest.approx([2 / 3, 1 / 3])
    assert why.line == "on the mat"
    assert why.maps.shape == (3, 8)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 99), st.booleans())
def test_a_line_is_quoted_alike_whether_vectors_are_numbered_as_places_or_not(best, seed, spans):
    """Also of tokens that share a vector, of negative matches, and of markers that lie nowhere."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum([0, *(len(word) + 1 for word in WORDS.split()[:-1])])
    where = np.stack([starts, starts + 2], axis=1).astype(np.float32) if spans else BOXES.copy()
    where[rng.integers(8)] = np.nan
    made = page(np.eye(16, dtype=np.float32)[:8], where, text=WORDS, word_boxes=BOXES)
    numbered = replace(made, rows=np.arange(8, dtype=np.int32))
    worth = shares(rng.uniform(-0.3, 1, len(best)).astype(np.float32))
    assert best_line(made, np.array(best), worth) == best_line(numbered, np.array(best), worth)


def test_word_pieces_are_one_word():
    vectors = np.eye(16, dtype=np.float32)[:3]
    why = explain(ask(vectors[1:3]), page(vectors, BOXES[[0, 1, 1]], text="the cat", word_boxes=BOXES[:2]))
    assert why.maps.shape == (2, 2)
    assert why.by_place == pytest.approx([0, 1])


def test_words_that_share_a_vector_share_what_it_found():
    """Of "the cat sat" the first and the last word, and a marker, have vector 1; another marker has vector 2."""
    vectors = np.eye(16, dtype=np.float32)[:3]
    where = np.concatenate([BOXES[:3], np.full((2, 4), np.nan, np.float32)])
    rows = np.array([1, 0, 1, 1, 2], np.int32)
    pooled = page(vectors, where, rows=rows, text=WORDS, word_boxes=BOXES)
    why = explain(ask(vectors[[1, 1, 2, 0]]), pooled)
    assert why.maps.tolist() == [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert why.by_place == pytest.approx([1 / 4, 1 / 4, 1 / 4])
    assert why.unplaced == pytest.approx(1 / 4)
    assert why.line == "the cat sat"
    spans = np.array([[0, 3], [4, 7], [12, 14], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
    why = explain(ask(vectors[[1]]), PageEmbedding(PageRef("a.txt", 1), None, vectors, spans, WORDS, rows=rows))
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
    why = explain(ask(vectors[:1]), page(vectors, Grid(8, 1), text=WORDS, word_boxes=BOXES))
    assert why.line in {"the cat sat", ""}
    why = explain(ask(vectors[4:5]), page(vectors, Grid(8, 1), text=WORDS, word_boxes=BOXES))
    assert why.line == "not here"


def test_plain_text_has_spans_and_no_picture():
    vectors = np.eye(16, dtype=np.float32)[:3]
    spans = np.array([[0, 3], [4, 7], [12, 14]], np.float32)
    embedding = PageEmbedding(PageRef("a.txt", 1), None, vectors, spans, text=WORDS)
    why = explain(ask(vectors[[2]]), embedding)
    assert [(span.start, span.end) for span in why.spans] == [(12, 14)]
    assert WORDS[12:14] == "on"
    assert why.line == "on the mat"
    assert why.boxes == []
    with pytest.raises(ShapeError, match="plain text"):
        why.image()


def test_a_negative_match_explains_nothing():
    vectors = np.eye(4, dtype=np.float32)[:2]
    why = explain(ask(-vectors), page(-vectors[:1] * 0 - np.ones((1, 4), np.float32) / -2, Grid(1, 1)))
    assert why.score < 0
    assert why.boxes == []
    assert why.unplaced == 0


def test_at_most_twenty_boxes_best_first():
    vectors = np.eye(32, dtype=np.float32)
    boxes = np.array([[0.1, i / 40, 0.2, i / 40 + 0.01] for i in range(32)], np.float32)
    weights = np.linspace(0.5, 1, 32, dtype=np.float32)[:, None]
    why = explain(ask(vectors * weights), page(vectors, boxes))
    assert len(why.boxes) == 20
    assert [b.score for b in why.boxes] == sorted((b.score for b in why.boxes), reverse=True)
    assert why.boxes[0].y0 == pytest.approx(31 / 40)


# ---- pictures of tokens, and the table

GRIDS = [(32, 32), (27, 38), (38, 27), (24, 32), (32, 24), (8, 8), (1, 5)]  # square, Qwen's, tiles of 8 x 8


def shown(why, tokens=None, **how):
    return np.asarray(why.image(tokens, **{"mode": "attribution"} | how)).astype(int)


@pytest.mark.parametrize("size", [(827, 1169), (1169, 827), (333, 333)])
@pytest.mark.parametrize(("rows", "cols"), GRIDS)
def test_the_peak_of_a_token_stays_in_its_cell(rows, cols, size):
    """The darkest pixel of each token's picture is where its map is largest: in a corner, on an edge, beside others."""
    rng = np.random.default_rng(rows * cols)
    vectors = units(rng, rows * cols, 64)
    peaks = [0, cols - 1, (rows - 1) * cols, rows * cols // 2]
    sheet = Image.new("RGB", size, "white")
    why = explain(ask(vectors[peaks]), page(vectors, Grid(rows, cols)), render=lambda _: sheet)
    for token, peak in enumerate(peaks):
        light = shown(why, [token], mode="similarity", opacity=1).sum(axis=2)
        ys, xs = np.nonzero(light == light.min())
        row, col = divmod(peak, cols)
        assert np.unravel_index(np.nanargmax(why.maps[token]), (rows, cols)) == (row, col)
        assert row <= ys.mean() / size[1] * rows <= row + 1
        assert col <= xs.mean() / size[0] * cols <= col + 1
        assert light.min() < 480  # nearly the end of the scale


def test_one_scale_for_all_tokens():
    """A token that matches poorly is faint, alone and beside others."""
    vectors = np.eye(4, dtype=np.float32)
    weak = np.array([0, 0.3, 0, 0.2], np.float32)
    sheet = Image.new("RGB", (80, 80), "white")
    why = explain(ask(np.stack([vectors[0], weak])), page(vectors, Grid(2, 2)), render=lambda _: sheet)
    for mode in ("attribution", "similarity"):
        strong, faint = (255 * 3 - shown(why, [token], mode=mode).sum(axis=2) for token in (0, 1))
        assert strong[20, 20] > 1.4 * faint[20, 60] > 0
        both = 255 * 3 - shown(why, [0, 1], mode=mode).sum(axis=2)
        assert (both[20, 20], both[20, 60]) == pytest.approx((strong[20, 20], faint[20, 60]), abs=6)
        assert not (255 - shown(why, [], mode=mode)).any()
        assert not (255 - shown(why, mode=mode, opacity=0)).any()
    assert why.scale == (pytest.approx(0), 1)


@pytest.mark.parametrize("where", ["words", "cells", "pooled"])
def test_a_token_that_is_left_out_changes_its_place_only(where):
    vectors = np.eye(16, dtype=np.float32)[:8]
    cells = np.array([[0, 1], [2, 3], [4, 4], [-1, 5]], np.int32)
    places = {"words": BOXES, "cells": Grid(4, 2), "pooled": Grid(4, 2, cells)}[where]
    sheet = Image.effect_noise((700, 900), 80).convert("RGB")
    why = explain(ask(vectors[[1, 4]]), page(vectors, places), render=lambda _: sheet)
    changed = (shown(why) != shown(why, [0])).any(axis=2)
    number = 4
    boxes = BOXES[[4]] if where == "words" else [Grid(4, 2).cell_box(2, 0), Grid(4, 2).cell_box(2, 1)]
    boxes = boxes[: 2 if where == "pooled" else 1]
    inside = np.zeros_like(changed)
    for x0, y0, x1, y1 in boxes:
        inside[round(y0 * 900) - 1 : round(y1 * 900) + 1, max(0, round(x0 * 700) - 1) : round(x1 * 700) + 1] = True
    assert changed[inside].mean() > 0.6
    assert not changed[~inside].any()
    assert number in why.best


def test_dark_places_are_lit():
    """Ink on black would not be seen."""
    vectors = np.eye(4, dtype=np.float32)
    sheet = Image.new("RGB", (200, 200), (10, 10, 30))
    why = explain(ask(vectors[[3]]), page(vectors, Grid(2, 2)), render=lambda _: sheet)
    light = shown(why, mode="similarity").sum(axis=2)
    assert light[150, 150] > 250 > 60 > light[50, 50]


def test_the_table_marks_each_maximum_and_sums_to_the_score():
    vectors = np.eye(16, dtype=np.float32)[:8]
    where = BOXES.copy()
    where[7] = np.nan
    query = QueryEmbedding(
        "q", vectors[[7, 2, 1, 2]] * np.float32([[0.5], [1], [0.9], [0.8]]), ("[Q]", "sat", "<cat>", "##s"),
        np.array([False, True, True, True]),
    )  # fmt: skip
    table = explain(query, page(vectors, where, text=WORDS, word_boxes=BOXES)).table
    assert table.places == ("nowhere", "cat", "sat")
    assert table.values == pytest.approx(np.array([[0.5, 0, 0], [0, 0, 1], [0, 0.9, 0], [0, 0, 0.8]]))
    assert table.values[range(4), table.best].sum() == pytest.approx(3.2)
    assert str(table).splitlines() == [
        "       nowhere    cat    sat",
        "[[Q]]    0.50*  0.00   0.00",
        "sat      0.00   0.00   1.00*",
        "<cat>    0.00   0.90*  0.00",
        "##s      0.00   0.00   0.80*",
    ]
    shown_as = table._repr_html_()
    assert shown_as.count("*</td>") == 4
    assert "&lt;cat&gt;" in shown_as
    assert "<cat>" not in shown_as


def test_columns_of_the_table_are_places():
    """Cells by row and column; of a pooled vector the first; pieces of a word together; characters of plain text."""
    vectors = np.eye(16, dtype=np.float32)[:4]
    cells = np.array([[-1, 0, 1], [2, 1, -1]], np.int32)
    table = explain(ask(vectors[[1, 2]]), page(vectors, Grid(2, 3, cells))).table
    assert table.places == ("0,2", "1,0")
    assert table.best.tolist() == [0, 1]
    table = explain(ask(vectors[:3]), page(vectors[:3], BOXES[[0, 1, 1]], text="the cat")).table
    assert table.places == ("15%,11%", "25%,11%")  # nobody kept the words
    assert table.best.tolist() == [0, 1, 1]
    spans = np.array([[0, 3], [4, 7], [8, 11]], np.float32)
    plain = PageEmbedding(PageRef("a.txt", 1), None, vectors[:3], spans, text=WORDS)
    assert explain(ask(vectors[[2, 0]]), plain).table.places == ("the", "sat")


def test_a_page_whose_vectors_lie_nowhere_has_a_table_and_a_bare_picture():
    vectors = np.eye(4, dtype=np.float32)
    sheet = Image.new("RGB", (60, 80), "white")
    for where in (np.full((4, 4), np.nan, np.float32), Grid(1, 1, np.array([[-1]], np.int32))):
        why = explain(ask(vectors[:2]), page(vectors, where), render=lambda _: sheet)
        assert why.table.places == ("nowhere",)
        assert why.table.values.tolist() == [[1], [1]]
        for mode in ("attribution", "similarity"):
            assert (shown(why, mode=mode) == 255).all()


def test_boxes_in_points():
    vectors = np.eye(16, dtype=np.float32)[:8]
    why = explain(ask(vectors[[4, 5]]), page(vectors, BOXES, text=WORDS, word_boxes=BOXES))
    (box,) = why.boxes_pt
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((0.21 * 600, 0.13 * 800, 0.4 * 600, 0.15 * 800))
    assert box.score == why.boxes[0].score


@pytest.mark.parametrize("scale", [drawing.SCALE, ("#ffffff", "#3060c0")])
def test_the_legend_stands_beneath_the_page_in_a_scale_of_any_number_of_colours(scale, monkeypatch):
    monkeypatch.setattr(drawing, "SCALE", scale)
    vectors = np.eye(4, dtype=np.float32)
    sheet = Image.new("RGB", (300, 400), "white")
    why = explain(ask(vectors[:2]), page(vectors, Grid(2, 2)), render=lambda _: sheet)
    for mode in ("attribution", "similarity"):
        bare, with_legend = (shown(why, mode=mode, legend=legend) for legend in (False, True))
        assert (with_legend[:399] == bare[:399]).all()
        end = [int(drawing.SCALE[-1][i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(with_legend[400:] - end).max(axis=2).min() < 10


@pytest.mark.parametrize("wrong", [{"tokens": [2]}, {"tokens": [-1]}, {"mode": "heat"}])
def test_what_cannot_be_shown_is_said(wrong):
    vectors = np.eye(4, dtype=np.float32)
    why = explain(ask(vectors[:2]), page(vectors, Grid(2, 2)), render=lambda _: Image.new("RGB", (9, 9)))
    with pytest.raises(InvalidArgument, match=r"tokens of this question are 0 to 1|attribution or similarity"):
        why.image(**wrong)


# ---- the default picture

TOLD = "keep the , key"
TOLD_BOXES = np.array([[0.1 + 0.2 * k, 0.4, 0.25 + 0.2 * k, 0.43] for k in range(4)], np.float32)


def told(ground="white"):
    """A page with a word, a function word, a comma, and a word, asked for all of them."""
    vectors = np.eye(16, dtype=np.float32)[:4]
    query = QueryEmbedding(TOLD, vectors, ("keep", "the", ",", "key"), np.ones(4, bool))
    sheet = Image.new("RGB", (400, 400), ground)
    made = page(vectors, TOLD_BOXES, text=TOLD, word_boxes=TOLD_BOXES)
    return explain(query, made, render=lambda _: sheet.copy())


def test_function_words_and_punctuation_are_not_marked_but_count():
    why = told()
    plain, exact = shown(why, mode="passage"), shown(why)
    marked = [(plain[162:170, int(400 * x0) + 4 : int(400 * x1) - 4] < 200).any() for x0, _, x1, _ in TOLD_BOXES]
    assert marked == [True, False, False, True]
    assert all((exact[162:170, int(400 * x0) + 4 : int(400 * x1) - 4] < 250).any() for x0, _, x1, _ in TOLD_BOXES)
    assert why.shares == pytest.approx([0.25] * 4)


def test_the_passage_is_framed_and_its_words_named():
    why = told()
    picture = shown(why, mode="passage")
    x0, y0, x1, y1 = why.passage.box
    assert (x0, x1) == pytest.approx((0.1, 0.85))
    column = picture[:, int(400 * (x0 + x1) / 2)]
    framed = np.flatnonzero((column != 255).any(axis=1))
    assert framed.min() < 400 * y0 < 400 * y1 < framed.max() + 1
    assert why.image(legend=True).height > 400


@pytest.mark.parametrize("ground", ["white", (10, 20, 80)])
def test_text_under_a_mark_is_legible_on_every_ground(ground):
    """White text on navy, as in slides: what is marked differs from the ground, and the text from both."""
    ink = (255, 255, 255) if ground != "white" else (0, 0, 0)
    vectors = np.eye(16, dtype=np.float32)[:1]
    sheet = Image.new("RGB", (400, 400), ground)
    sheet.paste(ink, (100, 164, 130, 168))
    made = page(vectors, TOLD_BOXES[:1], text="keep", word_boxes=TOLD_BOXES[:1])
    query = QueryEmbedding("keep", vectors, ("keep",), np.ones(1, bool))
    marked = shown(explain(query, made, render=lambda _: sheet.copy()), mode="passage")

    def light(pixel):
        linear = ((pixel / 255 + 0.055) / 1.055) ** 2.4
        return float(linear @ np.array([0.2126, 0.7152, 0.0722]))

    text, mark, paper = (light(marked[y, x]) for y, x in ((166, 110), (166, 60), (300, 300)))
    assert (max(text, mark) + 0.05) / (min(text, mark) + 0.05) > 3
    assert (max(paper, mark) + 0.05) / (min(paper, mark) + 0.05) > 1.3


def test_pieces_are_named_by_their_word_in_the_table():
    vectors = np.eye(16, dtype=np.float32)[:3]
    query = QueryEmbedding("histogram", vectors, ("his", "to", "gram"), np.ones(3, bool))
    why = explain(query, page(vectors, TOLD_BOXES[:3], text="a b c", word_boxes=TOLD_BOXES[:3]))
    assert why.table.tokens == ("histogram (his)", "histogram (to)", "histogram (gram)")
    assert [word.text for word in why.question_words] == ["histogram"]


def test_function_words_of_plain_text_are_spans_that_do_not_tell():
    vectors = np.eye(16, dtype=np.float32)[:2]
    where = np.array([[0, 4], [4, 8]], np.float32)
    why = explain(ask(vectors), page(vectors, where, text="keep the"))
    assert [(span.start, span.end) for span in why.spans] == [(0, 4), (4, 8)]
    assert [(span.start, span.end) for span in why.telling_spans] == [(0, 4)]
    alone = explain(ask(vectors[1:]), page(vectors, where, text="keep the"))
    assert alone.telling_spans == alone.spans
