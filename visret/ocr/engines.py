"""The engine that reads pictures of pages on this machine, RapidOCR or `glyph`, and the cache of what was read.

Both engines come with their weights, so nothing is downloaded. RapidOCR (extra `ocr`) reads more scripts and worse
pictures; `glyph` takes a tenth of the time or less (tests/benchmarks/scans.py).
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visret.errors import InvalidArgument, MissingExtra
from visret.folders import cache_folder
from visret.models import weights
from visret.ocr import glyph, rapidocr
from visret.ocr.lines import Reading
from visret.types import Loss, Word

if TYPE_CHECKING:
    from PIL.Image import Image

ENGINES = ("rapidocr", "glyph")
NAMES = {"rapidocr": "RapidOCR", "glyph": "glyph"}
DPI = {"rapidocr": rapidocr.DPI, "glyph": glyph.DPI}  # the resolution at which an engine is given a page
# of a page as it is drawn: a small page may be a large one whose size is stated wrongly
_MIN_PIXELS = {"rapidocr": 500_000, "glyph": 1_000_000}
_MAX_DPI = 1200

_CACHE_FORMAT = 2
_CACHE_SHARD = 100  # files in each of 256 folders: about 500 MB in all

_last = threading.local()  # read: the image that was read last, and how many times finer it should be

_log = logging.getLogger(__name__)


def engine() -> str:
    """Return the name of this machine's engine: RapidOCR if it is installed, unless VISRET_OCR names the other.

    Raises InvalidArgument if VISRET_OCR names neither, and MissingExtra if it names RapidOCR, which is not installed.
    """
    installed = rapidocr.version() is not None
    chosen = os.environ.get("VISRET_OCR") or ("rapidocr" if installed else "glyph")
    if chosen not in ENGINES:
        raise InvalidArgument(f"VISRET_OCR: {chosen!r} is not one of {', '.join(ENGINES)}")
    if chosen == "rapidocr" and not installed:
        raise MissingExtra("VISRET_OCR says rapidocr, which is not installed: pip install 'visret[ocr]'")
    return chosen


def read(image: Image, *, dpi: float | None = None, threads: int | None = None) -> Reading:
    """Read the words of an RGB picture of a page, and keep them in the cache folder for the next time.

    dpi: that of the picture; None for the resolution that suits the engine best. The search for letters begins there,
    since the resolution may be wrong, and so may the way up. threads: of the one engine of this process; None for all
    cores. RapidOCR has one engine, for which calls from several threads wait.
    """
    name = engine()
    version = f"{_weights()}-{glyph.READING}" if name == "glyph" else rapidocr.version()
    dpi = dpi or DPI[name]
    pixels = np.asarray(image.convert("RGB"))
    key = hashlib.sha256(repr((pixels.shape, round(dpi))).encode())
    key.update(np.ascontiguousarray(pixels).data)
    folder = cache_folder() / "ocr" / f"{name}-{version}-{_CACHE_FORMAT}"
    file = folder / key.hexdigest()[:2] / f"{key.hexdigest()}.json"
    reading = _load(file)
    if reading is None:
        reading = _read_by_glyph(image, dpi, threads) if name == "glyph" else rapidocr.read(pixels, dpi, threads)
        _save(file, reading)
    _last.read = image, reading.finer
    return reading


def dpi_of(size_pt: tuple[float, float]) -> float:
    """Return the resolution at which a page is drawn for reading: more than DPI if it would have few pixels."""
    name = engine()
    return max(DPI[name], min(_MAX_DPI, 72 * math.sqrt(_MIN_PIXELS[name] / (size_pt[0] * size_pt[1]))))


def better_dpi(image: Image, dpi: float) -> float:
    """Return the resolution at which a page is drawn again if its letters had too few pixels at `dpi`; else `dpi`.

    It depends on what `read` has just read of this very image, in this thread; of any other image nothing is known.
    """
    read_last: tuple[Image, float] | None = getattr(_last, "read", None)
    finer = read_last[1] if read_last is not None and read_last[0] is image else 1.0
    return min(_MAX_DPI, dpi * finer)


# --------------------------------------------------------------------------------------------------- glyph


@functools.cache  # a process keeps the networks it has loaded
def _weights() -> str:
    return weights.sha256(weights.BUNDLED / "model.safetensors")[:12]


def _read_by_glyph(image: Image, dpi: float, threads: int | None) -> Reading:
    import torch

    from visret.ocr.glyph import reading

    if threads:
        torch.set_num_threads(threads)
    return reading.bundled().read(image, dpi=dpi)


# --------------------------------------------------------------------------------------------------- cache


def _load(file: Path) -> Reading | None:
    try:
        finer, lost, *stored = json.loads(file.read_text("utf8"))
        words = tuple(
            Word(text, tuple(box), tuple((start, tuple(part)) for start, part in rest), line)
            for text, line, _, box, rest in stored
        )
        return Reading(
            words, tuple(confidence for _, _, confidence, _, _ in stored), finer, tuple(Loss(*loss) for loss in lost)
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s cannot be used, so the page is read again: %s", file, error)
        return None


def _save(file: Path, reading: Reading) -> None:
    """Write what was read to a draft, and rename it; the oldest files of a full folder make room."""
    placed = zip(reading.words, reading.confidences, strict=True)
    words = [[word.text, word.line, confidence, word.box, word.rest] for word, confidence in placed]
    stored = [reading.finer, reading.lost, *words]
    draft = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(stored, ensure_ascii=False, separators=(",", ":")), "utf8")
        draft.replace(file)
        kept = sorted(file.parent.iterdir(), key=lambda f: f.stat().st_mtime)
        for old in kept[:-_CACHE_SHARD]:
            old.unlink(missing_ok=True)
    except OSError as error:  # a read-only home, or a full disk: read again next time
        _say_not_kept(cache_folder(), error.strerror or str(error))


@functools.cache  # once, and not for every page
def _say_not_kept(folder: Path, reason: str) -> None:
    _log.warning("%s: readings of pictures cannot be kept (%s); set VISRET_CACHE to another folder", folder, reason)
