"""Finding the lines of a picture, at one scale, and those of its sharp edges that lie outside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from visret.ocr.edges import Edges, edges_of, scaled, within
from visret.ocr.glyph.networks import CELL_COLUMNS, CELL_ROWS, FinderNetwork, inked

BESIDE = 0.35  # white space before and after a line, in heights of it
# Height of letters in pixels; lower letters are partly missed, and are reported as at least this high.
MIN_HEIGHT = 6
_COMFORTABLE = 10  # height in pixels that small letters are enlarged to
AREA = 1.6e7  # pixels of a picture that are looked at, at most
_BAND, _MARGIN = 2 << 20, 256  # pixels of a picture seen in one piece, and rows around it that it depends on


class FoundLine(NamedTuple):
    """The place of a line of text.

    left, right: columns. middle: the row of its middle at the left end. slope: rows a column. height: of its letters.
    """

    left: float
    right: float
    middle: float
    slope: float
    height: float


class FoundLines(NamedTuple):
    """The lines of a picture, in its pixels. scale: where they were found. edges: also those outside lines."""

    lines: list[FoundLine]
    scale: float
    edges: Edges


def found(finder: FinderNetwork, device: torch.device, grey: Image.Image, scale: float, *, grow: bool) -> FoundLines:
    """Find the lines of a picture at a scale.

    grow: whether to try a larger scale where the letters prove small.
    """
    scale = within(grey.size, scale, AREA)
    lines, small = _lines(finder, device, grey, scale)
    while grow and 0 < (height := _usual_height(lines) * scale) < MIN_HEIGHT:  # lower letters are said to be as high
        larger = within(grey.size, scale * _COMFORTABLE / height, AREA)
        if larger < 1.2 * scale:
            break
        again, small_again = _lines(finder, device, grey, larger)
        if _letters(again) <= 0.8 * _letters(lines):
            break
        lines, small, scale = again, small_again, larger
    return FoundLines(lines, scale, edges_of(small, scale).without(box for line in lines for box in _boxes(line)))


def _lines(
    finder: FinderNetwork, device: torch.device, grey: Image.Image, scale: float
) -> tuple[list[FoundLine], np.ndarray]:
    """Find the lines of a picture at a scale; return them in the picture's pixels, and the picture at that scale."""
    small = scaled(grey, scale)
    page = inked(torch.from_numpy(small.astype(np.float32) / 255).to(device)[None])
    page = torch.nn.functional.pad(page, (0, -small.shape[1] % 32, 0, -small.shape[0] % 32))
    return [
        FoundLine(line.left / scale, line.right / scale, line.middle / scale, line.slope, line.height / scale)
        for line in lines_of(_cells(finder, page))
    ], small


def _cells(finder: FinderNetwork, page: torch.Tensor) -> np.ndarray:
    """Return the finder's output for a page, (3, rows, columns); it sees bands, as memory grows with the area."""
    height, width = page.shape[2:]
    rows = max(_MARGIN, _BAND // width // 32 * 32)
    bands = []
    for top in range(0, height, rows):
        first, last = max(0, top - _MARGIN), min(height, top + rows + _MARGIN)
        band = page[:, :, first:last].contiguous(memory_format=torch.channels_last)
        cells = finder(band)[0].float().cpu().numpy()
        bands.append(cells[:, (top - first) // CELL_ROWS : (min(height, top + rows) - first) // CELL_ROWS])
    return np.concatenate(bands, axis=1)


def _usual_height(lines: list[FoundLine]) -> float:
    """Return the median height of the letters, weighted by their number."""
    if not lines:
        return 0.0
    height = np.array([line.height for line in lines])
    order = np.argsort(height)
    letters = np.cumsum(np.array([line.right - line.left for line in lines])[order] / height[order])
    return float(height[order][np.searchsorted(letters, letters[-1] / 2)])


def _letters(lines: list[FoundLine]) -> float:
    """Estimate how many letters stand on the lines."""
    return sum((line.right - line.left) / line.height for line in lines)


def _boxes(line: FoundLine) -> Iterator[tuple[float, float, float, float]]:
    """Yield the boxes that cover a line; if it slopes, in parts that rise half as much as they are high."""
    half, width = 0.8 * line.height, line.right - line.left
    step = min(width, half / max(abs(line.slope), 1e-6))
    for number in range(math.ceil(width / step)):
        left = line.left + number * step
        middle = line.middle + line.slope * (number + 0.5) * step
        yield left, middle - half, min(left + step, line.right), middle + half


def lines_of(cells: np.ndarray) -> list[FoundLine]:
    """Turn the finder's output for a page, (3, rows, columns), into lines from top to bottom, in the page's pixels."""
    on = cells[0] > 0
    labels, count = ndimage.label(on, structure=np.ones((3, 3), int))
    rows, columns = np.nonzero(on)
    if not count:
        return []
    of = labels[rows, columns] - 1
    weight = 1 / (1 + np.exp(-cells[0][on]))

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, weight * values, minlength=count)

    number = total(np.ones(len(rows)))
    height = np.exp(total(cells[1][on]) / number)
    x = (columns + 0.5) * CELL_COLUMNS
    y = (rows + 0.5) * CELL_ROWS + cells[2][on] * height[of]
    mean_x, mean_y = total(x) / number, total(y) / number
    spread = total((x - mean_x[of]) ** 2)
    slope = total((x - mean_x[of]) * (y - mean_y[of])) / np.maximum(spread, 1e-6)
    left = ndimage.minimum(columns, of, np.arange(count)) * CELL_COLUMNS
    right = (ndimage.maximum(columns, of, np.arange(count)) + 1) * CELL_COLUMNS
    long = right - left > 8 * height
    usual = float(np.median(slope[long])) if long.any() else 0.0
    slope = np.where(long & (abs(slope - usual) < 0.03), slope, usual)
    left, right = left - BESIDE * height, right + BESIDE * height
    kept = (height > 3) & (number * CELL_ROWS > 0.15 * height)
    found = [
        FoundLine(float(a), float(b), float(my + s * (a - mx)), float(s), float(h))
        for a, b, mx, my, s, h in zip(
            left[kept], right[kept], mean_x[kept], mean_y[kept], slope[kept], height[kept], strict=True
        )
    ]
    return sorted(found, key=lambda line: line.middle + line.slope * (line.right - line.left) / 2)
