"""Scanned pages: words, their boxes and order, confidence, the cache; which text layers are believed."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.sheets import draw

from visret import ocr
from visret.errors import InvalidArgument
from visret.ocr import engines, rapidocr
from visret.ocr.lines import CONFIDENT, Line, Reading, arranged
from visret.types import Page, Word

LINES = ["Invoice number 40172", "Payment is due within thirty days"]
COLUMNS = (
    [
        "The quick brown fox jumps over",
        "lazy dogs while seven wizards",
        "quietly mix potions in a large",
        "kettle beside the old mill",
    ],
    [
        "Meanwhile nobody expected rain",
        "that lasted for nine long days",
        "until the river left its banks",
        "and covered every field",
    ],
)
pytestmark = pytest.mark.usefixtures("own_cache")


def scan():
    return draw(*((line, (40, 30 + 60 * i)) for i, line in enumerate(LINES)))


def texts(reading):
    return [word.text for word in reading.words]


def test_words_stand_where_their_ink_is(engine):
    image, inked = scan()
    reading = ocr.read(image)
    assert texts(reading) == " ".join(LINES).split()
    assert [word.line for word in reading.words] == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    slack = 4 / 620, 4 / 160
    for word, (x0, y0, x1, y1) in zip(reading.words, inked, strict=True):
        left, top, right, bottom = word.box
        assert abs(left - x0) < slack[0], word
        assert abs(right - x1) < slack[0], word
        assert top < y0 + slack[1], word
        assert bottom > y1 - slack[1], word
        assert bottom - top < 45 / 160, word  # one line, not two


def test_columns_are_read_one_after_the_other(engine):
    placed = [(line, (30 + 480 * side, 30 + 44 * i)) for side in (0, 1) for i, line in enumerate(COLUMNS[side])]
    image, _ = draw(("A title over both of the columns", (280, 0)), *placed, size=(960, 230), height=26)
    read = texts(ocr.read(image))
    assert read == " ".join(["A title over both of the columns", *COLUMNS[0], *COLUMNS[1]]).split()


def test_the_rows_of_a_table_stay_together(engine):
    cells = [("Apples", "12"), ("Pears", "340"), ("Plums", "7"), ("Cherries", "58"), ("Quinces", "96")]
    placed = [(text, (40 + 400 * i, 20 + 44 * row)) for row, pair in enumerate(cells) for i, text in enumerate(pair)]
    image, _ = draw(*placed, size=(620, 260))
    assert texts(ocr.read(image)) == [text for pair in cells for text in pair]


@pytest.mark.parametrize("turns", [1, 3])
def test_turned_text_is_read_in_its_direction(turns):
    image, inked = scan()
    reading = ocr.read(image.rotate(-90 * turns, expand=True))
    assert texts(reading) == " ".join(LINES).split()
    for word, (x0, y0, x1, y1) in zip(reading.words, inked, strict=True):
        expected = (1 - y1, x0, 1 - y0, x1) if turns == 1 else (y0, 1 - x1, y1, 1 - x0)
        assert abs(word.box[1] - expected[1]) < 6 / 620
        assert abs(word.box[3] - expected[3]) < 6 / 620
        assert word.box[0] < (expected[0] + expected[2]) / 2 < word.box[2]


def test_a_word_over_a_line_end_is_one(engine):
    image, _ = draw(("It was a most remark-", (40, 30)), ("able year for all", (40, 70)))
    word = next(word for word in ocr.read(image).words if word.text == "remarkable")
    assert word.rest[0][0] == len("remark")
    assert word.rest[0][1][1] > word.box[1]


def test_nothing_is_read_into_noise(engine):
    grey = np.random.default_rng(0).integers(90, 166, (300, 300, 1), dtype=np.uint8)
    for image in (Image.fromarray(np.repeat(grey, 3, axis=2)), Image.new("RGB", (300, 300), "white")):
        reading = ocr.read(image)
        assert (reading.words, reading.lost) == ((), ())
        assert reading.confidence == 0


def test_pictures_of_any_shape_are_read():
    for size in ((1, 1), (1, 3000), (3000, 1)):
        assert ocr.read(Image.new("RGB", size, "white")).words == ()
    image, _ = scan()
    wide = Image.new("RGB", (2000, 160), "white")
    wide.paste(image)
    (first, *_) = ocr.read(wide).words
    assert first.text == "Invoice"
    assert abs(first.box[0] - 40 / 2000) < 0.01
    assert 0.1 < first.box[1] < first.box[3] < 0.5


def test_large_letters_are_read(engine):
    image, inked = scan()
    word = ocr.read(image.resize((4 * image.width, 4 * image.height))).words[0]
    assert word.text == "Invoice"
    assert abs(word.box[2] - inked[0][2]) < 0.01


def test_confidence(engine):
    image, _ = scan()
    reading = ocr.read(image)
    assert len(reading.confidences) == len(reading.words)
    assert all(CONFIDENT <= c <= 1 for c in reading.confidences)
    assert reading.confidence > {"rapidocr": 0.95, "glyph": 0.9}[engine]
    assert reading.confidence == pytest.approx(np.mean(reading.confidences))


def test_words_read_without_confidence_are_left_out():
    boxes = np.array([(10 * i, 10, 10 * i + 10, 30) for i in range(9)], float)
    line = Line("sure odd.", boxes, np.array([0.9] * 4 + [1.0] + [0.99, 0.3, 0.2, 0.1]), 0, 0, 10, 90, 30)
    assert arranged([line], 200, 100) == Reading((Word("sure", (0, 0.1, 0.2, 0.3)),), (0.9,))


def test_words_beside_the_page_are_left_out():
    boxes = np.array([(10 * i - 60, 10, 10 * i - 50, 30) for i in range(4)], float)
    line = Line("away", boxes, np.ones(4), 0, -60, 10, -20, 30)
    assert arranged([line], 200, 100) == Reading((), ())


def test_each_word_has_the_confidence_of_its_own_letters():
    boxes = np.array([(10 * i - 5, 10, 10 * i + 5, 30) for i in range(9)], float)
    odd = np.array([0.9] * 4 + [1.0] + [0.7] * 4)
    lines = [Line("sure fair", boxes + np.array([0, 40, 0, 40]) * n, odd - n / 20, 0, 0, 10, 90, 30) for n in (0, 1)]
    assert arranged(lines, 80, 100).confidences == (0.9, 0.7, 0.85, 0.65)


def test_a_page_is_read_once(own_cache, monkeypatch):
    image, _ = draw(("It was a most remark-", (40, 30)), ("able year", (40, 70)))
    reading = ocr.read(image)
    (file,) = own_cache.rglob("*.json")
    assert not [path for path in file.parent.iterdir() if path != file]
    with monkeypatch.context() as patch:
        patch.setattr(rapidocr, "_engine", None)
        assert ocr.read(image) == reading
        other = image.copy()
        other.putpixel((0, 0), (0, 0, 0))
        with pytest.raises(TypeError):
            ocr.read(other)
    file.write_text('[["cut of')
    assert ocr.read(image) == reading
    assert engines._load(file) == reading


def test_a_full_cache_loses_its_oldest(own_cache, monkeypatch):
    monkeypatch.setattr(engines, "_CACHE_SHARD", 2)
    for name in "abc":
        engines._save(own_cache / f"{name}.json", Reading((), ()))
    assert len(list(own_cache.iterdir())) == 2
    assert (own_cache / "c.json").exists()


def test_a_cache_that_cannot_be_written_is_only_a_warning(own_cache, caplog):
    own_cache.write_text("a file where the folder should be")
    image, _ = scan()
    assert texts(ocr.read(image))[0] == "Invoice"
    assert "cannot be kept" in caplog.text


def test_it_needs_no_network(tmp_path):
    image, _ = scan()
    image.save(tmp_path / "scan.png")
    code = f"""
import socket
def refuse(*_, **__): raise AssertionError("the network was asked for")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from PIL import Image
from visret import ocr
print(*(word.text for word in ocr.read(Image.open({str(tmp_path / "scan.png")!r})).words))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == " ".join(LINES), done.stderr


# ------------------------------------------------------------------------------------------- text layers


def layer(text, box=(0.1, 0.1, 0.2, 0.12)):
    return tuple(Word(part, box) for part in text.split())


def test_when_the_image_is_read(monkeypatch):
    image, inked = scan()
    scanned = Page.from_image(image, doc="scan.pdf", words=(), metadata={"year": 1998})
    read = ocr.with_words(scanned)
    assert read.text.split("\n") == LINES
    assert (read.ref, read.size_pt, read.metadata["year"]) == (scanned.ref, scanned.size_pt, 1998)
    assert read.metadata["ocr_confidence"] == pytest.approx(ocr.read(image).confidence, abs=1e-3)
    twice = image.resize((1240, 320))
    assert ocr.with_words(Page(scanned.ref, (620 * 0.72, 160 * 0.72), twice, ())).text == read.text
    assert ocr.with_words(Page(scanned.ref, scanned.size_pt, image)).words == read.words
    stamped = Page.from_image(image, doc="scan.pdf", words=layer("Received", (0.9, 0.9, 0.99, 0.99)))
    assert ocr.with_words(stamped).text.split("\n") == [*LINES, "Received"]
    born = Page.from_image(image, doc="born.pdf", words=list(zip(["Own"] * len(inked), inked, strict=True)))
    assert ocr.with_words(born, "always").words == read.words
    assert ocr.with_words(born) is born
    monkeypatch.setattr(ocr, "read", None)
    assert ocr.with_words(scanned, "never") is scanned
    text = Page.from_text("plain", doc="a.txt")
    assert ocr.with_words(text, "always") is text


def test_always_reads_and_keeps_what_it_cannot():
    own = layer("word " * 30)
    image, _ = scan()
    born = Page.from_image(image, doc="born.pdf", words=own)
    assert ocr.with_words(born, "always").text.split("\n") == [born.text, *LINES]
    white = Page.from_image(Image.new("RGB", (60, 60), "white"), doc="photo.pdf", words=own)
    assert ocr.with_words(white, "always") is white


def test_what_a_mode_comes_to():
    assert [ocr.usable_mode(mode, "text") for mode in ocr.MODES] == list(ocr.MODES)
    assert [ocr.usable_mode(mode, "image") for mode in ("auto", "never")] == ["never", "never"]
    with pytest.raises(InvalidArgument, match="auto, never, always"):
        ocr.usable_mode("sometimes", "text")
    with pytest.raises(InvalidArgument, match="reads no words"):
        ocr.usable_mode("always", "image")


def test_a_small_page_is_drawn_finely():
    assert ocr.dpi_of((595, 842)) == ocr.dpi_of((14400, 200)) == ocr.DPI["rapidocr"]
    assert ocr.dpi_of((72, 72)) > 5 * ocr.DPI["rapidocr"]  # it may be a large one whose size is stated wrongly
