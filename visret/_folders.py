"""Folders as users name them, and whether they can be written, asked before the work whose results go there."""

from __future__ import annotations

import tempfile
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with the home folder in place of ~, or as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def unwritable(folder: str | Path) -> str | None:
    """Why no file can be put into a folder, which need not be there yet; None where it can. Leaves nothing behind."""
    folder = Path(folder).absolute()
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as error:
        return error.strerror or str(error)
