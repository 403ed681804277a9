"""The lines of a picture of a page, read by RapidOCR (extra `ocr`).

It finds lines of text and reads each. The places of characters on a line come from the steps of its decoder (each about
a third of a letter wide), and are made exact at the white space between words. Its models come with its package. They
read Latin script, Chinese and Japanese.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from visret import forks
from visret.ocr.edges import Edges, edges_of, is_sharp, within
from visret.ocr.lines import Line, Reading, arranged, turned_line
from visret.types import Loss

# The resolution to read at. Share of the words of the text layer found again on 20 pages of manuals and papers, and
# seconds of one core a page: 96.1 % and 6.4 s at 100 dpi, 94.3 % and 8.2 s at 144, 93.6 % and 11.3 s at 200.
DPI = 100

# Pixels in which lines are looked for: at first, and at most. Memory grows with the pixels seen in one piece.
_FIRST, _AREA, _TILE, _MARGIN = 2.2e6, 1.6e7, 1216, 96
_PROBE = 512  # pixels: side of the square that shows whether a larger scale reveals more
_CLOSER = 2.2
_FEW_LINES = 3
_BLANK = 48  # grey values between the darkest and the lightest pixel of a tile without print
_LEGIBLE, _LINE, _LARGE = 11, 20, 48  # height of a line in pixels: the least, the best (10 points at DPI), the most
_CUT = 96  # height of a line in pixels, twice what RapidOCR reads: worn print is then read best
_CLEAR = 0.93  # the confidence at which letters are large enough
_MAX_LINES = 600  # of a page, which take about a minute

_SURE = 0.93  # confidence of a page, .97 to 1 for upright print; with less, a few lines are tried upside down
_TRIED = 4

_lock = forks.Lock()  # RapidOCR keeps state in its engine
_engines: dict[int | None, Any] = {}


def _forked() -> None:
    """Forget the parent's engines, so that a forked process makes its own.

    They are never released, because their destructors would wait for threads that do not exist.
    """
    for engine in _engines.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    _engines.clear()


forks.in_child(_forked)


def version() -> str | None:
    """Return the version of RapidOCR; None if it, or what runs its models, is not installed."""
    try:
        importlib.metadata.version("onnxruntime")
        return importlib.metadata.version("rapidocr")
    except importlib.metadata.PackageNotFoundError:
        return None


def _engine(threads: int | None) -> Any:
    if threads not in _engines:
        from rapidocr import RapidOCR

        _engines[threads] = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_preprocess_img": False,
                "Global.use_vertical_padding": False,
                "Global.return_word_box": True,
                "Det.max_candidates": 10_000,
                "Det.limit_side_len": 32,  # the default enlarges to 736 pixels, a strip beyond all bounds
                "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1,
            }
        )
    return _engines[threads]


class _Page(NamedTuple):
    """A page at the scale at which its lines were found.

    sheet: (h, w, 3) uint8 BGR. quads: (n, 4, 2) the corners of its lines, clockwise from top left. edges: also those
    outside lines.
    """

    sheet: np.ndarray
    scale: float
    quads: np.ndarray
    edges: Edges

    @property
    def height(self) -> float:
        """The usual height of its lines, in pixels of the sheet; 0 without any."""
        return float(np.median(_sides(self.quads).min(axis=1))) if len(self.quads) else 0.0


def read(pixels: np.ndarray, dpi: float, threads: int | None) -> Reading:
    """Read the words of (h, w, 3) uint8 RGB pixels of about that resolution, whichever way they are turned."""
    height, width = pixels.shape[:2]
    with _lock:
        engine = _engine(threads)
        page = _found(engine, pixels, min(1.0, DPI / dpi))
        if not len(page.quads):
            return Reading((), ())
        turns, page, lines = _upright(engine, pixels, page)
    size = page.sheet.shape[1::-1]
    shown = [_in_picture(turned_line(line, turns, *size), page.scale) for line in lines]
    reading = arranged(shown, width, height)
    return reading._replace(finer=_finer(page, reading.confidence), lost=_left_out(page))


def _left_out(page: _Page) -> tuple[Loss, ...]:
    count = len(page.quads) - _MAX_LINES
    if count <= 0:
        return ()
    what = f"{count:,} of the {len(page.quads):,} lines of a picture, the lower ones"
    return (Loss(what, "cut the picture into smaller ones, or set VISRET_OCR=glyph, which reads all lines"),)


def _finer(page: _Page, confidence: float) -> float:
    height = page.height / page.scale
    return _LINE / height if confidence < _CLEAR and 0 < height < _LEGIBLE else 1.0


def _in_picture(line: Line, scale: float) -> Line:
    """Return a line in the picture, given a line on a sheet that is `scale` times as large."""
    edges = (v / scale for v in (line.left, line.top, line.right, line.bottom))
    return Line(line.text, line.boxes / scale, line.confidences, line.turn, *edges)


# ------------------------------------------------------------------------------------------------- where lines are


def _found(engine: Any, pixels: np.ndarray, scale: float) -> _Page:
    """Find the lines, at a scale at which their letters have the size that is read best."""
    size = pixels.shape[1], pixels.shape[0]
    page = _at(engine, pixels, min(scale, within(size, scale, _FIRST)))
    if page.edges.many or not len(page.quads):
        page = _closer(engine, pixels, page)
    height = page.height
    if len(page.quads) >= 3 and not _LEGIBLE <= height <= _LARGE:
        other = within(size, page.scale * _LINE / height, _AREA)
        if not 0.8 < other / page.scale < 1.2:
            again = _at(engine, pixels, other)
            page = again if _letters(again.quads) > 0.8 * _letters(page.quads) else page
    return page


def _closer(engine: Any, pixels: np.ndarray, page: _Page) -> _Page:
    """Look again at larger scales, because much of what looks like print lies outside the lines and may be small."""
    size = pixels.shape[1], pixels.shape[0]
    for closer in (page.scale * _CLOSER, page.scale * _CLOSER**2):
        if within(size, closer, _AREA) < 1.2 * closer / _CLOSER:
            break
        left, top, right, bottom = page.edges.densest(size, _PROBE / closer)
        part = pixels[top:bottom, left:right]
        if not is_sharp(_grey(_scaled(part, closer))):
            continue
        probe = _at(engine, part, closer)
        if _loose_lines(probe.quads / closer + (left, top), page.edges) >= _FEW_LINES:
            page = max(page, _at(engine, pixels, min(closer, within(size, closer, _AREA))), key=_total)
            if not page.edges.many:
                break
    return page


def _total(page: _Page) -> float:
    return _letters(page.quads)


def _loose_lines(quads: np.ndarray, edges: Edges) -> int:
    """Count the lines that lie where the sharp edges are loose, rather than in known lines."""
    count = 0
    for quad in quads * edges.scale:
        (x0, y0), (x1, y1) = quad.min(axis=0).astype(int).clip(0), quad.max(axis=0).astype(int)
        count += bool(edges.loose[y0 : y1 + 1, x0 : x1 + 1].any())
    return count


def _letters(quads: np.ndarray) -> float:
    """Estimate how many letters stand on the lines."""
    sides = _sides(quads)
    return float((sides.max(axis=1) / sides.min(axis=1).clip(1)).sum())


def _sides(quads: np.ndarray) -> np.ndarray:
    """Return width and height of each line, (n, 2)."""
    sides = np.linalg.norm(quads - np.roll(quads, -1, axis=1), axis=2)
    return np.stack([sides[:, ::2].max(axis=1), sides[:, 1::2].max(axis=1)], axis=1)


def _at(engine: Any, pixels: np.ndarray, scale: float) -> _Page:
    scaled = _scaled(pixels, scale)
    height, width = scaled.shape[:2]
    sheet = np.full((max(height, 32), max(width, 32), 3), 255, np.uint8)  # the smallest sheet that the detector takes
    sheet[:height, :width] = scaled[:, :, ::-1]
    quads = _detected(engine._load_det_model(), sheet)
    boxes = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1) / scale
    return _Page(sheet, scale, quads, edges_of(_grey(scaled), scale).without(boxes))


def _scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    from PIL import Image

    if scale == 1:
        return pixels
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _grey(pixels: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L"))


def _detected(detector: Any, sheet: np.ndarray) -> np.ndarray:
    """Return the corners of the lines on a sheet, (n, 4, 2) float32.

    A large sheet is looked at in tiles that overlap. The output for each is laid side by side before lines are made of
    it, so a line that lies in two tiles is one line.
    """
    height, width = sheet.shape[:2]
    if height * width <= _TILE**2:
        found = detector(sheet).boxes
    else:
        likely = np.zeros((1, 1, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        padded = np.full((*likely.shape[2:], 3), 255, np.uint8)
        padded[:height, :width] = sheet
        for rows, rows_out in _tiles(padded.shape[0]):
            for columns, columns_out in _tiles(padded.shape[1]):
                seen = padded[rows, columns]
                if np.ptp(seen) > _BLANK:
                    out = detector.session(detector.get_preprocess()(seen))
                    likely[:, :, rows_out, columns_out] = out[
                        :, :, _within(rows_out, rows), _within(columns_out, columns)
                    ]
        found, _ = detector.postprocess_op(likely, padded.shape[:2])
        found = detector.sorted_boxes(found)
    return np.zeros((0, 4, 2), np.float32) if found is None else np.asarray(found, np.float32).reshape(-1, 4, 2)


def _tiles(length: int) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of a side, and the part of each whose output counts; all are multiples of 32."""
    step = _TILE - 2 * _MARGIN
    for start in range(0, length, step):
        stop = min(length, start + step)
        yield slice(max(0, start - _MARGIN), min(length, stop + _MARGIN)), slice(start, stop)


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


# --------------------------------------------------------------------------------------------------- what they say


def _upright(engine: Any, pixels: np.ndarray, page: _Page) -> tuple[int, _Page, list[Line]]:
    """Turn most of a page's lines upright; return the quarter turns to the left, the page and the lines."""
    cuts = _Cuts(engine, page, pixels)
    if turns := cuts.turn:  # singly, short lines are too often taken to be turned otherwise
        page = _turned(engine, page, turns)
        cuts = _Cuts(engine, page, np.rot90(pixels, turns))
    lines = cuts.read()
    if _sureness(lines) < _SURE and cuts.is_read_better_flipped():
        turns = (turns + 2) % 4
        page = _turned(engine, page, 2)
        lines = _Cuts(engine, page, np.rot90(pixels, turns)).read()
    return turns, page, lines


def _sureness(lines: Sequence[Line]) -> float:
    """Return the mean confidence of all letters; 1 without any."""
    return float(np.concatenate([line.confidences for line in lines]).mean()) if lines else 1.0


def _turned(engine: Any, page: _Page, turns: int) -> _Page:
    """Return the page turned, with its lines looked for again, because they are found best upright."""
    pixels = np.ascontiguousarray(np.rot90(page.sheet, turns)[:, :, ::-1])
    return _at(engine, pixels, 1.0)._replace(scale=page.scale)


class _Cuts:
    """The lines of a page, cut out of its picture, which shows worn letters better than the sheet."""

    def __init__(self, engine: Any, page: _Page, pixels: np.ndarray) -> None:
        self._engine = engine
        sheet, self._zoom = _magnified(page, pixels)
        self._quads = page.quads[:_MAX_LINES] * np.float32(self._zoom)
        self._cuts = engine.crop_text_regions(sheet, self._quads)
        self._upright, turned = engine.cls_and_rotate(self._cuts)
        self._flipped = np.array([_is_flipped(result) for result in turned.cls_res])

    @property
    def turn(self) -> int:
        """The quarter turns to the right by which most of the lines, by their length, are turned."""
        long = _sides(self._quads).max(axis=1)
        high = _are_high(self._quads)
        sideways = bool(long[high].sum() > 2 * long[~high].sum())
        long = np.where(high == sideways, long, 0)
        return sideways + 2 * int(long[self._flipped].sum() > long[~self._flipped].sum())

    def is_read_better_flipped(self) -> bool:
        """Return whether a few of the longest lines are read better upside down, which the classifier missed."""
        some = np.argsort(-_sides(self._quads).max(axis=1))[:_TRIED]
        cuts = [np.ascontiguousarray(self._cut_as_read(i)) for i in some.tolist()]
        said = self._engine.recognize_txt([*cuts, *(np.ascontiguousarray(cut[::-1, ::-1]) for cut in cuts)])
        scores = np.array([score if text.strip() else 0 for text, score in zip(said.txts, said.scores, strict=True)])
        return bool(scores[len(cuts) :].mean() > scores[: len(cuts)].mean())

    def _cut_as_read(self, i: int) -> np.ndarray:
        """Return one line as the page has it, whatever the classifier says."""
        cut: np.ndarray = self._upright[i]
        return cut[::-1, ::-1] if self._flipped[i] else cut

    def read(self) -> list[Line]:
        """Read the lines; a line that the classifier takes to be upside down, unlike the page, is read both ways."""
        said = self._engine.recognize_txt(self._upright)
        read = list(zip(said.txts, said.word_results, said.scores, self._flipped.tolist(), strict=True))
        doubtful = np.flatnonzero(self._flipped).tolist()
        if doubtful:
            again = self._engine.recognize_txt([np.ascontiguousarray(self._cut_as_read(i)) for i in doubtful])
            others = zip(again.txts, again.word_results, again.scores, strict=True)
            for i, (text, info, score) in zip(doubtful, others, strict=True):
                if text.strip() and score > read[i][2]:
                    read[i] = text, info, score, False
        lines = zip(read, self._quads, self._cuts, strict=True)
        return [
            _in_picture(_line(text, info, quad, cut, flipped), self._zoom)
            for (text, info, _, flipped), quad, cut in lines
            if text.strip()
        ]


def _magnified(page: _Page, pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the sheet to cut a page's lines out of, and how many times as large as the page's sheet it is."""
    size = pixels.shape[1], pixels.shape[0]
    scale = within(size, page.scale * _CUT / max(page.height, 1), _AREA)
    if page.scale > 0.8 or scale < 1.2 * page.scale:  # the sheet shows as much as the picture
        return page.sheet, 1.0
    return np.ascontiguousarray(_scaled(np.ascontiguousarray(pixels), scale)[:, :, ::-1]), scale / page.scale


def _is_flipped(result: tuple[str, float]) -> bool:
    label, score = result
    return "180" in label and score > 0.9


def _are_high(quads: np.ndarray) -> np.ndarray:
    """Return which lines RapidOCR turns a quarter turn to the left, (n,) bool."""
    width, height = _sides(quads).astype(int).T
    return np.asarray(height >= 1.5 * width)


def _line(text: str, info: Any, quad: np.ndarray, cut: np.ndarray, flipped: bool) -> Line:
    """Return a line with the places of its characters.

    info: the decoder's steps. quad: (4, 2) the line's corners, clockwise from top left. cut: its pixels, which RapidOCR
        turns a quarter turn to the left if they are high. flipped: whether it then read them upside down.
    """
    high = bool(_are_high(quad[None])[0])
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
    across, down = ((right - left) / 4, 0.0) if high else (0.0, (bottom - top) / 4)
    edge = left + across, top + down, right - across, bottom - down
    return Line(text, boxes, np.asarray(info.confs), high + 2 * flipped, *edge)


def _spans(text: str, info: Any, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and end of each of n characters on its line: two (n,), 0 to 1. White space has no width."""
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
    """Return which columns of pixels have ink, (width,) bool, leaving out the edges of neighbouring lines."""
    height = cut.shape[0]
    grey = cut[height // 6 : height - height // 6].mean(axis=2)
    far = np.abs(grey - np.median(grey))
    return np.asarray((far > max(24, 0.3 * far.max())).any(axis=0))


def _gap(inked: np.ndarray, left: float, right: float) -> tuple[float, float]:
    """Return the start and end of the widest white space between the centres of two letters."""
    first = int(left)
    ink = np.flatnonzero(np.concatenate([[True], inked[first : int(right) + 1], [True]]))
    widest = int(np.diff(ink).argmax())
    start, end = int(ink[widest]), int(ink[widest + 1]) - 1
    if end - start < 2:
        return left + (right - left) / 3, right - (right - left) / 3
    return first + start, first + end
