"""Characters in the order a page paints them -> words in the order a person reads them.

Three decisions, each with a plain rule. *Words*: white space ends a word, and so does a step to another place.
*Order*: a recursive XY-cut (Nagy and Seth 1984) that keeps the painted order wherever white space does not contradict
it. *Spelling*: ligatures and compatibility forms are written out, an accent painted over its letter is put on it, and
a word hyphenated over a line end is one word.

Boxes in here are upright: x grows in the direction of reading, y from line to line, whatever way the text is turned.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from statistics import median
from typing import TypeVar

import numpy as np

from visret.types import Box, Word

_SPACES = np.array([c for c in range(0x3001) if chr(c).isspace() and not 0x1C <= c <= 0x1F], np.uint32)
_HYPHENS = ("-", "\u00ad", "\u2010")
_DOTLESS = {"ı": "i", "ȷ": "j"}
_ACCENTS = {  # as TeX paints them, beside the letter -> as Unicode puts them on it
    "`": "\u0300", "´": "\u0301", "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303", "¯": "\u0304",
    "˘": "\u0306", "˙": "\u0307", "¨": "\u0308", "˚": "\u030a", "˝": "\u030b", "ˇ": "\u030c", "¸": "\u0327",
    "˛": "\u0328",
}  # fmt: skip
_DEEPEST = 12  # nested cuts; real pages need about four, and a hostile one must not exhaust the stack


def words(text: str, boxes: np.ndarray, turns: np.ndarray, *, width: float, height: float) -> tuple[Word, ...]:
    """The words of a page, in reading order.

    text: n characters in painted order; a soft hyphen stands for the hyphen of a broken word.
    boxes: (n, 4) float, x0, y0, x1, y1 in points on the displayed page, origin top left, as high as the font's line.
    turns: (n,) int, quarter turns clockwise that each character is turned by; 0 reads to the right.
    width, height: of the displayed page in points; words whose centre lies outside it are dropped.
    """
    upright, pieces = _pieces(text, boxes, turns, width, height)
    out: list[Word] = []
    tail = -1  # the line on which the last word ends
    for number, line in enumerate(_lines(upright, pieces)):
        for i, piece in enumerate(line):
            head = _before(out[-1].text, piece.text) if out and i == 0 and tail == number - 1 else None
            if head is None:
                out.append(Word(piece.text, piece.box, (), number))
            else:
                first = out.pop()
                out.append(Word(head + piece.text, first.box, (*first.rest, (len(head), piece.box)), first.line))
        tail = number
    return tuple(out)


# ---------------------------------------------------------------------------------------------------- words


@dataclass(slots=True)
class _Piece:
    """A word, or the part of it that stands on one line."""

    text: str
    box: Box
    turn: int


def _pieces(
    text: str, boxes: np.ndarray, turns: np.ndarray, width: float, height: float
) -> tuple[list[Box], list[_Piece]]:
    """Upright boxes (p, 4) and pieces (p), in painted order."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    at = np.flatnonzero(~np.isin(codes, _SPACES))
    if not len(at):
        return [], []
    turned = turns[at]
    b = _upright(boxes[at], turned)
    (left, top, right, bottom), (left2, top2, right2, bottom2) = b[:-1].T, b[1:].T
    tall = np.maximum(bottom - top, bottom2 - top2)
    low = np.minimum(bottom - top, bottom2 - top2)
    shared = np.minimum(bottom, bottom2) - np.maximum(top, top2)
    gap = left2 - right
    spaced = at[1:] - at[:-1] > 1
    # PDFium reads a line end where a font changes by a hair's breadth; letters that touch are on one line
    touching = (shared > 0.5 * low) & (low > 0.85 * tall) & (gap > -0.15 * tall) & (gap < 0.1 * tall)
    spurious = touching & np.isin(codes[np.minimum(at[:-1] + 1, len(codes) - 1)], (10, 13))
    elsewhere = (shared < 0.2 * low) | (np.maximum(gap, left - right2) > tall) | (turned[1:] != turned[:-1])
    starts = np.flatnonzero(np.concatenate([[True], elsewhere | (spaced & ~spurious)]))

    box = np.hstack([np.minimum.reduceat(boxes[at, :2], starts), np.maximum.reduceat(boxes[at, 2:], starts)])
    uprights: list[Box] = _upright(box, turned[starts]).tolist()
    centre = (box[:, :2] + box[:, 2:]) / 2
    inside = ((centre >= 0) & (centre <= (width, height))).all(axis=1).tolist()
    fractions = _fractions(box, width, height)
    letters = _accented(text, boxes, turns)
    ends = [*starts[1:].tolist(), len(at)]
    where = at.tolist()
    kept: list[Box] = []
    pieces: list[_Piece] = []
    for i, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        if inside[i] and (spelled := _spelled("".join([letters[k] for k in where[start:end]]))):
            kept.append(uprights[i])
            pieces.append(_Piece(spelled, fractions[i], int(turned[start])))
    return kept, pieces


def _upright(boxes: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Boxes as seen by a reader of text turned by `turns` quarter turns clockwise."""
    if not turns.any():
        return boxes
    x0, y0, x1, y1 = boxes.T
    views = np.array([(x0, y0, x1, y1), (y0, -x1, y1, -x0), (-x1, -y1, -x0, -y0), (-y1, x0, -y0, x1)])
    return np.asarray(views[turns, :, np.arange(len(boxes))])


def _fractions(boxes: np.ndarray, width: float, height: float) -> list[Box]:
    """Points to page fractions, clipped to the page, never empty."""
    thin = 1e-4
    size = np.array([width, height])
    low = np.clip(boxes[:, :2] / size, 0, 1 - thin)
    high = np.clip(boxes[:, 2:] / size, low + thin, 1)
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in np.hstack([low, high]).tolist()]


# ------------------------------------------------------------------------------------------------- spelling


class _Spelling(dict[int, str]):
    """For str.translate: what each character is written as."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        plain = unicodedata.normalize("NFKC", char)
        if unicodedata.category(char)[0] == "C" or char == "\ufffd":  # control, format, private use, unassigned
            plain = ""
        elif plain[0] == " " or unicodedata.decomposition(char).startswith(("<super>", "<sub>", "<fraction>")):
            plain = char  # a spacing accent is no space; x² is not x2, and 5½ not 51/2
        self[code] = plain
        return plain


_SPELLING = _Spelling()


def _spelled(raw: str) -> str:
    """A word as it is written: NFC, ligatures and other compatibility forms resolved, nothing invisible."""
    if raw.isascii() and raw.isprintable():
        return raw
    if raw[-1] == "\u00ad":
        raw = raw[:-1] + "-"
    raw = raw.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")  # PDFium gives surrogates one by one
    return unicodedata.normalize("NFC", raw.translate(_SPELLING))


def _accented(text: str, boxes: np.ndarray, turns: np.ndarray) -> list[str]:
    """The characters, with accents that were painted over a letter put on that letter."""
    letters = list(text)
    for k, char in enumerate(text):
        if char in _ACCENTS:
            for j in (k + 1, k - 1):  # TeX paints the accent first, a cedilla second
                if 0 <= j < len(text) and text[j].isalpha() and turns[j] == turns[k]:
                    (left, _, right, _), (left2, _, right2, _) = _upright(boxes[[k, j]], turns[[k, j]]).tolist()
                    if min(right, right2) - max(left, left2) > 0.5 * min(right - left, right2 - left2):
                        letters[j] = _DOTLESS.get(letters[j], letters[j]) + _ACCENTS[char]
                        letters[k] = ""
                        break
    return letters


def _before(word: str, following: str) -> str | None:
    """What stays of a line's last word when the next line's first belongs to it; None where it does not.

    The hyphen goes between two small letters, and stays in "X-ray" and "1990-1995".
    """
    if not word.endswith(_HYPHENS) or len(word) < 2 or not word[-2].isalnum() or not following[0].isalnum():
        return None
    return word[:-1] if word[-2].islower() and following[0].islower() else word


# ---------------------------------------------------------------------------------------------------- order


@dataclass(slots=True)
class _Run:
    """Pieces painted side by side, without a gap as wide as the line is high."""

    pieces: list[int]
    x0: float
    y0: float
    x1: float
    y1: float
    letters: int

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def number(self) -> int:
        """Its place in painted order."""
        return self.pieces[0]

    def add(self, other: _Run) -> None:
        self.pieces += other.pieces
        self.x0, self.x1 = min(self.x0, other.x0), max(self.x1, other.x1)
        self.y0, self.y1 = min(self.y0, other.y0), max(self.y1, other.y1)
        self.letters += other.letters

    def beside(self, other: _Run) -> bool:
        """On one line?"""
        return min(self.y1, other.y1) - max(self.y0, other.y0) > 0.4 * min(self.height, other.height)

    def above(self, other: _Run) -> bool:
        """On the line before, whether or not straight above?"""
        line = max(self.height, other.height)
        return 0.3 * line < (other.y0 + other.y1 - self.y0 - self.y1) / 2 and other.y0 - self.y1 < line


@dataclass(slots=True)
class _Block:
    """Runs painted one below the other. top and bottom are those of the letters: lines set tight overlap otherwise."""

    runs: list[_Run]
    x0: float = field(init=False)
    x1: float = field(init=False)
    top: float = field(init=False)
    bottom: float = field(init=False)

    def __post_init__(self) -> None:
        self.x0, self.x1 = min(r.x0 for r in self.runs), max(r.x1 for r in self.runs)
        self.top = min(0.75 * r.y0 + 0.25 * r.y1 for r in self.runs)
        self.bottom = max(0.25 * r.y0 + 0.75 * r.y1 for r in self.runs)

    @property
    def number(self) -> int:
        """Its place in painted order."""
        return self.runs[0].number


_R = TypeVar("_R", _Run, _Block)


def _lines(upright: list[Box], pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """The pieces, line by line in reading order; text turned another way than most of the page's comes last."""
    turns: dict[int, list[int]] = {}
    for i, piece in enumerate(pieces):
        turns.setdefault(piece.turn, []).append(i)
    for some in sorted(turns.values(), key=len, reverse=True):
        runs = _runs(some, upright, pieces)
        wide = 0.5 * median(run.height for run in runs)
        line: list[_Piece] = []
        last = runs[0]
        for block in _ordered(_blocks(_unzipped(runs, wide)), wide):
            for run in block.runs:
                if line and not (last.beside(run) and (run.x0 >= last.x1 or run.x1 <= last.x0)):
                    yield line
                    line = []
                line += [pieces[k] for k in run.pieces]
                last = run
        yield line


def _runs(some: Sequence[int], upright: list[Box], pieces: list[_Piece]) -> list[_Run]:
    runs: list[_Run] = []
    last: _Run | None = None
    for i in some:
        piece = _Run([i], *upright[i], letters=len(pieces[i].text))
        step = max(piece.x0 - last.x1, last.x0 - piece.x1) - max(last.height, piece.height) if last else 0
        if last and last.beside(piece) and step <= 0:
            runs[-1].add(piece)
        else:
            runs.append(replace(piece, pieces=[i]))
        last = piece
    return runs


def _unzipped(runs: list[_Run], wide: float) -> list[_Run]:
    """The runs, with columns of prose that were painted line by line across the page put one after the other."""
    rows: list[list[_Run]] = []
    for run in runs:
        if rows and rows[-1][-1].beside(run):
            rows[-1].append(run)
        else:
            rows.append([run])
    out: list[_Run] = []
    start = 0
    while start < len(rows):
        bands, end = _bands(rows[start], wide), start + 1
        while end < len(rows) and rows[end - 1][0].above(rows[end][0]):
            wider = _bands(rows[end], wide, bands)
            if len(wider) < 2:
                break
            bands, end = wider, end + 1
        stretch = [run for row in rows[start:end] for run in row]
        columns = _columns(stretch, wide)
        out += [run for column in columns for run in column] if len(columns) > 1 and _prose(columns) else stretch
        start = end
    return out


def _blocks(runs: list[_Run]) -> list[_Block]:
    groups: list[list[_Run]] = []
    left = right = 0.0
    for run in runs:
        shared = min(right, run.x1) - max(left, run.x0)
        if groups and groups[-1][-1].above(run) and shared > 0.5 * min(right - left, run.x1 - run.x0):
            groups[-1].append(run)
            left, right = min(left, run.x0), max(right, run.x1)
        else:
            groups.append([run])
            left, right = run.x0, run.x1
    return [_Block(group) for group in groups]


def _ordered(blocks: list[_Block], wide: float, depth: int = 0) -> Iterator[_Block]:
    """Blocks in reading order: strips from the top, and in each its columns from the left."""
    for group in _groups(_strips(blocks), wide):
        columns = _columns(group, wide) if depth < _DEEPEST else [group]
        if len(columns) > 1 and (
            _one_by_one(columns, slack=len(group) // 10)
            or _prose([[run for block in column for run in block.runs] for column in columns])
        ):
            for column in columns:
                yield from _ordered(column, wide, depth + 1)
        else:
            yield from group


def _strips(blocks: list[_Block]) -> list[list[_Block]]:
    """Blocks divided where a horizontal white band crosses all of them; painted order within a strip."""
    strips: list[list[_Block]] = []
    bottom = 0.0
    for block in sorted(blocks, key=lambda b: b.top):
        if strips and block.top < bottom:
            strips[-1].append(block)
            bottom = max(bottom, block.bottom)
        else:
            strips.append([block])
            bottom = block.bottom
    return [sorted(strip, key=lambda b: b.number) for strip in strips]


def _groups(strips: list[list[_Block]], wide: float) -> Iterator[list[_Block]]:
    """Strips, joined where columns painted one after the other run on through them."""
    earliest = list(accumulate((strip[0].number for strip in reversed(strips)), min))[::-1]  # from this strip on
    start = 0
    while start < len(strips):
        group, end = strips[start], start + 1
        if end < len(strips) and earliest[end] < group[-1].number:
            longer = group
            for i in range(end, len(strips)):
                longer = sorted(longer + strips[i], key=lambda b: b.number)
                columns = _columns(longer, wide)
                if len(columns) < 2:
                    break
                if _one_by_one(columns):
                    group, end = longer, i + 1
        yield group
        start = end


def _bands(
    items: Iterable[_Run | _Block], wide: float, bands: Iterable[tuple[float, float]] = ()
) -> list[tuple[float, float]]:
    """The x ranges that items (and bands) cover, those less than `wide` apart joined."""
    out: list[tuple[float, float]] = []
    for x0, x1 in sorted([*bands, *((item.x0, item.x1) for item in items)]):
        if out and x0 < out[-1][1] + wide:
            out[-1] = (out[-1][0], max(out[-1][1], x1))
        else:
            out.append((x0, x1))
    return out


def _columns(items: list[_R], wide: float) -> list[list[_R]]:
    """Items divided at vertical white bands, from the left; painted order within a column."""
    bands = _bands(items, wide)
    columns: list[list[_R]] = [[] for _ in bands]
    for item in items:
        columns[bisect_right(bands, (item.x0, math.inf)) - 1].append(item)
    return columns


def _one_by_one(columns: list[list[_Block]], *, slack: int = 0) -> bool:
    """Are the columns painted one after the other?"""
    which = sorted((block.number, i) for i, column in enumerate(columns) for block in column)
    return sum(a != b for (_, a), (_, b) in pairwise(which)) <= len(columns) - 1 + slack


def _prose(columns: list[list[_Run]]) -> bool:
    """Are these columns of text (long lines of one length), and not the columns of a table?"""
    for runs in columns:
        widths = [run.x1 - run.x0 for run in runs]
        if len(runs) < 4 or median(run.letters for run in runs) < 20 or median(widths) < 0.7 * max(widths):
            return False
    return True
