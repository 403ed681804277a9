"""Chinese and Japanese written from top to bottom, letter below letter, in columns from right to left.

Such text reads like text that is turned by a quarter: down the page, and on to the left. So its characters are given
that turn, and everything else is as for horizontal text.
"""

from __future__ import annotations

import numpy as np

from visret.documents.geometry import upright

_FIRST = 0x2E80  # of the scripts that are written so
_LAST = 0xFFEF
_WIDEST_STEP = 1.5  # from a letter's middle to the next one's, in widths of a letter
_SHORTEST = 3  # letters below each other, that are not just one row of a table below the other


def turned_down(
    codes: np.ndarray, boxes: np.ndarray, turns: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """The turns of n characters, with vertical text turned by one more; and which steps between characters go down it.

    codes, boxes, turns: (n,), (n, 4), (n,). at: (m,) those that are not white space. Steps: (m - 1,) bool, or None.
    """
    if codes.max() < _FIRST:
        return turns, None
    seen = codes[at]
    ideographic = (seen >= _FIRST) & (seen <= _LAST)
    ideographic |= _figure_between(seen, ideographic)
    down = _down(upright(boxes[at], turns[at]), ideographic) & (turns[at[1:]] == turns[at[:-1]])
    down = _long(down)
    if not down.any():
        return turns, None
    vertical = np.zeros(len(at), bool)
    vertical[:-1] |= down
    vertical[1:] |= down
    changed = turns.copy()
    changed[at[vertical]] = (changed[at[vertical]] + 1) % 4
    return changed, down


def _figure_between(codes: np.ndarray, ideographic: np.ndarray) -> np.ndarray:
    """Which are a letter or figure of ASCII by itself between two of these scripts, as in 令和6年."""
    alone = np.zeros(len(codes), bool)
    small = codes[1:-1] | 0x20
    plain = ((codes[1:-1] >= ord("0")) & (codes[1:-1] <= ord("9"))) | ((small >= ord("a")) & (small <= ord("z")))
    alone[1:-1] = plain & ideographic[:-2] & ideographic[2:]
    return alone


def _down(boxes: np.ndarray, ideographic: np.ndarray) -> np.ndarray:
    """The steps from a letter to one straight below it, no further away than letters of one word."""
    x0, y0, x1, y1 = boxes.T
    wide = np.minimum((x1 - x0)[1:], (x1 - x0)[:-1])
    shared = np.minimum(x1[1:], x1[:-1]) - np.maximum(x0[1:], x0[:-1])
    step = (y0 + y1)[1:] / 2 - (y0 + y1)[:-1] / 2
    tallest = np.maximum((x1 - x0)[1:], (x1 - x0)[:-1])
    straight = (shared > 0.7 * wide) & (step > 0.4 * tallest) & (step < _WIDEST_STEP * tallest)
    return np.asarray(straight & ideographic[1:] & ideographic[:-1])


def _long(down: np.ndarray) -> np.ndarray:
    """Those of the steps that follow each other often enough."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], down, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long = np.zeros(len(down), bool)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start + 1 >= _SHORTEST:
            long[start:end] = True
    return long
