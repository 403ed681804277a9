"""Training data of `glyph`: lines and pages, with what stands on them, out of PDFs that carry their text.

A shard is a folder: strips.npy (n, ROWS, COLUMNS) uint8, lines brought to one size; texts.json, [text, width in
columns, [[first, end] columns of each word]] of each; pages.npy, grey pages at PAGE_DPI end to end; pages.json,
[rows, columns, [[x0, y0, x1, y1] of each line]] of each. All are in pixels.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from PIL import Image

from visret.errors import VisretError
from visret.ocr.glyph.networks import UNKNOWN, spelled
from visret.types import Page, Word

ROWS, COLUMNS = 36, 512
LETTER_ROWS = 24  # of ROWS, from the top of an l to the foot of a p
DPI, PAGE_DPI = 150, 100
ABOVE, BELOW = 0.73, 0.22  # of the type's size, from the baseline to the top of an l and to the foot of a p
X_HEIGHT = 0.46
_TALL = set("bdfhklt0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ()[]{}/\\|!?'\"&%$#@ßöäüéèáíóúij")
_DEEP = set("gjpqy()[]{}/\\|,;Q@$")
_PAGES_A_FILE = 4
_LINES_A_PAGE = 14

logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """A word, or the part of one that stands on one line. box: in pixels."""

    text: str
    box: tuple[float, float, float, float]


class DrawnLine(NamedTuple):
    """A line: words of one size side by side. top, foot: of its letters, in pixels."""

    pieces: list[Piece]
    top: float
    foot: float


@dataclass
class Shard:
    """The strips and pages that are collected before they are written."""

    strips: list[np.ndarray] = field(default_factory=list)
    texts: list[tuple[str, int, list[tuple[int, int]]]] = field(default_factory=list)
    pages: list[np.ndarray] = field(default_factory=list)
    lines: list[list[tuple[int, int, int, int]]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the shard; its folder appears when it is complete."""
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        np.save(part / "strips.npy", np.stack(self.strips))
        (part / "texts.json").write_text(json.dumps(self.texts), "utf-8")
        if self.pages:
            np.save(part / "pages.npy", np.concatenate([page.ravel() for page in self.pages]))
            sizes = [(*page.shape, lines) for page, lines in zip(self.pages, self.lines, strict=True)]
            (part / "pages.json").write_text(json.dumps(sizes), "utf-8")
        part.rename(folder)
        print(f"{folder.name}: {len(self.strips)} strips, {len(self.pages)} pages", flush=True)


def pieces(page: Page, size_px: tuple[int, int]) -> Iterator[list[Piece]]:
    """Yield the words of each line as they are printed; a word broken over a line end is in parts, with the hyphen."""
    line: list[Piece] = []
    number = -1

    def placed(text: str, box: Sequence[float]) -> Piece:
        width, height = size_px
        return Piece(spelled(text).replace(" ", ""), (box[0] * width, box[1] * height, box[2] * width, box[3] * height))

    for word in page.words or ():
        if word.line != number:
            yield line
            line, number = [], word.line
        for last, text, box in _parts(word):
            line.append(placed(text if last else text + "-", box))
            if not last:
                yield line
                line = []
    yield line


def _parts(word: Word) -> Iterator[tuple[bool, str, Sequence[float]]]:
    starts = [0, *(start for start, _ in word.rest), len(word.text)]
    boxes = [word.box, *(box for _, box in word.rest)]
    for number, ((start, end), box) in enumerate(zip(pairwise(starts), boxes, strict=True)):
        yield number == len(boxes) - 1, word.text[start:end], box


def measured(line: list[Piece], grey: np.ndarray) -> list[tuple[Piece, float, float]]:
    """Return the visible words of a line, each with the size of its type and its baseline.

    They are measured from the ink and from which letters stand there, because fonts state them too differently. A word
    that does not tell takes them from its neighbour.
    """
    found = [(piece, place) for piece in line if (place := _place(piece, grey)) is not None]
    sure = [i for i, (_, place) in enumerate(found) if place.sure]
    places = [found[min(sure, key=lambda j: abs(j - i), default=i)][1] for i in range(len(found))]
    return [(piece, place.size, place.baseline) for (piece, _), place in zip(found, places, strict=True)]


def cut(sized: list[tuple[Piece, float, float]]) -> list[DrawnLine]:
    """Turn words with size and baseline into lines with letters of one height, cut at steps and wide gaps."""
    out = []
    while sized:
        end = 1
        while end < len(sized) and _goes_on(sized[end - 1], sized[end]):
            end += 1
        run, sized = sized[:end], sized[end:]
        size = median(size for _, size, _ in run)
        baseline = median(baseline for *_, baseline in run)
        out.append(DrawnLine([piece for piece, *_ in run], baseline - ABOVE * size, baseline + BELOW * size))
    return out


def _goes_on(a: tuple[Piece, float, float], b: tuple[Piece, float, float]) -> bool:
    gap = b[0].box[0] - a[0].box[2]
    size = max(a[1], b[1])
    return -0.3 * size < gap < 1.2 * size and abs(a[2] - b[2]) < 0.5 * size


class _Place(NamedTuple):
    """The size of a word's type and its baseline, in pixels; sure: whether they were measured."""

    size: float
    baseline: float
    sure: bool


def _place(piece: Piece, grey: np.ndarray) -> _Place | None:
    """Measure a word; None where it is not visible."""
    x0, y0, x1, y1 = piece.box
    stated = y1 - y0
    if x1 - x0 < 2 or stated < 4 or (stated > 1.6 * (x1 - x0) and len(piece.text) > 2):
        return None  # there is nothing, or it is turned
    top, around = max(0, round(y0)), round(stated / 3)
    column = grey[max(0, top - around) : round(y1) + 1 + around, max(0, round(x0)) : round(x1) + 1].astype(int)
    area = column[min(top, around) :][: round(y1) + 1 - top]
    if not area.size:
        return None  # beside the page
    ink = abs(area - np.median(column)).max(axis=1)
    rows = np.flatnonzero(ink > max(20, 60 / 255 * ink.max()))
    if not len(rows):
        return None
    letters = set(piece.text)
    if not letters & _TALL and not any(c.isalpha() for c in letters):
        return _Place(stated / 1.05, y1 - 0.25 * stated, sure=False)  # dots and dashes say nothing
    tall, deep = bool(letters & _TALL), bool(letters & _DEEP)
    size = (rows[-1] + 1 - rows[0]) / ((ABOVE if tall else X_HEIGHT) + (BELOW if deep else 0))
    if size < 0.55 * stated:
        return None
    baseline = top + rows[-1] + 1 - (BELOW * size if deep else 0)
    return _Place(size, baseline, sure=tall and size < 1.6 * stated)


def strips(
    line: DrawnLine, page: Image.Image, rng: random.Random
) -> Iterator[tuple[np.ndarray, tuple[str, int, list[tuple[int, int]]]]]:
    """Yield the line as strips of whole words, each with (text, width, columns of its words)."""
    zoom = LETTER_ROWS / (line.foot - line.top)
    margin = (ROWS - LETTER_ROWS) / 2 / zoom
    rest = line.pieces
    while rest:
        before = rng.uniform(2, 8)
        left = rest[0].box[0] - before / zoom
        most = rng.choice((COLUMNS, COLUMNS, COLUMNS, COLUMNS // 2))
        end = 1
        while end < len(rest) and (rest[end].box[2] - left) * zoom + 4 < most:
            end += 1
        some, rest = rest[:end], rest[end:]
        width = round((some[-1].box[2] - left) * zoom + rng.uniform(2, 8))
        text = " ".join(piece.text for piece in some)
        if width > COLUMNS or (UNKNOWN in text and text.count(UNKNOWN) > 0.1 * len(text)):
            continue
        extent = (left, line.top - margin, left + width / zoom, line.foot + margin)
        strip = np.full((ROWS, COLUMNS), 255, np.uint8)
        drawn = page.transform((width, ROWS), Image.Transform.EXTENT, extent, Image.Resampling.BICUBIC)
        strip[:, :width] = np.asarray(drawn)
        strip[:, width:] = strip[:, width - 1 : width]
        yield strip, (text, width, [_columns(piece, left, zoom) for piece in some])


def _columns(piece: Piece, left: float, zoom: float) -> tuple[int, int]:
    return round((piece.box[0] - left) * zoom), round((piece.box[2] - left) * zoom)


def held_out(path: Path) -> bool:
    """Return whether a document is kept for evaluation: one in forty, by its name, wherever it lies."""
    return zlib.crc32(path.name.encode()) % 40 == 0


def write_files(folder: Path, paths: Sequence[Path], whole_pages: int) -> None:
    """Write the shard of some PDFs."""
    made = collect(paths, seed=folder.name, whole_pages=whole_pages)
    if made.strips:
        made.write(folder)


def collect(paths: Iterable[Path], *, seed: str, whole_pages: int) -> Shard:
    """Collect lines of some pages of each PDF, and the pages themselves from one in `whole_pages` PDFs (0: none)."""
    from visret.documents import open_document  # made-up pages are also made where PDFium is not installed

    shard = Shard()
    for number, path in enumerate(paths):
        rng = random.Random(f"{seed} {path.name}")
        try:
            with open_document(path) as document:
                wanted = rng.sample(range(1, len(document) + 1), min(_PAGES_A_FILE, len(document)))
                for count, page_number in enumerate(wanted):
                    page = document.page(page_number, doc=path.name, dpi=DPI)
                    _add(shard, page, rng, whole=bool(whole_pages) and not count and number % whole_pages == 0)
        except VisretError as error:
            logger.warning("%s", error)
    return shard


def _add(shard: Shard, page: Page, rng: random.Random, *, whole: bool) -> None:
    if page.image is None or not page.words or max(page.image.size) > 3000:
        return
    grey = page.image.convert("L")
    pixels = np.asarray(grey)
    found = [part for line in pieces(page, grey.size) for part in cut(measured(line, pixels))]
    add(shard, grey, found, rng, whole=whole)


def add(
    shard: Shard, grey: Image.Image, found: list[DrawnLine], rng: random.Random, *, whole: bool, dpi: float = DPI
) -> None:
    """Add some lines of a page and, if `whole`, the page."""
    for line in rng.sample(found, min(_LINES_A_PAGE, len(found))):
        for strip, text in strips(line, grey, rng):
            shard.strips.append(strip)
            shard.texts.append(text)
    if whole and len(found) > 3:
        zoom = PAGE_DPI / dpi
        size = (round(grey.width * zoom), round(grey.height * zoom))
        shard.pages.append(np.asarray(grey.resize(size, Image.Resampling.BOX)))
        shard.lines.append([
            (
                round(line.pieces[0].box[0] * zoom),
                round(line.top * zoom),
                round(line.pieces[-1].box[2] * zoom),
                round(line.foot * zoom),
            )
            for line in found
        ])  # fmt: skip
