"""Text in fonts that a PDF names and does not hold, on a machine without them. Called under the lock of pdf.py only.

Such letters are drawn blank. The file still says which they are, but PDFium leaves text without an extent out of the
text layer: letters that are painted one by one would be gone.
"""

from __future__ import annotations

import ctypes
import functools
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from pypdfium2 import raw

from visret.documents import characters
from visret.types import Loss

_SAMPLE = 32  # objects of a page that are looked at; all are where one of these is suspicious
_THIN = 1e-3  # points
_BLANKS = "\0 \r\n\t\u00a0\u3000"
_INVISIBLE = {raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP}
_SCRIPTS = {  # the first word of a character's name in Unicode -> what to install
    "CJK": "a font for Chinese and Japanese, such as fonts-noto-cjk",
    "HIRAGANA": "a font for Japanese, such as fonts-noto-cjk",
    "KATAKANA": "a font for Japanese, such as fonts-noto-cjk",
    "HANGUL": "a font for Korean, such as fonts-noto-cjk",
}


class _Text(NamedTuple):
    """A text object. font: the name of its font. mode: how it is to be drawn. thin: whether it has no extent."""

    handle: Any
    font: str
    mode: int
    embedded: bool
    thin: bool


@contextmanager
def extended(page: Any, missing: Collection[str]) -> Iterator[list[Loss]]:
    """An open page whose text layer has all letters; yields what of it is drawn blank.

    missing: the names of fonts that were looked for and not found.
    """
    found = _doubtful(page, missing)
    if not found:
        yield []
        return
    for one in found:
        _extend(one)
    said = [(one, text.strip(_BLANKS)) for one, text in zip(found, _said(page, found), strict=True)]
    for one, text in said:
        if not text:  # blanks have no extent in any font
            _restore(one)
    try:
        yield list(_blank([(one, text) for one, text in said if text]))
    finally:
        for one, text in said:
            if text:
                _restore(one)


def _blank(letters: list[tuple[_Text, str]]) -> Iterator[Loss]:
    names = dict.fromkeys(one.font for one, _ in letters if one.mode not in _INVISIBLE and not one.embedded)
    for name in names:
        text = "".join(text for one, text in letters if one.font == name)
        what = f"the picture of text set in {name or 'a font without a name'}"
        yield Loss(f"{what}, which is not in the file and not on this machine", _help(text))


def _help(text: str) -> str:
    """What would show a text."""
    scripts = Counter(unicodedata.name(char, "").split(" ")[0] for char in text if not char.isspace())
    for script, font in _SCRIPTS.items():
        if script != "CJK" and scripts[script]:
            return f"install {font}"
    return f"install {_SCRIPTS['CJK']}" if scripts["CJK"] else "save the document again with its fonts embedded"


def _extend(one: _Text) -> None:
    """Give a text an extent: PDFium adds half the width of its outline, once it draws that and places it anew."""
    if one.thin:
        raw.FPDFTextObj_SetTextRenderMode(one.handle, raw.FPDF_TEXTRENDERMODE_STROKE)
        raw.FPDFPageObj_Transform(one.handle, 1, 0, 0, 1, 0, 0)


def _restore(one: _Text) -> None:
    if one.thin:
        raw.FPDFTextObj_SetTextRenderMode(one.handle, one.mode)
        raw.FPDFPageObj_Transform(one.handle, 1, 0, 0, 1, 0, 0)


def _said(page: Any, some: list[_Text]) -> list[str]:
    textpage = page.get_textpage()
    try:
        return [characters.utf16(functools.partial(raw.FPDFTextObj_GetText, one.handle, textpage)) for one in some]
    finally:
        textpage.close()


# ------------------------------------------------------------------------------------------------ what is suspicious


def _doubtful(page: Any, missing: Collection[str]) -> list[_Text]:
    """The texts of an open page that may be letters nobody sees; none of most pages, at little cost."""
    pointer = ctypes.cast(page.raw, ctypes.c_void_p).value or 0
    if not missing and not any(_doubt(one, ()) for one in _texts(pointer, _SAMPLE)):
        return []
    return [text for one in _texts(pointer, None) if (text := _doubt(one, missing))]


def _doubt(address: int, missing: Collection[str]) -> _Text | None:
    """The text at an address, if its font is missing, or if it has no extent and its font may be the reason."""
    bounds = np.zeros(4, np.float32)
    left = bounds.ctypes.data
    if not _calls().bounds_of(address, left, left + 4, left + 8, left + 12):
        return None
    thin = bool(bounds[2] - bounds[0] <= _THIN or bounds[3] - bounds[1] <= _THIN)
    if not thin and not missing:
        return None
    handle = ctypes.cast(address, raw.FPDF_PAGEOBJECT)
    font, mode = raw.FPDFTextObj_GetFont(handle), raw.FPDFTextObj_GetTextRenderMode(handle)
    if not font:
        return None
    embedded, name = raw.FPDFFont_GetIsEmbedded(font) != 0, _name(font)
    doubtful = mode in _INVISIBLE or not embedded if thin else not embedded and _plain(name) in missing
    return _Text(handle, name, mode, embedded, thin) if doubtful else None


def _plain(name: str) -> str:
    """The name that PDFium looks for: without a style."""
    return name.partition(",")[0].replace(" ", "")


def _name(font: Any) -> str:
    buffer = ctypes.create_string_buffer(256)
    raw.FPDFFont_GetBaseFontName(font, buffer, 256)
    name = buffer.value.decode("utf-8", "replace").partition("+")[2] or buffer.value.decode("utf-8", "replace")
    return "".join(char for char in name if char.isprintable())


def _texts(page: int, most: int | None) -> Iterator[int]:
    """The addresses of a page's texts, those in its forms too; of `most` or fewer objects across it, if given."""
    calls = _calls()
    for one in _some(page, calls.count_of, calls.get, most):
        kind = calls.kind_of(one)
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            yield one
        elif kind == raw.FPDF_PAGEOBJ_FORM:
            yield from _texts_inside(one, most, 1)


def _texts_inside(form: int, most: int | None, depth: int) -> Iterator[int]:
    calls = _calls()
    for one in _some(form, calls.count_inside, calls.get_inside, most):
        kind = calls.kind_of(one)
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            yield one
        elif kind == raw.FPDF_PAGEOBJ_FORM and depth < 8:
            yield from _texts_inside(one, most and most // 4, depth + 1)


def _some(
    owner: int, count_of: Callable[[int], int], get: Callable[[int, int], int], most: int | None
) -> Iterator[int]:
    count = count_of(owner)
    for i in range(0, count, 1 if most is None else max(1, count // max(1, most))):
        yield get(owner, i)


class _Calls(NamedTuple):
    """Functions of PDFium on plain addresses."""

    count_of: Callable[[int], int]
    get: Callable[[int, int], int]
    count_inside: Callable[[int], int]
    get_inside: Callable[[int, int], int]
    kind_of: Callable[[int], int]
    bounds_of: Callable[[int, int, int, int, int], int]


@functools.cache
def _calls() -> _Calls:
    call, number, address = characters.call, ctypes.c_int, ctypes.c_void_p
    return _Calls(
        call(raw.FPDFPage_CountObjects, number),
        call(raw.FPDFPage_GetObject, address, number),
        call(raw.FPDFFormObj_CountObjects, number),
        call(raw.FPDFFormObj_GetObject, address, ctypes.c_ulong),
        call(raw.FPDFPageObj_GetType, number),
        call(raw.FPDFPageObj_GetBounds, number, address, address, address, address),
    )
