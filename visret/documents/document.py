"""An open file: its number of pages, and each of them as a Page."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visret.errors import DocumentError
from visret.types import Box, Loss, Page, PageRef, Word

if TYPE_CHECKING:
    from PIL import Image

DPI = 144
MAX_PIXELS = 50_000_000


class Content(NamedTuple):
    """The content read from a page; the fields are those of Page, and `senseless` is its `unread`."""

    size_pt: tuple[float, float] | None = None
    image: Image.Image | None = None
    words: tuple[Word, ...] | None = None
    plain: str | None = None
    lost: tuple[Loss, ...] = ()
    senseless: float = 0.0
    pictured: float = 0.0
    hidden: bool = False
    drawn: bool = False
    torn: bool = False


class Member(NamedTuple):
    """A document inside another, such as an attachment, or a file of an archive.

    name: its path in there, with "/"; never absolute, and without "..". file: where it was unpacked to.
    """

    name: str
    file: Path


class Document(ABC):
    """An open file; `len` is its number of pages. It is made by open_document, and closed by `with` or close().

    lost: content of the file that belongs to no page and could not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost: list[Loss] = []

    def __enter__(self) -> Document:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def __len__(self) -> int: ...

    def members(self, folder: Path) -> Iterator[Member]:  # noqa: ARG002
        """Yield the documents inside this one; each is unpacked into `folder`, an empty one, when it is asked for.

        Their content is not looked at. What is left out, because of its size or its name, is listed in `lost`.
        """
        yield from ()

    def labels(self) -> list[str]:
        """Return the labels of all pages as the file names them, such as "iv" or "25"; [] if it names none."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Close the file; no page can be read afterwards."""

    def page(
        self,
        number: int,
        *,
        doc: str | None = None,
        image: bool = True,
        words: bool = True,
        dpi: float = DPI,
        max_pixels: int = MAX_PIXELS,
        box: Box | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Page:
        """Return page `number`, from 1, as displayed: with its rotation and crop box applied.

        doc: the document's id, the file's name by default.
        image, words: what to read; asking for both takes one pass. Words come from the text layer: () where a page has
            none. A page of plain text has neither, but `plain`.
        dpi: pixels per inch of the image. A page that would have more than max_pixels is drawn at a lower resolution,
            and a picture is never enlarged.
        box: draw only this part of the page, in page fractions; max_pixels is then that of the part. None is all of it.
        """
        if not 1 <= number <= len(self):
            raise DocumentError(self.path, f"has no page {number}; its pages are 1 to {len(self)}")
        content = self._read(number, image=image, words=words, dpi=dpi, max_pixels=max_pixels, box=box)
        ref = PageRef(doc or self.path.name, number)
        size_pt, shown, found, plain, lost, senseless, pictured, hidden, drawn, torn = content
        known = dict(metadata or {})
        return Page(ref, size_pt, shown, found, plain, known, lost, senseless, pictured, hidden, drawn, torn)

    @abstractmethod
    def _read(
        self, number: int, *, image: bool, words: bool, dpi: float, max_pixels: int, box: Box | None
    ) -> Content: ...


def resolution(size_pt: tuple[float, float], dpi: float, max_pixels: int, box: Box | None = None) -> float:
    """Return the dpi at which a page is drawn, or a part of it."""
    share = 1.0 if box is None else (box[2] - box[0]) * (box[3] - box[1])
    return min(dpi, 72 * math.sqrt(max_pixels / (size_pt[0] * size_pt[1] * share)))


def pixels(size_pt: tuple[float, float], dpi: float) -> tuple[int, int]:
    """Return the width and height of a page in pixels, each at least 1."""
    return max(1, round(size_pt[0] * dpi / 72)), max(1, round(size_pt[1] * dpi / 72))


def corners(box: Box | None, size_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the edges of a part of a picture in pixels: left, top, right, bottom; of all of it without a box."""
    if box is None:
        return 0, 0, *size_px
    width, height = size_px
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    return left, top, max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
