"""The objects of a page and of its forms, as addresses: calls to PDFium that cost little for each of many objects.

Call these functions under the lock of pdf.py only.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import NamedTuple

from pypdfium2 import raw

from visret.documents.characters import call


class Calls(NamedTuple):
    """Functions of PDFium on plain addresses: of a page, of a form or another object on it, or of an object's font."""

    count_of: Callable[[int], int]
    get: Callable[[int, int], int]
    count_inside: Callable[[int], int]
    get_inside: Callable[[int, int], int]
    kind_of: Callable[[int], int]
    bounds_of: Callable[[int, int, int, int, int], int]
    marks_of: Callable[[int], int]
    mark_of: Callable[[int, int], int]
    points_of: Callable[[int], int]
    draw_mode_of: Callable[[int, int, int], int]
    text_mode_of: Callable[[int], int]
    font_of: Callable[[int], int]
    is_embedded: Callable[[int], int]


@functools.cache
def calls() -> Calls:
    """Return the functions; they are bound once."""
    number, address = ctypes.c_int, ctypes.c_void_p
    return Calls(
        call(raw.FPDFPage_CountObjects, number),
        call(raw.FPDFPage_GetObject, address, number),
        call(raw.FPDFFormObj_CountObjects, number),
        call(raw.FPDFFormObj_GetObject, address, ctypes.c_ulong),
        call(raw.FPDFPageObj_GetType, number),
        call(raw.FPDFPageObj_GetBounds, number, address, address, address, address),
        call(raw.FPDFPageObj_CountMarks, number),
        call(raw.FPDFPageObj_GetMark, address, ctypes.c_ulong),
        call(raw.FPDFPath_CountSegments, number),
        call(raw.FPDFPath_GetDrawMode, number, address, address),
        call(raw.FPDFTextObj_GetTextRenderMode, number),
        call(raw.FPDFTextObj_GetFont, address),
        call(raw.FPDFFont_GetIsEmbedded, number),
    )
