"""Pages that are turned: read as if they stood upright, and marked where their words stand as they are shown."""

import difflib

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.sheets import draw

from visret import ocr
from visret.ocr.glyph import skew
from visret.ocr.lines import Line, Reading, arranged, turned
from visret.types import Page, Word

LINES = [
    "The lighthouse keeper repaired one broken lantern",
    "before storms came during March, and wrote his",
    "working hours into small notebooks, which every",
    "harbour office keeps until this very day.",
]
WORDS = " ".join(LINES).split()
CELLS = [["Harbour", "Keeper", "Since"], ["Westport", "Morgan", "1874"], ["Northhead", "Sullivan", "1902"]]
pytestmark = pytest.mark.usefixtures("own_cache")


def sheet():
    return draw(*((line, (60, 60 + 60 * i)) for i, line in enumerate(LINES)), size=(760, 620))


def right(image, turns):
    """The image as it is shown when its page is turned to the right."""
    return image.rotate(-90 * turns, expand=True)


def shown(box, turns):
    """Where a box of the upright page lies then."""
    x0, y0, x1, y1 = box
    return ((x0, y0, x1, y1), (1 - y1, x0, 1 - y0, x1), (1 - x1, 1 - y1, 1 - x0, 1 - y0), (y0, 1 - x1, y1, 1 - x0))[
        turns
    ]


def texts(words):
    return [word.text for word in words]


@pytest.mark.heavy
@pytest.mark.parametrize("turns", range(4))
def test_a_turned_page_is_read_in_its_order_and_its_words_stand_on_their_ink(engine, turns):
    image, inked = sheet()
    words = ocr.read(right(image, turns)).words
    assert texts(words) == WORDS
    assert [word.line for word in words] == [i for i, line in enumerate(LINES) for _ in line.split()]
    for word, box in zip(words, inked, strict=True):
        x0, y0, x1, y1 = shown(box, turns)
        assert word.box[0] < (x0 + x1) / 2 < word.box[2], word
        assert word.box[1] < (y0 + y1) / 2 < word.box[3], word
        assert (word.box[2] - word.box[0]) < (x1 - x0) + 0.05, word
        assert (word.box[3] - word.box[1]) < (y1 - y0) + 0.05, word


@pytest.mark.heavy
@pytest.mark.parametrize("degrees", [3, 183, 93])
def test_a_page_that_is_turned_and_skewed_is_read(degrees):
    image, _ = sheet()
    read = texts(ocr.read(image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")).words)
    assert sum(word in read for word in WORDS) >= len(WORDS) - 3


def skewed(image, degrees):
    """The image turned clockwise, with all of it on a white page."""
    return image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")


def ink_of(image, box, degrees):
    """x0, y0, x1, y1 in pixels of the skewed page: the ink of what lies in a box of the level one."""
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(box, image.size * 2, strict=True))
    alone = Image.new("RGB", image.size, "white")
    alone.paste(image.crop((x0, y0, x1, y1)), (x0, y0))
    return skewed(alone, degrees).convert("L").point(lambda v: 255 * (v < 128)).getbbox()


@pytest.mark.heavy
@pytest.mark.parametrize("degrees", [1.5, -7, 10, 85, 187, -86])
def test_words_of_a_skewed_page_are_read_in_order_and_stand_on_their_ink(degrees, glyph):
    image, inked = sheet()
    page = skewed(image, degrees)
    words = ocr.read(page).words
    same = difflib.SequenceMatcher(None, texts(words), WORDS, autojunk=False).get_matching_blocks()
    pairs = [(words[block.a + i], inked[block.b + i]) for block in same for i in range(block.size)]
    assert len(pairs) >= len(WORDS) - 3  # the white space between two words is missed now and then
    for word, level_box in pairs:
        box = np.array(word.box) * (page.size * 2)
        ink = np.array(ink_of(image, level_box, degrees))
        outwards = (box - ink) * (-1, -1, 1, 1)  # pixels by which the box is larger than the ink, on each side
        assert outwards.min() > -5, (word, ink)
        assert outwards.max() < 20, (word, ink)


@pytest.mark.heavy
def test_the_words_of_a_skewed_scan_are_indexed(glyph):
    image, _ = sheet()
    page = ocr.with_words(Page.from_image(skewed(image, 6), doc="scan.pdf", words=()))
    assert page.text.split("\n") == LINES
    assert page.lost == ()


@pytest.mark.parametrize("degrees", [4, -5.3, 6.5, -8, 10, -11.5])
@pytest.mark.parametrize("turns", range(4))
def test_the_skew_of_a_page_is_found_whichever_way_it_is_turned(degrees, turns):
    image, _ = sheet()
    page = right(skewed(image, degrees), turns).convert("L")
    assert skew.skew_of(page) == pytest.approx(degrees, abs=0.3)


def drawing():
    """Slanting lines, and a level line of text below them."""
    image, _ = draw(("A plot of three series, measured in March", (60, 520)), size=(760, 620))
    pen = ImageDraw.Draw(image)
    for i in range(12):
        pen.line((60, 60 + 30 * i, 700, 130 + 30 * i), "black", 2)
    return image


@pytest.mark.parametrize(
    "image",
    [
        sheet()[0],
        skewed(sheet()[0], 3),
        right(sheet()[0], 1),
        draw(("17", (60, 60)))[0],
        skewed(draw(("Total", (60, 60)))[0], 4),
        drawing(),
        Image.new("RGB", (300, 200), "white"),
        Image.new("RGB", (3, 900), "white"),
        Image.effect_noise((400, 400), 60),
    ],
    ids=["page", "nearly level", "sideways", "number", "word", "drawing", "blank", "narrow", "noise"],
)
def test_what_is_level_or_says_too_little_has_no_skew(image):
    assert skew.skew_of(image.convert("L")) == 0


@pytest.mark.heavy
def test_level_text_in_a_slanting_drawing_is_read(glyph):
    image, _ = draw(("Measured in March", (60, 540)), size=(760, 620))
    pen = ImageDraw.Draw(image)
    for i in range(40):
        pen.line((60, 20 + 11 * i, 700, 87 + 11 * i), "black", 2)
    assert skew.skew_of(image.convert("L")) == pytest.approx(6, abs=0.3)
    assert {"Measured", "in", "March"} <= set(texts(ocr.read(image).words))


@pytest.mark.parametrize("degrees", [-9, -2.5, 6])
def test_a_place_on_the_level_page_is_found_again_on_the_page_as_it_is(degrees):
    page = Image.new("L", (600, 400), 200)
    page.paste(0, (100, 300, 110, 310))
    level = skew.level(page, degrees)
    assert level.getpixel((0, 0)) == 200
    x0, y0, x1, y1 = (np.array(level.point(lambda v: 255 * (v < 100)).getbbox()) / (level.size * 2)).tolist()
    box = (x0, y0, x1, y1)
    (word,) = skew.as_shown(Reading((Word("ab", box, ((1, box),)),), (0.9,)), degrees, page.size).words
    for shown_box in word.boxes:
        left, top, right_, bottom = np.array(shown_box) * (page.size * 2)
        assert ((left + right_) / 2, (top + bottom) / 2) == pytest.approx((105, 305), abs=1)
        assert 10 <= right_ - left < 14
        assert 10 <= bottom - top < 14


@pytest.mark.heavy
@pytest.mark.parametrize("turns", [1, 3])
def test_a_turned_table_on_an_upright_page_is_read_with_it(engine, turns):
    image, _ = sheet()
    placed = [(text, (40 + 240 * i, 20 + 60 * k)) for k, row in enumerate(CELLS) for i, text in enumerate(row)]
    table, _ = draw(*placed, size=(760, 220))
    page = Image.new("RGB", (760, 1420), "white")
    page.paste(image.crop((0, 0, 760, 320)), (0, 0))
    page.paste(right(table, turns), (200, 480))
    read = texts(ocr.read(page).words)
    assert read[: len(WORDS)] == WORDS
    cells = {text for row in CELLS for text in row}
    assert len(cells & set(read[len(WORDS) :])) >= len(cells) - 1  # glyph takes a letter for another now and then


@pytest.mark.heavy
@pytest.mark.parametrize("text", ["17", "Total 604"])
def test_few_letters_are_not_turned(engine, text):
    image, _ = draw((text, (60, 60)))
    assert texts(ocr.read(image).words) == text.split()


@pytest.mark.heavy
def test_the_words_of_a_turned_page_are_indexed(engine):
    image, _ = sheet()
    page = ocr.with_words(Page.from_image(right(image, 2), doc="scan.pdf", words=()))
    assert page.text.split("\n") == LINES
    assert page.metadata["ocr_confidence"] > 0.9


def line(text, box, turn):
    """A line whose characters lie one after the other, as its reader sees them, in a box of the page as shown."""
    x0, y0, x1, y1 = box
    steps = np.linspace(0, 1, len(text) + 1)
    if turn in (2, 3):
        steps = steps[::-1]
    low, high = np.minimum(steps[:-1], steps[1:]), np.maximum(steps[:-1], steps[1:])
    across = turn % 2 == 0
    boxes = np.stack(
        [
            x0 + (x1 - x0) * low if across else np.full(len(text), x0),
            np.full(len(text), y0) if across else y0 + (y1 - y0) * low,
            x0 + (x1 - x0) * high if across else np.full(len(text), x1),
            np.full(len(text), y1) if across else y0 + (y1 - y0) * high,
        ],
        axis=1,
    )
    return Line(text, boxes.astype(float), np.full(len(text), 0.9), turn, x0, y0, x1, y1)


def test_turned_lines_come_in_the_order_of_the_upright_page():
    upside_down = [line("third", (60, 10, 140, 30), 2), line("first", (60, 90, 140, 110), 2)]
    upside_down.insert(1, line("second", (60, 50, 140, 70), 2))
    assert texts(arranged(upside_down, 200, 120).words) == ["first", "second", "third"]
    to_the_right = [line("lower", (10, 20, 30, 100), 1), line("upper", (60, 20, 80, 100), 1)]
    assert texts(arranged(to_the_right, 120, 200).words) == ["upper", "lower"]
    to_the_left = [line("lower", (60, 20, 80, 100), 3), line("upper", (10, 20, 30, 100), 3)]
    assert texts(arranged(to_the_left, 120, 200).words) == ["upper", "lower"]


@pytest.mark.parametrize("turn", range(4))
def test_boxes_turn_with_their_page_and_back(turn):
    boxes = np.array([(10.0, 20.0, 40.0, 30.0), (0.0, 0.0, 100.0, 50.0)])
    there = turned(boxes, turn, 100, 50)
    assert there[1].tolist() == [0, 0, *((50, 100) if turn % 2 else (100, 50))]
    size = (50, 100) if turn % 2 else (100, 50)
    np.testing.assert_array_equal(turned(there, -turn, *size), boxes)
    assert turned(boxes[:1], 1, 100, 50).tolist() == [[20, 10, 30, 40]]
