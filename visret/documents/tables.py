"""Tables as text: CSV and TSV, with a line for each row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from visret.documents.document import Document
from visret.documents.text import PlainText, paged, pieces
from visret.types import Loss

BETWEEN = " | "
_DELIMITERS = "\t;|,"  # of those that divide equally well, the first: a comma may belong to numbers
_ROWS = 50  # rows that are looked at to see how columns are divided


def opened(path: Path, _: str | None) -> Document:
    """Return the rows of a table, cells divided by BETWEEN, in pages like those of plain text.

    A line feed in a cell becomes a blank. Where quotes do not match, the text is taken as it stands.
    """
    lost: list[Loss] = []
    table = PlainText(path, pages=paged(_rows("".join(pieces(path, lost)))))
    table.lost += lost
    return table


def _rows(text: str) -> Iterator[str]:
    lines = list(io.StringIO(text))
    first = lines[0].strip() if lines else ""
    stated = first[4:] if first.startswith("sep=") and len(first) == 5 else None  # Excel's own
    if stated:
        lines = lines[1:]
    delimiter = stated or _delimiter(lines)
    if delimiter is None or not _sound(lines, delimiter):
        yield text
        return
    for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
        yield _line(row)


def _line(row: list[str]) -> str:
    return BETWEEN.join(" ".join(cell.split()) for cell in row).rstrip() + "\n"


def _delimiter(lines: list[str]) -> str | None:
    """Return the delimiter that divides most rows into the same number of cells, more than one; None if none does."""
    shares = {delimiter: _share(lines[:_ROWS], delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: shares[delimiter])
    return best if shares[best] else None


def _share(lines: list[str], delimiter: str) -> float:
    """Return the share of the rows that have the most frequent number of cells; 0 where that is one."""
    widths = [len(row) for row in _parsed(lines, delimiter) if row]
    usual = max(set(widths), key=widths.count, default=1)
    return widths.count(usual) / len(widths) if usual > 1 else 0.0


def _parsed(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    except csv.Error:  # a cell is longer than the module reads
        return


def _sound(lines: list[str], delimiter: str) -> bool:
    """Return whether every quote is closed; an open one would make one cell of the rest."""
    try:
        for _ in csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True):
            pass
    except csv.Error:
        return False
    return True
