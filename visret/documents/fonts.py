"""Text in fonts that a PDF names but does not embed, on a machine that lacks them.

Such letters are drawn blank. The file still says which they are, but PDFium leaves text without an extent out of the
text layer: letters that are painted one by one would be gone. Call these functions under the lock of pdf.py only.
"""

from __future__ import annotations

import ctypes
import functools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pypdfium2 import raw

from visret.documents import characters, objects
from visret.types import Loss

_BOUNDS = (ctypes.c_float * 4)()
_BOUNDS_AT = [ctypes.addressof(_BOUNDS) + 4 * k for k in range(4)]
_MANY = 50  # blanks after which a font is no longer suspected
_SAMPLE = 8  # objects of a page that are looked at; if one of them is suspicious, all are
_THIN = 1e-3  # points
_BLANKS = "\0 \r\n\t\u00a0\u3000"
_INVISIBLE = {raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP}
_SCRIPTS = {  # the first word of a character's name in Unicode -> what to install
    "CJK": "a font for Chinese and Japanese, such as fonts-noto-cjk",
    "HIRAGANA": "a font for Japanese, such as fonts-noto-cjk",
    "KATAKANA": "a font for Japanese, such as fonts-noto-cjk",
    "HANGUL": "a font for Korean, such as fonts-noto-cjk",
}


class TextObject(NamedTuple):
    """A text object. font: the name of its font. mode: its rendering mode. thin: whether it has no extent."""

    handle: Any
    font: str
    mode: int
    embedded: bool
    thin: bool


class KnownFonts:
    """The fonts of a document, as far as the pages read so far tell.

    missing: the names of fonts that were looked for and not found. harmless: the names of fonts in which many texts
    without an extent were blanks, and none was letters.
    """

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.harmless: set[str] = set()
        self._blanks: Counter[str] = Counter()
        self._letters: set[str] = set()

    def learn(self, said: list[tuple[TextObject, str]]) -> None:
        """Count what texts without an extent turned out to be."""
        self._letters.update(one.font for one, text in said if text)
        self._blanks.update(one.font for one, text in said if not text)
        self.harmless = {name for name, n in self._blanks.items() if n >= _MANY and name not in self._letters}


@contextmanager
def extended(page: Any, known: KnownFonts) -> Iterator[list[Loss]]:
    """Give all letters of an open page an extent, so that they are in its text layer; yields what is drawn blank."""
    found = _doubtful(page, known)
    if not found:
        yield []
        return
    for one in found:
        _extend(one)
    said = list(zip(found, _said(page, found), strict=True))
    known.learn(said)
    for one, text in said:
        if not text:  # blanks have no extent in any font; with one, they would stand among other letters
            _restore(one)
    try:
        yield list(_blank([(one, text) for one, text in said if text]))
    finally:
        for one, text in said:
            if text:
                _restore(one)


def _said(page: Any, some: list[TextObject]) -> list[str]:
    textpage = page.get_textpage()
    try:
        texts = [characters.utf16(functools.partial(raw.FPDFTextObj_GetText, one.handle, textpage)) for one in some]
    finally:
        textpage.close()
    return [text.strip(_BLANKS) for text in texts]


def _blank(letters: list[tuple[TextObject, str]]) -> Iterator[Loss]:
    for name in dict.fromkeys(one.font for one, _ in letters if one.mode not in _INVISIBLE and not one.embedded):
        text = "".join(text for one, text in letters if one.font == name)
        what = f"the picture of text set in {name or 'a font without a name'}"
        yield Loss(f"{what}, which is not in the file and not on this machine", _help(text))


def _help(text: str) -> str:
    """Return what would make a text visible."""
    scripts = Counter(unicodedata.name(char, "").split(" ")[0] for char in text if not char.isspace())
    for script, font in _SCRIPTS.items():
        if script != "CJK" and scripts[script]:
            return f"install {font}"
    return f"install {_SCRIPTS['CJK']}" if scripts["CJK"] else "save the document again with its fonts embedded"


def _extend(one: TextObject) -> None:
    """Give a text an extent: PDFium adds half the line width once the text is drawn as an outline and placed anew."""
    if one.thin:
        raw.FPDFTextObj_SetTextRenderMode(one.handle, raw.FPDF_TEXTRENDERMODE_STROKE)
        raw.FPDFPageObj_Transform(one.handle, 1, 0, 0, 1, 0, 0)


def _restore(one: TextObject) -> None:
    if one.thin:
        raw.FPDFTextObj_SetTextRenderMode(one.handle, one.mode)
        raw.FPDFPageObj_Transform(one.handle, 1, 0, 0, 1, 0, 0)


# ------------------------------------------------------------------------------------------------ what is suspicious


def _doubtful(page: Any, known: KnownFonts) -> list[TextObject]:
    """Find the texts of an open page that may be letters nobody sees: none on most pages, at little cost."""
    pointer = objects.address_of(page.raw)
    names: dict[int, str] = {}
    if not known.missing and not any(_doubt(one, known, names) for one in _texts(pointer, _SAMPLE)):
        return []
    return [text for one in _texts(pointer, None) if (text := _doubt(one, known, names))]


def _doubt(address: int, known: KnownFonts, names: dict[int, str]) -> TextObject | None:
    """Return the text at an address if its font is missing, or if it has no extent and its font may be the reason."""
    calls = objects.calls()
    if not calls.bounds_of(address, *_BOUNDS_AT):
        return None
    left, bottom, right, top = _BOUNDS
    thin = right - left <= _THIN or top - bottom <= _THIN
    if not thin and not known.missing:
        return None
    font, mode = calls.font_of(address), calls.text_mode_of(address)
    embedded = not font or calls.is_embedded(font) != 0
    if embedded and not (font and thin and mode in _INVISIBLE):
        return None
    if font not in names:
        names[font] = _name(ctypes.cast(font, raw.FPDF_FONT))
    name = names[font]
    if name in known.harmless or not (thin or _plain(name) in known.missing):
        return None
    return TextObject(ctypes.cast(address, raw.FPDF_PAGEOBJECT), name, mode, embedded, thin)


def _plain(name: str) -> str:
    """Return the name that PDFium looks for, which has no style."""
    return name.partition(",")[0].replace(" ", "")


def _name(font: Any) -> str:
    buffer = ctypes.create_string_buffer(256)
    raw.FPDFFont_GetBaseFontName(font, buffer, 256)
    name = buffer.value.decode("utf-8", "replace").partition("+")[2] or buffer.value.decode("utf-8", "replace")
    return "".join(char for char in name if char.isprintable())


def _texts(page: int, most: int | None) -> Iterator[int]:
    """Yield the addresses of a page's texts, also in its forms; those among about `most` objects of each, if given."""
    calls = objects.calls()
    for one in _some(page, calls.count_of, calls.get, most):
        kind = calls.kind_of(one)
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            yield one
        elif kind == raw.FPDF_PAGEOBJ_FORM:
            yield from _texts_inside(one, most, 1)


def _texts_inside(form: int, most: int | None, depth: int) -> Iterator[int]:
    calls = objects.calls()
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
