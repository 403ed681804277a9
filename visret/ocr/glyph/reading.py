"""Reading the words in a picture of a page: find its lines, bring each to one size, read it, put the words in order."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.utils.fusion import fuse_conv_bn_eval

from visret.errors import WeightsError
from visret.models.weights import BUNDLED
from visret.ocr.edges import is_sharp, scaled, within
from visret.ocr.glyph import skew
from visret.ocr.glyph.finding import AREA, BESIDE, FoundLine, FoundLines, found
from visret.ocr.glyph.networks import (
    FINDER_DPI,
    FRAME,
    LETTERS,
    STRIP,
    UNKNOWN,
    FinderNetwork,
    ReaderNetwork,
    Said,
    inked,
    said,
)
from visret.ocr.glyph.seen import CLEAR, FAIR, SURE, FirstLook, Seen, edges_of, finer, is_sure, merged, share_inside
from visret.ocr.lines import Line, Reading, arranged

_BATCH_COLUMNS = 4096  # of lines read at once; more would not stay in the caches
_STEP = 32  # widths of batches are multiples of it
_NARROWER, _MIN_COLUMNS = 0.8, 512  # a batch of so many columns takes no line narrower than this part of its width
_FIRST = 1.2e6  # pixels in which lines are looked for at first
_PROBE = 512  # pixels: side of the square that shows whether another way or scale reveals more
_CLOSER, _FARTHER = 2.2, 5  # times the scale
_FEW_LETTERS = 12
_SPARSE = 0.8  # pixels of a strip for one of a black and white picture; with fewer, thin strokes get lost
_BLACK, _WHITE = 32, 224  # darker is black, and lighter is white
_FEW_GREYS = 1.8  # a black pixel: at most 1.4 in black and white that was made level, at least 2.3 in print in greys
_TELLING, _MAX_BATCHES = 120, 3  # letters that tell whether a page is upside down, and batches read for them


class PageReader:
    """Both networks of a folder's model.safetensors. Raises WeightsError unless the weights are exactly theirs."""

    def __init__(self, folder: Path, *, device: torch.device) -> None:
        self.device = device
        stored = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        self.finder, self.reader = FinderNetwork(), ReaderNetwork()
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

    def read(self, image: Image.Image, *, dpi: float) -> Reading:
        """Read the words of a picture of about that resolution, whichever way it is turned, skewed up to 12 degrees."""
        grey = image.convert("L")
        degrees = skew.skew_of(grey)
        if not degrees:
            return self._read_level(grey, dpi)
        reading = skew.as_shown(self._read_level(skew.level(grey, degrees), dpi), degrees, grey.size)
        if _letters_read(reading) >= _TELLING and reading.confidence >= SURE:
            return reading
        return max(reading, self._read_level(grey, dpi), key=_letters_read)  # the slanting lines may be a drawing

    def _read_level(self, grey: Image.Image, dpi: float) -> Reading:
        """Read the words of a grey picture whose lines are level or upright."""
        with torch.inference_mode():
            scale = FINDER_DPI / dpi
            seen = self._seen(grey, within(grey.size, scale, _FIRST))
            if seen.found.scale < 0.8 * scale:  # a large picture may have letters as large
                seen = merged(seen, self._seen(grey, seen.found.scale / _FARTHER, first=FirstLook(untouched=1)))
            if seen.found.edges.some:
                seen = self._seen_closer(grey, seen, scale)
        reading = arranged(seen.lines, grey.width, grey.height)
        return reading._replace(finer=finer(seen))

    def _seen(self, grey: Image.Image, scale: float, *, first: FirstLook | None = None, turned: bool = False) -> Seen:
        """Read a page that is upright or upside down, at one scale.

        first: what must be seen first, if it is unknown whether there is print. turned: whether it was put upright.
        """
        where = found(self.finder, self.device, grey, scale, grow=first is None)
        if first is not None and not first.is_promising(where):
            return Seen([], [], where)
        strips = self._strips(grey, where.lines)
        batches = list(_batches([strip.shape[1] for strip in strips]))
        widest = self._widest(strips, batches)
        if not turned and _certainty(widest.values()) < CLEAR:
            other = self._widest([strip[::-1, ::-1] for strip in strips], batches)
            if _stands_on_its_head(widest.values(), other.values()):
                return self._seen(grey.transpose(Image.Transpose.ROTATE_180), scale, turned=True).shown(2, grey.size)
        if first is not None and _certainty(widest.values()) < FAIR:
            return Seen([], [], where)
        return self._read(where, strips, batches, widest)

    def _widest(self, strips: list[np.ndarray], batches: list[tuple[list[int], int]]) -> dict[int, Said]:
        """Read the widest lines, as many as tell which way up they are."""
        out: dict[int, Said] = {}
        for batch in batches[:_MAX_BATCHES]:
            out |= self._batch(strips, *batch)
            if _count(out.values()) >= _TELLING:
                break
        return out

    def _read(
        self, where: FoundLines, strips: list[np.ndarray], batches: list[tuple[list[int], int]], widest: dict[int, Said]
    ) -> Seen:
        """Read all lines, of which the widest have been read."""
        out = dict(widest)
        for some, width in batches:
            if some[0] not in out:
                out |= self._batch(strips, some, width)
        texts = [(line, out[i]) for i, line in enumerate(where.lines) if out[i].text.strip()]
        return Seen([_placed(*text) for text in texts], [line.height for line, _ in texts], where)

    def _seen_closer(self, grey: Image.Image, seen: Seen, scale: float) -> Seen:
        """Read also what looks like print outside the lines, which may lie on its side, or be small.

        scale: the one at which lines were to be looked for.
        """
        edges = seen.found.edges
        if not edges.many and seen.sure > seen.letters / 2:
            return self._and(grey, seen, 1, edges.scale, _FEW_LETTERS)
        first = FirstLook(np.rot90(edges.loose))
        doubtful = seen.sure < _TELLING or edges.scale < 0.8 * scale
        seen = merged(seen, self._seen(_left(grey, 1), edges.scale, first=first).shown(1, grey.size))
        for zoom, turn in ((_CLOSER, 0), (_CLOSER, 1), (_CLOSER**2, 0), (_CLOSER**2, 1))[: None if doubtful else 1]:
            closer = edges.scale * zoom
            if not seen.found.edges.many or within(grey.size, closer, AREA) < 1.2 * closer / _CLOSER:
                break
            seen = self._and(grey, seen, turn, closer, _FEW_LETTERS if doubtful else 3 * _FEW_LETTERS)
        return seen

    def _and(self, grey: Image.Image, seen: Seen, turn: int, scale: float, new: int) -> Seen:
        """Add what is read that way and at that scale, if a look at a part finds at least `new` new letters."""
        if self._new_letters(grey, seen, turn, scale) < new:
            return seen
        return merged(seen, self._seen(_left(grey, turn), scale).shown(turn, grey.size))

    def _new_letters(self, grey: Image.Image, seen: Seen, turn: int, scale: float) -> int:
        """Count the letters that are read well, that way and at that scale, where most of the print is unread."""
        left, top, right, bottom = seen.found.edges.densest(grey.size, _PROBE / scale)
        part = grey.crop((left, top, right, bottom))
        if not is_sharp(scaled(part, scale)):
            return 0
        probe = self._seen(_left(part, turn), scale, first=FirstLook()).shown(turn, part.size)
        taken = edges_of(seen.lines) - np.array([left, top, left, top])
        return sum(len(line.text) for line in probe.lines if is_sure(line) and share_inside(line, taken) < 0.3)

    def _strips(self, grey: Image.Image, lines: list[FoundLine]) -> list[np.ndarray]:
        smaller = [grey]
        finely = _is_black_and_white(grey)
        strips = []
        for line in lines:
            zoom = LETTERS / line.height
            level = max(0, min(4, int(-math.log2(zoom))))
            while len(smaller) <= level:
                smaller.append(smaller[-1].reduce(2))
            strips.append(_strip(smaller[level], line, zoom, 2**level, finely=finely))
        return strips

    def _batch(self, strips: list[np.ndarray], some: list[int], width: int) -> dict[int, Said]:
        batch = np.stack([np.pad(strips[i], ((0, 0), (0, width - strips[i].shape[1])), mode="edge") for i in some])
        pixels = inked(torch.from_numpy(batch).to(self.device).float() / 255)
        logits = self.reader(pixels.contiguous(memory_format=torch.channels_last))
        return dict(zip(some, said(logits), strict=True))


def _left(grey: Image.Image, turn: int) -> Image.Image:
    """Return the picture, turned to the left if `turn` is one quarter turn."""
    return grey.transpose(Image.Transpose.ROTATE_90) if turn else grey


def _count(lines: Iterable[Said]) -> int:
    """Count the letters and digits of lines."""
    return sum(character.isalnum() for line in lines for character in line.text)


def _letters_read(reading: Reading) -> float:
    """Estimate how many letters and digits were read right, by the confidences of their words."""
    read = zip(reading.words, reading.confidences, strict=True)
    return sum(sum(map(str.isalnum, word.text)) * confidence for word, confidence in read)


def _certainty(lines: Iterable[Said]) -> float:
    """Return the mean confidence of letters and digits, since a dot is a dot either way; 0 without any."""
    confidences = [
        confidence
        for line in lines
        for character, confidence in zip(line.text, line.confidences, strict=True)
        if character.isalnum()
    ]
    return sum(confidences) / len(confidences) if confidences else 0.0


def _stands_on_its_head(upright: Iterable[Said], turned: Iterable[Said]) -> bool:
    """Return whether a page is upside down, by the confidence with which the same lines are read both ways.

    Print is read with .87 to .98 the right way up, and .65 to .81 upside down; unknown scripts are read with .6 to .7
    either way, which tells nothing.
    """
    upright, turned = list(upright), list(turned)
    needed = 0.05 if _count(turned) >= _TELLING // 3 else 0.12
    return _count(turned) >= 6 and _certainty(turned) > max(0.7, _certainty(upright) + needed)


def _batches(widths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Yield the lines that are read together, the widest first, and the width they are given for that."""
    order = sorted(range(len(widths)), key=lambda i: -widths[i])
    while order:
        width = -(-widths[order[0]] // _STEP) * _STEP
        alike = sum(widths[i] >= _NARROWER * width for i in order)
        count = max(1, min(_BATCH_COLUMNS // width, max(alike, -(-_MIN_COLUMNS // width))))
        yield order[:count], width
        order = order[count:]


def _is_black_and_white(grey: Image.Image) -> bool:
    """Return whether a picture has few greys, as scans in two colours have; print in greys has them at its edges."""
    counts = grey.histogram()
    black, white = sum(counts[:_BLACK]), sum(counts[_WHITE:])
    return grey.width * grey.height - black - white <= _FEW_GREYS * min(black, white)


def _strip(grey: Image.Image, line: FoundLine, zoom: float, reduced: int, *, finely: bool) -> np.ndarray:
    """Return the strip of a line and a little around it, (STRIP, w) uint8.

    zoom: from the picture to the strip. reduced: how many times smaller `grey` is than the picture that has the line.
    finely: with twice the samples, averaged, where the strip has clearly fewer pixels than the picture.
    """
    turn = math.atan(line.slope)
    twice = 2 if finely and zoom * reduced < _SPARSE else 1
    step = 1 / zoom / reduced / twice
    cos, sin = math.cos(turn) * step, math.sin(turn) * step
    width = math.ceil(((line.right - line.left) / math.cos(turn)) * zoom)
    height = twice * STRIP
    x, y = line.left / reduced + height / 2 * sin, line.middle / reduced - height / 2 * cos
    strip = grey.transform(
        (twice * max(8, width), height), Image.Transform.AFFINE, (cos, -sin, x, sin, cos, y), Image.Resampling.BILINEAR,
        fillcolor=_corner(grey),
    )  # fmt: skip
    return np.asarray(strip.reduce(twice))


def _corner(grey: Image.Image) -> int:
    return int(grey.getpixel((0, 0)))  # type: ignore[arg-type]


def _placed(line: FoundLine, text: Said) -> Line:
    """Return a line with each character in a box that reaches halfway to its neighbours."""
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
    return Line(
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
    """Fold batch norms into the convolutions before them, in place."""
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
    """Return the reader of the package's own weights, on the CPU."""
    return PageReader(BUNDLED, device=torch.device("cpu"))
