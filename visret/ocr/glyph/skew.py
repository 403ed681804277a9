"""The skew of a picture of a page: by what angle its lines are turned, and the page made level.

Level lines of text leave white rows between them, so the sums over rows of pixels rise and fall steeply, which they
do at no other angle. A small copy of the picture is sheared by one angle after the other, and the angle at which its
sums change most is that of its lines. Lines that stand on their side show the same in the sums over columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from visret.ocr.lines import Reading
from visret.types import Box

# Degrees: lines that slope less are read as well as level ones, and larger angles are not looked for
_MIN_ANGLE, _MAX_ANGLE = 3.5, 12.0
_BESIDE = 2.0  # degrees from level, where the sums of a level page are clearly less sharp
_COARSE, _FINE = 0.5, 0.1  # degrees from one angle that is tried to the next
_AREA = 240_000  # pixels of the copy used to find the angle: lines are 6 to 16 pixels apart in it
_STRIP = 8  # columns of it that are moved as one
_RULE = 5  # such strips in a row: a level edge of that length is no text
_FAINT, _STRONG = 24, 48  # grey values from one pixel to the next: less is noise, more counts as this much
_CLEAR = 1.3  # times the sharpness at other angles, which shows at once that lines are level
_SURE = 2.0  # times the median sharpness of all angles; less is no text, or only a few words


def skew_of(grey: Image.Image) -> float:
    """Return the angle by which the lines of a grey picture are turned from level or upright, in degrees, clockwise.

    It is 0 for a page with no angle that stands out, and for one whose lines are level within _MIN_ANGLE degrees.
    """
    small = _small(grey).astype(np.int16)
    if min(small.shape) < 2 * _STRIP:
        return 0.0
    rows = _Profiles(small, 1)
    if rows.is_level():
        return 0.0
    profiles = [rows, _Profiles(small.T, -1)]
    angles = np.arange(-_MAX_ANGLE, _MAX_ANGLE + _COARSE / 2, _COARSE)
    sharpness = [profile.sharpness(angles) for profile in profiles]
    clarity = [float(of.max() / max(np.median(of), 1e-6)) for of in sharpness]
    best = int(np.argmax(clarity))
    if clarity[best] < _SURE:
        return 0.0
    near = angles[sharpness[best].argmax()] + np.arange(-_COARSE, _COARSE + _FINE / 2, _FINE)
    angle = float(near[profiles[best].sharpness(near).argmax()])
    return angle if abs(angle) >= _MIN_ANGLE else 0.0


def _small(grey: Image.Image) -> np.ndarray:
    """Return a copy of about _AREA pixels, or all of a picture that has no more: (rows, columns) uint8."""
    return np.asarray(grey.reduce(max(1, round(math.sqrt(grey.width * grey.height / _AREA)))))


class _Profiles:
    """The edges of a picture, from which its sums over sheared rows are made.

    pixels: (rows, columns) int16 grey values. sign: that of the angles, -1 if the picture is mirrored at its diagonal.
    """

    def __init__(self, pixels: np.ndarray, sign: int) -> None:
        steps = np.abs(np.diff(pixels, axis=0))
        edges = np.minimum(steps, _STRONG) * (steps > _FAINT)
        count = edges.shape[1] // _STRIP
        parts = edges[:, : count * _STRIP].reshape(len(edges), count, _STRIP)
        kept = parts.sum(axis=2, dtype=np.float32)
        kept[_in_runs(parts.min(axis=2) > 0)] = 0
        self._middles = (np.arange(count) + 0.5) * _STRIP - edges.shape[1] / 2
        self._margin = math.ceil(edges.shape[1] / 2 * math.tan(math.radians(_MAX_ANGLE + _COARSE))) + 1
        self._strips = np.pad(kept.T, ((0, 0), (self._margin, self._margin)))
        self._rows = len(edges)
        self._sign = sign

    def is_level(self) -> bool:
        """Return whether the sums are clearly sharper at the angle 0 than at angles on both sides."""
        before, level, after = self.sharpness((-_BESIDE, 0.0, _BESIDE))
        return bool(level > _CLEAR * max(before, after))

    def sharpness(self, angles: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return how steeply the sums rise and fall at each of n angles in degrees, clockwise: (n,) float64."""
        out = np.empty(len(angles))
        for number, angle in enumerate(angles):
            shifts = np.rint(self._middles * math.tan(self._sign * math.radians(angle))).astype(int) + self._margin
            sums = np.zeros(self._rows, np.float32)
            for strip, first in zip(self._strips, shifts.tolist(), strict=True):
                sums += strip[first : first + self._rows]
            steps = np.abs(np.diff(sums))
            out[number] = (steps * np.sqrt(steps)).sum()  # squares would let one long edge outweigh the text
        return out


def _in_runs(whole: np.ndarray) -> np.ndarray:
    """Find the parts of a row that lie in a run of _RULE or more that are whole edges: (rows, n) bool.

    These are rules, and the borders that scanners add, which are level on a page whose lines are not.
    """
    out = np.zeros_like(whole)
    starts = np.lib.stride_tricks.sliding_window_view(whole, min(_RULE, whole.shape[1]), axis=1).all(axis=2)
    for offset in range(whole.shape[1] - starts.shape[1] + 1):
        out[:, offset : offset + starts.shape[1]] |= starts
    return out


def level(grey: Image.Image, degrees: float) -> Image.Image:
    """Return the picture turned back by that angle, large enough for all of it, its corners coloured as the paper."""
    size = _size_of_level(grey.size, degrees)
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    x, y = _shown((0.0, 0.0), degrees, grey.size)
    affine, paper = (cos, -sin, x, sin, cos, y), int(np.median(_small(grey)))
    return grey.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC, fillcolor=paper)


def _size_of_level(size: tuple[int, int], degrees: float) -> tuple[int, int]:
    """Return width and height of a picture of that size, turned back by that angle."""
    cos, sin = math.cos(math.radians(degrees)), abs(math.sin(math.radians(degrees)))
    return math.ceil(size[0] * cos + size[1] * sin), math.ceil(size[0] * sin + size[1] * cos)


def _shown(point: tuple[float, float], degrees: float, size: tuple[int, int]) -> tuple[float, float]:
    """Map a point of the level picture to the picture as it is, of that size; both in pixels."""
    width, height = _size_of_level(size, degrees)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = point[0] - width / 2, point[1] - height / 2
    return size[0] / 2 + cos * x - sin * y, size[1] / 2 + sin * x + cos * y


def as_shown(reading: Reading, degrees: float, size: tuple[int, int]) -> Reading:
    """Return a reading of the level picture with the words' boxes in the picture as it is, of that size."""
    width, height = _size_of_level(size, degrees)

    def placed(box: Box) -> Box:
        x0, y0, x1, y1 = box
        corners = [_shown((x * width, y * height), degrees, size) for x in (x0, x1) for y in (y0, y1)]
        x, y = np.clip(np.array(corners) / size, 0, 1).T.round(5).tolist()
        return min(x), min(y), max(x), max(y)

    words = (
        replace(word, box=placed(word.box), rest=tuple((start, placed(box)) for start, box in word.rest))
        for word in reading.words
    )
    return reading._replace(words=tuple(words))
