"""The scale of a picture comes from its letters: tall, wide, large and small pictures, and pages of a wrong size."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from visret import documents, ocr
from visret.documents.pictures import _rgb
from visret.ingest import pages
from visret.ingest.options import ReadOptions
from visret.ocr import engines, rapidocr
from visret.ocr.edges import edges_of
from visret.ocr.lines import Reading

NUMBERED = "harbour office keeps small notebooks near lanterns"
pytestmark = pytest.mark.usefixtures("own_cache")


def written(size, lines, height, *, step, at=(30, 30)):
    """A picture of lines, `step` pixels apart."""
    image = Image.new("L", size, 255)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(height)
    for number, line in enumerate(lines):
        pen.text((at[0], at[1] + step * number), line.replace(" ", "  "), 0, font)
    return image.convert("RGB")


def read(path):
    """A file's first page, as a worker reads it."""
    with documents.open_document(path) as document:
        return pages.read_page(document, 1, ReadOptions(pictures=False, ocr="auto"))


def found(words, expected):
    """The share of the expected words that was read, each as often as it stands there."""
    left = [word.text for word in words]
    right = 0
    for word in expected:
        if word in left:
            left.remove(word)
            right += 1
    return right / len(expected)


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "count", "least"), [("glyph", 60, 0.95), ("rapidocr", 10, 0.9)])
def test_a_tall_picture_is_read_to_its_end_and_no_line_twice(name, count, least, tmp_path, monkeypatch):
    monkeypatch.setenv("VISRET_OCR", name)
    monkeypatch.setattr(rapidocr, "_TILE", 416)
    lines = [f"{number} {NUMBERED}" for number in range(1000, 1000 + count)]
    size = (720, 60 + 60 * count)
    written(size, lines, 24, step=60).save(tmp_path / "tall.png")
    page = read(tmp_path / "tall.png")
    assert found(page.words, " ".join(lines).split()) > least
    assert len(page.words) <= 8 * count + count / 20
    numbers = [word for word in page.words if word.text.isdigit()]
    assert [int(word.text) for word in numbers] == sorted(int(word.text) for word in numbers)
    for word in numbers:
        middle = (word.box[1] + word.box[3]) / 2 * size[1]
        assert abs(middle - (30 + 60 * (int(word.text) - 1000) + 16)) < 20


@pytest.mark.heavy
@pytest.mark.parametrize("letters", [9, 20, 60])
def test_letters_of_any_size_are_read_where_nothing_says_how_large_they_are(glyph, letters, tmp_path):
    lines = [NUMBERED] * 3 + ["The typewriter stood beside its window"] * 3
    image = written((letters * 30, letters * 14), lines, letters, step=2 * letters, at=(letters, letters))
    image.save(tmp_path / "page.png")
    assert found(read(tmp_path / "page.png").words, " ".join(lines).split()) > (0.85 if letters < 10 else 0.9)


@pytest.mark.heavy
def test_a_wrong_resolution_is_not_believed(glyph, tmp_path):
    lines = [NUMBERED] * 10
    image = written((900, 700), lines, 22, step=60)
    image.save(tmp_path / "page.png", dpi=(1200, 1200))
    assert found(read(tmp_path / "page.png").words, " ".join(lines).split()) > 0.95


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(120, 90), (4000, 3000)], ids=["too small", "too large"])
def test_the_size_of_a_page_is_not_believed(glyph, size, tmp_path):
    lines = [NUMBERED] * 10
    canvas = Canvas(str(tmp_path / "page.pdf"), pagesize=size)
    canvas.drawImage(ImageReader(written((1600, 1200), lines, 36, step=100)), 0, 0, *size)
    canvas.save()
    assert found(read(tmp_path / "page.pdf").words, " ".join(lines).split()) > 0.95


@pytest.mark.heavy
def test_a_page_with_letters_too_small_to_read_is_drawn_again(glyph, tmp_path):
    lines = [NUMBERED] * 12
    canvas = Canvas(str(tmp_path / "page.pdf"), pagesize=(842, 595))
    canvas.drawImage(ImageReader(written((1600, 1200), lines, 36, step=90)), 30, 400, 160, 120)
    canvas.save()
    assert found(read(tmp_path / "page.pdf").words, " ".join(lines).split()) > 0.9


@pytest.mark.heavy
def test_small_print_beside_a_large_title_is_read(glyph, tmp_path):
    image = Image.new("RGB", (3000, 3600), "white")
    pen = ImageDraw.Draw(image)
    pen.text((150, 200), "FESTIVAL", "black", ImageFont.load_default(560))
    lines = [f"{NUMBERED} {NUMBERED}".replace(" ", "  ")] * 20
    for number, line in enumerate(lines):
        pen.text((1500, 2400 + 44 * number), line, "black", ImageFont.load_default(26))
    image.save(tmp_path / "poster.png", dpi=(100, 100))
    words = read(tmp_path / "poster.png").words
    assert "FESTIVAL" in [word.text for word in words]
    assert found(words, " ".join(lines).split()) > 0.9


@pytest.mark.heavy
def test_what_is_known_of_the_last_picture_says_at_which_resolution_its_page_is_drawn_again(monkeypatch):
    image, other = Image.new("RGB", (40, 40)), Image.new("RGB", (40, 40))
    for name in ocr.ENGINES:
        monkeypatch.setattr(engines, "_load", lambda _: Reading((), (), 2.5))
        monkeypatch.setenv("VISRET_OCR", name)
        ocr.read(image)
        assert ocr.better_dpi(image, 100) == 250
        assert ocr.better_dpi(other, 100) == 100
        assert ocr.better_dpi(image, 1000) == 1200


def test_lines_that_are_too_many_are_named(monkeypatch):
    monkeypatch.setattr(rapidocr, "_MAX_LINES", 3)
    page = rapidocr._Page(np.zeros((9, 9, 3), np.uint8), 1.0, np.zeros((5, 4, 2), np.float32), None)
    ((what, help_),) = rapidocr._left_out(page)
    assert what == "2 of the 5 lines of a picture, the lower ones"
    assert "VISRET_OCR=glyph" in help_
    assert rapidocr._left_out(page._replace(quads=page.quads[:3])) == ()


def test_lines_are_cut_out_of_the_picture_where_it_shows_more_than_the_sheet():
    quads = np.array([[(10, 10), (90, 10), (90, 42), (10, 42)]], np.float32)
    pixels = np.zeros((400, 800, 3), np.uint8)
    page = rapidocr._Page(np.zeros((100, 200, 3), np.uint8), 0.25, quads, None)
    sheet, zoom = rapidocr._magnified(page, pixels)
    assert (sheet.shape, zoom) == ((300, 600, 3), 3)  # the line is 96 pixels high
    whole = page._replace(sheet=pixels, scale=1.0)
    assert rapidocr._magnified(whole, pixels)[0] is whole.sheet


def test_tiles_cover_a_side_once():
    for length in (32, 1024, 1216, 5024):
        tiles = list(rapidocr._tiles(length))
        assert [row for _, kept in tiles for row in range(kept.start, kept.stop)] == list(range(length))
        for seen, kept in tiles:
            assert seen.start <= kept.start < kept.stop <= seen.stop
            assert seen.stop - seen.start <= rapidocr._TILE


def test_edges_outside_of_lines_are_loose():
    grey = np.full((100, 200), 255, np.uint8)
    grey[20:40, 20:80:4] = 0
    grey[60:80, 120:180:4] = 0
    edges = edges_of(grey, 0.5)
    assert edges.share == 1
    half = edges.without([(30, 30, 170, 90)])
    assert half.share == pytest.approx(0.5, abs=0.05)
    left, top, right, bottom = half.densest((400, 200), 100)
    assert left <= 240 < right
    assert top <= 140 < bottom
    assert edges.share == 1


# -------------------------------------------------------------------------------------------- transparent ground


def ink(colour, mode="RGBA", *, paper=(255, 255, 255, 0)):
    image = Image.new("RGBA", (300, 60), paper)
    ImageDraw.Draw(image).text((10, 10), "Invoice number", colour, ImageFont.load_default(28))
    return image.quantize(16) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
@pytest.mark.parametrize("colour", ["black", "white", (240, 240, 200), (40, 40, 90)])
def test_a_drawing_stands_out_from_its_ground(mode, colour):
    drawn = np.asarray(_rgb(ink(colour, mode)).convert("L"), np.int16)
    ground = int(drawn[0, 0])
    assert ground == (0 if colour in ("white", (240, 240, 200)) else 255)
    assert abs(drawn - ground).max() > 120


def test_a_drawing_that_is_light_and_dark_lies_on_grey():
    image = ink("white")
    ImageDraw.Draw(image).text((10, 30), "Invoice number", "black", ImageFont.load_default(28))
    low, high = _rgb(image).convert("L").getextrema()
    assert (low, high) == (0, 255)
    assert 80 < _rgb(image).convert("L").getpixel((0, 0)) < 160


def test_letters_that_were_smoothed_on_a_white_that_is_transparent_stand_on_white():
    image = ink("black", paper="white").convert("RGB")
    image.info["transparency"] = (255, 255, 255)
    assert _rgb(image).getpixel((0, 0)) == (255, 255, 255)


def test_a_sheet_with_a_transparent_edge_stays_on_white():
    image = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    image.paste(ink("black", paper="white").resize((360, 260)), (20, 20))
    assert _rgb(image).getpixel((0, 0)) == (255, 255, 255)
    assert _rgb(Image.new("RGBA", (4, 4), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
