"""The report of a run that reads files: its progress, then what was read, what failed and what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visret.index import Document
    from visret.ingest.forecast import Forecast, Pace
SILENT = 1.5  # seconds in which too little is known
Metadata = Mapping[str, Any] | Callable[[Any], Mapping[str, Any] | None] | None
Patterns = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that could not be read, or a file if page is None."""

    path: str
    page: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class EmptyPage:
    """A page that holds nothing this model reads, such as a scan for a model that reads words."""

    path: str
    page: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Content that is known to be missing from what was read of a page, or of the file if page is None.

    what: what is missing. help: what would bring it back.
    """

    path: str
    page: int | None
    what: str
    help: str


@dataclass(frozen=True, slots=True)
class Report:
    """The report of what `add` and similar methods did.

    documents: those found under the given paths, readable or not. pages: those read and encoded now. added: documents
    that are new or changed. unchanged: documents whose pages were left as they were. removed: documents taken out
    because their file is gone. updated: documents of the index that were given other metadata, read again or not.
    lost: content that is known to be missing, though its page or file was read. ignored: paths of files of kinds that
    visret does not read.
    """

    documents: int
    pages: int
    added: int
    unchanged: int
    removed: int
    empty: list[EmptyPage]
    failed: list[Failure]
    seconds: float
    updated: int = 0
    lost: list[Lost] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Progress:
    """The progress of `add`; it is handed to the `progress` callable, which may keep it: it is always up to date.

    documents, pages, bytes: what is done, and the totals; bytes are sizes of files. failed: pages and files that
    could not be read.
    """

    documents: int = 0
    documents_total: int = 0
    pages: int = 0
    failed: int = 0
    bytes: int = 0
    bytes_total: int = 0
    started: float = field(default_factory=time.monotonic)
    forecast: Forecast | Pace | None = field(default=None, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """The seconds that the run has taken so far."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """The seconds that it will still take, judged by similar pages; None in the first two seconds."""
        if self.forecast is None:
            return None
        left = self.forecast.left()
        return None if left and self.forecast.seconds < SILENT else left

    @property
    def pages_total(self) -> int | None:
        """The number of pages to be read, including those that turn out empty; None before the files are known.

        It is an estimate until all files have been opened; see `pages_are_counted`.
        """
        return None if self.forecast is None else round(self.forecast.pages)

    @property
    def pages_are_counted(self) -> bool:
        """True if `pages_total` is counted, and not an estimate."""
        return self.forecast is not None and self.forecast.is_counted


def shown(document: Document) -> str:
    """Return the path of a document for people; that of a document inside a file continues into the file."""
    return path_in(document.source, document.member) if document.source else document.doc


def path_in(path: str | Path, member: str) -> str:
    """Return the path of a file, or of a document inside it, as people read it."""
    return f"{path}/{member}" if member else str(path)
