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
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visret import _joined, _rapidocr, _trust, glyph, registry
from visret._lines import Reading
from visret.errors import InvalidQuery, MissingExtra
from visret.types import Loss, Page, Word

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = ("auto", "never", "always")
ENGINES = ("rapidocr", "glyph")
_NAMES = {"rapidocr": "RapidOCR", "glyph": "glyph"}
DPI = {"rapidocr": _rapidocr.DPI, "glyph": glyph.DPI}  # at which an engine is given a page
LONGEST = 2400  # pixels of the longer side; RapidOCR's memory grows with the area (1.0 GB at 1,170, 1.4 at 2,340)

_CACHE_FORMAT = 1
_CACHE_SHARD = 100  # files in each of 256 folders: about 500 MB in all

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

    dpi: of the picture; None for what the engine is given best. threads: of the one engine of this process; None for
    every core. RapidOCR has one engine, for which calls from several threads wait.
    """
    name = engine()
    version = _weights() if name == "glyph" else _rapidocr.version()
    dpi = dpi or DPI[name]
    pixels = np.asarray(image.convert("RGB"))
    key = hashlib.sha256(repr((pixels.shape, round(dpi))).encode())
    key.update(np.ascontiguousarray(pixels).data)
    folder = registry.cache_folder() / "ocr" / f"{name}-{version}-{_CACHE_FORMAT}"
    file = folder / key.hexdigest()[:2] / f"{key.hexdigest()}.json"
    known = _load(file)
    if known is not None:
        return known
    reading = _read_by_glyph(image, dpi, threads) if name == "glyph" else _rapidocr.read(pixels, threads, LONGEST)
    _save(file, reading)
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
    """At which a page is drawn to be read: less than DPI where it would have more than LONGEST pixels on a side."""
    return min(DPI[engine()], LONGEST * 72 / max(size_pt))


def with_words(page: Page, mode: str = "auto", *, threads: int | None = None) -> Page:
    """The page with the words its image shows besides its own, and METADATA; the page itself where there are none.

    mode: "auto" reads the image only where the page's own words are not all that stands on it, or not what stands on it
    (`_trust`); "always"; "never". Its own words stay as they are, unless they are without meaning, or what is read in
    their place is something else in better words.
    """
    if mode == "never" or page.image is None:
        return page
    image, dpi = _reduced(page.image, page.size_pt)

    def said(picture: Image) -> Reading:
        return read(picture, dpi=dpi, threads=threads)

    own = _trust.sensible(page.words or ())
    doubt = _trust.ANY if mode == "always" else _trust.doubt(page, own, image, said)
    if doubt is None:
        return page
    whole = said(image)
    own = _joined.believed(own, whole, doubt)
    new = _joined.missing(own, whole)
    kept = _trust.without_nonsense(new)
    if len(kept.words) < len(new.words) or _trust.is_unread([*own, *new.words], page, image):
        kept = _trust.without_nonsense(new, unread=True)
        page = replace(page, lost=(*page.lost, _unreadable()))
    if not kept.words:
        return page
    metadata = {**page.metadata, METADATA: round(kept.confidence, 3)}
    return replace(page, words=_joined.joined(own, kept), metadata=metadata)


def _unreadable() -> Loss:
    by = engine()
    more = "pip install 'visret[ocr]' reads Chinese, Japanese and worse pictures; for other scripts, " * (by == "glyph")
    layer = "put a text layer on it with an OCR program that knows the script, such as ocrmypdf"
    return Loss(f"print in a picture that {_NAMES[by]} cannot read, as in another script", more + layer)


def _reduced(image: Image, size_pt: tuple[float, float] | None) -> tuple[Image, float | None]:
    """At most what the engine is given; and the dpi that it has, None if nothing says it."""
    from PIL import Image as Pictures

    if size_pt is None:
        return image, None
    dpi, most = image.width * 72 / size_pt[0], DPI[engine()]
    if dpi <= most:
        return image, dpi
    size = max(1, round(image.width * most / dpi)), max(1, round(image.height * most / dpi))
    return image.resize(size, Pictures.Resampling.LANCZOS), most


# --------------------------------------------------------------------------------------------------- glyph


@functools.cache  # as long as a process runs, its networks are those it has loaded
def _weights() -> str:
    return registry.sha256(registry.BUNDLED / "model.safetensors")[:12]


def _read_by_glyph(image: Image, dpi: float, threads: int | None) -> Reading:
    import torch

    from visret.glyph import reading

    if threads:
        torch.set_num_threads(threads)
    return reading.bundled().read(image, dpi=dpi)


# --------------------------------------------------------------------------------------------------- cache


def _load(file: Path) -> Reading | None:
    try:
        stored = json.loads(file.read_text("utf8"))
        words = tuple(
            Word(text, tuple(box), tuple((start, tuple(part)) for start, part in rest), line)
            for text, line, _, box, rest in stored
        )
        return Reading(words, tuple(confidence for _, _, confidence, _, _ in stored))
    except (FileNotFoundError, NotADirectoryError):
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
        _say_not_kept(registry.cache_folder(), error.strerror or str(error))


@functools.cache  # once, and not for every page
def _say_not_kept(folder: Path, reason: str) -> None:
    _log.warning("%s: what was read from pictures cannot be kept (%s); set VISRET_CACHE to another", folder, reason)
