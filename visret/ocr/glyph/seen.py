"""The lines read in a picture at one scale and one way up, and the union of several such looks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from visret.ocr.glyph.finding import FoundLines
from visret.ocr.glyph.networks import LETTERS
from visret.ocr.lines import Line, turned_line

# Mean confidence of lines that need no second look, that are read the right way, and that may be
CLEAR, SURE, FAIR = 0.92, 0.85, 0.75
_LEGIBLE = 9  # pixels of letters that are large enough


class FirstLook(NamedTuple):
    """The condition that a first look, at a part of a page or another way, must meet for the rest to be read.

    loose: the sharp edges that should lie in lines; None for all that are seen. untouched: the share of them outside
    lines from which on nothing is read.
    """

    loose: np.ndarray | None = None
    untouched: float = 0.75

    def is_promising(self, where: FoundLines) -> bool:
        """Return whether enough of the edges lie in lines."""
        if self.loose is None:
            return bool(where.lines) and where.edges.share < self.untouched
        return bool((self.loose & where.edges.loose).sum() < self.untouched * self.loose.sum())


class Seen(NamedTuple):
    """The lines that were read in a picture at one scale.

    heights: those of each line's letters, in pixels. found: all lines found, also those not read.
    """

    lines: list[Line]
    heights: list[float]
    found: FoundLines

    @property
    def letters(self) -> int:
        """The number of letters read."""
        return sum(len(line.text) for line in self.lines)

    @property
    def sure(self) -> int:
        """The number of letters on lines that are read well."""
        return sum(len(line.text) for line in self.lines if is_sure(line))

    def shown(self, turn: int, size: tuple[int, int]) -> Seen:
        """Return the lines of a page turned by so many quarter turns as they lie on the page of that size as shown."""
        if not turn:
            return self
        width, height = size if turn == 2 else size[::-1]
        lines = [turned_line(line, turn, width, height) for line in self.lines]
        edges = self.found.edges._replace(loose=np.rot90(self.found.edges.loose, -turn))
        return self._replace(lines=lines, found=self.found._replace(edges=edges))


def is_sure(line: Line) -> bool:
    """Return whether a line is read the right way, judging by its letters and digits."""
    named = [character.isalnum() for character in line.text]
    return sum(named) >= 3 and float(line.confidences[named].mean()) >= SURE


def merged(one: Seen, other: Seen) -> Seen:
    """Return the look that read more letters well, with what the other read well beside it."""
    first, second = (one, other) if one.sure >= other.sure else (other, one)
    taken = edges_of(first.lines)
    kept = [
        (line, height)
        for line, height in zip(second.lines, second.heights, strict=True)
        if is_sure(line) and share_inside(line, taken) < 0.3
    ]
    lines = first.lines + [line for line, _ in kept]
    edges = one.found.edges.without(box for line in lines for box in line.boxes.tolist())
    return Seen(lines, first.heights + [height for _, height in kept], one.found._replace(edges=edges))


def edges_of(lines: list[Line]) -> np.ndarray:
    """Return left, top, right and bottom of each line, (n, 4)."""
    return np.array([(line.left, line.top, line.right, line.bottom) for line in lines]).reshape(-1, 4)


def share_inside(line: Line, taken: np.ndarray) -> float:
    """Return the share of a line's area that lies in other lines, at most."""
    low = np.maximum(taken[:, :2], (line.left, line.top))
    high = np.minimum(taken[:, 2:], (line.right, line.bottom))
    area = (line.right - line.left) * (line.bottom - line.top)
    return float(np.prod(np.clip(high - low, 0, None), axis=1).sum() / max(area, 1e-6))


def finer(seen: Seen) -> float:
    """Return `visret.ocr.lines.Reading.finer`: how many times as many pixels a letter should have."""
    poor = [
        height
        for line, height in zip(seen.lines, seen.heights, strict=True)
        if height < _LEGIBLE and len(line.text) >= 3 and float(line.confidences.mean()) < CLEAR
    ]
    return LETTERS / float(np.median(poor)) if len(poor) >= max(2, len(seen.lines) / 4) else 1.0
