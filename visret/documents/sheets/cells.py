"""The cells of a spreadsheet, which calamine reads in a process of its own: a single cell far from the others makes it
ask for memory for all cells between them, and end.

    book = read("fares.xlsx", most=500_000)         # None where calamine cannot read it
    for sheet in book.sheets: sheet.name, sheet.rows

`python cells.py PATH MOST` is that process; it imports nothing of visret, so that it starts quickly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

Value = str | float | bool | None
SECONDS = 60
MEMORY = 3 << 30


class Sheet(NamedTuple):
    """A sheet.

    rows: its cells, with dates as text and None where one is empty; only the first rows, where all sheets together have
    more than `most` cells. texts: the different texts in them. missing: how many more rows there are.
    """

    name: str
    rows: list[list[Value]]
    texts: list[str]
    missing: int


class Book(NamedTuple):
    """The sheets of a file, including hidden ones."""

    sheets: tuple[Sheet, ...]

    @property
    def is_whole(self) -> bool:
        """True if all rows are there."""
        return not any(sheet.missing for sheet in self.sheets)


def read(path: str, *, most: int) -> Book | None:
    """Read the cells of a file, at most `most` of them; None where calamine cannot read it."""
    try:
        command = [sys.executable, "-P", __file__, path, str(most)]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True, stdin=subprocess.DEVNULL)
        return Book(tuple(Sheet(*fields) for fields in json.loads(done.stdout)))
    except (OSError, subprocess.SubprocessError, ValueError):  # LibreOffice may still be able to read it
        return None


def text_of(book: Book) -> str:
    """Return the cells as text: a line for each row, tabs between cells, and a form feed between sheets."""
    return "\f".join("\n".join([sheet.name, *map(_line, sheet.rows)]) for sheet in book.sheets if sheet.rows)


def _line(row: list[Value]) -> str:
    return "\t".join("" if value is None else " ".join(str(value).split()) for value in row).rstrip()


# ------------------------------------------------------------------------------------------------ in its process


def _main(path: str, most: int) -> None:
    from python_calamine import CalamineWorkbook, SheetTypeEnum

    _limit()
    with CalamineWorkbook.from_path(path) as book:
        names = [one.name for one in book.sheets_metadata if one.typ == SheetTypeEnum.WorkSheet]
        sheets = list(map(book.get_sheet_by_name, names))
        allowed = _shares([sum(map(_filled, sheet.iter_rows())) for sheet in sheets], most)
        found = [
            (name, *_taken(sheet.iter_rows(), cells)) for name, sheet, cells in zip(names, sheets, allowed, strict=True)
        ]
    json.dump(found, sys.stdout)


def _filled(row: list[Any]) -> int:
    return len(row) - row.count("")


def _shares(wanted: list[int], most: int) -> list[int]:
    """Return how many cells of each sheet are taken: all of small sheets, and equally many of each of the others."""
    left, shares = most, dict.fromkeys(range(len(wanted)), 0)
    for place, sheet in enumerate(sorted(shares, key=lambda sheet: wanted[sheet])):
        shares[sheet] = min(wanted[sheet], left // (len(wanted) - place))
        left -= shares[sheet]
    return list(shares.values())


def _taken(rows: Iterator[list[Any]], cells: int) -> tuple[list[list[Value]], list[str], int]:
    """Return the first rows that hold so many cells, the texts in them, and how many rows with any cells are left."""
    taken: list[list[Value]] = []
    texts: set[str] = set()
    for row in rows:
        cells -= _filled(row)
        if cells < 0:
            return taken, sorted(texts), 1 + sum(1 for one in rows if _filled(one))
        texts.update(value for value in row if value and isinstance(value, str))
        while row and row[-1] == "":
            row.pop()
        taken.append([_plain(value) for value in row])
    return taken, sorted(texts), 0


def _plain(value: Any) -> Value:
    if isinstance(value, datetime | date | time):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return None if value == "" else value


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows, where a request for too much memory fails by itself
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY if hard < 0 else min(MEMORY, hard), hard))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
