"""Spreadsheets as pages on which every cell can be read.

On paper, a sheet falls apart: a text is cut where the next cell begins, a number that is too long becomes "###",
columns go to pages of their own, far from the names of their rows, and hidden content stays out. So the sheets of an
.ods file, which LibreOffice makes of all others, are changed before they become pages: columns are as wide as what
they show, a page is as wide as its sheet and has enough rows to keep the proportions of paper, the names of columns
stand on every page, hidden sheets, rows and columns are shown, and comments stand beside their rows.

    fitted = fit(Path("fares.ods"))        # rewritten
    pdf = ...
    lost = missing(fitted, words)
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from visret.documents.opendocument import NAMESPACES, children_gone, clean, parsed, q, rewrite, serialised
from visret.documents.sheets.cells import Book, Sheet, Value
from visret.documents.sheets.check import SheetContent, missing
from visret.documents.sheets.pages import Pages
from visret.documents.sheets.styles import Styles
from visret.documents.sheets.tables import SheetTable
from visret.errors import DocumentError
from visret.types import Loss

__all__ = ["MAX_CELLS", "Fitted", "fit", "left_out", "missing", "write"]

MAX_CELLS = 250_000  # of a file; they take half a minute


def fit(path: Path) -> list[SheetContent]:
    """Change the sheets of an .ods file that LibreOffice made, as described above, and return what they show."""
    with zipfile.ZipFile(path) as archive:
        content, common = parsed(archive, "content.xml"), parsed(archive, "styles.xml")
    if content is None or common is None:
        raise DocumentError(path, "LibreOffice made no sheets of it that can be read")
    styles, pages = Styles(content, common), Pages(common)
    fitted = []
    book = next(content.iter(q("office:spreadsheet")))
    for unseen in ("table:named-expressions", "table:database-ranges", "table:dde-links", "table:tracked-changes"):
        children_gone(book, book.findall(q(unseen)))
    children_gone(book, [one for one in book if "'#$" in one.get(q("table:name"), "")])  # sheets of other files
    for table in book.findall(q("table:table")):
        sheet = SheetTable(table, styles)
        styles.use_page(table, pages.add(sheet.name, sheet.fit(), styles.page_of(table)))
        fitted.append(SheetContent(sheet.name, sheet.texts))
    parts: dict[str, bytes | None] = {"content.xml": serialised(content), "styles.xml": serialised(common)}
    rewrite(path, {**parts, "Thumbnails/thumbnail.png": None})
    return fitted


def write(path: Path, book: Book) -> list[Loss]:
    """Write an .ods file of cells alone, for a file that is too large for more, and return what is not in it."""
    tables = "".join(map(_written, book.sheets))
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    content = (
        f"<office:document-content {declared}><office:automatic-styles/><office:body><office:spreadsheet>{tables}"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    common = (
        f"<office:document-styles {declared}><office:styles/><office:automatic-styles/><office:master-styles/>"
        "</office:document-styles>"
    )
    media = "application/vnd.oasis.opendocument.spreadsheet"
    entry = '<manifest:file-entry manifest:full-path="{}" manifest:media-type="{}"/>'
    entries = "".join(map(entry.format, ("/", "content.xml", "styles.xml"), (media, "text/xml", "text/xml")))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("mimetype", media, zipfile.ZIP_STORED)
        archive.writestr("content.xml", content)
        archive.writestr("styles.xml", common)
        archive.writestr("META-INF/manifest.xml", f"<manifest:manifest {declared}>{entries}</manifest:manifest>")
    return [*left_out(book), Loss("pictures, charts and comments of a very large file", "divide the file")]


def left_out(book: Book) -> list[Loss]:
    """Return the rows left out because there were too many."""
    return [
        Loss(f"the last {sheet.missing:,} rows of the sheet {sheet.name}", "divide the file, or save it as CSV")
        for sheet in book.sheets
        if sheet.missing
    ]


def _written(sheet: Sheet) -> str:
    rows = "".join(f"<table:table-row>{''.join(map(_written_cell, row))}</table:table-row>" for row in sheet.rows)
    columns = f'<table:table-column table:number-columns-repeated="{max([1, *map(len, sheet.rows)])}"/>'
    return f"<table:table table:name={quoteattr(clean(sheet.name))}>{columns}{rows}</table:table>"


def _written_cell(value: Value) -> str:
    if value is None:
        return "<table:table-cell/>"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    kind = f'float" office:value="{value!r}' if is_number else "string"
    shown = f"{value:.15g}" if is_number else clean(str(value))
    lines = "".join(f"<text:p>{escape(line)}</text:p>" for line in shown.split("\n"))
    return f'<table:table-cell office:value-type="{kind}">{lines}</table:table-cell>'
