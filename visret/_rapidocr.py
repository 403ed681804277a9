"""The lines of a picture of a page, read by RapidOCR (extra `ocr`).

It finds lines of text and reads each; where its characters lie on the line comes from the steps of its decoder (about a
third of a letter wide), made exact at the white space between words. Its models travel in its package. They read Latin
script, Chinese and Japanese.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from typing import Any

import numpy as np

from visret import _forks
from visret._lines import Line, Reading, arranged

# The resolution to read at. Words of the text layer found again on 20 pages of manuals and papers, and seconds of one
# core a page: 96.1 % and 6.4 s at 100 dpi, 94.3 % and 8.2 s at 144, 93.6 % and 11.3 s at 200.
DPI = 100

_lock = _forks.Lock()  # RapidOCR keeps state in its engine
_engines: dict[int | None, Any] = {}


def _forked() -> None:
    """Others are made here. The parent's are never let go of: their ends wait for threads that are not there."""
    for engine in _engines.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    _engines.clear()


_forks.in_child(_forked)


def version() -> str | None:
    """Of RapidOCR; None where it, or what runs its models, is not installed."""
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
                "Det.limit_side_len": 32,  # by default it enlarges to 736 pixels, a strip out of all bounds
                "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1,
            }
        )
    return _engines[threads]


def read(pixels: np.ndarray, threads: int | None, longest: int) -> Reading:
    """The words of (h, w, 3) uint8 RGB pixels, made smaller where a side has more than `longest`."""
    # RapidOCR's own steps, because its words come with the probability of another word's character (3.10)
    from PIL import Image

    height, width = pixels.shape[:2]
    if (scale := longest / max(width, height)) < 1:
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
    return arranged(lines, width, height)


def _line(text: str, info: Any, quad: np.ndarray, cut: np.ndarray, flipped: bool) -> Line:
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
    return Line(text, boxes, np.asarray(info.confs), high + 2 * flipped, left, top + inset, right, bottom - inset)


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
