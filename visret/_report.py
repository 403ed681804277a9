"""What a run that reads files says of them: what was read, what failed, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visret.index import Document

PAGE_SECONDS = 60.0  # that a page has to be read, unless somebody says otherwise

Metadata = Mapping[str, Any] | Callable[[Path], Mapping[str, Any] | None] | None
Patterns = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be read: page None for the whole file."""

    path: str
    page: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class EmptyPage:
    """A page that holds nothing this model reads, such as a scan under a model that reads words."""

    path: str
    page: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Content that is known to be missing from what was read of a page, or, page None, of the file.

    what: what is missing. help: what would bring it.
    """

    path: str
    page: int | None
    what: str
    help: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `add` did.

    documents: found under the given paths, readable or not. pages: read and encoded now. added: documents that are
    new or changed. unchanged: documents whose pages were left as they were. removed: documents taken out because their
    file is gone. updated: documents that were there and were given other metadata, read again or not.
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


def shown(document: Document) -> str:
    """Return the path of a document for people; that of a document inside a file goes on into it."""
    return path_in(document.source, document.member) if document.source else document.doc


def path_in(path: str | Path, member: str) -> str:
    """Return the path of a file, or of a document inside it, as people read it."""
    return f"{path}/{member}" if member else str(path)
