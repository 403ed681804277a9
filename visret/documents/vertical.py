"""Chinese and Japanese written from top to bottom, letter below letter, in columns from right to left.

Such text reads like text turned by a quarter: down the page, and on to the left. So its characters are given that
turn, and everything else is done as for horizontal text.
"""

from __future__ import annotations

import numpy as np

from visret.documents.geometry import upright

_FIRST = 0x2E80  # of the scripts that are written like this
_LAST = 0xFFEF
_MAX_STEP = 1.5  # from the middle of a letter to that of the next, in widths of a letter
_MIN_LETTERS = 3  # letters below each other that are not just rows of a table


def turned_down(
    codes: np.ndarray, boxes: np.ndarray, turns: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the turns of n characters, with one more turn for vertical text, and which steps go down such text.

    codes, boxes, turns: (n,), (n, 4), (n,). at: (m,) the characters that are not white space. Returns the steps between
    these as (m - 1,) bool, or None where there is no such text.
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
    """Find single ASCII letters and figures between two characters of these scripts, as in 令和6年."""
    alone = np.zeros(len(codes), bool)
    small = codes[1:-1] | 0x20
    plain = ((codes[1:-1] >= ord("0")) & (codes[1:-1] <= ord("9"))) | ((small >= ord("a")) & (small <= ord("z")))
    alone[1:-1] = plain & ideographic[:-2] & ideographic[2:]
    return alone


def _down(boxes: np.ndarray, ideographic: np.ndarray) -> np.ndarray:
    """Find the steps from a letter to one straight below it, no further away than letters of one word."""
    x0, y0, x1, y1 = boxes.T
    wide = np.minimum((x1 - x0)[1:], (x1 - x0)[:-1])
    shared = np.minimum(x1[1:], x1[:-1]) - np.maximum(x0[1:], x0[:-1])
    step = (y0 + y1)[1:] / 2 - (y0 + y1)[:-1] / 2
    tallest = np.maximum((x1 - x0)[1:], (x1 - x0)[:-1])
    straight = (shared > 0.7 * wide) & (step > 0.4 * tallest) & (step < _MAX_STEP * tallest)
    return np.asarray(straight & ideographic[1:] & ideographic[:-1])


def _long(down: np.ndarray) -> np.ndarray:
    """Keep the steps that follow each other often enough."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], down, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long = np.zeros(len(down), bool)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start + 1 >= _MIN_LETTERS:
            long[start:end] = True
    return long
