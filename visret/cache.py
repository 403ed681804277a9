"""The memory of `visret find`: one index in the user's cache folder for each set of paths and model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visret.choices import DEFAULT_MODEL, LATE_MODEL
from visret.encoders import load_encoder
from visret.errors import DocumentError, IndexFormatError, ModelMismatch, PageIndexError
from visret.folders import cache_folder, expanded, unwritable
from visret.index.layout import CATALOGUE
from visret.retriever import Retriever
from visret.stores import objects
from visret.types import Encoder

PATHS = "find.json"
UNFINISHED = 3600.0  # seconds after which nobody is still making an entry: that takes less than one

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached index: the paths it is for, its model, its folder and its size.

    complete: False for the remains of a run that was stopped while it made the entry. Nothing uses them.
    """

    paths: list[str]
    model: str
    folder: Path
    bytes: int
    complete: bool


@contextmanager
def open_cached(
    paths: Sequence[str | Path], *, model: str, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Iterator[Retriever]:
    """Open the index for these paths, made if there is none that fits this model; it may be empty or out of date.

    It is closed at the end of the block. If the cache folder cannot be written, a warning is logged, and the index is
    a temporary one, which is deleted at the end of the block.

    include, exclude: patterns of names. Other patterns have an index of their own.

    Raises DocumentError if none of the paths exists, and what loading the model raises; nothing is left behind then.
    """
    given = [str(path) if objects.is_address(path) else expanded(path) for path in paths]
    if not any(isinstance(path, str) or path.exists() for path in given):
        raise DocumentError(given[0], "no such file or folder")
    resolved = sorted({path.rstrip("/") if isinstance(path, str) else str(path.resolve()) for path in given})

    def of(model: str) -> Path:
        key = json.dumps([resolved, model, sorted(include), sorted(exclude)])
        return _find_folder() / hashlib.sha256(key.encode()).hexdigest()[:20]

    folder = of(model)
    with ExitStack() as stack:
        reason = unwritable(folder)
        try:
            retriever = _open(folder) if reason is None else None
        except (IndexFormatError, ModelMismatch):
            retriever = None
        if retriever is None:
            encoder = load_encoder(model)  # before anything is made: an entry's model has been loaded once
            if model == DEFAULT_MODEL and not _complete(folder) and _complete(of(LATE_MODEL)):
                _log.warning(
                    "the default model is %s now, so these files are read once more; what %s made of them is used by "
                    "--model %s", DEFAULT_MODEL, LATE_MODEL, LATE_MODEL,
                )  # fmt: skip
            if reason is not None:
                _log.warning(
                    "%s: nothing can be stored there (%s), so everything is read again each time; set VISRET_CACHE "
                    "to a folder that can be written", folder, reason,
                )  # fmt: skip
                folder = Path(stack.enter_context(_temporary()), "find")
            retriever = _make(folder, encoder, {"paths": resolved, "model": model})
        yield stack.enter_context(retriever)


def _open(folder: Path, encoder: Encoder | None = None) -> Retriever:
    """Open the index of an entry with its model. Raises IndexFormatError or ModelMismatch if it cannot be used."""
    retriever = Retriever.open(folder / "index", model=encoder)
    retriever.encoder  # noqa: B018 - loads it, and refuses one that changed since
    return retriever


def _make(folder: Path, encoder: Encoder, note: dict[str, Any]) -> Retriever:
    """Make a new entry in place of one that cannot be used. It appears as a whole or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True) as d:
            draft = Path(d, "entry")
            draft.mkdir()
            (draft / PATHS).write_text(json.dumps(note), "utf8")
            Retriever.create(draft / "index", model=encoder).close()
            try:
                draft.rename(folder)
            except OSError:
                return _take_the_place(folder, draft, encoder)
    except OSError as error:
        raise PageIndexError(folder, f"nothing can be stored there: {error.strerror}") from error
    return _open(folder, encoder)


def _take_the_place(folder: Path, draft: Path, encoder: Encoder) -> Retriever:
    """Open the entry that is there if it can be used, else replace it with the draft.

    Another process may just have made it for the same paths.
    """
    try:
        return _open(folder, encoder)
    except (IndexFormatError, ModelMismatch) as error:
        if _complete(folder):
            _log.warning("the remembered index cannot be used any more, so everything is read again: %s", error)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return _open(folder, encoder)


@contextmanager
def _temporary() -> Iterator[str]:
    try:
        made = tempfile.TemporaryDirectory(prefix="visret-find-", ignore_cleanup_errors=True)
    except OSError as error:
        raise PageIndexError(tempfile.gettempdir(), f"no index can be made there either: {error.strerror}") from error
    with made as folder:
        yield folder


def _sweep(find: Path) -> None:
    """Remove what is left of earlier runs that were stopped while they made an entry."""
    for folder in find.glob("*"):
        with contextlib.suppress(OSError):  # another process removed it just now
            if not _complete(folder) and time.time() - folder.stat().st_mtime > UNFINISHED:
                shutil.rmtree(folder, ignore_errors=True)


def _complete(folder: Path) -> bool:
    return "." not in folder.name and (folder / "index" / CATALOGUE).is_file()


def _find_folder() -> Path:
    return cache_folder() / "find"


def cached() -> list[Entry]:
    """Return every cached index, and the remains of those that were never completed."""
    return [_entry(folder) for folder in sorted(_find_folder().glob("*")) if folder.is_dir()]


def _entry(folder: Path) -> Entry:
    paths, model = [], "?"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # the note was cut off; it can still be cleared
        note = json.loads((folder / PATHS).read_text("utf8"))
        paths, model = [str(path) for path in note["paths"]], str(note["model"])
    size = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it just now
            size += file.stat().st_size if file.is_file() else 0
    return Entry(paths, model, folder, size, _complete(folder))


def clear() -> int:
    """Remove all entries and return how many there were. Raises PageIndexError if one cannot be removed."""
    entries = cached()
    for entry in entries:
        try:
            shutil.rmtree(entry.folder)
        except OSError as error:
            raise PageIndexError(entry.folder, f"cannot be removed: {error.strerror}") from error
    return len(entries)
