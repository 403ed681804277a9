"""The options for reading files: one value, which a caller makes once and which goes all the way to the worker."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_SECONDS = 60.0  # that reading a page may take, unless another limit is given


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The options for reading every file of a run; `Retriever.add` explains the first four to its users.

    password: for encrypted PDFs. ocr: "auto", "never" or "always". max_pages: a file with more pages is not read; None
    for no limit. page_seconds: a page that takes longer is given up. pictures: whether the pictures of pages are
    wanted, which a model that reads text does without.
    """

    password: str | None = None
    ocr: str = "never"
    max_pages: int | None = None
    page_seconds: float = PAGE_SECONDS
    pictures: bool = True
