"""The text layer of a PDF page as PDFium gives it: codes, boxes and angles. Call it under the lock of pdf.py only."""

from __future__ import annotations

import ctypes
import functools
import math
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import pypdfium2
from pypdfium2 import raw

from visret.documents.misread import repaired, with_ligatures
from visret.documents.words import SPACES

MAX_CHARACTERS = 1_000_000  # characters of a string that is read
_SAMPLE = 16  # characters of a page whose meaning is checked; all are, if one of these has none
_TOUCHING = 0.15  # the gap between letters of a word, in heights of the line
_MIN_TORN, _TORN = 3, 0.003  # characters without a meaning inside words: how many, and as a share of all letters
_MIN_BLANK, _LONG_BLANK = 3, 8.0  # lines of blanks: how many, and how wide, in heights of the line
_VOWELS = np.frombuffer("aeiouyAEIOUYäöüéèáíóúàâêîôåæø".encode("utf-32-le"), "<u4")
_BARE = np.zeros(0x10001, bool)  # control characters, private use, and codes that are no characters
for _first, _last in ((0, 8), (14, 31), (0x7F, 0x84), (0x86, 0x9F), (0xE000, 0xF8FF), (0xFFFD, 0xFFFF)):
    _BARE[_first : _last + 1] = True


class Characters(NamedTuple):
    """n characters in painted order, in the page's own coordinates.

    codes: (n,) uint32 Unicode. boxes: (n, 4) float32 left, top, right, bottom, in points, y up.
    angles: (n,) float32 radians clockwise. senseless: (n,) bool, characters without a meaning; None where all have one.
    blank: whether whole lines are blanks, of which PDFium gives one each: a font may call all its letters blanks.
    """

    codes: np.ndarray
    boxes: np.ndarray
    angles: np.ndarray
    senseless: np.ndarray | None = None
    blank: bool = False

    @property
    def share_senseless(self) -> float:
        """The share of characters without a meaning among those that are not white space."""
        if self.senseless is None:
            return 0.0
        ink = ~np.isin(self.codes, SPACES) | self.senseless
        return float(self.senseless.sum() / max(1, ink.sum()))

    @property
    def is_torn(self) -> bool:
        """True if words lack letters: characters without a meaning touch letters, as those of ligatures do."""
        if self.senseless is None:
            return False
        small = self.codes | 0x20
        letters = ((small >= 0x61) & (small <= 0x7A)) | ((self.codes >= 0xC0) & (self.codes < 0x2000))
        letters &= ~self.senseless
        odd = self.senseless & ~((self.codes >= 0x10) & (self.codes <= 0x16))  # TeX's quotation marks and dashes
        (left, _, right, bottom), high = self.boxes.T, np.abs(self.boxes[:, 1] - self.boxes[:, 3])
        touch = (np.abs(left[1:] - right[:-1]) < _TOUCHING * high[1:]) & (np.abs(bottom[1:] - bottom[:-1]) < high[1:])
        torn = np.zeros(len(letters), bool)
        torn[1:] |= odd[1:] & letters[:-1] & touch
        torn[:-1] |= odd[:-1] & letters[1:] & touch
        return bool(torn.sum() >= max(_MIN_TORN, _TORN * letters.sum()))

    def some(self, which: np.ndarray) -> Characters:
        """Select the characters that `which`, an index or a mask, takes."""
        senseless = None if self.senseless is None else self.senseless[which]
        return Characters(self.codes[which], self.boxes[which], self.angles[which], senseless)


class Displayed(NamedTuple):
    """n characters as text, boxes (n, 4) on the displayed page, and quarter turns (n,), as `words` takes them."""

    text: str
    boxes: np.ndarray
    turns: np.ndarray


def of_page(page: Any) -> Characters:
    """Read the text layer of an open page."""
    textpage = page.get_textpage()
    try:
        return _read(textpage)
    finally:
        textpage.close()


def _read(textpage: Any) -> Characters:
    unicode_of, box_of, angle_of, _ = character_calls()
    n = textpage.count_chars()
    pointer = ctypes.cast(textpage.raw, ctypes.c_void_p).value
    boxes = np.zeros((n, 4), np.float32)
    rows = range(boxes.ctypes.data, boxes.ctypes.data + 16 * n, 16)
    deque(map(box_of, repeat(pointer), range(n), rows), maxlen=0)
    codes = np.fromiter(map(unicode_of, repeat(pointer), range(n)), np.uint32, n)
    angles = np.fromiter(map(angle_of, repeat(pointer), range(n)), np.float32, n)
    angles[~(angles > 0)] = 0  # -1 where PDFium has none
    for k in np.flatnonzero(codes == 2):  # a hyphen at a line end, or a glyph without a meaning
        if raw.FPDFText_IsHyphen(textpage, int(k)) == 1:
            codes[k] = 0xAD
    codes = repaired(codes)
    senseless, meant = _senseless(pointer, codes), with_ligatures(codes)
    if senseless is not None:
        senseless &= meant == codes
    return Characters(meant, boxes, angles, senseless, _has_lines_of_blanks(textpage, codes))


def _has_lines_of_blanks(textpage: Any, codes: np.ndarray) -> bool:
    ends = np.concatenate([[True], np.isin(codes, (10, 13)), [True]])
    alone = np.flatnonzero((codes == 0x20) & ends[:-2] & ends[2:])
    if len(alone) < _MIN_BLANK:
        return False
    edges, wide = [ctypes.c_float() for _ in range(4)], 0
    for k in alone[:_SAMPLE].tolist():
        one = raw.FPDFText_GetTextObject(textpage, k)
        if one and raw.FPDFPageObj_GetBounds(one, *edges):
            left, bottom, right, top = (edge.value for edge in edges)
            wide += right - left > _LONG_BLANK * (top - bottom) > 0
    return wide >= _MIN_BLANK


def joined(parts: Iterable[Characters]) -> Characters:
    """Join characters that are painted one part after the other, with a line end between the parts."""
    line_end = Characters(np.array([10], np.uint32), np.zeros((1, 4), np.float32), np.zeros(1, np.float32))
    all_parts = [part for each in parts if len(each.codes) for part in (each, line_end)]
    if not all_parts:
        return line_end.some(np.arange(0))
    senseless = [np.zeros(len(p.codes), bool) if p.senseless is None else p.senseless for p in all_parts]
    codes, boxes, angles = (np.concatenate(field) for field in list(zip(*all_parts, strict=True))[:3])
    return Characters(codes, boxes, angles, np.concatenate(senseless) if any(s.any() for s in senseless) else None)


def displayed(page: Any, size_pt: tuple[float, float], found: Characters) -> Displayed:
    """Place characters on the displayed page, with its rotation and crop box applied."""
    text = np.minimum(found.codes, 0x10FFFF).astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    placed = placed_boxes(page, size_pt, found.boxes)
    return Displayed(text, placed, (np.rint(found.angles / (math.pi / 2)).astype(int) + page.get_rotation() // 90) % 4)


def placed_boxes(page: Any, size_pt: tuple[float, float], boxes: np.ndarray) -> np.ndarray:
    """Turn left, top, right, bottom in the page's coordinates into x0, y0, x1, y1 on the displayed page."""
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
    placed = np.stack(corners, axis=1)
    return np.asarray(np.nan_to_num(placed, nan=-1e9, posinf=-1e9, neginf=-1e9))  # off the page


def _senseless(textpage: int | None, codes: np.ndarray) -> np.ndarray | None:
    """Find characters without a meaning: control characters, private use, and those PDFium has no Unicode for.

    Returns (n,) bool; None where all have one. A font without a table of characters gives its own codes, which may look
    like white space or letters. Codes that read like a language are believed: old bitmap fonts of TeX have no table
    either, but their codes are right.
    """
    bare = np.take(_BARE, codes, mode="clip")
    is_unmapped = character_calls()[3]
    n = len(codes)
    if 1 not in map(is_unmapped, repeat(textpage), range(0, n, max(1, n // _SAMPLE))):
        return bare if bare.any() else None
    unmapped = np.fromiter(map(is_unmapped, repeat(textpage), range(n)), int, n) == 1
    if _reads(codes[unmapped]):
        unmapped[:] = False
    return np.asarray(bare | unmapped)


def _reads(codes: np.ndarray) -> bool:
    """Return whether codes read like a European language or like numbers, as a font's own codes seldom do."""
    small = (codes >= 0x61) & (codes <= 0x7A)
    letters = int((small | ((codes >= 0x41) & (codes <= 0x5A))).sum())
    figures = int(((codes >= 0x30) & (codes <= 0x39)).sum())
    if letters + figures < 0.7 * len(codes):
        return False
    vowels = int(np.isin(codes, _VOWELS).sum())
    return figures > 2 * letters or (2 * small.sum() > letters and 0.25 * letters < vowels < 0.6 * letters)


def utf16(get: Callable[[Any, int], int]) -> str:
    """Return a string that PDFium writes as UTF-16 with a zero at its end, and whose size in bytes it gives."""
    size = min(get(None, 0), 2 * MAX_CHARACTERS)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    get(ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    text = buffer.raw[:size].decode("utf-16-le", "ignore").rstrip("\0")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@functools.cache
def character_calls() -> tuple[Callable[..., int], Callable[..., int], Callable[..., float], Callable[..., int]]:
    """Return FPDFText_GetUnicode, _GetLooseCharBox, _GetCharAngle and _HasUnicodeMapError, bound to plain addresses."""
    return (
        call(raw.FPDFText_GetUnicode, ctypes.c_uint, ctypes.c_int),
        call(raw.FPDFText_GetLooseCharBox, ctypes.c_int, ctypes.c_int, ctypes.c_void_p),
        call(raw.FPDFText_GetCharAngle, ctypes.c_float, ctypes.c_int),
        call(raw.FPDFText_HasUnicodeMapError, ctypes.c_int, ctypes.c_int),
    )


def call(function: Any, result: Any, *arguments: Any) -> Any:
    """Bind a PDFium function, whose first argument is an address, for calls that run a few thousand times a page.

    pypdfium2's own versions convert every argument and release the interpreter lock on every call, which makes them two
    to three times as slow, and far slower beside a busy thread.
    """
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    return ctypes.PYFUNCTYPE(result, ctypes.c_void_p, *arguments)(address)
