"""The tasks of a run, and the answers that come of them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from visret.documents import formats
from visret.index import Document
from visret.ingest import messages
from visret.ingest.costs import File
from visret.ingest.discovery import Source
from visret.types import Page

KnownMembers = Mapping[str, tuple[Document, Set[int] | None]]


@dataclass(slots=True)
class Task:
    """A file that has to be read, or a document inside one.

    number: 0 for a document inside a file until it has one. hash: None until the file is read. skip: pages that are in
    the index already. pdf: the PDF that it was converted to for them. known: the documents inside it that the index
    has, by their place, and the pages of each that need not be read again, None for all. seen: those still there;
    whole: those of these that were left alone with all that is inside them. left: whether nothing of it is read.
    """

    source: Source
    doc: str
    number: int
    size: int
    hash: str | None
    skip: Set[int]
    pdf: Path | None = None
    mtime_ns: int | None = None
    known: KnownMembers = field(default_factory=dict)
    parent: Task | None = None
    seen: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    left: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """The end of a file, or of a document inside it. pages: how many it has; None where it did not open."""

    pages: int | None


Answer = messages.Hashed | messages.Converted | messages.Unread | messages.Lacking | messages.Begun | Page | End


@dataclass(frozen=True, slots=True)
class Read:
    """One answer that came of a file; the last is an End, or an Unread of the file."""

    task: Task
    answer: Answer

    @property
    def page(self) -> Page | None:
        """The page, if this is one, else None."""
        return self.answer if isinstance(self.answer, Page) else None

    @property
    def is_last(self) -> bool:
        """True if nothing more comes of the file and of what is inside it."""
        ends = isinstance(self.answer, End) or (isinstance(self.answer, messages.Unread) and self.answer.page is None)
        return ends and self.task.parent is None


def file_ahead(task: Task) -> File:
    """Return a task as a file that will be read, for the forecast."""
    path = task.pdf or task.source.path
    found = formats.format_of(path)
    kind = "" if found is None else found.reader
    return File(str(path), kind, task.size, len(task.skip), formats.converts(path))
