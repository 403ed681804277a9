"""The lines of a page, and where on it a passage may begin and end: told by its text and by where its words stand.

    page = layout.laid_out(text, word_boxes, size_pt)
    page.edges[3]      # how likely a passage begins with line 3, or ends before it, as log odds

A passage is a paragraph or some sentences of it, a heading with what follows, an item of a list, a table, a listing, a
figure with its caption. What tells where one ends is the same everywhere: white space, the end of a sentence, the
indent of a paragraph; and what tells that it goes on: a colon, a lower-case letter, lines of a listing or of a figure
below each other. How much each tells was learned from places that had been marked on pages of real manuals
(`python tests/benchmarks/places.py FOLDER --fit`).
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np

from visret.types import Grid

CLUES = {
    "none": -1.54,  # where nothing else is known
    "margin": 0.22,  # the first line of the page begins here, or the last one ends
    "space": 0.68,  # more white space than between the lines of a paragraph
    "indent": 0.22,  # of a paragraph's first line
    "sentence": 0.72,  # the line before ends a sentence
    "colon": -0.06,  # the line before announces what follows
    "short": 0.35,  # the line before ends before its neighbours do
    "heading": -0.11,  # the next line is a heading
    "lower": -0.49,  # the next line begins with a lower-case letter
    "scattered": -0.82,  # neither line is running text: a table, a figure, a listing goes on
    "prose": 0.5,  # running text begins
    "code": -0.34,  # both lines are of a programming language
    "joined": -1.0,  # a caption meets what it is about
    "parted": 1.0,  # a caption meets what it is not about
}
"""What each clue adds to the log odds that a passage begins or ends between two lines."""

RULES = ("joined", "parted")
"""The clues whose weights are set, not learned: captions are few, and people mark some of them without the figure."""

_CAPTION = re.compile(
    r"(?:figure|fig\.|table|tab\.|listing|algorithm|abbildung|abb\.|tabelle|figura|tabla|tableau|tabella)\s*[\dA-Z]",
    re.I,
)
_TABLE = re.compile(r"tab", re.I)
_ITEM = re.compile(r"(?:[•◦▪‣∙·●○■□►▶➢✓–—*»-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|\[\d+\])(?:\s|$)")
_NUMBERED = re.compile(
    r"(?:(?:chapter|section|appendix|part|kapitel|abschnitt|chapitre)\s+)?(?:\d{1,2}|[A-Z])(?:\.\d{1,2})*\.?\s+\S", re.I
)
_LETTERS = re.compile(r"[^\W\d_]{3}")
_LONG = 160  # characters of a line that is a whole paragraph, as in plain text without line ends
_SENTENCE = re.compile(r"\S.*?(?:[.!?。！？][)\]\"'”’»]*(?=\s|$)|[。！？]|$)", re.S)
_FAR = 1e7  # points; above every height and every place on a page
_CLOSING = ")]\"'”’»"
_STOPS = tuple(".!?;。！？")
_SIGNS = np.zeros(128, bool)
_SIGNS[[ord(c) for c in '\\{}[]()<>=;_#$%&/@|"^~+*']] = True
_ASCII_LETTERS = np.array([chr(code).isalpha() for code in range(128)])


class Quotable(Protocol):
    """A page as far as a line of it can be quoted: a PageEmbedding, or what an index stores beside the vectors."""

    @property
    def text(self) -> str:
        """The text, as in PageEmbedding, like the following."""

    @property
    def word_boxes(self) -> np.ndarray | None:
        """The boxes of its words, (w, 4)."""

    @property
    def where(self) -> Grid | np.ndarray:
        """The places of its vectors: a Grid, (places, 4) or (places, 2)."""

    @property
    def rows(self) -> np.ndarray | None:
        """The vector of each place, (places,) int32; None where each has its own."""

    @property
    def edges(self) -> np.ndarray | None:
        """The stored edges of its lines, as `packed_edges` returns them; None where they are not known."""

    def vector_of_place(self) -> np.ndarray:
        """Return the vector of each place, (places,) int32."""


class Layout(NamedTuple):
    """The L lines of a page that hold words.

    texts: the lines. starts: (L+1,) int64, the number of each line's first word among all words. boxes: (L, 4) float64
    in page fractions; None for plain text. areas: (L,) float64, what each line covers; of plain text, its characters.
    edges: (L+1,) float64, the log odds that a passage begins or ends before each line, and behind the last.
    spans: (L, 2) int64, the first character of each line in the text, and the one behind it.
    """

    texts: tuple[str, ...]
    starts: np.ndarray
    boxes: np.ndarray | None
    areas: np.ndarray
    edges: np.ndarray
    spans: np.ndarray


STEP = 16
"""The steps of an edge from one whole number of log odds to the next: edges are stored in one byte."""


def laid_out(
    text: str,
    word_boxes: np.ndarray | None,
    size_pt: tuple[float, float] | None,
    stored: np.ndarray | None = None,
) -> Layout:
    """Return the lines of a page, and where passages may begin and end.

    text: lines divided by line feeds. word_boxes: (w, 4) of `text.split()`, in page fractions; None for plain text.
    size_pt: the size of the page. stored: its edges, (L+1,) int8 as `packed_edges` returns them; None finds them anew,
    which takes most of the time.
    """
    spans = np.array(_spans(text, plain=word_boxes is None), np.int64).reshape(-1, 2)
    texts = tuple(text[start:end] for start, end in spans.tolist())
    starts = np.fromiter(accumulate((len(line.split()) for line in texts), initial=0), np.int64, len(texts) + 1)
    kept = None if stored is None or len(stored) != len(texts) + 1 else stored / STEP
    if not texts or word_boxes is None or len(word_boxes) != starts[-1]:
        areas = np.diff(spans, axis=1)[:, 0].astype(float)
        if kept is not None:
            return Layout(texts, starts, None, areas, kept, spans)
        blank = np.array([text[a:b].count("\n") > 1 for a, b in zip(spans[:-1, 1], spans[1:, 0], strict=True)], bool)
        edges = _log_odds(texts, starts, None, blank)
        return Layout(texts, starts, None, areas, edges, spans)
    boxes = _around(word_boxes, starts)
    areas = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1e-9)
    if kept is not None:
        return Layout(texts, starts, boxes, areas, kept, spans)
    scale = np.array((size_pt or (1.0, 1.0)) * 2)
    edges = _log_odds(texts, starts, word_boxes * scale, None)
    return Layout(texts, starts, boxes, areas, edges, spans)


def packed_edges(text: str, word_boxes: np.ndarray | None, size_pt: tuple[float, float] | None) -> np.ndarray:
    """Return the edges of a page as they are stored, (L+1,) int8; (0,) for a page without words."""
    laid = laid_out(text, None if size_pt is None else word_boxes, size_pt)
    return np.round(laid.edges * STEP).astype(np.int8) if laid.texts else np.empty(0, np.int8)


def clues(
    texts: tuple[str, ...], starts: np.ndarray, word_boxes: np.ndarray | None, blank: np.ndarray | None = None
) -> np.ndarray:
    """Return which of CLUES hold before each of L lines and behind the last: (L+1, clues) bool, the first of them all.

    starts: as in Layout. word_boxes: (w, 4) in points; None for plain text. blank: (L-1,) bool, of plain text: whether
    empty lines stand between two lines.
    """
    n = len(texts)
    held = np.zeros((n + 1, len(CLUES)), bool)
    held[:, 0] = True
    held[[0, n], 1] = True
    if n < 2:
        return held
    signs, letters = _letters(texts)
    seen = _geometry(word_boxes, starts) if word_boxes is not None else _without_geometry(texts, blank)
    stopped = np.array([line.rstrip(_CLOSING).endswith(_STOPS) for line in texts])
    lower = np.array([line[:1].islower() for line in texts])
    caption = np.array([_CAPTION.match(line) is not None for line in texts])
    prose = _prose(texts, np.diff(starts), seen, signs, letters, stopped, lower)
    heading = _headings(texts, seen, stopped, caption)
    captions = _captions(caption, seen)
    scattered = ~prose & ~heading & ~captions
    inner, code = held[1:-1], signs > 0.12
    inner[:, 2] = seen.flow & (seen.excess > 0.5)
    inner[:, 3] = prose[1:] & prose[:-1] & seen.indented & (seen.short | stopped[:-1])
    inner[:, 4] = stopped[:-1]
    inner[:, 5] = [line.endswith(":") for line in texts[:-1]]
    inner[:, 6] = seen.short
    inner[:, 7] = heading[1:]
    inner[:, 8] = lower[1:]
    inner[:, 9] = scattered[1:] & scattered[:-1]
    inner[:, 10] = scattered[:-1] & prose[1:]
    inner[:, 11] = code[1:] & code[:-1]
    held[:, 12], held[:, 13] = _around_captions(texts, caption, captions, scattered)
    return held


class _Seen(NamedTuple):
    """The look of L lines, and of the L-1 steps from one to the next.

    large: (L,) lines in larger letters than most of the page. wide: (L,) lines of about the full width. gaps: (L,) how
    many gaps as wide as a letter is high stand in a line. right, size: (L,) its right end, and the height of its
    letters. flow: the next line stands below. regular: as the lines of a paragraph do. excess: the white space above
    that, in heights of a letter. indented, short: the next line begins farther right; the line ends before its
    neighbours do.
    """

    large: np.ndarray
    wide: np.ndarray
    gaps: np.ndarray
    right: np.ndarray
    size: np.ndarray
    flow: np.ndarray
    regular: np.ndarray
    excess: np.ndarray
    indented: np.ndarray
    short: np.ndarray


def _geometry(words: np.ndarray, starts: np.ndarray) -> _Seen:
    boxes, size, foot = (
        _around(words, starts),
        _medians(words[:, 3] - words[:, 1], starts),
        _medians(words[:, 3], starts),
    )
    size = np.maximum(size, 1e-3)
    low = np.minimum(size[1:], size[:-1])
    step = (foot[1:] - foot[:-1]) / low
    across = np.minimum(boxes[1:, 2], boxes[:-1, 2]) - np.maximum(boxes[1:, 0], boxes[:-1, 0])
    beside = np.minimum(boxes[1:, 3], boxes[:-1, 3]) - np.maximum(boxes[1:, 1], boxes[:-1, 1])
    flow = (beside <= 0.5 * low) & (step > 0) & (across > 0)
    alike = np.abs(np.log(size[1:] / size[:-1])) < 0.1
    usual = flow & alike & (step < 2.2)
    lead = _at(step[usual], 0.5) if usual.any() else 1.3
    body = _at(np.repeat(size, np.diff(starts)), 0.5)
    width = boxes[:, 2] - boxes[:, 0]
    apart = words[1:, 0] - words[:-1, 2] > np.repeat(size, np.diff(starts))[1:]
    apart[starts[1:-1] - 1] = False
    gaps = np.add.reduceat(np.append(apart, False), starts[:-1], dtype=np.int64)
    right = boxes[:, 2]
    before = np.concatenate([[0.0], np.where(flow[:-1], right[:-2], 0.0)]) if len(right) > 2 else np.zeros(len(flow))
    short = flow & (right[:-1] < np.maximum(right[1:], before) - 3 * low)
    aside = (boxes[1:, 0] - boxes[:-1, 0]) / low
    return _Seen(
        large=size > 1.08 * body,
        wide=width > 0.6 * _at(width, 0.9),
        gaps=gaps,
        right=right,
        size=size,
        flow=flow,
        regular=flow & alike & (step < lead + 0.25),
        excess=step - lead,
        indented=flow & (aside > 0.5) & (aside < 6),
        short=short,
    )


def _without_geometry(texts: tuple[str, ...], blank: np.ndarray | None) -> _Seen:
    """Return what is known of plain text: lines follow each other, and white space is empty lines."""
    n = len(texts)
    blank = np.zeros(n - 1, bool) if blank is None else blank
    width = np.array([len(line) for line in texts], float)
    no, steps = np.zeros(n, bool), np.ones(n - 1, bool)
    short = (width[:-1] < 0.7 * _at(width, 0.9)) & ~blank
    return _Seen(
        no, width > 0.6 * _at(width, 0.9), no.astype(int), width, np.ones(n), steps, ~blank,
        blank.astype(float), ~steps, short,
    )  # fmt: skip


def _prose(
    texts: tuple[str, ...],
    words: np.ndarray,
    seen: _Seen,
    signs: np.ndarray,
    letters: np.ndarray,
    stopped: np.ndarray,
    lower: np.ndarray,
) -> np.ndarray:
    """Return which lines are running text, (L,) bool: wide ones, the ends of paragraphs, and short sentences."""
    prose = seen.wide & (words >= 5) & (letters > 0.6) & (seen.gaps < 2)
    whole = (words >= 4) & (letters > 0.7) & (signs < 0.1) & (seen.gaps < 1)
    whole &= np.array([line.endswith((".", ":")) for line in texts])
    end = (signs < 0.15) & (seen.gaps < 1) & (stopped | lower)
    end[1:] &= seen.regular & (seen.right[:-1] > seen.right[1:] - seen.size[1:])
    end[0] = False
    for i in np.flatnonzero(end & ~prose).tolist():
        prose[i] = prose[i - 1]
    return np.asarray(prose | whole)


def _captions(begins: np.ndarray, seen: _Seen) -> np.ndarray:
    """Return which lines are of captions, (L,) bool. begins: which lines begin one."""
    inside = begins.copy()
    goes_on = seen.regular & seen.wide[:-1]
    for i in np.flatnonzero(begins[:-1] & goes_on).tolist():
        while i < len(goes_on) and goes_on[i] and not begins[i + 1]:
            i += 1
            inside[i] = True
    return inside


def _around_captions(
    texts: tuple[str, ...], begins: np.ndarray, inside: np.ndarray, scattered: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return at which ends a caption meets what it is about, and at which something else, (L+1,) bool each.

    begins, inside, scattered: (L,) lines that begin a caption, are of one, and are no running text. A figure stands
    above its caption, and a table below, if something stands on both sides.
    """
    n = len(texts)
    joined, parted = np.zeros(n + 1, bool), np.zeros(n + 1, bool)
    for first in np.flatnonzero(begins).tolist():
        end = first + 1
        while end < n and inside[end] and not begins[end]:
            end += 1
        above, below = first > 0 and scattered[first - 1], end < n and scattered[end]
        is_table = _TABLE.match(texts[first]) is not None
        if above and not (below and is_table):
            joined[first], parted[end] = True, True
        elif below:
            joined[end], parted[first] = True, True
    return joined, parted


def _headings(texts: tuple[str, ...], seen: _Seen, stopped: np.ndarray, caption: np.ndarray) -> np.ndarray:
    """Return which lines are headings, (L,) bool: large or numbered ones with white space above."""
    apart = np.append(True, ~seen.flow | (seen.excess > 0.3)) & (seen.gaps < 1) & ~caption
    found = np.zeros(len(texts), bool)
    for i in np.flatnonzero(apart).tolist():
        line = texts[i]
        if len(line) < 90 and _LETTERS.search(line) and len(line.split()) < 14:
            numbered = (
                len(line) < 70
                and not stopped[i]
                and line[-1] != ":"
                and not _ITEM.match(line)
                and _NUMBERED.match(line)
            )
            found[i] = bool(seen.large[i] or numbered)
    return found


def _log_odds(
    texts: tuple[str, ...], starts: np.ndarray, word_boxes: np.ndarray | None, blank: np.ndarray | None
) -> np.ndarray:
    odds = clues(texts, starts, word_boxes, blank) @ np.array(list(CLUES.values()))
    return np.asarray(np.round(odds * STEP) / STEP)


def _spans(text: str, *, plain: bool) -> list[tuple[int, int]]:
    """Return the first character of each line with words and the one behind it; of plain text, of its sentences."""
    found = []
    for line in re.finditer(r"[^\n]+", text):
        start = line.start()
        inside = line[0].strip()
        if not inside:
            continue
        start += line[0].index(inside[0])
        if plain and len(inside) > _LONG:
            found += [(start + a, start + b) for a, b in _sentences(inside)]
        else:
            found.append((start, start + len(inside)))
    return found


def _sentences(line: str) -> list[tuple[int, int]]:
    return [found.span() for found in _SENTENCE.finditer(line) if found[0]]


def _letters(texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of signs of programming languages, and of letters, in the characters of each line, (L,)."""
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
    line = np.cumsum(codes == 10)
    plain = np.minimum(codes, 127)
    sign, letter = _SIGNS[plain] & (codes < 128), _ASCII_LETTERS[plain] | _is_letter(codes)
    black = (codes != 32) & (codes != 10)
    count = np.maximum(np.bincount(line, black, len(texts)), 1)
    return np.bincount(line, sign, len(texts)) / count, np.bincount(line, letter, len(texts)) / count


def _is_letter(codes: np.ndarray) -> np.ndarray:
    """Return which characters beyond ASCII are counted as letters: all but punctuation, arrows, formulas, shapes."""
    return (codes >= 0xC0) & ((codes < 0x2000) | (codes >= 0x2C00)) & ((codes < 0xE000) | (codes > 0xF8FF))


def _around(boxes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the boxes (L, 4) around the words of each line."""
    low, high = np.minimum.reduceat(boxes[:, :2], starts[:-1]), np.maximum.reduceat(boxes[:, 2:], starts[:-1])
    return np.hstack([low, high]).astype(float)


def _medians(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the median of the values of each line's words, (L,); of an even number, the lower one in the middle."""
    line = np.repeat(np.arange(len(starts) - 1), np.diff(starts)) * _FAR
    return np.asarray(np.sort(line + values)[(starts[:-1] + starts[1:] - 1) // 2] - np.arange(len(starts) - 1) * _FAR)


def _at(values: np.ndarray, share: float) -> float:
    """Return the value that this share of the values are not above."""
    return float(np.sort(values)[int(share * (len(values) - 1))])
