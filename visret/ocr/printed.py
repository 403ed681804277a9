"""The places of print in a picture of a page, as far as they can be told without reading it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from visret.types import Word

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 100  # of the pictures in which lines of print are looked for
_STEP = 48  # levels of grey from a pixel to the next that count as an edge
_FEW = 2  # page widths of upright lines; on a page with fewer, the lines may be turned
_GAP = 9  # pixels between the letters and words of a line, at DPI


def covered(words: Sequence[Word], image: Image) -> float:
    """Return the share of a page's sharp edges that lies in the boxes of words; 1 for a page without any.

    Print has many edges; paper, plain colours and most photographs have few.
    """
    grey = np.asarray(image.convert("L").reduce(2), np.int16)
    edges = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) > 64
    inside = _inside(words, edges.shape)
    return float(edges[inside].sum() / edges.sum()) if edges.any() else 1.0


class Print(NamedTuple):
    """The length of the lines of print on a page, in page widths: of those mostly outside words' boxes, and of all."""

    beside: float
    all: float


def lines(words: Sequence[Word], image: Image, size_pt: tuple[float, float] | None) -> Print:
    """Measure the lines of print on a page: the upright ones or, if those are few, those turned by a quarter."""
    grey = np.asarray(_small(image.convert("L"), size_pt), np.int16)
    inside = _inside(words, grey.shape)
    width = grey.shape[1]
    found = [_lines(grey, inside)]
    if found[0][1] < _FEW * width:
        found.append(_lines(grey.T, inside.T))
    beside, both = max(found)
    return Print(beside / width, both / width)


def _small(image: Image, size_pt: tuple[float, float] | None) -> Image:
    """Return the picture at no more than DPI."""
    width, height = (round(side * DPI / 72) for side in size_pt or image.size)
    if not size_pt or image.width < 1.1 * width or not width * height:
        return image
    return image.resize((width, height), 4)  # BOX


def _inside(words: Sequence[Word], shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape
    inside = np.zeros(shape, bool)
    for word in words:
        for x0, y0, x1, y1 in word.boxes:
            inside[int(y0 * height) : int(y1 * height) + 1, int(x0 * width) : int(x1 * width) + 1] = True
    return inside


def _lines(grey: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    """Return the length of the lines of print in pixels: of lines that lie mostly outside words, and of all.

    A line is a long, low piece of the page full of edges, with none around it; photographs have few of those.
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
    straight = (area > 0.5 * heights * widths) | (heights < 0.12 * widths)  # a long line may be slightly skewed
    sized = (high >= 4) & (high <= 40) & (widths >= 2.5 * high)
    is_line = straight & sized & (sharp > 0.2 * area) & (sharp < 0.7 * area)
    return int(widths[is_line & (known < 0.5 * sharp)].sum()), int(widths[is_line].sum())


def _closed(edges: np.ndarray) -> np.ndarray:
    """Mark the edges, and what lies between two edges of a row that are less than _GAP pixels apart."""
    reach = _GAP // 2
    return ~_widened(~_widened(edges, reach), reach)


def _widened(marked: np.ndarray, reach: int) -> np.ndarray:
    """Mark the pixels of the picture that lie at most so many pixels of their row from a marked one."""
    wide = marked.copy()
    for step in range(1, reach + 1):
        wide[:, step:] |= marked[:, :-step]
        wide[:, :-step] |= marked[:, step:]
    return wide
