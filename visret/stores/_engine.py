"""One small interface of the engines that hold pages; everything else about stores is the same for all of them.

Conditions are JSON in Qdrant's shape (`{"must": [{"key": ..., "match": {"any": [...]}}]}`, with `must_not`, `should`,
`range` and `has_id`), made by `_points.condition`. An engine with a language of its own translates them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import numpy as np

from visret.errors import PageIndexError

TOKENS, SUMMARY, BM25 = "tokens", "summary", "bm25"
"""What pages are found by: every vector of a page, the few that stand for them, and its words; besides, `DENSE`."""

Filter = Mapping[str, Any]
Payload = dict[str, Any]


class Sparse(NamedTuple):
    """A sparse vector. indices: distinct whole numbers below 2**32. values: one for each."""

    indices: list[int]
    values: list[float]


class Point(NamedTuple):
    """A point to write: a page, or the manifest, which has neither vectors nor terms.

    vectors: (n, d) float32 each, by TOKENS and SUMMARY, and by DENSE if an added model made some. terms: how often the
    page has each, by its number below 2**32.
    """

    id: UUID
    vectors: Mapping[str, np.ndarray]
    terms: Mapping[int, int]
    payload: Payload


class Engine(Protocol):
    """The protocol of a collection of points, wherever it runs.

    name: its address. product: what errors call the engine. batch: bytes of float32 vectors that are written together,
    at most, unless one point has more. most_floats: floats that a point may have in one of its vectors. weighs_words:
    whether the engine computes BM25 from the terms of all pages; otherwise it takes the weights that it is given.
    """

    name: str
    product: str
    batch: int
    most_floats: int
    weighs_words: bool

    def exists(self) -> bool:
        """Return whether the collection is there. Raises PageIndexError if something else is in its place."""

    def create(self, dims: Mapping[str, int]) -> None:
        """Make the collection. dims: the dimensions of its vectors, by their names."""

    def index(self, keys: Mapping[str, str]) -> None:
        """Index payload keys, each as "keyword" or "float"; those that are indexed stay as they are."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points; those with the same id are replaced."""

    def delete(self, ids: Sequence[UUID]) -> None:
        """Delete points."""

    def scroll(self, fields: Sequence[str], where: Filter | None = None) -> Iterator[tuple[UUID, Payload]]:
        """Yield the points that pass, with these fields of their payload."""

    def retrieve(self, ids: Sequence[UUID]) -> dict[UUID, Payload]:
        """Return the payloads of those points that are there."""

    def count(self, where: Filter) -> int:
        """Count the points that pass."""

    def query(
        self, using: str, query: np.ndarray | Sparse, limit: int, where: Filter | None, *, first: int = 0
    ) -> list[tuple[UUID, float]]:
        """Return the best points with their scores, exactly: MaxSim, or BM25 for a Sparse of terms and their counts.

        first: rank only so many points, which SUMMARY finds; 0 ranks all that pass.
        """

    def mean_terms(self) -> float:
        """Return the mean number of terms of a page, where the engine weighs words."""

    def finish(self) -> None:
        """Make what was written durable, and build what searches need."""

    def close(self) -> None:
        """Let go of the engine."""


def absent(name: str) -> PageIndexError:
    """Return the error for a collection that is not there."""
    return PageIndexError(name, f"no pages are there; visret export INDEX {name} writes them")
