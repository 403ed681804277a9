"""Files for engines that visret has no client for: a schema, and a line of JSON for each page.

A module of such an engine has `check`, `files` and `document`, which say what it cannot hold, what its client calls a
schema, and what one page is there, and FIELDS: whether metadata become fields of their own. The vectors have one
component more than those of the index, as in stores (`_points`): a question has 1 there to rank as visret does, or 0
for MaxSim as the papers have it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from visret.errors import InvalidArgument, PageIndexError
from visret.index import PageIndex, Snapshot
from visret.stores._export import exportable, rows
from visret.stores._points import MAX_WHOLE, id_of, named_vectors

DOCUMENTS = "documents.jsonl"
_NO_LIMIT = 1 << 60


class Shape(NamedTuple):
    """The facts that a schema depends on.

    dim: components of a vector. longest: vectors of the page that has most. fields: the keys of metadata that have a
    field of their own, called `meta_` and the key, each with "text", "number" or "bool", or "text[]" or "number[]".
    """

    dim: int
    longest: int
    fields: dict[str, str]


class Row(NamedTuple):
    """A page. vectors: (n, d) float32 each, by TOKENS and SUMMARY. fields: of its metadata, those of the Shape."""

    id: UUID
    doc: str
    page: int
    text: str
    source: str | None
    metadata: dict[str, Any]
    fields: dict[str, Any]
    vectors: Mapping[str, np.ndarray]


class Written(NamedTuple):
    """The number of pages that were written.

    left_out: the names of the models that were added to the index, whose vectors stay there. unfiltered: the keys of
    metadata that cannot be fields of their own, since a key has values of several types, or a name with other signs.
    """

    written: int
    left_out: tuple[str, ...]
    unfiltered: tuple[str, ...]


def write(index: PageIndex, folder: Path, to: str, progress: Callable[[int, int], None] | None = None) -> Written:
    """Write the files for an engine into a new or empty folder.

    They are written beside it and renamed at the end, so that a folder is whole; what stops it leaves nothing.

    Raises InvalidArgument, and writes nothing, for a folder that holds anything, and for an index that the engine
    cannot hold; PageIndexError if the files cannot be written.
    """
    form = import_module(f"visret.stores.{to}")
    snapshot = exportable(index)
    shape, unfiltered = _shape(snapshot)
    form.check(shape)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument(f"{folder} holds something; name a new folder for the files")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.partial-") as beside:
            made = Path(beside, "made")
            for name, text in form.files(shape).items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_text(text, "utf8")
            with (made / DOCUMENTS).open("w", encoding="utf8") as file:
                for done, row in enumerate(_rows(snapshot, shape), 1):
                    file.write(json.dumps(form.document(row)) + "\n")
                    if progress is not None:
                        progress(done, len(snapshot))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise PageIndexError(folder, f"cannot be written: {error.strerror or error}") from error
    left_out = tuple(model.name for model in snapshot.added.values())
    return Written(len(snapshot), left_out, unfiltered if form.FIELDS else ())


def halves(vectors: np.ndarray) -> list[list[float]]:
    """Return vectors as JSON has them, with the digits that float16 has."""
    return [[float(f"{value:.4g}") for value in vector] for vector in vectors.tolist()]


def _rows(snapshot: Snapshot, shape: Shape) -> Iterator[Row]:
    for segment, row in rows(snapshot):
        ref, metadata = snapshot.ref(segment, row), snapshot.metadata(segment, row)
        yield Row(
            id_of(*ref),
            ref.doc,
            ref.page,
            snapshot.segment(segment).text(row),
            snapshot.document(ref.doc).source,
            metadata,
            {f"meta_{key}": metadata[key] for key in shape.fields if metadata.get(key) not in (None, [])},
            named_vectors(snapshot, segment, row, _NO_LIMIT),
        )


def _shape(snapshot: Snapshot) -> tuple[Shape, tuple[str, ...]]:
    """Return what the schema depends on, and the keys of metadata that cannot be fields of their own."""
    assert snapshot.fitted is not None  # `exportable` says so
    kinds: dict[str, set[str]] = {}
    for segment, row in rows(snapshot):
        for key, value in snapshot.metadata(segment, row).items():
            kinds.setdefault(key, set()).update(_kinds(value))
    fields = {
        key: next(iter(found))
        for key, found in sorted(kinds.items())
        if len(found) == 1 and "" not in found and re.fullmatch("[A-Za-z][A-Za-z0-9_]*", key)
    }
    longest = max(int(np.diff(one.offsets)[snapshot.rows(one.number)].max(initial=0)) for one in snapshot.segments)
    unfiltered = tuple(sorted(key for key, found in kinds.items() if found and key not in fields))
    return Shape(snapshot.fitted.codec.dim + 1, longest, fields), unfiltered


def _kinds(value: Any) -> set[str]:
    """Return the kind of a value of the metadata, as `Shape.fields` has it; "" for what no field holds."""
    if isinstance(value, list):
        inner = set().union(*map(_kinds, value))
        return {f"{kind}[]" if kind in ("text", "number") else "" for kind in inner}
    if value is None:
        return set()
    if isinstance(value, bool):
        return {"bool"}
    if isinstance(value, int | float):
        return {"number" if abs(value) <= MAX_WHOLE else ""}
    return {"text" if isinstance(value, str) else ""}
