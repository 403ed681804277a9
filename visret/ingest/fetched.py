"""Objects as files: a temporary file holds the one that is being read, and is gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from visret import forks
from visret.errors import DocumentError
from visret.stores import objects


class Fetched:
    """A temporary file with the object that was asked for last. It is deleted by `close`, or when nobody has it."""

    def __init__(self) -> None:
        self._held: objects.Object | None = None
        self._folder: Path | None = None
        self._deletion: Callable[[], object] | None = None
        self._guard = forks.Lock()

    def file(self, one: objects.Object, *, stopped: Callable[[], bool] = lambda: False) -> Path:
        """Return a file with an object, fetched unless it is the one that is there; it has the same ending.

        stopped: whether nobody wants it any more; the file is not whole then.

        Raises DocumentError where it cannot be fetched or kept, and MissingExtra.
        """
        with self._guard:
            path = None if self._folder is None else self._folder / _name(one)
            if path is not None and self._held == one and path.exists():
                return path
            self.close()
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="visret-"))
                self._deletion = weakref.finalize(self, _delete, self._folder, os.getpid())
                path = self._folder / _name(one)
                objects.fetch(one, path, stopped=stopped)
            except OSError as error:
                self.close()
                said = error.strerror or error
                reason = f"cannot be kept in {tempfile.gettempdir()} ({said}); make room, or set TMPDIR"
                raise DocumentError(one.url, reason) from error
            except BaseException:
                self.close()
                raise
            self._held = None if stopped() else one
            return path

    @contextmanager
    def held(self, one: objects.Object) -> Iterator[Path]:
        """Give a file with an object for the block, while other threads wait. Raises as `file` does.

        A DocumentError of the block about the file, whose name nobody knows, is raised as one about the object.
        """
        with self._guard:
            path = self.file(one)
            try:
                yield path
            except DocumentError as error:
                raise type(error)(one.url, error.reason, page=error.page) from error

    def close(self) -> None:
        """Delete the file."""
        with self._guard:
            if self._deletion is not None:
                self._deletion()
            self._held = self._folder = self._deletion = None


def _name(one: objects.Object) -> str:
    return f"document{PurePosixPath(one.url).suffix}"


def _delete(folder: Path, process: int) -> None:
    if process == os.getpid():  # a forked child has no part in it
        shutil.rmtree(folder, ignore_errors=True)
