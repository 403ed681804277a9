"""Folders of .npy files: written once, durable before anything names them, checked before they are read."""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import io
import math
import mmap
import os
import sys
import tokenize
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from visret.errors import IndexFormatError, PageIndexError

FOREIGN = "does not belong here"
_HINT = "run visret verify --repair"
_HEADER = 1 << 12  # bytes of a file that hold its header: ours take 128


class Arrays:
    """The files of one folder, mapped at once, so that they stay readable whatever a writer deletes.

    No header is trusted, and nothing is read before it is asked for.

    what: the folder's name in messages, such as "segment 3"; gone: what they say if the folder is missing.
    names: the names of the files that may be there, without ending. checksums: file name to SHA-256, by the catalogue.
    """

    def __init__(
        self,
        index: Path,
        folder: Path,
        what: str,
        names: Iterable[str],
        checksums: Mapping[str, str],
        *,
        gone: str = _HINT,
    ) -> None:
        self.checksums = checksums
        self._index = index
        self._folder = folder
        self._what = what
        self._gone = gone
        self._maps: dict[str, Any] = {}
        self._checked: dict[str, np.ndarray] = {}
        for name in names:
            if name in self:
                with self._open(name) as file:
                    try:
                        self._maps[name] = _map(file)
                    except OSError as error:
                        reason = "cannot be mapped into memory; keep the index on a local disk"
                        raise PageIndexError(index, f"{name}.npy {reason} ({error.strerror})") from error

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self.checksums

    def read(self, name: str, dtype: np.dtype[Any], rest: tuple[int, ...], count: int) -> np.ndarray:
        """Return a copy of the whole array, which must be (count, *rest)."""
        return self.map(name, dtype, rest, count).copy() if count else np.empty((0, *rest), dtype)

    def part(self, name: str, dtype: np.dtype[Any], rest: tuple[int, ...], first: int, count: int) -> np.ndarray:
        """Return `count` rows (count, *rest) from row `first`, read-only."""
        if not count:
            return np.empty((0, *rest), dtype)
        if name not in self._checked:
            self._checked[name] = self.map(name, dtype, rest)
        out = self._checked[name][first : first + count]
        if len(out) != count:
            raise self.damaged(name, "it is too short")
        return out

    def map(self, name: str, dtype: np.dtype[Any], rest: tuple[int, ...], count: int | None = None) -> np.ndarray:
        """Return the whole array (count, *rest), memory-mapped; count None: as many rows as there are."""
        data, count = self._header(name, dtype, rest, count)
        if not count:
            raise self.damaged(name, "it is empty")
        return np.frombuffer(self._maps[name], dtype, math.prod((count, *rest)), data).reshape(count, *rest)

    def check(self, name: str, dtype: np.dtype[Any], rest: tuple[int, ...], count: int) -> None:
        """Raise IndexFormatError unless the file holds (count, *rest)."""
        if count:
            self._header(name, dtype, rest, count)

    def problems(self, *, is_leftover: Callable[[str], bool] = lambda _: False) -> Iterator[str]:
        """Yield in words which files are missing, do not belong there, or have changed; reads all of them.

        is_leftover: whether a file of this name may be there though nothing names it.
        """
        try:
            there = {file.name for file in self._folder.iterdir()} if self._folder.is_dir() else set()
            for name in sorted(there | set(self.checksums)):
                if name not in there:
                    yield f"{self._what}: {name} is missing"
                elif name not in self.checksums and is_leftover(name):
                    continue
                elif name not in self.checksums:
                    yield f"{self._what}: {name} {FOREIGN}"
                elif sha256(self._folder / name) != self.checksums[name]:
                    yield f"{self._what}: {name} is damaged (its checksum differs)"
        except OSError as error:  # no damage, which a repair would drop
            raise PageIndexError(self._index, f"{self._what} cannot be read: {error.strerror}") from error

    def damaged(self, name: str, what: str) -> IndexFormatError:
        """Return the error for an array that is not what it should be."""
        return IndexFormatError(self._index, f"{self._what}: {name}.npy is damaged: {what}")

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        try:
            with (self._folder / f"{name}.npy").open("rb") as file:
                yield file
        except FileNotFoundError as error:
            hint = _HINT if self._folder.exists() else self._gone
            raise IndexFormatError(self._index, f"{self._what}: {name}.npy is missing; {hint}") from error
        except OSError as error:
            reason = f"{self._what}: {name}.npy cannot be read: {error.strerror}"
            hint = "; allow more open files (ulimit -n)" if error.errno == errno.EMFILE else ""
            raise PageIndexError(self._index, reason + hint) from error

    def _header(self, name: str, dtype: np.dtype[Any], rest: tuple[int, ...], count: int | None) -> tuple[int, int]:
        """Return where the data begins and how many rows there are; refuse any other array without reading it."""
        if name not in self._maps:
            raise IndexFormatError(self._index, f"{self._what}: {name}.npy is missing; {_HINT}")
        buffer = self._maps[name]
        file = io.BytesIO(memoryview(buffer)[:_HEADER])
        try:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise self.damaged(name, f"its .npy version is {version}")
            shape, fortran, got = np.lib.format.read_array_header_1_0(file)
        except (ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
            raise self.damaged(name, "it is not a .npy file") from error
        data = file.tell()
        whole = shape[:1] if count is None else (count,)
        if got != dtype or fortran or len(shape) != 1 + len(rest) or shape != (*whole, *rest):
            raise self.damaged(name, f"expected {(*whole, *rest)} {dtype}, got {shape} {got}")
        if len(buffer) != data + math.prod(shape) * dtype.itemsize:
            raise self.damaged(name, "its length is not what its header says")
        if data % dtype.alignment:  # a map begins with a page; machine code may rely on it
            raise self.damaged(name, "its header puts the data where it cannot be read")
        return data, shape[0]


def write(folder: Path, arrays: Mapping[str, Sequence[np.ndarray]]) -> dict[str, str]:
    """Write a new folder and make it durable; return the SHA-256 of each file by its name.

    arrays: for each file the parts that follow each other in it; a file that would be empty is not written.
    """
    folder.mkdir(parents=True)
    checksums = add(folder, arrays)
    sync_folder(folder.parent)
    return checksums


def add(folder: Path, arrays: Mapping[str, Sequence[np.ndarray]]) -> dict[str, str]:
    """Write files into a folder that is there, as `write` does; none of them may be there."""
    checksums = {}
    for name, parts in arrays.items():
        if any(map(len, parts)):
            checksums[f"{name}.npy"] = _write(folder / f"{name}.npy", parts)
    sync_folder(folder)
    return checksums


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _map(file: BinaryIO) -> Any:
    """Map a whole file as a buffer that is never written to, since that would end the process.

    It keeps no file open: a large index has more maps than a process may have files.
    """
    if not os.fstat(file.fileno()).st_size:  # damaged, which is said when it is needed
        return b""
    if sys.platform == "win32":
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if sys.version_info >= (3, 13):
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, trackfd=False)
    libc, size = _libc(), os.fstat(file.fileno()).st_size
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    buffer = (ctypes.c_char * size).from_address(address)
    # Not at exit: threads may still be reading then, and the system takes the map back anyway.
    weakref.finalize(buffer, libc.munmap, address, size).atexit = False
    return memoryview(buffer).toreadonly()


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_int
    libc.mmap.argtypes = ctypes.c_void_p, ctypes.c_size_t, number, number, number, ctypes.c_long
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = ctypes.c_void_p, ctypes.c_size_t
    return libc


def _write(path: Path, parts: Sequence[np.ndarray]) -> str:
    """Write one .npy file, and return its SHA-256."""
    dtype = parts[0].dtype
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in chain([header.getvalue()], (part.tobytes() for part in parts)):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
