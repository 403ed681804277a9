"""The passage of a page: where its ends are, which of all runs of lines is chosen, and what a hit says of it."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from support.vectors import units

from visret import Page, Retriever, Word
from visret.errors import InvalidArgument
from visret.explain import layout, passages
from visret.explain.layout import laid_out
from visret.index.segment import PlacedText, Segment
from visret.types import Grid, Hit, PageEmbedding, PageRef, Passage

SIZE = (600.0, 800.0)


def typeset(*lines, at=100.0):
    """The text and the word boxes of lines: (text, white space above in points, left, height).

    Letters are 3 to 6 wide; those of a line that begins with a backslash are all 5, as of a typewriter.
    """
    boxes = []
    for text, above, left, height in lines:
        at += above
        for word in text.split():
            wide = sum(5 if text[0] == "\\" else 3 + 3 * (letter not in "filjt.,:' ") for letter in word)
            boxes.append((left, at, left + wide, at + height))
            left += wide + 5
        at += height
    return "\n".join(line[0] for line in lines), (np.array(boxes) / (SIZE * 2)).astype(np.float32)


PROSE = "a line of running text that is as wide as all the others of its paragraph are"
MANUAL = (
    ("3.1 Paper sizes", 20, 80, 14),
    (f"{PROSE} and", 10, 80, 10),
    (f"{PROSE} so", 2, 80, 10),
    ("ends here.", 2, 80, 10),
    (f"{PROSE} and goes on", 12, 80, 10),
    ("to announce a listing:", 2, 80, 10),
    ("\\setlength{\\a}{2em}", 8, 100, 8),
    ("\\setlength{\\b}{1em}", 2, 100, 8),
    ("Table 1. Sizes", 30, 120, 10),
    ("a0 84 118", 8, 200, 10),
    ("a1 59 84", 2, 200, 10),
)


def steps(*lines):
    """What stands before each line and behind the last, and which lines are shown."""
    text, boxes = typeset(*lines)
    texts, starts = laid_out(text, boxes, SIZE)[:2]
    return layout.steps_of(texts, starts, boxes * np.array(SIZE * 2), SIZE[1])


def test_passages_begin_and_end_where_a_reader_would_say_so():
    assert steps(*MANUAL)[0] == [
        *("edge", "below heading", "inside sentence", "inside sentence", "paragraph", "inside sentence"),
        *("shown after text inside", "shown goes on", "caption meets other", "caption meets its own", "shown goes on"),
        "edge",
    ]
    text, boxes = typeset(*MANUAL)
    laid = laid_out(text, boxes, SIZE)
    inside = [2, 3, 5, 6, 7, 9, 10]
    assert laid.begins[[1, 4, 8]].min() > laid.begins[inside].max()
    assert laid.ends[[4, 8]].min() > laid.ends[inside].max()
    assert laid.shown.tolist() == [False] * 6 + [True] * 5


def test_every_step_is_found_somewhere():
    found = set()
    for lines in (
        MANUAL,
        (
            ("4 Lengths", 20, 80, 14),
            ("of lines", 12, 80, 14),
            (f"{PROSE}. So", 10, 80, 10),
            (PROSE, 2, 80, 10),
            (f"{PROSE}. And", 2, 80, 10),
            (f"this. {PROSE.capitalize()}", 2, 80, 10),
            (f"{PROSE}.", 2, 80, 10),
            (PROSE.capitalize(), 2, 80, 10),
            (PROSE, 12, 80, 10),
            (f"{PROSE.capitalize()}:", 12, 80, 10),
            (PROSE.capitalize(), 12, 80, 10),
            ("• One of them ends here, with the end of this sentence.", 8, 90, 10),
            ("\\newcommand \\a b c d", 8, 100, 8),
            ("It has one line that says what it does, which is this.", 2, 100, 10),
            ("x1 x2", 8, 200, 10),
            ("\\a \\b c d e", 2, 200, 10),
            ("\\a \\b c d f", 9, 200, 10),
            (f"{PROSE.capitalize()}.", 9, 80, 10),
            ("x1 x2", 9, 200, 10),
            (PROSE, 9, 80, 10),
            ("5 End", 20, 80, 14),
            ("Fig. 2: Lines", 20, 200, 10),
            (f"{PROSE.capitalize()} and so", 20, 80, 10),
            (f"{PROSE.capitalize()} and so", 12, 80, 10),
            ("Figure 3: A long caption of a figure that goes on over more than the one", 20, 80, 10),
            ("line", 2, 80, 10),
            ("7", 400, 300, 10),
        ),
    ):
        found |= set(steps(*lines)[0])
    assert set(layout.STEPS) - found == set()


def test_a_typewriter_font_is_told_by_the_width_of_its_letters():
    prose = ("It is set in letters that are not all as wide as each other", 2, 80, 10)
    code = ("\\a is set in letters which are all as wide as each other", 2, 80, 10)
    text, boxes = typeset(prose, code, ("\\more of it", 2, 80, 10))
    texts, starts = laid_out(text, boxes, SIZE)[:2]
    assert layout._even(texts, starts, boxes * np.array(SIZE * 2), np.full(3, 10.0)).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("line", "is_caption"),
    [("Figure 2: Lines", True), ("Table 1. Sizes", True), ("Fig. 3a Lines", True), ("Figure 2 shows lines", False)],
)
def test_a_caption_is_no_sentence_about_a_figure(line, is_caption):
    assert layout._is_caption(line) == is_caption


def test_a_running_head_and_a_page_number_are_in_no_passage():
    lines = (("8 The Manual", -60, 80, 10), *((PROSE.capitalize(), 20, 80, 10) for _ in range(9)), ("17", 400, 300, 10))
    found = steps(*lines)[0]
    assert [at for at, step in enumerate(found) if step == "margin"] == [1, 10]


@pytest.mark.parametrize(("caption", "above"), [("Figure 1: A net", True), ("Table 1: Sizes", False)])
def test_a_caption_goes_with_what_it_is_about(caption, above):
    """A figure is above its caption, and a table is below, if something is on both sides."""
    labels, rows = [("x1 x2", 4, 100, 10), ("out", 4, 160, 10)], [("a b", 14, 100, 10), ("c d", 2, 100, 10)]

    def met(*lines):
        found = steps(*lines)[0]
        return [
            [at for at, step in enumerate(found) if step == f"caption meets {what}"] for what in ("its own", "other")
        ]

    line = (caption, 8, 100, 10)
    assert met(*labels, line, *rows) == ([[2], [3]] if above else [[3], [2]])
    assert met(line, *rows) == [[1], []]
    assert met(*labels, line) == [[2], []]


def test_stored_edges_are_those_that_are_found():
    text, boxes = typeset(*MANUAL)
    found = laid_out(text, boxes, SIZE)
    stored = layout.packed_edges(text, boxes, SIZE)
    assert (stored.dtype, stored.shape) == (np.int8, (len(MANUAL) + 1, 3))
    for one, other in zip(found, laid_out(text, boxes, SIZE, stored), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(layout.packed_edges("", None, SIZE)) == 0
    for other in (stored[:3], stored[:, 0]):  # of another text; of an earlier version
        np.testing.assert_array_equal(laid_out(text, boxes, SIZE, other).begins, found.begins)


def test_plain_text_has_sentences_for_lines():
    text = "Short title\n\n" + "One sentence of a long paragraph without line ends. " * 5 + "\n\nThe end."
    laid = laid_out(text, None, None)
    assert [text[a:b] for a, b in laid.spans.tolist()] == list(laid.texts)
    assert len(laid.texts) == 7
    assert laid.boxes is None
    assert laid.begins[1] > laid.begins[2]  # empty lines end more than sentences do


def slow(laid, matched, spread, figure):
    """What each run of lines has in common with the most probable ones, by the definition."""
    n = len(laid.texts)
    runs = list(combinations(range(n + 1), 2))
    odds = {}
    for a, b in runs:
        likely = passages.EVIDENCE / spread * np.mean([row[a:b].max() for row in matched])
        for end in (laid.begins[a], laid.ends[b]):
            likely += math.log(1 / (1 + math.exp(-end)))
        for inner in range(a + 1, b):
            either = math.exp(laid.begins[inner]) + math.exp(laid.ends[inner])
            likely += math.log(1 - either / (1 + either))
        if figure:
            likely += passages.SHOWN * np.mean(laid.shown[a:b])
        odds[a, b] = likely
    kept = sorted(runs, key=lambda run: -odds[run])[: passages.MAX_RUNS]

    def overlap(one, other):
        common = sum(laid.areas[i] for i in range(max(one[0], other[0]), min(one[1], other[1])))
        both = sum(laid.areas[one[0] : one[1]]) + sum(laid.areas[other[0] : other[1]]) - common
        agreed = 1 / (1 + math.exp(passages.AGREED * (0.5 - common / both)))
        return (1 - passages.TOUCH) * agreed + passages.TOUCH * (common > 0)

    weight = {run: math.exp(odds[run] - odds[kept[0]]) for run in kept}
    return {run: sum(weight[other] * overlap(run, other) for other in kept) for run in kept}


@given(st.integers(1, 12), st.integers(1, 5), st.booleans(), st.integers(0, 999))
def test_the_chosen_run_is_the_one_that_most_agree_with(n, m, figure, seed):
    rng = np.random.default_rng(seed)
    text, boxes = typeset(*(("word " * rng.integers(1, 9), rng.integers(0, 20), 80, 10) for _ in range(n)))
    laid = laid_out(text, boxes, SIZE)._replace(shown=rng.uniform(size=n) < 0.5)
    matched = rng.uniform(0, 1, (m, n))
    expected = slow(laid, matched, 0.5, figure)
    (found,) = passages.chosen(text, laid, matched, 0.5, SIZE, "the table" * figure)
    run = next(run for run in expected if (laid.spans[run[0], 0], laid.spans[run[1] - 1, 1]) == found.span)
    assert expected[run] == pytest.approx(max(expected.values()))
    assert found.score == pytest.approx(matched[:, run[0] : run[1]].max(axis=1).mean())
    assert found.text == text[slice(*found.span)]


def test_a_long_page_is_cut_where_it_answers():
    lines = [f"Sentence number {number} says this." for number in range(600)]
    laid = laid_out("\n".join(lines), None, None)
    matched = np.full((3, 600), 0.1)
    matched[:, 431] = 0.9
    (found,) = passages.chosen("\n".join(lines), laid, matched, 0.8, None)
    assert lines[431] in found.text
    assert found.text.count("\n") < 12


def test_several_passages_do_not_overlap_and_get_worse():
    text, boxes = typeset(*MANUAL)
    laid = laid_out(text, boxes, SIZE)
    matched = np.random.default_rng(0).uniform(0, 1, (4, len(MANUAL)))
    found = passages.chosen(text, laid, matched, 0.5, SIZE, count=3)
    assert len(found) == 3
    for one, other in combinations(found, 2):
        assert one.span[1] <= other.span[0] or other.span[1] <= one.span[0]


@pytest.mark.parametrize("kind", ["boxes", "pooled", "spans", "grid"])
def test_lines_have_the_best_match_of_their_words(kind):
    rng = np.random.default_rng(3)
    text, boxes = typeset(*MANUAL)
    words = len(boxes)
    line_of = np.repeat(np.arange(len(MANUAL)), [len(line[0].split()) for line in MANUAL])
    vectors, query, rows, vector_of = units(rng, words, 16), units(rng, 3, 16), None, np.arange(words)
    where = boxes
    if kind == "pooled":
        rows = vector_of = (np.arange(words) // 2).astype(np.int32)
        vectors = vectors[: words // 2 + 1]
    elif kind == "spans":
        starts = np.cumsum([0, *(len(word) + 1 for word in text.split()[:-1])])
        where = np.stack([starts, starts + 1], axis=1).astype(np.float32)
    elif kind == "grid":
        where, vectors = Grid(40, 40), units(rng, 1600, 16)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2 * 40
        vector_of = middle[:, 1].astype(int) * 40 + middle[:, 0].astype(int)
    page = PageEmbedding(PageRef("a", 1), SIZE, vectors, where, text, None if kind == "spans" else boxes, rows=rows)
    similar = vectors @ query.T
    laid = laid_out(text, page.word_boxes, SIZE)
    matched = passages._of_lines(page, similar, laid)
    for line in range(len(MANUAL)):
        expected = similar[vector_of[line_of == line]].max(axis=0)
        assert matched[:, line] == pytest.approx(expected)


TEXTS = st.text(alphabet="aB.:1- \n\u2003é中}", max_size=60)


@given(TEXTS, st.sampled_from(["grid", "boxes", "spans"]), st.integers(0, 99))
@example("1 1 1\n1", "grid", 36)  # beside a box of 1e9, all others are nothing
def test_any_page_has_a_passage_or_none(text, kind, seed):
    """Also with boxes that are damaged: nowhere, beside the page, upside down."""
    rng = np.random.default_rng(seed)
    words = len(text.split())
    boxes = rng.choice([0.1, 0.2, 0.5, 0.9, -1.0, 3.0, np.nan, 1e9], (words, 4)).astype(np.float32)
    where = {"grid": Grid(3, 3), "boxes": boxes, "spans": boxes[:, :2]}[kind]
    count = 9 if kind == "grid" else words
    page = PlacedText(text, None if kind == "spans" else boxes, where, None, count)
    found = passages.best(page, rng.uniform(-1, 1, (count, 3)).astype(np.float32), SIZE, count=2)
    assert len(found) <= 2
    for one in found:
        assert one.span is None or one.text == text[slice(*one.span)]


@pytest.mark.parametrize(
    ("y", "scrolled"), [(0.25, "view=FitH,243&zoom=auto,0,618"), (0.01, "view=FitH,0&zoom=auto,0,800")]
)
def test_a_link_scrolls_to_just_above_the_place(y, scrolled):
    """In pixels of 1/96 inch from the top, as Chromium counts, and in points from the foot, as Firefox does."""
    place = Passage("", ((0.1, y, 0.5, y + 0.1),), None, SIZE, 0.0)
    hit = Hit(PageRef("a.pdf", 3), 0.0, 1, "", None, passage=place)
    assert hit.link == f"#page=3&box=0.1,{y},0.5,{y + 0.1:.4g}&{scrolled}"


def test_boxes_of_lines_reach_down_to_the_next_one():
    boxes = [(0.1, 0.1, 0.9, 0.12), (0.1, 0.13, 0.5, 0.15), (0.1, 0.3, 0.5, 0.32), (0.6, 0.1, 0.9, 0.12)]
    assert passages.joined(np.array(boxes)) == ((0.1, 0.1, 0.9, 0.13), *boxes[1:])


# ---------------------------------------------------------------------------------------- hits


def painted(blocks, size=(320, 512)):
    """A page with blocks of cells painted: (colour, first row, first column, rows, columns) of 32 px cells."""
    image = Image.new("RGB", size, "white")
    for colour, row, col, rows, cols in blocks:
        ImageDraw.Draw(image).rectangle([col * 32, row * 32, (col + cols) * 32 - 1, (row + rows) * 32 - 1], fill=colour)
    return image


@pytest.fixture
def shapes(tmp_path):
    with Retriever.create(tmp_path / "shapes.visret", model="toy") as retriever:
        blocks = [("red", 2, 1, 3, 4), ("blue", 10, 5, 2, 3)]
        words = [Word("first", (0.1, 0.13, 0.3, 0.15)), Word("below", (0.1, 0.75, 0.3, 0.77), line=1)]
        pages = [
            Page.from_image(painted(blocks), doc="plain.png"),
            Page.from_image(painted(blocks), doc="words.png", words=words),
        ]
        retriever.add_pages(pages)
        yield retriever


@pytest.mark.parametrize(("colour", "row", "col", "rows", "cols"), [("red", 2, 1, 3, 4), ("blue", 10, 5, 2, 3)])
def test_a_painted_block_is_the_passage_of_a_patch_model(shapes, colour, row, col, rows, cols):
    hit = shapes.search(colour, among="plain.png")[0]
    box = (col / 10, row / 16, (col + cols) / 10, (row + rows) / 16)
    assert hit.passage.boxes == (pytest.approx(box),)
    assert (hit.passage.text, hit.passage.span) == ("", None)
    assert hit.passage.boxes_pt[0] == pytest.approx(tuple(np.array(box) * np.array(hit.passage.size_pt * 2)))
    assert hit.passage.score == pytest.approx(1, abs=0.02)
    crop = np.asarray(shapes.crop(hit, dpi=100))
    assert crop.shape[:2] == (rows * 32 + 10, cols * 32 + 10)
    assert (crop[8:-8, 8:-8] == Image.new("RGB", (1, 1), colour).getpixel((0, 0))).all()


def test_the_region_of_a_patch_model_holds_the_words_on_it(shapes):
    hit = shapes.search("red", among="words.png")[0]
    assert hit.passage.text == "first"
    assert hit.passage.boxes[0] == pytest.approx((0.1, 2 / 16, 0.5, 5 / 16))


def test_two_blocks_are_two_passages(shapes):
    found = shapes.passages_of("red blue", ("plain.png", 1), 5)
    assert {round(one.boxes[0][0], 1) for one in found} == {0.1, 0.5}


@pytest.fixture
def notes(tmp_path):
    with Retriever.create(tmp_path / "notes.visret", model="none") as retriever:
        text = (
            "Opening hours\n\nThe harbour is open from six.\n\nThe harbour master keeps the key\nof the northern shed."
        )
        retriever.add_pages([Page.from_text(text, doc="rules.txt"), Page.from_text("A harbour.", doc="other.txt")])
        yield retriever, text


def test_an_index_without_edges_finds_the_same(notes, monkeypatch):
    retriever, _ = notes
    with_edges = retriever.search("harbour key")
    assert all(len(segment.edges(0)) > 1 for segment in retriever._index.snapshot.segments)
    monkeypatch.setattr(Segment, "edges", lambda *_: None)
    assert retriever.search("harbour key") == with_edges


def test_words_alone_find_a_passage_of_plain_text(notes):
    retriever, text = notes
    hit = retriever.search("who keeps the key of the shed")[0]
    assert hit.passage.text == "The harbour master keeps the key\nof the northern shed."
    assert hit.passage.text == text[slice(*hit.passage.span)]
    assert (hit.passage.boxes, hit.passage.box, hit.passage.size_pt) == ((), None, None)
    assert retriever.heatmap("who keeps the key of the shed", hit).passage == hit.passage
    assert retriever.passages_of("who keeps the key of the shed", hit)[0] == hit.passage
    with pytest.raises(InvalidArgument, match="no place"):
        retriever.crop(hit)


def test_passages_of_all_pages_are_ranked_by_their_own_scores(notes):
    retriever, _ = notes
    hits = retriever.passages("harbour key", 3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].passage.text.startswith("The harbour master keeps the key")
    scores = [hit.passage.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert {hit.doc for hit in hits} == {"rules.txt", "other.txt"}


def test_a_hit_that_was_not_explained_has_no_passage(notes):
    retriever, _ = notes
    hit = retriever.search("harbour", explain=False)[0]
    assert hit.passage is None
    with pytest.raises(InvalidArgument, match="explain=False"):
        retriever.crop(hit)


def test_a_link_leads_to_the_place(shapes, notes):
    link = shapes.search("red", among="plain.png")[0].link
    assert link.startswith("#page=1&box=0.1,0.125,0.5,0.3125&view=FitH,")
    assert notes[0].search("harbour")[0].link == "#page=1"
