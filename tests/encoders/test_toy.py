import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visret.encoders import load_encoder
from visret.encoders.toy import COLOURS, vectors_of
from visret.errors import InvalidArgument, InvalidModelSpec, ShapeError
from visret.models.registry import get
from visret.types import Page

fraction = st.floats(0, 1)


def page(size, *patches, background="white"):
    """An image with coloured boxes: (colour, x0, y0, x1, y1 in pixels)."""
    image = Image.new("RGB", size, background)
    for colour, *box in patches:
        image.paste(colour, tuple(box))
    return Page.from_image(image, doc="a")


def score(toy, question, *pages):
    (query,) = toy.encode_queries([question])
    return [float((query.vectors @ made.vectors.T).max(axis=1).sum()) for made in toy.encode_pages(pages)]


@given(fraction, fraction, fraction)
def test_red_is_red_minus_the_mean_of_green_and_blue(r, g, b):
    vector = vectors_of(np.array([r, g, b]))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    expected = {"red": r - (g + b) / 2, "green": g - (r + b) / 2, "blue": b - (r + g) / 2}
    for name, value in expected.items():
        assert vector @ vectors_of(np.array(COLOURS[name])) == pytest.approx(value, abs=1e-6)


def test_the_reddest_patch_ranks_the_page(toy):
    small_and_red = page((600, 800), ("red", 0, 0, 50, 50))
    large_and_pink = page((600, 800), ("pink", 0, 0, 600, 800))
    scores = score(toy, "red", small_and_red, large_and_pink, page((600, 800)), page((600, 800), background="cyan"))
    assert scores == pytest.approx([1, (255 - (192 + 203) / 2) / 255, 0, -1], abs=1e-6)


def test_a_question_is_the_sum_of_its_words(toy):
    both = page((160, 160), ("red", 0, 0, 10, 10), ("blue", 80, 80, 90, 90))
    assert score(toy, "Red, blue!", both) == pytest.approx([2])
    assert score(toy, "red blue red white", both) == pytest.approx([4])


@pytest.mark.parametrize(
    ("size", "rows", "cols"), [((600, 800), 16, 12), ((800, 600), 12, 16), ((3, 2), 2, 3), ((1, 999), 16, 1)]
)
def test_a_cell_is_where_its_colour_is(toy, size, rows, cols):
    row, col = rows - 1, cols // 2
    x0, x1 = (round(edge / cols * size[0]) for edge in (col, col + 1))
    y0, y1 = (round(edge / rows * size[1]) for edge in (row, row + 1))
    (made,) = toy.encode_pages([page(size, ("red", x0, y0, x1, y1))])
    (query,) = toy.encode_queries(["red"])
    assert (made.where.rows, made.where.cols) == (rows, cols)
    assert divmod(int((made.vectors @ query.vectors[0]).argmax()), cols) == (row, col)


def test_words_of_a_page_are_kept_for_quoting(toy):
    image = Image.new("RGB", (10, 10))
    (made,) = toy.encode_pages(
        [Page.from_image(image, doc="a", words=[("two words", (0, 0, 0.5, 1)), ("x", (0.5, 0, 1, 1))])]
    )
    assert made.text == "two words x"
    assert made.word_boxes.tolist() == [[0, 0, 0.5, 1], [0, 0, 0.5, 1], [0.5, 0, 1, 1]]


@pytest.mark.parametrize(
    ("question", "says"),
    [("red boats", "not boats"), ("?!", "knows the colours red, green"), (" ", "at least one word")],
)
def test_other_words_are_refused(toy, question, says):
    with pytest.raises(InvalidArgument, match=says):
        toy.encode_queries([question])


def test_a_page_without_an_image_is_refused(toy):
    text = Page.from_text("red", doc="a")
    assert not toy.can_read(text)
    with pytest.raises(ShapeError, match="no image"):
        toy.encode_pages([text])


def test_it_has_no_options():
    with pytest.raises(InvalidModelSpec, match="toy, options, cells: the family toy has no such option"):
        load_encoder(dataclasses.replace(get("toy"), options={"cells": 3}))


def test_it_needs_no_torch():
    code = (
        "import sys; from visret.encoders import load_encoder; load_encoder('toy').encode_queries(['red']);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
