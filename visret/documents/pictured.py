"""The share of a PDF page under pictures, and whether its text is an invisible layer, as scanners add it.

Call these functions under the lock of pdf.py only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
from pypdfium2 import raw

from visret.documents import objects

_PARTS = 50  # parts of a page's width and of its height, to measure its share under pictures
_SAMPLE = 16  # characters that are checked for being visible


def share(page: Any) -> float:
    """Return the share of an open page's area that lies under pictures, including those inside forms."""
    shown = raw.FS_RECTF()
    if not raw.FPDF_GetPageBoundingBox(page, shown):
        return 0.0
    under = np.zeros((_PARTS, _PARTS), bool)
    corner, size = np.array([shown.left, shown.bottom]), np.array([shown.right - shown.left, shown.top - shown.bottom])
    for bounds in _pictures(objects.address_of(page.raw)):
        (x0, y0), (x1, y1) = np.rint(((bounds - corner) / size).clip(0, 1) * _PARTS).astype(int)
        under[y0:y1, x0:x1] = True
    return float(under.mean())


def has_active(page: Any) -> bool:
    """Return whether an open page has a picture that is not switched off, itself or in a form that is not."""
    active = ctypes.c_int()
    for k in range(raw.FPDFPage_CountObjects(page)):
        one = raw.FPDFPage_GetObject(page, k)
        if raw.FPDFPageObj_GetIsActive(one, ctypes.byref(active)) and active.value:
            kind = raw.FPDFPageObj_GetType(one)
            if kind == raw.FPDF_PAGEOBJ_IMAGE or (
                kind == raw.FPDF_PAGEOBJ_FORM and list(_pictures(objects.address_of(one), 1))
            ):
                return True
    return False


def is_hidden(page: Any) -> bool:
    """Return whether most of a few sampled characters of an open page are painted invisibly."""
    textpage = page.get_textpage()
    try:
        n = textpage.count_chars()
        some = [raw.FPDFText_GetTextObject(textpage, k) for k in range(0, n, max(1, n // _SAMPLE))]
        modes = [raw.FPDFTextObj_GetTextRenderMode(text) for text in some if text]  # line ends belong to none
        return 2 * modes.count(raw.FPDF_TEXTRENDERMODE_INVISIBLE) > len(modes)
    finally:
        textpage.close()


def _pictures(holder: int, depth: int = 0, left: Iterator[int] | None = None) -> Iterator[np.ndarray]:
    """Yield [[x0, y0], [x1, y1]] of the pictures among the first and last objects of a page or, if depth > 0, a form.

    left: an item for each form that may still be looked into.
    """
    left = iter(range(objects.FORMS)) if left is None else left
    found = list(objects.first_and_last(holder, inside=depth > 0))
    kinds = np.fromiter(map(objects.calls().kind_of, found), int, len(found))
    for k in np.flatnonzero(kinds == raw.FPDF_PAGEOBJ_IMAGE):
        edges = [ctypes.c_float() for _ in range(4)]
        if raw.FPDFPageObj_GetBounds(ctypes.cast(found[k], raw.FPDF_PAGEOBJECT), *edges):
            yield np.nan_to_num(np.array([edge.value for edge in edges])).reshape(2, 2)
    forms = np.flatnonzero(kinds == raw.FPDF_PAGEOBJ_FORM) if depth < objects.FORM_DEPTH else ()
    for k, _ in zip(forms, left, strict=False):
        form, m = ctypes.cast(found[k], raw.FPDF_PAGEOBJECT), raw.FS_MATRIX()
        if raw.FPDFPageObj_GetMatrix(form, m):
            for (x0, y0), (x1, y1) in _pictures(found[k], depth + 1, left):
                corners = np.array([(x0, y0), (x0, y1), (x1, y0), (x1, y1)]) @ ((m.a, m.b), (m.c, m.d)) + (m.e, m.f)
                yield np.stack([corners.min(axis=0), corners.max(axis=0)])
