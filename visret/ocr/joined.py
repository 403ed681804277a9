"""A page's own words and those read in its picture, joined to one text: exact words stay, missing ones are added.

    words = joined(own, missing(own, reading))

A word that was read is left out where a word of the page's own lies already, unless the two are different print, such
as a watermark and what it lies over. The order of the page's own words stays; each piece of a line that was read comes
before the first of their lines that it stands before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np

from visret.ocr import trust
from visret.ocr.lines import Reading
from visret.types import Box, Word

_COVERED = 0.5  # share of a word's area under the page's own words: then it is one of them
_SURE, _TOUCHED = 0.8, 0.1  # a word of less confidence is one of the page's own if they only touch by this share
_WHOLE = 0.9  # share of the length of a line read, of the page's own words there: it says no more then
_HEIGHTS = 0.6  # ratio of heights: words of about one height are not print over print


class _WordLine(NamedTuple):
    """A line of words side by side, and the box around them."""

    words: list[Word]
    left: float
    top: float
    right: float
    bottom: float


def joined(own: Sequence[Word], new: Reading) -> tuple[Word, ...]:
    """Return all words in reading order. new: the words that were read and are `missing`."""
    lines = [_line(list(words)) for _, words in groupby(own, key=lambda word: word.line)]
    read = [list(words) for _, words in groupby(new.words, key=lambda word: word.line)]
    before: list[list[_WordLine]] = [[] for _ in range(len(lines) + 1)]
    for piece in chain.from_iterable(_pieces(words, lines) for words in read):
        before[_place(piece, lines)].append(piece)
    ordered = [line for i, some in enumerate(before) for line in (*some, *lines[i : i + 1])]
    return tuple(replace(word, line=i) for i, line in enumerate(ordered) for word in line.words)


def believed(own: Sequence[Word], reading: Reading, doubt: trust.Doubt) -> tuple[Word, ...]:
    """Return those of the page's own words in whose lines nothing better was read."""
    if doubt == trust.NONE:
        return tuple(own)
    out: list[Word] = []
    boxes = np.array([word.box for word in reading.words]).reshape(-1, 4)
    for _, words in groupby(own, key=lambda word: word.line):
        line = list(words)
        said = " ".join(reading.words[i].text for i in _inside(boxes, line))
        if not trust.is_better(said, trust.text_of(line), doubt):
            out += line
    return tuple(out)


def _inside(boxes: np.ndarray, line: Sequence[Word]) -> list[int]:
    """Return the indices of the boxes (n, 4) that lie in one of the words of a line, by their middles."""
    around = np.array([box for word in line for box in word.boxes])
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return np.flatnonzero(((around[:, :2] <= middle) & (middle <= around[:, 2:])).all(axis=2).any(axis=1)).tolist()


def missing(own: Sequence[Word], reading: Reading) -> Reading:
    """Return the words that were read where none of the page's own words stands."""
    if not own or not reading.words:
        return reading
    parts = [(word.text, box) for word in own for box in word.boxes]
    placed = np.array([box for _, box in parts])
    read = zip(reading.words, reading.confidences, strict=True)
    lines = [list(some) for _, some in groupby(read, key=lambda one: one[0].line)]
    new = chain.from_iterable(line for line in lines if not _is_line_there(line, parts, placed))
    kept = [one for one in new if not _is_there(*one, parts, placed)]
    return reading._replace(words=tuple(word for word, _ in kept), confidences=tuple(sure for _, sure in kept))


def _is_line_there(line: Sequence[tuple[Word, float]], parts: Sequence[tuple[str, Box]], placed: np.ndarray) -> bool:
    """Return whether the page has the same words side by side at that height, even somewhat to the side."""
    around = _line([word for word, _ in line])
    shared = np.minimum(placed[:, 3], around.bottom) - np.maximum(placed[:, 1], around.top)
    level = shared > 0.5 * np.minimum(placed[:, 3] - placed[:, 1], around.bottom - around.top)
    level &= (placed[:, 0] < around.right) & (placed[:, 2] > around.left)
    there = " ".join(parts[i][0] for i in np.flatnonzero(level).tolist())
    said = trust.text_of(around.words)
    return len(there) > _WHOLE * len(said) and trust.alike(there, said)


def _is_there(word: Word, confidence: float, parts: Sequence[tuple[str, Box]], placed: np.ndarray) -> bool:
    box = np.array(word.box)
    low, high = np.maximum(placed[:, :2], box[:2]), np.minimum(placed[:, 2:], box[2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area = float(np.prod(box[2:] - box[:2])) or 1.0
    if shared.sum() < (_COVERED if confidence > _SURE else _TOUCHED) * area:
        return False
    if confidence <= _SURE:
        return True
    over = np.flatnonzero(shared > 0)
    tall = placed[over, 3] - placed[over, 1]
    ratio = tall / (box[3] - box[1] or 1)
    same_height = np.minimum(ratio, 1 / np.maximum(ratio, 1e-9)) >= _HEIGHTS
    if shared[over[same_height]].sum() >= _COVERED * area:
        return True
    return trust.alike(" ".join(parts[i][0] for i in over.tolist()), word.text)


def _line(words: list[Word]) -> _WordLine:
    boxes = np.array([word.box for word in words])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    return _WordLine(words, left, top, right, bottom)


def _pieces(words: list[Word], lines: Sequence[_WordLine]) -> list[_WordLine]:
    """Divide a line that was read where the page's own words stand inside it, such as those typed into a form."""
    whole = _line(words)
    amid = [line for line in lines if _level(line, whole) and whole.left < line.left and line.right < whole.right]
    edges = sorted(line.left for line in amid)
    ends = [sum(edge < word.box[0] for edge in edges) for word in words]
    return [_line([word for word, _ in some]) for _, some in groupby(zip(words, ends, strict=True), lambda one: one[1])]


def _place(piece: _WordLine, lines: Sequence[_WordLine]) -> int:
    """Return the index of the page's own line that the piece comes before."""
    for i, line in enumerate(lines):
        if _level(piece, line):
            if piece.left < line.left:
                return i
        elif piece.top < line.top and piece.left < line.right and line.left < piece.right:
            return i
    beside = [i for i, line in enumerate(lines) if _level(piece, line) and line.left <= piece.left]
    above = [i for i, line in enumerate(lines) if line.left < piece.right and piece.left < line.right]
    if beside or above:
        return (beside or above)[-1] + 1
    lower = [line.top < piece.bottom for line in lines]
    return len(lines) - lower[::-1].index(True) if any(lower) else 0


def _level(one: _WordLine, other: _WordLine) -> bool:
    """Return whether two lines stand side by side."""
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared > 0.5 * min(one.bottom - one.top, other.bottom - other.top)
