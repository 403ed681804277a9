"""The seal that vouches for the catalogue: catalogue.seal, its checksum as it was after the last commit."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from visret.errors import IndexFormatError
from visret.index.catalogue import open_database, reading_errors
from visret.index.layout import CATALOGUE, SEAL

_log = logging.getLogger(__name__)

_CHANGES = slice(24, 28)  # SQLite's count of transactions that changed the file


def create(index: Path, catalogue: str) -> None:
    """Seal a catalogue. Only the writer may call this."""
    unfinished = index / f"{SEAL}.new"
    with unfinished.open("wb") as file:
        file.write(_measure(index / catalogue).text().encode())
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(index / SEAL)


def write(index: Path) -> None:
    """Seal the catalogue anew. Only the writer may call this.

    If the seal cannot be written, the commit before it stands: the seal is behind then, and is written later.
    """
    try:
        create(index, CATALOGUE)
    except (OSError, sqlite3.Error) as error:
        _log.warning("%s: the checksum of the catalogue is written later: %s", index, error)


def refresh(index: Path) -> None:
    """Write a seal that a crash left behind. Raises IndexFormatError for a catalogue that must not be written to."""
    wrong, is_behind = _compared(index)
    if wrong is not None:
        raise IndexFormatError(index, f"{wrong}; it can be read, but not written to: see visret verify")
    if is_behind:
        write(index)


def problem(index: Path) -> str | None:
    """Return what is wrong with the catalogue or its seal, in words, None if nothing is. Reads all of it."""
    return _compared(index)[0]


def _compared(index: Path) -> tuple[str | None, bool]:
    """Return what is wrong, in words, and whether the seal is only behind, as a crash leaves it."""
    try:
        there = _read(index)
    except FileNotFoundError:
        return f"{SEAL} is missing", False
    except OSError as error:
        return f"{SEAL} cannot be read: {error.strerror}", False
    except (ValueError, KeyError, TypeError):
        return f"{SEAL} is damaged", False
    with reading_errors(index):
        now = _measure(index / CATALOGUE)
    commits, changes = now.commits - there.commits, now.changes - there.changes
    if there == now or commits == changes > 0:
        return None, there != now
    return f"{CATALOGUE} is damaged (its checksum differs)", False


class _Seal(NamedTuple):
    commits: int
    changes: int
    sha256: str

    def text(self) -> str:
        """Return the content of the file."""
        text = json.dumps(self._asdict())
        return json.dumps({**self._asdict(), "crc32": zlib.crc32(text.encode())}) + "\n"


def _measure(path: Path) -> _Seal:
    """Measure the catalogue as it is on disk."""
    # Through SQLite: closing a file that SQLite has open gives up the locks of the whole process.
    with closing(open_database(path)) as connection:
        connection.execute("BEGIN")
        (commits,) = connection.execute("SELECT value FROM settings WHERE key = 'commits'").fetchone()
        data = connection.serialize()
    return _Seal(int(commits), int.from_bytes(data[_CHANGES], "big"), hashlib.sha256(data).hexdigest())


def _read(index: Path) -> _Seal:
    text = (index / SEAL).read_bytes().decode("ascii")
    found = json.loads(text)
    seal = _Seal(int(found["commits"]), int(found["changes"]), str(found["sha256"]))
    if text != seal.text():
        raise ValueError(text)
    return seal
