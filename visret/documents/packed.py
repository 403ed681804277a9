"""A search for keys in a PDF without parsing it, including the objects that are packed into compressed streams."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

_ROOT = re.compile(rb"/Root\s+(\d+)\s+\d+\s+R")
_FIRST = re.compile(rb"/First\s+(\d+)")
_EMBEDDED = re.compile(rb"/EmbeddedFile(?!\w)")
_NUMBER = re.compile(rb"(\d+)\s+\d+\s+obj\b(?!.*\bobj\b)", re.DOTALL)  # the number of the last object that begins
_NAMED = 1_000  # embedded files that are counted
_MAX_BYTES = 1 << 28  # bytes of a file that is looked through, and of what is packed in it
_HEAD = 2_000  # bytes around "/ObjStm" that hold the rest of its dictionary
_MAX_STREAM_BYTES = 1 << 24  # bytes of a stream of objects that are unpacked


def catalogue_may_hold(path: Path, key: bytes) -> bool:
    """Return whether a key may be in a document's catalogue; also True where a password or the file's size hides it."""
    data = _bytes(path)
    if data is None or key in data:
        return True
    if b"/ObjStm" not in data:
        return False
    roots = {found[1] for at in _all(data, b"/Root") if (found := _ROOT.match(data, at))}
    return not roots or b"/Encrypt" in data or any(key in objects for objects in _unpacked(data, roots))


def may_hold(path: Path, key: bytes) -> bool:
    """Return whether a key may be anywhere in a document; also True where a password or the file's size hides it."""
    data = _bytes(path)
    if data is None or key in data:
        return True
    if b"/ObjStm" not in data:
        return False
    return b"/Encrypt" in data or any(key in objects for objects in _unpacked(data, None))


def embedded_files(path: Path) -> int:
    """Count the files in a document by the streams that say they are files; 0 also where its size hides them."""
    data = _bytes(path) or b""
    heads = (data[max(0, found.start() - _HEAD) : found.start()] for found in islice(_EMBEDDED.finditer(data), _NAMED))
    return len({number[1] for head in heads if (number := _NUMBER.search(head))})


def _bytes(path: Path) -> bytes | None:
    """Read the file; None where it is too large to be searched."""
    return path.read_bytes() if path.stat().st_size <= _MAX_BYTES else None


def _all(data: bytes, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


def _unpacked(data: bytes, wanted: set[bytes] | None) -> Iterator[bytes]:
    """Yield the unpacked streams of objects that hold one of the wanted numbers, or all of them, up to a total size."""
    left = _MAX_BYTES
    for at in _all(data, b"/ObjStm"):
        start = data.find(b"stream", at, at + _HEAD)
        first = _FIRST.search(data[max(0, at - _HEAD) : start]) if start >= 0 else None
        if first and (wanted is None or _holds(data, start + 6, int(first[1]), wanted)):
            yield (found := _inflated(data, start + 6, min(left, _MAX_STREAM_BYTES)))
            left -= len(found)
            if left <= 0:
                return


def _holds(data: bytes, start: int, first: int, wanted: set[bytes]) -> bool:
    """Return whether a stream has one of these objects; the numbers of its objects stand before them."""
    return not wanted.isdisjoint(_inflated(data, start, min(first, _MAX_STREAM_BYTES)).split()[::2])


def _inflated(data: bytes, start: int, most: int) -> bytes:
    """Return the first unpacked bytes of a stream; the raw bytes where it is not packed, or damaged."""
    packed = data[start : start + most + _HEAD].lstrip(b"\r\n")
    try:
        return zlib.decompressobj().decompress(packed, most)
    except zlib.error:
        return packed
