"""Words in reading order, made of characters in the order in which a page paints them.

Three decisions are made, each by a plain rule. *Words*: white space ends a word, and so does a step to another place.
*Order*: a recursive XY-cut (Nagy and Seth 1984) keeps the painted order wherever white space does not contradict it.
*Spelling*: ligatures and compatibility forms are written out, an accent painted over its letter is put on it, and a
word hyphenated over a line end is one word.

Boxes are upright here: x grows in the direction of reading, y from line to line, whichever way the text is turned.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import median
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from visret.documents.geometry import around, steps, upright
from visret.documents.spacing import letters_apart
from visret.documents.vertical import turned_down
from visret.types import Box, Word

SPACES = np.array([*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x3000])
_HYPHENS = ("-", "\u00ad", "\u2010")
_ACCENTS = {  # as TeX paints them beside the letter -> as Unicode puts them on it
    "`": "\u0300", "´": "\u0301", "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303", "¯": "\u0304",
    "˘": "\u0306", "˙": "\u0307", "¨": "\u0308", "˚": "\u030a", "˝": "\u030b", "ˇ": "\u030c", "¸": "\u0327",
    "˛": "\u0328",
}  # fmt: skip
_ACCENT = re.compile(f"[{''.join(map(re.escape, _ACCENTS))}]")
_DOTLESS = {"ı": "i", "ȷ": "j"}
_MAX_DEPTH = 12  # nested cuts; real pages need about four, and a hostile one must not exhaust the stack
_LOOKAHEAD = 8  # strips below the last one that joined; bounds the time on a page painted at random


def words(text: str, boxes: np.ndarray, turns: np.ndarray, *, width: float, height: float) -> tuple[Word, ...]:
    """Return the words of a page in reading order.

    text: n characters in painted order; a soft hyphen stands for the hyphen of a broken word.
    boxes: (n, 4) float, x0, y0, x1, y1 in points on the displayed page, origin top left, as high as the font's line.
    turns: (n,) int, quarter turns clockwise by which each character is turned; 0 reads to the right.
    width, height: of the displayed page, in points; words whose centre lies outside it are dropped.
    """
    pieces = _pieces(text, boxes, turns, width, height)
    out: list[Word] = []
    for number, (straight, line) in enumerate(_lines(pieces)):
        for i in line:
            piece, box = pieces.texts[i], pieces.boxes[i]
            head = _before(out[-1].text, piece, straight) if out and i == line[0] else None
            if head is None:
                out.append(Word(piece, box, (), number))
            else:
                first = out.pop()
                out.append(Word(head + piece, first.box, (*first.rest, (len(head), box)), first.line))
    return tuple(out)


# ---------------------------------------------------------------------------------------------------- words


class _Pieces(NamedTuple):
    """p words, or their parts on one line, in painted order."""

    texts: list[str]
    boxes: list[Box]  # page fractions
    upright: np.ndarray  # (p, 4) points
    turns: np.ndarray  # (p,)


def _pieces(text: str, boxes: np.ndarray, turns: np.ndarray, width: float, height: float) -> _Pieces:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    at = np.flatnonzero(~np.isin(codes, SPACES))
    if not len(at):
        return _Pieces([], [], boxes[:0], turns[:0])
    turns, downwards = turned_down(codes, boxes, turns, at)
    step = steps(upright(boxes[at], turns[at]))
    spaced = at[1:] - at[:-1] > 1
    # PDFium sees a line end where a font sits slightly lower: characters of one size that touch are on one line
    touch = (abs(step.ahead) < 0.1 * step.tall) & (step.low > 0.85 * step.tall) & (step.shared > 0.5 * step.low)
    spurious = touch & np.isin(codes[at[:-1] + 1], (10, 13))
    if downwards is not None:
        spurious |= downwards & (step.ahead < 0.6 * step.tall)
    away = (step.shared < 0.2 * step.low) | (np.maximum(step.ahead, step.behind) > step.tall)
    turned = turns[at[1:]] != turns[at[:-1]]
    first = np.flatnonzero(np.concatenate([[True], away | turned | (spaced & ~spurious)]))
    first = letters_apart(codes[at], first, step, turned)

    box = around(boxes[at], first)
    centre = (box[:, :2] + box[:, 2:]) / 2
    inside = ((centre >= 0) & (centre <= (width, height))).all(axis=1)
    letters = _accented(text, boxes, turns)
    spaced[first[1:] - 1] = False
    for k in np.flatnonzero(spaced).tolist():  # white space inside a piece
        letters[at[k] + 1 : at[k + 1]] = [""] * (at[k + 1] - at[k] - 1)
    ends = at[np.append(first[1:], len(at)) - 1] + 1
    texts = [spelled("".join(letters[start:end])) for start, end in zip(at[first].tolist(), ends.tolist(), strict=True)]
    keep = np.flatnonzero(inside & np.array([bool(t) for t in texts]))
    turn = turns[at[first[keep]]]
    return _Pieces(
        [texts[i] for i in keep.tolist()], fractions(box[keep], width, height), upright(box[keep], turn), turn
    )


def fractions(boxes: np.ndarray, width: float, height: float) -> list[Box]:
    """Convert boxes in points to page fractions, clipped to the page and never empty."""
    thin = 1e-4
    size = np.array([width, height])
    low = np.clip(boxes[:, :2] / size, 0, 1 - thin)
    high = np.clip(boxes[:, 2:] / size, low + thin, 1)
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in np.hstack([low, high]).tolist()]


# ------------------------------------------------------------------------------------------------- spelling


class _Spelling(dict[int, str]):
    """A table for str.translate: how each character is written."""

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


def spelled(raw: str) -> str:
    """Spell a word as it is written: in NFC, ligatures and other compatibility forms resolved, nothing invisible."""
    if raw.isascii() and raw.isprintable():
        return raw
    if raw[-1:] == "\u00ad":
        raw = raw[:-1] + "-"
    raw = raw.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")  # PDFium gives surrogates one by one
    return unicodedata.normalize("NFC", raw.translate(_SPELLING))


def _accented(text: str, boxes: np.ndarray, turns: np.ndarray) -> list[str]:
    """Return the characters, with accents that were painted over a letter put on that letter."""
    letters = list(text)
    for k in [match.start() for match in _ACCENT.finditer(text)]:
        for j in (k + 1, k - 1):  # TeX paints the accent first, a cedilla second
            if 0 <= j < len(text) and text[j].isalpha() and turns[j] == turns[k]:
                (left, _, right, _), (left2, _, right2, _) = upright(boxes[[k, j]], turns[[k, j]]).tolist()
                if min(right, right2) - max(left, left2) > 0.5 * min(right - left, right2 - left2):
                    letters[j] = _DOTLESS.get(letters[j], letters[j]) + _ACCENTS[text[k]]
                    letters[k] = ""
                    break
    return letters


def _before(word: str, following: str, straight: bool) -> str | None:
    """Return what stays of a line's last word if the next line's first word continues it; None if it does not.

    Between two small letters the hyphen is dropped. It stays in "X-ray" and "1990-1995", which are joined only from one
    line straight to the next, because the word after the end of a column may be a page number.
    """
    if not (word.endswith(_HYPHENS) and word[-2:-1].isalnum() and following[0].isalnum()):
        return None
    if word[-2].islower() and following[0].islower():
        return word[:-1]
    return word if straight else None


# ---------------------------------------------------------------------------------------------------- order


@dataclass(slots=True)
class _Run:
    """A run of pieces painted side by side, without a gap as wide as the line is high."""

    pieces: list[int]
    x0: float
    y0: float
    x1: float
    y1: float
    letters: int
    number: int = 0  # its place in painted order

    def beside(self, other: _Run) -> bool:
        """Return whether both are on one line."""
        return min(self.y1, other.y1) - max(self.y0, other.y0) > 0.4 * min(self.y1 - self.y0, other.y1 - other.y0)

    def above(self, other: _Run) -> bool:
        """Return whether the other is on the next line, straight below or not."""
        line = max(self.y1 - self.y0, other.y1 - other.y0)
        return 0.3 * line < (other.y0 + other.y1 - self.y0 - self.y1) / 2 and other.y0 - self.y1 < line


@dataclass(slots=True)
class _Block:
    """A block of runs painted one below the other. top, bottom: of the letters, since lines set tight would overlap."""

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
        """The block's place in painted order."""
        return self.runs[0].number


_R = TypeVar("_R", _Run, _Block)


class _Standing(Protocol):
    @property
    def top(self) -> float: ...

    @property
    def bottom(self) -> float: ...


Upright = TypeVar("Upright", bound=_Standing)


def _lines(pieces: _Pieces) -> Iterator[tuple[bool, list[int]]]:
    """Yield the pieces line by line in reading order, and whether each line stands straight below the one before.

    Text that is turned otherwise than most text of the page comes last.
    """
    turns = np.bincount(pieces.turns, minlength=4)
    for turn in sorted(np.flatnonzero(turns).tolist(), key=lambda t: -int(turns[t])):
        runs = _runs(np.flatnonzero(pieces.turns == turn), pieces)
        wide = 0.5 * median(run.y1 - run.y0 for run in runs)
        runs = _unzipped(runs, wide)
        for i, run in enumerate(runs):
            run.number = i
        line: list[int] = []
        last, straight = runs[0], False
        for block in _ordered(_blocks(runs), wide):
            for run in block.runs:
                if line and not (last.beside(run) and (run.x0 >= last.x1 or run.x1 <= last.x0)):
                    yield straight, line
                    line = []
                    straight = run is not block.runs[0]
                line += run.pieces
                last = run
        yield straight, line


def _runs(some: np.ndarray, pieces: _Pieces) -> list[_Run]:
    boxes = pieces.upright[some]
    step = steps(boxes)
    beside = (step.shared > 0.4 * step.low) & (np.maximum(step.ahead, step.behind) <= step.tall)
    first = np.flatnonzero(np.concatenate([[True], ~beside]))
    letters = np.add.reduceat([len(pieces.texts[i]) for i in some.tolist()], first)
    members = [part.tolist() for part in np.split(some, first[1:])]
    return [_Run(*r) for r in zip(members, *around(boxes, first).T.tolist(), letters.tolist(), strict=True)]


def _unzipped(runs: list[_Run], wide: float) -> list[_Run]:
    """Return the runs, with columns of prose that were painted line by line across the page put one after the other."""
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
    """Yield blocks in reading order: strips from the top, and in each its columns from the left."""
    for group in _groups(_strips(blocks), wide):
        columns = _columns(group, wide) if len(group) > 1 and depth < _MAX_DEPTH else [group]
        if len(columns) > 1 and not _prose([[run for block in column for run in block.runs] for column in columns]):
            columns = _flows(columns)
        if len(columns) > 1:
            for column in columns:
                yield from _ordered(column, wide, depth + 1)
        else:
            yield from group


def strips(upright: Iterable[Upright]) -> list[list[Upright]]:
    """Divide items where a horizontal white band crosses the whole page; each strip is ordered by the items' tops."""
    found: list[list[Upright]] = []
    bottom = 0.0
    for one in sorted(upright, key=lambda u: u.top):
        if found and one.top < bottom:
            found[-1].append(one)
            bottom = max(bottom, one.bottom)
        else:
            found.append([one])
            bottom = one.bottom
    return found


def _strips(blocks: list[_Block]) -> list[list[_Block]]:
    """Divide blocks into strips, each in painted order."""
    return [sorted(strip, key=lambda b: b.number) for strip in strips(blocks)]


def _groups(strips: list[list[_Block]], wide: float) -> Iterator[list[_Block]]:
    """Yield groups of strips, joined where columns painted one after the other run through them."""
    earliest = list(accumulate((strip[0].number for strip in reversed(strips)), min))[::-1]  # from this strip on
    start = 0
    while start < len(strips):
        group, end = strips[start], start + 1
        if end < len(strips) and earliest[end] < group[-1].number:
            longer = group
            for i in range(end, len(strips)):
                amid = any(longer[0].number < block.number < longer[-1].number for block in strips[i])
                longer = sorted(longer + strips[i], key=lambda b: b.number)
                columns = _columns(longer, wide)
                if len(columns) < 2 or i - end == _LOOKAHEAD:
                    break
                if amid and len(_flows(columns)) > 1:
                    group, end = longer, i + 1
        yield group
        start = end


def _bands(
    items: Iterable[_Run | _Block], wide: float, bands: Iterable[tuple[float, float]] = ()
) -> list[tuple[float, float]]:
    """Return the x ranges that items (and bands) cover; those less than `wide` apart are joined."""
    out: list[tuple[float, float]] = []
    for x0, x1 in sorted([*bands, *((item.x0, item.x1) for item in items)]):
        if out and (x0 < out[-1][1] + wide or x0 == out[-1][0]):  # where a font is broken, neither has an extent
            out[-1] = (out[-1][0], max(out[-1][1], x1))
        else:
            out.append((x0, x1))
    return out


def _columns(items: list[_R], wide: float) -> list[list[_R]]:
    """Divide items at vertical white bands into columns from the left; each stays in painted order."""
    bands = _bands(items, wide)
    columns: list[list[_R]] = [[] for _ in bands]
    for item in items:
        columns[bisect_right(bands, (item.x0, math.inf)) - 1].append(item)
    return columns


def _flows(columns: list[list[_Block]]) -> list[list[_Block]]:
    """Join columns that are too narrow, or between which the painted order goes back and forth."""
    order = [i for _, i in sorted((block.number, i) for i, column in enumerate(columns) for block in column)]
    crossings = [0] * len(columns)  # of the white band left of each column
    for a, b in pairwise(order):
        for i in range(min(a, b) + 1, max(a, b) + 1):
            crossings[i] += 1
    left, right = min(block.x0 for block in columns[0]), max(block.x1 for block in columns[-1])
    narrow = (right - left) / 6
    flows = [columns[0]]
    for column, crossed in zip(columns[1:], crossings[1:], strict=True):
        before = max(block.x1 for block in flows[-1]) - min(block.x0 for block in flows[-1])
        after = right - min(block.x0 for block in column)
        if crossed == 1 and min(before, after) > narrow:
            flows.append(column)
        else:
            flows[-1] = sorted(flows[-1] + column, key=lambda b: b.number)
    return flows


def _prose(columns: list[list[_Run]]) -> bool:
    """Return whether these are columns of text, with long lines of one length, and not columns of a table."""
    for runs in columns:
        widths = [run.x1 - run.x0 for run in runs]
        if len(runs) < 4 or median(run.letters for run in runs) < 20 or median(widths) < 0.7 * max(widths):
            return False
    return True
