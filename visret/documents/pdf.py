"""PDFs, read and drawn by PDFium, which two threads must not enter at once: its calls happen under this file's lock.

The files beside this one that call PDFium (characters, embedded, fonts, layers, notes, outlines, pictured, xfa) are
called from here only.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pypdfium2
from PIL import Image
from pypdfium2 import raw

from visret import forks
from visret.documents import characters, embedded, fonts, layers, misread, notes, outlines, pictured, systemfonts, xfa
from visret.documents.document import Content, Document, Member, corners, pixels, resolution
from visret.documents.members import Unpacking, safe_member_name
from visret.documents.packed import catalogue_may_hold, embedded_files, may_hold
from visret.documents.words import fractions
from visret.documents.words import words as words_of
from visret.errors import DocumentError, PasswordRequired
from visret.types import Box, Loss, Word

_log = logging.getLogger(__name__)
_pdfium_lock = forks.Lock(whole=True)  # reentrant, since a forgotten document may be collected inside a call


systemfonts.install()
_FILLED = 0.8  # share of a page under pictures from which its text may be a layer that nobody sees
_FAR = 1e6  # points, beyond any page


class _Layer(NamedTuple):
    """The text and comments of a page, and what is known of them.

    senseless: the share of the characters of its content that have no meaning. pictured: the share of its area under
    pictures. is_hidden: whether its text is painted invisibly over a picture that fills it. is_drawn: whether it may
    have print that is neither text nor under pictures. is_torn: whether words lack letters, which have no meaning.
    places: (n, 4) x0, y0, x1, y1 of the n comments on the displayed page, in points.
    """

    placed: characters.Displayed
    senseless: float
    pictured: float
    is_hidden: bool
    is_drawn: bool
    is_torn: bool
    comments: list[notes.Annotation]
    places: np.ndarray


class Pdf(Document):
    """A PDF, whose pages are drawn by PDFium or by poppler."""

    def __init__(self, path: Path, password: str | None, backend: str) -> None:
        super().__init__(path)
        if backend == "poppler" and not (shutil.which("pdftoppm") and shutil.which("pdfinfo")):
            raise DocumentError(
                path,
                "backend 'poppler' needs poppler: apt install poppler-utils, brew install poppler, or on Windows "
                "conda install -c conda-forge poppler; 'pdfium' needs nothing",
            )
        with _pdfium_lock:
            self._pdf, self._password = _opened(path, password)
            self._length = len(self._pdf)
            _prepare_forms(self._pdf)
            self._texts = self._of_form() if xfa.is_dynamic(self._pdf) else None
        self._has_layers = catalogue_may_hold(path, b"/OCProperties")
        self._attached: dict[int, bool] = {}  # page -> whether files hang on it, as far as it has been looked at
        self._fonts = fonts.KnownFonts()
        self._backend = backend
        self._close = weakref.finalize(self, _close, self._pdf)
        self._close.atexit = False  # pypdfium2 cleans up after itself
        if not _ends(path):
            _log.warning("%s: the PDF's end is missing; it may have been cut off, and pages with it", path)

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        """Close the file; no page can be read afterwards."""
        self._close()

    def labels(self) -> list[str]:
        """Return the labels of all pages; [] for a PDF without /PageLabels."""
        with _pdfium_lock:
            found = [str(self._pdf.get_page_label(index)) for index in range(self._length)]
        return found if any(found) else []

    def members(self, folder: Path) -> Iterator[Member]:
        """Yield the files of a portfolio, those attached, and those tied to pages; each once."""
        unpacking, seen = Unpacking(folder, self.lost), set()
        for one in self._embedded():
            key = one.name, hashlib.sha256(one.data or b"").digest()
            if one.data is None:
                what = f"the file {safe_member_name(one.name)!r} inside it"
                self.lost.append(Loss(what, "save it from a PDF reader, and add it"))
            elif key not in seen and (member := unpacking.add(one.name, [one.data])):
                yield member
            seen.add(key)
        unpacking.done()
        if not seen and (count := embedded_files(self.path)):  # tied to a page, a part of it (/AF), or a film
            what = "a file inside it" if count == 1 else f"{count:,} files inside it"
            self.lost.append(Loss(f"{what} that its list of files lacks", "save them from a PDF reader, and add them"))

    def _embedded(self) -> Iterator[embedded.Embedded]:
        """Yield the files that belong to the document, then those that are tied to its pages."""
        with _pdfium_lock:
            count = embedded.count(self._pdf)
        for index in range(count):
            with _pdfium_lock:
                one = embedded.of_document(self._pdf, index)
            if one:
                yield one
        if len(self._attached) < self._length and not may_hold(self.path, b"/FileAttachment"):
            return
        for number in range(1, self._length + 1):
            if self._attached.get(number, True):
                with suppress(DocumentError), self._page(number) as page:  # a damaged page has been named
                    found = list(embedded.of_page(page))
                yield from found

    def _read(self, number: int, *, image: bool, words: bool, dpi: float, max_pixels: int, box: Box | None) -> Content:
        lost: list[Loss] = []
        with self._page(number) as page:
            size_pt = page.get_size()
            if not (size_pt[0] > 0 and size_pt[1] > 0):
                raise DocumentError(self.path, "the page has no area", page=number)
            dpi = resolution(size_pt, dpi, max_pixels, box)
            kinds = notes.kinds(page)
            self._attached[number] = raw.FPDF_ANNOT_FILEATTACHMENT in kinds
            if self._has_layers and words:
                layers.hide(page)
            drawn = self._drawn(page, number, kinds, pixels(size_pt, dpi), box) if image else None
            layer = self._layer(page, number, kinds, size_pt, lost) if words else None
        if image and drawn is None:
            drawn = self._drawn_by_poppler(number, dpi)
            drawn = drawn.crop(corners(box, drawn.size))
        if layer is None:
            return Content(size_pt, drawn)
        found = words_of(*layer.placed, width=size_pt[0], height=size_pt[1])
        said = notes.words(layer.comments, fractions(layer.places, *size_pt), found) if layer.comments else ()
        if number == 1:
            said += self._said_by_form(found + said)
        known = layer.senseless, layer.pictured, layer.is_hidden, layer.is_drawn, layer.is_torn
        return Content(size_pt, drawn, found + said, None, tuple(lost), *known)

    def _of_form(self) -> list[str]:
        """Return the text of an XFA form, and note in `lost` that its pages are missing."""
        said = xfa.texts(self._pdf)
        self.lost.append(xfa.loss(said))
        return said

    def _said_by_form(self, found: tuple[Word, ...]) -> tuple[Word, ...]:
        """Return the words of an XFA form that are not found on its page; their place is the whole page."""
        if self._texts is None:
            with _pdfium_lock:
                waits = xfa.waits(self._pdf, " ".join(word.text for word in found))
                self._texts = self._of_form() if waits else []
        return notes.lines(self._texts, found)

    def _layer(self, page: Any, number: int, kinds: set[int], size_pt: tuple[float, float], lost: list[Loss]) -> _Layer:
        """Read the text of an open page, with what was typed on it."""
        with fonts.extended(page, self._fonts) as blank:
            content = characters.of_page(page)
        lost += blank
        said: list[notes.Annotation] = []
        stamped = False
        senseless, torn, has_blank_lines = content.share_senseless, content.is_torn, content.blank
        if kinds:
            try:
                typed, said, stamped = notes.read(self._pdf, page, number, kinds, content)
                content = characters.joined([content, typed])
            except pypdfium2.PdfiumError:
                lost.append(Loss("the fields and notes of a page", "print the document to a new PDF, and add that"))
            if more := notes.beyond(page):
                lost.append(
                    Loss(f"{more:,} of the fields and notes of a page", f"divide it: {notes.MAX_NOTES:,} are read")
                )
        places = np.array([note.box for note in said], np.float32).reshape(-1, 4)
        places = characters.placed_boxes(page, size_pt, places) if said else places
        placed = characters.displayed(page, size_pt, content)
        placed = placed._replace(text=misread.mended(placed.text))
        share = pictured.share(page)
        hidden = share > _FILLED and pictured.is_hidden(page)
        drawn = stamped or has_blank_lines or outlines.may_be_print(page)
        return _Layer(placed, senseless, share, hidden, drawn, torn, said, places)

    @contextmanager
    def _page(self, number: int) -> Iterator[Any]:
        if not self._close.alive:
            raise ValueError(f"{self.path} is closed")
        with _pdfium_lock:
            try:
                systemfonts.missed()  # forget those missed by others
                page = self._pdf.get_page(number - 1)
                self._fonts.missing.update(systemfonts.missed())
                if 0 in page.get_size():
                    page = self._without_crop_box(page, number)
                try:
                    yield page
                finally:
                    page.close()
            except pypdfium2.PdfiumError as error:
                raise DocumentError(self.path, "the page is damaged; the others can be read", page=number) from error

    def _without_crop_box(self, page: Any, number: int) -> Any:
        """Open the page again and show all of its media box, as viewers do with a crop box that lies outside it."""
        raw.FPDFPage_SetCropBox(page, -_FAR, -_FAR, _FAR, _FAR)
        page.close()
        return self._pdf.get_page(number - 1)

    def _drawn(
        self, page: Any, number: int, kinds: set[int], size_px: tuple[int, int], box: Box | None
    ) -> Image.Image | None:
        """Draw an open page of this size, or a part of it; None where poppler is to draw it."""
        if self._backend != "pdfium":
            return None
        left, top, right, bottom = corners(box, size_px)
        part, at = (right - left, bottom - top), (-left, -top, *size_px, 0)
        with _canvas(part) as bitmap:
            raw.FPDF_RenderPageBitmap(bitmap, page, *at, raw.FPDF_ANNOT)
            if self._pdf.formenv:
                raw.FPDF_FFLDraw(self._pdf.formenv, bitmap, page, *at, raw.FPDF_ANNOT)
            elif raw.FPDF_ANNOT_WIDGET in kinds:
                with notes.fields(self._pdf, number) as fields:
                    raw.FPDF_RenderPageBitmap(bitmap, fields, *at, 0)
            return Image.frombytes("RGB", part, bitmap.buffer, "raw", "BGR", bitmap.stride, 1)

    def _drawn_by_poppler(self, number: int, dpi: float) -> Image.Image:
        import pdf2image
        from pdf2image import exceptions

        try:
            drawn = pdf2image.convert_from_path(
                self.path.resolve(),
                first_page=number,
                last_page=number,
                dpi=dpi,  # its `size` ignores the rotation of a page
                use_cropbox=True,  # the default draws what the crop box hides
                userpw=self._password,
                ownerpw=self._password,
            )
        except (exceptions.PDFPageCountError, exceptions.PDFInfoNotInstalledError, OSError) as error:
            said = " ".join(str(error).split())
            raise DocumentError(self.path, f"poppler cannot draw the page: {said}; try pdfium", page=number) from error
        if not drawn:
            raise DocumentError(self.path, "poppler cannot draw the page; try backend 'pdfium'", page=number)
        picture: Image.Image = drawn[0].convert("RGB")
        return picture


def _opened(path: Path, password: str | None) -> tuple[Any, str | None]:
    """Open the document, and return it with the password it needed; a password that is not needed is no error."""
    raw.FPDF_LoadMemDocument64(b"", 0, None)  # a document without pages sets no error: PDFium would give its last
    for key in (password, None) if password else (None,):
        try:
            return pypdfium2.PdfDocument(path, password=key), key
        except pypdfium2.PdfiumError as error:
            code, cause = error.err_code, error
    if code == raw.FPDF_ERR_PASSWORD:
        said = "the password is wrong" if password else "give its password"
        raise PasswordRequired(path, f"is encrypted: {said}") from cause
    if code == raw.FPDF_ERR_SECURITY:
        raise DocumentError(path, "is encrypted in a way PDFium cannot read; save it without encryption") from cause
    raise DocumentError(
        path, "is a damaged, cut off or empty PDF; download it again, or repair it (qpdf IN.pdf OUT.pdf)"
    ) from cause


def _close(pdf: Any) -> None:
    with _pdfium_lock:
        pdf.close()


def _ends(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2048))
        return b"%%EOF" in file.read()


def _prepare_forms(pdf: Any) -> None:
    """Tell PDFium of the document's fields, so that it draws what was filled in, even without an appearance."""
    if pdf.get_formtype() == raw.FORMTYPE_NONE:
        return
    config = raw.FPDF_FORMFILLINFO(version=2)
    handle = raw.FPDFDOC_InitFormFillEnvironment(pdf, config)
    if not handle:
        raise pypdfium2.PdfiumError("no form environment")
    pdf.formenv = pypdfium2.PdfFormEnv(handle, config)
    raw.FPDF_SetFormFieldHighlightAlpha(handle, 0)


@contextmanager
def _canvas(size_px: tuple[int, int]) -> Iterator[Any]:
    """Make a white bitmap to draw on."""
    width, height = size_px
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
    try:
        if not raw.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF):  # then nothing would be drawn
            raise pypdfium2.PdfiumError(f"no picture of {width} x {height} pixels")
        yield bitmap
    finally:
        bitmap.close()
