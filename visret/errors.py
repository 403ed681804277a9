"""Every error that visret raises on purpose.

    VisretError
    ├── DocumentError(path, page)       unreadable, damaged, too large
    │   ├── PasswordRequired
    │   └── NoPicture                   plain text, or a page that was added without one
    ├── UnknownModel(LookupError)       the name, and close matches
    ├── InvalidModelSpec(ValueError)    the models.yaml entry and key
    ├── WeightsError                    missing or unexpected weights, wrong checksum, not available offline
    ├── MissingExtra(ImportError)       the package, and the pip command that installs it
    ├── InvalidArgument(ValueError)     an empty question, an unknown filter key, k=0
    ├── LanguageModelError              the model that writes answers for `visret serve` did not answer
    ├── ShapeError(ValueError)          expected, got
    └── PageIndexError(path)
        ├── IndexFormatError            not an index, damaged, or of another format version
        ├── ModelMismatch               vectors of another model, or other preprocessing
        ├── IndexLocked                 another process is writing
        └── DuplicateDocument

A message says what to do next. The command line prints one line for a VisretError; anything else is a bug and keeps its
traceback.
"""

from __future__ import annotations

import errno
import warnings
from pathlib import Path
from typing import Any


class VisretError(Exception):
    """The base of all errors that visret raises on purpose."""


class DocumentError(VisretError):
    """A document cannot be read. `path` names the document, and `page` the page (from 1, or None)."""

    def __init__(self, path: str | Path, reason: str, *, page: int | None = None) -> None:
        self.path = str(path)
        self.page = page
        self.reason = reason
        super().__init__(f"{self.path}{f', page {page}' if page else ''}: {reason}")


class PasswordRequired(DocumentError):
    """The document is encrypted, and no password or a wrong one was given."""


class NoPicture(DocumentError):
    """The page can be read but has no picture: it is plain text, or was added without one."""


class UnknownModel(VisretError, LookupError):
    """There is no such model in the registry, on disk or on the hub."""


class InvalidModelSpec(VisretError, ValueError):
    """An entry of models.yaml is wrong; the message names the entry and the key."""


class WeightsError(VisretError):
    """Weights are missing, unexpected, damaged, or not available offline."""


class MissingExtra(VisretError, ImportError):
    """An optional package is not installed; the message has the pip command that installs it."""


class InvalidArgument(VisretError, ValueError):
    """An argument that makes no sense: an empty question, a filter on a key that the index does not have, k=0."""


class LanguageModelError(VisretError):
    """The language model that writes answers did not answer, or answered in another format."""


class ShapeError(VisretError, ValueError):
    """An array or a value has another shape, dtype or content than expected."""


class PageIndexError(VisretError):
    """Something is wrong with the index at `path`, or with what was asked of it."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")


class IndexFormatError(PageIndexError):
    """The folder holds no index, a damaged one, or one of another format version."""


class ModelMismatch(PageIndexError):
    """The index was made by another model, or by the same one with other preprocessing."""


class IndexLocked(PageIndexError):
    """Another process is writing to the index."""


class DuplicateDocument(PageIndexError):
    """The document is in the index already."""


# The errors of flock on a file system without locks (some NFS, SMB, FUSE); filelock turns ENOSYS into a
# NotImplementedError.
_NO_LOCKS = {errno.ENOLCK, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def cannot_lock(error: BaseException) -> bool:
    """Return whether a lock failed because the file system has no locks."""
    return isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in _NO_LOCKS)


def __getattr__(name: str) -> Any:
    if name == "InvalidQuery":  # goes with the next version
        warnings.warn("visret.errors.InvalidQuery is called InvalidArgument", DeprecationWarning, stacklevel=2)
        return InvalidArgument
    raise AttributeError(f"module 'visret.errors' has no attribute {name!r}")
