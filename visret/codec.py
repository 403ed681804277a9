"""The codecs: float32 rows become stored codes, and codes become rows again.

    codec      codes                    scales        centroids    bytes a vector
    float32    (N, d) float32                                      4 d
    float16    (N, d) float16                                      2 d
    int8       (N, d) uint8             (N,) float32               d + 4
    residual2  (N, ceil(d / 4)) uint8   (N,) float16  (N,) uint16  d / 4 + 4
    residual1  (N, ceil(d / 8)) uint8   (N,) float16  (N,) uint16  d / 8 + 4
    binary     (N, ceil(d / 8)) uint8                              d / 8

**float16** keeps 11 bits. Its error is at most 2**-11 of a component's size (2**-25 for components below 6e-5).

**int8** stores value + 128 with value in -127..127 and one scale a vector, max|x| / 127: x ~ (code - 128) * scale.
Its error: at most scale / 2 in each component (up to float32 rounding, 2e-5 of a scale), so at most
scale * sqrt(d) / 2 in the dot product with a unit query. For a unit row of d = 128 whose largest component is 0.3
that is a bound of 0.0134. Rounding errors are not adversarial: the error observed is 0.0007 (scale / sqrt(12)).

**residual2, residual1** (ColBERTv2, Santhanam et al. 2022) store the nearest of K centroids and, for each dimension,
which of 4 or 2 weights is nearest to what the centroid leaves: x ~ (centroids[id] + weights[code]) * scale. Centroids
and weights are whole multiples of one common step with |centroid| + |weight| <= 127, so that their sum is an int8 row;
the scale gives the row its length back. Dimension 4 i + j is in bits 2 j and 2 j + 1 of byte i (two bits), dimension
8 i + j is bit j of byte i (one bit); bits beyond d are 0. These codecs have to be fitted to a sample first.

**binary** keeps the signs: bit j of byte i is 1 where dimension 8 i + j is above 0; x ~ (+1 or -1) / sqrt(d).

Every page is decoded with `decode` before it is scored exactly, so a score is exact for what the index holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from visret.choices import CODECS as CODECS
from visret.errors import ShapeError


class Form(NamedTuple):
    """The form in which a codec stores vectors; whoever reads stored rows asks this table, and not for names.

    bits: of a dimension. floats: the dtype of the codes if they are the components themselves; None for whole numbers.
    scales: the dtype of the length or scale beside each vector; None if there is none. learned: whether the codes are
    what a centroid leaves, so that the codec is fitted first.
    """

    bits: int
    floats: type[np.floating[Any]] | None = None
    scales: type[np.floating[Any]] | None = None
    learned: bool = False

    @property
    def is_packed(self) -> bool:
        """True if a byte holds several dimensions, whose codes are the numbers of levels."""
        return self.bits < 8

    @property
    def is_biased(self) -> bool:
        """True if a code is a value + 128, which its scale multiplies."""
        return self.bits == 8

    @property
    def is_unscaled(self) -> bool:
        """True if whole numbers have no scale beside them: a vector is then a multiple of 1 / sqrt(d)."""
        return self.floats is None and self.scales is None

    @property
    def keeps_lengths(self) -> bool:
        """True if vectors of any length keep it. float16 does not hold the lengths of short vectors."""
        return self.floats is not None or self.scales is np.float32


FORMS = {
    "float32": Form(32, floats=np.float32),
    "float16": Form(16, floats=np.float16),
    "int8": Form(8, scales=np.float32),
    "residual2": Form(2, scales=np.float16, learned=True),
    "residual1": Form(1, scales=np.float16, learned=True),
    "binary": Form(1),
}
"""The form of each codec."""

# Floats worked on at a time: 4 MB, so that encoding needs no second copy of a large array.
_BLOCK = 1 << 20

_MAX_CENTROIDS = 1 << 16  # a uint16 names them
_CENTROIDS = 256
_SAMPLE_A_CENTROID = 4
_ROUNDS = 8  # of k-means


class Rows(NamedTuple):
    """Stored vectors: the arrays of the table above, None where a codec has none."""

    codes: np.ndarray
    scales: np.ndarray | None = None
    centroids: np.ndarray | None = None

    def part(self, where: slice | np.ndarray) -> Rows:
        """Return some of the vectors."""
        return Rows(*(None if array is None else array[where] for array in self))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Codec:
    """A way of storing vectors. `fit` makes one; `Codec(name, dim)` is enough for a codec that needs no fit.

    dim: the number of dimensions of the float vectors.
    centroids: (K, d) int8. weights: (4,) or (2,) int8, rising. step: the length of 1 in them, for unit vectors.
        All three are None until the codec is fitted, and for codecs that have none.
    """

    name: str
    dim: int
    centroids: np.ndarray | None = None
    weights: np.ndarray | None = None
    step: float | None = None

    def __post_init__(self) -> None:
        if self.name not in FORMS:
            raise ShapeError(f"codec must be one of {', '.join(FORMS)}, got {self.name!r}")
        if self.dim < 1:
            raise ShapeError(f"vectors need at least one dimension, got {self.dim}")
        if self.centroids is None and self.weights is None and self.step is None:
            return
        if self.centroids is None or self.weights is None or self.step is None or not self.needs_fit:
            raise ShapeError(f"{self.name}: centroids, weights and step belong to a residual codec, all three of them")
        k, levels = len(self.centroids), 1 << self.form.bits
        fits = k.bit_count() == 1 and k <= _MAX_CENTROIDS and self.step > 0
        fits &= self.centroids.shape == (k, self.dim) and self.weights.shape == (levels,)
        if not fits or not self.centroids.dtype == self.weights.dtype == np.int8:
            raise ShapeError(
                f"{self.name}: expected int8 centroids (K, {self.dim}), K a power of two, and weights ({levels},), got "
                f"{self.centroids.shape} {self.centroids.dtype} and {self.weights.shape} {self.weights.dtype}"
            )
        largest = sum(max(int(some.max()), -int(some.min())) for some in (self.centroids, self.weights))
        if largest > 127 or (np.diff(self.weights.astype(int)) < 0).any():
            raise ShapeError(f"{self.name}: weights must rise, and centroid + weight stay within 127")

    @property
    def form(self) -> Form:
        """The form in which vectors are stored."""
        return FORMS[self.name]

    @property
    def needs_fit(self) -> bool:
        """True if the codec has to be fitted to a sample."""
        return self.form.learned

    @property
    def fitted(self) -> bool:
        """True if vectors can be stored with this codec: it is fitted, or needs no fit."""
        return not self.needs_fit or self.centroids is not None

    @cached_property
    def _groups(self) -> np.ndarray:
        assert self.centroids is not None
        return _groups(self.centroids)

    @property
    def bytes_a_vector(self) -> int:
        """The number of bytes of a stored vector: its codes, scale and centroid."""
        return sum(array.nbytes for array in self.empty(1) if array is not None)

    def empty(self, count: int) -> Rows:
        """Allocate the arrays for `count` vectors, with the dtypes and shapes of this codec."""
        form = self.form
        width = -(-self.dim * form.bits // 8) if form.is_packed else self.dim
        return Rows(
            np.empty((count, width), form.floats or np.uint8),
            None if form.scales is None else np.empty(count, form.scales),
            np.empty(count, np.uint16) if form.learned else None,
        )


def fit(name: str, sample: np.ndarray, *, count: int | None = None, seed: int = 0) -> Codec:
    """Fit the codec `name` to vectors like those of sample (S, d) float32.

    count: the number of all vectors, if the sample is drawn from all of them. Residual codecs then take
        16 * sqrt(count) centroids, rounded to a power of two (ColBERTv2). None means that the sample is what came
        first, and they take 256: errors that are alike on all pages do less harm than errors that are smaller only on
        the pages that were seen (of the ten best pages 256 keep .943 with two bits and .868 with one, 4,096 keep .921
        and .749; tests/benchmarks/storage.py). There are at most 65,536 either way, and at most one for every 4
        vectors of the sample.
    """
    if sample.ndim != 2 or sample.dtype != np.float32 or not sample.shape[1]:
        raise ShapeError(f"sample must be (S, d) float32, got {sample.shape} {sample.dtype}")
    codec = Codec(name, sample.shape[1])
    if not codec.needs_fit:
        return codec
    if not len(sample):
        raise ShapeError(f"{name} needs at least one vector to be fitted to")
    rng = np.random.default_rng(seed)
    units = _directions(sample, _peaks(sample, 0))[0][rng.permutation(len(sample))]
    seen, held_out = (units, units) if len(units) < 64 else np.split(units, [-(len(units) // 16)])
    wanted = 16 * np.sqrt(count) if count else _CENTROIDS
    most = max(1, min(len(sample) // _SAMPLE_A_CENTROID, _MAX_CENTROIDS))
    centroids = _tree(seen, 1 << min(round(np.log2(wanted)), most.bit_length() - 1), rng)
    # The residuals of vectors that the centroids were made from are too small.
    weights = _levels(held_out - centroids[_find(held_out, centroids, _groups(centroids))], 1 << codec.form.bits)
    step = float(np.abs(centroids).max() + np.abs(weights).max()) / 126  # 126: both may be rounded up
    whole = np.rint(centroids / step).astype(np.int8), np.rint(weights / step).astype(np.int8)
    return Codec(name, codec.dim, *whole, step)


def encode(vectors: np.ndarray, codec: Codec) -> Rows:
    """Encode vectors (N, d) float32.

    Raises ShapeError if a vector is not finite or is all zero: its similarity to any query would be meaningless.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] != codec.dim:
        raise ShapeError(f"vectors must be (N, {codec.dim}) float32, got {vectors.shape} {vectors.dtype}")
    if not codec.fitted:
        raise ShapeError(
            f"{codec.name} has to be fitted to a sample of the vectors first: codec.fit({codec.name!r}, ..)"
        )
    rows = codec.empty(len(vectors))
    size = max(1, _BLOCK // codec.dim)
    for start in range(0, len(vectors), size):
        block, room = vectors[start : start + size], rows.part(slice(start, start + size))
        peaks = _peaks(block, start)
        if codec.form.floats is not None:
            _refuse_beyond(room.codes.dtype, peaks, start)
            room.codes[:] = block
        elif codec.form.is_biased:
            _encode_int8(block, peaks, start, room)
        elif codec.form.learned:
            _encode_residuals(block, peaks, start, room, codec)
        else:
            room.codes[:] = np.packbits(block > 0, axis=1, bitorder="little")
    return rows


def decode(rows: Rows, codec: Codec) -> np.ndarray:
    """Decode stored vectors to (N, d) float32. Raises ShapeError for rows that are not of this codec."""
    count = len(rows.codes)
    if _forms(rows) != _forms(codec.empty(count)):
        raise ShapeError(
            f"{count} {codec.name} rows of {codec.dim} dimensions: expected "
            f"{_forms(codec.empty(count))}, got {_forms(rows)}"
        )
    if codec.form.floats is not None:
        return rows.codes.astype(np.float32)
    if codec.form.is_biased:
        vectors = rows.codes.astype(np.float32)
        vectors -= 128
    else:
        vectors = levels(codec.weights).astype(np.float32)[unpacked(rows.codes, codec.name, codec.dim)]
    if codec.centroids is not None:
        assert rows.centroids is not None  # checked above
        if len(rows.centroids) and rows.centroids.max() >= len(codec.centroids):
            raise ShapeError(f"{codec.name} has {len(codec.centroids)} centroids, got number {rows.centroids.max()}")
        vectors += codec.centroids[rows.centroids]
    if rows.scales is None:
        vectors /= np.float32(np.sqrt(codec.dim))
    else:
        vectors *= rows.scales[:, None]
    return vectors


def _encode_int8(block: np.ndarray, peaks: np.ndarray, start: int, room: Rows) -> None:
    assert room.scales is not None
    scales = peaks / np.float32(127)
    # A scale below the smallest normal float would not divide exactly.
    _refuse_beyond(np.dtype(np.float32), scales, start)
    room.scales[:] = scales
    values = block / scales[:, None]
    np.rint(values, out=values)
    values += 128
    room.codes[:] = values


def _encode_residuals(block: np.ndarray, peaks: np.ndarray, start: int, room: Rows, codec: Codec) -> None:
    assert room.scales is not None
    assert room.centroids is not None
    assert codec.centroids is not None
    assert codec.weights is not None
    units, lengths = _directions(block, peaks)
    units /= np.float32(codec.step)
    room.centroids[:] = _find(units, codec.centroids, codec._groups)
    sums = codec.centroids[room.centroids]
    units -= sums
    cuts = (codec.weights[1:].astype(np.float32) + codec.weights[:-1]) / 2
    codes = np.zeros(block.shape, np.uint8)
    for cut in cuts:
        codes += units > cut
    sums += codec.weights[codes]
    scales = lengths / np.maximum(np.linalg.norm(sums.astype(np.float32), axis=1), 1)
    _refuse_beyond(room.scales.dtype, scales, start)
    room.scales[:] = scales
    room.codes[:] = _pack(codes, codec.form.bits)


def _pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack (N, d) numbers of 1, 2 or 4 bits into (N, ceil(d * bits / 8)) uint8, the first in the lowest bits."""
    each = 8 // bits
    codes = np.pad(codes, ((0, 0), (0, -codes.shape[1] % each))).reshape(len(codes), -1, each)
    return np.asarray(np.bitwise_or.reduce(codes << np.arange(0, 8, bits, dtype=np.uint8), axis=2))


def levels(weights: np.ndarray | None) -> np.ndarray:
    """Return the int8 value that each packed number stands for, (2 ** bits,). weights: what the codec learned."""
    return np.array([-1, 1], np.int8) if weights is None else weights


def unpacked(codes: np.ndarray, codec: str, dim: int) -> np.ndarray:
    """Return the numbers that packed codes (N, ..) hold, (N, dim) uint8."""
    bits = FORMS[codec].bits
    each = codes[:, :, None] >> np.arange(0, 8, bits, dtype=np.uint8) & np.uint8((1 << bits) - 1)
    return each.reshape(len(codes), codes.shape[1] * (8 // bits))[:, :dim]


def _directions(vectors: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors (N, d) and lengths (N,). The peaks keep squares from vanishing or overflowing."""
    units = vectors / peaks[:, None]
    lengths = np.linalg.norm(units, axis=1)
    units /= lengths[:, None]
    return units, lengths * peaks


def _tree(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Return (k, d) centroids of points (n, d), group after group; k is a power of two.

    k-means in about sqrt(k) groups, and again in each, takes sqrt(k) / 2 times less work than in one step, both here
    and whenever a vector's centroid is searched. It is as good as a quarter of the centroids found in one step.
    """
    count = _group_count(k)
    nearest = _nearest(points, _k_means(points, count, rng))
    parts = []
    for group in range(count):
        mine = points[nearest == group]
        parts.append(_k_means(mine if len(mine) else points, k // count, rng))
    return np.concatenate(parts)


def _group_count(k: int) -> int:
    return 1 << (k.bit_length() - 1) // 2


def _groups(centroids: np.ndarray) -> np.ndarray:
    """Return the means of the groups of centroids (K, d): (g, d) float32."""
    groups = centroids.reshape(_group_count(len(centroids)), -1, centroids.shape[1])
    return np.asarray(groups.mean(axis=1, dtype=np.float32))


def _find(points: np.ndarray, centroids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Find the number of each point's centroid, the nearest in the nearest group: (n,) uint16."""
    found = np.empty(len(points), np.uint16)
    group_of, size = _nearest(points, groups), len(centroids) // len(groups)
    for group in np.unique(group_of):
        mine, first = group_of == group, group * size
        found[mine] = first + _nearest(points[mine], centroids[first : first + size].astype(np.float32))
    return found


def _k_means(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Return (k, d) centroids of points (n, d).

    A centroid that loses its points starts again at the point that is farthest from its own centroid.
    """
    centroids = points[rng.permutation(max(len(points), k))[:k] % len(points)]
    for _ in range(_ROUNDS):
        nearest = _nearest(points, centroids)
        order = np.argsort(nearest, kind="stable")
        counts = np.bincount(nearest, minlength=k)
        used = np.flatnonzero(counts)
        first = (np.cumsum(counts) - counts)[used]
        far = np.argsort(np.einsum("nd,nd->n", points, centroids[nearest]), kind="stable")[: k - len(used)]
        centroids[used] = np.add.reduceat(points[order], first) / counts[used, None]
        centroids[np.flatnonzero(counts == 0)[: len(far)]] = points[far]
    return centroids


def _nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the number of each point's nearest centroid: (n,) int64."""
    half = np.einsum("kd,kd->k", centroids, centroids) / 2
    size = max(1, _BLOCK * 4 // len(centroids))
    parts = [(points[at : at + size] @ centroids.T - half).argmax(axis=1) for at in range(0, len(points), size)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _levels(values: np.ndarray, count: int) -> np.ndarray:
    """Find the `count` numbers that are nearest to all values on average (Lloyd 1982), starting from quantiles."""
    values = np.sort(values, axis=None)
    levels: np.ndarray = np.quantile(values, (np.arange(count) + 0.5) / count)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    for _ in range(20):
        ends = np.concatenate([[0], np.searchsorted(values, (levels[1:] + levels[:-1]) / 2), [len(values)]])
        sizes = np.diff(ends)
        levels = np.where(sizes > 0, np.diff(sums[ends]) / np.maximum(sizes, 1), levels)
    return levels


def _peaks(vectors: np.ndarray, start: int) -> np.ndarray:
    """Return the largest |component| of each vector, (N,). Raises ShapeError for a vector without a direction."""
    peaks: np.ndarray = np.maximum(vectors.max(axis=1), -vectors.min(axis=1))
    _refuse(~np.isfinite(peaks), start, "is not finite")
    _refuse(peaks < np.finfo(np.float32).tiny, start, "is zero")
    return peaks


def _forms(rows: Rows) -> list[tuple[Any, ...] | None]:
    return [None if array is None else (array.dtype, array.shape) for array in rows]


def _refuse_beyond(dtype: np.dtype[Any], values: np.ndarray, start: int) -> None:
    limit = np.finfo(dtype)
    _refuse(values < limit.tiny, start, f"is too small for {dtype}")
    _refuse(values > limit.max / 2, start, f"is too large for {dtype}")


def _refuse(wrong: np.ndarray, start: int, what: str) -> None:
    if wrong.any():
        raise ShapeError(f"vector {start + int(wrong.argmax())} {what}; it cannot be stored")
