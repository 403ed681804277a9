"""Bytes to text, where nobody has said in which encoding."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from visret.types import Loss

_MARKS = {  # the longest first: UTF-32's begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


class Decoded(NamedTuple):
    """A text, the encoding it was in (Python's name of it), and what of it could not be read."""

    text: str
    encoding: str
    lost: tuple[Loss, ...] = ()


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """The text that bytes are, without a byte order mark; line ends stay as they are.

    declared: the encoding that the file, or what it came in, claims to be in. A byte order mark and valid UTF-8 are
    believed before it, and it is passed over where no such encoding exists or the bytes are none of it.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return _replaced(data[len(mark) :], encoding)
    for name in ("utf-8", declared or "ascii"):
        try:
            return Decoded(data.decode(name), name)
        except (UnicodeDecodeError, LookupError):
            continue
    return _replaced(data, "cp1252")


def _replaced(data: bytes, encoding: str) -> Decoded:
    """The text, with U+FFFD for every piece that is not of this encoding."""
    text = data.decode(encoding, "replace")
    return Decoded(text, encoding)
