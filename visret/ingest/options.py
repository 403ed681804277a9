"""How files are read: what a caller says of it once, in one value that goes all the way to the worker."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_SECONDS = 60.0  # that a page has to be read, unless somebody says otherwise


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How every file of a run is read; `Retriever.add` says what the first four mean to its users.

    password: of encrypted PDFs. ocr: "auto", "never" or "always". max_pages: a file with more pages is not read; None
    for no bound. page_seconds: a page that takes longer is given up. pictures: whether the pictures of pages are
    wanted; a model that reads text does without them.
    """

    password: str | None = None
    ocr: str = "never"
    max_pages: int | None = None
    page_seconds: float = PAGE_SECONDS
    pictures: bool = True
