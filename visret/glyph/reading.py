"""A picture of a page to the words on it: find its lines, bring each to one size, read it, put the words in order."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage
from torch.nn.utils.fusion import fuse_conv_bn_eval

from visret import _lines
from visret.errors import WeightsError
from visret.glyph.networks import (
    CELL_COLUMNS,
    CELL_ROWS,
    FINDER_DPI,
    FRAME,
    LETTERS,
    STRIP,
    UNKNOWN,
    Finder,
    Reader,
    Said,
    inked,
    said,
)
from visret.registry import BUNDLED

_BATCH_COLUMNS = 4096  # of lines read at once: more would not stay in the caches
_STEP = 32  # widths of batches are multiples of it
_NARROWER, _LEAST_COLUMNS = 0.8, 512  # a batch of so many columns takes no line narrower than this part of its width
_BESIDE = 0.35  # of a line's height, white space before and after it
_LONGEST = 8  # a page is looked at with at most so many times the pixels of A4


class Line(NamedTuple):
    """left, right: columns. middle: row of its middle at the left end. slope: rows a column. height: of its letters."""

    left: float
    right: float
    middle: float
    slope: float
    height: float


class PageReader:
    """Both networks of a folder's model.safetensors. WeightsError unless the weights are exactly theirs."""

    def __init__(self, folder: Path, *, device: torch.device) -> None:
        self.device = device
        stored = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        self.finder, self.reader = Finder(), Reader()
        for name, network in (("finder", self.finder), ("reader", self.reader)):
            mine = {key.removeprefix(f"{name}."): value for key, value in stored.items() if key.startswith(f"{name}.")}
            try:
                missing, unexpected = network.load_state_dict(mine, strict=False)
            except RuntimeError as error:
                raise WeightsError(f"{folder}: not the weights of glyph ({error})") from error
            wrong = [*unexpected, *(key for key in missing if not key.endswith("num_batches_tracked"))]
            if wrong:
                raise WeightsError(f"{folder}: weights missing or unexpected: {', '.join(wrong[:3])}")
            _fuse(network.eval()).to(device, memory_format=torch.channels_last)

    def read(self, image: Image.Image, *, dpi: float) -> _lines.Reading:
        """The words of a picture of that resolution."""
        grey = image.convert("L")
        with torch.inference_mode():
            lines = self._found(grey, FINDER_DPI / dpi)
            said_of = self._read(grey, lines)
        read = [_placed(line, text) for line, text in zip(lines, said_of, strict=True) if text.text.strip()]
        return _lines.arranged(read, grey.width, grey.height)

    def _found(self, grey: Image.Image, scale: float) -> list[Line]:
        """In pixels of the picture."""
        scale = min(scale, math.sqrt(_LONGEST * 595 * 842 / (grey.width * grey.height)))
        size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
        small = grey.resize(size, Image.Resampling.BOX if scale < 0.8 else Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).to(self.device)
        page = inked(pixels[None])
        page = torch.nn.functional.pad(page, (0, -size[0] % 32, 0, -size[1] % 32))
        cells = self.finder(page.contiguous(memory_format=torch.channels_last))[0].float().cpu().numpy()
        return [
            Line(line.left / scale, line.right / scale, line.middle / scale, line.slope, line.height / scale)
            for line in lines_of(cells)
        ]

    def _read(self, grey: Image.Image, lines: list[Line]) -> list[Said]:
        smaller = [grey]
        strips = []
        for line in lines:
            zoom = LETTERS / line.height
            level = max(0, min(4, int(-math.log2(zoom))))
            while len(smaller) <= level:
                smaller.append(smaller[-1].reduce(2))
            strips.append(_strip(smaller[level], line, zoom, 2**level))
        out: dict[int, Said] = {}
        for some, width in _batches([strip.shape[1] for strip in strips]):
            batch = np.stack([np.pad(strips[i], ((0, 0), (0, width - strips[i].shape[1])), mode="edge") for i in some])
            pixels = inked(torch.from_numpy(batch).to(self.device).float() / 255)
            logits = self.reader(pixels.contiguous(memory_format=torch.channels_last))
            out |= zip(some, said(logits), strict=True)
        return [out[i] for i in range(len(strips))]


def _batches(widths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Which lines are read together, the widest first, and how wide they are made for that."""
    order = sorted(range(len(widths)), key=lambda i: -widths[i])
    while order:
        width = -(-widths[order[0]] // _STEP) * _STEP
        alike = sum(widths[i] >= _NARROWER * width for i in order)
        count = max(1, min(_BATCH_COLUMNS // width, max(alike, -(-_LEAST_COLUMNS // width))))
        yield order[:count], width
        order = order[count:]


def lines_of(cells: np.ndarray) -> list[Line]:
    """What the finder says of a page, (3, rows, columns), as lines from top to bottom, in its pixels."""
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
    left, right = left - _BESIDE * height, right + _BESIDE * height
    kept = (height > 3) & (number * CELL_ROWS > 0.15 * height)
    found = [
        Line(float(a), float(b), float(my + s * (a - mx)), float(s), float(h))
        for a, b, mx, my, s, h in zip(
            left[kept], right[kept], mean_x[kept], mean_y[kept], slope[kept], height[kept], strict=True
        )
    ]
    return sorted(found, key=lambda line: line.middle + line.slope * (line.right - line.left) / 2)


def _strip(grey: Image.Image, line: Line, zoom: float, reduced: int) -> np.ndarray:
    """(STRIP, w) uint8: the line and a little around it. reduced: how many times smaller than the line's picture."""
    turn = math.atan(line.slope)
    step = 1 / zoom / reduced
    cos, sin = math.cos(turn) * step, math.sin(turn) * step
    width = math.ceil(((line.right - line.left) / math.cos(turn)) * zoom)
    x, y = line.left / reduced + STRIP / 2 * sin, line.middle / reduced - STRIP / 2 * cos
    strip = grey.transform(
        (max(8, width), STRIP), Image.Transform.AFFINE, (cos, -sin, x, sin, cos, y), Image.Resampling.BILINEAR,
        fillcolor=_corner(grey),
    )  # fmt: skip
    return np.asarray(strip)


def _corner(grey: Image.Image) -> int:
    return int(grey.getpixel((0, 0)))  # type: ignore[arg-type]


def _placed(line: Line, text: Said) -> _lines.Line:
    """Each character in a box that reaches half way to its neighbours."""
    places = (np.array(text.frames) + 0.5) * FRAME * line.height / LETTERS
    half = np.minimum(np.diff(places) / 2, 0.35 * line.height)
    if not len(half):
        half = np.array([0.25 * line.height])
    before, after = places - np.append(half[0], half)[: len(places)], places + np.append(half, half[-1])[: len(places)]
    middle = line.middle + line.slope * places
    boxes = np.stack(
        [line.left + before, middle - 0.55 * line.height, line.left + after, middle + 0.55 * line.height], axis=1
    )
    known = np.array([character != UNKNOWN for character in text.text])
    centre = line.middle + line.slope * (line.right - line.left) / 2
    return _lines.Line(
        text.text.replace(UNKNOWN, ""),
        boxes[known],
        np.array(text.confidences)[known],
        0,
        line.left + _BESIDE * line.height,
        centre - line.height / 4,
        line.right - _BESIDE * line.height,
        centre + line.height / 4,
    )


def _fuse(network: torch.nn.Module) -> torch.nn.Module:
    """Batch norms into the convolutions before them, in place."""
    for module in network.modules():
        names = list(module._modules)
        for first, second in pairwise(names):
            a, b = module._modules[first], module._modules[second]
            if isinstance(a, torch.nn.Conv2d) and isinstance(b, torch.nn.BatchNorm2d):
                module._modules[first] = fuse_conv_bn_eval(a, b)
                module._modules[second] = torch.nn.Identity()
    return network


@functools.cache
def bundled() -> PageReader:
    """That of the package, on the CPU."""
    return PageReader(BUNDLED, device=torch.device("cpu"))
