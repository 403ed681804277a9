"""Spreadsheets as pages on which every cell can be read.

On paper a sheet is torn: a text is cut where the next cell begins, a number that is too long becomes "###", columns go
to pages of their own, far from what names the rows, and what is hidden stays out. So the sheets of an .ods file, which
LibreOffice makes of all others, are changed before they become pages: columns are as wide as what they show, a page is
as wide as its sheet and keeps the proportions of paper by its number of rows, the names of columns stand on every page,
hidden sheets, rows and columns are shown, and comments stand beside their row.

    fitted = fit(Path("fares.ods"))        # rewritten
    pdf = ...
    lost = missing(fitted, words)
"""

from __future__ import annotations

import copy
import math
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement
from xml.sax.saxutils import escape, quoteattr

from visret.documents.cells import Book, Sheet, Value
from visret.documents.opendocument import NAMESPACES, parsed, points, q, rewrite, serialised, text_of
from visret.errors import DocumentError
from visret.types import Loss

MAX_CELLS = 500_000  # of a file; LibreOffice needs a minute for them
EDGE, GAP = 24.0, 6.0  # points: around a page, and between the texts of two cells
WIDEST = 300.0  # a longer text gets several lines
LINES = 40  # at most, and then the column becomes wider: a row has an end
COMMENT = 180.0
LARGEST = 8000.0  # points, that LibreOffice gives a page
HEADER = 24.0  # height of the line with the sheet's name
FOLDED = 60  # empty rows, or columns, in a row: they are left out


class Fitted(NamedTuple):
    """What a sheet shows: its name, and the text of every cell and comment."""

    name: str
    texts: list[str]


def fit(path: Path) -> list[Fitted]:
    """Change the sheets of an .ods file that LibreOffice made, as said above, and say what is on them."""
    with zipfile.ZipFile(path) as archive:
        content, common = parsed(archive, "content.xml"), parsed(archive, "styles.xml")
    if content is None or common is None:
        raise DocumentError(path, "LibreOffice made no sheets of it that can be read")
    styles, pages = _Styles(content, common), _Pages(common)
    fitted = []
    book = next(content.iter(q("office:spreadsheet")))
    for unseen in ("table:named-expressions", "table:database-ranges", "table:dde-links", "table:tracked-changes"):
        _remove(book, book.findall(q(unseen)))
    _remove(book, [one for one in book if one.find(q("table:table-source")) is not None])  # what other files held
    for table in book.findall(q("table:table")):
        sheet = _Sheet(table, styles)
        sheet.fit()
        styles.use_page(table, pages.add(sheet, styles.page_of(table)))
        fitted.append(Fitted(sheet.name, sheet.texts))
    parts: dict[str, bytes | None] = {"content.xml": serialised(content), "styles.xml": serialised(common)}
    rewrite(path, {**parts, "Thumbnails/thumbnail.png": None})
    return fitted


def write(path: Path, book: Book) -> list[Loss]:
    """Make an .ods file of cells alone, of a file that is too large for more; what is not in it."""
    tables = "".join(map(_written, book.sheets))
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    content = (
        f"<office:document-content {declared}><office:automatic-styles/><office:body><office:spreadsheet>{tables}"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    common = (
        f"<office:document-styles {declared}><office:styles/><office:automatic-styles/><office:master-styles/>"
        "</office:document-styles>"
    )
    media = "application/vnd.oasis.opendocument.spreadsheet"
    entry = '<manifest:file-entry manifest:full-path="{}" manifest:media-type="{}"/>'
    entries = entry.format("/", media) + entry.format("content.xml", "text/xml") + entry.format("styles.xml", "text/xml")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("mimetype", media, zipfile.ZIP_STORED)
        archive.writestr("content.xml", content)
        archive.writestr("styles.xml", common)
        archive.writestr("META-INF/manifest.xml", f"<manifest:manifest {declared}>{entries}</manifest:manifest>")
    return [
        Loss(f"the last {sheet.missing:,} rows of the sheet {sheet.name}", "divide the file, or save it as CSV")
        for sheet in book.sheets
        if sheet.missing
    ] + [Loss("pictures, charts and comments of a very large file", "divide the file")]


def _written(sheet: Sheet) -> str:
    rows = "".join(f"<table:table-row>{''.join(map(_written_cell, row))}</table:table-row>" for row in sheet.rows)
    columns = f'<table:table-column table:number-columns-repeated="{max([1, *map(len, sheet.rows)])}"/>'
    return f"<table:table table:name={quoteattr(_clean(sheet.name))}>{columns}{rows}</table:table>"


def _written_cell(value: Value) -> str:
    if value is None:
        return "<table:table-cell/>"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    kind = f'float" office:value="{value}' if is_number else "string"
    lines = "".join(f"<text:p>{escape(line)}</text:p>" for line in _clean(str(value)).split("\n"))
    return f'<table:table-cell office:value-type="{kind}">{lines}</table:table-cell>'


def _clean(text: str) -> str:
    """Without what XML cannot hold."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)


# ------------------------------------------------------------------------------------------------ what is missing

_COMPLEX = re.compile(r"[\u0590-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u17ff\ufb1d-\ufdff\ufe70-\ufefc]")


def missing(fitted: list[Fitted], cells: Book | None, words: Iterable[str]) -> list[Loss]:
    """The cells that are not among the words of the pages, by their sheet.

    cells: what calamine read, which may hold texts that LibreOffice did not.
    """
    found = Counter(part for word in words for part in _tokens(word))
    lost = Counter({sheet.name: sum(not _take(text, found) for text in sheet.texts) for sheet in fitted})
    known = {"".join(_tokens(text)) for sheet in fitted for text in sheet.texts}
    for one in cells.sheets if cells else ():
        lost[one.name] += sum("".join(_tokens(text)) not in known for text in one.texts)
    help = "make its columns wider, save it as PDF, and read that"
    return [Loss(f"{_count(number)} of the sheet {name}", help) for name, number in lost.items() if number]


def _count(number: int) -> str:
    return "one cell" if number == 1 else f"{number:,} cells"


def _tokens(text: str) -> list[str]:
    return unicodedata.normalize("NFKC", text).replace("\u00ad", "").split()


def _take(text: str, found: Counter[str]) -> bool:
    """Whether all words of a text are there; they are used up."""
    return all(_COMPLEX.search(token) or _take_token(token, found) for token in _tokens(text))


def _take_token(token: str, found: Counter[str]) -> bool:
    """A word, or the parts of one that is broken over lines."""
    if found[token]:
        found[token] -= 1
        return True
    if len(token) == 1:
        return False
    for end in range(len(token) - 1, 0, -1):
        if found[token[:end]] and _take_token(token[end:], found):
            found[token[:end]] -= 1
            return True
    return False


# ------------------------------------------------------------------------------------------------- widths of texts

_WIDE = re.compile(r"[mwMW@%\u2014\u2026]")
_FULL = re.compile(r"[\u1100-\u11ff\u2e80-\ufe6f\uff00-\uff60\U0001f000-\U0003ffff]")


def _ems(text: str) -> float:
    """At least its width, in the size of its font: that of DejaVu Sans, which is wider than most."""
    wide = 0.64 * len(text) + 0.36 * len(_WIDE.findall(text)) + 0.1 * sum(map(str.isupper, text))
    return wide if text.isascii() else wide + 0.4 * len(_FULL.findall(text))


class _Look(NamedTuple):
    """How a cell shows its text. size: of the font in points; placed: not at the start of its cell."""

    size: float = 10.0
    bold: bool = False
    wraps: bool = False
    turned: bool = False
    placed: bool = False

    def width(self, text: str) -> float:
        """At least that of a line, with what keeps it apart from the next cell."""
        return _ems(text) * self.size * (1.12 if self.bold else 1.0) + GAP + 2


def _properties(style: Element, kind: str) -> Element:
    """The properties of a style that are of a kind."""
    found = style.find(q(f"style:{kind}-properties"))
    if found is None:
        found = Element(q(f"style:{kind}-properties"))
        style.insert(0, found)
    return found


class _Styles:
    """The styles of cells, rows, columns and tables, and new ones."""

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
            properties = _properties(style, "table-cell")  # else a number and the text to its right touch
            for side in ("left", "right"):
                properties.attrib.setdefault(q(f"fo:padding-{side}"), f"{GAP / 2}pt")
        self.looks: dict[str, _Look] = {}
        self.made: dict[tuple[str, ...], str] = {}

    def look(self, name: str) -> _Look:
        """How a cell of that style shows its text."""
        if name not in self.looks:
            self.looks[name] = self._resolved(name)
        return self.looks[name]

    def _resolved(self, name: str) -> _Look:
        chain, style = [], self.by_name.get(("table-cell", name))
        while style is not None and len(chain) < 20:
            chain.append(style)
            style = self.by_name.get(("table-cell", style.get(q("style:parent-style-name"), "")))

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
        return _Look(size, bold, said("fo:wrap-option") == "wrap", turned, placed)

    def number(self, family: str, name: str, attribute: str, default: float) -> float:
        """A length that a style gives."""
        style = self.by_name.get((family, name))
        lengths = (one.get(q(attribute)) for one in style) if style is not None else iter(())
        return points(next((one for one in lengths if one), None), default)

    def wrapped(self, name: str) -> str:
        """The name of the same style of a cell, with lines that are broken."""
        return self._copy("table-cell", name, "table-cell", {"fo:wrap-option": "wrap", "style:shrink-to-fit": "false"})

    def row(self, name: str, height: float | None) -> str:
        """The name of the same style of a row with a height, or one that fits what is in it."""
        size = {"style:use-optimal-row-height": "true"}
        if height is not None:
            size = {"style:row-height": f"{height:.1f}pt", "style:use-optimal-row-height": "false"}
        return self._copy("table-row", name, "table-row", size)

    def column(self, width: float) -> str:
        """The name of a style of a column of that width."""
        return self._copy("table-column", "", "table-column", {"style:column-width": f"{width:.1f}pt"})

    def page_of(self, table: Element) -> str:
        """The name of the master page that a table is printed on."""
        style = self.by_name.get(("table", table.get(q("table:style-name"), "")))
        return "" if style is None else style.get(q("style:master-page-name"), "")

    def use_page(self, table: Element, page: str) -> None:
        """Print a table, hidden or not, on a master page."""
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
        properties = _properties(new, kind)
        for attribute, value in changed.items():
            properties.set(q(attribute), value)
        self.own.append(new)
        self.by_name[family, made] = new
        self.made[key] = made
        return made


# ------------------------------------------------------------------------------------------------------- pages


class _Pages:
    """The pages that sheets are printed on: a copy for each of the one it had, with its headers and footers."""

    def __init__(self, common: Element) -> None:
        self.masters = next(common.iter(q("office:master-styles")))
        found = common.find(q("office:automatic-styles"))
        self.layouts = SubElement(common, q("office:automatic-styles")) if found is None else found

    def add(self, sheet: _Sheet, model: str) -> str:
        """A master page for a sheet, like the one named, with its name at the top; what it is called."""
        old = {one.get(q("style:name")): one for one in self.masters}
        master = copy.deepcopy(old[model]) if model in old else Element(q("style:master-page"))
        made = f"visret-{len(old)}"
        for attribute in ("style:name", "style:page-layout-name"):
            master.set(q(attribute), made)
        master.attrib.pop(q("style:display-name"), None)
        master.attrib.pop(q("style:next-style-name"), None)
        for edge in list(master):
            _drop_fields(edge)
            if edge.get(q("style:display")) == "false" or not "".join(edge.itertext()).strip():
                master.remove(edge)
        if master.find(q("style:header")) is None:
            header = Element(q("style:header"))
            SubElement(header, q("text:p")).text = sheet.name
            master.insert(0, header)
        self.masters.append(master)
        self.layouts.append(_layout(made, *_paper(sheet.width(), sheet.height(), sheet.tallest)))
        return made


_FIELDS = set(map(q, ("text:page-number", "text:page-count", "text:file-name", "text:date", "text:time")))


def _drop_fields(edge: Element) -> None:
    """Take out of a header or footer what is no content: "Page 2 of 3", the name of the file, which is a copy's."""
    for p in edge.iter(_P):
        if any(one.tag in _FIELDS for one in p.iter()):
            _remove(p, [one for one in p if one.tag in _FIELDS])
            if len("".join(p.itertext()).split()) < 3:
                p.clear()


def _paper(width: float, height: float, tallest: float) -> tuple[float, float]:
    """The size of a page for a sheet of that size, in points."""
    width = min(max(width, 200.0) + 2 * EDGE, LARGEST)
    around = 2 * (EDGE + HEADER)
    page = max(842.0, 1.414 * width, 1.2 * tallest + around + 60)
    if height + around <= 1.5 * page:  # not a few rows on a second page
        page = 1.1 * height + around
    return width, min(max(page, 100.0), LARGEST)


def _layout(name: str, width: float, height: float) -> Element:
    layout = Element(q("style:page-layout"), {q("style:name"): name})
    properties = {
        "fo:page-width": f"{width:.1f}pt",
        "fo:page-height": f"{height:.1f}pt",
        "style:print-orientation": "portrait" if height >= width else "landscape",
        "fo:margin": f"{EDGE}pt",
        **{f"fo:margin-{side}": f"{EDGE}pt" for side in ("top", "bottom", "left", "right")},
        "style:print": "charts drawings objects zero-values",
        "style:scale-to-X": "1",
        "style:scale-to-Y": "0",
        "style:print-page-order": "ttb",
    }
    SubElement(layout, q("style:page-layout-properties"), {q(key): value for key, value in properties.items()})
    for part, side in (("header", "bottom"), ("footer", "top")):
        around = {q("fo:min-height"): f"{HEADER - 6}pt", q(f"fo:margin-{side}"): "6pt"}
        SubElement(SubElement(layout, q(f"style:{part}-style")), q("style:header-footer-properties"), around)
    return layout


# ------------------------------------------------------------------------------------------------------ sheets

_ROW, _COLUMN = q("table:table-row"), q("table:table-column")
_CELL, _COVERED = q("table:table-cell"), q("table:covered-table-cell")
_P, _NOTE, _STYLE = q("text:p"), q("office:annotation"), q("table:style-name")
_REPEATED, _ROWS_REPEATED = q("table:number-columns-repeated"), q("table:number-rows-repeated")
_SPANNED, _ROWS_SPANNED = q("table:number-columns-spanned"), q("table:number-rows-spanned")
_TYPE, _DEFAULT, _HIDDEN = q("office:value-type"), q("table:default-cell-style-name"), q("table:visibility")
_FORMULA = q("table:formula")
_GROUPS = set(map(q, ("table:table-row-group", "table:table-rows", "table:table-column-group", "table:table-columns")))
_HEADS = q("table:table-header-rows")
_COLUMN_HEADS = q("table:table-header-columns")


class _Cell(NamedTuple):
    element: Element
    column: int
    lines: list[str]
    columns: int  # that it covers
    rows: int


class _Sheet:
    """A table, and what it needs. widths: of its columns; texts: of its cells; tallest: of its rows."""

    def __init__(self, table: Element, styles: _Styles) -> None:
        self.table, self.styles = table, styles
        self.name = table.get(q("table:name"), "")
        self.texts: list[str] = []
        self.widths: list[float] = []
        self.defaults: list[str] = []
        self.filled: set[int] = set()
        self.tallest = self.total = 0.0
        self.comments: list[tuple[Element, list[str]]] = []

    def width(self) -> float:
        """Of all columns, in points."""
        return max(sum(self.widths), self.drawn[2])

    def height(self) -> float:
        """Of all rows, about, in points."""
        return max(self.total, self.drawn[3])

    def fit(self) -> None:
        """Make every column wide enough, show what is hidden, and put comments beside their rows."""
        for attribute in ("table:print-ranges", "table:print", "table:protected"):
            self.table.attrib.pop(q(attribute), None)
        _unpack(self.table, _GROUPS | {_COLUMN_HEADS})
        rows = list(_rows(self.table))
        self.read_columns()
        self.drawn = _drawn(self.table)
        used = max((_last(row) for row in rows), default=0)
        used = max(used, min(self.drawn[0], len(self.widths)))
        del self.widths[used:], self.defaults[used:]
        last = max((place for place, row in enumerate(rows) if _last(row)), default=-1)
        for row in rows[: last + 1]:
            self.fit_row(row)
        self.add_comments(used)
        folded = set() if self.drawn[1] else self.fold(rows[: last + 1])
        self.write_columns(folded)
        self.repeat_names(rows)

    def read_columns(self) -> None:
        for one in self.table.findall(_COLUMN):
            width = self.styles.number("table-column", one.get(_STYLE, ""), "style:column-width", 64.0)
            count = min(int(one.get(_REPEATED, "1")), 16384 - len(self.widths))
            self.widths += [width] * count
            self.defaults += [one.get(_DEFAULT, "")] * count

    def fit_row(self, row: Element) -> None:
        row.attrib.pop(_HIDDEN, None)
        times = int(row.get(_ROWS_REPEATED, "1"))
        cells = list(self.cells(row))
        name = row.get(_STYLE, "")
        had = self.styles.number("table-row", name, "style:row-height", 13.0)
        own, merged = 0.0, 0.0
        for cell, following in zip(cells, [*cells, None][1:], strict=True):
            self.texts += ["\n".join(cell.lines)] * times
            until = following.column if following else len(self.widths)
            height = self.fit_cell(cell, until, had)
            self.filled.update(range(cell.column, cell.column + cell.columns))
            if cell.rows > 1 or cell.columns > 1:
                merged = max(merged, height - (cell.rows - 1) * 12)
            else:
                own = max(own, height)
        if merged > max(own, had, 16.0):
            row.set(_STYLE, self.styles.row(name, max(own, merged)))
        elif own > had or had < 5:
            row.set(_STYLE, self.styles.row(name, None))
        self.tallest = max(self.tallest, own, merged)
        self.total += max(had, own, merged) * (times if cells or times < FOLDED else 2)

    def cells(self, row: Element) -> Iterator[_Cell]:
        """Those of a row that show something. Formulas go: their values stay, and nothing is computed again."""
        column = 0
        for one in row:
            if one.tag not in (_CELL, _COVERED):
                continue
            one.attrib.pop(_FORMULA, None)
            times = int(one.get(_REPEATED, "1"))
            lines = [line for p in one.findall(_P) for line in text_of(p).split("\n")]
            self.take_comment(row, one, column)
            if any(lines):
                spans = int(one.get(_SPANNED, "1")), int(one.get(_ROWS_SPANNED, "1"))
                for place in range(column, column + times):
                    yield _Cell(one, place, lines, *spans)
            column += times

    def fit_cell(self, cell: _Cell, until: int, row_height: float) -> float:
        """Make room for what a cell shows, where the next one that is not empty is in column `until`; its height."""
        name = cell.element.get(_STYLE) or self.defaults[cell.column]
        look = self.styles.look(name)
        line = 1.3 * look.size
        needed = max(map(look.width, cell.lines))
        if look.turned:
            return needed if len(cell.lines) == 1 else line
        end = min(cell.column + cell.columns, len(self.widths))
        others = sum(self.widths[cell.column + 1 : end])
        is_text = cell.element.get(_TYPE, "string") == "string"
        if not is_text:
            self.widen(cell.column, needed - others)
            return line
        room = sum(self.widths[cell.column : max(until, end) if not (look.placed or look.wraps) else end])
        if needed <= room:
            return line * len(cell.lines)
        longest = max((look.width(word) for text in cell.lines for word in text.split()), default=0.0)
        lines = LINES if cell.rows == 1 else max(1, int(row_height * cell.rows / line))
        wide = max(needed / lines * 1.15, min(longest, 4 * WIDEST)) - others
        if not look.wraps and needed - others <= max(WIDEST, wide):
            self.widen(cell.column, needed - others)
            return line * len(cell.lines)
        if not look.wraps:
            cell.element.set(_STYLE, self.styles.wrapped(name))
            wide = max(wide, WIDEST - others)
        self.widen(cell.column, wide)
        whole = self.widths[cell.column] + others
        return line * sum(math.ceil(1.1 * look.width(text) / whole) for text in cell.lines)

    def widen(self, column: int, width: float) -> None:
        self.widths[column] = max(self.widths[column], min(width, LARGEST / 2))

    # ------------------------------------------------------------------------------------------ comments

    def take_comment(self, row: Element, cell: Element, column: int) -> None:
        """Take a comment out of its cell, to be written beside the row."""
        for note in cell.findall(_NOTE):
            said = [" ".join(text_of(p).split()) for p in note.iter(_P)]
            if any(said):
                place = f"{_letters(column)}{self.number(row)}"
                by = note.find(q("dc:creator"))
                who = f"{place} ({by.text}):" if by is not None and by.text else f"{place}:"
                self.comments.append((row, [f"{who} {said[0]}", *said[1:]]))
            cell.remove(note)

    def number(self, row: Element) -> int:
        """The number of a row, from 1."""
        if not hasattr(self, "_numbers"):
            self._numbers, count = {}, 1
            for one in _rows(self.table):
                self._numbers[id(one)] = count
                count += int(one.get(_ROWS_REPEATED, "1"))
        return self._numbers[id(row)]

    def add_comments(self, used: int) -> None:
        """Write comments in a column of their own, after all others."""
        if not self.comments:
            return
        texts: dict[int, list[str]] = {}
        rows = {id(row): row for row, _ in self.comments}
        for row, said in self.comments:
            texts.setdefault(id(row), []).extend(said)
        longest = max(sum(map(_ems, said)) for said in texts.values()) * 10.0
        self.widths.append(max(COMMENT, longest / LINES * 1.2))
        self.defaults.append("")
        self.filled.add(len(self.widths) - 1)
        style = self.styles.wrapped("")
        for key, said in texts.items():
            _cut(rows[key], used)
            cell = SubElement(rows[key], _CELL, {_TYPE: "string", _STYLE: style})
            for line in said:
                SubElement(cell, _P).text = line
            self.texts += said
            lines = sum(math.ceil(_ems(line) * 12 / self.widths[-1]) for line in said)
            self.tallest = max(self.tallest, 13.0 * lines)
            self.total += 13.0 * lines
            rows[key].set(_STYLE, self.styles.row(rows[key].get(_STYLE, ""), None))

    # ------------------------------------------------------------------------------------------- writing

    def write_columns(self, folded: set[int]) -> None:
        """One element for each column that is used, and one for the rest."""
        places = [place for place, child in enumerate(self.table) if child.tag == _COLUMN]
        at = places[0] if places else 0
        self.table[:] = [child for child in self.table if child.tag != _COLUMN]
        for place in folded:
            self.widths[place] = 0.0
        kinds = [*zip(self.widths, self.defaults, strict=True), (64.0, "")]
        new = []
        for (width, default), same in groupby(kinds):
            attributes = {_STYLE: self.styles.column(width or 1.0), _DEFAULT: default or "Default"}
            attributes |= {_REPEATED: str(sum(1 for _ in same))} | ({} if width else {_HIDDEN: "collapse"})
            new.append(Element(_COLUMN, attributes))
        new[-1].set(_REPEATED, str(16384 - len(self.widths)))
        self.table[at:at] = new if len(self.widths) < 16384 else new[:-1]

    def fold(self, rows: list[Element]) -> set[int]:
        """Shorten long stretches of empty rows, which would be pages of nothing; the columns to be hidden likewise."""
        for row in rows:
            if int(row.get(_ROWS_REPEATED, "1")) >= FOLDED and not _last(row):
                row.set(_ROWS_REPEATED, "2")  # there are no formulas any more, and no charts that count rows
        edges = sorted({-1, *self.filled, len(self.widths)})
        gaps = (range(left + 1, right) for left, right in pairwise(edges))
        return {column for gap in gaps if len(gap) >= FOLDED for column in gap}

    def repeat_names(self, rows: list[Element]) -> None:
        """Let the first row stand on every page, where it names columns: texts above numbers."""
        if self.table.find(_HEADS) is not None or len(rows) < 3:
            return
        first, second = (
            [one.get(_TYPE) for one in row if one.tag == _CELL and one.find(_P) is not None] for row in rows[:2]
        )
        alone = rows[0].get(_ROWS_REPEATED) is None
        if alone and len(first) > 1 and set(first) == {"string"} and set(second) - {"string", None}:
            head = Element(_HEADS)
            place = list(self.table).index(rows[0])
            self.table[place] = head
            head.append(rows[0])


def _remove(parent: Element, unwanted: list[Element]) -> None:
    for one in unwanted:
        parent.remove(one)


def _rows(table: Element) -> Iterator[Element]:
    for child in table:
        if child.tag == _ROW:
            yield child
        elif child.tag == _HEADS:
            yield from child.findall(_ROW)


def _unpack(element: Element, groups: set[str]) -> None:
    """Put the members of groups in their places; a group may be folded up."""
    while any(child.tag in groups for child in element):
        element[:] = [one for child in element for one in (child if child.tag in groups else (child,))]
    for child in element:
        if child.tag == _HEADS:
            _unpack(child, groups)


def _last(row: Element) -> int:
    """How many columns of a row are used."""
    column = used = 0
    for one in row:
        column += int(one.get(_REPEATED, "1"))
        if len(one) and (one.find(_P) is not None or one.find(_NOTE) is not None):
            used = column
    return used


def _cut(row: Element, columns: int) -> None:
    """Let a row end after so many columns, which it has, used or not."""
    left = columns
    for one in list(row):
        count = int(one.get(_REPEATED, "1"))
        if left <= 0:
            row.remove(one)
        elif count > left:
            one.set(_REPEATED, str(left))
        left -= count
    if left > 0:
        SubElement(row, _CELL, {_REPEATED: str(left)})


def _drawn(table: Element) -> tuple[int, bool, float, float]:
    """Of pictures and charts: how many columns they reach over, whether there are any, and how far, in points."""
    columns, any_, right, bottom = 0, False, 0.0, 0.0
    for one in table.iter():
        if one.get(q("svg:width")) is None or one.tag == _NOTE:
            continue
        any_ = True
        if end := re.search(r"\.\$?([A-Z]{1,3})\$?\d+$", one.get(q("table:end-cell-address"), "")):
            columns = max(columns, _column(end[1]))
        else:
            right = max(right, points(one.get(q("svg:x"))) + points(one.get(q("svg:width"))))
            bottom = max(bottom, points(one.get(q("svg:y"))) + points(one.get(q("svg:height"))))
    return columns, any_, right, bottom


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number


def _letters(column: int) -> str:
    """The name of a column, from 0."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name
