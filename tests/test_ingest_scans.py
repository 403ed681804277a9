"""Scanned pages from file to highlight: read by OCR, found, marked on the right words, and looked at once."""

import numpy as np
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from support.sheets import draw

from visret import Page, Retriever, cli, documents, ocr
from visret.errors import InvalidArgument, MissingExtra
from visret.ingest import pages, process
from visret.ingest.options import ReadOptions
from visret.ocr import rapidocr

PAGES = (
    ["Invoice number 40172", "Payment is due within thirty days"],
    ["The lighthouse keeper repaired", "a broken lantern before the storm"],
)
QUESTION = "broken lantern"


def sheet(lines):
    return draw(*((line, (40, 30 + 60 * i)) for i, line in enumerate(lines)))


def write_scan(path, *pages):
    """A PDF of pictures of text, 100 dpi; where a page has no lines, it is white."""
    path.parent.mkdir(exist_ok=True)
    canvas = Canvas(str(path), pagesize=(620 * 0.72, 160 * 0.72))
    for lines in pages:
        canvas.drawImage(ImageReader(sheet(lines)[0]), 0, 0, 620 * 0.72, 160 * 0.72)
        canvas.showPage()
    canvas.save()
    return path


@pytest.fixture
def retriever(tmp_path, reads_words):
    with Retriever.create(tmp_path / "i.visret", model=reads_words) as made:
        yield made


@pytest.fixture
def idle(monkeypatch):
    """idle(): from now on no worker starts, so no file is read."""

    def use():
        monkeypatch.setattr(process.Worker, "__init__", lambda _: pytest.fail("a file is read"))

    return use


def inside(point, box):
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def test_a_scan_is_found_and_the_marks_lie_on_its_words(engine, retriever, tmp_path, monkeypatch):
    report = retriever.add(write_scan(tmp_path / "scan.pdf", *PAGES))
    assert (report.pages, report.empty, report.failed) == (2, [], [])
    hit = retriever.search(QUESTION, k=1)[0]
    assert (hit.ref, hit.text) == (("scan.pdf", 2), PAGES[1][1])

    monkeypatch.setattr(ocr, "read", None)  # what was indexed is shown, not read again
    _, inked = sheet(PAGES[1])
    texts = " ".join(PAGES[1]).split()
    page = retriever.page(hit)
    assert [word.text for word in page.words] == texts
    assert page.text.split("\n") == PAGES[1]
    assert page.metadata == hit.metadata
    for word, box in zip(page.words, inked, strict=True):
        assert inside(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), word.box), word.text
    assert np.asarray(retriever.picture(hit)).min() < 50

    why = retriever.heatmap(QUESTION, hit)
    best = why.boxes[0]
    for name in QUESTION.split():
        x0, y0, x1, y1 = inked[texts.index(name)]
        assert inside(((x0 + x1) / 2, (y0 + y1) / 2), (best.x0, best.y0, best.x1, best.y1)), name
    assert best.y0 > 0.4  # not the line above
    assert why.image().width > 100


def test_the_confidence_is_metadata_of_the_page(retriever, tmp_path):
    retriever.add(write_scan(tmp_path / "scan.pdf", *PAGES))
    hit = retriever.search(QUESTION, where={"ocr_confidence": {">=": 0.9}}, k=1)[0]
    assert 0.9 < hit.metadata["ocr_confidence"] <= 1
    assert retriever.search(QUESTION, where={"ocr_confidence": {"<": 0.5}}) == []


def test_what_was_empty_is_looked_at_once_more_when_it_can_be_read(retriever, tmp_path, idle):
    path = write_scan(tmp_path / "scan.pdf", *PAGES, [])
    report = retriever.add(path, ocr="never")
    assert (report.pages, [page.page for page in report.empty]) == (0, [1, 2, 3])
    assert retriever.info()["empty"] == 1
    assert retriever.add(path, ocr="never").unchanged == 1
    report = retriever.add(path)
    assert (report.pages, [page.page for page in report.empty]) == (2, [3])
    assert retriever.info()["done"] == 1
    idle()
    for mode in ocr.MODES:
        report = retriever.add(path, ocr=mode)
        assert (report.pages, report.unchanged, [page.page for page in report.empty]) == (0, 1, [3])


def test_pages_that_were_blank_are_not_looked_at_with_the_others(retriever, tmp_path):
    path = write_scan(tmp_path / "scan.pdf", [], PAGES[0])
    retriever.add(path, ocr="never")
    with retriever._index.writing() as writer:
        writer.skip(retriever._index.snapshot.docs()["scan.pdf"], 1, blank=True)
    report = retriever.add(path)
    assert (report.pages, [page.page for page in report.empty]) == (1, [1])


@pytest.mark.long
@pytest.mark.parametrize(("by", "offered"), [("rapidocr", ""), ("glyph", "pip install 'visret[ocr]' for worse ")])
def test_the_hint_does_not_offer_what_was_tried(by, offered, own_cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VISRET_OCR", by)
    path = str(write_scan(tmp_path / "scan.pdf", []))
    assert cli.main(["find", QUESTION, path]) == 0
    assert f"1 page without text, in which OCR found none either (scan.pdf): {offered}" in capsys.readouterr().err
    assert cli.main(["find", QUESTION, path, "--ocr", "never"]) == 0
    assert "1 page without text, such as scans (scan.pdf): --ocr auto reads them" in capsys.readouterr().err


def test_always_needs_a_model_that_reads(retriever, tmp_path, idle, monkeypatch):
    path = write_scan(tmp_path / "scan.pdf", *PAGES)
    idle()
    with (
        Retriever.create(tmp_path / "t.visret", model="toy") as colours,
        pytest.raises(InvalidArgument, match="no words"),
    ):
        colours.add(path, ocr="always")
    monkeypatch.setenv("VISRET_OCR", "tesseract")
    with pytest.raises(InvalidArgument, match="rapidocr, glyph"):
        retriever.add(path)
    monkeypatch.setenv("VISRET_OCR", "rapidocr")
    monkeypatch.setattr(rapidocr, "version", lambda: None)
    with pytest.raises(MissingExtra, match=r"visret\[ocr\]"):
        retriever.add_pages([Page.from_text("words", doc="x")])
    assert retriever.documents() == []


def test_pages_made_in_memory_are_read_too(retriever):
    pages = [Page.from_image(sheet(lines)[0], doc="x", page=i) for i, lines in enumerate(PAGES, 1)]
    assert len(retriever.add_pages(pages, ocr="never").empty) == 2
    assert retriever.add_pages(pages).pages == 2
    hit = retriever.search(QUESTION, k=1)[0]
    assert (hit.page, hit.text) == (2, PAGES[1][1])
    assert retriever.page(hit).text.split("\n") == PAGES[1]
    assert retriever.picture(hit).size == (620, 160)


def test_a_model_that_looks_at_pages_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(ocr, "read", None)
    with Retriever.create(tmp_path / "t.visret", model="toy") as colours:
        assert colours.add_pages([Page.from_image(Image.new("RGB", (64, 64), "red"), doc="x")]).pages == 1
        assert colours.add(write_scan(tmp_path / "scan.pdf", *PAGES)).pages == 2
        assert "ocr_confidence" not in colours.search("red", k=1)[0].metadata


def test_a_page_with_text_enough_is_not_drawn(tmp_path, monkeypatch):
    canvas = Canvas(str(tmp_path / "born.pdf"))
    for line in range(10):
        canvas.drawString(72, 700 - 20 * line, "words that stand in the text layer")
    canvas.save()
    monkeypatch.setattr(documents.pdf.Pdf, "_drawn", None)
    with documents.open_document(tmp_path / "born.pdf") as document:
        options = ReadOptions(pictures=False, ocr="auto")
        assert len(pages.read_page(document, 1, options).words) == 70
        with pytest.raises(TypeError):
            pages.read_page(document, 1, ReadOptions(pictures=False, ocr="always"))


def test_neither_is_favoured_in_a_mixed_folder(engine, retriever, tmp_path):
    write_scan(tmp_path / "in" / "scan.pdf", *PAGES)
    canvas = Canvas(str(tmp_path / "in" / "born.pdf"), pagesize=(620 * 0.72, 160 * 0.72))
    for lines in PAGES:
        for number, line in enumerate(lines):
            canvas.drawString(29, 80 - 43 * number, line)
        canvas.showPage()
    canvas.save()
    assert retriever.add(tmp_path / "in").pages == 4
    for number, question in ((2, QUESTION), (1, "when must we pay the bill")):
        best = retriever.search(question, k=4)
        assert {(hit.doc, hit.page) for hit in best[:2]} == {("scan.pdf", number), ("born.pdf", number)}
        assert best[0].score == pytest.approx(best[1].score, rel=0.02)
