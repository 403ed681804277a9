"""glyph: what its parts promise whatever the weights are."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visret import documents
from visret.encoders.glyph import spelling_vector
from visret.ocr.glyph import skew
from visret.ocr.glyph.finding import FoundLine, lines_of
from visret.ocr.glyph.networks import (
    ALPHABET,
    CELL_COLUMNS,
    CELL_ROWS,
    LETTERS,
    STRIP,
    UNKNOWN,
    FinderNetwork,
    ReaderNetwork,
    inked,
    said,
    spelled,
)
from visret.ocr.glyph.reading import _is_black_and_white, _strip


def cells_of(lines, rows=60, columns=40):
    """What a perfect finder says of lines (left, right, middle at the left end, slope, height) in pixels."""
    cells = np.full((3, rows, columns), -5, np.float32)
    for left, right, middle, slope, height in lines:
        for row in range(rows):
            for column in range(columns):
                x, y = (column + 0.5) * CELL_COLUMNS, (row + 0.5) * CELL_ROWS
                below = (middle + slope * (x - left) - y) / height
                if left <= x <= right and abs(below) < 0.25:
                    cells[:, row, column] = 5, math.log(height), below
    return cells


def test_lines_are_found_where_they_are():
    found = lines_of(cells_of([(16, 240, 20, 0.0, 9), (16, 120, 40, 0.0, 9), (160, 300, 40, 0.0, 12)]))
    assert len(found) == 3
    assert [round(line.middle, 1) for line in found] == [20, 40, 40]
    assert sorted(round(line.height, 1) for line in found) == [9, 9, 12]
    assert 8 < found[0].left <= 16
    assert 240 <= found[0].right < 260


def test_a_turned_line_has_its_slope():
    slope = math.tan(math.radians(2))
    (line,) = lines_of(cells_of([(16, 300, 40, slope, 10)]))
    assert line.slope == pytest.approx(slope, abs=0.003)
    assert line.middle + line.slope * (158 - line.left) == pytest.approx(40 + slope * (158 - 16), abs=0.7)


def test_no_thin_stroke_of_a_black_and_white_line_is_lost_where_the_line_is_made_smaller():
    picture = np.full((40, 400), 255, np.uint8)
    strokes = np.arange(5, 395, 10)
    picture[:, strokes] = 0
    zoom = LETTERS / 29
    strip = _strip(Image.fromarray(picture), FoundLine(0, 400, 20, 0.0, 29), zoom, 1, finely=True)
    assert strip.shape == (STRIP, math.ceil(400 * zoom))
    at = ((strokes + 0.5) * zoom).astype(int)
    assert max(int(strip[STRIP // 2, column - 1 : column + 2].min()) for column in at) < 200


def test_black_and_white_is_told_from_print_in_greys():
    report = Path(__file__).parents[2] / "examples" / "documents" / "report.pdf"
    with documents.open_document(report) as document:
        drawn = [document.page(1, doc="report", dpi=dpi).image.convert("L") for dpi in (144, 300)]
    assert not _is_black_and_white(drawn[0])
    scan = drawn[1].point(lambda grey: 255 if grey > 140 else 0)
    assert _is_black_and_white(scan)
    assert _is_black_and_white(skew.level(scan, 5.0))


def test_an_empty_page_has_no_lines():
    assert lines_of(cells_of([])) == []


def test_networks_keep_what_their_docstrings_say():
    assert ReaderNetwork().eval()(torch.zeros(2, 1, STRIP, 64)).shape == (2, 32, len(ALPHABET) + 1)
    assert FinderNetwork().eval()(torch.zeros(1, 1, 96, 64)).shape == (1, 3, 96 // CELL_ROWS, 64 // CELL_COLUMNS)


def test_a_run_of_one_name_is_one_character():
    a, b = ALPHABET.index("a") + 1, ALPHABET.index("b") + 1
    frames = torch.tensor([0, a, a, 0, a, b, b, 0])
    (line,) = said(100 * torch.nn.functional.one_hot(frames, len(ALPHABET) + 1)[None].float())
    assert line == ("aab", [1, 4, 5], [1, 1, 1])


def test_dark_and_light_ink_look_alike():
    page = torch.full((1, 8, 12), 0.3)
    page[0, 2:5, 4:6] = 0.7
    torch.testing.assert_close(inked(page), inked(1 - page))
    assert (inked(page)[0, 0, 2, 4], inked(page)[0, 0, 0, 0]) == (1, 0)


def test_what_has_no_name_is_unknown():
    assert spelled("ﬁne “x” — 中") == f'fine "x" - {UNKNOWN}'


def test_spelling_knows_a_misread_word_from_another():
    word = spelling_vector("Bytefield,")
    np.testing.assert_allclose(word, spelling_vector("bytefield"))
    assert word @ spelling_vector("bytefleld") > 0.4
    assert abs(word @ spelling_vector("margins")) < 0.3
    assert np.linalg.norm(spelling_vector("?")) == pytest.approx(1)
