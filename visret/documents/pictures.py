"""Pictures of pages: PNG, JPEG, TIFF with several pages, WebP, BMP, GIF, and HEIC where pillow-heif is installed."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from visret import forks
from visret.documents.document import Content, Document, corners, pixels, resolution
from visret.errors import DocumentError
from visret.types import Box, Loss

_pillow_lock = forks.Lock()  # warnings.catch_warnings is not thread-safe
_PICTURE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_TIFF_DATA = {273, 324}  # StripOffsets, TileOffsets
_WITH_PAGES = ("TIFF", "HEIF")
NO_HEIF = "needs pillow-heif: pip install 'visret[heic]'"
_RENAME = "rename it with the ending of its real format, or copy it again"
_HEIF = re.compile(rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
_PICTURE_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, MemoryError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)  # what Pillow's readers raise on damaged files

_WHITE, _GREY, _BLACK = (255, 255, 255), (112, 112, 112), (0, 0, 0)
_LIGHT = 190  # of 255: brighter pixels are hard to see on white
_THIN = 0.02  # share of opaque pixels on the outline: higher in writing, lower in a sheet of paper
_ENOUGH_PIXELS = 4_000_000  # to choose a background by


def opened(path: Path, _: str | None) -> Document:
    """Open the picture in a file, whatever its name says."""
    with path.open("rb") as file:
        head = file.read(1024)
    return Picture(path, head)


class Picture(Document):
    """A picture, or those of a TIFF or HEIC file. Its size in points follows the resolution it states, or 100 dpi."""

    def __init__(self, path: Path, head: bytes) -> None:
        super().__init__(path)
        formats = _heif(path) if _HEIF.match(head) else _PICTURE_FORMATS
        with _quiet_pillow():
            try:
                self._stored = Image.open(path, formats=formats)
            except UnidentifiedImageError as error:
                start = head[:24].decode("ascii", "replace").split("\n")[0].strip()
                said = f"is not a picture that can be read: it begins with {start!r}; {_RENAME}"
                if path.suffix.lower() == ".pdf":
                    said = f"is not a PDF: it begins with {start!r}"
                raise DocumentError(path, said) from error
            except _PICTURE_ERRORS as error:
                raise _unread(path, error) from error
            self._length = _frames(self._stored) if self._stored.format in _WITH_PAGES else 1
            if self._length == 1 and getattr(self._stored, "is_animated", False):
                self.lost.append(
                    Loss("the pictures of the animation after the first", "save them as files of their own")
                )

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        """Close the file; no page can be read afterwards."""
        self._stored.close()

    def _read(self, number: int, *, image: bool, words: bool, dpi: float, max_pixels: int, box: Box | None) -> Content:
        with _quiet_pillow():
            try:
                stored = self._stored
                stored.seek(number - 1)
                if isinstance(stored, TiffImageFile) and not _TIFF_DATA & stored.tag_v2.keys():  # or it shows another
                    raise OSError("its data is missing")
                x_dpi, y_dpi = _stated_dpi(stored)
                if stored.getexif().get(0x0112, 1) >= 5:  # Orientation: lies on its side
                    x_dpi, y_dpi = y_dpi, x_dpi
                shown = ImageOps.exif_transpose(stored)
                size_pt = shown.width * 72 / x_dpi, shown.height * 72 / y_dpi
                if not image:
                    return Content(size_pt, None, () if words else None)
                size_px = pixels(size_pt, resolution(size_pt, min(dpi, max(x_dpi, y_dpi)), max_pixels, box))
                shown = _rgb(shown)
            except _PICTURE_ERRORS as error:
                raise _unread(self.path, error, number if len(self) > 1 else None) from error
        drawn = shown if shown.size == size_px else shown.resize(size_px, Image.Resampling.LANCZOS)
        return Content(size_pt, drawn if box is None else drawn.crop(corners(box, size_px)), () if words else None)


def reads_heif() -> bool:
    """Return whether pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def _heif(path: Path) -> tuple[str, ...]:
    """Let Pillow read HEIC, and return its name of the format. Raises DocumentError where pillow-heif is missing."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise DocumentError(path, NO_HEIF) from error
    register_heif_opener()
    return ("HEIF",)


def _frames(image: Image.Image) -> int:
    """Count the pictures of a file up to the first damaged one, which is counted and fails when it is read."""
    number = 0
    while True:
        try:
            image.seek(number)
        except EOFError:  # the end
            return number
        except _PICTURE_ERRORS:
            return number + 1
        number += 1


def _unread(path: Path, error: BaseException, page: int | None = None) -> DocumentError:
    if isinstance(error, MemoryError):
        return DocumentError(path, "needs more memory than there is; reduce it", page=page)
    if isinstance(error, Image.DecompressionBombError):
        most = f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
        return DocumentError(path, f"has more than {most}; reduce it", page=page)
    return DocumentError(path, f"is a damaged picture ({error}); copy or export it again", page=page)


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow, which warns of large files, odd tags and lost transparency; none of it concerns the reader."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _stated_dpi(image: Image.Image) -> tuple[float, float]:
    """Return the horizontal and vertical dpi as stored; 100 where the file states none, or nonsense."""
    try:
        x_dpi, y_dpi = (float(v) for v in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return 100, 100
    return (x_dpi, y_dpi) if all(30 <= v <= 5000 for v in (x_dpi, y_dpi)) else (100, 100)


def _rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; transparent parts get a background, and more than 8 bits are scaled, not clipped."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        peak = float(values.max(initial=0))
        top = 65535.0 if image.mode.startswith("I;16") else next((t for t in (1, 255, 65535) if peak <= t), peak)
        return Image.fromarray(np.clip(values * (255 / top), 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _ground(image)), image).convert("RGB")
    return image.convert("RGB")


def _ground(image: Image.Image) -> tuple[int, int, int]:
    """Choose a background: white, unless a drawing in RGBA is light; then black, or grey where parts of it are dark.

    The outline decides, where the drawing meets its background. A sheet of paper has little outline for its size, and
    stands on white.
    """
    rows = max(1, image.width * image.height // _ENOUGH_PIXELS)
    alpha = np.asarray(image.getchannel("A"))[::rows]
    opaque = alpha > alpha.max(initial=0) // 2
    outline = np.zeros(opaque.shape, bool)
    outline[:, 1:] |= opaque[:, 1:] & ~opaque[:, :-1]
    outline[:, :-1] |= opaque[:, :-1] & ~opaque[:, 1:]
    grey = np.where(opaque, np.asarray(image.convert("L"))[::rows], 255)
    for step in (1, 2):  # the edge of a dark letter is light where it was smoothed on white
        grey[:, step:] = np.minimum(grey[:, step:], grey[:, :-step])
        grey[:, :-step] = np.minimum(grey[:, :-step], grey[:, step:])
    light = int((outline & (grey > _LIGHT)).sum())
    if light <= _THIN * opaque.sum():
        return _WHITE
    return _BLACK if light > 0.9 * outline.sum() else _GREY
