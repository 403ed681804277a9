"""Styles of an .ods file, existing and new: the look of cells, and the room that their texts take."""

from __future__ import annotations

import copy
import re
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

from visret.documents.opendocument import points, q

GAP = 6.0  # points between the texts of two cells

_WIDE = re.compile(r"[mwMW@%\u2014\u2026]")
_FULL = re.compile(r"[\u1100-\u11ff\u2e80-\ufe6f\uff00-\uff60\U0001f000-\U0003ffff]")


def ems(text: str) -> float:
    """Return a width that is enough for a text, in ems of its font: that in DejaVu Sans, which is wider than most."""
    wide = 0.64 * len(text) + 0.36 * len(_WIDE.findall(text)) + 0.1 * sum(map(str.isupper, text))
    return wide if text.isascii() else wide + 0.4 * len(_FULL.findall(text))


class CellStyle(NamedTuple):
    """The look of a cell's text. size: of the font in points; placed: whether it is not at the start of its cell."""

    size: float = 10.0
    bold: bool = False
    wraps: bool = False
    turned: bool = False
    placed: bool = False

    def width(self, text: str) -> float:
        """Return a width in points that is enough for a line, with the gap that parts it from the next cell."""
        return ems(text) * self.size * (1.12 if self.bold else 1.0) + GAP + 2


def properties_of(style: Element, kind: str) -> Element:
    """Return the properties of a style that are of a kind; they are added where it has none."""
    found = style.find(q(f"style:{kind}-properties"))
    if found is None:
        found = Element(q(f"style:{kind}-properties"))
        style.insert(0, found)
    return found


class Styles:
    """The styles of cells, rows, columns and tables, existing and new."""

    def __init__(self, content: Element, common: Element) -> None:
        found = content.find(q("office:automatic-styles"))
        self.own = SubElement(content, q("office:automatic-styles")) if found is None else found
        self.by_name: dict[tuple[str, str], Element] = {}
        for root in (common, content):
            for one in root.iter(q("style:style")):
                self.by_name[one.get(q("style:family"), ""), one.get(q("style:name"), "")] = one
        self.default = next(
            (one for one in common.iter(q("style:default-style")) if one.get(q("style:family")) == "table-cell"), None
        )
        for style in filter(lambda one: one.get(q("style:family")) == "table-cell", common.iter(q("style:style"))):
            properties = properties_of(style, "table-cell")  # else a number and the text to its right touch
            for side in ("left", "right"):
                properties.attrib.setdefault(q(f"fo:padding-{side}"), f"{GAP / 2}pt")
        self.looks: dict[str, CellStyle] = {}
        self.made: dict[tuple[str, ...], str] = {}

    def look(self, name: str) -> CellStyle:
        """Return how a cell of that style shows its text."""
        if name not in self.looks:
            self.looks[name] = self._resolved(name)
        return self.looks[name]

    def has_format(self, name: str) -> bool:
        """Return whether the style of a cell says how numbers look."""
        found = (one.get(q("style:data-style-name")) for one in self._chain(name))
        return next(filter(None, found), "N0") != "N0"

    def _chain(self, name: str) -> list[Element]:
        """Return a style of cells, and those it inherits from."""
        chain: list[Element] = []
        style = self.by_name.get(("table-cell", name))
        while style is not None and len(chain) < 20:
            chain.append(style)
            style = self.by_name.get(("table-cell", style.get(q("style:parent-style-name"), "")))
        return chain

    def _resolved(self, name: str) -> CellStyle:
        chain = self._chain(name)

        def said(attribute: str) -> str:
            for one in (*chain, self.default):
                for properties in one if one is not None else ():
                    if (value := properties.get(q(attribute))) is not None:
                        return value
            return ""

        bold = said("fo:font-weight") not in ("", "normal", "400")
        turned = said("style:rotation-angle") not in ("", "0") or said("style:direction") == "ttb"
        placed = said("fo:text-align") in ("end", "right", "center")
        size = min(max(points(said("fo:font-size"), 10.0), 1.0), 400.0)
        return CellStyle(size, bold, said("fo:wrap-option") == "wrap", turned, placed)

    def number(self, family: str, name: str, attribute: str, default: float) -> float:
        """Return a length in points that a style gives."""
        style = self.by_name.get((family, name))
        lengths = (one.get(q(attribute)) for one in style) if style is not None else iter(())
        return points(next((one for one in lengths if one), None), default)

    def wrapped(self, name: str) -> str:
        """Return the name of a copy of a cell's style that breaks lines."""
        return self._copy("table-cell", name, "table-cell", {"fo:wrap-option": "wrap", "style:shrink-to-fit": "false"})

    def row(self, name: str, height: float) -> str:
        """Return the name of a copy of a row's style with this height in points."""
        size = {"style:row-height": f"{height}pt", "style:use-optimal-row-height": "false"}
        return self._copy("table-row", name, "table-row", size)

    def column(self, width: float) -> str:
        """Return the name of a style for a column of this width in points."""
        return self._copy("table-column", "", "table-column", {"style:column-width": f"{width:.1f}pt"})

    def page_of(self, table: Element) -> str:
        """Return the name of the master page that a table is printed on."""
        style = self.by_name.get(("table", table.get(q("table:style-name"), "")))
        return "" if style is None else style.get(q("style:master-page-name"), "")

    def use_page(self, table: Element, page: str) -> None:
        """Have a table printed on a master page, even if it is hidden."""
        name = self._copy("table", table.get(q("table:style-name"), ""), "table", {"table:display": "true"}, page)
        table.set(q("table:style-name"), name)

    def _copy(self, family: str, name: str, kind: str, changed: dict[str, str], page: str = "") -> str:
        key = (family, name, page, *map(str, changed.items()))
        if key in self.made:
            return self.made[key]
        old = self.by_name.get((family, name))
        automatic = old is not None and old in self.own
        new = copy.deepcopy(old) if old is not None and automatic else Element(q("style:style"))
        if not automatic and name:
            new.set(q("style:parent-style-name"), name)
        made = f"visret-{family}-{len(self.made)}"
        new.set(q("style:name"), made)
        new.set(q("style:family"), family)
        if page:
            new.set(q("style:master-page-name"), page)
        properties = properties_of(new, kind)
        for attribute, value in changed.items():
            properties.set(q(attribute), value)
        self.own.append(new)
        self.by_name[family, made] = new
        self.made[key] = made
        return made
