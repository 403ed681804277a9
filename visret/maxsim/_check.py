"""The check of machine code: no compiled path ranks a page before it has scored samples as MaxSim is defined, here.

When a path is compiled for a codec and a number of dimensions, it scores some difficult pages and questions: extreme
codes, negative similarities, a page of one row, numbers of rows and of tokens that leave a remainder, every kind of
tile. Integer paths must give, bit for bit, what `interpreted` gives, which does in NumPy what each instruction does to
the bytes of the same arrays. All paths must stay as near to the definition as the rounding of the question allows. A
path that does not is given up with a warning, and the next one takes over; after the last one, the interpreter does.

The interpreter also runs the paths of other CPUs, so that the tests can check all of them.
"""

from __future__ import annotations

import functools
import math
import os
import platform
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding

from visret import forks
from visret.codec import FORMS, Codec, Rows, decode, levels, unpacked
from visret.errors import ShapeError
from visret.maxsim import _kernel, _paths
from visret.maxsim._kernel import Arguments, Bind, Known, Scan
from visret.maxsim._paths import CHUNK, Path, Tile

FORCED = "VISRET_PATH"
"""The environment variable that names paths to try first, separated by commas."""

NEAR = 1e-5  # for each token, a unit vector: the largest difference of float32 sums in another order
_LENGTHS = (1, 2, _kernel.GROUP + 1)  # rows of the sample pages


class Verdict(NamedTuple):
    """The result of checking a path on this CPU.

    available: whether the CPU has what the path needs. chosen: whether it scans integer rows, or gives the exact
    scores. difference: None if it agrees with the definition, else what differs, in words. milliseconds: the time that
    the check took.
    """

    path: str
    available: bool
    chosen: bool
    difference: str | None
    milliseconds: float


def trusted(codec: str, dim: int, wanted: str | None = None, *, exact: bool) -> tuple[Path, Bind]:
    """Return the fastest path that agrees with the definition here, and its scan. exact: for float queries.

    wanted: names of paths to try first, as in VISRET_PATH, which counts if this is None. Raises VisretError for the
    name of a path that this CPU cannot run.
    """
    return _trusted(codec, dim, os.environ.get(FORCED, "") if wanted is None else wanted, exact)


@functools.cache
def _trusted(codec: str, dim: int, wanted: str, exact: bool) -> tuple[Path, Bind]:
    for path in _paths.candidates(wanted, exact=exact):
        if (bind := _checked(path, codec, dim)) is not None:
            return path, bind
    path = _paths.PATHS["float" if exact else "generic"]
    return path, interpreted(path, codec, dim)


_checking = forks.Lock()
_given_up: dict[str, str] = {}  # what differed, by the name of the path


def _checked(path: Path, codec: str, dim: int) -> Bind | None:
    """Return the compiled scan; None, with a warning, if it does not agree with the definition."""
    with _checking:
        if path.name in _given_up:
            return None
        bind, difference, _ = _compiled(path, codec, dim)
        if difference is None:
            return bind
        _given_up[path.name] = difference
    warnings.warn(
        f"{cpu()}: machine code of the path {path.name} is wrong here: {codec} rows of {dim} dimensions: {difference}. "
        "Another path takes its place. Please report this, with the output of: visret doctor",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _compiled(path: Path, codec: str, dim: int) -> tuple[Bind | None, str | None, float]:
    """Return the compiled scan; what is wrong with its scores, or why there is none; and the seconds of the check."""
    try:
        bind, start = _kernel.scan(path, codec, dim), time.perf_counter()
        return bind, differences(path, codec, dim, bind), time.perf_counter() - start
    except (RuntimeError, ShapeError) as error:  # LLVM cannot compile it, or what was laid out for it does not fit
        return None, str(error), 0.0


def report(codec: str = "int8", dim: int = 384) -> list[Verdict]:
    """Check every path for rows of one codec. Those that this CPU can run are compiled, a tenth of a second each."""
    here = {path.name for path in _paths.available()}
    chosen = {trusted(codec, dim, exact=exact)[0].name for exact in (False, True)}
    verdicts = []
    for path in _paths.PATHS.values():
        difference, took = None, 0.0
        if path.name in here:
            _, difference, took = _compiled(path, codec, dim)
            difference = _given_up.get(path.name, difference)
        verdicts.append(Verdict(path.name, path.name in here, path.name in chosen, difference, took * 1e3))
    return verdicts


def cpu() -> str:
    """Return LLVM's name for this CPU, and its family."""
    return f"{binding.get_host_cpu_name() or 'unknown'} ({platform.machine()})"


# ---- the check ------------------------------------------------------------------------------------------------------


def differences(path: Path, codec: str, dim: int, bind: Bind) -> str | None:
    """Say how a scan's scores differ from those of the interpreter and the definition; None if they do not."""
    rows, fitted, offsets = sample_pages(codec, dim)
    counts = [1] * len(path.tiles)
    room = sum(map(path.tokens, path.tiles))
    queries = sample_queries(room - 1, dim)
    asked = [query / np.float32(np.sqrt(dim)) for query in queries] if FORMS[codec].is_unscaled else queries
    laid = _paths.lay_out(path, asked, _kernel.width(dim), counts)

    def scored(bound: Bind) -> np.ndarray:
        given = _kernel.arguments(rows, fitted, offsets[:-1].copy(), offsets[1:].copy(), laid, len(queries))
        given |= {"edges": np.array([0, 1, len(_LENGTHS)], np.int64), "parts": 2}
        bound(given)()
        return np.asarray(given["out"])

    found, expected = scored(bind), scored(interpreted(path, codec, dim))
    tokens = np.array([len(query) for query in queries])
    stored = decode(rows, fitted).astype(np.float64)
    truth = definition(stored, offsets, queries)
    slack = NEAR * tokens
    if path.limit:
        rounded = rounding(path, queries) * np.abs(stored).sum(axis=1).max()
        return told(found, truth, rounded + slack) or told(found, expected, np.zeros(len(tokens)))
    return told(found, truth, slack) or told(found, expected, slack)


def told(found: np.ndarray, expected: np.ndarray, slack: np.ndarray) -> str | None:
    """Say what differs by more than the slack of each query; None for nothing. Scores are (pages, queries)."""
    wrong = ~(np.abs(found - expected) <= slack)  # NaN is wrong too
    if not wrong.any():
        return None
    first = tuple(np.argwhere(wrong)[0])
    return f"{found[first]:.6g} instead of {expected[first]:.6g}, {wrong.sum()} of {wrong.size} scores differ"


def definition(stored: np.ndarray, offsets: np.ndarray, queries: Sequence[np.ndarray]) -> np.ndarray:
    """Score stored vectors (N, d) by the definition: (pages, queries) float64.

    BLAS is not used, since it has paths of its own.
    """
    similar = np.einsum("nd,td->nt", stored.astype(np.float64), np.concatenate(queries).astype(np.float64))
    best = np.maximum.reduceat(similar, offsets[:-1], axis=0)
    return np.add.reduceat(best, np.cumsum([0, *map(len, queries[:-1])]), axis=1)


def rounding(path: Path, queries: Sequence[np.ndarray]) -> np.ndarray:
    """Return how much rounding a query may change its score with a row of ones, (queries,): half a step a token.

    "pairs" paths make the step larger where 16-bit sums would overflow.
    """
    limit = 255 / (2 * CHUNK) - 1 if path.kind == "pairs" else path.limit
    return np.array([np.abs(query).max(axis=1).sum() for query in queries]) / (2 * limit)


def sample_pages(codec: str, dim: int) -> tuple[Rows, Codec, np.ndarray]:
    """Return rows of about unit length, the first of them with extreme codes, their codec, and the offsets of pages."""
    offsets = np.cumsum([0, *_LENGTHS], dtype=np.int64)
    count = int(offsets[-1])
    fitted = Codec(codec, dim)
    if fitted.needs_fit:
        weights = np.linspace(-27, 26, 1 << FORMS[codec].bits)  # not the same on both sides of 0
        centroids = (100 * noise(8, dim)).astype(np.int8)
        fitted = Codec(codec, dim, centroids, weights.astype(np.int8), 1 / 127)
    rows = fitted.empty(count)
    drawn = noise(*rows.codes.shape)
    if rows.codes.dtype == np.uint8:
        rows.codes[:] = 128 + 128 * drawn
        rows.codes[:4] = np.array([255, 1, 0, 255])[:, None]
        rows.codes[3, 1::2] = 0
    else:
        rows.codes[:] = drawn / np.sqrt(dim)
        rows.codes[:2] = np.array([1, -1])[:, None] / np.sqrt(dim)
    if rows.scales is not None:
        rows.scales[:] = (1 + np.arange(count) % 5 / 8) / (127 * np.sqrt(dim))
    if rows.centroids is not None:
        rows.centroids[:] = np.arange(count) % 8
    return rows, fitted, offsets


def sample_queries(tokens: int, dim: int) -> list[np.ndarray]:
    """Return queries of one to many tokens, `tokens` in all (at least 9): unit vectors, the first of them extreme."""
    dense = noise(tokens, dim)
    dense[:2] = np.array([1, -1])[:, None]
    dense[2] = np.resize([1, -1], dim)
    dense[3] = np.eye(1, dim, dim - 1)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    dense[4] = 0
    return np.split(dense, [1, 3, 8])


def noise(*shape: int) -> np.ndarray:
    """Return numbers from -1 to 1, float32, the same on every machine.

    Importing NumPy's own generator would take three times as long as a check.
    """
    mixed = np.arange(1, 1 + math.prod(shape), dtype=np.uint32) * np.uint32(2654435761)
    mixed = (mixed ^ mixed >> np.uint32(15)) * np.uint32(2246822519)
    numbers = (mixed ^ mixed >> np.uint32(13)).view(np.int32).astype(np.float32)
    return (numbers / np.float32(2**31)).reshape(shape)


# ---- the interpreter ------------------------------------------------------------------------------------------------


def interpreted(path: Path, codec: str, dim: int) -> Bind:
    """Return what `_kernel.scan` does, in NumPy: slow, and the same on every machine."""

    def bind(given: Arguments, *known: Known) -> Scan:
        arrays: dict[str, Any] = dict(_kernel.check(path, codec, dim, given, *known).values)
        taking = threading.Lock()

        def call() -> None:
            while True:
                with taking:
                    part = int(arrays["taken"][0])
                    arrays["taken"][0] += 1
                if part >= arrays["parts"]:
                    return
                first, last = arrays["edges"][part : part + 2]
                _pages(path, codec, dim, arrays, slice(first, last))

        return call

    return bind


def _pages(path: Path, codec: str, dim: int, given: dict[str, Any], pages: slice) -> None:
    """Score some pages."""
    starts, lengths = given["starts"][pages], given["ends"][pages] - given["starts"][pages]
    begins = np.cumsum(lengths) - lengths
    rows = np.arange(lengths.sum()) + np.repeat(starts - begins, lengths)
    values = _values(path, codec, dim, given, rows)
    bias, owners = _read(given["bias"], np.int32), _read(given["owners"], np.int64)
    lanes = (-1, path.lanes)
    maxima = []
    at = register = 0
    for tile, count in zip(path.tiles, _read(given["counts"], np.int64), strict=True):
        for _ in range(count):
            size = _kernel.tile_bytes(path, tile, dim)
            begin = bias.reshape(lanes)[register : register + tile.vectors]
            sums = _sums(path, tile, values, given["stream"][at : at + size], begin)
            # The parts of a token are summed, and the sum is in all its lanes.
            whole = sums.sum(axis=3, keepdims=True, dtype=sums.dtype).repeat(tile.spread, axis=3)
            scores = whole.astype(np.float32).reshape(len(rows), tile.vectors, path.lanes)
            if given["scales"] is not None:
                scores *= given["scales"][rows].astype(np.float32)[:, None, None]
            maxima.append(np.maximum.reduceat(scores, begins))
            at, register = at + size, register + tile.vectors
    weighted = np.concatenate(maxima, axis=1) * _read(given["token_scales"], np.float32).reshape(lanes)
    for owner, lane in zip(owners, weighted.reshape(len(starts), -1).T, strict=True):
        given["out"][pages, owner] += lane


def _read(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Return the bytes of an array as the machine code reads them, whatever they were meant to be."""
    return array.reshape(-1).view(dtype)


def _values(path: Path, codec: str, dim: int, given: dict[str, Any], rows: np.ndarray) -> np.ndarray:
    """Return the values of some rows that are multiplied: (n, width), int32 or float64."""
    codes = given["codes"][rows]
    out = np.zeros((len(rows), _kernel.width(dim)), np.float64 if path.kind == "float" else np.int32)
    if codes.dtype != np.uint8:
        out[:, :dim] = codes
        return out
    if FORMS[codec].is_biased:
        biased = codes
    else:
        learned = FORMS[codec].learned
        values = levels(given["weights"] if learned else None)[unpacked(codes, codec, dim)]
        if learned:
            values = values + given["centroids"][np.minimum(given["centroid_of"][rows], given["last_centroid"])]
        biased = values.view(np.uint8) ^ np.uint8(128)
    out[:, :dim] = biased
    if path.kind not in ("dot", "pairs"):
        out[:, :dim] -= 128
    return out


def _sums(path: Path, tile: Tile, values: np.ndarray, stream: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Multiply rows with one tile of tokens and sum: (n, vectors, tokens, spread), int32 or float64."""
    group, spread = path.group, tile.spread
    steps = values.shape[1] // (group * spread)
    shape = (tile.vectors, path.lanes // spread, spread)
    if path.kind == "pairs":
        return _pair_sums(values.reshape(len(values), steps, spread, 2, 2), stream.reshape(-1), shape)
    kind = {"words": np.int16, "float": np.float32}.get(path.kind, np.int8)
    codes = stream.view(kind).reshape(steps, *shape, group).astype(values.dtype)
    # (part, row, dimension) @ (part, dimension, token): sums of 32 bits wrap, as those of the instructions do.
    left = values.reshape(-1, steps, spread, group).transpose(2, 0, 1, 3).reshape(spread, len(values), -1)
    right = codes.transpose(3, 0, 4, 1, 2).reshape(spread, steps * group, -1)
    sums: np.ndarray = (left @ right).transpose(1, 2, 0).reshape(-1, *shape)
    return sums + bias.reshape(shape) if path.kind == "dot" else sums


def _pair_sums(values: np.ndarray, stream: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Do what `_sums` does by vpmaddubsw.

    Two products are added, saturating at the ends of int16. The steps of a chunk are added to its starting sums modulo
    2**16, and chunks are added in 32 bits.
    """
    count, steps = values.shape[:2]
    tokens, pairs = shape[0] * shape[1], shape[2] * 2
    line, whole = 4 * tokens * shape[2], steps // CHUNK * CHUNK
    total = np.zeros((pairs, tokens, count), np.int32)
    at = 0
    for first, last, size in ((0, whole, CHUNK), (whole, steps, 1)):
        chunks = (last - first) // size
        block = stream[at : at + chunks * (size + 1) * line].reshape(chunks, size + 1, line)
        begin = block[:, 0].view(np.int16).reshape(chunks, tokens, pairs)
        codes = block[:, 1:].view(np.int8).reshape(chunks, size, tokens, pairs, 2)
        kind = np.int32 if codes.size and (codes.max() > 64 or codes.min() < -64) else np.int16
        codes, some = codes.astype(kind), values[:, first:last].reshape(count, chunks, size, pairs, 2).astype(kind)
        # (chunk, step, pair, token, row): NumPy is fast where the last axis is long
        left, right = some.transpose(4, 1, 2, 3, 0)[:, :, :, :, None], codes.transpose(4, 0, 1, 3, 2)[..., None]
        products = left[0] * right[0] + left[1] * right[1]
        if kind is np.int32:  # two products of 255 and 64 stay within int16
            products = np.clip(products, -32768, 32767)
        sums = products.sum(axis=1, dtype=kind).astype(np.int16) + begin.transpose(0, 2, 1)[..., None]
        total += sums.sum(axis=0, dtype=np.int32)
        at += block.size
    parts: np.ndarray = total.reshape(shape[2], 2, tokens, count).sum(axis=1, dtype=np.int32)
    return parts.transpose(2, 1, 0).reshape(count, *shape)
