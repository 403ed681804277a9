"""The files of a run that are not read yet: how many pages they have, and of which classes, as far as is known.

The pages of files that nobody has looked into are taken to be like those of other files of their kind and size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from visret.documents import formats
from visret.ingest.costs import BLIND, CLASSES, GUESSED, PAGE_WORDS, USUAL_WORDS, File, Look

PAGE_BYTES = {"text": 4_000, "html": 8_000, "table": 4_000, "book": 4_000, "picture": math.inf}
OTHER_PAGE_BYTES = 50_000
SHARES = {"picture": (0.0, 0.0, 1.0), "pdf": (0.8, 0.08, 0.12)}  # of the classes, where pages are read by OCR
OTHER_SHARES = (0.95, 0.03, 0.02)
_BINS = 48  # powers of two of a file's size

READ, LOOKED = range(2)


class Known:
    """A quantity that pages have, as far as it is known of the pages of each file that were read or looked at."""

    def __init__(self, files: int, guess: float) -> None:
        self.guess = guess
        self.sums = np.zeros((2, files))
        self.counts = np.zeros((2, files))

    def add(self, i: int, where: int, value: float, count: int = 1) -> None:
        """Count a page of a file, READ or LOOKED at; a count of -1 takes it out."""
        self.sums[where, i] += count * value
        self.counts[where, i] += count

    def each(self, cell: np.ndarray, cells: int) -> np.ndarray:
        """Return (n,) the quantity of a page that is ahead, for each file.

        It is like that of the file's pages looked at, else of those read, else of those in its cell, else of all pages.
        """
        total, count = self.sums.sum(axis=0), self.counts.sum(axis=0)
        mean = (total.sum() + 2 * self.guess) / (count.sum() + 2)
        like = (sums_of(cell, total, cells)[cell] + 2 * mean) / (sums_of(cell, count, cells)[cell] + 2)
        mine = (self.sums[READ] + like / 2) / (self.counts[READ] + 0.5)
        return np.asarray((self.sums[LOOKED] + mine / 2) / (self.counts[LOOKED] + 0.5))


class Ahead:
    """The files of a run, in their order, and what is known of their pages that will be read."""

    def __init__(self, files: Sequence[File], *, ocr: str) -> None:
        count = len(files)
        self.files = list(files)
        self.place = {file.key: i for i, file in enumerate(files)}
        self.kinds = sorted({(file.kind, file.converts) for file in files})
        numbers = {kind: number for number, kind in enumerate(self.kinds)}
        self.kind = np.array([numbers[file.kind, file.converts] for file in files], np.int64)
        size = np.array([file.size for file in files], np.float64)
        self.cell = self.kind * _BINS + np.clip(np.log2(size + 1).astype(np.int64), 0, _BINS - 1)
        self.cells = len(self.kinds) * _BINS
        self.guess = 1 + size / np.array([PAGE_BYTES.get(file.kind, OTHER_PAGE_BYTES) for file in files], np.float64)
        self.pages = np.array([np.nan if file.pages is None else file.pages for file in files], np.float64)
        self.holds = np.array([formats.holds_files(file.kind) for file in files], bool)
        self.done = np.array([file.done for file in files], np.float64)
        self.over = np.zeros(count, bool)
        self.read, self.spent, self.looked = np.zeros((3, count, CLASSES))  # pages, their core seconds, pages ahead
        self.looks: dict[int, dict[int, Look]] = {}
        self.shares = np.array([_guessed_shares(kind, ocr) for kind, _ in self.kinds]).reshape(-1, CLASSES)
        self.blind = Known(count, GUESSED.reading)
        self.encoding = Known(count, PAGE_WORDS + USUAL_WORDS)

    def add_look(self, i: int, number: int, look: Look) -> None:
        """Note what was seen of a page that will be read."""
        self.looks.setdefault(i, {})[number] = look
        self._add(i, LOOKED, look, 1)

    def add_read(self, i: int, number: int, look: Look, core_seconds: float) -> Look | None:
        """Note that a page was read, and return what had been seen of it before."""
        self.done[i] += 1
        self.spent[i, look.page_class] += core_seconds
        self._add(i, READ, look, 1)
        before = self.looks.get(i, {}).pop(number, None)
        if before is not None:
            self._add(i, LOOKED, before, -1)
        return before

    def _add(self, i: int, where: int, look: Look, count: int) -> None:
        (self.read if where == READ else self.looked)[i, look.page_class] += count
        if look.is_drawn:
            self.encoding.add(i, where, look.encoding, count)
            if look.page_class == BLIND:
                self.blind.add(i, where, look.reading, count)

    def expected(self) -> np.ndarray:
        """Return (n,) the number of pages of each file, as far as is known."""
        known = ~np.isnan(self.pages) & (self.over | ~self.holds)
        of_kind = [sums_of(self.kind[known], of[known], len(self.kinds)) for of in (self.pages, self.guess)]
        ratio = (of_kind[0] + 1) / (of_kind[1] + 1)
        total = sums_of(self.cell[known], self.pages[known], self.cells)[self.cell]
        count = np.bincount(self.cell[known], minlength=self.cells)[self.cell]
        like = (total + self.guess * ratio[self.kind] / 2) / (count + 0.5)
        return np.where(known, self.pages, np.fmax(self.pages, like))

    def left(self) -> np.ndarray:
        """Return (n, 3) the pages of each class that are still to be read in each file."""
        pages = self.expected()
        rest = np.where(self.over, 0, np.maximum(pages - self.done - self.looked.sum(axis=1), 0))
        return np.asarray(self.looked * ~self.over[:, None] + rest[:, None] * self._shares(pages))

    def _shares(self, pages: np.ndarray) -> np.ndarray:
        """Return (n, 3) the class shares of pages nobody has looked at, as in `Known.each`, lastly as in its kind."""
        seen = self.read + self.looked
        count = seen.sum(axis=1)
        has = count > 0
        weighed = seen[has] * (pages[has] / count[has])[:, None]
        one = max(1.0, float(pages[has].mean())) if has.any() else 1.0  # the pages of a usual file
        kinds = _mixed(_rows(self.kind[has], weighed, len(self.kinds)), self.shares, one)
        cells = _mixed(_rows(self.cell[has], weighed, self.cells), np.repeat(kinds, _BINS, axis=0), one)
        trust = _likeness(seen[:, BLIND], count)
        return _mixed(self.looked, _mixed(self.read, cells[self.cell], trust), max(trust, 0.1))


def _guessed_shares(kind: str, ocr: str) -> tuple[float, ...]:
    """Return the share of each class before any page has been seen."""
    if ocr == "never" or kind == "text":
        return (1.0, 0.0, 0.0)
    return (0.0, 0.0, 1.0) if ocr == "always" else SHARES.get(kind, OTHER_SHARES)


def _likeness(blind: np.ndarray, count: np.ndarray) -> float:
    """Return how many pages of a file the pages of others count as: fewer, the more alike the pages of one file are."""
    several = count > 1
    share = blind[several] / count[several]
    inside = float((count[several] ** 2 / (count[several] - 1) * share * (1 - share)).sum())
    inside = (inside + 0.02) / (count[several].sum() + 1)  # the variance of a page among those of its file
    of_all = (blind.sum() + 0.5) / (count.sum() + 1)
    between = max(of_all * (1 - of_all) - inside, 1e-6)
    return float(min(max(inside / between, 0.02), 20.0))


def sums_of(cells: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Return (count,) the sum of the values in each cell."""
    return np.bincount(cells, values, minlength=count)


def _rows(cells: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    return np.stack([sums_of(cells, column, count) for column in rows.T], axis=1)


def _mixed(counts: np.ndarray, guess: np.ndarray, trust: float) -> np.ndarray:
    """Return (n, 3) shares from (n, 3) counts; a guess counts as `trust` pages."""
    return np.asarray((counts + trust * guess) / (counts.sum(axis=1, keepdims=True) + trust))
