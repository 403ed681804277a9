"""Pictures of pages that have no file to be drawn from again: renditions/000012/3.webp is page 3 of document 12."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from visret.errors import PageIndexError
from visret.index.layout import RENDITIONS


def write(index: Path, document: int, page: int, data: bytes) -> None:
    """Keep a picture, durably, before the page is committed."""
    path = _path(index, document, page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PageIndexError(index, f"cannot write {path.name}: {error.strerror}") from error


def read(index: Path, document: int, page: int) -> bytes | None:
    """The picture; None where the page was added without one, or its document was replaced meanwhile."""
    try:
        return _path(index, document, page).read_bytes()
    except FileNotFoundError:
        return None


def sweep(index: Path, documents: Collection[int]) -> None:
    """Delete the pictures of all but these documents."""
    for folder in (index / RENDITIONS).glob("*"):
        if folder.name.isdecimal() and int(folder.name) not in documents:
            shutil.rmtree(folder)


def _path(index: Path, document: int, page: int) -> Path:
    return index / RENDITIONS / f"{document:06d}" / f"{page}.webp"
