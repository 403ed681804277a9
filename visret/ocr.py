"""The words of a picture of a page, read by RapidOCR (extra `ocr`).

    reading = ocr.read(image)
    reading.words, reading.confidence

RapidOCR finds lines of text and reads each; where its characters lie on the line comes from the steps of its decoder
(about a third of a letter wide), made exact at the white space between words. Reading order and hyphens are those of
the text layer (`_words`). Its models travel in its package: nothing is downloaded. They read Latin script, Chinese and
Japanese.

100 dpi is the resolution to read at. Words of the text layer found again on 20 pages of manuals and papers, and seconds
of one core a page: 96.1 % and 6.4 s at 100 dpi, 94.3 % and 8.2 s at 144, 93.6 % and 11.3 s at 200.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import re
import statistics
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from visret import registry
from visret._words import words as words_of
from visret.errors import InvalidQuery, MissingExtra
from visret.types import Box, Page, Word

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = ("auto", "never", "always")
DPI = 100
LONGEST = 2400  # pixels of the longer side; RapidOCR's memory grows with the area (1.0 GB at 1,170, 1.4 at 2,340)
CONFIDENT = 0.6  # the mean probability of a word's characters: of those below, one in five was right (of all, 95 %)
FEW = 30  # words; with fewer, a page is looked at before its text layer is believed

_CACHE_FORMAT = 1
_CACHE_SHARD = 100  # files in each of 256 folders: about 500 MB in all

METADATA = "ocr_confidence"  # a page whose words were read here has it in its metadata: their mean confidence

_log = logging.getLogger(__name__)
_lock = threading.Lock()  # RapidOCR keeps state in its engine
_engines: dict[int | None, Any] = {}


class Reading(NamedTuple):
    """What was read. words: in reading order; confidences: of each, 0 to 1."""

    words: tuple[Word, ...]
    confidences: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """The mean; 0 where nothing was read."""
        return sum(self.confidences) / len(self.confidences) if self.confidences else 0.0


def read(image: Image, *, threads: int | None = None) -> Reading:
    """The words of an RGB picture of a page, kept in the cache folder for the next time.

    threads: of the one engine of this process; None for every core. Calls from several threads wait for each other.
    MissingExtra where RapidOCR is not installed.
    """
    version = _version()
    pixels = np.asarray(image.convert("RGB"))
    key = hashlib.sha256(repr(pixels.shape).encode())
    key.update(np.ascontiguousarray(pixels).data)
    file = (
        registry.cache_folder() / "ocr" / f"{version}-{_CACHE_FORMAT}" / key.hexdigest()[:2] / f"{key.hexdigest()}.json"
    )
    known = _load(file)
    if known is not None:
        return known
    reading = _read(pixels, threads)
    _save(file, reading)
    return reading


def usable_mode(mode: str, modality: str) -> str:
    """What comes of `mode` with a model that reads "text" or looks at an "image": "auto" is "never" without RapidOCR.

    InvalidQuery for another mode, and for "always" with a model that reads no words; MissingExtra for "always" without
    RapidOCR.
    """
    if mode not in MODES:
        raise InvalidQuery(f"ocr: {mode!r} is not one of {', '.join(MODES)}")
    if modality != "text":
        if mode == "always":
            raise InvalidQuery("ocr: this model looks at the pictures of pages and reads no words; leave 'always' out")
        return "never"
    if mode != "never":
        try:
            _version()
        except MissingExtra:
            if mode == "always":
                raise
            return "never"
    return mode


def dpi(size_pt: tuple[float, float]) -> float:
    """At which a page is drawn to be read: DPI, less where it would have more than LONGEST pixels on a side."""
    return min(DPI, LONGEST * 72 / max(size_pt))


def with_words(page: Page, mode: str = "auto", *, threads: int | None = None) -> Page:
    """The page with the words its image shows, and METADATA; the page itself where it has no image.

    mode: "auto" reads the image only where the page's own words are not `usable`; "always"; "never". Words of its own
    that are only few (a drawing with labels) stay unless the image shows twice as many; where it shows none, any stay.
    """
    if mode == "never" or page.image is None or (mode == "auto" and usable(page.words or (), page.image)):
        return page
    reading = read(_reduced(page.image, page.size_pt), threads=threads)
    own = () if _garbage(page.words or ()) else page.words or ()
    if own and len(reading.words) < (1 if mode == "always" else 2 * len(own)):
        return page
    return replace(page, words=reading.words, metadata={**page.metadata, METADATA: round(reading.confidence, 3)})


def _reduced(image: Image, size_pt: tuple[float, float] | None) -> Image:
    """At most DPI."""
    from PIL import Image as Pictures

    scale = DPI / 72 * size_pt[0] / image.width if size_pt else 1
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Pictures.Resampling.LANCZOS)


def doubtful(words: Sequence[Word]) -> bool:
    """Whether it takes the page's image to say if these words are `usable`: they are few, or garbage."""
    return len(words) < FEW or _garbage(words)


def usable(words: Sequence[Word], image: Image | None = None) -> bool:
    """Whether a page's text layer is what stands on the page.

    It is not where it has no words; where it is garbage: a third of its characters have no meaning (fonts without
    a table of characters), or most of its different words hold neither letter nor digit; and, if the image is given,
    where it has fewer than FEW words, and they cover little of what looks like print (a stamp on a scan).
    A text layer of wrong but pronounceable words is believed.
    """
    if not words or _garbage(words):
        return False
    return image is None or len(words) >= FEW or _covered(words, image) >= 0.5


def _garbage(words: Sequence[Word]) -> bool:
    characters = "".join(word.text for word in words)
    senseless = sum(unicodedata.category(c) in {"Cc", "Cn", "Co", "Cs"} or c == "\ufffd" for c in characters)
    different = {word.text for word in words}
    readable = sum(any(c.isalnum() for c in text) for text in different)
    return 3 * senseless > len(characters) or 2 * readable < len(different)


def _covered(words: Sequence[Word], image: Image) -> float:
    """The share of a page's sharp edges that lies in the boxes of words; 1 on a page without any.

    Print has many edges, paper, plain colours and most photographs have few.
    """
    grey = np.asarray(image.convert("L").reduce(2), np.int16)
    edges = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) > 64
    height, width = edges.shape
    inside = np.zeros(edges.shape, bool)
    for word in words:
        for x0, y0, x1, y1 in (word.box, *(box for _, box in word.rest)):
            inside[int(y0 * height) : int(y1 * height) + 1, int(x0 * width) : int(x1 * width) + 1] = True
    return float(edges[inside].sum() / edges.sum()) if edges.any() else 1.0


# -------------------------------------------------------------------------------------------------- reading


def _version() -> str:
    try:
        importlib.metadata.version("onnxruntime")
        return importlib.metadata.version("rapidocr")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtra("reading scanned pages needs RapidOCR: pip install 'visret[ocr]'") from error


def _engine(threads: int | None) -> Any:
    if threads not in _engines:
        from rapidocr import RapidOCR

        _engines[threads] = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_preprocess_img": False,
                "Global.use_vertical_padding": False,
                "Global.return_word_box": True,
                "Det.limit_side_len": 32,  # by default it enlarges to 736 pixels, a strip out of all bounds
                "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1,
            }
        )
    return _engines[threads]


def _read(pixels: np.ndarray, threads: int | None) -> Reading:
    """RapidOCR's own steps, because its words come with the probability of another word's character (3.10)."""
    from PIL import Image

    height, width = pixels.shape[:2]
    if (scale := LONGEST / max(width, height)) < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        height, width = pixels.shape[:2]
    sheet = np.full((max(height, 32), max(width, 32), 3), 255, np.uint8)  # the least the detector takes
    sheet[:height, :width] = pixels[:, :, ::-1]
    with _lock:
        found, turned, said, cuts = _engine(threads).run_ocr_steps(sheet, {})
    if found.boxes is None or said.txts is None:
        return Reading((), ())
    lines = [
        _line(text, info, quad, cut, "180" in label and score > 0.9)
        for text, info, quad, cut, (label, score) in zip(
            said.txts, said.word_results, found.boxes, cuts, turned.cls_res, strict=True
        )
        if text.strip()
    ]
    return _arranged(lines, width, height)


class _Line(NamedTuple):
    """A line of n characters, white space among them. boxes: (n, 4) in pixels. confidences: (n,). turn: clockwise."""

    text: str
    boxes: np.ndarray
    confidences: np.ndarray
    turn: int
    left: float
    top: float  # of the letters, a quarter of the height inside: the boxes of tight lines overlap
    right: float
    bottom: float


def _line(text: str, info: Any, quad: np.ndarray, cut: np.ndarray, flipped: bool) -> _Line:
    """Where the characters of a line lie.

    info: the decoder's steps. quad: (4, 2) the line's corners, clockwise from top left. cut: its pixels, which
    RapidOCR turns a quarter turn to the left where they are high. flipped: it then read them upside down.
    """
    sides = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    high = int(max(sides[1], sides[3])) >= 1.5 * int(max(sides[0], sides[2]))
    starts, ends = _spans(text, info, cut[::-1, ::-1] if flipped else cut)
    if flipped:
        starts, ends = 1 - ends, 1 - starts
    top_left, top_right, bottom_right, bottom_left = quad
    # the line's two long edges, in the direction in which the cut was read
    edges = (
        ((top_left, bottom_left), (top_right, bottom_right))
        if high
        else ((top_left, top_right), (bottom_left, bottom_right))
    )
    points = np.stack([a + (b - a) * at[:, None] for a, b in edges for at in (starts, ends)], axis=1)  # (n, 4, 2)
    boxes = np.hstack([points.min(axis=1), points.max(axis=1)])
    (left, top), (right, bottom) = quad.min(axis=0).tolist(), quad.max(axis=0).tolist()
    inset = (bottom - top) / 4
    return _Line(text, boxes, np.asarray(info.confs), high + 2 * flipped, left, top + inset, right, bottom - inset)


def _spans(text: str, info: Any, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of n characters starts and ends on its line: two (n,), 0 to 1. White space has no width."""
    width = cut.shape[1]
    at = np.array([i for i, c in enumerate(text) if not c.isspace()])
    centres = (np.concatenate(info.word_cols) + 0.5) / info.line_txt_len * width
    between = (centres[1:] + centres[:-1]) / 2
    starts, ends = np.append(0.0, between), np.append(between, float(width))
    inked = _inked(cut)
    for k in np.flatnonzero(np.diff(at) > 1):
        ends[k], starts[k + 1] = _gap(inked, centres[k], centres[k + 1])
    where = np.flatnonzero(inked)
    if len(where):
        starts[0] = min(where[0], centres[0])
        ends[-1] = max(where[-1] + 1, centres[-1])
    spans = np.zeros((2, len(text)))
    spans[:, at] = np.clip([starts, ends], 0, width) / width
    return spans[0], spans[1]


def _inked(cut: np.ndarray) -> np.ndarray:
    """(width,) bool: the columns of pixels that are not all paper, leaving out the neighbouring lines' edges."""
    height = cut.shape[0]
    grey = cut[height // 6 : height - height // 6].mean(axis=2)
    far = np.abs(grey - np.median(grey))
    return np.asarray((far > max(24, 0.3 * far.max())).any(axis=0))


def _gap(inked: np.ndarray, left: float, right: float) -> tuple[float, float]:
    """Start and end of the widest white space between two letters' centres."""
    first = int(left)
    ink = np.flatnonzero(np.concatenate([[True], inked[first : int(right) + 1], [True]]))
    widest = int(np.diff(ink).argmax())
    start, end = int(ink[widest]), int(ink[widest + 1]) - 1
    if end - start < 2:
        return left + (right - left) / 3, right - (right - left) / 3
    return first + start, first + end


def _arranged(lines: list[_Line], width: int, height: int) -> Reading:
    """The confident words of lines, in reading order."""
    texts, boxes, turns, confidences = [], [], [], []
    by_turn = [[line for line in lines if line.turn == turn] for turn in range(4)]
    for line in chain.from_iterable(map(_ordered, by_turn)):
        for match in re.finditer(r"\S+", line.text):
            part = slice(*match.span())
            confidence = float(line.confidences[part].mean())
            if confidence >= CONFIDENT:
                n = part.stop - part.start + 1
                texts.append(match.group() + " ")
                boxes += [line.boxes[part], line.boxes[part.stop - 1 : part.stop]]
                turns += [line.turn] * n
                confidences += [confidence] * n
    if not texts:
        return Reading((), ())
    placed, of = np.concatenate(boxes), np.array(confidences)
    words = words_of("".join(texts), placed, np.array(turns), width=width, height=height)
    centres = (placed[:, :2] + placed[:, 2:]) / 2 / (width, height)
    means = []
    for word in words:
        own = ((centres >= word.box[:2]) & (centres <= word.box[2:])).all(axis=1)
        means.append(round(float(of[own].mean()), 3))
    return Reading(tuple(map(_rounded, words)), tuple(means))


def _ordered(lines: Sequence[_Line]) -> Iterator[_Line]:
    """Strips from the top, in each its columns of prose from the left: a picture has no painted order to start from."""
    strips = _strips(lines)
    while strips:
        group = strips.pop(0)
        while strips and len(_columns(group)) > 1 and len(_columns(group + strips[0])) > 1:
            group += strips.pop(0)
        columns = _columns(group)
        if len(columns) > 1 and all(map(_is_prose, columns)):
            for column in columns:
                yield from _ordered(column)
        else:
            yield from _rows(group)


def _strips(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Divided where a horizontal white band crosses all of them."""
    strips: list[list[_Line]] = []
    bottom = 0.0
    for line in sorted(lines, key=lambda line: line.top):
        if strips and line.top < bottom:
            strips[-1].append(line)
        else:
            strips.append([line])
        bottom = max(bottom, line.bottom)
    return strips


def _columns(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Divided at vertical white bands half as wide as a line is high, or wider; from the left."""
    wide = statistics.median(line.bottom - line.top for line in lines)  # of the letters
    columns: list[list[_Line]] = []
    edge = 0.0
    for line in sorted(lines, key=lambda line: line.left):
        if columns and line.left < edge + wide:
            columns[-1].append(line)
        else:
            columns.append([line])
        edge = max(edge, line.right)
    return columns


def _is_prose(column: Sequence[_Line]) -> bool:
    """Long lines of one length, not the cells of a table."""
    widths = [line.right - line.left for line in column]
    letters = statistics.median(len(line.text) for line in column)
    return len(column) >= 4 and letters >= 20 and statistics.median(widths) > 0.7 * max(widths)


def _rows(lines: Sequence[_Line]) -> Iterator[_Line]:
    """From the top, those side by side from the left."""
    row: list[_Line] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        if row and (line.top + line.bottom) / 2 > row[0].bottom:
            yield from sorted(row, key=lambda line: line.left)
            row = []
        row.append(line)
    yield from sorted(row, key=lambda line: line.left)


def _rounded(word: Word) -> Word:
    """As it is stored, so that a page read again from the cache is the same."""

    def short(box: Box) -> Box:
        x0, y0, x1, y1 = (round(v, 5) for v in box)
        return x0, y0, x1, y1

    return replace(word, box=short(word.box), rest=tuple((start, short(box)) for start, box in word.rest))


# ---------------------------------------------------------------------------------------------------- cache


def _load(file: Path) -> Reading | None:
    try:
        stored = json.loads(file.read_text("utf8"))
        words = tuple(
            Word(text, tuple(box), tuple((start, tuple(part)) for start, part in rest), line)
            for text, line, _, box, rest in stored
        )
        return Reading(words, tuple(confidence for _, _, confidence, _, _ in stored))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s cannot be used, the page is read again: %s", file, error)
        return None


def _save(file: Path, reading: Reading) -> None:
    """Written aside and renamed; the oldest of a full folder make room."""
    stored = [
        [word.text, word.line, confidence, word.box, word.rest] for word, confidence in zip(*reading, strict=True)
    ]
    draft = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(stored, ensure_ascii=False, separators=(",", ":")), "utf8")
        draft.replace(file)
        kept = sorted(file.parent.iterdir(), key=lambda f: f.stat().st_mtime)
        for old in kept[:-_CACHE_SHARD]:
            old.unlink(missing_ok=True)
    except OSError as error:  # a read-only home, or a full disk: read again next time
        _log.warning("%s: what was read cannot be kept: %s", file, error)
