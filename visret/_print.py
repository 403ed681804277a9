"""Where print stands in a picture of a page, as far as it can be told without reading it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from visret.types import Word

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 100  # of the pictures that lines of print are looked for in
_STEP = 48  # levels of grey from a pixel to the next that count as an edge
_GAP = 9  # pixels between the letters and words of a line, at DPI


def covered(words: Sequence[Word], image: Image) -> float:
    """The share of a page's sharp edges that lies in the boxes of words; 1 on a page without any.

    Print has many edges, paper, plain colours and most photographs have few.
    """
    grey = np.asarray(image.convert("L").reduce(2), np.int16)
    edges = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) > 64
    inside = _inside(words, edges.shape)
    return float(edges[inside].sum() / edges.sum()) if edges.any() else 1.0


def beside(words: Sequence[Word], image: Image) -> float:
    """The length of the lines of print that lie outside the boxes of words, in widths of the page.

    Upright print and such as is turned by a quarter. image: at DPI.
    """
    grey = np.asarray(image.convert("L"), np.int16)
    inside = _inside(words, grey.shape)
    width = grey.shape[1]
    upright = _lines(grey, inside)
    return float((upright if upright > width else max(upright, _lines(grey.T, inside.T))) / width)


def small(image: Image, size_pt: tuple[float, float] | None) -> Image:
    """At no more than DPI."""
    width, height = (round(side * DPI / 72) for side in size_pt or image.size)
    return image.resize((width, height), reducing_gap=2.0) if size_pt and image.width > 1.1 * width > 0 else image


def _inside(words: Sequence[Word], shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape
    inside = np.zeros(shape, bool)
    for word in words:
        for x0, y0, x1, y1 in word.boxes:
            inside[int(y0 * height) : int(y1 * height) + 1, int(x0 * width) : int(x1 * width) + 1] = True
    return inside


def _lines(grey: np.ndarray, inside: np.ndarray) -> int:
    """The pixels that lines of print are long which lie mostly outside.

    A line is a long, low piece of the page full of edges, with none around it: photographs have few of those.
    """
    from scipy import ndimage

    edges = np.zeros(grey.shape, bool)
    edges[:, 1:] = np.abs(np.diff(grey, axis=1)) > _STEP
    labels, count = ndimage.label(_closed(edges), np.ones((3, 3)))
    places = ndimage.find_objects(labels)
    heights, widths = np.array([[side.stop - side.start for side in place] for place in places]).reshape(-1, 2).T
    area, sharp, known = (
        np.bincount(of, minlength=count + 1)[1:] for of in (labels[labels > 0], labels[edges], labels[edges & inside])
    )
    high = area / np.maximum(widths, 1)
    straight = (area > 0.5 * heights * widths) | (heights < 0.12 * widths)  # a long line may be a little skewed
    sized = (high >= 4) & (high <= 40) & (widths >= 2.5 * high)
    is_line = straight & sized & (sharp > 0.2 * area) & (sharp < 0.7 * area)
    return int(widths[is_line & (known < 0.5 * sharp)].sum())


def _closed(edges: np.ndarray) -> np.ndarray:
    """Where an edge lies, or less than _GAP pixels between two of a row."""
    reach = _GAP // 2
    wide = np.pad(edges, ((0, 0), (2 * reach, 2 * reach)))
    for mend in (np.logical_or, np.logical_and):
        wide = mend.reduce([wide[:, k : wide.shape[1] - 2 * reach + k] for k in range(2 * reach + 1)])
    return np.asarray(wide)
