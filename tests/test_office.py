"""Office documents: through the real LibreOffice where it is installed, and a stand-in that fails as it does."""

import gzip
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import pypdfium2
import pytest
from support.office_files import CONTENT, Read, copied, needs_libreoffice, write_odt, write_slides, write_tracked
from support.sheets import draw, ink, write_pdf

from visret.documents import html, kinds, linked, office, shown, slides
from visret.documents.drawings import secure
from visret.documents.soffice import LibreOffice
from visret.errors import DocumentError, PasswordRequired

posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script with a #! line")


def empty(tmp_path):
    """An empty folder for a conversion."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def text(path):
    pdf = pypdfium2.PdfDocument(path)
    try:
        return "\n".join(page.get_textpage().get_text_bounded() for page in pdf)
    finally:
        pdf.close()


@needs_libreoffice
def test_a_document_becomes_a_pdf(tmp_path):
    source = write_odt(tmp_path / "my %41 minütes.odt")
    before = source.read_bytes()
    assert text(office.convert(source, empty(tmp_path)).pdf).strip() == "Quarterly minutes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", source.name]
    assert source.read_bytes() == before


@needs_libreoffice
def test_what_libreoffice_cannot_read_is_an_error(tmp_path):
    source = write_odt(tmp_path / "cut.odt", CONTENT[:250])
    with pytest.raises(DocumentError, match="LibreOffice cannot convert it"):
        office.convert(source, empty(tmp_path))


class Site:
    """A server that gives nothing, and knows what it was asked for."""

    def __init__(self):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_OPTIONS = do_PROPFIND = do_GET  # noqa: N815

            def log_message(self, *arguments):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


LINKS = (
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:script="urn:oasis:names:tc:opendocument:xmlns'
    ':script:1.0" xmlns:dom="http://www.w3.org/2001/xml-events" xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:'
    'svg-compatible:1.0" xmlns:of="urn:oasis:names:tc:opendocument:xmlns:of:1.2" '
)


def write_links(folder, address):
    """Documents that name pictures, texts and values outside of them, on the disk and on a server."""
    secret = folder / "secret"
    secret.mkdir()
    draw(("SECRET", (40, 40)))[0].save(secret / "picture.png")
    (secret / "text.txt").write_text("SECRET")
    outside = [f"{address}/picture.png", (secret / "picture.png").as_uri()]
    pictures = "".join(
        f'<draw:frame svg:width="5cm" svg:height="2cm"><draw:image xlink:href="{one}"/></draw:frame>' for one in outside
    )
    section = (
        f'<text:section text:name="s"><text:section-source xlink:href="{(secret / "text.txt").as_uri()}" '
        'xlink:type="simple" text:filter-name="Text"/><text:p>Old section</text:p></text:section>'
    )
    body = CONTENT.replace("xmlns:text", f"{LINKS}xmlns:text", 1)
    write_odt(folder / "links.odt", body.replace("</text:p>", f"{pictures}</text:p>{section}"))
    cell = (
        '<table:table-cell table:formula="of:={}" office:value-type="string"><text:p>known</text:p></table:table-cell>'
    )
    formulas = (f"WEBSERVICE(&quot;{address}/value&quot;)", f"'{(secret / 'text.txt').as_uri()}'#$S.A1")
    row = "".join(map(cell.format, formulas)).join(("<table:table-row>", "</table:table-row>"))
    sheet = f'<office:spreadsheet><table:table table:name="S">{row}</table:table></office:spreadsheet>'
    before, _, rest = body.partition("<office:text>")
    write_odt(folder / "links.ods", before + sheet + rest.partition("</office:text>")[2], kind="spreadsheet")
    (folder / "links.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300"><style>@import "{address}/s.css";</style>'
        f'<image href="{outside[0]}" width="99" height="99"/><image href="{outside[1]}" width="99" height="99"/>'
        '<text x="10" y="200">Harbour\n <tspan font-weight="bold">plan</tspan></text></svg>'
    )
    (folder / "links.html").write_text(
        f'<link rel="stylesheet" href="{address}/s.css"><h1>Hello</h1><img src="{outside[0]}"><img src="{outside[1]}">'
    )
    return [folder / f"links.{kind}" for kind in ("odt", "ods", "svg", "html")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made[name]: documents of all kinds, each a Read; made["asked"]: what a server was asked for meanwhile."""
    folder, site = tmp_path_factory.mktemp("office"), Site()
    tracked, talk = write_tracked(folder / "tracked.docx"), write_slides(folder / "talk.pptx")
    old = LibreOffice(office.program(), folder, folder)
    paths = [tracked, talk, old.convert(talk, "ppt"), *write_links(folder, site.address)]
    paths.append(folder / "tracked.rtf")
    paths[-1].write_text(r"{\rtf1 The crossing fee was {\deleted threepence}{\revised fourpence}}")
    paths.append(folder / "cp1252.html")
    paths[-1].write_bytes("<h1>Gewässer</h1><p>Fähre „nein“, 4 €<svg><path><p>after an open drawing".encode("cp1252"))
    with ThreadPoolExecutor(2) as pool:
        reads = pool.map(lambda path: Read(path, folder / f"{path.name}-made"), paths)
        return {path.name: read for path, read in zip(paths, reads, strict=True)} | {"asked": site.asked}


@needs_libreoffice
def test_nothing_is_fetched(made):
    assert made["asked"] == []
    for name, text in {"odt": "Quarterly minutes", "ods": "S", "svg": "Harbour plan", "html": "Hello"}.items():
        read = made[f"links.{name}"]
        assert text in read.text()
        assert "SECRET" not in read.text()
        picture = read.pages[0].image.convert("L")
        assert sum(picture.histogram()[:128]) < 0.02 * picture.width * picture.height, name
    assert made["links.odt"].lost_whats() == ["2 pictures that it only links to"]
    assert made["links.ods"].lost_whats() == ["one cell of the sheet S"]  # what it was, as far as is known
    assert made["links.svg"].lost_whats() == ["2 pictures that the drawing only links to"]


@needs_libreoffice
@pytest.mark.parametrize("name", ["talk.pptx", "talk.ppt"])
def test_notes_and_comments_stand_below_their_slides_and_hidden_slides_in_their_places(made, name):
    read = made[name]
    assert [page.text.split("\n")[:3] for page in read.pages[:2]] == [
        ["Traffic", "Notes", "Mention the pontoon of 1987"],
        ["Dredging", "Notes", "Ask Kasimir"],
    ]
    assert len(read.pages) == 3
    first, last = read.pages[0].size_pt, read.pages[2].size_pt
    assert first[0] == last[0]
    x0, y0, x1, y1 = read.box("pontoon")
    assert y0 * first[1] > 540  # points, the height of the slide
    assert ink(read.pages[0], (x0, y0, x1, y1)) > 0.05
    assert ink(read.pages[0], (x0 - 0.002, y0, x0 - 0.001, y1)) == 0
    assert read.lost == ()


@needs_libreoffice
@pytest.mark.parametrize("name", ["talk.pptx", "talk.ppt"])
def test_text_beside_a_slide_stands_below_it(made, name):
    assert made[name].pages[0].text.split("\n")[3:] == ["Not on the slide", "far out at sea"]


@needs_libreoffice
def test_a_comment_on_a_slide_stands_below_it(made):
    assert made["talk.pptx"].pages[2].text == "End\nComment\nToo short a finish"


@needs_libreoffice
def test_changes_are_accepted_and_comments_stand_below_the_page(made):
    read = made["tracked.docx"]
    assert read.text() == (
        "Minutes of the ferry committee.\nThe crossing fee was fourpence\nComment by Ada\nAsk about the capstan"
    )
    assert read.lost_whats() == ["text that tracked changes delete"]
    assert ink(read.pages[0], read.box("capstan")) > 0.05
    assert made["tracked.rtf"].text() == "The crossing fee was fourpence"
    assert made["tracked.rtf"].lost == read.lost


@needs_libreoffice
def test_html_is_read_in_its_encoding(made):
    assert made["cp1252.html"].text() == "Gewässer\nFähre „nein“, 4 €\nafter an open drawing"


@posix
def test_how_libreoffice_is_called(tmp_path, soffice, monkeypatch):
    pdf = write_pdf(tmp_path / "made.pdf", "red")
    soffice(
        f"(out / 'document.pdf').write_bytes(pathlib.Path({str(pdf)!r}).read_bytes())\n"
        f"profile = next(a for a in sys.argv if 'UserInstallation' in a).partition('file://')[2]\n"
        f"settings = pathlib.Path(profile, 'user', 'registrymodifications.xcu').read_text()\n"
        f"pathlib.Path({str(tmp_path / 'seen.txt')!r}).write_text(source.name + settings)"
    )
    name = os.fsdecode(b"caf\xe9 .ODT")  # not UTF-8
    try:
        source = write_odt(tmp_path / name)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    assert office.convert(source, empty(tmp_path)).pdf.read_bytes() == pdf.read_bytes()
    seen = (tmp_path / "seen.txt").read_text()
    assert seen.startswith("document.odt")
    assert "DisableMacrosExecution" in seen


@posix
@pytest.mark.parametrize("code", ["sys.exit('no printer')", "(out / 'document.pdf').touch(); sys.exit('no printer')"])
def test_a_failing_libreoffice_is_quoted(tmp_path, soffice, code):
    soffice(code)
    with pytest.raises(DocumentError, match=r"a\.odt: LibreOffice cannot convert it \(no printer\)"):
        office.convert(write_odt(tmp_path / "a.odt"), empty(tmp_path))


@posix
def test_a_folder_that_is_not_there_is_named(tmp_path, soffice):
    soffice("(out / 'document.pdf').write_text('%PDF-')")
    with pytest.raises(DocumentError, match=r"a\.odt: cannot be converted: No such file"):
        office.convert(write_odt(tmp_path / "a.odt"), tmp_path / "missing")


def test_without_libreoffice_it_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(office, "program", lambda: None)
    with pytest.raises(DocumentError, match="apt install libreoffice, brew install --cask libreoffice, or https"):
        office.convert(write_odt(tmp_path / "a.odt"), tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="LibreOffice may be installed there")
def test_libreoffice_is_found_where_windows_puts_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PROGRAMFILES", str(tmp_path))
    program = tmp_path / "LibreOffice" / "program" / "soffice.com"
    program.parent.mkdir(parents=True)
    program.touch()
    assert office.program() in {str(program), "/Applications/LibreOffice.app/Contents/MacOS/soffice"}


@pytest.mark.parametrize(
    ("name", "data", "error", "said"),
    [
        ("a.docx", b"", DocumentError, "empty"),
        ("a.docx", b"some text", DocumentError, "damaged DOCX"),
        ("a.docx", kinds.OLE + "EncryptedPackage".encode("utf-16-le"), PasswordRequired, "without a password"),
        ("a.doc", b"some text", DocumentError, "not in DOC format: it is plain text"),
        ("a.xls", b"a\tb\n1\t2", DocumentError, "not in XLS format: it is plain text"),
        ("a.doc", b"%PDF-1.7 ", DocumentError, "not in DOC format: it has other content"),
        ("a.doc", b"Date: x\nMIME-Version: 1.0\n", DocumentError, "web archive"),
        ("a.ppt", kinds.OLE + b"nothing", DocumentError, "not of Word, Excel or PowerPoint"),
        ("a.svg", b"<html></html>", DocumentError, "no <svg> in it"),
        ("a.svg", gzip.compress(b"<svg/>", mtime=0), DocumentError, "compressed SVG"),
        ("a.rtf", b"PK\3\4", DocumentError, "not an RTF"),
        ("a.exe", b"MZ", DocumentError, "not a document"),
    ],
)
def test_what_is_refused_before_it_is_opened(tmp_path, monkeypatch, name, data, error, said):
    monkeypatch.setattr(office, "program", None)
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(error, match=said):
        office.convert(path, tmp_path)


def test_other_zip_files_encrypted_ones_and_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(office, "program", None)
    with pytest.raises(PasswordRequired, match="is encrypted"):
        office.convert(write_odt(tmp_path / "locked.odt", encryption="<manifest:encryption-data/>"), tmp_path)
    with zipfile.ZipFile(tmp_path / "other.docx", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(DocumentError, match="not in DOCX format"):
        office.convert(tmp_path / "other.docx", tmp_path)
    monkeypatch.setattr(kinds, "MAX_BYTES", 100)
    with pytest.raises(DocumentError, match="more than 100 are not read"):
        office.convert(write_odt(tmp_path / "bomb.odt"), tmp_path)
    with pytest.raises(DocumentError, match="cannot be opened"):
        office.convert(tmp_path / "missing.odt", tmp_path)


def test_html_as_text():
    page = b"""<!doctype html><html><head><title>Annual  report</title><style>p { color: red }</style></head>
      <body><h1>Sales &amp; costs</h1><p>Up by\n  <b>ten</b>th<br>this year.</p><ul><li>North<li>South</ul>
      <table><tr><th>Year</th><th>Sum</th></tr><tr><td>2024</td><td>17</td></tr></table>
      <script>document.write("<p>no</p>")</script><svg><text>no</text></svg><pre>a\n  b</pre>the end"""
    assert office.text_of_html(page) == (
        "Annual report\n\nSales & costs\n\nUp by tenth\nthis year.\n\nNorth\nSouth\n\nYear\tSum\n2024\t17\n\n"
        "a\nb\n\nthe end"
    )


@pytest.mark.parametrize(
    "data",
    [
        "<p>Über</p>".encode(),
        "<p>Über</p>".encode("cp1252"),
        "<p>Über</p>".encode("utf-16"),
        b"<meta charset='iso-8859-2'><p>\xdcber</p>",
        b"<meta http-equiv=Content-Type content='text/html; charset=no-such'><p>\xdcber</p>",
    ],
)
def test_html_in_any_encoding(data):
    assert office.text_of_html(data) == "Über"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (b"<p>a<svg><text>x</text><p>rest</p>", "a\n\nrest"),
        (b"<p>a<template><p>x</p><p>rest</p>", "a\n\nx\n\nrest"),
        (b"<p>a<template>x</template>b<svg>y</svg>c", "abc"),
        (b"a</svg></template>b", "ab"),
        (b"a<svg><foreignObject><div>in HTML</div></foreignObject></svg>b", "a\nin HTML\nb"),
    ],
)
def test_what_nothing_closes_hides_nothing(page, text):
    assert office.text_of_html(page) == text


@pytest.mark.parametrize(
    ("page", "named"),
    [
        (b"<p>a<script>let x</script><p>b", None),
        (b"<script>document.write('<script src=x><\\/script>')</script><p>b", None),
        (b'<script src="a.js"/><p>b', None),
        (b"<style>p {}</style><style>b", "<style>"),
        (b"<p>a<SCRIPT>b", "<script>"),
        (b"<p>a<iframe src='x'>b", "<iframe>"),
        (b"<title>a<p>b", "<title>"),
    ],
)
def test_what_an_element_hides_that_nothing_closes_is_named(page, named):
    lost = [loss.what for loss in html.in_utf8(page)[1]]
    assert lost == ([f"what follows a {named} that is never closed"] if named else [])


RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@pytest.mark.parametrize(
    ("part", "kinds", "told", "expected"),
    [
        ("word/_rels/document.xml.rels", ["package"], "", "a document embedded in it"),
        ("word/_rels/document.xml.rels", ["aFChunk", "oleObject", "image"], "", "2 documents embedded in it"),
        ("ppt/slides/_rels/slide1.xml.rels", ["oleObject"] * 3, "", "3 documents embedded in it"),
        ("word/_rels/document.xml.rels", ["oleObject"] * 2, '<o:OLEObject ProgID="Equation.DSMT4"/>' * 2, None),
        ("word/charts/_rels/chart1.xml.rels", ["package"], "", None),
        ("word/_rels/document.xml.rels", ["hyperlink"], "", None),
    ],
)
def test_documents_embedded_in_a_document_are_named(tmp_path, part, kinds, told, expected):
    relations = "".join(f'<Relationship Id="r" Type="{RELATIONS}/{kind}" Target="a.bin"/>' for kind in kinds)
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr(part, f"<Relationships>{relations}</Relationships>")
        archive.writestr("word/document.xml", f"<w:document>{told}</w:document>")
    assert [loss.what for loss in linked.embedded(tmp_path / "a.docx")] == ([expected] if expected else [])
    (tmp_path / "a.doc").write_bytes(b"no archive")
    assert linked.embedded(tmp_path / "a.doc") == []


def test_texts_that_are_not_on_the_page():
    words = ["The", "ferry", "stops", "when", "the", "wind", "is", "strong", "渡船停航", "bullet", "bullet"]
    there = ["The ferry stops", "when the wind is", "渡船", "•", "–", "ferry\u00ad"]
    assert shown.absent(["Ferry and wind of seven", "Bullet 1", "Bullet 2"], words) == ["Ferry and wind of seven"]
    assert shown.absent(["Bullet", "Bullet", "Bullet 3", "Bullet 4"], words) == ["Bullet 3", "Bullet 4"]
    assert shown.absent(there[:3], words) == []
    assert shown.absent(["•", "–", "شكرا"], []) == []  # nothing to look for


def test_what_the_shapes_of_a_slide_say(tmp_path):
    """Those of diagrams too, and not those that are hidden or the same on all slides."""
    import pptx
    from pptx.opc.package import Part
    from pptx.opc.packuri import PackURI

    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Traffic"
    group = slide.shapes.add_group_shape()
    for words in ("in a group", "hidden"):
        group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = words
    group.shapes[1]._element.nvSpPr.cNvPr.set("hidden", "1")
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    data = f'<d xmlns:a="{drawing}"><a:p><a:r><a:t>of a </a:t></a:r><a:r><a:t>diagram</a:t></a:r></a:p></d>'
    part = Part(PackURI("/ppt/diagrams/data1.xml"), "application/xml", deck.part.package, data.encode())
    slide.part.relate_to(part, f"{RELATIONS}/diagramData")
    deck.slides.add_slide(deck.slide_layouts[6])
    deck.save(tmp_path / "a.pptx")
    assert slides.texts_of_slides(tmp_path / "a.pptx") == [["Traffic", "in a group", "of a diagram"], []]
    assert slides.texts_of_slides(write_odt(tmp_path / "b.odp")) == []
    (tmp_path / "c.ppt").write_bytes(b"no archive")
    assert slides.texts_of_slides(tmp_path / "c.ppt") == []


def test_kinds_by_content(tmp_path):
    def kind(name, data):
        (tmp_path / name).write_bytes(data)
        return kinds.kind_of(tmp_path / name)

    word = kinds.OLE + "WordDocument\0 ObjectPool Workbook\0".encode("utf-16-le")
    assert kind("a.doc", word) == ".doc"
    assert kind("a.docx", word) == ".doc"
    assert kind("a.xls", kinds.OLE + "Workbook\0".encode("utf-16-le")) == ".xls"
    assert kind("a.doc", b"{\\rtf1 x}") == ".rtf"
    assert kind("a.xls", b"<html><table><tr><td>1") == ".html"
    assert kind("a.xls", b'<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?><Workbook/>') == ".excel.xml"
    for name, part, found in (
        ("a.docm", "word/document.xml", ".docm"),
        ("a.doc", "word/document.xml", ".docx"),
        ("a.xlsx", "xl/workbook.bin", ".xlsb"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("[Content_Types].xml", "")
            archive.writestr(part, "")
        assert kinds.kind_of(tmp_path / name) == found
    write_odt(tmp_path / "a.docx")
    assert kinds.kind_of(tmp_path / "a.docx") == ".odt"


@pytest.mark.parametrize(
    ("drawing", "error"),
    [
        ('<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg><text>&x;</text></svg>', "damaged SVG"),
        ("<svg><text>", "damaged SVG"),
        ("<a><svg/></a>", "begins with <a>"),
        ('<!DOCTYPE a [<!ENTITY a "%s">%s]><svg>&f;</svg>', "damaged SVG"),
    ],
)
def test_drawings_that_are_refused(tmp_path, drawing, error):
    if "%s" in drawing:  # a gigabyte of letters
        names = "abcdef"
        grown = "".join(f'<!ENTITY {b} "{f"&{a};" * 100}">' for a, b in pairwise(names))
        drawing %= ("x" * 1000, grown)
    path = tmp_path / "a.svg"
    path.write_text(drawing)
    with pytest.raises(DocumentError, match=error):
        secure(path, path)


def test_a_drawing_keeps_what_is_in_it(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="1e7" height="2e7" onload="x()"><script>x</script>'
        '<image href="data:image/png;base64,AA=="/><use href="#a"/><rect fill="url(#g)" style="fill:url(http://h/g)"/>'
        "<foreignObject><p>In HTML</p></foreignObject></svg>"
    )
    assert [loss.what for loss in secure(path, path)] == ["text set in HTML inside the drawing"]
    kept = path.read_text()
    assert "data:image/png" in kept
    assert "#a" in kept
    assert "url(#g)" in kept
    assert "http://h" not in kept
    assert "script" not in kept
    assert "onload" not in kept
    assert 'width="5000.0" height="10000.0" viewBox="0 0 10000000.0 20000000.0"' in kept


def test_a_bomb_in_the_notes_is_not_taken_apart(tmp_path):
    talk = write_slides(tmp_path / "talk.pptx")

    def bomb(name, data):
        return b'<!DOCTYPE a [<!ENTITY a "b">]><a>&a;</a>' if "notesSlide1.xml" in name else data

    notes = slides.of_slides(copied(talk, tmp_path / "bomb.pptx", bomb))
    assert [[note.text for note in slide] for slide in notes] == [[], ["Ask Kasimir\nfirst"], ["Too short a finish"]]
    assert slides.of_slides(copied(talk, tmp_path / "cut.pptx", lambda name, data: b"")) is None
