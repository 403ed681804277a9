"""Files become pages: the same page whoever draws it, words where their ink is, and one clear line for bad files."""

from __future__ import annotations

import ctypes
import logging
import re
import runpy
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from benchmarks.words_vs_pdftotext import DIVIDED, FOUND, compare, parts, pdftotext
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from support.samples import FOLDER

from visret import Page, documents
from visret.documents import characters, formats, pdf
from visret.documents import text as plain_text
from visret.errors import DocumentError, PasswordRequired

PAGES = {"report.pdf": 8, "two_column.pdf": 3, "scan.pdf": 2}
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
VIEWS = [
    (turn, size, crop) for turn in (0, 90, 180, 270) for size in ((300, 400), (400, 300)) for crop in (False, True)
]


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> Path:
    """A page for each of VIEWS: upright, turned, landscape, cropped, and mixed sizes. One word on each is red."""
    path = tmp_path_factory.mktemp("views") / "views.pdf"
    canvas = Canvas(str(path))
    for turn, size, crop in VIEWS:
        canvas.setPageSize(size)
        canvas.setPageRotation(turn)
        width, height = size[::-1] if turn % 180 else size  # reportlab swaps the sheet of a page on its side
        canvas.setCropBox((25, 20, width - 60, height - 35) if crop else (0, 0, width, height))
        canvas.setFont("Helvetica", 16)
        canvas.drawString(40, height - 60, f"Seen at {turn}")
        canvas.setFillColor("red")
        canvas.drawString(60, 100, "reddish")
        canvas.setFillColor("black")
        canvas.drawString(width - 55, 60, "beyond")  # this and the next are outside the crop box
        canvas.drawString(2, 2, "hid")
        canvas.saveState()
        canvas.translate(width - 90, 120)
        canvas.rotate(90)
        canvas.drawString(0, 0, "upwards")
        canvas.restoreState()
        canvas.rect(30, height - 120, 40, 20, fill=1)
        canvas.showPage()
    canvas.save()
    return path


def made(path: Path, texts=("first page", "second page", "third page"), **options) -> Path:
    canvas = Canvas(str(path), pagesize=(300, 200), pageCompression=0, **options)
    for text in texts:
        canvas.drawString(50, 100, text)
        canvas.showPage()
    canvas.save()
    return path


def read_all(path: Path, **options) -> list[Page]:
    with documents.open_document(path) as document:
        return [document.page(number, **options) for number in range(1, len(document) + 1)]


def cut(page: Page, box) -> np.ndarray:
    """(h, w, 3) int: the pixels of the page's image in a box."""
    width, height = page.image.size
    x0, y0, x1, y1 = box
    return np.asarray(
        page.image.crop((round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height))), int
    )


# ---- what a page is


@pytest.mark.parametrize("name", PAGES)
def test_the_samples_have_their_pages(name):
    pages = read_all(FOLDER / name, dpi=36)
    assert [page.ref for page in pages] == [(name, n + 1) for n in range(PAGES[name])]
    assert documents.count(FOLDER / name) == PAGES[name]
    for page in pages:
        assert page.image.mode == "RGB"
        assert page.image.size == tuple(round(points / 2) for points in page.size_pt)
        assert page.words or name == "scan.pdf"
        assert page.words is not None


def test_only_what_is_asked_for_is_read():
    with documents.open_document(FOLDER / "report.pdf") as document:
        words_only = document.page(2, image=False, doc="papers/report.pdf", metadata={"year": 2025})
        image_only = document.page(2, words=False, dpi=50)
    assert words_only.image is None
    assert words_only.ref == ("papers/report.pdf", 2)
    assert words_only.metadata == {"year": 2025}
    assert image_only.words is None
    assert image_only.image.tobytes() == documents.render(FOLDER / "report.pdf", 2, dpi=50).tobytes()


def test_a_huge_page_is_drawn_at_a_lower_resolution(tmp_path):
    canvas = Canvas(str(tmp_path / "huge.pdf"), pagesize=(14_000, 7_000))
    canvas.rect(0, 0, 7_000, 7_000, fill=1)
    canvas.save()
    image = documents.render(tmp_path / "huge.pdf", 1, max_pixels=20_000)
    assert image.size == (200, 100)
    assert [image.getpixel((x, 50)) for x in (90, 110)] == [(0, 0, 0), WHITE]


def test_filled_in_fields_are_drawn_and_read(tmp_path):
    canvas = Canvas(str(tmp_path / "form.pdf"), pagesize=(300, 200))
    canvas.drawString(20, 100, "Name:")
    canvas.acroForm.textfield(name="name", value="Lovelace", x=80, y=95, width=120, height=20, borderWidth=0)
    canvas.save()
    with documents.open_document(tmp_path / "form.pdf") as document:
        for page in (document.page(1), document.page(1)):  # reading a page does not change it
            assert [word.text for word in page.words] == ["Name:", "Lovelace"]
            assert cut(page, page.words[1].box).min() < 100


# ---- two libraries, one page


@pytest.mark.parametrize("name", [*PAGES, "views"])
def test_pdfium_and_poppler_draw_the_same_page(name, views):
    path = views if name == "views" else FOLDER / name
    with documents.open_document(path) as by_pdfium, documents.open_document(path, backend="poppler") as by_poppler:
        assert len(by_pdfium) == len(by_poppler)
        for number in range(1, len(by_pdfium) + 1):
            ours, theirs = by_pdfium.page(number, dpi=40), by_poppler.page(number, dpi=40)
            assert theirs.size_pt == ours.size_pt
            assert [w.text for w in theirs.words] == [w.text for w in ours.words]
            assert np.abs(np.subtract(ours.image.size, theirs.image.size)).max() <= 1
            grey = [
                np.asarray(p.image.convert("L").resize((24, 24), Image.Resampling.BOX), int) for p in (ours, theirs)
            ]
            assert np.abs(grey[0] - grey[1]).mean() < 4
            assert np.abs(grey[0] - grey[1]).max() < 50
            upside_down = np.abs(grey[0] - grey[1][::-1, ::-1]).mean()
            assert upside_down > 2 * np.abs(grey[0] - grey[1]).mean()  # the comparison would see a wrong turn


@pytest.mark.parametrize("name", ["report.pdf", "two_column.pdf"])
def test_words_are_those_of_pdftotext(name):
    states = Counter()
    for page in read_all(FOLDER / name, image=False):
        states += Counter(compare(list(parts(page)), pdftotext(FOLDER / name, page.ref.page)))
    assert states[FOUND] / states.total() > 0.99
    assert states[FOUND] + states[DIVIDED] == states.total() > 1500


def test_poppler_missing_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DocumentError, match=r"apt install poppler-utils.*brew install poppler.*Windows"):
        documents.open_document(FOLDER / "report.pdf", backend="poppler")
    with pytest.raises(DocumentError, match="pdfium and poppler"):
        documents.open_document(FOLDER / "report.pdf", backend="mupdf")


# ---- words


def test_the_article_is_read_word_for_word():
    wanted = runpy.run_path(str(FOLDER.parent / "make_documents.py"), run_name="make_documents")["two_column_words"]()
    pages = read_all(FOLDER / "two_column.pdf", image=False)
    assert [[word.text for word in page.words] for page in pages] == wanted
    assert sum(bool(word.rest) for page in pages for word in page.words) > 10  # hyphenated ones among them


@pytest.mark.parametrize("number", range(1, len(VIEWS) + 1), ids=lambda n: "-".join(map(str, VIEWS[n - 1])))
def test_a_word_is_where_its_ink_is(number, views):
    turn, size, crop = VIEWS[number - 1]
    with documents.open_document(views) as document:
        page = document.page(number, dpi=100)
    across, down = (85, 55) if crop else (0, 0)
    width, height = size[0] - (down if turn % 180 else across), size[1] - (across if turn % 180 else down)
    assert page.size_pt == pytest.approx((width, height))
    hidden = [] if crop else ["hid", "beyond"]
    assert Counter(page.text.split()) == Counter(["Seen", "at", str(turn), "reddish", "upwards", *hidden])
    red = {word.text: (cut(page, word.box) - RED).any(axis=2).mean() for word in page.words}
    assert min(red, key=red.get) == "reddish"
    pixels = np.asarray(page.image, int)
    inside = cut(page, next(word.box for word in page.words if word.text == "reddish"))
    assert (inside[..., 1] < 100).sum() > 0.98 * ((pixels[..., 0] > 200) & (pixels[..., 1] < 100)).sum()
    for word in page.words:
        ink = cut(page, word.box).min(axis=2) < 128
        assert ink.any()
        x0, y0, x1, y1 = word.box
        assert (x1 - x0) * width * (y1 - y0) * height < 16 * 1.3 * 16 * 0.8 * len(word.text)  # and no larger than that


def test_text_that_cannot_be_seen_is_kept_and_text_outside_the_crop_box_is_not(tmp_path):
    canvas = Canvas(str(tmp_path / "ocr.pdf"), pagesize=(300, 200))
    canvas.setCropBox((50, 0, 300, 200))
    layer = canvas.beginText(60, 100)
    layer.setTextRenderMode(3)  # as OCR programs write it under a scan
    layer.textOut("invisible text")
    canvas.drawText(layer)
    canvas.drawString(5, 150, "margin")
    canvas.save()
    (page,) = read_all(tmp_path / "ocr.pdf")
    assert [word.text for word in page.words] == ["invisible", "text"]
    assert page.words[0].box[0] == pytest.approx(10 / 250, abs=0.002)


# ---- what cannot be read


def test_an_encrypted_file_needs_its_password(tmp_path):
    path = made(tmp_path / "secret.pdf", encrypt=StandardEncryption("sésame", ownerPassword="owner", strength=128))
    with pytest.raises(PasswordRequired, match="give its password"):
        documents.open_document(path)
    with pytest.raises(PasswordRequired, match="password is wrong"):
        documents.open_document(path, password="open")
    for backend in ("pdfium", "poppler"):
        with documents.open_document(path, password="sésame", backend=backend) as document:
            page = document.page(2, dpi=72)
        assert page.text == "second page"
        assert cut(page, page.words[0].box).min() < 100


def test_a_password_that_nothing_asks_for_does_no_harm(tmp_path):
    anyone = made(tmp_path / "anyone.pdf", encrypt=StandardEncryption("", ownerPassword="owner", strength=128))
    for path in (anyone, made(tmp_path / "open.pdf")):
        assert documents.count(path, password="unneeded") == 3
        assert documents.render(path, 1, password="unneeded", backend="poppler", dpi=36).size == (150, 100)


def bad_files(folder: Path) -> dict[str, str]:
    """File name -> what the message says."""
    whole = made(folder / "whole.pdf").read_bytes()
    image = Image.new("RGB", (300, 200), "red")
    image.save(folder / "whole.png")
    contents = {
        "empty.pdf": (b"", "is empty"),
        "cut.pdf": (whole[: len(whole) // 2], "cut off or empty PDF; download it again"),
        "none.pdf": (re.sub(rb"/Count 3 /Kids \[.*?\]", b"/Count 0 /Kids [ ]", whole), "empty PDF"),
        "letter.pdf": (b"Dear sir,\nthis is a letter", "is not a PDF: it begins with 'Dear sir,'"),
        "page.pdf": (b"<!DOCTYPE html><html></html>", "is not a PDF: it begins with '<!DOCTYPE html>"),
        "words.png": (b"no picture", "is not a picture"),
        "short.png": ((folder / "whole.png").read_bytes()[:-200], "damaged picture"),
        "short.jpg": (b"\xff\xd8\xff\xe0", "is not a picture|damaged picture"),
        "binary.txt": (b"MZ\0\1\2\3", "is not plain text"),
        "book.docx": (b"PK", r"files ending in '\.docx' are not read; \.pdf"),
        "noending": (b"text", "files ending in 'nothing'"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    (folder / "folder.pdf").mkdir()
    said = {name: message for name, (_, message) in contents.items()}
    return {**said, "folder.pdf": "is a folder", "gone.pdf": "does not exist"}


def test_a_bad_file_is_one_clear_line(tmp_path):
    for name, message in bad_files(tmp_path).items():
        path = tmp_path / name
        with pytest.raises(DocumentError, match=message) as caught, documents.open_document(path) as document:
            document.page(1)
        assert str(caught.value).startswith(f"{path}")
        assert "\n" not in str(caught.value)


def test_what_is_said_of_a_file_is_not_what_was_wrong_with_the_one_before(tmp_path):
    secret = made(tmp_path / "secret.pdf", encrypt=StandardEncryption("sésame", strength=128))
    bad_files(tmp_path)
    for _ in range(2):
        with pytest.raises(PasswordRequired):
            documents.open_document(secret)
        with pytest.raises(DocumentError, match="empty PDF") as caught:
            documents.open_document(tmp_path / "none.pdf")
        assert not isinstance(caught.value, PasswordRequired)


def test_a_damaged_page_does_not_end_the_others(tmp_path):
    data = made(tmp_path / "whole.pdf").read_bytes()
    second = re.search(rb"/Kids \[ \d+ 0 R (\d+) 0 R", data)[1]
    page = re.search(rb"\n" + second + rb" 0 obj\n(.*?)endobj", data, re.DOTALL)
    blank = b"null".ljust(len(page[1]) - 1) + b"\n"
    (tmp_path / "damaged.pdf").write_bytes(data[: page.start(1)] + blank + data[page.end(1) :])
    with documents.open_document(tmp_path / "damaged.pdf") as document:
        assert len(document) == 3
        with pytest.raises(DocumentError, match="page 2: the page is damaged") as caught:
            document.page(2)
        assert caught.value.page == 2
        assert [document.page(n).text for n in (1, 3)] == ["first page", "third page"]


def test_a_crop_box_beside_the_page_shows_all_of_it(tmp_path):
    """As in all viewers."""
    canvas = Canvas(str(tmp_path / "beside.pdf"), pagesize=(300, 200))
    canvas.setCropBox((500, 500, 600, 600))
    canvas.drawString(50, 100, "text")
    canvas.save()
    (page,) = read_all(tmp_path / "beside.pdf", dpi=72)
    assert page.size_pt == (300, 200)
    assert page.words[0].box[0] == pytest.approx(50 / 300, abs=0.01)
    assert cut(page, page.words[0].box).min() < 100


def test_a_page_without_an_area_is_said(tmp_path, monkeypatch):
    path = made(tmp_path / "three.pdf")
    monkeypatch.setattr(pdf.pypdfium2.PdfPage, "get_size", lambda _: (300.0, 0.0))
    with pytest.raises(DocumentError, match="page 1: the page has no area"):
        read_all(path)


def test_a_page_that_is_not_there_and_a_document_that_is_closed(tmp_path):
    with documents.open_document(made(tmp_path / "three.pdf")) as document:
        for number in (0, 4, -1):
            with pytest.raises(DocumentError, match=f"no page {number}; its pages are 1 to 3"):
                document.page(number)
    document.close()  # again
    with pytest.raises(ValueError, match="is closed"):
        document.page(1)


def test_what_pdfium_says_of_each_call_is_heard(tmp_path, monkeypatch):
    path = made(tmp_path / "three.pdf")
    for name in ("FPDFBitmap_FillRect", "FPDF_GetPageBoundingBox"):
        with monkeypatch.context() as patch:
            patch.setattr(pdf.raw, name, lambda *_: 0)
            with pytest.raises(DocumentError, match="page 1: the page is damaged"):
                read_all(path)


def test_characters_without_an_angle_are_upright(tmp_path, monkeypatch):
    unicode_of, box_of, _, unmapped = characters.character_calls()
    upright = read_all(made(tmp_path / "three.pdf"))[0].words
    for said in (-1.0, float("nan")):
        calls = unicode_of, box_of, lambda *_, said=said: said, unmapped
        monkeypatch.setattr(characters, "character_calls", lambda calls=calls: calls)
        assert read_all(tmp_path / "three.pdf")[0].words == upright


def test_the_calls_on_plain_addresses_are_those_that_pypdfium2_declares():
    """Nothing converts their arguments: a PDFium whose functions are others must not be called like this."""
    raw, number = pdf.raw, ctypes.c_int
    rectangle = ctypes.POINTER(raw.FS_RECTF)
    for function, result, more in (
        (raw.FPDFText_GetUnicode, ctypes.c_uint, []),
        (raw.FPDFText_GetLooseCharBox, number, [rectangle]),
        (raw.FPDFText_GetCharAngle, ctypes.c_float, []),
        (raw.FPDFText_HasUnicodeMapError, number, []),
    ):
        assert function.restype is result
        assert list(function.argtypes) == [raw.FPDF_TEXTPAGE, number, *more]
    for function, result, arguments in (
        (raw.FPDFPage_GetAnnotCount, number, [raw.FPDF_PAGE]),
        (raw.FPDFPage_GetAnnot, raw.FPDF_ANNOTATION, [raw.FPDF_PAGE, number]),
        (raw.FPDFAnnot_GetSubtype, number, [raw.FPDF_ANNOTATION]),
        (raw.FPDFPage_CloseAnnot, None, [raw.FPDF_ANNOTATION]),
        (raw.FPDFPage_CountObjects, number, [raw.FPDF_PAGE]),
        (raw.FPDFPage_GetObject, raw.FPDF_PAGEOBJECT, [raw.FPDF_PAGE, number]),
        (raw.FPDFPageObj_GetType, number, [raw.FPDF_PAGEOBJECT]),
        (raw.FPDFPageObj_CountMarks, number, [raw.FPDF_PAGEOBJECT]),
        (raw.FPDFPageObj_GetMark, raw.FPDF_PAGEOBJECTMARK, [raw.FPDF_PAGEOBJECT, ctypes.c_ulong]),
    ):
        assert function.restype is result
        assert list(function.argtypes) == arguments
    assert [(name, kind, getattr(raw.FS_RECTF, name).offset) for name, kind in raw.FS_RECTF._fields_] == [
        (name, ctypes.c_float, 4 * k) for k, name in enumerate(("left", "top", "right", "bottom"))
    ]


def test_an_end_that_is_missing_is_warned_of(tmp_path, caplog):
    data = made(tmp_path / "three.pdf").read_bytes()
    (tmp_path / "three.pdf").write_bytes(data[: data.rindex(b"%%EOF")])
    with caplog.at_level(logging.WARNING):
        assert [page.text for page in read_all(tmp_path / "three.pdf")][2] == "third page"
    assert "three.pdf: the PDF's end is missing" in caplog.text


def test_everything_is_let_go_of_page_by_page(monkeypatch):
    calls = Counter()

    def count(owner, name, kind):
        real = getattr(owner, name)

        def counted(*args, **options):
            calls[kind] += 1
            return real(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    count(pdf.pypdfium2.PdfDocument, "get_page", "pages opened")
    count(pdf.pypdfium2.PdfPage, "close", "pages closed")
    count(pdf.pypdfium2.PdfPage, "get_textpage", "texts opened")
    count(pdf.pypdfium2.PdfTextPage, "close", "texts closed")
    count(pdf.raw, "FPDF_RenderPageBitmap", "bitmaps drawn")
    count(pdf.pypdfium2.PdfBitmap, "close", "bitmaps closed")
    count(pdf.pypdfium2.PdfDocument, "close", "documents closed")
    read_all(FOLDER / "report.pdf", dpi=20)
    assert calls.pop("documents closed") == 1
    assert len(calls) == 6
    assert set(calls.values()) == {8}


def test_threads_may_read_at_once():
    expected = [(page.image.tobytes(), page.text) for page in read_all(FOLDER / "two_column.pdf", dpi=30)]
    found = [None] * 4

    def read(k):
        found[k] = [(page.image.tobytes(), page.text) for page in read_all(FOLDER / "two_column.pdf", dpi=30)]

    threads = [threading.Thread(target=read, args=(k,)) for k in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * len(found)


# ---- pictures


def corners(image: Image.Image) -> list[tuple[int, int, int]]:
    """Colours a little inside the corners: top left, top right, bottom left, bottom right."""
    width, height = image.size
    return [image.getpixel((x, y)) for y in (2, height - 3) for x in (2, width - 3)]


def near(found, wanted) -> bool:
    return np.abs(np.subtract(found, wanted)).max() < 20


def quartered(mode="RGB") -> Image.Image:
    image = Image.new("RGB", (60, 40), WHITE)
    for colour, place in ((RED, (0, 0)), (GREEN, (30, 0)), (BLUE, (0, 20))):
        image.paste(colour, (*place, place[0] + 30, place[1] + 20))
    return image.convert(mode)


@pytest.mark.parametrize("suffix", formats.endings(["picture"]))
def test_pictures_are_pages(suffix, tmp_path):
    if suffix in (".heic", ".heif"):
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed").register_heif_opener()
    quartered().save(tmp_path / f"picture{suffix.upper()}", **({"quality": 100} if suffix.startswith(".he") else {}))
    (page,) = read_all(tmp_path / f"picture{suffix.upper()}")
    assert page.words == ()
    assert page.size_pt == pytest.approx((43.2, 28.8), rel=0.05)  # 100 dpi; a bitmap says 96
    assert page.image.size == (60, 40)
    assert near(corners(page.image), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize(("mode", "suffix"), [("P", "png"), ("CMYK", "tif"), ("CMYK", "jpg")])
def test_other_colour_modes(mode, suffix, tmp_path):
    picture = quartered().quantize(4) if mode == "P" else quartered(mode)
    picture.save(tmp_path / f"picture.{suffix}")
    with Image.open(tmp_path / f"picture.{suffix}") as stored:
        assert stored.mode == mode
    assert near(corners(documents.render(tmp_path / f"picture.{suffix}", 1)), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_over_white(mode, tmp_path):
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (20, 0, 40, 20))
    image.convert(mode).save(tmp_path / "picture.png")
    assert corners(documents.render(tmp_path / "picture.png", 1)) == [WHITE, (0, 0, 0)] * 2


@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 65535), (np.int32, 65535), (np.float32, 1.0)])
def test_more_than_eight_bits_are_scaled(dtype, top, tmp_path):
    ramp = np.tile(np.linspace(0, top, 5), (4, 1)).astype(dtype)
    Image.fromarray(ramp).save(tmp_path / "picture.tif")
    image = documents.render(tmp_path / "picture.tif", 1)
    assert near([image.getpixel((x, 1))[0] for x in range(5)], [0, 64, 128, 191, 255])


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(suffix, orientation, tmp_path):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quartered().transpose(undo[orientation]) if orientation > 1 else quartered()
    exif = Image.Exif()
    exif[0x0112] = orientation
    dpi = (50, 200) if orientation < 5 else (200, 50)  # as stored
    stored.save(tmp_path / f"photo.{suffix}", exif=exif, **({"dpi": dpi} if suffix != "webp" else {}))
    (page,) = read_all(tmp_path / f"photo.{suffix}", dpi=200)
    assert near(corners(page.image), [RED, GREEN, BLUE, WHITE])
    if suffix != "webp":
        assert page.size_pt == pytest.approx((60 * 72 / 50, 40 * 72 / 200), rel=0.01)


def test_a_scan_has_the_size_of_its_paper_and_is_never_enlarged(tmp_path):
    Image.new("L", (850, 1100)).save(tmp_path / "scan.png", dpi=(100, 100))
    for dpi, size in ((50, (425, 550)), (100, (850, 1100)), (300, (850, 1100))):
        (page,) = read_all(tmp_path / "scan.png", dpi=dpi)
        assert page.size_pt == pytest.approx((612, 792), rel=0.001)
        assert page.image.size == size
    assert documents.render(tmp_path / "scan.png", 1, max_pixels=850 * 11).size == (85, 110)


@pytest.mark.parametrize("dpi", [(1, 1), (0, 0), (72_000, 72_000)])
def test_a_resolution_that_is_nonsense_is_ignored(dpi, tmp_path):
    Image.new("L", (100, 50)).save(tmp_path / "photo.jpg", dpi=dpi)
    assert read_all(tmp_path / "photo.jpg")[0].size_pt == pytest.approx((72, 36))


def test_a_fax_with_oblong_pixels_is_shown_square(tmp_path):
    Image.new("1", (1728, 1078)).save(tmp_path / "fax.tif", dpi=(204, 98))
    width, height = documents.render(tmp_path / "fax.tif", 1, dpi=98).size
    assert width / height == pytest.approx((1728 / 204) / (1078 / 98), rel=0.01)


def test_large_pictures_are_read_and_enormous_ones_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # from here on Pillow warns, from twice that it refuses
    Image.new("1", (40, 30)).save(tmp_path / "large.png")
    assert documents.render(tmp_path / "large.png", 1).size == (40, 30)
    Image.new("1", (60, 40)).save(tmp_path / "enormous.png")
    with pytest.raises(DocumentError, match=r"has more than 2,000 pixels; reduce it"):
        documents.count(tmp_path / "enormous.png")


def test_a_tiff_has_pages(tmp_path):
    sheets = [Image.new("RGB", (40 + 10 * i, 30), colour) for i, colour in enumerate((RED, GREEN, BLUE))]
    sheets[0].save(tmp_path / "fax.tiff", save_all=True, append_images=sheets[1:])
    with documents.open_document(tmp_path / "fax.tiff") as document:
        assert len(document) == 3
        for number in (3, 1, 2):
            page = document.page(number)
            assert (page.image.width, page.image.getpixel((5, 5))) == (30 + 10 * number, (RED, GREEN, BLUE)[number - 1])


def test_a_tiff_that_is_cut_off_keeps_its_first_pages(tmp_path):
    sheets = [Image.new("RGB", (300, 200), colour) for colour in (RED, GREEN, BLUE)]
    sheets[0].save(tmp_path / "fax.tiff", save_all=True, append_images=sheets[1:])
    data = (tmp_path / "fax.tiff").read_bytes()
    (tmp_path / "cut.tiff").write_bytes(data[: len(data) // 2])  # in the second picture; the third cannot be found
    with documents.open_document(tmp_path / "cut.tiff") as document:
        assert document.page(1).image.getpixel((5, 5)) == RED
        assert len(document) > 1
        for number in range(2, len(document) + 1):
            with pytest.raises(DocumentError, match=f"page {number}: is a damaged picture"):
                document.page(number)


def test_a_page_of_a_tiff_without_its_data_is_not_the_page_before(tmp_path):
    sheets = [Image.new("L", (1240, 200), grey) for grey in (10, 100, 200)]
    sheets[0].save(tmp_path / "fax.tiff", save_all=True, append_images=sheets[1:], compression="tiff_lzw")
    data = (tmp_path / "fax.tiff").read_bytes()
    second = data.index(b"\x00\x01\x03\x00", data.index(b"\x00\x01\x03\x00") + 1)  # its first tag, the width
    (tmp_path / "cut.tiff").write_bytes(data[: second + 30])
    with documents.open_document(tmp_path / "cut.tiff") as document:
        assert document.page(1).image.getpixel((5, 5)) == (10, 10, 10)
        with pytest.raises(DocumentError, match="page 2: is a damaged picture"):
            document.page(2)


def test_each_page_of_a_tiff_has_its_own_orientation(tmp_path):
    sheets = [Image.new("RGB", (40, 30)) for _ in range(3)]
    sheets[0].save(tmp_path / "fax.tiff", save_all=True, append_images=sheets[1:])
    upright, turned = Image.Exif(), Image.Exif()
    upright[0x0112], turned[0x0112] = 1, 6
    for sheet, exif in zip(sheets, (upright, turned, upright), strict=True):
        sheet.encoderinfo = {"exif": exif}
    sheets[0].save(tmp_path / "fax.tiff", save_all=True, append_images=sheets[1:])
    with documents.open_document(tmp_path / "fax.tiff") as document:
        assert [document.page(number).image.size for number in (1, 2, 3, 1)] == [(40, 30), (30, 40), (40, 30), (40, 30)]


def test_content_decides_what_a_file_is(tmp_path):
    quartered().save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.pdf")
    assert near(corners(documents.render(tmp_path / "picture.pdf", 1)), [RED, GREEN, BLUE, WHITE])
    made(tmp_path / "three.pdf").rename(tmp_path / "three.txt")
    assert documents.count(tmp_path / "three.txt") == 3
    (tmp_path / "about.txt").write_text("A file that begins with %PDF- is a PDF.")
    assert read_all(tmp_path / "about.txt")[0].plain == "A file that begins with %PDF- is a PDF."


# ---- plain text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
def test_encodings(encoding, tmp_path):
    text = "Grüße aus São Paulo,\nça va?\n"
    data = ("\ufeff" if encoding == "utf-16-be" else "") + text
    (tmp_path / "letter.md").write_bytes(data.replace("\n", "\r\n").encode(encoding))
    (page,) = read_all(tmp_path / "letter.md")
    assert (page.plain, page.words, page.image, page.size_pt) == (text, None, None, None)
    with pytest.raises(DocumentError, match="plain text, which has no picture"):
        documents.render(tmp_path / "letter.md", 1)


def test_a_form_feed_ends_a_page(tmp_path):
    (tmp_path / "rfc.txt").write_text("one\n\ftwo\n\f\fand four\n\f\n")
    assert [page.plain for page in read_all(tmp_path / "rfc.txt")] == ["one\n", "two\n", "", "and four\n\n"]


def test_long_text_is_cut_where_it_hurts_least(tmp_path):
    paragraph, line, word = "p" * 2500 + "\n\n", "l" * 2500 + "\n", "w" * 2500 + " "
    for unit in (paragraph, line, word):
        (tmp_path / "long.txt").write_text(unit * 3)
        assert [page.plain for page in read_all(tmp_path / "long.txt")] == [unit] * 3
    (tmp_path / "long.txt").write_text("x" * 9000)
    assert [len(page.plain) for page in read_all(tmp_path / "long.txt")] == [4000, 4000, 1000]


@given(st.text(st.sampled_from("ab \n\f"), max_size=40).map(lambda text: text * 400))
def test_no_text_is_lost(text):
    pages = list(plain_text.paged([text]))
    assert "".join(pages) == text.replace("\f", "")
    assert max(map(len, pages)) <= 2 * plain_text.TEXT_PAGE
    if "\f" not in text:
        assert max(map(len, pages)) <= plain_text.TEXT_PAGE
