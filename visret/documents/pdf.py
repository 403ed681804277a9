"""PDFs. PDFium must not be entered by two threads at once: every call to it happens in this file, under one lock."""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import shutil
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pypdfium2
from PIL import Image
from pypdfium2 import raw

from visret import _forks
from visret.documents.document import Content, Document, pixels, resolution
from visret.documents.words import SPACES
from visret.documents.words import words as words_of
from visret.errors import DocumentError, PasswordRequired

_log = logging.getLogger(__name__)
_PARTS = 50  # of a page's width and of its height, to say what share of it is under pictures
_OBJECTS = 2000  # of a page or a form that are looked at: a map may have 100,000, and a scan is among its first
_FORMS, _FORM_DEPTH = 20, 3  # forms of a page that are looked into, and how deep they may lie in each other

_pdfium_lock = _forks.Lock(whole=True)  # reentrant: a forgotten document may be collected inside a call


class Pdf(Document):
    """A PDF. The pages are drawn by PDFium, or by poppler."""

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
        """Let go of the file; no page can be read afterwards."""
        self._close()

    def _read(self, number: int, *, image: bool, words: bool, dpi: float, max_pixels: int) -> Content:
        with self._page(number) as page:
            size_pt = page.get_size()
            if not (size_pt[0] > 0 and size_pt[1] > 0):
                raise DocumentError(self.path, "the page has no area", page=number)
            dpi = resolution(size_pt, dpi, max_pixels)
            drawn = _drawn(page, pixels(size_pt, dpi)) if image and self._backend == "pdfium" else None
            characters = _characters(page, size_pt) if words else None
            pictured = _pictured(page) if words else 0.0
        if image and drawn is None:
            drawn = self._drawn_by_poppler(number, dpi)
        if characters is None:
            return Content(size_pt, drawn)
        found = words_of(*characters.placed, width=size_pt[0], height=size_pt[1])
        return Content(size_pt, drawn, found, senseless=characters.senseless, pictured=pictured)

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


def _pictured(page: Any) -> float:
    """The share of the page's area that lies under pictures, those inside forms too."""
    shown = raw.FS_RECTF()
    if not raw.FPDF_GetPageBoundingBox(page, shown):
        return 0.0
    under = np.zeros((_PARTS, _PARTS), bool)
    corner, size = np.array([shown.left, shown.bottom]), np.array([shown.right - shown.left, shown.top - shown.bottom])
    for bounds in _pictures(page.raw):
        (x0, y0), (x1, y1) = np.rint(((bounds - corner) / size).clip(0, 1) * _PARTS).astype(int)
        under[y0:y1, x0:x1] = True
    return float(under.mean())


def _pictures(holder: Any, depth: int = 0) -> Iterator[np.ndarray]:
    """The bounds of the pictures among the first objects of a page or, depth > 0, of a form: [[x0, y0], [x1, y1]]."""
    object_of, kind_of = _object_calls(form=depth > 0)
    count = raw.FPDFFormObj_CountObjects(holder) if depth else raw.FPDFPage_CountObjects(holder)
    objects = list(map(object_of, repeat(ctypes.cast(holder, ctypes.c_void_p).value), range(min(count, _OBJECTS))))
    kinds = np.fromiter(map(kind_of, objects), int, len(objects))
    for k in np.flatnonzero(kinds == raw.FPDF_PAGEOBJ_IMAGE):
        edges = [ctypes.c_float() for _ in range(4)]
        if raw.FPDFPageObj_GetBounds(ctypes.cast(objects[k], raw.FPDF_PAGEOBJECT), *edges):
            yield np.array([edge.value for edge in edges]).reshape(2, 2)
    for k in np.flatnonzero(kinds == raw.FPDF_PAGEOBJ_FORM)[: _FORMS if depth < _FORM_DEPTH else 0]:
        form, m = ctypes.cast(objects[k], raw.FPDF_PAGEOBJECT), raw.FS_MATRIX()
        if raw.FPDFPageObj_GetMatrix(form, m):
            for (x0, y0), (x1, y1) in _pictures(form, depth + 1):
                corners = np.array([(x0, y0), (x0, y1), (x1, y0), (x1, y1)]) @ ((m.a, m.b), (m.c, m.d)) + (m.e, m.f)
                yield np.stack([corners.min(axis=0), corners.max(axis=0)])


@functools.cache
def _object_calls(*, form: bool) -> tuple[Callable[..., int], Callable[..., int]]:
    """FPDFPage_GetObject or FPDFFormObj_GetObject, and FPDFPageObj_GetType, as `_character_calls`."""
    get = raw.FPDFFormObj_GetObject if form else raw.FPDFPage_GetObject
    return (
        _plain(get, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong if form else ctypes.c_int),
        _plain(raw.FPDFPageObj_GetType, ctypes.c_int, ctypes.c_void_p),
    )


class _Characters(NamedTuple):
    """The text layer. placed: n characters, their boxes (n, 4) on the displayed page and quarter turns (n,), for words.

    senseless: the share of them, white space apart, that have no meaning.
    """

    placed: tuple[str, np.ndarray, np.ndarray]
    senseless: float


def _characters(page: Any, size_pt: tuple[float, float]) -> _Characters:
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
        senseless = _senseless(textpage, codes)
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
    turns = (np.rint(angles / (math.pi / 2)).astype(int) + rotation) % 4
    return _Characters((text, placed, turns), senseless)


def _senseless(textpage: Any, codes: np.ndarray) -> float:
    """The share of characters without a meaning: control characters, private use, and what PDFium has no Unicode for.

    Where a font has no table of characters, PDFium gives its codes, which may be those of white space.
    """
    bare = (codes < 0x20) & ((codes < 9) | (codes > 13))
    bare |= ((codes >= 0x7F) & (codes < 0xA0) & (codes != 0x85)) | ((codes >= 0xE000) & (codes < 0xF900))
    bare |= (codes >= 0xFFFD) & (codes <= 0xFFFF)
    if not bare.any():
        return 0.0
    unmapped = np.array([raw.FPDFText_HasUnicodeMapError(textpage, k) == 1 for k in range(len(codes))])
    white = np.isin(codes, SPACES) & ~unmapped
    return float((bare | (unmapped & (codes < 0x20))).sum() / max(1, (~white).sum()))


@functools.cache
def _character_calls() -> tuple[Callable[..., int], Callable[..., int], Callable[..., float]]:
    """FPDFText_GetUnicode, _GetLooseCharBox and _GetCharAngle on plain addresses.

    They run a few thousand times a page. pypdfium2's own versions convert every argument and let go of the
    interpreter lock on every call, which costs two to three times as much, and far more beside a busy thread.
    """

    of_text = ctypes.c_void_p, ctypes.c_int
    return (
        _plain(raw.FPDFText_GetUnicode, ctypes.c_uint, *of_text),
        _plain(raw.FPDFText_GetLooseCharBox, ctypes.c_int, *of_text, ctypes.c_void_p),
        _plain(raw.FPDFText_GetCharAngle, ctypes.c_float, *of_text),
    )


def _plain(function: Any, result: Any, *arguments: Any) -> Any:
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    return ctypes.PYFUNCTYPE(result, *arguments)(address)
