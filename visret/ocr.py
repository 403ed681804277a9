"""The words of a picture of a page: read by RapidOCR where it is installed (extra `ocr`), else by `glyph`.

    reading = ocr.read(image)
    reading.words, reading.confidence

Reading order and hyphens are those of the text layer. Both come with their weights: nothing is downloaded. RapidOCR
reads more scripts and worse pictures; `glyph` takes a tenth of the time or less (tests/benchmarks/scans.py).
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visret import _joined, _rapidocr, _trust, glyph
from visret._choices import OCR_MODES as MODES
from visret._folders import cache_folder
from visret._lines import Reading
from visret.errors import InvalidQuery, MissingExtra
from visret.models import weights
from visret.types import Loss, Page, Word

if TYPE_CHECKING:
    from PIL.Image import Image

ENGINES = ("rapidocr", "glyph")
_NAMES = {"rapidocr": "RapidOCR", "glyph": "glyph"}
DPI = {"rapidocr": _rapidocr.DPI, "glyph": glyph.DPI}  # at which an engine is given a page
# of a page as it is drawn: a small one may be a large one whose size is stated wrongly
_LEAST_PIXELS = {"rapidocr": 500_000, "glyph": 1_000_000}
_HIGHEST_DPI = 1200

_CACHE_FORMAT = 2
_CACHE_SHARD = 100  # files in each of 256 folders: about 500 MB in all

_last = threading.local()  # read: the image that was read last, and how much finer it should be

METADATA = "ocr_confidence"  # a page whose words were read here has it in its metadata: their mean confidence

_log = logging.getLogger(__name__)


def engine() -> str:
    """What reads on this machine: RapidOCR where it is installed, unless VISRET_OCR names the other.

    InvalidQuery where it names neither; MissingExtra where it names RapidOCR, and that is not installed.
    """
    installed = _rapidocr.version() is not None
    chosen = os.environ.get("VISRET_OCR") or ("rapidocr" if installed else "glyph")
    if chosen not in ENGINES:
        raise InvalidQuery(f"VISRET_OCR: {chosen!r} is not one of {', '.join(ENGINES)}")
    if chosen == "rapidocr" and not installed:
        raise MissingExtra("VISRET_OCR says rapidocr, which is not installed: pip install 'visret[ocr]'")
    return chosen


def read(image: Image, *, dpi: float | None = None, threads: int | None = None) -> Reading:
    """The words of an RGB picture of a page, kept in the cache folder for the next time.

    dpi: of the picture; None for what the engine is given best. It is where the search for letters begins, and may be
    wrong; so may the way up. threads: of the one engine of this process; None for
    every core. RapidOCR has one engine, for which calls from several threads wait.
    """
    name = engine()
    version = f"{_weights()}-{glyph.READING}" if name == "glyph" else _rapidocr.version()
    dpi = dpi or DPI[name]
    pixels = np.asarray(image.convert("RGB"))
    key = hashlib.sha256(repr((pixels.shape, round(dpi))).encode())
    key.update(np.ascontiguousarray(pixels).data)
    folder = cache_folder() / "ocr" / f"{name}-{version}-{_CACHE_FORMAT}"
    file = folder / key.hexdigest()[:2] / f"{key.hexdigest()}.json"
    reading = _load(file)
    if reading is None:
        reading = _read_by_glyph(image, dpi, threads) if name == "glyph" else _rapidocr.read(pixels, dpi, threads)
        _save(file, reading)
    _last.read = image, reading.finer
    return reading


def usable_mode(mode: str, modality: str) -> str:
    """What comes of `mode` with a model that reads "text" or looks at an "image": "auto" is "never" with the latter.

    InvalidQuery for another mode, and for "always" with a model that reads no words; what `engine` raises.
    """
    if mode not in MODES:
        raise InvalidQuery(f"ocr: {mode!r} is not one of {', '.join(MODES)}")
    if modality == "text":
        engine()  # a wrong setting is an error before the first file
        return mode
    if mode == "always":
        raise InvalidQuery("ocr: this model looks at the pictures of pages and reads no words; leave 'always' out")
    return "never"


def dpi_of(size_pt: tuple[float, float]) -> float:
    """At which a page is drawn to be read: more than DPI where it would have few pixels."""
    name = engine()
    return max(DPI[name], min(_HIGHEST_DPI, 72 * math.sqrt(_LEAST_PIXELS[name] / (size_pt[0] * size_pt[1]))))


def better_dpi(image: Image, dpi: float) -> float:
    """At which a page that was drawn at `dpi` is drawn again, since its letters have too few pixels; else `dpi`.

    It goes by what `read` has just read of this very image, in this thread; of another one nothing is known.
    """
    read_last: tuple[Image, float] | None = getattr(_last, "read", None)
    finer = read_last[1] if read_last is not None and read_last[0] is image else 1.0
    return min(_HIGHEST_DPI, dpi * finer)


def with_words(page: Page, mode: str = "auto", *, threads: int | None = None) -> Page:
    """The page with the words its image shows besides its own, and METADATA; the page itself where there are none.

    mode: "auto" reads the image only where the page's own words are not all that stands on it, or not what stands on it
    (`_trust`); "always"; "never". Its own words stay as they are, unless they are without meaning, or what is read in
    their place is something else in better words.
    """
    if mode == "never" or page.image is None:
        return page
    image, dpi = page.image, _dpi_of(page.image, page.size_pt)

    def said(picture: Image) -> Reading:
        return read(picture, dpi=dpi, threads=threads)

    own = _trust.sensible(page.words or ())
    doubt = _trust.ANY if mode == "always" else _trust.doubt(page, own, image, said)
    if doubt is None:
        return page
    whole = said(image)
    if whole.lost:
        page = replace(page, lost=(*page.lost, *whole.lost))
    own = _joined.believed(own, whole, doubt)
    new = _joined.missing(own, whole)
    kept = _trust.without_nonsense(new)
    if len(kept.words) < len(new.words) or _trust.is_unread([*own, *new.words], page, image):
        kept = _trust.without_nonsense(new, unread=True)
        page = replace(page, lost=(*page.lost, _unreadable()))
    if not kept.words:
        return page
    metadata = {**page.metadata, METADATA: round(float(kept.confidence), 3)}
    return replace(page, words=_joined.joined(own, kept), metadata=metadata)


def _unreadable() -> Loss:
    by = engine()
    more = "pip install 'visret[ocr]' reads Chinese, Japanese and worse pictures; for other scripts, " * (by == "glyph")
    layer = "put a text layer on it with an OCR program that knows the script, such as ocrmypdf"
    return Loss(f"print in a picture that {_NAMES[by]} cannot read, as in another script", more + layer)


def _dpi_of(image: Image, size_pt: tuple[float, float] | None) -> float | None:
    """That the image of a page has; None if nothing says it."""
    return None if size_pt is None else image.width * 72 / size_pt[0]


# --------------------------------------------------------------------------------------------------- glyph


@functools.cache  # as long as a process runs, its networks are those it has loaded
def _weights() -> str:
    return weights.sha256(weights.BUNDLED / "model.safetensors")[:12]


def _read_by_glyph(image: Image, dpi: float, threads: int | None) -> Reading:
    import torch

    from visret.glyph import reading

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
        _log.warning("%s cannot be used, the page is read again: %s", file, error)
        return None


def _save(file: Path, reading: Reading) -> None:
    """Written aside and renamed; the oldest of a full folder make room."""
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
    _log.warning("%s: what was read from pictures cannot be kept (%s); set VISRET_CACHE to another", folder, reason)
