"""A document inside a file, unpacked again: an attachment of a PDF, a file of an archive."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visret.documents import open_document
from visret.errors import DocumentError


@contextmanager
def unpacked(path: Path, member: str, *, password: str | None = None) -> Iterator[Path]:
    """Unpack the document at this place inside a file, as a file that exists for as long as the block lasts.

    member: its place; it continues into files inside the file, as in "letters.zip/1.pdf". Raises DocumentError where
    there is none, or the file cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="visret-", ignore_cleanup_errors=True) as folder:
        found = _find(path, member, Path(folder), password)
        if found is None:
            raise DocumentError(path, f"no longer holds {member}; index it again")
        yield found


def _find(path: Path, member: str, folder: Path, password: str | None) -> Path | None:
    with open_document(path, password=password) as document:
        for one in document.members(Path(tempfile.mkdtemp(dir=folder))):
            if one.name == member:
                return one.file
            if member.startswith(f"{one.name}/"):
                return _find(one.file, member.removeprefix(f"{one.name}/"), folder, password)
            one.file.unlink()
    return None
