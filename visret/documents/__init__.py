"""Files -> pages: PDF, pictures, texts, mail, books and archives behind one small protocol.

    with open_document("a.pdf") as document:
        for number in range(1, len(document) + 1):
            page = document.page(number, doc="a.pdf")

A page that fails raises a DocumentError that names it, and the others can still be read. Nothing is kept from page to
page. PDFium reads and draws PDFs; `backend="poppler"` draws them with pdf2image instead (words come from PDFium either
way).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from visret.documents.document import DPI, MAX_PIXELS, Document
from visret.documents.formats import FORMATS, READERS, format_of, refusal
from visret.errors import DocumentError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["DPI", "FORMATS", "MAX_PIXELS", "Document", "count", "open_document", "render", "text_document"]


def open_document(path: str | Path, *, password: str | None = None, backend: str = "pdfium") -> Document:
    """Open the document in a file by its content: a picture called .pdf opens as the picture it is.

    backend: "pdfium", or "poppler" (must be installed), draws the pages of PDFs.
    Raises PasswordRequired where an encrypted PDF needs a password, or a different one, and DocumentError where the
    file is missing, empty, damaged or of another kind.
    """
    path = Path(path)
    if backend not in {"pdfium", "poppler"}:
        raise DocumentError(path, f"cannot be drawn by {backend!r}; the backends are pdfium and poppler")
    try:
        if path.is_dir():
            raise DocumentError(path, "is a folder, not a document; give the files in it")
        if not path.exists():
            raise DocumentError(path, "does not exist")
        if not path.is_file():
            raise DocumentError(path, "is not a file")
        with path.open("rb") as file:
            head = file.read(1024)
    except (OSError, ValueError) as error:
        raise DocumentError(path, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    found = format_of(path)
    if found is None or found.reader not in READERS:
        raise DocumentError(path, refusal(path))
    if not head:
        raise DocumentError(path, "is empty (0 bytes); copy or download it again")
    if head.startswith(b"%PDF-") or (found.reader in ("pdf", "picture") and b"%PDF-" in head):
        from visret.documents.pdf import Pdf

        return Pdf(path, password, backend)
    opener: Callable[[Path, str | None], Document] = import_module(READERS[found.reader].module).opened
    return opener(path, password)


def text_document(path: str | Path, text: str) -> Document:
    """Return a document whose text was extracted elsewhere, in pages like those of plain text."""
    from visret.documents.text import PlainText

    return PlainText(Path(path), text)


def count(path: str | Path, *, password: str | None = None) -> int:
    """Count the pages of a file."""
    with open_document(path, password=password) as document:
        return len(document)


def render(
    path: str | Path,
    page: int,
    *,
    dpi: float = DPI,
    max_pixels: int = MAX_PIXELS,
    password: str | None = None,
    backend: str = "pdfium",
) -> Image.Image:
    """Draw page `page` (from 1) as it is displayed, in RGB; `Document.page` says how large it becomes."""
    with open_document(path, password=password, backend=backend) as document:
        image = document.page(page, words=False, dpi=dpi, max_pixels=max_pixels).image
    if image is None:
        raise DocumentError(path, "is plain text, which has no picture", page=page)
    return image
