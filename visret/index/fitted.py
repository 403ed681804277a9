"""The conversion of a model's vectors to stored ones: an index learns it once, and keeps it in fitted/."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visret import codec as codecs
from visret import reduction
from visret.codec import Codec
from visret.errors import IndexFormatError, ShapeError
from visret.index import arrays
from visret.index.arrays import Arrays
from visret.index.layout import FITTED, fitted_folder
from visret.reduction import Storage

FILES = ("projection", "centroids", "weights")


@dataclass(frozen=True, eq=False)
class Fitted:
    """The conversion of a model's vectors to stored ones.

    codec: of the stored vectors. projection: (D, d) float32 from the model's dimensions to theirs; None: the same.
    vectors: how many both were fitted to; 0 where there was nothing to fit.
    """

    codec: Codec
    projection: np.ndarray | None = None
    vectors: int = 0

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Project vectors (n, D) of the model, a page's or a question's, to (n, d) float32, as they meet in a score."""
        return vectors if self.projection is None else reduction.project(vectors, self.projection)


def unfitted(storage: Storage, dim: int) -> Fitted | None:
    """Return what an empty index begins with, None if it has to learn first. dim: of the model's vectors, 0 if none."""
    codec = Codec(storage.codec, dim or 1)  # without vectors it stores nothing
    return None if storage.dim is not None or codec.needs_fit else Fitted(codec)


def fit(storage: Storage, sample: np.ndarray) -> Fitted:
    """Learn from vectors (S, D) float32 of the model, as they are after pruning and pooling."""
    if storage.dim is None:
        return Fitted(codecs.fit(storage.codec, sample), None, len(sample))
    projection = reduction.fit_projection(sample, storage.dim)
    return Fitted(codecs.fit(storage.codec, reduction.project(sample, projection)), projection, len(sample))


def write(index: Path, fitted: Fitted, number: int) -> dict[str, Any]:
    """Write the folder of this number, make it durable, and return what the settings say of it."""
    codec = fitted.codec
    learned = {"projection": fitted.projection, "centroids": codec.centroids, "weights": codec.weights}
    files = {name: [np.ascontiguousarray(array)] for name, array in learned.items() if array is not None}
    if not files:
        return {}
    folder = fitted_folder(index, number)
    shutil.rmtree(folder, ignore_errors=True)  # what a crash left
    checksums = arrays.write(folder, files)
    return {"number": number, "vectors": fitted.vectors, "step": codec.step, "checksums": checksums}


def read(index: Path, storage: Storage, dim: int, record: Mapping[str, Any]) -> Fitted | None:
    """Map what `write` wrote into memory. record: what it returned; dim: of the model's vectors."""
    if not record:
        return unfitted(storage, dim)
    files = _files(index, record, FILES)
    d = storage.dim or dim
    projection = centroids = weights = None
    if storage.dim is not None:
        projection = files.map("projection", np.dtype("<f4"), (d,), dim)
    if Codec(storage.codec, d).needs_fit:
        centroids, weights = files.map("centroids", np.dtype("i1"), (d,)), files.map("weights", np.dtype("i1"), ())
    try:
        return Fitted(Codec(storage.codec, d, centroids, weights, record["step"]), projection, record["vectors"])
    except ShapeError as error:
        raise IndexFormatError(index, f"{FITTED}: {error}") from error


def problems(index: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the files, in words. Reads all of them."""
    if record:
        yield from _files(index, record, ()).problems()


def next_number(index: Path) -> int:
    """Return the number of the next folder, which no catalogue has named."""
    found = (re.fullmatch(rf"{FITTED}(?:-([0-9]+))?", folder.name) for folder in index.glob(f"{FITTED}*"))
    return max((int(match[1] or 1) for match in found if match), default=0) + 1


def _files(index: Path, record: Mapping[str, Any], names: Sequence[str]) -> Arrays:
    gone = "without it the vectors mean nothing: index the documents again"
    folder = fitted_folder(index, record["number"])
    return Arrays(index, folder, folder.name, names, record["checksums"], gone=gone)
