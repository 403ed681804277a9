"""Lines read in a picture, put together as words in reading order.

A picture has no painted order to start from, so the lines are first put in one; words, hyphens and columns of prose
are then those of the text layer (`visret.documents.words`).
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np

from visret.documents.words import strips
from visret.documents.words import words as words_of
from visret.types import Box, Loss, Word

CONFIDENT = 0.6  # mean probability of a word's characters; of words below it, one in five is right (of all, 95 %)


class Reading(NamedTuple):
    """The words read in a picture, in reading order. confidences: that of each word, 0 to 1.

    finer: how many times as many pixels a letter should have, if many are too small to be read; else 1. lost: what was
    seen but not read.
    """

    words: tuple[Word, ...]
    confidences: tuple[float, ...]
    finer: float = 1.0
    lost: tuple[Loss, ...] = ()

    @property
    def confidence(self) -> float:
        """The mean of the words' confidences; 0 where nothing was read."""
        return sum(self.confidences) / len(self.confidences) if self.confidences else 0.0


class Line(NamedTuple):
    """A line of n characters, including white space.

    boxes: (n, 4) in pixels. confidences: (n,). turn: quarter turns clockwise by which it is turned.
    """

    text: str
    boxes: np.ndarray
    confidences: np.ndarray
    turn: int
    left: float
    top: float  # a quarter of the height inside the letters, because the boxes of tight lines overlap
    right: float
    bottom: float


def arranged(lines: list[Line], width: int, height: int) -> Reading:
    """Return the confident words of lines in reading order; those turned as most are turned come first."""
    texts, boxes, turns, confidences = [], [], [], []
    by_turn = [[_standing(line, width, height) for line in lines if line.turn == turn] for turn in range(4)]
    for line in chain.from_iterable(map(_ordered, by_turn)):
        of_line = line.confidences.tolist()
        for match in re.finditer(r"\S+", line.text):
            part = slice(*match.span())
            confidence = statistics.fmean(of_line[part])
            if confidence >= CONFIDENT:
                n = part.stop - part.start + 1
                texts.append(match.group() + " ")
                boxes += [line.boxes[part], line.boxes[part.stop - 1 : part.stop]]
                turns += [line.turn] * n
                confidences += [confidence] * n
    if not texts:
        return Reading((), ())
    placed = np.concatenate(boxes)
    words = words_of("".join(texts), placed, np.array(turns), width=width, height=height)
    x, y = np.clip((placed[:, :2] + placed[:, 2:]) / 2 / (width, height), 0, 1).T  # as the words' boxes
    by_height = np.argsort(y)
    x, y, of = x[by_height], y[by_height], np.array(confidences)[by_height]
    x0, y0, x1, y1 = np.array([word.box for word in words]).reshape(-1, 4).T
    means = []
    for low, high, first, stop in zip(x0, x1, np.searchsorted(y, y0), np.searchsorted(y, y1, "right"), strict=True):
        beside = x[first:stop]
        own = (low <= beside) & (beside <= high)
        means.append(round(float(of[first:stop] @ own) / np.count_nonzero(own), 3))
    return Reading(tuple(map(_rounded, words)), tuple(means))


def turned(boxes: np.ndarray, turn: int, width: float, height: float) -> np.ndarray:
    """Return the boxes, (n, 4), of a page of that size as they lie when it is turned by quarter turns clockwise."""
    x0, y0, x1, y1 = boxes.T
    views = (
        (x0, y0, x1, y1),
        (height - y1, x0, height - y0, x1),
        (width - x1, height - y1, width - x0, height - y0),
        (y0, width - x1, y1, width - x0),
    )
    return np.stack(views[turn % 4], axis=1)


def turned_line(line: Line, turn: int, width: float, height: float) -> Line:
    """Return a line of a page of that size as it lies when the page is turned by quarter turns clockwise."""
    edges = np.array([(line.left, line.top, line.right, line.bottom)])
    ((left, top, right, bottom),) = turned(edges, turn, width, height).tolist()
    boxes = turned(line.boxes, turn, width, height)
    return Line(line.text, boxes, line.confidences, (line.turn + turn) % 4, left, top, right, bottom)


def _standing(line: Line, width: int, height: int) -> Line:
    """Return a line with its edges as they are for a reader who has turned the page; the boxes stay."""
    return (
        turned_line(line, -line.turn, width, height)._replace(turn=line.turn, boxes=line.boxes) if line.turn else line
    )


def _ordered(lines: Sequence[Line]) -> Iterator[Line]:
    """Yield the lines in reading order: strips from the top, and in each strip its columns of prose from the left."""
    left = strips(lines)
    while left:
        group = left.pop(0)
        while left and len(_columns(group)) > 1 and len(_columns(group + left[0])) > 1:
            group += left.pop(0)
        columns = _columns(group)
        if len(columns) > 1 and all(map(_is_prose, columns)):
            for column in columns:
                yield from _ordered(column)
        else:
            yield from _rows(group)


def _columns(lines: Sequence[Line]) -> list[list[Line]]:
    """Divide lines into columns, from the left, at vertical white bands at least half as wide as a line is high."""
    wide = statistics.median(line.bottom - line.top for line in lines)  # of the letters
    columns: list[list[Line]] = []
    edge = 0.0
    for line in sorted(lines, key=lambda line: line.left):
        if columns and line.left < edge + wide:
            columns[-1].append(line)
        else:
            columns.append([line])
        edge = max(edge, line.right)
    return columns


def _is_prose(column: Sequence[Line]) -> bool:
    """Return whether a column has long lines of one length, unlike the cells of a table."""
    widths = [line.right - line.left for line in column]
    letters = statistics.median(len(line.text) for line in column)
    return len(column) >= 4 and letters >= 20 and statistics.median(widths) > 0.7 * max(widths)


def _rows(lines: Sequence[Line]) -> Iterator[Line]:
    """Yield lines from the top, and those side by side from the left."""
    row: list[Line] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        if row and (line.top + line.bottom) / 2 > row[0].bottom:
            yield from sorted(row, key=lambda line: line.left)
            row = []
        row.append(line)
    yield from sorted(row, key=lambda line: line.left)


def _rounded(word: Word) -> Word:
    """Return a word as it is stored, so that a page read again from the cache is the same."""

    def short(box: Box) -> Box:
        x0, y0, x1, y1 = (round(v, 5) for v in box)
        return x0, y0, x1, y1

    return replace(word, box=short(word.box), rest=tuple((start, short(box)) for start, box in word.rest))
