"""Forms in Adobe's XFA, whose pages only Adobe's programs can show. Call this under the lock of pdf.py only.

The texts of the form and what was filled in stand in XML inside the file, without a place on a page.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from pypdfium2 import raw

from visret.types import Loss

_MAX_BYTES = 1 << 26  # bytes of a form
_MAX_CHARACTERS = 200_000  # characters of its text
_SHORT = 2_000  # characters of a page that only asks for patience
_UNSEEN = {"script", "items", "pattern", "bindItems", "picture", "message", "desc", "extras", "config"}


def is_dynamic(pdf: Any) -> bool:
    """Return whether the document says that its pages have yet to be made from its form."""
    return bool(pdf.get_formtype() == raw.FORMTYPE_XFA_FULL)


def waits(pdf: Any, text: str) -> bool:
    """Return whether a document with such a form only has a page that asks for patience, or for another program.

    text: the text of its first page. It asks in the language of the form's author, so what tells is that most of the
    form's texts are missing from it.
    """
    if pdf.get_formtype() != raw.FORMTYPE_XFA_FOREGROUND or len(text) > _SHORT:
        return False
    if "please wait" in text.lower():
        return True
    said = texts(pdf) if len(pdf) == 1 else []
    page = "".join(text.split())
    return 2 * sum("".join(one.split()) in page for one in said) < len(said)


def loss(said: list[str]) -> Loss:
    """Return the loss of a form of which these texts were read."""
    what = "the pages of an XFA form"
    if said:
        what += " (its texts are read, but not their places)"
    return Loss(what, "open it in Adobe Acrobat Reader and print it to a new PDF")


def texts(pdf: Any) -> list[str]:
    """Return the texts of the form, then what was filled in, each once; [] where they cannot be read."""
    out: dict[str, None] = {}
    length = 0
    for tree in _trees(pdf):
        for text in _texts(tree):
            length += len(text)
            if length > _MAX_CHARACTERS:
                return list(out)
            out[text] = None
    return list(out)


def _trees(pdf: Any) -> Iterator[ElementTree.Element]:
    """Yield the form's templates, then its data; the file has one stream for all, or one for each."""
    trees = []
    for i in range(min(raw.FPDF_GetXFAPacketCount(pdf), 100)):
        tree = _parsed(_content(pdf, i))
        if tree is not None:
            trees += [tree, *tree] if _name(tree) == "xdp" else [tree]
    for wanted in ("template", "datasets"):
        yield from (tree for tree in trees if _name(tree) == wanted)


def _content(pdf: Any, index: int) -> bytes:
    size = ctypes.c_ulong()
    if not raw.FPDF_GetXFAPacketContent(pdf, index, None, 0, ctypes.byref(size)) or not 0 < size.value <= _MAX_BYTES:
        return b""
    buffer = ctypes.create_string_buffer(size.value)
    raw.FPDF_GetXFAPacketContent(pdf, index, buffer, size.value, ctypes.byref(size))
    return buffer.raw


def _parsed(data: bytes) -> ElementTree.Element | None:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # a form has neither, and they can grow without end
        return None
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _texts(tree: ElementTree.Element) -> Iterator[str]:
    if _name(tree) in _UNSEEN or tree.get("presence") in {"hidden", "inactive"}:
        return
    if _name(tree) == "exData" or _name(tree) == "body":
        text = " ".join("".join(tree.itertext()).split())
        if text and not text.startswith("<"):
            yield text
        return
    if text := " ".join((tree.text or "").split()):
        yield text
    for child in tree:
        yield from _texts(child)


def _name(tree: ElementTree.Element) -> str:
    return str(tree.tag).rpartition("}")[2]
