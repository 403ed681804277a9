"""Renditions: pictures and PDFs of pages that have no file which could be drawn again.

Those of document 12 are in renditions/000012/: 3.webp is the picture of its page 3, document.pdf what it was converted
to, which is "page" PDF in what follows.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from visret.errors import PageIndexError
from visret.index.arrays import sha256, sync_folder
from visret.index.layout import RENDITIONS

PDF = 0  # in place of a page


def write(index: Path, document: int, page: int, data: bytes) -> None:
    """Keep a picture or a PDF, before the page is committed: `seal` makes its name durable."""
    path = path_of(index, document, page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PageIndexError(index, f"cannot write {path.name}: {error.strerror}") from error


def read(index: Path, document: int, page: int) -> bytes | None:
    """Read the picture; None if the page was added without one, or its document was replaced meanwhile."""
    try:
        return path_of(index, document, page).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PageIndexError(index, f"a picture cannot be read: {error.strerror}") from error


def pdf_of(index: Path, document: int) -> Path | None:
    """Return the path of the PDF that a document was converted to, None if it was not."""
    path = path_of(index, document, PDF)
    return path if path.is_file() else None


def seal(index: Path, pages: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Yield the rows of `renditions` for those (document, page) that have one, which is durable then."""
    numbers: dict[int, list[int]] = {}
    for document, page in pages:
        numbers.setdefault(document, []).append(page)
    kept = {d: folder for d in numbers if (folder := path_of(index, d, 1).parent).is_dir()}
    for document, folder in kept.items():
        sync_folder(folder)
        for page in numbers[document]:
            if (path := path_of(index, document, page)).exists():
                yield document, page, sha256(path)
    if kept:
        sync_folder(index / RENDITIONS)
        sync_folder(index)


def problems(index: Path, connection: sqlite3.Connection) -> dict[tuple[int, int], str]:
    """Return what is wrong with pictures and PDFs, in words, by (document, page). Reads all of them."""
    wrong = {}
    for document, page, checksum in connection.execute("SELECT document, page, checksum FROM renditions"):
        path = path_of(index, int(document), int(page))
        if not path.is_file():
            wrong[document, page] = f"{path.relative_to(index).as_posix()} is missing"
        elif sha256(path) != checksum:
            wrong[document, page] = f"{path.relative_to(index).as_posix()} is damaged (its checksum differs)"
    return wrong


def sweep(index: Path, documents: Collection[int]) -> None:
    """Delete the renditions of all but these documents."""
    for folder in (index / RENDITIONS).glob("*"):
        if folder.name.isdecimal() and int(folder.name) not in documents:
            shutil.rmtree(folder, ignore_errors=True)  # what cannot be deleted now is tried again by the next writer


def path_of(index: Path, document: int, page: int) -> Path:
    """Return where a picture or a PDF is kept."""
    return index / RENDITIONS / f"{document:06d}" / ("document.pdf" if page == PDF else f"{page}.webp")
