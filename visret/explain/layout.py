"""The lines of a page, and where on it a passage may begin and end: told by its text and by where its words stand.

    page = layout.laid_out(text, word_boxes, size_pt)
    page.begins[3], page.ends[3]   # how likely a passage begins with line 3, and ends before it, as log odds

A passage is a paragraph or some sentences of it, a heading's first paragraph, an item of a list, a table, a listing
with the sentence that announces it, a figure with its caption. So lines are first told apart: running text, headings,
captions, running heads, and what is shown: figures, tables and listings. What two neighbouring lines are, how they
stand, and whether a sentence ends there, says how likely a passage begins or ends between them. The log odds were set
after places that had been marked on pages of real manuals (`python tests/benchmarks/places.py FOLDER --count`).
"""

from __future__ import annotations

import re
from itertools import accumulate, groupby
from typing import NamedTuple, Protocol

import numpy as np

from visret.types import Grid

STEPS = {
    "edge": (1.5, 1.5),  # the first line of the page, or behind the last
    "margin": (2.5, 2.5),  # a running head or a page number is on one side
    "below heading": (0.3, -3.5),
    "above heading": (-1.0, 0.8),
    "heading goes on": (-2.5, -3.0),
    "caption meets its own": (-2.0, -2.0),  # the figure or table that it is about
    "caption meets other": (1.0, 1.5),
    "caption goes on": (-4.5, -4.5),
    "beside caption": (0.2, 0.2),
    "paragraph": (-0.1, -0.3),  # running text, with a new paragraph after the end of a sentence
    "new line": (-0.7, -0.5),  # with white space or an indent, but no end of a sentence
    "new line inside": (-2.5, -2.8),  # the same before a lower-case letter
    "announced": (-1.5, -2.5),  # the same after a colon
    "item": (-0.4, -0.8),  # an item of a list begins
    "sentence": (-1.2, -1.0),  # a sentence ends with the line before
    "next begins one": (-2.5, -4.5),  # a sentence begins inside the next line
    "last ended one": (-3.8, -1.6),  # a sentence ended inside the line before
    "both": (-2.5, -2.2),
    "inside sentence": (-5.0, -4.5),
    "shown goes on": (-4.3, -4.5),  # inside a figure, a table or a listing
    "shown goes on apart": (-2.5, -2.8),  # the same over white space
    "figure meets listing": (-3.0, -2.7),
    "text after shown": (0.0, -0.2),
    "text after shown inside": (-1.5, -1.9),  # it begins with a lower-case letter
    "text after term": (-1.4, -1.5),  # the one line shown is a term, which the text explains
    "shown after text": (-0.8, -0.2),
    "shown after text inside": (-2.8, -1.8),  # the text ends with a colon, or inside a sentence
}
"""What stands between two lines: the log odds that a passage begins there, and that one ends."""

_CAPTION = re.compile(
    r"(?:figure|fig\.|table|tab\.|listing|algorithm|abbildung|abb\.|tabelle|figura|tabla|tableau|tabella)\s*"
    r"(?:\d+|[A-Z](?=[\s.:\d])|[IVX]+(?=[.:]))[\d.a-z-]*",
    re.I,
)
_TABLE = re.compile(r"tab", re.I)
_ITEM = re.compile(r"(?:[•◦▪‣∙·●○■□►▶➢✓–—*»-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|\[\d+\])(?:\s|$)")
_NUMBERED = re.compile(
    r"(?:(?:chapter|section|appendix|part|kapitel|abschnitt|chapitre)\s+)?"
    r"(?:\d{1,2}|[A-Z]|[IVX]{1,4})(?:\.\d{1,2})*\.?\s+[^\W\d_]",
    re.I,
)
_LETTERS = re.compile(r"[^\W\d_]{3}")
_BEGINS = re.compile(r"[.!?。！？][)\]\"'”’»]*\s+[“\"‘'(\[¿¡]*(?:[^\W\d_a-zà-ÿ]|[\\⟨])")
_SHORTENED = re.compile(
    r"(?:\b(?:e\.\s?g|i\.\s?e|cf|etc|vs|fig|sec|eq|no|pp?|dr|mrs?|prof|al|ca|z\.\s?b|d\.\s?h|bzw|abb|tab|nr)|\b[A-Z])\.$",
    re.I,
)
_MAX_SHORTENED = 12  # characters of an abbreviation
_LONG = 160  # characters of a line that is a whole paragraph, as in plain text without line ends
_SENTENCE = re.compile(r"\S.*?(?:[.!?。！？][)\]\"'”’»]*(?=\s|$)|[。！？]|$)", re.S)
_FAR = 1e7  # points; above every height and every place on a page
_CLOSING = ")]\"'”’»"
_STOPS = tuple(".!?;。！？")
_EVEN = 0.015  # how far words of a typewriter font stray from the line's width of a letter, in shares of the line
_TOP, _FOOT = 0.13, 0.86  # of the height of a page: where running heads and page numbers stand
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
    begins, ends: (L+1,) float64, the log odds that a passage begins with each line and that one ends before it; the
    last entries stand behind the last line. shown: (L,) bool, the lines of figures, tables, listings and captions.
    spans: (L, 2) int64, the first character of each line in the text, and the one behind it.
    """

    texts: tuple[str, ...]
    starts: np.ndarray
    boxes: np.ndarray | None
    areas: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    shown: np.ndarray
    spans: np.ndarray


UNIT = 16
"""The steps from one whole number of log odds to the next: they are stored in one byte."""


def laid_out(
    text: str,
    word_boxes: np.ndarray | None,
    size_pt: tuple[float, float] | None,
    stored: np.ndarray | None = None,
) -> Layout:
    """Return the lines of a page, and where passages may begin and end.

    text: lines divided by line feeds. word_boxes: (w, 4) of `text.split()`, in page fractions; None for plain text.
    size_pt: the size of the page. stored: (L+1, 3) int8 as `packed_edges` returns it; None finds anew where passages
    begin and end, which takes most of the time.
    """
    spans = np.array(_spans(text, plain=word_boxes is None), np.int64).reshape(-1, 2)
    texts = tuple(text[start:end] for start, end in spans.tolist())
    starts = np.fromiter(accumulate((len(line.split()) for line in texts), initial=0), np.int64, len(texts) + 1)
    boxes = None
    if texts and word_boxes is not None and len(word_boxes) == starts[-1]:
        boxes = _around(word_boxes, starts)
        areas = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1e-9)
    else:
        areas = np.diff(spans, axis=1)[:, 0].astype(float)
    if stored is None or stored.shape != (len(texts) + 1, 3):
        blank = np.array([text[a:b].count("\n") > 1 for a, b in zip(spans[:-1, 1], spans[1:, 0], strict=True)], bool)
        size = size_pt or (1.0, 1.0)
        placed = None if boxes is None else word_boxes * np.array(size * 2)
        steps, shown = steps_of(texts, starts, placed, size[1], blank)
        odds = np.array([STEPS[step] for step in steps])
        begins, ends = (np.round(odds * UNIT) / UNIT).T
    else:
        (begins, ends), shown = stored.T[:2] / UNIT, stored[:-1, 2] > 0
    return Layout(texts, starts, boxes, areas, begins, ends, shown, spans)


def packed_edges(text: str, word_boxes: np.ndarray | None, size_pt: tuple[float, float] | None) -> np.ndarray:
    """Return where passages may begin and end as it is stored, (L+1, 3) int8; (0, 3) for a page without words.

    The columns are the log odds of beginning and of ending, in UNITs, and 1 for a line of what is shown.
    """
    laid = laid_out(text, None if size_pt is None else word_boxes, size_pt)
    if not laid.texts:
        return np.empty((0, 3), np.int8)
    shown = np.append(laid.shown, False)
    return np.round(np.stack([laid.begins * UNIT, laid.ends * UNIT, shown], axis=1)).astype(np.int8)


def steps_of(
    texts: tuple[str, ...],
    starts: np.ndarray,
    word_boxes: np.ndarray | None,
    height: float,
    blank: np.ndarray | None = None,
) -> tuple[list[str], np.ndarray]:
    """Return what of STEPS stands before each of L lines and behind the last, and which lines are shown, (L,) bool.

    starts: as in Layout. word_boxes: (w, 4) in points; None for plain text. height: of the page, in points. blank:
    (L-1,) bool, of plain text: whether empty lines stand between two lines.
    """
    n = len(texts)
    if n < 2:
        return ["edge"] * (n + 1), np.zeros(n, bool)
    seen = _geometry(word_boxes, starts, height) if word_boxes is not None else _without_geometry(texts, blank)
    stopped = np.array([line.rstrip(_CLOSING).endswith(_STOPS) for line in texts])
    lower = np.array([line[:1].islower() for line in texts])
    captions = [_is_caption(line) for line in texts]
    kinds = _kinds(texts, starts, word_boxes, seen, stopped, lower, captions)
    joined, parted = _around_captions(texts, captions, kinds)
    begun = [kind == _TEXT and _begins_inside(line) for kind, line in zip(kinds, texts, strict=True)]
    steps = ["edge"]
    for i in range(1, n):
        before, after = kinds[i - 1], kinds[i]
        if _MARGIN in (before, after):
            step = "margin"
        elif i in joined:
            step = "caption meets its own"
        elif i in parted:
            step = "caption meets other"
        elif before == after == _CAPTIONED:
            step = "caption goes on"
        elif before == _HEADING:
            step = "heading goes on" if after == _HEADING else "below heading"
        elif after == _HEADING:
            step = "above heading"
        elif _CAPTIONED in (before, after):
            step = "beside caption"
        elif before == after == _TEXT:
            step = _step_in_text(texts, seen, i - 1, bool(stopped[i - 1]), bool(lower[i]), begun)
        elif after == _TEXT:
            term = seen.flow[i - 1] and not seen.apart[i - 1] and (i == 1 or kinds[i - 2] != before)
            step = "text after shown inside" if lower[i] else "text after term" if term else "text after shown"
        elif before == _TEXT:
            inside = not stopped[i - 1]
            step = "shown after text inside" if inside else "shown after text"
        elif before != after:
            step = "figure meets listing"
        else:
            wide = seen.flow[i - 1] and seen.excess[i - 1] > (0.5 if after == _LISTING else 2.5)
            step = "shown goes on apart" if wide else "shown goes on"
        steps.append(step)
    return [*steps, "edge"], np.array([kind in (_FIGURE, _LISTING, _CAPTIONED) for kind in kinds])


def _step_in_text(texts: tuple[str, ...], seen: _Seen, gap: int, stopped: bool, lower: bool, begun: list[bool]) -> str:
    """Return what stands between two lines of running text, the `gap`th and the next."""
    breaks = bool(
        seen.apart[gap]
        or not seen.flow[gap]
        or ((seen.indented[gap] or seen.outdented[gap]) and (seen.short[gap] or stopped))
    )
    if breaks and texts[gap].endswith(":"):
        return "announced"
    if _ITEM.match(texts[gap + 1]):
        return "item"
    if breaks:
        return "paragraph" if stopped else "new line inside" if lower else "new line"
    if stopped:
        return "sentence"
    ended, begins = begun[gap], begun[gap + 1]
    if begins:
        return "both" if ended else "next begins one"
    return "last ended one" if ended else "inside sentence"


def _begins_inside(line: str) -> bool:
    """Return whether a sentence ends and another begins inside a line."""
    ends = (found.start() + 1 for found in _BEGINS.finditer(line))
    return any(not _SHORTENED.search(line[max(0, end - _MAX_SHORTENED) : end]) for end in ends)


def _is_caption(line: str) -> bool:
    """Return whether a line begins a caption: "Figure 2: ..." does, and "Figure 2 shows" does not."""
    found = _CAPTION.match(line)
    if found is None:
        return False
    rest = line[found.end() :].lstrip()
    return found[0].endswith((".", ":")) or not rest or not (rest[0].isascii() and rest[0].islower())


_TEXT, _HEADING, _CAPTIONED, _MARGIN, _FIGURE, _LISTING = "text", "heading", "caption", "margin", "figure", "listing"


def _kinds(
    texts: tuple[str, ...],
    starts: np.ndarray,
    word_boxes: np.ndarray | None,
    seen: _Seen,
    stopped: np.ndarray,
    lower: np.ndarray,
    captions: list[bool],
) -> list[str]:
    """Return the kind of each line. captions: which lines begin one; those inside a paragraph are struck from it."""
    n, words = len(texts), np.diff(starts)
    signs, letters = _letters(texts)
    prose = _prose(texts, words, seen, signs, letters, stopped, lower)
    even = np.zeros(n, bool) if word_boxes is None else _even(texts, starts, word_boxes, seen.size)
    code = even | ((signs > 0.12) & ~prose)
    prose &= ~even
    for i in range(1, n - 1):  # a brace between lines of a listing
        code[i] |= len(texts[i]) < 4 and not prose[i] and code[i - 1] and code[i + 1]
    for i in range(1, n):
        if prose[i - 1] and seen.regular[i - 1] and not seen.short[i - 1] and not stopped[i - 1]:
            captions[i] = False
    captioned = _captioned(captions, seen, prose, stopped)
    large, numbered = _headings(texts, words, seen, stopped, signs, letters, even)
    kinds = [_FIGURE] * n
    for kind, which in (
        (_TEXT, prose), (_LISTING, code), (_HEADING, large | numbered), (_CAPTIONED, captioned), (_MARGIN, seen.margin),
    ):  # fmt: skip
        for i in np.flatnonzero(which).tolist():
            kinds[i] = kind
    return _without_labels(kinds, numbered)


def _without_labels(kinds: list[str], numbered: np.ndarray) -> list[str]:
    """Return the kinds of lines, where large letters between other parts of a figure are one of them, no heading."""
    out: list[str] = []
    for large, group in groupby(enumerate(kinds), lambda one: one[1] == _HEADING and not numbered[one[0]]):
        own = [kind for _, kind in group]
        at = len(out)
        sides = {*kinds[max(0, at - 1) : at], *kinds[at + len(own) : at + len(own) + 1]}
        out += [_FIGURE] * len(own) if large and sides and sides <= {_FIGURE, _CAPTIONED} else own
    return out


class _Seen(NamedTuple):
    """The look of L lines, and of the L-1 steps from one to the next.

    large: (L,) lines in larger letters than most of the page. wide: (L,) lines of about the full width. gaps: (L,) how
    many gaps as wide as a letter is high stand in a line. numbers: (L,) whether the first gap is behind the first word.
    margin: (L,) running heads and page numbers. right, size: (L,) its right end, and the height of its letters. flow:
    the next line stands below. regular: as the lines of a paragraph do. excess: the white space above that, in heights
    of a letter. apart: more of it than in a paragraph. indented, outdented: the next line begins farther right, or
    farther left. short: the line ends before its neighbours do.
    """

    large: np.ndarray
    wide: np.ndarray
    gaps: np.ndarray
    numbers: np.ndarray
    margin: np.ndarray
    right: np.ndarray
    size: np.ndarray
    flow: np.ndarray
    regular: np.ndarray
    excess: np.ndarray
    apart: np.ndarray
    indented: np.ndarray
    outdented: np.ndarray
    short: np.ndarray


def _geometry(words: np.ndarray, starts: np.ndarray, height: float) -> _Seen:
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
    wide_gap = words[1:, 0] - words[:-1, 2] > np.repeat(size, np.diff(starts))[1:]
    wide_gap[starts[1:-1] - 1] = False
    wide_gap = np.append(wide_gap, False)
    right = boxes[:, 2]
    before = np.concatenate([[0.0], np.where(flow[:-1], right[:-2], 0.0)]) if len(right) > 2 else np.zeros(len(flow))
    aside = (boxes[1:, 0] - boxes[:-1, 0]) / low
    excess = step - lead
    return _Seen(
        large=size > 1.08 * body,
        wide=width > 0.6 * _at(width, 0.9),
        gaps=np.add.reduceat(wide_gap, starts[:-1], dtype=np.int64),
        numbers=wide_gap[starts[:-1]],
        margin=_margins(boxes, size, height),
        right=right,
        size=size,
        flow=flow,
        regular=flow & alike & (step < lead + 0.25),
        excess=excess,
        apart=flow & (excess > 0.5),
        indented=flow & (aside > 0.5) & (aside < 6),
        outdented=flow & (aside < -0.5),
        short=flow & (right[:-1] < np.maximum(right[1:], before) - 3 * low),
    )


def _margins(boxes: np.ndarray, size: np.ndarray, height: float) -> np.ndarray:
    """Return which of the first and the last line, (L,) bool, stand alone at the head or the foot of the page."""
    n = len(boxes)
    found = np.zeros(n, bool)
    for i in {0, n - 1} if n > 2 else ():
        shared = np.minimum(boxes[:, 3], boxes[i, 3]) - np.maximum(boxes[:, 1], boxes[i, 1])
        others = boxes[shared <= 0.5 * size[i]]
        if not len(others) or boxes[i, 3] - boxes[i, 1] >= 2.5 * size[i]:
            continue
        if boxes[i, 3] <= _TOP * height:
            found[i] = others[:, 1].min() - boxes[i, 3] > 0.8 * size[i]
        elif boxes[i, 1] >= _FOOT * height:
            found[i] = boxes[i, 1] - others[:, 3].max() > 0.8 * size[i]
    return found


def _even(texts: tuple[str, ...], starts: np.ndarray, words: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return which lines are of a typewriter font, (L,) bool, whose letters are all equally wide.

    Of a line with one or two words this may be chance, unless its letters are as wide as those of a longer such line.
    """
    n, count = len(texts), np.diff(starts)
    letters = np.fromiter((len(word) for line in texts for word in line.split()), float, len(words))
    line, width = np.repeat(np.arange(n), count), words[:, 2] - words[:, 0]
    whole = np.maximum(np.bincount(line, width, n), 1e-9)
    each = whole / np.bincount(line, letters, n)
    strays = np.bincount(line, np.abs(width - each[line] * letters), n) / whole
    even = strays < _EVEN
    sure = (even & (count >= 5)) | ((strays < _EVEN / 4) & (count >= 3))
    known = np.round(100 * each / size)
    near = np.unique(known[sure])[:, None] + (-1, 0, 1)
    return np.asarray(sure | (even & np.isin(known, near)))


def _without_geometry(texts: tuple[str, ...], blank: np.ndarray | None) -> _Seen:
    """Return what is known of plain text: lines follow each other, and white space is empty lines."""
    n = len(texts)
    blank = np.zeros(n - 1, bool) if blank is None else blank
    width = np.array([len(line) for line in texts], float)
    no, steps = np.zeros(n, bool), np.ones(n - 1, bool)
    short = (width[:-1] < 0.7 * _at(width, 0.9)) & ~blank
    return _Seen(
        no, width > 0.6 * _at(width, 0.9), no.astype(int), no, no, width, np.ones(n), steps, ~blank,
        blank.astype(float), blank, ~steps, ~steps, short,
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
    whole &= np.array([line.endswith((".", ":")) for line in texts]) | (words >= 8)
    end = (signs < 0.15) & (seen.gaps < 1) & (stopped | lower)
    end[1:] &= seen.regular & (seen.right[:-1] > seen.right[1:] - seen.size[1:])
    end[0] = False
    for i in np.flatnonzero(end & ~prose).tolist():
        prose[i] = prose[i - 1]
    return np.asarray(prose | whole)


def _captioned(begins: list[bool], seen: _Seen, prose: np.ndarray, stopped: np.ndarray) -> np.ndarray:
    """Return which lines are of captions, (L,) bool. begins: which lines begin one."""
    inside = np.array(begins)
    for i in range(1, len(begins)):
        if inside[i - 1] and not inside[i] and seen.regular[i - 1]:
            inside[i] = seen.wide[i - 1] or not (prose[i] or stopped[i - 1])
    return inside


def _around_captions(texts: tuple[str, ...], begins: list[bool], kinds: list[str]) -> tuple[set[int], set[int]]:
    """Return before which lines a caption meets what it is about, and before which something else.

    begins: which lines begin a caption. A figure stands above its caption, and a table below, if something stands on
    both sides.
    """
    n, shown = len(texts), (_FIGURE, _LISTING)
    joined, parted = set(), set()
    for first in range(n):
        if not begins[first] or kinds[first] != _CAPTIONED:
            continue
        end = first + 1
        while end < n and kinds[end] == _CAPTIONED and not begins[end]:
            end += 1
        above, below = first > 0 and kinds[first - 1] in shown, end < n and kinds[end] in shown
        if above and not (below and _TABLE.match(texts[first])):
            joined.add(first)
            parted.add(end)
        elif below:
            joined.add(end)
            parted.add(first)
    return joined, parted


def _headings(
    texts: tuple[str, ...],
    words: np.ndarray,
    seen: _Seen,
    stopped: np.ndarray,
    signs: np.ndarray,
    letters: np.ndarray,
    even: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which lines are headings, (L,) bool each: large ones, and numbered ones, with white space above."""
    alone = np.append(True, ~seen.flow | (seen.excess > 0.3)) & (seen.gaps - seen.numbers < 1)
    alone &= ~even & ~stopped & (signs < 0.08) & (words < 14)
    numbered = np.zeros(len(texts), bool)
    for i in np.flatnonzero(alone).tolist():
        line = texts[i]
        alone[i] = len(line) < 90 and _LETTERS.search(line) is not None
        numbered[i] = (
            alone[i]
            and len(line) < 70
            and line[-1] not in ":,;"
            and letters[i] > 0.6
            and _ITEM.match(line) is None
            and _NUMBERED.match(line) is not None
        )
    return np.asarray(alone & seen.large), numbered


def _spans(text: str, *, plain: bool) -> list[tuple[int, int]]:
    """Return the first character of each line with words and the one behind it; of plain text, of its sentences."""
    found, at = [], 0
    for line in text.split("\n"):
        inside = line.strip()
        if inside:
            start = at if len(inside) == len(line) else at + line.index(inside[0])
            if plain and len(inside) > _LONG:
                found += [(start + a, start + b) for a, b in _sentences(inside)]
            else:
                found.append((start, start + len(inside)))
        at += len(line) + 1
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
