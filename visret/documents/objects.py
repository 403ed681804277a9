"""The objects of a page and of its forms, as addresses: calls to PDFium that cost little for each of many objects.

Call these functions under the lock of pdf.py only.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, NamedTuple

from pypdfium2 import raw

from visret.documents.characters import call

FIRST, LAST = 200, 50  # objects of a page or a form that are looked at: a map may have 100,000
FORMS, FORM_DEPTH = 200, 12  # forms of a page that are looked into, and how deep they may lie in each other


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


def address_of(pointer: Any) -> int:
    """Return the address that a pointer of pypdfium2 holds; 0 for a null pointer."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def first_and_last(holder: int, *, inside: bool) -> Iterator[int]:
    """Return the addresses of the FIRST and the LAST objects of a page or, if `inside`, of a form, in order."""
    known = calls()
    count_of, get = (known.count_inside, known.get_inside) if inside else (known.count_of, known.get)
    count = count_of(holder)
    return map(get, repeat(holder), (*range(min(count, FIRST)), *range(max(FIRST, count - LAST), count)))
