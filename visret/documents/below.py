"""Strips below pages for text that belongs to a page but has no place on it: a speaker's notes, comments.

Page N thus stays slide N, what is found can be seen, and its words have boxes where they stand, also for models that
look at pages. LibreOffice sets the strips, because it finds fonts for all scripts; PDFium puts them below their pages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import pypdfium2

from visret.documents import notes as stickers
from visret.documents.opendocument import NAMESPACES, clean
from visret.documents.pdf import _pdfium_lock
from visret.documents.slides import Note
from visret.documents.soffice import LibreOffice
from visret.errors import DocumentError

SIZE, LINE, EDGE = 10.0, 15.0, 18.0  # points: size of letters, least height of a line, margin around the text
MAX_LINES = 400  # of one sheet of a strip, because LibreOffice limits the height of a page


class _Sheet(NamedTuple):
    """The lines set on one sheet of a strip. page: the page it goes below; width: the width of that page in points."""

    page: int
    width: float
    lines: list[tuple[bool, str]]  # whether it is a heading, and its text

    @property
    def height(self) -> float:
        """A height in points that is enough for the sheet: every letter is counted as wide as it is high."""
        return 2 * EDGE + LINE * sum(map(self.rows, self.lines))

    def rows(self, line: tuple[bool, str]) -> int:
        """Return how many rows a line may fill."""
        return 1 + math.ceil(len(line[1]) * SIZE / (self.width - 2 * EDGE))


def take_comments(pdf: Path) -> dict[int, list[Note]]:
    """Take the comments that LibreOffice put over the text of a PDF as icons, by page, and remove the icons."""
    found: dict[int, list[Note]] = {}
    with _open(pdf) as document:
        for number in range(1, len(document) + 1):
            page = document[number - 1]
            if stickers.kinds(page) and (comments := stickers.take_stickers(page)):
                found[number] = [Note(_head(by), text) for by, text in comments]
            page.close()
        if found:
            _save(document, pdf)
    return found


def _head(author: str) -> str:
    """Return a comment's heading; LibreOffice gives "Ada Lovelace, 11/28/26, 10:15", or the like in other languages."""
    name = re.sub(r",[^,]*\d.*$", "", author).strip()
    return f"Comment by {name}" if name else "Comment"


def stand_below(office: LibreOffice, pdf: Path, notes: Mapping[int, Sequence[Note]]) -> None:
    """Put notes on strips below their pages, which are counted from 1."""
    with _open(pdf) as document:
        widths = [document.get_page_size(index)[0] for index in range(len(document))]
    sheets = [sheet for page, said in sorted(notes.items()) for sheet in _sheets(page, widths[page - 1], said)]
    if not sheets:
        return
    source = office.folder / "strips.fodt"
    source.write_text(_written(sheets), "utf8")
    with _open(pdf) as document, _open(office.convert(source, "pdf")) as strips:
        if len(strips) != len(sheets):
            said = f"its notes were set on {len(strips)} sheets where there should be {len(sheets)}"
            raise DocumentError(office.path, f"cannot be converted: {said}; save it as PDF, with notes")
        for number, members in groupby(range(len(sheets)), key=lambda index: sheets[index].page):
            page = document[number - 1]
            for index in members:
                _hang(document, page, strips, index)
            page.gen_content()
            page.close()
        _save(document, pdf)


def _sheets(page: int, width: float, notes: Sequence[Note]) -> Iterator[_Sheet]:
    """Divide the notes of a page into sheets; a note may be longer than one sheet."""
    sheet, rows = _Sheet(page, max(width, 6 * EDGE), []), 0
    longest = int(MAX_LINES / 2 * (sheet.width - 2 * EDGE) / SIZE)
    for note in notes:
        lines = [line for line in clean(note.text).splitlines() if line.strip()]
        parts = [line[start : start + longest] for line in lines for start in range(0, len(line), longest)]
        for line in ((True, clean(note.head)), *((False, part) for part in parts)):
            if rows + sheet.rows(line) > MAX_LINES:
                yield sheet
                sheet, rows = _Sheet(page, sheet.width, []), 0
            sheet.lines.append(line)
            rows += sheet.rows(line)
    if sheet.lines:
        yield sheet


def _written(sheets: Sequence[_Sheet]) -> str:
    """Return the sheets as a Writer document (flat XML), each a page of its own size."""
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    styles, layouts, masters, body = [], [], [], []
    for number, sheet in enumerate(sheets):
        properties = f'fo:page-width="{sheet.width:.2f}pt" fo:page-height="{sheet.height:.2f}pt" fo:margin="{EDGE}pt"'
        layouts.append(
            f'<style:page-layout style:name="l{number}"><style:page-layout-properties {properties}/>'
            "</style:page-layout>"
        )
        masters.append(f'<style:master-page style:name="m{number}" style:page-layout-name="l{number}"/>')
        styles.append(
            f'<style:style style:name="p{number}" style:family="paragraph" style:parent-style-name="Standard" '
            f'style:master-page-name="m{number}"><style:paragraph-properties fo:border-top="0.5pt solid #808080"/>'
            "</style:style>"
        )
        for place, (is_heading, line) in enumerate(sheet.lines):
            style = f' text:style-name="p{number}"' if not place else ""
            text = f'<text:span text:style-name="head">{escape(line)}</text:span>' if is_heading else escape(line)
            body.append(f"<text:p{style}>{text}</text:p>")
    letters = f'fo:font-size="{SIZE}pt" style:font-size-asian="{SIZE}pt" style:font-size-complex="{SIZE}pt"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document {declared} office:version="1.3" '
        'office:mimetype="application/vnd.oasis.opendocument.text"><office:styles><style:style style:name="Standard" '
        f'style:family="paragraph"><style:text-properties {letters}/></style:style></office:styles>'
        '<office:automatic-styles><style:style style:name="head" style:family="text"><style:text-properties '
        f'fo:font-weight="bold"/></style:style>{"".join(styles)}{"".join(layouts)}</office:automatic-styles>'
        f"<office:master-styles>{''.join(masters)}</office:master-styles>"
        f"<office:body><office:text>{''.join(body)}</office:text></office:body></office:document>"
    )


def _hang(document: Any, page: Any, strips: Any, index: int) -> None:
    """Put a sheet of the strips below a page, which grows by the height of the text on it."""
    sheet = strips[index]
    text = sheet.get_textpage()
    lowest = min((text.get_rect(k)[1] for k in range(text.count_rects())), default=0.0)
    height = sheet.get_height()
    text.close()
    sheet.close()
    left, bottom, right, top = page.get_mediabox()
    placed = strips.page_as_xobject(index, document).as_pageobject()
    placed.transform(pypdfium2.PdfMatrix().translate(left, bottom - height))
    page.insert_obj(placed)
    page.set_mediabox(left, bottom - (height - max(lowest, EDGE)) - EDGE, right, top)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with _pdfium_lock:
        document = pypdfium2.PdfDocument(path)
        try:
            yield document
        finally:
            document.close()


def _save(document: Any, path: Path) -> None:
    other = path.with_suffix(".new")
    document.save(other)
    other.replace(path)
