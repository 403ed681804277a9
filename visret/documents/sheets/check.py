"""A check that all cells of a spreadsheet are among the words of its pages."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from visret.documents.sheets.cells import Book
from visret.documents.shown import COMPLEX
from visret.types import Loss


class SheetContent(NamedTuple):
    """The content that a sheet shows: its name, and the text of every cell and comment."""

    name: str
    texts: list[str]


_BROKEN = re.compile(r"-\n")


def missing(fitted: Sequence[SheetContent], cells: Book | None, words: Iterable[str]) -> list[Loss]:
    """Return the loss of the cells that are not among the words of the pages, for each sheet.

    cells: the cells that calamine read, which may hold texts that LibreOffice did not read.
    """
    found = Counter(part for word in words for part in _tokens(word))
    lost = Counter({sheet.name: sum(not _take(text, found) for text in sheet.texts) for sheet in fitted})
    known = {"".join(_tokens(text)) for sheet in fitted for text in sheet.texts}
    for one in cells.sheets if cells else ():
        lost[one.name] += sum("".join(_tokens(text)) not in known for text in one.texts)
    way = "make its columns wider, save it as PDF, and read that"
    return [Loss(f"{_count(number)} of the sheet {name}", way) for name, number in lost.items() if number]


def _count(number: int) -> str:
    return "one cell" if number == 1 else f"{number:,} cells"


def _tokens(text: str) -> list[str]:
    return unicodedata.normalize("NFKC", text).replace("\u00ad", "").split()


def _take(text: str, found: Counter[str]) -> bool:
    """Return whether all words of a text are there, and use them up."""
    joined = _BROKEN.sub("", text)  # as a word that is hyphenated at the end of a line
    return _take_all(_tokens(text), found) or (joined != text and _take_all(_tokens(joined), found))


def _take_all(tokens: list[str], found: Counter[str]) -> bool:
    return all(COMPLEX.search(token) or _take_token(token, found) for token in tokens)


def _take_token(token: str, found: Counter[str]) -> bool:
    """Take a word, or the parts of one that is broken over lines; return whether it was there."""
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
