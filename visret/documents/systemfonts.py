"""Fonts of this machine for text whose font a PDF names but does not embed.

PDFium looks in the folders of the system. Here it is also shown those of the user (on Linux; elsewhere it knows them),
and the fonts for Chinese, Japanese and Korean that it does not find at all are noted.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pypdfium2

_log = logging.getLogger(__name__)
_CODE_PAGES = {128: 1 << 17, 134: 1 << 18, 129: 1 << 19, 136: 1 << 20}  # PDFium's character sets -> the bits in OS/2
_HAN = 1 << 17 | 1 << 18 | 1 << 20  # these have Chinese characters, though not all of each other's
_MAX_FILES = 2_000  # font files of a user that are looked at
_MAX_BYTES = 1 << 27
_missed: list[str] = []


def install() -> None:
    """Have PDFium ask here for fonts. Call this once, when PDFium has been set up."""
    try:
        _Fonts().setup()
    except pypdfium2.PdfiumError:  # a system for which PDFium knows no folders
        _log.debug("PDFium has no fonts of the system to add to")


def missed() -> list[str]:
    """Return the names of fonts that were asked for and not found since the last call."""
    names = list(dict.fromkeys(_missed))
    _missed.clear()
    return names


class _Font(NamedTuple):
    """A font file. pages: the bits of the code pages that it claims to cover."""

    path: Path
    pages: int


class _Fonts(pypdfium2.PdfSysfontBase):  # type: ignore[misc]
    """PDFium's own fonts and the user's; the methods have the names that PDFium gives them.

    The handle of a font of the user's is its place in `_of_user`, from 1.
    """

    def MapFont(self, _: Any, weight: int, italic: int, charset: int, pitch: int, face: Any, exact: Any) -> int | None:  # noqa: N802
        found = self._of_system(weight, italic, charset, pitch, face, exact)
        if found or charset not in _CODE_PAGES:
            return found
        for wanted in (_CODE_PAGES[charset], _HAN if _CODE_PAGES[charset] & _HAN else 0):
            for handle, font in enumerate(_of_user(), 1):
                if font.pages & wanted:
                    return handle
        name = ctypes.cast(face, ctypes.c_char_p).value or b""
        _missed.append(name.decode("utf-8", "replace"))
        return None

    def _of_system(self, *wanted: Any) -> int | None:
        found: int | None = self.default.MapFont(self.default, *wanted)
        return found

    def GetFontData(self, _: Any, handle: int, table: int, buffer: Any, size: int) -> int:  # noqa: N802
        if not _is_own(handle):
            return int(self.default.GetFontData(self.default, handle, table, buffer, size))
        data = _data(handle) if table == 0 else b""
        if buffer and len(data) <= size:
            ctypes.memmove(buffer, data, len(data))
        return len(data)

    def GetFaceName(self, _: Any, handle: int, buffer: Any, size: int) -> int:  # noqa: N802
        if not _is_own(handle):
            return int(self.default.GetFaceName(self.default, handle, buffer, size))
        name = b"%s\0" % _of_user()[handle - 1].path.stem.encode("ascii", "replace")
        if buffer and len(name) <= size:
            ctypes.memmove(buffer, name, len(name))
        return len(name)

    def GetFontCharset(self, _: Any, handle: int) -> int:  # noqa: N802
        if not _is_own(handle):
            return int(self.default.GetFontCharset(self.default, handle))
        pages = _of_user()[handle - 1].pages
        return next(charset for charset, bit in _CODE_PAGES.items() if pages & bit)

    def DeleteFont(self, _: Any, handle: int) -> None:  # noqa: N802
        if not _is_own(handle):
            self.default.DeleteFont(self.default, handle)


def _is_own(handle: int | None) -> bool:
    return handle is not None and 0 < handle <= _MAX_FILES  # no address is that small


@functools.lru_cache(1)
def _data(handle: int) -> bytes:
    try:
        return _of_user()[handle - 1].path.read_bytes()
    except OSError:
        return b""


@functools.cache
def _of_user() -> tuple[_Font, ...]:
    """Return the user's fonts for Chinese, Japanese and Korean, regular ones first."""
    files = (path for folder in _folders() for path in sorted(folder.rglob("*")))
    fonts = [
        path
        for path, _ in zip(files, range(_MAX_FILES), strict=False)
        if path.suffix.lower() in {".ttf", ".otf", ".ttc"}
    ]
    found = [_Font(path, pages) for path in fonts if (pages := _pages(path)) & sum(_CODE_PAGES.values())]
    return tuple(sorted(found, key=lambda font: "regular" not in font.path.stem.lower()))


def _folders() -> Iterator[Path]:
    if sys.platform in {"win32", "darwin"}:
        return
    with suppress(RuntimeError):  # a user without a home
        yield Path.home() / ".fonts"
        yield Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "fonts"


def _pages(path: Path) -> int:
    """Return the code pages that a font claims to cover: ulCodePageRange1 in the table OS/2 (OpenType 1.9)."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return 0
        with path.open("rb") as file:
            start = struct.unpack(">12xI", head)[0] if (head := file.read(16))[:4] == b"ttcf" else 0
            file.seek(start)
            count = struct.unpack(">4xH6x", file.read(12))[0]
            for _ in range(count):
                tag, at = struct.unpack(">4s4xI4x", file.read(16))
                if tag == b"OS/2":
                    file.seek(at)
                    version, pages = struct.unpack(">H76xI", file.read(82))
                    return int(pages) if version else 0
    except (OSError, struct.error):
        pass  # not a font, whatever its name
    return 0
