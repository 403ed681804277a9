"""The sharp edges of a picture outside the lines found in it: print that is turned, or small, or no print at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_SOME, _MANY = 0.2, 0.4  # the share of edges outside lines (0 to .35 on pages of print, .4 to 1 on turned ones)
_FEW = 200
_PRINT = 0.02  # print has a larger share of pixels that are sharp edges
_SHARP = 48  # grey values from one pixel to the next
_MAX_SCALE = 1.5  # times the picture's own size; more shows nothing new


class Edges(NamedTuple):
    """The sharp edges of a picture.

    loose: (rows, columns) bool, the edges outside lines. scale: the size of `loose` as a multiple of the picture's.
    number: that of all edges, including those in lines.
    """

    loose: np.ndarray
    scale: float
    number: int

    @property
    def share(self) -> float:
        """The share of the edges that are loose."""
        return float(self.loose.sum()) / max(1, self.number)

    @property
    def some(self) -> bool:
        """True if so many edges are loose that a part of the print may not have been found."""
        return self.share > _SOME and self.loose.sum() > _FEW

    @property
    def many(self) -> bool:
        """True if so many edges are loose that most of the print may not have been found."""
        return self.share > _MANY and self.loose.sum() > _FEW

    def without(self, boxes: Iterable[Iterable[float]]) -> Edges:
        """Return the edges, with none in these boxes loose. boxes: x0, y0, x1, y1 in pixels of the picture."""
        loose = self.loose.copy()
        for box in boxes:
            x0, y0, x1, y1 = (max(0, int(v * self.scale)) for v in box)
            loose[y0 : y1 + 1, x0 : x1 + 1] = False
        return self._replace(loose=loose)

    def densest(self, size: tuple[int, int], side: float) -> tuple[int, int, int, int]:
        """Return the square with the most loose edges: left, top, right, bottom in pixels of the picture.

        size: width and height of the picture. side: of the square, in pixels of the picture.
        """
        from scipy import ndimage

        window = max(1, round(side * self.scale))
        dense = ndimage.uniform_filter(self.loose.astype(np.float32), window, mode="constant")
        row, column = np.unravel_index(int(dense.argmax()), dense.shape)
        left, top = (max(0, int(at / self.scale - side / 2)) for at in (column, row))
        return left, top, min(size[0], int(left + side) + 1), min(size[1], int(top + side) + 1)


def edges_of(small: np.ndarray, scale: float) -> Edges:
    """Return the sharp edges of grey values, all of them loose."""
    grey = small.astype(np.int16)
    edges = np.zeros(grey.shape, bool)
    edges[:, 1:] |= np.abs(np.diff(grey, axis=1)) > _SHARP
    edges[1:] |= np.abs(np.diff(grey, axis=0)) > _SHARP
    return Edges(edges, scale, int(edges.sum()))


def is_sharp(small: np.ndarray) -> bool:
    """Return whether a part of a picture has as many sharp edges as print has; an enlarged photograph has fewer."""
    return edges_of(small, 1).number > _PRINT * small.size


def scaled(grey: Image, scale: float) -> np.ndarray:
    """Return the picture scaled, as (rows, columns) uint8."""
    from PIL import Image as Pictures

    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    return np.asarray(grey.resize(size, Pictures.Resampling.BOX if scale < 0.8 else Pictures.Resampling.BILINEAR))


def within(size: tuple[int, int], scale: float, area: float) -> float:
    """Return the scale, or the largest one at which a picture of that size has at most `area` pixels."""
    return min(scale, _MAX_SCALE, math.sqrt(area / (size[0] * size[1])))
