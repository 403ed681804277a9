"""Every error visret raises on purpose.

    VisretError
    ├── DocumentError(path, page)       unreadable, damaged, too large
    │   ├── PasswordRequired
    │   └── NoPicture                   plain text, or a page that was added without one
    ├── UnknownModel(LookupError)       the name, and close matches
    ├── InvalidModelSpec(ValueError)    the models.yaml entry and key
    ├── WeightsError                    missing or unexpected weights, wrong checksum, not available offline
    ├── MissingExtra(ImportError)       the package, and the pip line that brings it
    ├── InvalidArgument(ValueError)     an empty question, an unknown filter key, k=0
    ├── ShapeError(ValueError)          expected, got
    └── PageIndexError(path)
        ├── IndexFormatError            not an index, damaged, or of another format version
        ├── ModelMismatch               vectors of another model, or other preprocessing
        ├── IndexLocked                 another process is writing
        └── DuplicateDocument

A message says what to do next. The command line prints one line for a VisretError; anything else is a
defect and keeps its traceback.
"""

from __future__ import annotations

import errno
import warnings
from pathlib import Path
from typing import Any


class VisretError(Exception):
    """Base of all errors raised on purpose."""


class DocumentError(VisretError):
    """A document cannot be read. `path` names it, `page` (from 1, or None) the page."""

    def __init__(self, path: str | Path, reason: str, *, page: int | None = None) -> None:
        self.path = str(path)
        self.page = page
        self.reason = reason
        super().__init__(f"{self.path}{f', page {page}' if page else ''}: {reason}")


class PasswordRequired(DocumentError):
    """The document is encrypted, and no password or a wrong one was given."""


class NoPicture(DocumentError):
    """The page can be read, and there is no picture of it: it is plain text, or was added without one."""


class UnknownModel(VisretError, LookupError):
    """No such model in the registry, on disk or on the hub."""


class InvalidModelSpec(VisretError, ValueError):
    """An entry of models.yaml is wrong; the message names entry and key."""


class WeightsError(VisretError):
    """Weights are missing, unexpected, damaged, or not available offline."""


class MissingExtra(VisretError, ImportError):
    """An optional package is not installed; the message has the pip line."""


class InvalidArgument(VisretError, ValueError):
    """An argument that makes no sense: an empty question, a filter on a key that the index does not have, k=0."""


class ShapeError(VisretError, ValueError):
    """An array has another shape, dtype or content than expected."""


class PageIndexError(VisretError):
    """Something about the index at `path`."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")


class IndexFormatError(PageIndexError):
    """Not an index, a damaged one, or one of another format version."""


class ModelMismatch(PageIndexError):
    """The index was made by another model, or by the same one with other preprocessing."""


class IndexLocked(PageIndexError):
    """Another process is writing to the index."""


class DuplicateDocument(PageIndexError):
    """The document is in the index already."""


# What flock says on a file system (some NFS, SMB, FUSE) without locks; filelock makes of ENOSYS a NotImplementedError.
_NO_LOCKS = {errno.ENOLCK, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def cannot_lock(error: BaseException) -> bool:
    """Whether a lock failed because the file system has none."""
    return isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in _NO_LOCKS)


def __getattr__(name: str) -> Any:
    if name == "InvalidQuery":  # goes with the next version
        warnings.warn("visret.errors.InvalidQuery is called InvalidArgument", DeprecationWarning, stacklevel=2)
        return InvalidArgument
    raise AttributeError(f"module 'visret.errors' has no attribute {name!r}")
