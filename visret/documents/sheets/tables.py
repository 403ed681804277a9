"""A sheet made fit for pages: its columns wide enough, hidden content shown, and comments beside their rows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

from visret.documents.opendocument import children_gone, points, q, text_of
from visret.documents.sheets.pages import Size
from visret.documents.sheets.styles import Styles, ems

MAX_TEXT_WIDTH = 300.0  # points, beyond which a text gets several lines
MAX_LINES = 40  # of a cell at most; then its column becomes wider, because the height of a row is limited
COMMENT = 180.0
MAX_COLUMN_WIDTH, MAX_ROW_HEIGHT = 1800.0, 2800.0  # points: LibreOffice's limits of a column and a row
FOLDED = 60  # this many empty rows or columns in a row are left out


_ROW, _COLUMN = q("table:table-row"), q("table:table-column")
_CELL, _COVERED = q("table:table-cell"), q("table:covered-table-cell")
_P, _NOTE, _STYLE = q("text:p"), q("office:annotation"), q("table:style-name")
_REPEATED, _ROWS_REPEATED = q("table:number-columns-repeated"), q("table:number-rows-repeated")
_SPANNED, _ROWS_SPANNED = q("table:number-columns-spanned"), q("table:number-rows-spanned")
_TYPE, _DEFAULT, _HIDDEN = q("office:value-type"), q("table:default-cell-style-name"), q("table:visibility")
_FORMULA = q("table:formula")
_HEADS, _COLUMN_HEADS = q("table:table-header-rows"), q("table:table-header-columns")
_GROUPS = {_COLUMN_HEADS, *map(q, ("table:table-row-group", "table:table-rows"))}
_GROUPS |= set(map(q, ("table:table-column-group", "table:table-columns")))
_WIDTH, _END, _ADDRESS = q("svg:width"), q("table:end-cell-address"), re.compile(r"\.\$?([A-Z]{1,3})\$?\d+$")


class _Cell(NamedTuple):
    """A cell that shows something. lines: those of its text; columns, rows: how many it covers."""

    element: Element
    column: int
    lines: list[str]
    columns: int
    rows: int


class _Drawn(NamedTuple):
    """The pictures and charts of a sheet. columns: how many they reach over; right, bottom: how far, in points."""

    there: bool = False
    columns: int = 0
    right: float = 0.0
    bottom: float = 0.0


class SheetTable:
    """The table of a sheet. name: the sheet's; texts: those of its cells and comments, once it has been fitted."""

    def __init__(self, table: Element, styles: Styles) -> None:
        self.name = table.get(q("table:name"), "")
        self.texts: list[str] = []
        self.table, self.styles = table, styles
        self.widths: list[float] = []  # of the columns, in points
        self.defaults: list[str] = []  # the styles of their cells
        self.filled: set[int] = set()  # columns that show something
        self.comments: list[tuple[Element, list[str]]] = []  # a row, and the lines of a comment in it
        self.tallest = self.total = 0.0  # heights in points: of the tallest row, of all rows

    def fit(self) -> Size:
        """Make every column wide enough, show what is hidden, and put comments beside their rows."""
        for attribute in ("table:print-ranges", "table:print", "table:protected"):
            self.table.attrib.pop(q(attribute), None)
        children_gone(self.table, self.table.findall(q("table:table-source")))
        _unpack(self.table, _GROUPS)
        self.read_columns()
        drawn, rows = _drawn(self.table), list(_rows(self.table))
        self.numbers = _numbers(rows)
        used = max([min(drawn.columns, len(self.widths)), *map(_last, rows)])
        del self.widths[used:], self.defaults[used:]
        last = max((place for place, row in enumerate(rows) if _last(row)), default=0)
        if not drawn.there:
            children_gone(self.table, rows[last + 1 :])
            del rows[last + 1 :]
        for row in rows[: last + 1]:
            self.fit_row(row)
        self.add_comments(used)
        if not drawn.there:
            self.take_out(rows, self.fold(rows))
        self.write_columns()
        self.repeat_names(rows)
        # LibreOffice rounds the width of each column
        width = max(sum(self.widths) + len(self.widths) / 2, drawn.right) + 4
        return Size(width, max(self.total, drawn.bottom), self.tallest, drawn.there)

    def read_columns(self) -> None:
        """Read the width of every column."""
        for one in self.table.findall(_COLUMN):
            width = self.styles.number("table-column", one.get(_STYLE, ""), "style:column-width", 64.0)
            count = min(int(one.get(_REPEATED, "1")), 16384 - len(self.widths))
            self.widths += [width] * count
            self.defaults += [one.get(_DEFAULT, "")] * count

    def fit_row(self, row: Element) -> None:
        """Make room for the content of a row, and show it."""
        row.attrib.pop(_HIDDEN, None)
        times = int(row.get(_ROWS_REPEATED, "1"))
        cells = list(self.cells(row))
        had = self.styles.number("table-row", row.get(_STYLE, ""), "style:row-height", 13.0)
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
        self.make_tall(row, max(own, merged if merged > 16 else 0.0, 5.0))
        self.total += max(had, own, merged) * (times if cells or times < FOLDED else 2)

    def make_tall(self, row: Element, height: float) -> None:
        """Make a row taller if it is not tall enough: LibreOffice breaks lines otherwise than it prints them."""
        name = row.get(_STYLE, "")
        if height > self.styles.number("table-row", name, "style:row-height", 13.0) + 1:
            row.set(_STYLE, self.styles.row(name, math.ceil(min(height, MAX_ROW_HEIGHT))))
            self.tallest = max(self.tallest, height)

    def cells(self, row: Element) -> Iterator[_Cell]:
        """Yield the cells of a row that show something; formulas are removed, so that no value is computed again."""
        column = 0
        for one in row:
            if one.tag not in (_CELL, _COVERED):
                continue
            times = int(one.get(_REPEATED, "1"))
            lines = [line for p in one.findall(_P) for line in text_of(p).split("\n")]
            if one.attrib.pop(_FORMULA, None) is not None and self.looks_by_formula(one, lines, column):
                one.set(_TYPE, "string")
                one.attrib.pop(q("calcext:value-type"), None)
            self.take_comment(row, one, column)
            if any(lines):
                spans = int(one.get(_SPANNED, "1")), int(one.get(_ROWS_SPANNED, "1"))
                for place in range(column, column + times):
                    yield _Cell(one, place, lines, *spans)
            column += times

    def looks_by_formula(self, cell: Element, lines: list[str], column: int) -> bool:
        """Return whether a value without a format would look different without its formula, as FALSE, which is 0."""
        style = cell.get(_STYLE) or (self.defaults[column] if column < len(self.defaults) else "")
        is_number = cell.get(_TYPE, "string") != "string"
        return is_number and not self.styles.has_format(style) and lines != [cell.get(q("office:value"), "")]

    def fit_cell(self, cell: _Cell, until: int, row_height: float) -> float:
        """Make room for a cell, with the next one that is not empty in column `until`; return its height in points."""
        name = cell.element.get(_STYLE) or self.defaults[cell.column]
        look = self.styles.look(name)
        line = 1.3 * look.size
        needed = max(map(look.width, cell.lines))
        if look.turned:
            return needed if len(cell.lines) == 1 else line
        end = min(cell.column + cell.columns, len(self.widths))
        others = sum(self.widths[cell.column + 1 : end])
        if cell.element.get(_TYPE, "string") != "string":  # a number has no lines
            self.widen(cell.column, needed - others)
            return line
        runs_on = not (look.placed or look.wraps)
        if needed <= sum(self.widths[cell.column : max(until, end) if runs_on else end]):
            return line * len(cell.lines)
        longest = max((look.width(word) for text in cell.lines for word in text.split()), default=0.0)
        lines = MAX_LINES if cell.rows == 1 else max(1, int(row_height * cell.rows / line))
        wide = max(needed / lines * 1.15, min(longest, 4 * MAX_TEXT_WIDTH)) - others
        if not look.wraps and needed - others <= max(MAX_TEXT_WIDTH, wide):
            self.widen(cell.column, needed - others)
            return line * len(cell.lines)
        if not look.wraps:
            cell.element.set(_STYLE, self.styles.wrapped(name))
            wide = max(wide, MAX_TEXT_WIDTH - others)
        self.widen(cell.column, wide)
        whole = self.widths[cell.column] + others
        return line * sum(math.ceil(1.1 * look.width(text) / whole) for text in cell.lines)

    def widen(self, column: int, width: float) -> None:
        """Make a column wider if it is not wide enough."""
        self.widths[column] = max(self.widths[column], min(width, MAX_COLUMN_WIDTH))

    # ------------------------------------------------------------------------------------------ comments

    def take_comment(self, row: Element, cell: Element, column: int) -> None:
        """Move a comment out of its cell, to be written beside the row."""
        for note in cell.findall(_NOTE):
            said = [" ".join(text_of(p).split()) for p in note.iter(_P)]
            if any(said):
                place = f"{_letters(column)}{self.numbers[id(row)]}"
                by = note.find(q("dc:creator"))
                who = f"{place} ({by.text}):" if by is not None and by.text else f"{place}:"
                self.comments.append((row, [f"{who} {said[0]}", *said[1:]]))
            cell.remove(note)

    def add_comments(self, used: int) -> None:
        """Write the comments in a column of their own, after all others."""
        if not self.comments:
            return
        texts: dict[int, list[str]] = {}
        rows = {id(row): row for row, _ in self.comments}
        for row, said in self.comments:
            texts.setdefault(id(row), []).extend(said)
        longest = max(sum(map(ems, said)) for said in texts.values()) * 10.0
        self.widths.append(max(COMMENT, longest / MAX_LINES * 1.2))
        self.defaults.append("")
        self.filled.add(len(self.widths) - 1)
        style = self.styles.wrapped("")
        for key, said in texts.items():
            _cut(rows[key], used)
            cell = SubElement(rows[key], _CELL, {_TYPE: "string", _STYLE: style})
            for line in said:
                SubElement(cell, _P).text = line
            self.texts += said
            lines = sum(math.ceil(ems(line) * 12 / self.widths[-1]) for line in said)
            self.make_tall(rows[key], 13.0 * lines)
            self.total += 13.0 * lines

    # ------------------------------------------------------------------------------------------- writing

    def take_out(self, rows: list[Element], folded: list[range]) -> None:
        """Leave out columns that are empty in all rows."""
        for gap in reversed(folded):
            del self.widths[gap.start : gap.stop], self.defaults[gap.start : gap.stop]
            for row in rows:
                _shorten(row, gap)

    def write_columns(self) -> None:
        """Write one element for each column that is used, and one for the rest."""
        places = [place for place, child in enumerate(self.table) if child.tag == _COLUMN]
        at = places[0] if places else 0
        self.table[:] = [child for child in self.table if child.tag != _COLUMN]
        kinds = [*zip(self.widths, self.defaults, strict=True), (64.0, "")]
        new = []
        for (width, default), same in groupby(kinds):
            attributes = {_STYLE: self.styles.column(width), _DEFAULT: default or "Default"}
            new.append(Element(_COLUMN, attributes | {_REPEATED: str(sum(1 for _ in same))}))
        new[-1].set(_REPEATED, str(16384 - len(self.widths)))
        self.table[at:at] = new if len(self.widths) < 16384 else new[:-1]

    def fold(self, rows: list[Element]) -> list[range]:
        """Shorten long stretches of empty rows, which would be empty pages, and return those of empty columns."""
        for row in rows:
            if int(row.get(_ROWS_REPEATED, "1")) >= FOLDED and not _last(row):
                row.set(_ROWS_REPEATED, "2")  # there are no formulas left, and no charts that count rows
        edges = sorted({-1, *self.filled, len(self.widths)})
        gaps = (range(left + 1, right) for left, right in pairwise(edges))
        return [gap for gap in gaps if len(gap) >= FOLDED]

    def repeat_names(self, rows: list[Element]) -> None:
        """Repeat the first row on every page if it names columns, which are texts above numbers."""
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


def _rows(table: Element) -> Iterator[Element]:
    for child in table:
        if child.tag == _ROW:
            yield child
        elif child.tag == _HEADS:
            yield from child.findall(_ROW)


def _unpack(element: Element, groups: set[str]) -> None:
    """Put the members of groups in the places of these; a group may be folded up."""
    while any(child.tag in groups for child in element):
        element[:] = [one for child in element for one in (child if child.tag in groups else (child,))]
    for child in element:
        if child.tag == _HEADS:
            _unpack(child, groups)


def _last(row: Element) -> int:
    """Return how many columns of a row are used."""
    column = used = 0
    for one in row:
        column += int(one.get(_REPEATED, "1"))
        if len(one) and (one.find(_P) is not None or one.find(_NOTE) is not None):
            used = column
    return used


def _cut(row: Element, columns: int) -> None:
    """Let a row end after so many columns, used or not, and fill it up to there."""
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


def _shorten(row: Element, gap: range) -> None:
    """Remove from a row the columns of a gap, which are empty."""
    column = 0
    for one in list(row):
        count = int(one.get(_REPEATED, "1"))
        inside = min(column + count, gap.stop) - max(column, gap.start)
        column += count
        if inside == count:
            row.remove(one)
        elif inside > 0:
            one.set(_REPEATED, str(count - inside))


def _drawn(table: Element) -> _Drawn:
    found = _Drawn()
    for one in table.iter():
        if one.get(_WIDTH) is None or one.tag == _NOTE:
            continue
        columns, right, bottom = found.columns, found.right, found.bottom
        if end := _ADDRESS.search(one.get(_END, "")):
            columns = max(columns, _column(end[1]))
        else:
            right = max(right, points(one.get(q("svg:x"))) + points(one.get(_WIDTH)))
            bottom = max(bottom, points(one.get(q("svg:y"))) + points(one.get(q("svg:height"))))
        found = _Drawn(True, columns, right, bottom)
    return found


def _numbers(rows: list[Element]) -> dict[int, int]:
    """Map the identity of each row to its number, from 1."""
    numbers, number = {}, 1
    for row in rows:
        numbers[id(row)] = number
        number += int(row.get(_ROWS_REPEATED, "1"))
    return numbers


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number


def _letters(column: int) -> str:
    """Return the name of a column, counted from 0."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name
