"""Documents as office programs write them, and what stands on the pages that LibreOffice makes of them."""

import re
import zipfile
from pathlib import Path

import pytest

from visret.documents import office, open_document
from visret.types import Loss

needs_libreoffice = pytest.mark.skipif(office.program() is None, reason="LibreOffice is not installed")

CONTENT = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:text>'
    "<text:p>Quarterly minutes</text:p></office:text></office:body></office:document-content>"
)
MANIFEST = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    '<manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.{kind}"/>'
    '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">{}</manifest:file-entry>'
    "</manifest:manifest>"
)


class Read:
    """A document after its conversion. pages: with pictures and words; lost: what is said to be missing."""

    def __init__(self, path: Path, folder: Path) -> None:
        folder.mkdir()
        pdf, self.lost = office.convert(path, folder)
        with open_document(pdf) as document:
            self.pages = [document.page(number) for number in range(1, len(document) + 1)]

    def text(self) -> str:
        return "\n".join(page.text for page in self.pages)

    def lost_whats(self) -> list[str]:
        return [loss.what for loss in self.lost if isinstance(loss, Loss)]

    def box(self, text: str, page: int = 1):
        """The box of a word on a page."""
        return next(word.box for word in self.pages[page - 1].words if word.text == text)


def write_odt(path, content=CONTENT, encryption="", kind="text"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", MANIFEST.format(encryption, kind=kind))
    return path


def write_workbook(path: Path) -> Path:
    """Narrow columns, long texts beside others, hidden things, a comment, a print range, a cell far away."""
    import openpyxl
    from openpyxl.comments import Comment

    book = openpyxl.Workbook()
    fares = book.active
    fares.title = "Fares"
    fares.append(["Route", "Passengers carried last year", "Takings", "Remark", "Grade"])
    for number in range(1, 6):
        fares.append([f"Quay {number} to island", 1234567.89, 98765432.1 + number, "x", "A-"])
    fares["D3"] = "a long remark that runs over the next cell, which holds something, and so it is cut at its edge"
    fares["A2"].comment = Comment("Suspended since the landslip", "Ada")
    for column in "ABCDE":
        fares.column_dimensions[column].width = 4
    for row in range(2, 7):
        fares.cell(row, 3).number_format = "#,##0.00"
    fares.row_dimensions[4].hidden = True
    fares.column_dimensions["E"].hidden = True
    fares.print_area = "A1:B3"
    reserve = book.create_sheet("Reserve")
    reserve.append(["Hidden reserve fund", "Basalt account"])
    reserve.append(["=FALSE()", "=DATE(2024,2,29)", "word " * 2000])
    reserve.sheet_state = "veryHidden"
    wide = book.create_sheet("Wide")
    for row in range(1, 101):
        wide.append([f"Depot {row}", *(row * 1000 + column for column in range(30))])
    far = book.create_sheet("Far")
    far["A1"], far["XFD1048576"] = "near", "remote"
    book.save(path)
    return path


def write_slides(path: Path) -> Path:
    """A slide with notes, text beside it and hidden text, a hidden one with notes, and one with a comment."""
    import pptx

    deck = pptx.Presentation()
    for title, notes in (("Traffic", "Mention the pontoon of 1987"), ("Dredging", "Ask Kasimir\nfirst"), ("End", "")):
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        slide.shapes.title.text = title
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    deck.slides[1]._element.set("show", "0")
    for left, words in ((-4_000_000, "far out at sea"), (1_000_000, "never shown")):
        shape = deck.slides[0].shapes.add_textbox(left, 1_000_000, 3_000_000, 400_000)
        shape.text_frame.text = words
    shape._element.nvSpPr.cNvPr.set("hidden", "1")
    plain = path.with_name("plain.pptx")
    deck.save(plain)
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    comment = (
        '<p:cmLst xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"><p:cm authorId="0" '
        'dt="2024-01-01T00:00:00" idx="1"><p:pos x="1" y="1"/><p:text>Too short a finish</p:text></p:cm></p:cmLst>'
    )
    entry = f'<Relationship Id="rId99" Type="{relation}/comments" Target="../comments/comment1.xml"/></Relationships>'

    def changed(name: str, data: bytes) -> bytes:
        return data.replace(b"</Relationships>", entry.encode()) if name.endswith("slide3.xml.rels") else data

    copied(plain, path, changed, {"ppt/comments/comment1.xml": comment})
    return path


def write_tracked(path: Path) -> Path:
    """Changes, a comment, and hidden text."""
    import docx
    from docx.oxml import parse_xml

    namespace = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" w:id="7" w:author="a"'
    document = docx.Document()
    first = document.add_paragraph("Minutes of the ferry committee.")
    document.add_comment(first.runs, text="Ask about the capstan", author="Ada")
    fee = document.add_paragraph("The crossing fee was ")
    fee._p.append(parse_xml(f"<w:del {namespace}><w:r><w:delText>threepence</w:delText></w:r></w:del>"))
    fee._p.append(parse_xml(f"<w:ins {namespace}><w:r><w:t>fourpence</w:t></w:r></w:ins>"))
    fee._p.append(parse_xml(f"<w:moveFrom {namespace}><w:r><w:t>moved</w:t></w:r></w:moveFrom>"))
    document.add_paragraph().add_run("secret").font.hidden = True
    document.save(path)
    return path


def copied(source: Path, target: Path, changed=lambda name, data: data, added=None) -> Path:
    """A ZIP file with other content in some of its parts, and with more parts."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, changed(name, old.read(name)))
        for name, data in (added or {}).items():
            new.writestr(name, data)
    return target


def numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d,.]*", text)
