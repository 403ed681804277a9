"""The text layer's characters become words: spelling, hyphens, columns, directions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visret.documents.words import words
from visret.types import Word

WIDTH, HEIGHT = 600.0, 800.0
SIZE, LEADING = 10.0, 12.0  # an em; a letter is half an em wide, a line 1.2 em high
Painted = tuple[str, np.ndarray]

LEFT = """
alder birch cedar dogwood elder
field of maple and of hazel trees
larch and juniper and old oaks
pines beside some quiet rowans
spruce willow yew and all that
""".strip().splitlines()
RIGHT = """
avocet bittern curlew dunlin eider
fulmar gannet heron and ibis and
kestrel lapwing or merlin owls
plover quail raven sanderling
tern, whimbrel, wren and siskin
""".strip().splitlines()


def at(x: float, y: float, text: str, *, size: float = SIZE) -> Painted:
    """Text painted in one go, its top left corner at x, y, and the line end PDFium puts after it."""
    x0 = x + np.arange(len(text)) * size / 2
    boxes = np.stack([x0, np.full(len(text), y), x0 + size / 2, np.full(len(text), y + 1.2 * size)], axis=1)
    return text + "\r\n", np.vstack([boxes, np.repeat(boxes[-1:], 2, axis=0)])


def lines(x: float, y: float, texts: Iterable[str]) -> list[Painted]:
    return [at(x, y + i * LEADING, text) for i, text in enumerate(texts)]


def read(painted: Iterable[Painted], *, turn: int = 0) -> tuple[Word, ...]:
    """The words of a page on which this was painted in this order, the whole page then turned clockwise."""
    texts, boxes = zip(*painted, strict=True)
    x0, y0, x1, y1 = np.vstack(boxes).T
    views = [(x0, y0, x1, y1), (HEIGHT - y1, x0, HEIGHT - y0, x1)]
    views += [(WIDTH - x1, HEIGHT - y1, WIDTH - x0, HEIGHT - y0), (y0, WIDTH - x1, y1, WIDTH - x0)]
    width, height = (HEIGHT, WIDTH) if turn % 2 else (WIDTH, HEIGHT)
    turns = np.full(len(x0), turn)
    return words("".join(texts), np.stack(views[turn], axis=1), turns, width=width, height=height)


def spoken(found: Iterable[Word]) -> list[str]:
    return [word.text for word in found]


def by_line(found: tuple[Word, ...]) -> list[str]:
    out: dict[int, list[str]] = {}
    for word in found:
        out.setdefault(word.line, []).append(word.text)
    return [" ".join(line) for line in out.values()]


def test_a_page_without_text_has_no_words():
    assert words("", np.zeros((0, 4)), np.zeros(0, int), width=WIDTH, height=HEIGHT) == ()
    assert read([at(50, 50, "   ")]) == ()


def test_words_have_boxes_and_lines():
    found = read(lines(60, 80, ["two words", "below"]))
    assert [(w.text, w.line) for w in found] == [("two", 0), ("words", 0), ("below", 1)]
    assert found[1].box == pytest.approx((80 / WIDTH, 80 / HEIGHT, 105 / WIDTH, 92 / HEIGHT))
    assert found[2].box == pytest.approx((60 / WIDTH, 92 / HEIGHT, 85 / WIDTH, 104 / HEIGHT))


def test_a_step_to_another_place_ends_a_word_without_any_space():
    (text, boxes), (more, there) = at(50, 100, "here"), at(200, 100, "there")
    assert spoken(read([(text[:4], boxes[:4]), (more, there)])) == ["here", "there"]


def test_a_line_end_between_letters_that_touch_is_none():
    """PDFium sees one where the comma comes from another font."""
    assert spoken(read([at(50, 100, "colour"), at(80, 100.6, ", 34")])) == ["colour,", "34"]
    assert spoken(read([at(50, 100, "colour"), at(81.2, 100, "34")])) == ["colour", "34"]


# ---- hyphens


@pytest.mark.parametrize(
    ("first", "second", "joined", "starts"),
    [
        ("a harm-", "less one", "harmless", [4]),
        ("a harm\u00ad", "less one", "harmless", [4]),  # as PDFium marks it
        ("a harm\u2010", "less one", "harmless", [4]),
        ("an X-", "ray one", "X-ray", [2]),
        ("from 1990-", "1995 on", "1990-1995", [5]),
        ("of ISO-", "Latin 1", "ISO-Latin", [4]),
    ],
)
def test_a_word_over_a_line_end_is_one(first, second, joined, starts):
    word = read(lines(50, 100, [first, second]))[1]
    assert (word.text, [start for start, _ in word.rest]) == (joined, starts)
    assert word.line == 0
    for character in range(len(joined)):
        line = 1 if character >= starts[0] else 0
        assert word.box_at(character)[1] == pytest.approx((100 + line * LEADING) / HEIGHT)


def test_a_word_may_go_on_over_several_lines():
    found = read(lines(50, 100, ["a com-", "pre-", "hensive", "word"]))
    assert [(w.text, w.line) for w in found] == [("a", 0), ("comprehensive", 0), ("word", 3)]
    assert [start for start, _ in found[1].rest] == [3, 6]


@pytest.mark.parametrize(("first", "second"), [("a -", "b"), ("- -", "b"), ("a --", "b"), ("use -x-", "(b)")])
def test_other_dashes_stay(first, second):
    assert by_line(read(lines(50, 100, [first, second]))) == [first, second]


def test_a_page_number_after_a_hyphen_is_no_part_of_the_word():
    assert spoken(read([at(50, 100, "an exam-"), at(300, 780, "12")]))[1:] == ["exam-", "12"]


def test_a_word_goes_on_in_the_next_column():
    found = read([*lines(50, 100, [*LEFT, "one exam-"]), *lines(320, 100, ["ple of them", *RIGHT])])
    assert "one example of them" in " ".join(spoken(found))


# ---- spelling


@pytest.mark.parametrize(
    ("raw", "spelled"),
    [
        ("oﬃce", "office"),
        ("ﬁrﬆ", "first"),
        ("Ｆｕｌｌ", "Full"),
        ("𝑥𝑦", "xy"),
        ("\ud835\udc65", "x"),  # the same letter as PDFium gives it, in two halves
        ("Ⅳ", "IV"),
        ("e\u0301te\u0301", "été"),
        ("m²", "m²"),
        ("5½", "5½"),
        ("H₂O", "H₂O"),
        ("a\u200bb\u200d\ufeff", "ab"),
        ("so\u00adft", "soft"),
        ("a\x02b\ue000\ufffd", "ab"),
        ("´", "´"),
    ],
)
def test_spelling(raw, spelled):
    assert spoken(read([at(50, 100, raw)])) == [spelled]


def test_a_word_of_signs_without_meaning_is_none():
    assert spoken(read([at(50, 100, "a \ue000\x07 b")])) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "over", "spelled"),
    [("´ecole", 1, "école"), ("na¨ıf", 3, "naïf"), ("fac¸ade", 2, "façade"), ("o`u", 2, "où"), ("ˇCech", 1, "Čech")],
)
def test_an_accent_painted_over_a_letter_is_put_on_it(text, over, spelled):
    (raw, boxes) = at(50, 100, text)
    k = next(i for i, char in enumerate(text) if char in "´¨¸`ˇ")
    boxes[k] = boxes[over]
    boxes[k + 1 :] -= (SIZE / 2, 0, SIZE / 2, 0)
    if over > k:
        boxes[k] = boxes[over]
    assert spoken(read([(raw, boxes)])) == [spelled]


def test_an_accent_beside_a_letter_stays():
    assert spoken(read([at(50, 100, "`a' ^b ~c")])) == ["`a'", "^b", "~c"]


# ---- reading order

HEAD = at(50, 60, "A title that spans the two columns below it and more of the page")
FOOT = at(290, 760, "7")
ONE, TWO = lines(50, 100, LEFT), lines(320, 100, RIGHT)
ROWS = [part for row in zip(ONE, TWO, strict=True) for part in row]


@pytest.mark.parametrize(
    "painted",
    [
        [HEAD, *ONE, *TWO, FOOT],
        [HEAD, *TWO, *ONE, FOOT],
        [HEAD, *ROWS, FOOT],
        [FOOT, *ONE, *TWO, HEAD],
        [FOOT, HEAD, *ROWS],
    ],
    ids=["by column", "right column first", "line by line", "foot first, head last", "foot first, line by line"],
)
@pytest.mark.parametrize("turn", range(4))
def test_columns_are_read_one_after_the_other(painted, turn):
    assert by_line(read(painted, turn=turn)) == [HEAD[0].strip(), *LEFT, *RIGHT, "7"]


def test_columns_go_on_below_a_gap_that_crosses_them():
    more, last = [line.upper() for line in LEFT], [line.upper() for line in RIGHT]
    down = 100 + (len(LEFT) + 2) * LEADING
    one, two = [*ONE, *lines(50, down, more)], [*TWO, *lines(320, down, last)]
    assert by_line(read([HEAD, *one, *two])) == [HEAD[0].strip(), *LEFT, *more, *RIGHT, *last]
    rows = [part for row in zip(one, two, strict=True) for part in row]  # then the gap looks like a new section
    assert by_line(read([HEAD, *rows])) == [HEAD[0].strip(), *LEFT, *RIGHT, *more, *last]


def test_sections_with_columns_of_their_own_are_read_one_after_the_other():
    between = at(50, 200, "A second title that spans the columns of the page like the first")
    below = [*lines(50, 240, RIGHT), *lines(320, 240, LEFT)]
    assert by_line(read([*ONE, *TWO, between, *below])) == [*LEFT, *RIGHT, between[0].strip(), *RIGHT, *LEFT]


def test_a_table_is_read_by_rows():
    rows = [("Turbine", "Spring", "Year"), ("Avocet", "1,344", "6,200"), ("Bittern", "1,302", "5,353")]
    rows += [("Curlew", "1,391", "6,416"), ("Dunlin", "1,226", "5,680")]
    cells = [
        at(x, 100 + 20 * i, cell) for i, row in enumerate(rows) for x, cell in zip((50, 200, 350), row, strict=True)
    ]
    assert by_line(read(cells)) == [" ".join(row) for row in rows]


def test_numbers_beside_paragraphs_stay_beside_them():
    items = [*lines(50, 100, ["1."]), *lines(80, 100, LEFT), *lines(50, 200, ["2."]), *lines(80, 200, RIGHT)]
    assert by_line(read(items)) == ["1. " + LEFT[0], *LEFT[1:], "2. " + RIGHT[0], *RIGHT[1:]]


def test_words_from_right_to_left_are_one_line():
    found = read([at(200, 100, "\u05e9\u05dc"), at(185, 100, "\u05d8\u05d1"), at(50, 112, "below")])
    assert [w.line for w in found] == [0, 0, 1]


@pytest.mark.parametrize("turn", range(4))
def test_turned_text_has_the_same_words_in_turned_boxes(turn):
    painted = [HEAD, *lines(50, 100, ["some harm-", "less lines", "of text"])]
    upright, turned = read(painted), read(painted, turn=turn)
    assert [(w.text, w.line) for w in turned] == [(w.text, w.line) for w in upright]
    for a, b in zip(upright, turned, strict=True):
        x0, y0, x1, y1 = a.box
        for _ in range(turn):
            x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
        assert b.box == pytest.approx((x0, y0, x1, y1))


def test_text_turned_another_way_comes_last():
    up = np.array([(20, 300 - 5 * i, 32, 305 - 5 * i) for i in range(10)], float)  # read from bottom to top
    text, boxes = zip(("some label", up), *ONE, strict=True)
    turns = np.concatenate([np.full(10, 3), np.zeros(sum(map(len, text)) - 10, int)])
    found = words("".join(text), np.vstack(boxes), turns, width=WIDTH, height=HEIGHT)
    assert by_line(found) == [*LEFT, "some label"]
    assert found[-1].box == pytest.approx((20 / WIDTH, 255 / HEIGHT, 32 / WIDTH, 280 / HEIGHT))


def test_what_lies_outside_the_page_is_dropped_and_what_crosses_its_edge_is_clipped():
    found = read([at(-100, 100, "outside"), at(-25, 120, "crossing"), at(-3, 140, "edge"), at(50, 790, "bottom")])
    assert spoken(found) == ["edge", "bottom"]
    assert found[0].box == pytest.approx((0, 140 / HEIGHT, 17 / WIDTH, 152 / HEIGHT))
    assert found[1].box[3] == 1


def test_a_maze_of_columns_ends():
    """Each line stands right of and across the gap of the next two: cuts within cuts within cuts."""
    painted = [at(5 * i % 590, 2 + i * 397 % 790, "x", size=1) for i in range(400)]
    assert len(read(painted)) == 400


letters = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40)
places = st.tuples(st.floats(-50, 650), st.floats(-50, 850), letters, st.sampled_from([1.0, 8.0, 10.0, 30.0]))


@given(st.lists(places, min_size=1, max_size=12), st.integers(0, 3))
def test_whatever_is_painted_words_are_words(painted, turn):
    found = read([at(x, y, text, size=size) for x, y, text, size in painted], turn=turn)
    for word in found:
        assert word.text
        assert not any(char.isspace() or char == "\0" for char in word.text)
        starts = [start for start, _ in word.rest]
        assert starts == sorted(set(starts))
        assert all(0 < start < len(word.text) for start in starts)
        for x0, y0, x1, y1 in (word.box, *(box for _, box in word.rest)):
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
    assert [w.line for w in found] == sorted(w.line for w in found)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), unique=True, max_size=30), st.randoms())
def test_no_letter_is_lost_or_told_twice(cells, random):
    """Words of letters and digits, in any places, painted in any order."""
    painted = [at(10 + 60 * x, 10 + 13 * y, f"w{x}o{y} rd") for x, y in cells]
    random.shuffle(painted)
    if painted:
        assert Counter("".join(spoken(read(painted)))) == Counter("".join(f"w{x}o{y}rd" for x, y in cells))


spots = st.tuples(*[st.integers(0, 6)] * 2, st.sampled_from([0, 0, 0, 1, 9]), st.sampled_from([0, 0, 0, 1]))


@given(st.lists(spots, min_size=1, max_size=24))
def test_letters_without_an_extent_are_read(spots):
    """As PDFium places those of a font whose sizes are damaged."""
    boxes = np.array([(7 * x, 14 * y, 7 * x + wide, 14 * y + high) for x, y, wide, high in spots], np.float64)
    found = words("x" * len(boxes), boxes, np.zeros(len(boxes), int), width=WIDTH, height=HEIGHT)
    assert sum(len(word.text) for word in found) == len(boxes)
