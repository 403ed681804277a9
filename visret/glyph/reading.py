"""A picture of a page to the words on it: find its lines, bring each to one size, read it, put the words in order."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.utils.fusion import fuse_conv_bn_eval

from visret import _lines
from visret._edges import is_sharp, scaled, within
from visret.errors import WeightsError
from visret.glyph.finding import AREA, BESIDE, Found, Line, found
from visret.glyph.networks import (
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
_FIRST = 1.2e6  # pixels in which lines are looked for first
_PROBE = 512  # pixels of the side of the square that is looked at to see whether another way or scale shows more
_CLOSER = 2.2
_SURE = 0.85  # mean confidence of a line, or of a page, that is read the right way
_FAIR = 0.75  # that of what is read first, if a way or scale is worth more
_FEW_LETTERS = 12
_TELLING = 120  # letters that tell whether a page stands on its head
_CLEAR = 0.92  # mean confidence of what needs no second look
_LEGIBLE = 9  # pixels of letters that are large enough


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
        """The words of a picture of about that resolution, whichever way it is turned."""
        grey = image.convert("L")
        with torch.inference_mode():
            seen = self._seen(grey, within(grey.size, FINDER_DPI / dpi, _FIRST))
            if seen.found.edges.some or seen.sure < seen.letters / 2:
                seen = self._seen_closer(grey, seen, FINDER_DPI / dpi)
        reading = _lines.arranged(seen.lines, grey.width, grey.height)
        return reading._replace(finer=_finer(seen))

    def _seen(self, grey: Image.Image, scale: float, *, least: float = 0, turned: bool = False) -> _Seen:
        """What is read at one scale, of a page that stands upright or on its head.

        least: the certainty of what is read first, without which nothing is. turned: it has been put upright.
        """
        where = found(self.finder, self.device, grey, scale)
        strips = self._strips(grey, where.lines)
        batches = list(_batches([strip.shape[1] for strip in strips]))
        first = self._first(strips, batches)
        if not turned and _certainty(first.values()) < _CLEAR:
            other = self._first([strip[::-1, ::-1] for strip in strips], batches)
            if _stands_on_its_head(first.values(), other.values()):
                grey = grey.transpose(Image.Transpose.ROTATE_180)
                return self._seen(grey, scale, least=least, turned=True).shown(2, grey.size)
        if _certainty(first.values()) < least:
            return _Seen([], [], where)
        return self._read(where, strips, batches, first)

    def _first(self, strips: list[np.ndarray], batches: list[tuple[list[int], int]]) -> dict[int, Said]:
        """What the widest lines say: enough of them to tell which way they stand."""
        out: dict[int, Said] = {}
        for batch in batches:
            out |= self._batch(strips, *batch)
            if _count(out.values()) >= _TELLING:
                break
        return out

    def _read(
        self, where: Found, strips: list[np.ndarray], batches: list[tuple[list[int], int]], first: dict[int, Said]
    ) -> _Seen:
        """What all lines say, of which the first are known."""
        out = dict(first)
        for some, width in batches:
            if some[0] not in out:
                out |= self._batch(strips, some, width)
        texts = [(line, out[i]) for i, line in enumerate(where.lines) if out[i].text.strip()]
        return _Seen([_placed(*text) for text in texts], [line.height for line, _ in texts], where)

    def _seen_closer(self, grey: Image.Image, seen: _Seen, scale: float) -> _Seen:
        """What looks like print lies outside of the lines: it may lie on its side, or be small.

        scale: at which the lines were to be looked for.
        """
        if not seen.found.edges.many and seen.sure > seen.letters / 2:
            return self._and(grey, seen, 1, seen.found.scale, _FEW_LETTERS)
        doubtful = seen.sure < _TELLING or seen.found.scale < 0.8 * scale
        seen = self._and(grey, seen, 1, seen.found.scale, 0)
        for zoom, turn in ((_CLOSER, 0), (_CLOSER, 1), (_CLOSER**2, 0), (_CLOSER**2, 1))[: None if doubtful else 1]:
            closer = seen.found.scale * zoom
            if not seen.found.edges.many or within(grey.size, closer, AREA) < 1.2 * closer / _CLOSER:
                break
            seen = self._and(grey, seen, turn, closer, _FEW_LETTERS if doubtful else 3 * _FEW_LETTERS)
        return seen

    def _and(self, grey: Image.Image, seen: _Seen, turn: int, scale: float, new: int) -> _Seen:
        """And what is read that way and at that scale, if a first look finds so many new letters."""
        if new and self._new_letters(grey, seen, turn, scale) < new:
            return seen
        return _merged(seen, self._seen(_left(grey, turn), scale, least=_FAIR).shown(turn, grey.size))

    def _new_letters(self, grey: Image.Image, seen: _Seen, turn: int, scale: float) -> int:
        """How many are read well, that way and at that scale, where the print is densest that has not been read."""
        left, top, right, bottom = seen.found.edges.densest(grey.size, _PROBE / scale)
        part = grey.crop((left, top, right, bottom))
        if not is_sharp(scaled(part, scale)):
            return 0
        probe = self._seen(_left(part, turn), scale, least=_FAIR).shown(turn, part.size)
        taken = _edges_of(seen.lines) - np.array([left, top, left, top])
        return sum(len(line.text) for line in probe.lines if _is_sure(line) and _share_inside(line, taken) < 0.3)

    def _strips(self, grey: Image.Image, lines: list[Line]) -> list[np.ndarray]:
        smaller = [grey]
        strips = []
        for line in lines:
            zoom = LETTERS / line.height
            level = max(0, min(4, int(-math.log2(zoom))))
            while len(smaller) <= level:
                smaller.append(smaller[-1].reduce(2))
            strips.append(_strip(smaller[level], line, zoom, 2**level))
        return strips

    def _batch(self, strips: list[np.ndarray], some: list[int], width: int) -> dict[int, Said]:
        batch = np.stack([np.pad(strips[i], ((0, 0), (0, width - strips[i].shape[1])), mode="edge") for i in some])
        pixels = inked(torch.from_numpy(batch).to(self.device).float() / 255)
        logits = self.reader(pixels.contiguous(memory_format=torch.channels_last))
        return dict(zip(some, said(logits), strict=True))


class _Seen(NamedTuple):
    """What was read of a picture at one scale. heights: of each line's letters, in pixels. found: also of what was not
    read."""

    lines: list[_lines.Line]
    heights: list[float]
    found: Found

    @property
    def letters(self) -> int:
        return sum(len(line.text) for line in self.lines)

    @property
    def sure(self) -> int:
        """Letters of lines that are read well."""
        return sum(len(line.text) for line in self.lines if _is_sure(line))

    def shown(self, turn: int, size: tuple[int, int]) -> _Seen:
        """That of a page turned back by so many quarter turns, on the page as it is shown, of that size."""
        if not turn:
            return self
        width, height = size if turn == 2 else size[::-1]
        lines = [_lines.turned_line(line, turn, width, height) for line in self.lines]
        edges = self.found.edges._replace(loose=np.rot90(self.found.edges.loose, -turn))
        return self._replace(lines=lines, found=self.found._replace(edges=edges))


def _is_sure(line: _lines.Line) -> bool:
    named = [character.isalnum() for character in line.text]
    return sum(named) >= 3 and float(line.confidences[named].mean()) >= _SURE


def _merged(one: _Seen, other: _Seen) -> _Seen:
    """The one of which more is read well; of the other what is read well and lies beside it."""
    first, second = (one, other) if one.sure >= other.sure else (other, one)
    taken = _edges_of(first.lines)
    kept = [
        (line, height)
        for line, height in zip(second.lines, second.heights, strict=True)
        if _is_sure(line) and _share_inside(line, taken) < 0.3
    ]
    lines = first.lines + [line for line, _ in kept]
    edges = one.found.edges.without(box for line in lines for box in line.boxes.tolist())
    return _Seen(lines, first.heights + [height for _, height in kept], one.found._replace(edges=edges))


def _edges_of(lines: list[_lines.Line]) -> np.ndarray:
    return np.array([(line.left, line.top, line.right, line.bottom) for line in lines]).reshape(-1, 4)


def _share_inside(line: _lines.Line, taken: np.ndarray) -> float:
    """Of a line's area, at most: the part that lies in other lines."""
    low = np.maximum(taken[:, :2], (line.left, line.top))
    high = np.minimum(taken[:, 2:], (line.right, line.bottom))
    area = (line.right - line.left) * (line.bottom - line.top)
    return float(np.prod(np.clip(high - low, 0, None), axis=1).sum() / max(area, 1e-6))


def _left(grey: Image.Image, turn: int) -> Image.Image:
    """Turned a quarter turn to the left, if it is one."""
    return grey.transpose(Image.Transpose.ROTATE_90) if turn else grey


def _count(lines: Iterable[Said]) -> int:
    """Of their letters and digits."""
    return sum(character.isalnum() for line in lines for character in line.text)


def _certainty(lines: Iterable[Said]) -> float:
    """The mean confidence of their letters and digits, as a dot is one either way; 0 without any."""
    confidences = [
        confidence
        for line in lines
        for character, confidence in zip(line.text, line.confidences, strict=True)
        if character.isalnum()
    ]
    return sum(confidences) / len(confidences) if confidences else 0.0


def _stands_on_its_head(upright: Iterable[Said], turned: Iterable[Said]) -> bool:
    """By the confidence with which the same lines are read both ways.

    Of print it is .87 to .98 the right way, and .65 to .81 the wrong way; of scripts that are not known, .6 to .8
    either way, and more the right way.
    """
    upright, turned = list(upright), list(turned)
    needed = 0.05 if _count(turned) >= _TELLING // 3 else 0.12
    return _count(turned) >= 6 and _certainty(turned) > _certainty(upright) + needed


def _finer(seen: _Seen) -> float:
    """See _lines.Reading."""
    poor = [
        height
        for line, height in zip(seen.lines, seen.heights, strict=True)
        if height < _LEGIBLE and len(line.text) >= 3 and float(line.confidences.mean()) < _CLEAR
    ]
    return LETTERS / float(np.median(poor)) if len(poor) >= max(2, len(seen.lines) / 4) else 1.0


def _batches(widths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Which lines are read together, the widest first, and how wide they are made for that."""
    order = sorted(range(len(widths)), key=lambda i: -widths[i])
    while order:
        width = -(-widths[order[0]] // _STEP) * _STEP
        alike = sum(widths[i] >= _NARROWER * width for i in order)
        count = max(1, min(_BATCH_COLUMNS // width, max(alike, -(-_LEAST_COLUMNS // width))))
        yield order[:count], width
        order = order[count:]


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
        line.left + BESIDE * line.height,
        centre - line.height / 4,
        line.right - BESIDE * line.height,
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
