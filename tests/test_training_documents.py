"""What glyph is trained on: the lines of a page lie where its text is seen, and say it."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from visret.documents import office
from visret.training import _glyph_data as data
from visret.training import _glyph_documents as documents

WORDS = ["Licht", "und", "Schatten", "fall", "on", "the", "quiet", "page,", "12.50", "of", "them", "in", "ten"]


def check(shard):
    """Every line of every page, and every word of every strip, has ink."""
    strips = np.load(shard / "strips.npy")
    texts = json.loads((shard / "texts.json").read_text("utf8"))
    pages = json.loads((shard / "pages.json").read_text("utf8"))
    assert len(strips) == len(texts) > 20
    for strip, (text, width, words) in zip(strips, texts, strict=True):
        assert text.count(" ") + 1 == len(words)
        assert all(np.ptp(strip[4:-4, max(0, first) : min(end, width)]) > 25 for first, end in words), text
    pixels, start = np.load(shard / "pages.npy"), 0
    for rows, columns, lines in pages:
        page = pixels[start : start + rows * columns].reshape(rows, columns)
        start += rows * columns
        assert all(np.ptp(page[max(0, y0) : y1, max(0, x0) : x1 + 1]) > 25 for x0, y0, x1, y1 in lines)
    assert start == len(pixels)


@pytest.mark.parametrize("dark", [False, True])
def test_type_is_measured_on_a_pane_of_any_ground(dark):
    image = Image.new("L", (400, 100), 255)
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 380, 80), fill=30 if dark else 225)
    font = ImageFont.load_default(32)
    draw.text((40, 60), "The page", fill=240 if dark else 10, font=font, anchor="ls")
    space = font.getlength("The ")
    boxes = [(40, 28, 40 + font.getlength("The"), 68), (40 + space, 28, 40 + font.getlength("The page"), 68)]
    line = [data.Piece(text, box) for text, box in zip(("The", "page"), boxes, strict=True)]
    (found,) = data.cut(data.measured(line, np.asarray(image)))
    assert found.foot == pytest.approx(60 + 0.22 * 32, abs=3)
    assert found.top == pytest.approx(60 - 0.73 * 32, abs=3)


@pytest.mark.skipif(office.program() is None, reason="LibreOffice is not installed")
def test_documents_of_libreoffice(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "_DOCUMENTS_A_SHARD", 4)
    documents.write_office(tmp_path / "train-office-0000", ["DejaVu Sans"], WORDS)
    check(tmp_path / "train-office-0000")


@pytest.mark.skipif(documents.browser() is None, reason="no chromium here: apt install chromium")
def test_screens(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "_SCREENS_A_SHARD", 3)
    documents.write_screens(tmp_path / "train-screens-0000", ["DejaVu Sans"], WORDS)
    check(tmp_path / "train-screens-0000")
