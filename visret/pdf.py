"""Files -> pages: PDF, pictures and plain text behind one small protocol.

    with open_document("a.pdf") as document:
        for number in range(1, len(document) + 1):
            page = document.page(number, doc="a.pdf")

A page that fails raises a DocumentError that names it, and the others can still be read. Nothing is kept from page to
page. PDFium reads and draws PDFs; `backend="poppler"` draws them with pdf2image instead (words come from PDFium either
way). PDFium must not be entered by two threads at once: every call to it happens in this file, under one lock.
"""

from __future__ import annotations

import codecs
import ctypes
import functools
import logging
import math
import shutil
import struct
import warnings
import weakref
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pypdfium2
from PIL import Image, ImageOps, UnidentifiedImageError
from pypdfium2 import raw

from visret import _forks
from visret._words import words as words_of
from visret.errors import DocumentError, PasswordRequired
from visret.types import Page, PageRef, Word

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
TEXT_SUFFIXES = (".txt", ".md")
SUFFIXES = (".pdf", *PICTURE_SUFFIXES, *TEXT_SUFFIXES)
DPI = 144
MAX_PIXELS = 50_000_000
TEXT_PAGE = 4000  # characters

_log = logging.getLogger(__name__)
_pdfium_lock = _forks.Lock(whole=True)  # reentrant: a forgotten document may be collected inside a call
_pillow_lock = _forks.Lock()  # warnings.catch_warnings is not thread-safe either
_PICTURE_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_PICTURE_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)  # what Pillow's readers raise on damaged files


def open_document(path: str | Path, *, password: str | None = None, backend: str = "pdfium") -> Document:
    """The document in a file, by its content: a picture called .pdf opens as the picture it is.

    backend: "pdfium", or "poppler" (must be installed), draws the pages of PDFs.
    Raises PasswordRequired where an encrypted PDF needs a password or another one, DocumentError where the file is
    missing, empty, damaged or of another kind.
    """
    path = Path(path)
    if backend not in {"pdfium", "poppler"}:
        raise DocumentError(path, f"cannot be drawn by {backend!r}; the backends are pdfium and poppler")
    suffix = path.suffix.lower()
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
    if suffix not in SUFFIXES:
        raise DocumentError(path, f"files ending in {suffix or 'nothing'!r} are not read; {' '.join(SUFFIXES)} are")
    if not head:
        raise DocumentError(path, "is empty (0 bytes); copy or download it again")
    if head.startswith(b"%PDF-") or (suffix not in TEXT_SUFFIXES and b"%PDF-" in head):
        return _Pdf(path, password, backend)
    if suffix in TEXT_SUFFIXES:
        return _Text(path, _decoded(path))
    return _Picture(path, head)


def text_document(path: str | Path, text: str) -> Document:
    """The document in a file whose text was taken out of it elsewhere, in pages like those of plain text."""
    return _Text(Path(path), text)


def count(path: str | Path, *, password: str | None = None) -> int:
    """How many pages a file has."""
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
    """Page `page` (from 1) as displayed, RGB; see Document.page for the size."""
    with open_document(path, password=password, backend=backend) as document:
        image = document.page(page, words=False, dpi=dpi, max_pixels=max_pixels).image
    if image is None:
        raise DocumentError(path, "is plain text, which has no picture", page=page)
    return image


class _Content(NamedTuple):
    size_pt: tuple[float, float] | None = None
    image: Image.Image | None = None
    words: tuple[Word, ...] | None = None
    plain: str | None = None


class Document(ABC):
    """An open file; `len` is its number of pages. Made by open_document, closed by `with` or close()."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Document:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; no page can be read afterwards."""

    def page(
        self,
        number: int,
        *,
        doc: str | None = None,
        image: bool = True,
        words: bool = True,
        dpi: float = DPI,
        max_pixels: int = MAX_PIXELS,
        metadata: Mapping[str, Any] | None = None,
    ) -> Page:
        """Page `number`, from 1, as displayed: rotation and crop box applied.

        doc: the document's id, the file's name by default.
        image, words: what to read; asking for both costs one pass. Words come from the text layer: () where a page has
            none. A page of plain text has neither, but `plain`.
        dpi: pixels per inch of the image. A page that would have more than max_pixels is drawn at a lower resolution,
            and a picture is never enlarged.
        """
        if not 1 <= number <= len(self):
            raise DocumentError(self.path, f"has no page {number}; its pages are 1 to {len(self)}")
        content = self._read(number, image=image, words=words, dpi=dpi, max_pixels=max_pixels)
        return Page(PageRef(doc or self.path.name, number), *content, dict(metadata or {}))

    @abstractmethod
    def _read(self, number: int, *, image: bool, words: bool, dpi: float, max_pixels: int) -> _Content: ...


def _resolution(size_pt: tuple[float, float], dpi: float, max_pixels: int) -> float:
    """The dpi at which a page is drawn."""
    return min(dpi, 72 * math.sqrt(max_pixels / (size_pt[0] * size_pt[1])))


def _pixels(size_pt: tuple[float, float], dpi: float) -> tuple[int, int]:
    return max(1, round(size_pt[0] * dpi / 72)), max(1, round(size_pt[1] * dpi / 72))


# ------------------------------------------------------------------------------------------------------ PDF


class _Pdf(Document):
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
            # filled-in fields are neither drawn nor read with the page, unless they are first made part of it
            self._has_form = self._pdf.get_formtype() != raw.FORMTYPE_NONE
        self._backend = backend
        self._close = weakref.finalize(self, _close, self._pdf)
        self._close.atexit = False  # pypdfium2 cleans up after itself
        if not _ends(path):
            _log.warning("%s: the PDF's end is missing; it may have been cut off, and pages with it", path)

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        self._close()

    def _read(self, number: int, *, image: bool, words: bool, dpi: float, max_pixels: int) -> _Content:
        with self._page(number) as page:
            size_pt = page.get_size()
            if not (size_pt[0] > 0 and size_pt[1] > 0):
                raise DocumentError(self.path, "the page has no area", page=number)
            dpi = _resolution(size_pt, dpi, max_pixels)
            drawn = _drawn(page, _pixels(size_pt, dpi)) if image and self._backend == "pdfium" else None
            characters = _characters(page, size_pt) if words else None
        if image and drawn is None:
            drawn = self._drawn_by_poppler(number, dpi)
        found = words_of(*characters, width=size_pt[0], height=size_pt[1]) if characters else None
        return _Content(size_pt, drawn, found)

    @contextmanager
    def _page(self, number: int) -> Iterator[Any]:
        if not self._close.alive:
            raise ValueError(f"{self.path} is closed")
        with _pdfium_lock:
            try:
                page = self._pdf.get_page(number - 1)
                flattened = raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) if self._has_form else None
                if flattened == raw.FLATTEN_SUCCESS:
                    page.close()
                    page = self._pdf.get_page(number - 1)
                elif flattened == raw.FLATTEN_FAIL:
                    _log.warning("%s, page %d: what was filled in there may be missing", self.path, number)
                try:
                    yield page
                finally:
                    page.close()
            except pypdfium2.PdfiumError as error:
                raise DocumentError(self.path, "the page is damaged; the others can be read", page=number) from error

    def _drawn_by_poppler(self, number: int, dpi: float) -> Image.Image:
        import pdf2image
        from pdf2image import exceptions

        try:
            drawn = pdf2image.convert_from_path(
                self.path.resolve(),
                first_page=number,
                last_page=number,
                dpi=dpi,  # its `size` forgets that a page is turned
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
    """The document, and the password it needed; one that nothing asks for is not an error."""
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


def _drawn(page: Any, size_px: tuple[int, int]) -> Image.Image:
    width, height = size_px
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
    try:
        if not raw.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF):  # what follows would draw nothing
            raise pypdfium2.PdfiumError(f"no picture of {width} x {height} pixels")
        raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, raw.FPDF_ANNOT)
        return Image.frombytes("RGB", size_px, bitmap.buffer, "raw", "BGR", bitmap.stride, 1)
    finally:
        bitmap.close()


def _characters(page: Any, size_pt: tuple[float, float]) -> tuple[str, np.ndarray, np.ndarray]:
    """The text layer: n characters, their boxes (n, 4) on the displayed page and quarter turns (n,), for _words."""
    unicode_of, box_of, angle_of = _character_calls()
    textpage = page.get_textpage()
    try:
        n = textpage.count_chars()
        pointer = ctypes.cast(textpage.raw, ctypes.c_void_p).value
        boxes = np.zeros((n, 4), np.float32)  # left, top, right, bottom
        rows = range(boxes.ctypes.data, boxes.ctypes.data + 16 * n, 16)
        deque(map(box_of, repeat(pointer), range(n), rows), maxlen=0)
        codes = np.fromiter(map(unicode_of, repeat(pointer), range(n)), np.uint32, n)
        angles = np.fromiter(map(angle_of, repeat(pointer), range(n)), np.float32, n)
        angles[~(angles > 0)] = 0  # -1 where PDFium has none
        for k in np.flatnonzero(codes == 2):  # a hyphen at a line end, or a glyph without a meaning
            if raw.FPDFText_IsHyphen(textpage, int(k)) == 1:
                codes[k] = 0xAD
    finally:
        textpage.close()
    text = np.minimum(codes, 0x10FFFF).astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    shown = raw.FS_RECTF()
    if not raw.FPDF_GetPageBoundingBox(page, shown):
        raise pypdfium2.PdfiumError("no bounding box")
    x0, y0, x1, y1 = (boxes * (1, -1, 1, -1) + (-shown.left, shown.top) * 2).T  # origin top left of the crop box
    width, height = size_pt
    rotation = page.get_rotation() // 90
    if rotation == 1:
        x0, y0, x1, y1 = width - y1, x0, width - y0, x1
    elif rotation == 2:
        x0, y0, x1, y1 = width - x1, height - y1, width - x0, height - y0
    elif rotation == 3:
        x0, y0, x1, y1 = y0, height - x1, y1, height - x0
    corners = np.minimum(x0, x1), np.minimum(y0, y1), np.maximum(x0, x1), np.maximum(y0, y1)
    placed = np.nan_to_num(np.stack(corners, axis=1), nan=-1e9, posinf=-1e9, neginf=-1e9)  # off the page
    return text, placed, (np.rint(angles / (math.pi / 2)).astype(int) + rotation) % 4


@functools.cache
def _character_calls() -> tuple[Callable[..., int], Callable[..., int], Callable[..., float]]:
    """FPDFText_GetUnicode, _GetLooseCharBox and _GetCharAngle on plain addresses.

    They run a few thousand times a page. pypdfium2's own versions convert every argument and let go of the
    interpreter lock on every call, which costs two to three times as much, and far more beside a busy thread.
    """

    def call(function: Any, result: Any, *arguments: Any) -> Any:
        address = ctypes.cast(function, ctypes.c_void_p).value or 0
        return ctypes.PYFUNCTYPE(result, ctypes.c_void_p, ctypes.c_int, *arguments)(address)

    return (
        call(raw.FPDFText_GetUnicode, ctypes.c_uint),
        call(raw.FPDFText_GetLooseCharBox, ctypes.c_int, ctypes.c_void_p),
        call(raw.FPDFText_GetCharAngle, ctypes.c_float),
    )


# ------------------------------------------------------------------------------------------------- pictures


class _Picture(Document):
    """A picture, or the pictures of a TIFF. Its size in points follows the resolution it states, or 100 dpi."""

    def __init__(self, path: Path, head: bytes) -> None:
        super().__init__(path)
        with _quiet_pillow():
            try:
                self._stored = Image.open(path, formats=_PICTURE_FORMATS)
            except UnidentifiedImageError as error:
                start = head[:24].decode("ascii", "replace").split("\n")[0].strip()
                what = "a PDF" if path.suffix.lower() == ".pdf" else "a picture that can be read"
                raise DocumentError(path, f"is not {what}: it begins with {start!r}") from error
            except _PICTURE_ERRORS as error:
                raise _unread(path, error) from error
            self._length = _frames(self._stored) if self._stored.format == "TIFF" else 1

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        self._stored.close()

    def _read(self, number: int, *, image: bool, words: bool, dpi: float, max_pixels: int) -> _Content:
        with _quiet_pillow():
            try:
                stored = self._stored
                stored.seek(number - 1)
                x_dpi, y_dpi = _stated_dpi(stored)
                if stored.getexif().get(0x0112, 1) >= 5:  # Orientation: lies on its side
                    x_dpi, y_dpi = y_dpi, x_dpi
                shown = ImageOps.exif_transpose(stored)
                size_pt = shown.width * 72 / x_dpi, shown.height * 72 / y_dpi
                if not image:
                    return _Content(size_pt, None, () if words else None)
                size_px = _pixels(size_pt, _resolution(size_pt, min(dpi, max(x_dpi, y_dpi)), max_pixels))
                shown = _rgb(shown)
            except _PICTURE_ERRORS as error:
                raise _unread(self.path, error, number if len(self) > 1 else None) from error
        drawn = shown if shown.size == size_px else shown.resize(size_px, Image.Resampling.LANCZOS)
        return _Content(size_pt, drawn, () if words else None)


def _frames(image: Image.Image) -> int:
    """How many pictures a TIFF has, and the first one that is damaged: it says so when it is read."""
    number = 0
    while True:
        try:
            image.seek(number)
        except EOFError:  # the end
            return number
        except _PICTURE_ERRORS:
            return number + 1
        number += 1


def _unread(path: Path, error: BaseException, page: int | None = None) -> DocumentError:
    if isinstance(error, MemoryError):
        return DocumentError(path, "needs more memory than there is; reduce it", page=page)
    if isinstance(error, Image.DecompressionBombError):
        most = f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
        return DocumentError(path, f"has more than {most}; reduce it", page=page)
    return DocumentError(path, f"is a damaged picture ({error}); copy or export it again", page=page)


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow warns of large files, odd tags and lost transparency; none of it concerns the reader."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _stated_dpi(image: Image.Image) -> tuple[float, float]:
    """Horizontal and vertical dpi as stored; 100 where the file states none, or nonsense."""
    try:
        x_dpi, y_dpi = (float(v) for v in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return 100, 100
    return (x_dpi, y_dpi) if all(30 <= v <= 5000 for v in (x_dpi, y_dpi)) else (100, 100)


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB; what is transparent lies over white, and more than 8 bits are scaled, not clipped."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        peak = float(values.max(initial=0))
        top = 65535.0 if image.mode.startswith("I;16") else next((t for t in (1, 255, 65535) if peak <= t), peak)
        return Image.fromarray(np.clip(values * (255 / top), 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


# ----------------------------------------------------------------------------------------------- plain text


class _Text(Document):
    """Plain text: a page for each form feed, and pages of at most TEXT_PAGE characters where there are none.

    The pages one after the other are the text, less its form feeds and with line feeds for line ends.
    """

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(path)
        self._pages = _paged(text)

    def __len__(self) -> int:
        return len(self._pages)

    def close(self) -> None:
        """Nothing is held but the text."""

    def _read(self, number: int, **_: object) -> _Content:
        return _Content(plain=self._pages[number - 1])


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    boms = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = next((name for bom, name in boms.items() if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("latin-1") if encoding == "utf-8" else data.decode(encoding, "replace")
    if "\0" in text:
        raise DocumentError(path, "is not plain text (it holds zero bytes); save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _paged(text: str) -> list[str]:
    sheets = text.split("\f")
    if len(sheets) > 1 and not sheets[-1].strip():
        tail = sheets.pop()
        sheets[-1] += tail
    longest = TEXT_PAGE if len(sheets) == 1 else 2 * TEXT_PAGE  # a printed sheet may hold a little more
    return [page for sheet in sheets for page in _cut(sheet, longest)]


def _cut(text: str, longest: int) -> Iterator[str]:
    """Pieces of at most `longest` characters, cut after a blank line, else a line, else a word."""
    while len(text) > longest:
        ends = (text.rfind(mark, longest // 2, longest) + len(mark) for mark in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > longest // 2), longest)
        yield text[:end]
        text = text[end:]
    yield text
