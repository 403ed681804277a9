"""Layers of a PDF that are switched off (optional content): nothing on them is drawn, so nothing on them is a word.

PDFium's text layer includes them. Whether a layer is shown depends on states, groups of layers and expressions, so
PDFium itself is asked, by drawing. Call these functions under the lock of pdf.py only.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pypdfium2
from pypdfium2 import raw

from visret.documents import objects

_SIDE = 100  # pixels: the side of the picture in which a form is looked for
_FORMS, _STEPS = 500, 10_000  # forms of a page that are looked for: those with text, and all of them
_MAX_DEPTH = 8  # forms within forms


def hide(page: Any) -> None:
    """Switch off the objects on hidden layers of an open page, so that they are neither drawn nor read."""
    if not _may_hide_text(page):
        return
    top = [raw.FPDFPage_GetObject(page, i) for i in range(raw.FPDFPage_CountObjects(page))]
    inside = {objects.address_of(form): list(_inside(form)) for form in top if _is_form(form)}
    everything = [*top, *(one for some in inside.values() for one in some)]
    marks = {objects.address_of(one): _marks(one) for one in everything}
    off = _off(page, top, {objects.address_of(mark): mark for some in marks.values() for mark in some})
    for one in everything:
        if any(objects.address_of(mark) in off for mark in marks[objects.address_of(one)]):
            raw.FPDFPageObj_SetIsActive(one, False)
    with_text = 0
    for way in itertools.islice(_ways([(top, None)]), _STEPS):
        form = way[-1][1]
        held = list(_inside(form, len(way)))
        with_text += any(map(_is_text, held))
        if with_text > _FORMS:
            return
        if any(map(_is_text, held)) and not _is_drawn(page, way, held):
            raw.FPDFPageObj_SetIsActive(form, False)


def _may_hide_text(page: Any) -> bool:
    """Return whether a page has forms, or text on a layer; drawings have tens of thousands of other objects."""
    calls = objects.calls()
    pointer = objects.address_of(page.raw)
    known: dict[int, bool] = {}
    for i in range(calls.count_of(pointer)):
        one = calls.get(pointer, i)
        kind = calls.kind_of(one)
        if kind == raw.FPDF_PAGEOBJ_FORM:
            return True
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            for k in range(calls.marks_of(one)):
                mark = calls.mark_of(one, k)
                if mark not in known:
                    known[mark] = _ties(ctypes.cast(mark, raw.FPDF_PAGEOBJECTMARK))
                if known[mark]:
                    return True
    return False


def _inside(form: Any, depth: int = 1) -> Iterator[Any]:
    """Yield the objects that a form draws, and those of the forms in it."""
    for i in range(raw.FPDFFormObj_CountObjects(form)):
        one = raw.FPDFFormObj_GetObject(form, i)
        yield one
        if _is_form(one) and depth < _MAX_DEPTH:
            yield from _inside(one, depth + 1)


_Way = list[tuple[list[Any], Any]]


def _ways(way: _Way) -> Iterator[_Way]:
    """Yield the way to each form, and to the forms in those that are drawn.

    A step of a way has the objects at that level and the one taken. way: where to begin; its last has none yet.
    """
    *before, (siblings, _) = way
    active = ctypes.c_int()
    for one in siblings if len(way) <= _MAX_DEPTH else ():
        if _is_form(one):
            yield [*before, (siblings, one)]
            if raw.FPDFPageObj_GetIsActive(one, ctypes.byref(active)) and active.value:
                inside = [raw.FPDFFormObj_GetObject(one, i) for i in range(raw.FPDFFormObj_CountObjects(one))]
                yield from _ways([*before, (siblings, one), (inside, None)])


def _marks(one: Any) -> list[Any]:
    """Return the marks of an object that tie it to a layer."""
    all_marks = (raw.FPDFPageObj_GetMark(one, k) for k in range(raw.FPDFPageObj_CountMarks(one)))
    return [mark for mark in all_marks if _ties(mark)]


def _ties(mark: Any) -> bool:
    """Return whether a mark ties its object to a layer, which is so if its name is "OC"."""
    buffer, size = ctypes.create_string_buffer(8), ctypes.c_ulong()
    text = ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR))
    raw.FPDFPageObjMark_GetName(mark, text, 8, ctypes.byref(size))
    return buffer.raw[:6] == "OC\0".encode("utf-16-le")


def _off(page: Any, top: list[Any], marks: dict[int, Any]) -> set[int]:
    """Find the marks that hide what they mark, by drawing black squares with one mark each and nothing else."""
    if not marks:
        return set()
    side = int(np.ceil(np.sqrt(len(marks))))
    box = raw.FS_RECTF()
    if not raw.FPDF_GetPageBoundingBox(page, box):
        raise pypdfium2.PdfiumError("no bounding box")
    wide, high = (box.right - box.left) / side, (box.top - box.bottom) / side
    corners = {key: (box.left + k % side * wide, box.bottom + k // side * high) for k, key in enumerate(marks)}
    squares = [_square(page, *corners[key], wide, high, mark) for key, mark in marks.items()]
    try:
        with _only([(top, None)]):
            seen = _drawn(page, 4 * side)
    finally:
        for square in squares:
            raw.FPDFPage_RemoveObject(page, square)
            raw.FPDFPageObj_Destroy(square)
    return {key for key, (x, y) in corners.items() if not seen[_pixel(page, x + wide / 2, y + high / 2, 4 * side)]}


def _square(page: Any, x: float, y: float, wide: float, high: float, mark: Any) -> Any:
    square = raw.FPDFPageObj_CreateNewRect(x, y, wide, high)
    raw.FPDFPath_SetDrawMode(square, raw.FPDF_FILLMODE_WINDING, False)
    raw.FPDFPageObj_SetFillColor(square, 0, 0, 0, 255)
    raw.FPDFPageObj_AddExistingMark(square, mark)
    raw.FPDFPage_InsertObject(page, square)
    return square


def _pixel(page: Any, x: float, y: float, side: int) -> tuple[int, int]:
    """Return the row and column of a place on the page."""
    column, row = ctypes.c_int(), ctypes.c_int()
    raw.FPDF_PageToDevice(page, 0, 0, side, side, 0, x, y, ctypes.byref(column), ctypes.byref(row))
    return min(max(row.value, 0), side - 1), min(max(column.value, 0), side - 1)


def _is_drawn(page: Any, way: _Way, inside: list[Any]) -> bool:
    """Return whether anything of the form at the end of a way is drawn; its text counts even if it is invisible."""
    texts = [(one, raw.FPDFTextObj_GetTextRenderMode(one)) for one in inside if _is_text(one)]
    try:
        for one, _ in texts:
            raw.FPDFTextObj_SetTextRenderMode(one, raw.FPDF_TEXTRENDERMODE_FILL)
        with _only(way):
            return bool(_drawn(page, _SIDE).any())
    finally:
        for one, mode in texts:
            raw.FPDFTextObj_SetTextRenderMode(one, mode)


@contextmanager
def _only(way: _Way) -> Iterator[None]:
    """Switch off all but what lies at the end of a way, for as long as the block lasts."""
    active = ctypes.c_int()
    beside = [
        one
        for siblings, taken in way
        for one in siblings
        if (taken is None or objects.address_of(one) != objects.address_of(taken))
        and raw.FPDFPageObj_GetIsActive(one, ctypes.byref(active))
        and active.value
    ]
    for one in beside:
        raw.FPDFPageObj_SetIsActive(one, False)
    try:
        yield
    finally:
        for one in beside:
            raw.FPDFPageObj_SetIsActive(one, True)


def _drawn(page: Any, side: int) -> np.ndarray:
    """Draw the page, and return (side, side) bool: where something is drawn."""
    bitmap = pypdfium2.PdfBitmap.new_native(side, side, raw.FPDFBitmap_BGRA)
    try:
        raw.FPDFBitmap_FillRect(bitmap, 0, 0, side, side, 0)
        raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, side, side, 0, 0)
        return np.array(bitmap.to_numpy()[..., 3] > 0)
    finally:
        bitmap.close()


def _is_form(one: Any) -> bool:
    return bool(raw.FPDFPageObj_GetType(one) == raw.FPDF_PAGEOBJ_FORM)


def _is_text(one: Any) -> bool:
    return bool(raw.FPDFPageObj_GetType(one) == raw.FPDF_PAGEOBJ_TEXT)
