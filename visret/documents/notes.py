"""Annotations of a PDF page, which are not part of its content: form fields, typed notes, stamps, comments.

PDFium's text layer leaves them out. Their appearance is read from a copy of the page, in which they alone are made
part of the content: flattening the page itself would hide what it inherits (resources, sizes, layers). Call these
functions under the lock of pdf.py only.
"""

from __future__ import annotations

import ctypes
import functools
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pypdfium2
from pypdfium2 import raw

from visret.documents import characters, objects, pictured
from visret.documents.characters import Characters
from visret.documents.words import SPACES
from visret.documents.words import spelled as spelling
from visret.types import Box, Word

_SILENT = {raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP}  # a link's text is the page's, a popup's is its comment's
_SHAPELESS = _SILENT | {  # they are drawn, but not as text
    raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE, raw.FPDF_ANNOT_SQUIGGLY,
    raw.FPDF_ANNOT_STRIKEOUT, raw.FPDF_ANNOT_CARET, raw.FPDF_ANNOT_FILEATTACHMENT, raw.FPDF_ANNOT_SOUND,
    raw.FPDF_ANNOT_MOVIE,
}  # fmt: skip
_MUTE = _SILENT | {  # /Contents is no comment, but a description for those who cannot see it, or nothing
    raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_SOUND, raw.FPDF_ANNOT_MOVIE, raw.FPDF_ANNOT_SCREEN,
    raw.FPDF_ANNOT_PRINTERMARK, raw.FPDF_ANNOT_TRAPNET, raw.FPDF_ANNOT_WATERMARK, raw.FPDF_ANNOT_THREED,
    raw.FPDF_ANNOT_RICHMEDIA, raw.FPDF_ANNOT_XFAWIDGET,
}  # fmt: skip
_MARKING = {raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE, raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_STRIKEOUT}
_UNSEEN = raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_TYPED = {raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX}
_PASSWORD = 1 << 13
MAX_NOTES = 5_000  # annotations of a page that are read
_TAG = re.compile(r"<[^>]*>")
_SIZES = (12.0, 10.0, 8.0, 6.0, 4.0)  # of type, in points, tried for a value without an appearance


class Annotation(NamedTuple):
    """An annotation that may have text.

    text: what was typed into it. box: left, top, right, bottom on the page. field: whether it belongs to a form.
    """

    subtype: int
    text: str
    box: tuple[float, float, float, float]
    field: bool


class Annotations(NamedTuple):
    """The text of a page's annotations.

    typed: the characters shown in fields, notes and stamps. comments: the notes on a place of the page.
    pictured: whether one of them is or has a picture, as a stamp may.
    """

    typed: Characters
    comments: list[Annotation]
    pictured: bool


def kinds(page: Any) -> set[int]:
    """Return the kinds of annotations on an open page that may have text; empty for most pages, at little cost."""
    count_of, get, kind_of, close = _calls()
    pointer = objects.address_of(page.raw)
    found = set()
    for i in range(min(MAX_NOTES, count_of(pointer))):
        if one := get(pointer, i):
            found.add(kind_of(one))
            close(one)
    return found - _SILENT


def beyond(page: Any) -> int:
    """Count the annotations of an open page that are not read because there are too many."""
    return max(0, int(raw.FPDFPage_GetAnnotCount(page)) - MAX_NOTES)


def read(pdf: Any, page: Any, number: int, which: set[int], content: Characters) -> Annotations:
    """Read the annotations of page `number`, which are of the kinds `which`; content: the page's own characters."""
    there = list(_notes(page, pdf.formenv))
    shown, has_pictures = _appearances(pdf, number) if which - _SHAPELESS else (characters.joined(()), False)
    shown = shown.some(_within_any(shown, [note.box for note in there]))  # the rest is clipped
    typed, comments = [], []
    for note in there:
        within = _within(shown, note.box)
        looks, says = _plain(shown.some(within)), _squeezed(note.text)
        if not says:
            continue
        if note.field or note.subtype == raw.FPDF_ANNOT_FREETEXT:
            if _tells_less(looks, says, shown.some(within)):
                shown = shown.some(~within)
                typed.append(_laid_out(note.text, note.box))
            elif looks == says and _is_spaced_out(shown.some(within), note.text):
                typed.append(_respaced(shown.some(within), note.text))
                shown = shown.some(~within)
            elif _is_hardly_in(says, looks):  # what is shown there belongs to another note or an earlier value
                typed.append(_laid_out(note.text, note.box))
        elif says not in looks and not (
            note.subtype in _MARKING and says in _plain(content.some(_within(content, note.box)))
        ):
            comments.append(note)
    return Annotations(characters.joined([shown, *typed]), comments, has_pictures)


def words(comments: Sequence[Annotation], boxes: Sequence[Box], found: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words of comments: each in lines of its own after those found on the page, all at its place."""
    texts = [(text, box) for note, box in zip(comments, boxes, strict=True) for text in note.text.split("\n")]
    return _lines(texts, found)


def lines(texts: Sequence[str], found: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words of texts that belong to a page but have no place on it, except texts that are found there."""
    page = _squeezed("".join(word.text for word in found))
    return _lines([(text, (0.0, 0.0, 1.0, 1.0)) for text in texts if _squeezed(text) not in page], found)


def _lines(texts: Sequence[tuple[str, Box]], found: Sequence[Word]) -> tuple[Word, ...]:
    line = found[-1].line if found else -1
    out: list[Word] = []
    for text, box in texts:
        spelled = [word for word in map(spelling, text.split()) if word]
        line += bool(spelled)
        out += [Word(word, box, (), line) for word in spelled]
    return tuple(out)


def take_stickers(page: Any) -> list[tuple[str, str]]:
    """Take the author and the text of every comment shown as an icon on an open page, from its top, and remove it."""
    found = []
    for i in reversed(range(raw.FPDFPage_GetAnnotCount(page))):
        with _annotation(page, i) as one:
            kind = raw.FPDFAnnot_GetSubtype(one) if one else 0
            box = raw.FS_RECTF()
            if kind == raw.FPDF_ANNOT_TEXT and raw.FPDFAnnot_GetRect(one, box):
                found.append((-box.top, box.left, _string(one, b"T"), _string(one, b"Contents")))
        if kind in (raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_POPUP):
            raw.FPDFPage_RemoveAnnot(page, i)
    return [(author, text) for _, _, author, text in sorted(found) if text.strip()]


# -------------------------------------------------------------------------------------------------- what is said


def _notes(page: Any, form: Any) -> Iterator[Annotation]:
    for i in range(min(MAX_NOTES, raw.FPDFPage_GetAnnotCount(page))):
        with _annotation(page, i) as one:
            if one is None:
                continue
            subtype, flags, box = raw.FPDFAnnot_GetSubtype(one), raw.FPDFAnnot_GetFlags(one), raw.FS_RECTF()
            if subtype in _SILENT or not raw.FPDFAnnot_GetRect(one, box):
                continue
            is_answer = bool(raw.FPDFAnnot_HasKey(one, b"IRT"))  # Acrobat hides the icons of answers to comments
            if flags & _UNSEEN and not is_answer:
                continue
            place = (
                min(box.left, box.right),
                max(box.top, box.bottom),
                max(box.left, box.right),
                min(box.top, box.bottom),
            )
            if subtype == raw.FPDF_ANNOT_WIDGET:
                yield Annotation(subtype, _value(one, form), place, True)
            elif subtype in _MUTE:
                yield Annotation(subtype, "", place, False)
            elif not raw.FPDFAnnot_HasKey(one, b"State"):  # "marked as accepted by"
                said = _string(one, b"Contents") or _untagged(_string(one, b"RC"))
                yield Annotation(subtype, said, place, False)


def _value(one: Any, form: Any) -> str:
    """Return what was typed into a field, or chosen; "" for passwords and tick boxes."""
    if not form:
        return _string(one, b"V") if _string(one, b"FT") in ("Tx", "Ch") else ""
    if raw.FPDFAnnot_GetFormFieldType(form, one) not in _TYPED:
        return ""
    if raw.FPDFAnnot_GetFormFieldType(form, one) == raw.FPDF_FORMFIELD_TEXTFIELD:
        if raw.FPDFAnnot_GetFormFieldFlags(form, one) & _PASSWORD:
            return ""
        value = functools.partial(raw.FPDFAnnot_GetFormFieldValue, form, one)
        return characters.utf16(value) or _untagged(_string(one, b"RV"))
    chosen = [
        characters.utf16(functools.partial(raw.FPDFAnnot_GetOptionLabel, form, one, k))
        for k in range(min(MAX_NOTES, raw.FPDFAnnot_GetOptionCount(form, one)))
        if raw.FPDFAnnot_IsOptionSelected(form, one, k)
    ]
    return "\n".join(chosen) or characters.utf16(functools.partial(raw.FPDFAnnot_GetFormFieldValue, form, one))


def _untagged(rich: str) -> str:
    """Return rich text as plain text."""
    return html.unescape(_TAG.sub("", rich.replace("</p>", "\n"))).strip()


def _string(one: Any, key: bytes) -> str:
    return characters.utf16(functools.partial(raw.FPDFAnnot_GetStringValue, one, key))


@contextmanager
def _annotation(page: Any, index: int) -> Iterator[Any]:
    one = raw.FPDFPage_GetAnnot(page, index)
    try:
        yield one or None
    finally:
        if one:
            raw.FPDFPage_CloseAnnot(one)


# ------------------------------------------------------------------------------------------------ what is shown


def _appearances(pdf: Any, number: int) -> tuple[Characters, bool]:
    """Read the characters that annotations show, where they stand on the page, and say whether they have pictures."""
    with _alone(pdf, number, lambda kind: kind not in _SHAPELESS) as page:
        return characters.of_page(page), pictured.has_active(page)


@contextmanager
def fields(pdf: Any, number: int) -> Iterator[Any]:
    """Copy a page so that it shows the page's form fields and nothing else."""
    with _alone(pdf, number, lambda kind: kind == raw.FPDF_ANNOT_WIDGET) as page:
        yield page


@contextmanager
def _alone(pdf: Any, number: int, wanted: Callable[[int], bool]) -> Iterator[Any]:
    """Copy a page so that it shows its annotations of wanted kinds and nothing else."""
    with _copied(pdf, number) as copy:
        page = copy.get_page(0)
        try:
            content = raw.FPDFPage_CountObjects(page)
            _hide(page, content)
            _keep(page, wanted)
            _dress(page)
            if raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_FAIL:
                raise pypdfium2.PdfiumError("annotations cannot be made part of the page")
        finally:
            page.close()
        page = copy.get_page(0)
        try:
            _hide(page, content)
            yield page
        finally:
            page.close()


def _keep(page: Any, wanted: Callable[[int], bool]) -> None:
    """Remove all other annotations from a page, and those that are not to be seen."""
    for i in reversed(range(raw.FPDFPage_GetAnnotCount(page))):
        with _annotation(page, i) as one:
            stays = one and not raw.FPDFAnnot_GetFlags(one) & _UNSEEN and wanted(raw.FPDFAnnot_GetSubtype(one))
            if stays:  # "invisible" concerns kinds that a viewer does not know; flattening would omit it
                raw.FPDFAnnot_SetFlags(one, raw.FPDFAnnot_GetFlags(one) & ~raw.FPDF_ANNOT_FLAG_INVISIBLE)
        if not stays:
            raw.FPDFPage_RemoveAnnot(page, i)


@contextmanager
def _copied(pdf: Any, number: int) -> Iterator[Any]:
    """Copy this page to a document of its own, which owns what the page inherits."""
    copy = pypdfium2.PdfDocument.new()
    try:
        index = (ctypes.c_int * 1)(number - 1)
        if not raw.FPDF_ImportPagesByIndex(copy, pdf, index, 1, 0):
            raise pypdfium2.PdfiumError("the page cannot be copied")
        yield copy
    finally:
        copy.close()


def _hide(page: Any, first: int) -> None:
    """Switch off the first objects of a page, so that they are neither drawn nor read."""
    for i in range(first):
        raw.FPDFPageObj_SetIsActive(raw.FPDFPage_GetObject(page, i), False)


def _dress(page: Any) -> None:
    """Let PDFium make the appearances that annotations lack, as it does when it draws them."""
    bitmap = pypdfium2.PdfBitmap.new_native(1, 1, raw.FPDFBitmap_BGR)
    try:
        raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, 1, 1, 0, raw.FPDF_ANNOT)
    finally:
        bitmap.close()


# ---------------------------------------------------------------------------------------------------- between both


def _within(some: Characters, box: tuple[float, float, float, float]) -> np.ndarray:
    """Return which characters stand in a box, as (n,) bool."""
    left, top, right, bottom = box
    x, y = (some.boxes[:, 0] + some.boxes[:, 2]) / 2, (some.boxes[:, 1] + some.boxes[:, 3]) / 2
    return np.asarray((x >= left - 1) & (x <= right + 1) & (y >= bottom - 1) & (y <= top + 1))


def _within_any(some: Characters, boxes: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
    found = np.zeros(len(some.codes), bool)
    for box in boxes:
        found |= _within(some, box)
    return found


def _plain(some: Characters) -> str:
    codes = np.minimum(some.codes, 0x10FFFF).astype("<u4").tobytes()
    text = codes.decode("utf-32-le", "surrogatepass").encode("utf-16-le", "surrogatepass")
    return _squeezed(text.decode("utf-16-le", "ignore"))


def _squeezed(text: str) -> str:
    """Return a text for comparison: without white space, and with compatibility forms resolved."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _tells_less(looks: str, says: str, shown: Characters) -> bool:
    """Return whether an appearance lacks typed text: it shows none, only some letters, or signs without a meaning."""
    following = iter(says)
    return looks != says and (all(char in following for char in looks) or 3 * shown.share_senseless > 1)


def _is_hardly_in(says: str, looks: str) -> bool:
    """Return whether most characters of `says` are not in `looks`, in any order: dates and sums are shown rewritten."""
    said = [char for char in says if char.isalnum()]
    return 2 * (Counter(said) - Counter(looks)).total() > len(said)


def _is_spaced_out(shown: Characters, text: str) -> bool:
    """Return whether characters stand so far apart, as in a comb of boxes, that words would fall to pieces."""
    steps = shown.boxes[1:, 0] - shown.boxes[:-1, 2]
    tall = (shown.boxes[1:, 1] - shown.boxes[1:, 3]).clip(1)
    return len(text.split()) < len(_plain_words(shown)) or bool((steps > tall).sum() >= len(text.split()))


def _plain_words(some: Characters) -> list[str]:
    return "".join(chr(code) for code in np.minimum(some.codes, 0xFFFF).tolist()).split()


def _respaced(shown: Characters, text: str) -> Characters:
    """Return the characters where they stand, each as wide as the step to the next, divided into words as `text` is."""
    ink = shown.some(~np.isin(shown.codes, SPACES))
    letters = [c for c in text if not c.isspace()]
    if len(letters) != len(ink.codes):
        return shown
    boxes = ink.boxes.copy()
    on = (boxes[1:, 0] > boxes[:-1, 0]) & (np.abs(boxes[1:, 1] - boxes[:-1, 1]) < 1)
    boxes[:-1, 2][on] = boxes[1:, 0][on]
    at = iter(range(len(letters)))
    rows = [None if c.isspace() else next(at) for c in text]
    codes = np.array([10 if k is None else ink.codes[k] for k in rows], np.uint32)
    placed = np.array([np.zeros(4) if k is None else boxes[k] for k in rows], np.float32)
    return Characters(codes, placed, np.zeros(len(codes), np.float32))


def _laid_out(text: str, box: tuple[float, float, float, float]) -> Characters:
    """Lay out a text as it may stand in a box: from its top left, in lines that fit, smaller where it is long."""
    left, top, right, bottom = box
    width, height = max(right - left, 1.0), max(top - bottom, 1.0)
    text = text[: characters.MAX_CHARACTERS].encode("utf-16", "ignore").decode("utf-16")
    for size in _SIZES:
        lines = list(_wrapped(text, max(1, int(width / (0.5 * size)))))
        if len(lines) * 1.2 * size <= height:
            break
    line_height = min(1.2 * size, height / max(1, len(lines)))
    across = min([0.5 * size, *(width / len(line) for line in lines if line)])
    codes = np.frombuffer("\n".join(lines).encode("utf-32-le"), "<u4")
    row = np.repeat(np.arange(len(lines)), [len(line) + 1 for line in lines])[: len(codes)]
    column = np.concatenate([np.arange(len(line) + 1) for line in lines])[: len(codes)]
    x, y = left + column * across, top - row * line_height
    boxes = np.stack([x, y, x + across, y - line_height], axis=1).astype(np.float32)
    return Characters(codes.astype(np.uint32), boxes, np.zeros(len(codes), np.float32))


def _wrapped(text: str, most: int) -> Iterator[str]:
    for line in text.split("\n"):
        made = ""
        for word in line.split():
            if made and len(made) + 1 + len(word) > most:
                yield made
                made = word
            else:
                made = f"{made} {word}" if made else word
        yield made


@functools.cache
def _calls() -> tuple[Callable[[int], int], Callable[[int, int], int], Callable[[int], int], Callable[[int], None]]:
    """Return FPDFPage_GetAnnotCount, _GetAnnot, FPDFAnnot_GetSubtype, FPDFPage_CloseAnnot, bound to plain addresses."""
    return (
        characters.call(raw.FPDFPage_GetAnnotCount, ctypes.c_int),
        characters.call(raw.FPDFPage_GetAnnot, ctypes.c_void_p, ctypes.c_int),
        characters.call(raw.FPDFAnnot_GetSubtype, ctypes.c_int),
        characters.call(raw.FPDFPage_CloseAnnot, None),
    )
