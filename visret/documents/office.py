"""The conversion of office documents to PDF by LibreOffice, where it is installed.

    with tempfile.TemporaryDirectory() as folder:
        pdf, lost = office.convert("minutes.docx", folder)

The PDF is what is drawn and indexed, so it has to be kept: another version of LibreOffice, or another machine's fonts,
break pages elsewhere. A copy of the document is converted, which is changed first so that all it holds is on its pages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from visret.documents import below, changes, drawings, html, kinds, linked, sheets, shown, slides
from visret.documents.html import text_of_html
from visret.documents.pdf import Pdf
from visret.documents.sheets import cells
from visret.documents.soffice import MISSING, LibreOffice, program
from visret.errors import DocumentError
from visret.types import Loss

__all__ = ["MISSING", "SECONDS", "Conversion", "convert", "program", "text_of_html", "text_without"]

SECONDS = 120.0  # more than any document takes, unless LibreOffice hangs


class Conversion(NamedTuple):
    """The PDF made of a document. lost: what is known to be on no page."""

    pdf: Path
    lost: tuple[Loss, ...] = ()


def convert(path: str | Path, folder: str | Path) -> Conversion:
    """Convert a document to a PDF in `folder`, which has to be empty; other files are left in it too.

    There is no time limit: call this in a process of its own, and end that together with what it started.
    Raises DocumentError where LibreOffice is not installed, or the document is empty, damaged or of another kind, and
    PasswordRequired where it is encrypted.
    """
    path, folder = Path(path), Path(folder)
    kind = kinds.kind_of(path)
    soffice = program()
    if soffice is None:
        raise DocumentError(path, MISSING)
    copy = folder / "source" / f"document{kind.removeprefix('.excel').removeprefix('.word')}"  # a plain name
    try:
        copy.parent.mkdir()
        shutil.copyfile(path, copy)
        office = LibreOffice(soffice, folder, path)
    except OSError as error:
        raise DocumentError(path, f"cannot be converted: {error.strerror} ({error.filename})") from error
    outside = (*linked.pictures(copy), *linked.embedded(copy))
    pdf, lost = _WAYS.get(kind, _as_it_is)(office, copy)
    return Conversion(pdf, (*lost, *outside))


def text_without(path: str | Path) -> tuple[str, tuple[Loss, ...]]:
    """Read HTML or a spreadsheet without LibreOffice, and return its text and what is lost."""
    path = Path(path)
    kind = kinds.kind_of(path)
    if kind in (".html", ".htm"):
        data = path.read_bytes()
        return text_of_html(data), html.decoded(data).lost
    book = cells.read(str(path), most=sheets.MAX_CELLS)
    if book is None:
        raise DocumentError(path, MISSING)
    unseen = Loss("the comments and pictures of a spreadsheet", "install LibreOffice, and add it again")
    return cells.text_of(book), (*sheets.left_out(book), unseen)


def _as_it_is(office: LibreOffice, source: Path) -> Conversion:
    return Conversion(office.convert(source, "pdf"))


def _text(office: LibreOffice, source: Path) -> Conversion:
    """Convert a text document, with its changes accepted and with its comments."""
    if source.suffix in (".doc", ".rtf") and changes.may_be_in(source):
        source = office.convert(source, "odt")
    lost = changes.accept(source) if source.suffix in (".docx", ".docm", ".odt") else []
    pdf = office.convert(source, "pdf")
    comments = below.take_comments(pdf)
    below.stand_below(office, pdf, comments)
    missing = changes.comments_of(source) if source.suffix in (".docx", ".docm") else 0
    missing -= sum(map(len, comments.values()))
    if missing > 0:
        lost.append(
            Loss("one comment" if missing == 1 else f"{missing:,} comments", "save it as PDF with its comments")
        )
    return Conversion(pdf, tuple(lost))


def _slides(office: LibreOffice, source: Path) -> Conversion:
    """Convert a presentation, with hidden slides, notes and comments."""
    if source.suffix == ".ppt":
        source = office.convert(source, "odp")
    found = slides.of_slides(source)
    pdf = office.convert(source, "pdf")
    comments = below.take_comments(pdf)
    if found is None:
        below.stand_below(office, pdf, comments)
        return Conversion(pdf, (Loss("the speaker's notes", "save it as PDF with its notes"),))
    for notes, missing in zip(found, _beside(source, pdf), strict=False):
        if missing:
            notes.append(slides.Note("Not on the slide", "\n".join(missing)))
    below.stand_below(office, pdf, dict(enumerate(found, 1)))
    return Conversion(pdf)


def _beside(source: Path, pdf: Path) -> Iterator[list[str]]:
    """Yield, for every slide, the paragraphs that are not on its page: they lie beside it, or beyond its end."""
    with Pdf(pdf, None, "pdfium") as document:
        for page, texts in zip(range(1, len(document) + 1), slides.texts_of_slides(source), strict=False):
            words = document.page(page, image=False).words or ()
            yield shown.absent(texts, (word.text for word in words))


def _drawing(office: LibreOffice, source: Path) -> Conversion:
    lost = drawings.secure(source, office.path)
    return Conversion(office.convert(source, "pdf"), tuple(lost))


def _html(office: LibreOffice, source: Path) -> Conversion:
    data, lost = html.in_utf8(source.read_bytes())
    source.write_bytes(data)
    # in its web mode, LibreOffice 7.4 loses headings and begins with an empty page
    return Conversion(office.convert(source, "pdf", "--writer"), lost)


def _sheets(office: LibreOffice, source: Path) -> Conversion:
    lost: list[Loss] = []
    book = cells.read(str(source), most=sheets.MAX_CELLS)
    if book is None or book.is_whole:
        made = office.convert(source, "ods")
    else:
        made = office.folder / "document.ods"
        lost = sheets.write(made, book)
    fitted = sheets.fit(made)
    pdf = office.convert(made, "pdf")
    with Pdf(pdf, None, "pdfium") as document:
        words = (
            word.text for page in range(1, len(document) + 1) for word in document.page(page, image=False).words or ()
        )
        lost += sheets.missing(fitted, book, words)
    return Conversion(pdf, tuple(lost))


_WAYS: dict[str, Callable[[LibreOffice, Path], Conversion]] = {
    **dict.fromkeys((".docx", ".docm", ".doc", ".odt", ".rtf"), _text),
    **dict.fromkeys((".pptx", ".pptm", ".ppt", ".odp"), _slides),
    **dict.fromkeys((".html", ".htm"), _html),
    ".svg": _drawing,
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".excel.xml"), _sheets),
}
