"""The tasks of a run, and the answers that come of them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from visret.documents import formats
from visret.index import Document
from visret.ingest import messages
from visret.ingest.costs import File
from visret.ingest.discovery import Source
from visret.stores.objects import Object
from visret.types import Page

KnownMembers = Mapping[str, tuple[Document, Set[int] | None]]


@dataclass(slots=True)
class Task:
    """A file that has to be read, a document inside one, or, without a source, a document made in memory.

    number: 0 until the document has one. hash: None until the file is read. skip: pages that are in the index already.
    pdf: the PDF that it was converted to for them. known: the documents inside it that the index has, by their place,
    and the pages of each that need not be read again, None for all. seen: those still there; whole: those of these that
    were left alone with all that is inside them. left: whether nothing of it is read. keeps_pictures: whether the index
    keeps the pictures of its pages.
    """

    source: Source | None
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
    keeps_pictures: bool = False

    @property
    def shown(self) -> str:
        """The path of the document as people read it; the name of one that was made in memory."""
        return self.doc if self.source is None else self.source.shown

    @property
    def path(self) -> Path:
        """The file that is read: the one that is meant, or the PDF that it was converted to; of an object, its name."""
        assert self.source is not None
        return self.pdf or self.source.path

    @property
    def object(self) -> Object | None:
        """The object that has to be fetched to read it; None for what lies on this machine."""
        return None if self.source is None or self.pdf is not None else self.source.object


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document made in memory begins. metadata: None leaves what it has. updates: whether that changes it."""

    metadata: Mapping[str, Any] | None
    updates: bool


@dataclass(frozen=True, slots=True)
class End:
    """The end of a file, or of a document inside it. pages: how many it has; None where it did not open."""

    pages: int | None


TaskAnswer = (
    messages.Hashed
    | messages.Converted
    | messages.Unread
    | messages.Lacking
    | messages.Begun
    | NewDocument
    | Page
    | End
)


@dataclass(frozen=True, slots=True)
class Read:
    """One answer that came of a file; the last is an End, or an Unread of the file."""

    task: Task
    answer: TaskAnswer

    @property
    def page(self) -> Page | None:
        """The page, if this is one, else None."""
        return self.answer if isinstance(self.answer, Page) else None

    @property
    def is_last(self) -> bool:
        """True if nothing more comes of the file and of what is inside it."""
        ends = isinstance(self.answer, End) or (isinstance(self.answer, messages.Unread) and self.answer.page is None)
        return ends and self.task.parent is None


def member_task(file: Task, place: str, digest: str) -> Task:
    """Return the task of a document inside a file. digest: its sha256."""
    known = file.known.get(place)
    doc = known[0].doc if known else f"{file.doc}/{place}"
    done = known[1] if known and known[0].hash == digest else None
    assert file.source is not None
    return Task(replace(file.source, doc=doc, member=place), doc, 0, 0, digest, done or set(), parent=file)


def file_ahead(task: Task) -> File:
    """Return a task as a file that will be read, for the forecast."""
    found = formats.format_of(task.path)
    kind = "" if found is None else found.reader
    is_here = task.object is None
    return File(str(task.path), kind, task.size, len(task.skip), formats.converts(task.path), is_here=is_here)
