"""SVG drawings, without what LibreOffice would fetch for them: pictures, styles and fonts outside the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from visret.documents.opendocument import MAX_XML, serialised
from visret.errors import DocumentError
from visret.types import Loss

MAX_SIDE = 10_000.0  # in units of the drawing (CSS pixels); larger ones are drawn smaller

_SVG = "http://www.w3.org/2000/svg"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_BASE = "{http://www.w3.org/XML/1998/namespace}base"
_INSIDE = re.compile(r"\s*(#|data:image/(png|jpe?g|gif|bmp|webp)[;,])", re.IGNORECASE)
_OUTSIDE = re.compile(r"@import[^;]*;?|url\(\s*[\"']?(?!\s*(#|data:image/(png|jpe?g)))[^)]*\)", re.IGNORECASE)
_UNITS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
ElementTree.register_namespace("", _SVG)


def secure(source: Path, path: Path) -> list[Loss]:
    """Remove from a drawing all that lies outside it or is not drawn, and return what that leaves out.

    path: the path that errors name.
    """
    data = source.read_bytes()
    if len(data) > MAX_XML:
        raise DocumentError(path, "is too large for a drawing; save it as PDF")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise DocumentError(path, f"is a damaged SVG drawing ({error}); save it again") from error
    if _local(root) != "svg":
        raise DocumentError(path, f"is not an SVG drawing: it begins with <{_local(root)}>")
    foreign = sum(bool("".join(one.itertext()).strip()) for one in root.iter() if _local(one) == "foreignObject")
    _prune(root)
    linked = sum(map(_unlink, root.iter()))
    for one in root.iter(f"{{{_SVG}}}text"):
        _space(one)
    _shrink(root)
    source.write_bytes(serialised(root))
    return list(_losses(linked, foreign))


def _losses(linked: int, foreign: int) -> Iterator[Loss]:
    if linked:
        what = "a picture" if linked == 1 else f"{linked:,} pictures"
        yield Loss(f"{what} that the drawing only links to", "embed linked pictures, and save it again")
    if foreign:
        yield Loss("text set in HTML inside the drawing", "open it in a browser, and print it to PDF")


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _prune(element: Element) -> None:
    for child in list(element):
        if _local(child) in ("script", "foreignObject"):
            element.remove(child)
        else:
            _prune(child)


def _unlink(element: Element) -> bool:
    """Drop an element's references to what is outside the file, and return whether that leaves out a picture."""
    lost = False
    for name, value in list(element.attrib.items()):
        if name.rpartition("}")[2] == "href" and not _INSIDE.match(value):
            del element.attrib[name]
            lost = _local(element) in ("image", "use", "feImage")
        elif name == _BASE or name.startswith("on"):
            del element.attrib[name]
        elif "url(" in value:
            element.set(name, _OUTSIDE.sub("none", value))
    if _local(element) == "style":
        element.text = _OUTSIDE.sub("", "".join(element.itertext()))
        element[:] = []
    return lost


def _space(text: Element) -> None:
    """Collapse blanks as SVG does, so that LibreOffice keeps the one before a bold word (version 7.4 drops it)."""
    if text.get(_SPACE) == "preserve":
        return
    text.set(_SPACE, "preserve")
    for one in text.iter():
        one.text = re.sub(r"\s+", " ", one.text) if one.text else one.text
        if one is not text:
            one.tail = re.sub(r"\s+", " ", one.tail) if one.tail else one.tail
    text.text = (text.text or "").lstrip()


def _shrink(root: Element) -> None:
    sizes = [_length(root.get(side)) for side in ("width", "height")]
    if max(sizes) <= MAX_SIDE:
        return
    if root.get("viewBox") is None:
        root.set("viewBox", f"0 0 {sizes[0] or MAX_SIDE} {sizes[1] or MAX_SIDE}")
    scale = MAX_SIDE / max(sizes)
    for side, size in zip(("width", "height"), sizes, strict=True):
        root.set(side, f"{max(1.0, size * scale):.1f}")


def _length(value: str | None) -> float:
    found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([a-z]*)\s*", value or "", re.IGNORECASE)
    return float(found[1]) * _UNITS.get(found[2].lower(), 1.0) if found else 0.0
