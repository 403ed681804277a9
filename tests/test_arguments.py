"""What users hand over: of NumPy, pandas and others made plain, or refused in words; never a guess."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from visret import Page, PageEmbedding, PageRef, Word, arguments
from visret.errors import InvalidArgument, ShapeError
from visret.explain.drawing import overlay

INCH = (72.0, 72.0)


class Kind(StrEnum):
    SCAN = "scan"


@pytest.mark.parametrize("number", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_whole_numbers_are_those_of_numpy_too(number):
    assert (made := arguments.whole("k", number)) == 3
    assert type(made) is int


@pytest.mark.parametrize("wrong", [True, np.True_, "3", 2.0, np.float64(3), None, 0, -1, float("nan"), [3]])
def test_what_is_no_whole_number_is_refused(wrong):
    with pytest.raises(InvalidArgument, match="k must be a whole number, at least 1, got"):
        arguments.whole("k", wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.int64(2024), 2024),
        (np.float32(0.5), 0.5),
        (np.True_, True),
        (np.str_("a"), "a"),
        (float("nan"), None),
        (np.datetime64("NaT", "D"), None),
        (np.datetime64("2024-05-01"), "2024-05-01"),
        (np.datetime64("2024-05-01T10:30", "ns"), "2024-05-01T10:30:00"),
        (date(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 10, tzinfo=UTC), "2024-05-01T10:00:00+00:00"),
        (Kind.SCAN, "scan"),
        (PurePosixPath("a/b"), "a/b"),
        ((1, np.int8(2)), [1, 2]),
        ({"b", "a"}, ["a", "b"]),
        (np.array([1.5, 2.5]), [1.5, 2.5]),
        (np.array(7), 7),
        ({"a": {"b": np.float64(1)}}, {"a": {"b": 1.0}}),
    ],
)
def test_values_become_those_of_json(given, expected):
    made = arguments.plain("metadata", given)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize("name", ["NaTType", "NAType"])
def test_missing_values_of_pandas_are_null(name):
    missing = type(name, (), {"__module__": "pandas._libs.missing"})()
    assert arguments.plain("metadata", missing) is None


@pytest.mark.parametrize("wrong", [b"a", Decimal("1.5"), float("inf"), object(), (x for x in "ab"), {1: 2}, [{1: 2}]])
def test_what_json_has_no_value_for_is_refused(wrong):
    with pytest.raises(InvalidArgument, match=r"metadata of a\.pdf"):
        arguments.metadata("a.pdf", {"k": wrong})


def test_metadata_is_a_dictionary_of_some_depth():
    deep: dict = {}
    for _ in range(2000):
        deep = {"a": deep}
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        arguments.metadata("a.pdf", deep)
    with pytest.raises(InvalidArgument, match="is a dictionary"):
        arguments.metadata("a.pdf", [("a", 1)])


def test_a_document_may_be_named_by_a_number():
    image = Image.new("RGB", (4, 4))
    pages = [Page.from_text("a", doc=5), Page.from_image(image, doc=np.int64(5)), Page(PageRef(5, np.int32(1)), INCH)]
    assert [page.ref for page in pages] == [("5", 1)] * 3
    assert all(type(page.ref.page) is int for page in pages)
    for doc in (True, 5.0, None, b"a"):
        with pytest.raises(InvalidArgument, match="name of a document"):
            Page.from_text("a", doc=doc)
    for page in (True, 0, "1", 1.0):
        with pytest.raises(InvalidArgument, match="page number"):
            Page.from_text("a", doc="a", page=page)


BAD_BOXES = [
    (40, 50, 80, 75),  # pixels
    (0.5, 0.1, 0.2, 0.2),  # reversed
    (0.1, 0.2, 0.3, float("nan")),
    (0.1, 0.2, 0.3, float("inf")),
    (-0.1, 0, 0.2, 0.2),
    (0.1, 0.2, 0.3),
    None,
    "abcd",
]


@pytest.mark.parametrize("box", BAD_BOXES)
def test_a_box_is_in_page_fractions(box):
    """By whatever door it comes, the message shows it."""
    image = Image.new("RGB", (4, 4))
    with pytest.raises(ShapeError, match=r"fractions of the page.*; got "):
        Page.from_image(image, doc="a", words=[("w", box)])
    with pytest.raises(ShapeError, match=r"fractions of the page.*; got "):
        Word("w", (0, 0, 1, 1), ((1, box),))
    if box is not None and len(box) == 4 and not isinstance(box, str):
        array = np.array([(0, 0, 1, 1), box], np.float32)
        vectors = np.eye(2, dtype=np.float32)
        with pytest.raises(ShapeError, match="fractions of the page"):
            PageEmbedding(PageRef("a", 1), INCH, vectors, array)
        with pytest.raises(ShapeError, match="fractions of the page"):
            PageEmbedding(PageRef("a", 1), INCH, vectors, np.full((2, 4), np.nan, np.float32), "a b", array)
        with pytest.raises(ShapeError, match="fractions of the page"):
            overlay(image, array, [1, 1])


def test_rounding_is_no_error():
    assert Word("w", (-0.0009, np.float32(0), 1.0009, 0.5)).box == (0, 0, 1, 0.5)
    assert Word("w", [0.3, 0.4, 0.3, 0.3999]).box == (0.3, 0.4, 0.3, 0.4)
    where = np.array([(0, 0, 1.0001, 1), (np.nan,) * 4], np.float32)
    made = PageEmbedding(PageRef("a", 1), INCH, np.eye(2, dtype=np.float32), where)
    np.testing.assert_array_equal(made.where, [(0, 0, 1, 1), (np.nan,) * 4])


def test_boxes_of_an_older_index_lie_on_the_page():
    """What was stored before boxes were checked can still be shown."""
    stored = np.array([(40, 50, 80, 75), (0.5, 0.5, 0.2, 0.6), (np.nan,) * 4, (0, 0, 1, 1)], np.float32)
    made = arguments.clipped(stored)
    np.testing.assert_array_equal(np.isnan(made).all(axis=1), [False, False, True, False])
    assert (arguments.boxes(made) is made, arguments.clipped(made) is made) == (True, True)


@pytest.mark.parametrize("size", [(0, 10), (-1, 10), (float("nan"), 10), (float("inf"), 1), (10,), 5, "ab"])
def test_a_size_is_positive_and_finite(size):
    with pytest.raises(ShapeError, match="width and height in points"):
        Page.from_image(Image.new("RGB", (4, 4)), doc="a", size_pt=size)


def test_a_word_is_text_with_a_box():
    image = Image.new("RGB", (4, 4))
    blank = [("", (0, 0, 1, 1)), ("a b", (0, 0, 1, 1)), (" ", BAD_BOXES[0])]
    assert Page.from_image(image, doc="a", words=blank).text == "a b"
    for words in ([(None, (0, 0, 1, 1))], ["abc"], [5]):
        with pytest.raises(ShapeError, match="a word is"):
            Page.from_image(image, doc="a", words=words)
    with pytest.raises(ShapeError, match="words of a page"):
        Page(PageRef("a", 1), INCH, image, (("a", (0, 0, 1, 1)),))
