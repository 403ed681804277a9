"""OpenDocument files: their XML, read with care and written back.

Names are written as in the XML, `q("table:table")`; LibreOffice always writes the same prefixes.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

MAX_XML = 512 << 20  # bytes of one part that are parsed

_ODF = "urn:oasis:names:tc:opendocument:xmlns"
NAMESPACES = {
    **{name: f"{_ODF}:{name}:1.0" for name in ("office", "style", "text", "table", "presentation", "number")},
    **{name: f"{_ODF}:{name}:1.0" for name in ("chart", "form", "script", "config", "manifest")},
    "draw": f"{_ODF}:drawing:1.0",
    "dr3d": f"{_ODF}:dr3d:1.0",
    "fo": f"{_ODF}:xsl-fo-compatible:1.0",
    "svg": f"{_ODF}:svg-compatible:1.0",
    "xlink": "http://www.w3.org/1999/xlink",
    "dc": "http://purl.org/dc/elements/1.1/",
    "ooo": "http://openoffice.org/2004/office",
    "of": f"{_ODF}:of:1.2",
    "calcext": "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0",
    "loext": "urn:org:documentfoundation:names:experimental:office:xmlns:loext:1.0",
}
for _prefix, _uri in NAMESPACES.items():
    ElementTree.register_namespace(_prefix, _uri)

_FORBIDDEN = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_POINTS = {"pt": 1.0, "in": 72.0, "cm": 72 / 2.54, "mm": 72 / 25.4, "pc": 12.0, "px": 0.75}


def q(name: str) -> str:
    """Return the name of an element or attribute as ElementTree has it."""
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def points(length: str | None, default: float = 0.0) -> float:
    """Convert a length such as "2.5cm" to points."""
    found = re.fullmatch(r"\s*(-?[\d.]+)\s*([a-z]+)\s*", length or "")
    return float(found[1]) * _POINTS.get(found[2], 1.0) if found else default


def parsed(archive: zipfile.ZipFile, part: str) -> Element | None:
    """Parse a part of an archive; None where it is missing, no XML, too large, or declares entities."""
    try:
        with archive.open(part) as file:
            data = file.read(MAX_XML + 1)
        if len(data) > MAX_XML or b"<!ENTITY" in data:  # office programs write no entities
            return None
        return ElementTree.fromstring(data)
    except (KeyError, ElementTree.ParseError, zipfile.BadZipFile, OSError, RuntimeError, ValueError):
        return None


def clean(text: str) -> str:
    """Replace the characters of a text that XML cannot hold by blanks."""
    return _FORBIDDEN.sub(" ", text)


def text_of(element: Element) -> str:
    """Return the text of a paragraph, with blanks, tabs and line feeds where it has elements for them."""
    return "".join(_pieces(element))


def _pieces(element: Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if child.tag == _BLANKS:
            yield " " * min(int(child.get(_COUNT, "1")), 100)
        elif child.tag in _SIGNS:
            yield _SIGNS[child.tag]
        elif child.tag not in _ELSEWHERE:
            yield from _pieces(child)
        yield child.tail or ""


def paragraphs(element: Element) -> Iterator[str]:
    """Return the text of each paragraph in an element."""
    return (text_of(one) for one in element.iter() if one.tag in _PARAGRAPHS)


def rewrite(path: Path, parts: Mapping[str, bytes | None]) -> None:
    """Replace the content of some parts of an archive; None leaves a part out."""
    other = path.with_suffix(".new")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for one in old.infolist():
            data = parts.get(one.filename, b"")
            if data is None:
                continue
            kind = zipfile.ZIP_STORED if one.filename == "mimetype" else zipfile.ZIP_DEFLATED
            new.writestr(one.filename, data or old.read(one), kind)
    other.replace(path)


def serialised(root: Element) -> bytes:
    """Serialise an element as a file."""
    return bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True))


def children_gone(parent: Element, unwanted: Iterable[Element]) -> None:
    """Remove children from an element."""
    for one in unwanted:
        parent.remove(one)


_PARAGRAPHS = {q("text:p"), q("text:h")}
_BLANKS, _COUNT = q("text:s"), q("text:c")
_SIGNS = {q("text:tab"): "\t", q("text:line-break"): "\n"}
_ELSEWHERE = {q("office:annotation"), q("text:note"), q("draw:frame"), q("draw:custom-shape"), q("text:change-start")}
