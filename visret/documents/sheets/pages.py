"""The pages that sheets are printed on, each as wide as its sheet."""

from __future__ import annotations

import copy
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

from visret.documents.opendocument import children_gone, q

EDGE = 24.0  # points around the content of a page
MAX_SIDE = 8000.0  # points, the longest side that LibreOffice gives a page
HEADER = 24.0  # points: height of the line with the sheet's name


class Size(NamedTuple):
    """The size of a sheet, in points. tallest: its tallest row; drawn: whether it has pictures or charts."""

    width: float
    height: float
    tallest: float
    drawn: bool


class Pages:
    """The pages that sheets are printed on: for each, a copy of the one it had, with its headers and footers."""

    def __init__(self, common: Element) -> None:
        self._masters = next(common.iter(q("office:master-styles")))
        found = common.find(q("office:automatic-styles"))
        self._layouts = SubElement(common, q("office:automatic-styles")) if found is None else found

    def add(self, name: str, size: Size, model: str) -> str:
        """Add a master page for a sheet, like the one that is called `model`, and return its name.

        name: the name of the sheet, which becomes the header where there is none.
        """
        old = {one.get(q("style:name")): one for one in self._masters}
        master = copy.deepcopy(old[model]) if model in old else Element(q("style:master-page"))
        made = f"visret-{len(old)}"
        for attribute in ("style:name", "style:page-layout-name"):
            master.set(q(attribute), made)
        for attribute in ("style:display-name", "style:next-style-name"):
            master.attrib.pop(q(attribute), None)
        for edge in list(master):
            _drop_fields(edge)
            if edge.get(q("style:display")) == "false" or not "".join(edge.itertext()).strip():
                master.remove(edge)
        if master.find(q("style:header")) is None:
            header = Element(q("style:header"))
            SubElement(header, q("text:p")).text = name
            master.insert(0, header)
        self._masters.append(master)
        width, height = _paper(size)
        self._layouts.append(_layout(made, width, height, fitted=size.drawn or width == MAX_SIDE))
        return made


_FIELDS = set(map(q, ("text:page-number", "text:page-count", "text:file-name", "text:date", "text:time")))


def _drop_fields(edge: Element) -> None:
    """Remove from a header or footer what is not content: "Page 2 of 3", or the name of the file, which is a copy's."""
    for p in edge.iter(q("text:p")):
        if any(one.tag in _FIELDS for one in p.iter()):
            children_gone(p, [one for one in p if one.tag in _FIELDS])
            if len("".join(p.itertext()).split()) < 3:
                p.clear()


def _paper(size: Size) -> tuple[float, float]:
    """Return the width and height of a page for a sheet."""
    width = min(max(size.width, 200.0) + 2 * EDGE, MAX_SIDE)
    around = 2 * (EDGE + HEADER)
    page = max(842.0, 1.414 * width, 1.2 * size.tallest + around + 60)
    if size.height + around <= 1.5 * page:  # avoid a second page of a few rows
        page = 1.1 * size.height + around
    return width, min(max(page, 100.0), MAX_SIDE)


def _layout(name: str, width: float, height: float, *, fitted: bool) -> Element:
    """Make the layout of a page. fitted: to shrink a wider sheet to it, which takes LibreOffice a second."""
    layout = Element(q("style:page-layout"), {q("style:name"): name})
    properties = {
        "fo:page-width": f"{width:.1f}pt",
        "fo:page-height": f"{height:.1f}pt",
        "style:print-orientation": "portrait" if height >= width else "landscape",
        "fo:margin": f"{EDGE}pt",
        **{f"fo:margin-{side}": f"{EDGE}pt" for side in ("top", "bottom", "left", "right")},
        "style:print": "charts drawings objects zero-values",
        "style:print-page-order": "ttb",
        **({"style:scale-to-X": "1", "style:scale-to-Y": "0"} if fitted else {}),
    }
    SubElement(layout, q("style:page-layout-properties"), {q(key): value for key, value in properties.items()})
    for part, side in (("header", "bottom"), ("footer", "top")):
        around = {q("fo:min-height"): f"{HEADER - 6}pt", q(f"fo:margin-{side}"): "6pt"}
        SubElement(SubElement(layout, q(f"style:{part}-style")), q("style:header-footer-properties"), around)
    return layout
