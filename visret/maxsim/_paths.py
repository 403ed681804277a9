"""The ways of multiplying that CPUs offer, and queries laid out for them.

vnni512, vnni256   uint8 x int8, four dimensions an instruction, summed in 32 bits (AVX-512 VNNI, AVX-VNNI)
avx512, avx2       uint8 x int8 with vpmaddubsw, which saturates at 32,767. Query codes have at most 6 bits and a
                   sign, so that two products stay below that. The sums of a chunk are kept within 16 bits by making
                   a token's codes smaller if necessary. This is half again as fast as int16 products (vpmaddwd)
neon               int8 x int8 with the dot product of Armv8.2 (sdot), four dimensions an instruction; rows are
                   unpacked to remove the 128 that is added to stored codes
generic            int16 x int16 without a special instruction, on any CPU that LLVM knows
float              float32 x float32: float rows, and stored rows of any kind with the exact query
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visret.errors import VisretError

MAX_DIMENSIONS = 8192  # an int32 sum holds as many products of 8 by 12 bits
CHUNK = 4  # steps of a "pairs" path that are summed in 16 bits
_CHUNK_SUM = 32767 // 128  # of the sizes of query codes that meet in one 16-bit sum with rows of -128..127


_TILE = 80  # the cost of a tile besides its products, in dimensions of one register (measured with avx2)


@dataclass(frozen=True)
class Tile:
    """A tile of what is multiplied together: `rows` rows of a page with `vectors` registers of query tokens.

    spread: the lanes of a token. Two lanes take two neighbouring groups of dimensions, and are added in the end.
    """

    rows: int
    vectors: int
    spread: int


@dataclass(frozen=True)
class Path:
    """One way of multiplying.

    lanes: the lanes of 32 bits in a register. tiles: its tiles, by falling number of tokens. limit: the largest
    absolute value of a query code (0: floats). needs: sets of features; a CPU must have all features of one set.
    """

    name: str
    kind: str  # dot | signed | pairs | words | float
    lanes: int
    tiles: tuple[Tile, ...]
    limit: int
    needs: tuple[frozenset[str], ...]

    @property
    def group(self) -> int:
        """The number of dimensions that one lane takes in one step."""
        return {"dot": 4, "signed": 4, "pairs": 4, "words": 2, "float": 1}[self.kind]

    def tokens(self, tile: Tile) -> int:
        """Return how many query tokens a tile holds."""
        return self.lanes // tile.spread * tile.vectors


def _path(name: str, kind: str, lanes: int, limit: int, needs: str, *tiles: tuple[int, int, int]) -> Path:
    sets = tuple(frozenset(some.split()) for some in needs.split("|"))
    return Path(name, kind, lanes, tuple(Tile(*shape) for shape in tiles), limit, sets)


PATHS = {
    path.name: path
    for path in (
        _path("vnni512", "dot", 16, 127, "avx512f avx512vnni", (8, 2, 1), (8, 1, 1), (8, 1, 2), (8, 1, 4)),
        _path("avx512", "pairs", 16, 64, "avx512f avx512bw", (4, 2, 1), (8, 1, 1), (8, 1, 2), (8, 1, 4)),
        _path("vnni256", "dot", 8, 127, "avx2 avxvnni | avx512vl avx512vnni", (4, 2, 1), (8, 1, 1), (8, 1, 2)),
        _path("avx2", "pairs", 8, 64, "avx2", (3, 2, 1), (3, 1, 1), (3, 1, 2)),
        _path("neon", "signed", 4, 127, "dotprod", (4, 4, 1), (8, 2, 1), (8, 1, 1)),
        _path("generic", "words", 4, 2047, "", (2, 2, 1), (2, 1, 1)),
        _path("float512", "float", 16, 0, "avx512f", (8, 2, 1), (8, 1, 1), (8, 1, 2), (8, 1, 4)),
        _path("float256", "float", 8, 0, "avx2 fma", (4, 2, 1), (8, 1, 1), (8, 1, 2)),
        _path("float", "float", 4, 0, "", (4, 2, 1), (4, 1, 1)),
    )
}


@functools.cache
def _cpu_features() -> frozenset[str]:
    from llvmlite import binding

    found = {name for name, present in binding.get_host_cpu_features().items() if present}
    return frozenset(found | {"dotprod"} if _has_dotprod() else found)


def on_arm() -> bool:
    """Return whether this is a 64-bit ARM CPU."""
    return platform.machine().lower() in ("aarch64", "arm64")


def _has_dotprod() -> bool:
    """Return whether this is an ARM CPU with sdot. LLVM's features are empty on macOS, and omit it elsewhere."""
    if not on_arm():
        return False
    if sys.platform == "darwin":
        return True  # every Mac with an ARM CPU has it
    if sys.platform == "win32":
        return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(43))  # PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
    getauxval = getattr(ctypes.CDLL(None), "getauxval", None)  # Linux
    if getauxval is None:
        return False
    getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    return bool(getauxval(16) & 1 << 20)  # AT_HWCAP, HWCAP_ASIMDDP


def available() -> list[Path]:
    """Return the paths that this CPU can run, fastest first."""
    return [path for path in PATHS.values() if any(needed <= _cpu_features() for needed in path.needs)]


def candidates(wanted: str = "", *, exact: bool) -> list[Path]:
    """Return the paths that this CPU can run, in the order in which they are tried. exact: those for float32 queries.

    wanted: names of paths that go before the others, separated by commas, as in VISRET_PATH. Raises VisretError for a
    name that is no path, or a path that this CPU cannot run.
    """
    here = {path.name: path for path in available()}
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in here:
            what = "this CPU cannot run" if name in PATHS else "there is no"
            raise VisretError(f"{what} path {name!r}; it has {', '.join(here)}")
    return [path for path in (here[name] for name in dict.fromkeys([*names, *here])) if (path.limit == 0) == exact]


@dataclass(frozen=True)
class Queries:
    """Queries as a path reads them, with the tokens of all of them one after the other.

    stream: for each step of each tile, the codes of all its registers, so that a step reads one line; "pairs" paths
    have the starting sums of each chunk before its codes. counts: the number of tiles of each kind. bias int32, scales
    float32 and owners int64, all (V, lanes): for each lane of each register its starting sum, the factor of its
    maximum, and the query that it belongs to.
    """

    stream: np.ndarray
    counts: np.ndarray
    bias: np.ndarray
    scales: np.ndarray
    owners: np.ndarray


def lay_out(path: Path, queries: Sequence[np.ndarray], width: int, counts: Sequence[int] | None = None) -> Queries:
    """Lay queries out for a path.

    queries: each (m, d) float32. width: the dimensions of the rows as they are read, at least d, and a multiple of 16.
    counts: the number of tiles of each kind, together large enough; None for those that cost least.
    """
    count = sum(map(len, queries))
    counts = _cover(path, count, width) if counts is None else counts
    room = sum(path.tokens(tile) * n for tile, n in zip(path.tiles, counts, strict=True))
    dense = np.zeros((room, width), np.float32)
    np.concatenate(queries, out=dense[:count, : queries[0].shape[1]])
    owner = np.zeros(room, np.int64)
    owner[:count] = np.repeat(np.arange(len(queries)), [len(query) for query in queries])
    made = []
    first = 0
    for tile, n in zip(path.tiles, counts, strict=True):
        tokens = slice(first, first + path.tokens(tile) * n)
        first = tokens.stop
        if n:
            made.append(
                (*_tiles_of(path, tile, dense[tokens].reshape(n, -1, width)), owner[tokens].repeat(tile.spread))
            )
    streams, biases, scales, owners = zip(*made, strict=True)
    return Queries(
        stream=np.concatenate(streams),
        counts=np.array(counts, np.int64),
        bias=np.concatenate(biases),
        scales=np.concatenate(scales),
        owners=np.concatenate(owners).reshape(-1, path.lanes),
    )


def _cover(path: Path, tokens: int, width: int) -> list[int]:
    """Return how many tiles of each kind hold so many tokens at the least cost; the last ones in one or several."""

    def cost(counts: list[int]) -> int:
        return sum(n * (width * t.vectors // t.spread + _TILE) for n, t in zip(counts, path.tiles, strict=True))

    sizes = [path.tokens(tile) for tile in path.tiles]
    whole, rest = divmod(tokens, sizes[0])
    several, left = [], -(-tokens // sizes[-1]) * sizes[-1]
    for size in sizes:
        fits, left = divmod(left, size)
        several.append(fits)
    together = [whole] + [0] * (len(sizes) - 1)
    if rest:
        together[max(kind for kind, size in enumerate(sizes) if size >= rest)] += 1
    return min(together, several, key=cost)


def _tiles_of(path: Path, tile: Tile, dense: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return stream (bytes), bias and scales of all tiles of one kind. dense: (tiles, tokens, width) float32."""
    count, tokens, width = dense.shape
    group, spread = path.group, tile.spread
    steps = width // (group * spread)
    chunks = steps // CHUNK
    weights = np.ones((count, tokens), np.float32)
    if path.limit:
        largest = np.abs(dense).max(axis=2)
        largest[largest == 0] = 1
        limits = np.full(largest.shape, path.limit, np.float32)
        if path.kind == "pairs":
            # One 16-bit sum takes two dimensions of each step of a chunk. Rounding adds at most a half to each.
            sizes = np.abs(dense).reshape(count, tokens, steps, spread, 2, 2).sum(axis=5)
            sums = sizes[:, :, : chunks * CHUNK].reshape(count, tokens, chunks, CHUNK, spread, 2).sum(axis=3)
            most = sums.reshape(count, tokens, -1).max(axis=2, initial=0)
            codes_of_largest = np.floor(largest * np.float32(_CHUNK_SUM - CHUNK) / np.maximum(most, largest))
            limits = np.minimum(limits, codes_of_largest)
        weights = largest / limits
        dense = np.rint(dense / weights[:, :, None])
    kinds = {"dot": np.int8, "signed": np.int8, "pairs": np.int8, "words": np.int16, "float": np.float32}
    codes = dense.astype(kinds[path.kind]).reshape(count, tile.vectors, -1, steps, spread, group)
    laid = np.ascontiguousarray(codes.transpose(0, 3, 1, 2, 4, 5))  # tile, step, register, token, part, dimension
    lanes = (count * tile.vectors, path.lanes)
    bias = np.zeros(lanes, np.int32)
    if path.kind == "dot":
        bias = np.int32(-128) * laid.sum(axis=(1, 5), dtype=np.int32).reshape(lanes)
    elif path.kind == "pairs":
        laid = _with_chunk_bias(laid.reshape(count, steps, tile.vectors, path.lanes, 2, 2), chunks)
    scales = np.zeros((count, tokens, spread), np.float32)
    scales[:, :, 0] = weights  # every lane of a token ends with its whole sum
    return laid.reshape(-1).view(np.uint8), bias, scales.reshape(lanes)


def _with_chunk_bias(codes: np.ndarray, chunks: int) -> np.ndarray:
    """Insert, before each chunk of steps and each step left over, the sums that cancel the 128 in stored codes."""
    count, steps = codes.shape[:2]
    pairs = (-128 * codes.astype(np.int32).sum(axis=5)).reshape(count, steps, -1)
    codes = codes.reshape(count, steps, -1)
    whole, parts = chunks * CHUNK, []
    for first, last, size in ((0, whole, CHUNK), (whole, steps, 1)):
        sums = pairs[:, first:last].reshape(count, (last - first) // size, size, pairs.shape[2]).sum(axis=2)
        # These are added modulo 2**16, as the products are.
        begin = sums.astype(np.int16).view(np.int8)[:, :, None]
        some = codes[:, first:last].reshape(count, (last - first) // size, size, codes.shape[2])
        parts.append(np.concatenate([begin, some], axis=2).reshape(count, -1))
    return np.concatenate(parts, axis=1)
