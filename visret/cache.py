"""What `visret find` remembers: one index in the user's cache folder for each set of paths and model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visret import registry
from visret.errors import DocumentError, IndexFormatError, ModelMismatch, PageIndexError
from visret.index.layout import CATALOGUE
from visret.retriever import Retriever

PATHS = "find.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached index: the paths it is for, its model, its folder and its size."""

    paths: list[str]
    model: str
    folder: Path
    bytes: int


def open_cached(
    paths: Sequence[str | Path], *, model: str, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Retriever:
    """The index for these paths, made if there is none that fits this model; it may be empty or out of date.

    include, exclude: patterns of names; other patterns, another index.

    DocumentError where none of the paths exists.
    """
    given = [Path(path).expanduser() for path in paths]
    if not any(map(os.path.exists, given)):
        raise DocumentError(given[0], "no such file or folder")
    resolved = sorted({str(path.resolve()) for path in given})
    key = json.dumps([resolved, model, sorted(include), sorted(exclude)])
    folder = registry.cache_folder() / "find" / hashlib.sha256(key.encode()).hexdigest()[:20]
    index = folder / "index"
    try:
        retriever = Retriever.open(index)
        retriever.encoder  # noqa: B018 - loads it, and refuses one that changed since
    except (IndexFormatError, ModelMismatch):
        if (index / CATALOGUE).exists():  # damaged, or made by a model that has changed; otherwise it is only begun
            shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / PATHS).write_text(json.dumps({"paths": resolved, "model": model}), "utf8")
        except OSError as error:
            reason = (
                f"nothing can be remembered there ({error.strerror}); set VISRET_CACHE to a folder that can be written"
            )
            raise PageIndexError(folder, reason) from error
        try:
            retriever = Retriever.create(index, model=model)
        except PageIndexError:  # somebody asks about the same paths, and was faster
            retriever = Retriever.open(index)
    return retriever


def cached() -> list[Entry]:
    """Every cached index."""
    entries = []
    for note in sorted(registry.cache_folder().glob(f"find/*/{PATHS}")):
        try:
            facts = json.loads(note.read_text("utf8"))
        except ValueError:  # cut off; it can still be cleared
            facts = {"paths": [], "model": "?"}
        size = sum(file.stat().st_size for file in note.parent.rglob("*") if file.is_file())
        entries.append(Entry(facts["paths"], facts["model"], note.parent, size))
    return entries


def clear() -> int:
    """Remove them all; how many there were."""
    entries = cached()
    for entry in entries:
        shutil.rmtree(entry.folder)
    return len(entries)
