"""Folders as users name them, whether they can be written and what is in them, and the cache folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Return the path with the home folder in place of ~, or as it is if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def may_be_there(path: str | Path) -> bool:
    """Return whether something is at a path, or nobody says: in a closed folder, on a drive that fails."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a name that no file can have
        return False
    except OSError:
        return True
    return True


def unwritable(folder: str | Path) -> str | None:
    """Return why no file can be written into a folder, which need not exist yet; None if one can.

    Nothing is left behind.
    """
    folder = Path(folder).absolute()
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as error:
        return error.strerror or str(error)


def cache_folder() -> Path:
    """Return the folder of what visret can make again: VISRET_CACHE, or `visret` in the user's cache folder.

    Callers that cannot write there go on without it. For a user without a home folder, nothing can be written there.
    """
    import platformdirs

    if chosen := os.environ.get("VISRET_CACHE"):
        return expanded(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir("visret", appauthor=False))
    except RuntimeError:  # no home folder; earlier versions of platformdirs return a relative path to a folder called ~
        folder = Path("~")
    return folder if folder.is_absolute() else Path(os.devnull, "visret")
