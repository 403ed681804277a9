"""Print on a PDF page that is drawn as shapes: drawing programs and printer drivers turn letters into outlines.

Such letters are no text and lie under no picture. Only the picture of the page can tell whether shapes are letters;
seeing that a page has many filled shapes of many kinds, as small as letters, costs little. A large shape may also be
filled with a pattern that is a picture, as printers to PDF make it. Call this under the lock of pdf.py only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from pypdfium2 import raw

from visret.documents import objects

_MIN_POINTS = 8  # of an outline: more than a box has
_MAX_HEIGHT = 60.0  # PDF points of a line of print
_MUCH = 400  # points of all outlines: those of some twenty letters
_LONG = 1_000  # points of one shape that is a text
_KINDS = 8  # of outlines, by their number of points: the marks of a diagram are all alike
_CURVED = 0.2  # the share of curves in a large shape that is text, not a coastline
_SAMPLE = 200  # of its points that are looked at
_PATTERN = (0xBF, 0xBF, 0xBF)  # the colour that PDFium gives for a pattern with colours of its own
_LARGE = 0.05  # a share of the page's area


def may_be_print(page: Any) -> bool:
    """Return whether filled shapes on an open page may be letters."""
    calls, points, kinds = objects.calls(), 0, set()
    bounds = (ctypes.c_float * 4)()
    edges = [ctypes.addressof(bounds) + 4 * k for k in range(4)]
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    width, height = page.get_size()
    for shape in _shapes(objects.address_of(page.raw)):
        if not calls.draw_mode_of(shape, ctypes.addressof(fill), ctypes.addressof(stroke)) or not fill.value:
            continue
        if not calls.bounds_of(shape, *edges):
            continue
        count = calls.points_of(shape)
        wide, high = bounds[2] - bounds[0], bounds[3] - bounds[1]
        if wide * high > _LARGE * width * height and _has_pattern(shape):
            return True
        if count < _MIN_POINTS:
            continue
        is_line = high <= _MAX_HEIGHT and wide > 3 * high
        if count >= (_MUCH if is_line else _LONG) and _is_curved(shape, count):
            return True
        if high <= _MAX_HEIGHT:
            points += count
            kinds.add(count)
            if points >= _MUCH and len(kinds) >= _KINDS:
                return True
    return False


def _has_pattern(shape: int) -> bool:
    red, green, blue, opaque = (ctypes.c_uint() for _ in range(4))
    known = raw.FPDFPageObj_GetFillColor(ctypes.cast(shape, raw.FPDF_PAGEOBJECT), red, green, blue, opaque)
    return bool(known) and (red.value, green.value, blue.value) == _PATTERN


def _is_curved(shape: int, count: int) -> bool:
    path = ctypes.cast(shape, raw.FPDF_PAGEOBJECT)
    some = range(0, count, max(1, count // _SAMPLE))
    types = [raw.FPDFPathSegment_GetType(raw.FPDFPath_GetPathSegment(path, k)) for k in some]
    return types.count(raw.FPDF_SEGMENT_BEZIERTO) > _CURVED * len(types)


def _shapes(holder: int, depth: int = 0, left: Iterator[int] | None = None) -> Iterator[int]:
    """Yield the addresses of the shapes among the first and last objects of a page or, if depth > 0, a form.

    left: an item for each form that may still be looked into.
    """
    kind_of, left = objects.calls().kind_of, iter(range(objects.FORMS)) if left is None else left
    for one in objects.first_and_last(holder, inside=depth > 0):
        kind = kind_of(one)
        if kind == raw.FPDF_PAGEOBJ_PATH:
            yield one
        elif kind == raw.FPDF_PAGEOBJ_FORM and depth < objects.FORM_DEPTH and next(left, None) is not None:
            yield from _shapes(one, depth + 1, left)
