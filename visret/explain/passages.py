"""The passage of a page that answers a question: which consecutive lines, from what is stored about the page.

    (passage,) = passages.best(page, similar, size_pt)

Every run of lines that may be a passage has a probability: how likely it is that one begins where it begins, ends where
it ends, and does neither between (`layout`), times e to the EVIDENCE by which the question's tokens are matched inside
it, as late interaction matches them on a whole page. A question that names a figure or a table asks for what is shown.
The run that is chosen is not the most probable one, but that which most of them agree with: the likeliest to be at
least half of the right one, and to touch it. So where the ends are unclear it covers what most have in common, and a
place that is likely as a whole beats one line that happens to match best.

Only what is stored is needed: the text, the boxes of its words, vectors and their places. No file is opened.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from visret.explain.layout import Layout, Quotable, laid_out
from visret.explain.words import names_figure
from visret.types import Box, Grid, Passage

EVIDENCE = 10.0
"""The logarithm of the odds between a run with all best matches of the page, and one whose matches are the mean."""

SHOWN = 3.0
"""The log odds that a question which names a figure or a table is answered by one, and not by running text."""

TOUCH = 0.35
"""The worth of a run that has anything in common with the right one; the rest is for how much it has."""

AGREED = 8.0
"""How sharply an intersection over union of more than one half counts more than one of less."""

MAX_ENDS = 32  # the likeliest places where passages begin and end; more take time and change nothing
MAX_RUNS = 64  # the most probable runs, which are compared with each other
LONG = 100  # lines: more than most pages of print have
NEAR = 4  # lines on both sides of an end
_ALIKE = 1e-4  # a page whose best matches stand less above the mean answers nowhere


def best(
    page: Quotable,
    similar: np.ndarray,
    size_pt: tuple[float, float] | None,
    *,
    content: np.ndarray | None = None,
    question: str = "",
    count: int = 1,
    laid: Layout | None = None,
) -> list[Passage]:
    """Return the passages of a page that answer best, best first: at most `count`, none of which overlap.

    similar: (n, m), how alike each vector of the page is to each token of the question. content: (m,) bool, the tokens
    that count, as in QueryEmbedding; None for all. question: its text. laid: the layout of the page, if it is known
    already.

    A page of patch vectors without words gives regions, without text.
    """
    if content is not None and content.any() and not content.all():
        similar = similar[:, content]
    laid = laid or laid_out(page.text, None if _is_plain(page) else page.word_boxes, size_pt, page.edges)
    matched = _of_lines(page, similar, laid)
    spread = 0.0
    if similar.size:  # argmax takes a quarter of the time of max
        spread = float(similar[similar.argmax(axis=0), np.arange(similar.shape[1])].mean() - similar.mean())
    found = [] if matched is None else chosen(page.text, laid, matched, spread, size_pt, question, count)
    if not isinstance(page.where, Grid) or not similar.size:
        return found
    heat, regions = _regions(page, similar, size_pt, count)
    if regions and (not found or _lift(regions[0].boxes, heat) > _lift(found[0].boxes, heat)):
        return [_snapped(region, laid) for region in regions]
    return found


def chosen(
    text: str,
    laid: Layout,
    matched: np.ndarray,
    spread: float,
    size_pt: tuple[float, float] | None,
    question: str = "",
    count: int = 1,
    evidence: float = EVIDENCE,
) -> list[Passage]:
    """Return the passages of a page, best first. text, size_pt: of the page.

    matched: (m, L), how well each token of the question is matched on each line. spread: how far the best matches of
    the page stand above the mean of all, in the mean of the tokens. question: its text. evidence: as EVIDENCE.
    """
    weight = evidence / (spread or 1.0)
    between = np.logaddexp(laid.begins, laid.ends)
    at = _likely_ends(between, weight * matched.mean(axis=0))
    inside = _inside(matched, at)
    first, last = _pairs(len(at) - 1)
    start, stop, score = at[first], at[last + 1], inside[first, last]
    chances = weight * score + _prior(laid, between, start, stop)
    if names_figure(question):
        shown = np.concatenate([[0], np.cumsum(laid.shown)])
        chances += SHOWN * (shown[stop] - shown[start]) / (stop - start)
    found: list[Passage] = []
    while len(found) < count and len(chances):
        top = _agreed(chances, start, stop, laid.areas)
        found.append(_passage(text, laid, int(start[top]), int(stop[top]), float(score[top]), size_pt))
        apart = (stop <= start[top]) | (start >= stop[top])
        chances, start, stop, score = chances[apart], start[apart], stop[apart], score[apart]
    return found


def _likely_ends(between: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Return the lines before which passages most likely begin or end, sorted; the first and the end are among them.

    between: (L+1,) the log odds that one does. evidence: (L,), how well each line answers. On a long page, ends are
    looked for near lines that do.
    """
    n = len(between) - 1
    if n < MAX_ENDS:
        return np.arange(n + 1)
    likely = between[1:-1]
    if n > LONG:
        around = sliding_window_view(np.pad(evidence, NEAR, mode="edge"), 2 * NEAR + 2).max(axis=1)
        likely = likely + around
    inner = 1 + np.argsort(-likely, kind="stable")[: MAX_ENDS - 2]
    return np.sort(np.concatenate([[0], inner, [n]]))


def _inside(matched: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the mean best match (k, k) inside the lines from one end to another, for each first and last piece."""
    pieces = np.maximum.reduceat(matched, ends[:-1], axis=1)
    count, reach = pieces.shape[1], 1
    runs = pieces[:, :, None] + _outside(count)  # (m, last, first)
    while reach < count:  # each becomes the maximum of twice as many; np.maximum.accumulate takes twice as long
        np.maximum(runs[:, reach:], runs[:, :-reach], out=runs[:, reach:])
        reach *= 2
    return np.asarray(runs.sum(axis=0).T / len(matched))


@lru_cache(maxsize=MAX_ENDS)
def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last piece of each run of pieces."""
    return np.triu_indices(count)


@lru_cache(maxsize=MAX_ENDS)
def _outside(count: int) -> np.ndarray:
    """Return minus infinity for pieces (rows) that stand before a first one (columns), 0 for others: float32."""
    return np.where(np.tri(count, dtype=bool), np.float32(0), np.float32(-np.inf))


def _prior(laid: Layout, between: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return the log probability that passages begin at `start`, end at `stop`, and do neither between.

    between: (L+1,) the log odds that one begins or ends.
    """
    before = np.concatenate([[0.0], np.cumsum(-np.logaddexp(0, between))])
    begins, ends = -np.logaddexp(0, -laid.begins), -np.logaddexp(0, -laid.ends)
    return np.asarray(begins[start] + ends[stop] + before[stop] - before[start + 1])


def _agreed(chances: np.ndarray, start: np.ndarray, stop: np.ndarray, areas: np.ndarray) -> int:
    """Return which run of lines most of the probable ones agree with, by their chances."""
    top = np.arange(len(chances))
    if len(chances) > MAX_RUNS:
        top = np.sort(np.argpartition(-chances, MAX_RUNS)[:MAX_RUNS])
    weight = np.exp(chances[top] - chances[top].max()).astype(np.float32)
    below = np.concatenate([[0.0], np.cumsum(areas)]).astype(np.float32)
    a, b = below[start[top]], below[stop[top]]
    common = np.minimum(b[:, None], b)
    common -= np.maximum(a[:, None], a)
    np.maximum(common, 0, out=common)
    touched = (common > 0) @ weight
    size = b - a
    either = size[:, None] + size
    either -= common
    np.maximum(either, common, out=either)
    either[either <= 0] = 1.0  # runs that cover nothing, as with damaged boxes
    agreed = np.exp(AGREED * (np.float32(0.5) - common / either))
    agreed += 1
    np.reciprocal(agreed, out=agreed)
    return int(top[((1 - TOUCH) * (agreed @ weight) + TOUCH * touched).argmax()])


def _of_lines(page: Quotable, similar: np.ndarray, laid: Layout) -> np.ndarray | None:
    """Return how well each token is matched on each line, (m, L); None where no vector lies on a line."""
    if not len(laid.texts):
        return None
    vectors, lines = _placed(page, laid)
    if not len(lines):
        return None
    if (lines[1:] < lines[:-1]).any():
        order = np.argsort(lines, kind="stable")
        vectors, lines = vectors[order], lines[order]
    first = np.flatnonzero(np.diff(lines, prepend=-1))
    matched = np.full((similar.shape[1], len(laid.texts)), min(-1.0, float(similar.min())), similar.dtype)
    matched[:, lines[first]] = np.maximum.reduceat(similar[vectors], first, axis=0).T
    return matched


def _placed(page: Quotable, laid: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of a page, and the line that each lies on; a vector that stands for several words is repeated."""
    where, rows = page.where, page.vector_of_place()
    if isinstance(where, Grid):
        if laid.boxes is None or page.word_boxes is None:
            return rows[:0], rows[:0]
        x, y = np.clip(np.nan_to_num(page.word_boxes[:, :2] + page.word_boxes[:, 2:]).T / 2, 0, 1)
        col = np.minimum(x * where.cols, where.cols - 1).astype(int)
        row = np.minimum(y * where.rows, where.rows - 1).astype(int)
        vectors, lines = rows[row * where.cols + col], _line_of_word(laid)
        return vectors[vectors >= 0], lines[vectors >= 0]
    if where.shape[1] == 2:
        lines = np.searchsorted(laid.spans[:, 1], where[:, 0], side="right")
        known = ~np.isnan(where[:, 0]) & (lines < len(laid.texts))
        return rows[known], lines[known]
    if laid.boxes is None or page.word_boxes is None:
        return rows[:0], rows[:0]
    lines = _line_of_box(where, page.word_boxes, _line_of_word(laid))
    return rows[lines >= 0], lines[lines >= 0]


def _line_of_word(laid: Layout) -> np.ndarray:
    return np.repeat(np.arange(len(laid.texts)), np.diff(laid.starts))


_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)  # odd numbers, as hash functions have them


def _line_of_box(where: np.ndarray, word_boxes: np.ndarray, line_of_word: np.ndarray) -> np.ndarray:
    """Return the line of the word at each place (places, 4), -1 where there is none.

    The second half of a word that is divided between lines has a box of its own, and counts to the line before it.
    """
    known = np.flatnonzero(~np.isnan(where[:, 0]))
    words, keys = _keys(word_boxes), _keys(where[known])
    begins = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    out = np.full(len(where), -1)
    if np.array_equal(keys[begins], words):  # four pages of five: every word has vectors, in the order of the words
        out[known] = line_of_word[np.cumsum(begins) - 1]
        return out
    order = np.argsort(words, kind="stable")
    words = words[order]
    at = np.minimum(np.searchsorted(words, keys), len(words) - 1)
    same = words[at] == keys
    found = np.where(same, line_of_word[order][at], -1)
    if not same.all():
        before = np.maximum.accumulate(np.where(same, np.arange(len(keys)), -1))
        found = np.where(before >= 0, found[before], -1)
    out[known] = found
    return out


def _keys(boxes: np.ndarray) -> np.ndarray:
    """Return a number for each of some boxes (n, 4) float32, (n,) uint64; equal boxes have equal ones."""
    halves = np.ascontiguousarray(boxes, np.float32).view(np.uint64)
    return np.asarray((halves[:, 0] * _MIX[0]) ^ (halves[:, 1] * _MIX[1]))


def _passage(
    text: str, laid: Layout, first: int, end: int, score: float, size_pt: tuple[float, float] | None
) -> Passage:
    boxes = () if laid.boxes is None else joined(laid.boxes[first:end])
    span = int(laid.spans[first, 0]), int(laid.spans[end - 1, 1])
    return Passage(text[span[0] : span[1]], boxes, span, size_pt, score)


def joined(boxes: np.ndarray) -> tuple[Box, ...]:
    """Return the boxes of lines (L, 4), each of which reaches down to the next one if that stands just below it."""
    out = np.array(boxes, float)
    here, below = out[:-1], out[1:]
    gap = below[:, 1] - here[:, 3]
    under = (gap > 0) & (gap <= here[:, 3] - here[:, 1])
    under &= np.minimum(here[:, 2], below[:, 2]) > np.maximum(here[:, 0], below[:, 0])
    out[:-1, 3] = np.where(under, below[:, 1], here[:, 3])
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in out.tolist())


# ------------------------------------------------------------------------------------------------ pictures


def _regions(
    page: Quotable, similar: np.ndarray, size_pt: tuple[float, float] | None, count: int
) -> tuple[np.ndarray, list[Passage]]:
    """Return how far each cell of a grid stands above the page, (rows, cols), and the regions that stand out most.

    A region is a group of cells, joined by their sides, with more than half of the largest heat; the first one holds
    most heat.
    """
    grid = page.where
    assert isinstance(grid, Grid)
    cells = grid.vector_of_cell()
    mean = similar.mean(axis=0)
    spread = float((similar.max(axis=0) - mean).sum())
    heat = np.where(cells >= 0, np.maximum(similar - mean, 0).sum(axis=1)[cells] / max(spread, 1e-9), 0.0)
    if spread < _ALIKE * similar.shape[1]:  # every place answers as well as any other
        return heat, []
    groups = _joined_cells(heat > heat.max() / 2)
    groups.sort(key=lambda group: -float(heat[tuple(group.T)].sum()))
    return heat, [_region(group, grid, cells, similar, size_pt) for group in groups[:count]]


def _joined_cells(marked: np.ndarray) -> list[np.ndarray]:
    """Return the groups of marked cells (rows, cols) that are joined by their sides, each (cells, 2)."""
    left = set(map(tuple, np.argwhere(marked).tolist()))
    groups = []
    while left:
        group, queue = [], [left.pop()]
        while queue:
            row, col = queue.pop()
            group.append((row, col))
            near = {(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)} & left
            left -= near
            queue += near
        groups.append(np.array(sorted(group)))
    return groups


def _region(
    group: np.ndarray, grid: Grid, cells: np.ndarray, similar: np.ndarray, size_pt: tuple[float, float] | None
) -> Passage:
    (top, left), (bottom, right) = group.min(axis=0).tolist(), group.max(axis=0).tolist()
    box = (left / grid.cols, top / grid.rows, (right + 1) / grid.cols, (bottom + 1) / grid.rows)
    return Passage("", (box,), None, size_pt, float(similar[cells[tuple(group.T)]].max(axis=0).mean()))


def _lift(boxes: tuple[Box, ...], heat: np.ndarray) -> float:
    """Return the share of the heat inside boxes, less the share of the page that they cover."""
    rows, cols = heat.shape
    y, x = (np.arange(rows)[:, None] + 0.5) / rows, (np.arange(cols) + 0.5) / cols
    inside = np.zeros(heat.shape, bool)
    for x0, y0, x1, y1 in boxes:
        inside |= (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
    return float(heat[inside].sum() / (heat.sum() or 1.0) - inside.mean())


def _snapped(region: Passage, laid: Layout) -> Passage:
    """Return a region that holds whole lines: those with their middle inside it, and their text."""
    (x0, y0, x1, y1) = region.boxes[0]
    if laid.boxes is None:
        return region
    x, y = (laid.boxes[:, 0] + laid.boxes[:, 2]) / 2, (laid.boxes[:, 1] + laid.boxes[:, 3]) / 2
    held = np.flatnonzero((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1))
    if not len(held):
        return region
    low, high = laid.boxes[held, :2].min(axis=0).tolist(), laid.boxes[held, 2:].max(axis=0).tolist()
    box = (min(x0, low[0]), min(y0, low[1]), max(x1, high[0]), max(y1, high[1]))
    return replace(region, text="\n".join(laid.texts[i] for i in held.tolist()), boxes=(box,))


def _is_plain(page: Quotable) -> bool:
    return not isinstance(page.where, Grid) and page.where.shape[1] == 2
