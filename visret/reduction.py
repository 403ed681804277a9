"""Ways of making a page smaller: fewer vectors, shorter vectors, or a few that stand for all of them.

`prune` drops vectors, `pool` merges those that are alike, and `project` leaves out the dimensions that say least; no
place on the page is forgotten. The first two look at one page only. A projection is fitted to a sample of the
collection, and questions go through it too. `summarise` makes the few rows that stand for a page in the first stage of
a search, and `means` makes the fewer ones that a search by single vectors ranks by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from visret import arguments
from visret.codec import CODECS, FORMS
from visret.errors import InvalidArgument, ShapeError
from visret.products import product
from visret.types import Grid, PageEmbedding

TOGETHER = 4096  # vectors that are compared with each other at a time; a page of a plot may have 40,000

RUN = 128
"""The number of vectors that share a mean, at most.

nDCG@5 on 94 questions with runs of 32, 64, 128, 200, 256 and 400 vectors, and with a mean for each page: .610, .605,
.622, .613, .603, .583, .572 (docs/log.md).
"""

_ROUNDS = 4  # of k-means in a summary; more rounds find nothing better
_MIN_COSINE = 0.1
_UNIT = 0.01  # by which the length of a stored unit vector may differ from 1


@dataclass(frozen=True, slots=True)
class Storage:
    """The settings by which an index stores vectors. They are applied in this order: prune, pool, project, encode.

    codec: how a vector is stored (visret/codec.py). dim: project to this many dimensions; None keeps all of them.
    pool: merge similar vectors, so that one in `pool` is left. prune: leave out this share of a page's vectors.
    """

    codec: str = "int8"
    dim: int | None = None
    pool: int = 1
    prune: float = 0.0

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise ShapeError(f"codec must be one of {', '.join(CODECS)}, got {self.codec!r}")
        for what in ("dim", "pool"):
            if (value := getattr(self, what)) is None and what == "dim":
                continue
            try:
                object.__setattr__(self, what, arguments.whole(what, value))
            except InvalidArgument:
                raise ShapeError(f"{what} must be at least 1 and whole, got {value!r}") from None
        try:
            object.__setattr__(self, "prune", float(self.prune))
        except (TypeError, ValueError):
            raise ShapeError(f"prune must be at least 0 and below 1, got {self.prune!r}") from None
        if not 0 <= self.prune < 1:
            raise ShapeError(f"prune must be at least 0 and below 1, got {self.prune}")

    def reduce(self, page: PageEmbedding) -> PageEmbedding:
        """Return the page pruned and pooled."""
        reduced = pool(prune(page, self.prune), self.pool)
        return reduced if len(reduced.vectors) == len(page.vectors) else replace(reduced, made=len(page.vectors))


def losing_lengths(storage: Storage) -> str:
    """Return the setting that does not keep vectors of any length, which is 1 for most models; "" if all do."""
    lossy = {
        f"codec {storage.codec}": not FORMS[storage.codec].keeps_lengths,
        "dim": storage.dim is not None,
        "pool": storage.pool > 1,
        "prune": storage.prune > 0,
    }
    return next((what for what, loses in lossy.items() if loses), "")


def prune(page: PageEmbedding, share: float) -> PageEmbedding:
    """Drop this share of the page's vectors: those that say least beside the others. At least one is left.

    A vector says little if another of the page is almost the same; of such a pair the later one goes.
    """
    n = len(page.vectors)
    dropped = min(int(n * share), n - 1)
    if not dropped:
        return page
    redundancy = np.concatenate(
        [
            np.tril(page.vectors[at : at + TOGETHER] @ page.vectors[: at + TOGETHER].T, at - 1).max(axis=1)
            for at in range(0, n, TOGETHER)
        ]
    )  # with an earlier one
    kept = np.sort(np.argsort(redundancy, kind="stable")[: n - dropped])
    row_of = np.full(n, -1, np.int32)
    row_of[kept] = np.arange(len(kept))
    return _moved(page, page.vectors[kept], row_of)


def pool(page: PageEmbedding, factor: int) -> PageEmbedding:
    """Merge similar vectors into their unit mean, so that one in `factor` is left (token pooling, Clavié et al. 2024).

    Clusters are merged by the mean cosine between them, and stay in the order of their first vector.
    """
    n = len(page.vectors)
    wanted = -(-n // factor)
    if wanted == n:
        return page
    row_of = _clusters(page.vectors, wanted)
    first = np.unique(row_of, return_index=True)[1]
    sums = np.zeros((len(first), page.vectors.shape[1]), np.float32)
    np.add.at(sums, row_of, page.vectors)
    gone = np.linalg.norm(sums, axis=1) < 1e-3  # opposites leave no direction; the first of them stands for all
    sums[gone] = page.vectors[first[gone]]
    return _moved(page, _units(sums), row_of)


def fit_projection(sample: np.ndarray, dim: int) -> np.ndarray:
    """Return the projection that best keeps the dot products of vectors like sample (S, d).

    It is (d, dim) float32 with orthonormal columns: PCA without centring, since what all vectors have in common counts
    in a dot product too. The axes are turned by a fixed random rotation. That changes no dot product and gives all
    dimensions the same share, which codes of few bits need (binary at 256 dimensions finds .877 of the exact top 10
    with it and .832 without, on the pages of tests/benchmarks/storage.py).
    """
    d = sample.shape[1]
    if not 1 <= dim <= d:
        raise ShapeError(f"dim must be from 1 to the {d} dimensions of the vectors, got {dim}")
    _, axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))
    return np.ascontiguousarray(axes[:, -dim:] @ rotation, np.float32)


def project(vectors: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Project vectors (n, d) of pages or questions to (n, dim) float32 unit rows."""
    if vectors.ndim != 2 or vectors.shape[1] != len(projection):
        raise ShapeError(f"vectors must be (n, {len(projection)}), got {vectors.shape}")
    return _units(vectors @ projection)


def summarise(vectors: np.ndarray, k: int) -> np.ndarray:
    """Return at most k rows, (<= k, d) float32, that stand for a page's vectors (n, d) float32.

    They come from spherical k-means; k rows or fewer stand for themselves. The more the vectors of a centroid differ,
    the longer than 1 it is: the best of them is nearer to a query than their mean is, by about
    1 / sqrt(their mean cosine with it). Vectors of other lengths are sorted by their directions, and each centroid gets
    the mean length of its own.

    A summary is a smaller page, which MaxSim scores as it scores pages. Nothing is learned across pages, so adding or
    removing a page changes nothing for the others, and a collection needs no minimum size.
    """
    if len(vectors) <= k:
        return vectors
    spans = np.linalg.norm(vectors, axis=1)
    other = np.abs(spans - 1).max() > _UNIT
    if other:
        vectors = vectors / np.maximum(spans, 1e-12)[:, None]
    # Rows follow the reading order, so rows at equal distances are spread over what the page is about.
    centroids = vectors[np.arange(k) * len(vectors) // k]
    for _ in range(_ROUNDS):
        nearest = product(vectors, centroids.T).argmax(axis=1)
        by_centroid = np.argsort(nearest, kind="stable")
        kept, first = np.unique(nearest[by_centroid], return_index=True)
        sums = np.add.reduceat(vectors[by_centroid], first)
        counts = np.diff(first, append=len(vectors))[:, None].astype(np.float32)
        before = centroids[kept]
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        cosines = np.maximum(lengths / counts, _MIN_COSINE)
        # Vectors that cancel out have no mean direction.
        centroids = np.where(lengths > 1e-3 * counts, sums / np.maximum(lengths, 1e-6), before)
    if other:
        centroids = centroids * (np.add.reduceat(spans[by_centroid], first) / counts[:, 0])[:, None]
    return np.asarray(centroids / np.sqrt(cosines))


def summary_size(rows: int) -> int:
    """Return the number of rows in the summary of a page with this many rows.

    tests/benchmarks/first_stage.py compares it with other choices. Of 16,834 real pages of 200 vectors, one row for 32
    leaves 900 to scan and keeps .995 of the ten best. Twice as many rows leave fewer pages, but save less than the
    rows cost.
    """
    return max(4, rows // 32)


def means(vectors: np.ndarray, run: int = RUN) -> np.ndarray:
    """Return the mean of each run of a page's vectors (n, d) float32, as unit rows: (ceil(n / run), d) float32.

    A run is at most `run` vectors that follow each other, and all runs of a page are of about the same length. Vectors
    follow the reading order, so a run is a passage; of a picture it is some rows of patches. Where vectors cancel out,
    the first of them stands for the run.
    """
    count = mean_count(len(vectors), run)
    first = len(vectors) * np.arange(count) // count
    sums = np.add.reduceat(vectors, first)
    gone = np.linalg.norm(sums, axis=1) < 1e-3
    sums[gone] = vectors[first[gone]]
    return _units(sums)


def mean_count(rows: int, run: int = RUN) -> int:
    """Return the number of means of a page with this many rows."""
    return -(-rows // run)


def _clusters(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the number of each unit vector's cluster, (n,) int32.

    There are at most `count` clusters, in the order of their first vector. A page with very many vectors is clustered
    part by part.
    """
    parts = min(-(-len(vectors) // TOGETHER), count)
    if parts > 1:
        cuts = np.linspace(0, len(vectors), parts + 1).astype(int)
        counts = np.linspace(0, count, parts + 1).astype(int)
        found = [
            _clusters(vectors[a:b], d - c) for (a, b), (c, d) in zip(pairwise(cuts), pairwise(counts), strict=True)
        ]
        firsts = np.cumsum([0, *(int(part.max()) + 1 for part in found)])
        return np.concatenate([part + first for part, first in zip(found, firsts, strict=False)]).astype(np.int32)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = np.maximum(1 - squareform(vectors @ vectors.T, checks=False), 0)
    labels = fcluster(linkage(distances, "average"), count, "maxclust")
    _, first, label = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[label]


def _units(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _moved(page: PageEmbedding, vectors: np.ndarray, row_of: np.ndarray) -> PageEmbedding:
    """Return the page with other vectors. row_of: (n,) int32, the new vector that stands for each old one, or -1."""
    old = page.vector_of_place()
    new = np.where(old >= 0, row_of[old], np.int32(-1))
    where = page.where
    if isinstance(where, Grid):
        return replace(page, vectors=vectors, where=Grid(where.rows, where.cols, new.reshape(where.rows, where.cols)))
    there = new >= 0
    rows = new[there]
    if np.array_equal(rows, np.arange(len(vectors))):
        return replace(page, vectors=vectors, where=where[there], rows=None)
    return replace(page, vectors=vectors, where=where[there], rows=rows)
