"""The boxes of characters as a reader sees them, and the distances from one to the next."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def upright(boxes: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Turn boxes as they are seen by a reader of text turned by `turns` quarter turns clockwise."""
    if not turns.any():
        return boxes
    x0, y0, x1, y1 = boxes.T
    views = np.array([(x0, y0, x1, y1), (y0, -x1, y1, -x0), (-x1, -y1, -x0, -y0), (-y1, x0, -y0, x1)])
    return np.asarray(views[turns, :, np.arange(len(boxes))])


class Steps(NamedTuple):
    """The step from each of n upright boxes to the next, all (n - 1,).

    ahead, behind: the white space to the next box if it follows, or precedes. shared: the height they have in common.
    low, tall: the smaller and the larger of their heights.
    """

    ahead: np.ndarray
    behind: np.ndarray
    shared: np.ndarray
    low: np.ndarray
    tall: np.ndarray


def steps(boxes: np.ndarray) -> Steps:
    """Measure the steps between n upright boxes (n, 4), in their order."""
    (x0, y0, x1, y1), (next_x0, next_y0, next_x1, next_y1) = boxes[:-1].T, boxes[1:].T
    shared = np.minimum(y1, next_y1) - np.maximum(y0, next_y0)
    heights = y1 - y0, next_y1 - next_y0
    return Steps(next_x0 - x1, x0 - next_x1, shared, np.minimum(*heights), np.maximum(*heights))


def around(boxes: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the box around each group of boxes, given the index of the first box of each group."""
    return np.hstack([np.minimum.reduceat(boxes[:, :2], first), np.maximum.reduceat(boxes[:, 2:], first)])
