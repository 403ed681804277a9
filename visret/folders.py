"""Folders as users name them, whether they can be written (asked before the work for them), and the cache folder."""

from __future__ import annotations

import os
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


def cache_folder() -> Path:
    """Return where visret keeps what it can make again: VISRET_CACHE, or `visret` in the user's cache folder.

    Whoever writes there goes on without where that fails, as it does for a user who has no home folder.
    """
    import platformdirs

    if chosen := os.environ.get("VISRET_CACHE"):
        return expanded(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir("visret", appauthor=False))
    except RuntimeError:  # no home folder; an earlier platformdirs gives a relative path, to a folder called ~
        folder = Path("~")
    return folder if folder.is_absolute() else Path(os.devnull, "visret")
