"""What stands somewhere in a PDF, found without reading it: also where objects are packed into compressed streams."""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = re.compile(rb"/Root\s+(\d+)\s+\d+\s+R")
_FIRST = re.compile(rb"/First\s+(\d+)")
_HEAD = 2_000  # bytes around "/ObjStm" that hold the rest of its dictionary
_MOST = 1 << 24  # bytes of a stream of objects that are unpacked


def catalogue_may_hold(path: Path, key: bytes) -> bool:
    """Whether a key may be in the document's catalogue; True too where that cannot be told without a password."""
    with _mapped(path) as data:
        if data.find(key) >= 0 or data.find(b"/ObjStm") < 0:
            return data.find(key) >= 0
        roots = {found[1] for at in _all(data, b"/Root") if (found := _ROOT.match(data[at : at + 40]))}
        if not roots or data.find(b"/Encrypt") >= 0:
            return True
        return any(key in objects for objects in _unpacked(data, roots))


def may_hold(path: Path, key: bytes) -> bool:
    """Whether a key may be anywhere in a document; True too where that cannot be told without a password."""
    with _mapped(path) as data:
        if data.find(key) >= 0 or data.find(b"/ObjStm") < 0:
            return data.find(key) >= 0
        return data.find(b"/Encrypt") >= 0 or any(key in objects for objects in _unpacked(data, None))


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _all(data: mmap.mmap, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


def _unpacked(data: mmap.mmap, wanted: set[bytes] | None) -> Iterator[bytes]:
    """The streams of objects, unpacked: those that hold one of the wanted numbers, or all."""
    for at in _all(data, b"/ObjStm"):
        start = data.find(b"stream", at, at + _HEAD)
        first = _FIRST.search(data[max(0, at - _HEAD) : start]) if start >= 0 else None
        if first and (wanted is None or _holds(data, start + 6, int(first[1]), wanted)):
            yield _inflated(data, start + 6, _MOST)


def _holds(data: mmap.mmap, start: int, first: int, wanted: set[bytes]) -> bool:
    """Whether a stream has one of these objects; their numbers stand before them."""
    return not wanted.isdisjoint(_inflated(data, start, min(first, _MOST)).split()[::2])


def _inflated(data: mmap.mmap, start: int, most: int) -> bytes:
    """The first bytes of a stream; as they stand there where it is not packed, or damaged."""
    packed = data[start : start + most + _HEAD].lstrip(b"\r\n")
    try:
        return zlib.decompressobj().decompress(packed, most)
    except zlib.error:
        return packed
