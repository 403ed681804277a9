"""The ways to multiply that CPUs offer, and queries laid out for them.

vnni512, vnni256   uint8 x int8, four dimensions an instruction, summed in 32 bits (AVX-512 VNNI, AVX-VNNI)
avx512, avx2       uint8 x int8 with vpmaddubsw, which stops at 32,767: query codes have at most 6 bits and a sign,
                   so two products stay below that, and the sums of a chunk are kept within 16 bits by making a
                   token's codes smaller where they must be. Half again as fast as int16 products (vpmaddwd)
neon               int8 x int8 with the dot product of Armv8.2 (sdot), four dimensions an instruction: rows are
                   unpacked to lose the 128 that stored codes carry
generic            int16 x int16 without a special instruction: any CPU LLVM knows
float              float32 x float32: float rows, and stored rows of any kind against the exact query
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import binding

MOST_DIMENSIONS = 8192  # an int32 sum holds as many products of 8 by 12 bits
CHUNK = 4  # steps of a "pairs" path that are summed in 16 bits
_CHUNK_SUM = 32767 // 128  # of the sizes of query codes that meet in one 16-bit sum with rows of -128..127


@dataclass(frozen=True)
class Tile:
    """What is multiplied together: `rows` rows of a page with `vectors` registers of query tokens.

    spread: lanes a token takes; two lanes take two neighbouring groups of dimensions, and are added in the end.
    """

    rows: int
    vectors: int
    spread: int


@dataclass(frozen=True)
class Path:
    """One way to multiply. lanes: of 32 bits in a register. tiles: by falling number of tokens. limit: largest
    absolute value of a query code (0: floats). features: what the CPU must have."""

    name: str
    kind: str  # dot | signed | pairs | words | float
    lanes: int
    tiles: tuple[Tile, ...]
    limit: int
    features: tuple[str, ...]

    @property
    def group(self) -> int:
        """Dimensions of one lane in one step."""
        return {"dot": 4, "signed": 4, "pairs": 4, "words": 2, "float": 1}[self.kind]

    @property
    def rows(self) -> int:
        """Rows of a page that are read together."""
        return max(tile.rows for tile in self.tiles)

    def tokens(self, tile: Tile) -> int:
        """Query tokens a tile holds."""
        return self.lanes // tile.spread * tile.vectors


def _tiles(*shapes: tuple[int, int, int]) -> tuple[Tile, ...]:
    return tuple(Tile(*shape) for shape in shapes)


PATHS = {
    path.name: path
    for path in (
        Path("vnni512", "dot", 16, _tiles((8, 2, 1), (8, 1, 1), (8, 1, 2), (8, 1, 4)), 127, ("avx512f", "avx512vnni")),
        Path("avx512", "pairs", 16, _tiles((4, 2, 1), (8, 1, 1), (8, 1, 2), (8, 1, 4)), 64, ("avx512f", "avx512bw")),
        Path("vnni256", "dot", 8, _tiles((4, 2, 1), (8, 1, 1), (8, 1, 2)), 127, ("avx2", "avxvnni")),
        Path("avx2", "pairs", 8, _tiles((3, 2, 1), (3, 1, 1), (3, 1, 2)), 64, ("avx2",)),
        Path("neon", "signed", 4, _tiles((4, 4, 1), (8, 2, 1), (8, 1, 1)), 127, ("dotprod",)),
        Path("generic", "words", 4, _tiles((2, 2, 1), (2, 1, 1)), 2047, ()),
        Path("float512", "float", 16, _tiles((8, 2, 1), (8, 1, 1), (8, 1, 2), (8, 1, 4)), 0, ("avx512f",)),
        Path("float256", "float", 8, _tiles((4, 2, 1), (8, 1, 1), (8, 1, 2)), 0, ("avx2", "fma")),
        Path("float", "float", 4, _tiles((4, 2, 1), (4, 1, 1)), 0, ()),
    )
}


@functools.cache
def _cpu_features() -> frozenset[str]:
    found = {name for name, present in binding.get_host_cpu_features().items() if present}
    return frozenset(found | {"dotprod"} if _has_dotprod() else found)


def on_arm() -> bool:
    """Whether this is a 64-bit ARM CPU."""
    return platform.machine().lower() in ("aarch64", "arm64")


def _has_dotprod() -> bool:
    """Whether this is an ARM CPU with sdot. LLVM's list of features is empty on macOS and silent about it elsewhere."""
    if not on_arm():
        return False
    if sys.platform == "darwin":
        return True  # as every Mac with an ARM CPU
    if sys.platform == "win32":
        return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(43))  # PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
    getauxval = getattr(ctypes.CDLL(None), "getauxval", None)  # Linux
    if getauxval is None:
        return False
    getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    return bool(getauxval(16) & 1 << 20)  # AT_HWCAP, HWCAP_ASIMDDP


def available() -> list[Path]:
    """The paths this CPU can run, fastest first."""
    return [path for path in PATHS.values() if set(path.features) <= _cpu_features()]


def fastest(*, exact: bool) -> Path:
    """The fastest path for integer queries, or (exact) for float32 queries."""
    return next(path for path in available() if (path.limit == 0) == exact)


@dataclass(frozen=True)
class Queries:
    """Queries as a path reads them.

    stream: per tile, per step: the codes of all its registers, so that a step reads one line; "pairs" paths have the
    starting sums of each chunk before its codes. counts: tiles of each kind. bias (V, lanes) int32, scales (V, lanes)
    float32 and owners (V,) int64: of each register the starting sum, what a token's maximum is multiplied with, and
    the query it belongs to.
    """

    stream: np.ndarray
    counts: np.ndarray
    bias: np.ndarray
    scales: np.ndarray
    owners: np.ndarray


def lay_out(path: Path, queries: Sequence[np.ndarray], width: int) -> Queries:
    """queries: each (m, d) float32. width: dimensions of the rows as they are read, at least d, a multiple of 16."""
    wanted: list[list[tuple[int, int]]] = [[] for _ in path.tiles]  # of each kind of tile: query, first token
    for number, query in enumerate(queries):
        first = 0
        for kind in _cover(path, len(query)):
            wanted[kind].append((number, first))
            first += path.tokens(path.tiles[kind])
    made = [
        _tile_queries(path, tile, queries, places, width)
        for tile, places in zip(path.tiles, wanted, strict=True)
        if places
    ]
    owners = [
        np.repeat([number for number, _ in places], tile.vectors)
        for tile, places in zip(path.tiles, wanted, strict=True)
    ]
    return Queries(
        stream=np.concatenate([stream for stream, _, _ in made]),
        counts=np.array([len(places) for places in wanted], np.int64),
        bias=np.concatenate([bias for _, bias, _ in made]),
        scales=np.concatenate([scales for _, _, scales in made]),
        owners=np.concatenate(owners).astype(np.int64),
    )


def _cover(path: Path, tokens: int) -> list[int]:
    """The kinds of tiles that hold so many tokens at the least cost, large ones first."""
    smallest = path.tokens(path.tiles[-1])
    left = -(-tokens // smallest) * smallest
    kinds = []
    for kind, tile in enumerate(path.tiles):
        fits, left = divmod(left, path.tokens(tile))
        kinds += [kind] * fits
    return kinds


def _tile_queries(
    path: Path, tile: Tile, queries: Sequence[np.ndarray], places: list[tuple[int, int]], width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stream (bytes), bias and scales of all tiles of one kind."""
    count, tokens, group, spread = len(places), path.tokens(tile), path.group, tile.spread
    dense = np.zeros((count, tokens, width), np.float32)
    weights = np.zeros((count, tokens), np.float32)
    for i, (number, first) in enumerate(places):
        some = queries[number][first : first + tokens]
        dense[i, : len(some), : some.shape[1]] = some
        weights[i, : len(some)] = 1
    steps = width // (group * spread)
    chunks = steps // CHUNK
    if path.limit:
        largest = np.abs(dense).max(axis=2)
        largest[largest == 0] = 1
        limits = np.full(largest.shape, path.limit, np.float32)
        if path.kind == "pairs":
            # What one 16-bit sum takes: two dimensions of each step of a chunk. Rounding adds at most a half to each.
            sizes = np.abs(dense).reshape(count, tokens, steps, spread, 2, 2).sum(axis=5)
            sums = sizes[:, :, : chunks * CHUNK].reshape(count, tokens, chunks, CHUNK, spread, 2).sum(axis=3)
            most = sums.reshape(count, tokens, -1).max(axis=2, initial=0)
            codes_of_largest = np.floor(largest * np.float32(_CHUNK_SUM - CHUNK) / np.maximum(most, largest))
            limits = np.minimum(limits, codes_of_largest)
        step = largest / limits
        dense = np.rint(dense / step[:, :, None])
        weights *= step
    kinds = {"dot": np.int8, "signed": np.int8, "pairs": np.int8, "words": np.int16, "float": np.float32}
    codes = dense.astype(kinds[path.kind]).reshape(count, tile.vectors, -1, steps, spread, group)
    laid = np.ascontiguousarray(codes.transpose(0, 3, 1, 2, 4, 5))  # tile, step, register, token, part, dimension
    lanes = (count * tile.vectors, path.lanes)
    bias = np.zeros(lanes, np.int32)
    if path.kind == "dot":
        bias = -128 * laid.astype(np.int32).sum(axis=(1, 5)).reshape(lanes)
    elif path.kind == "pairs":
        laid = _with_chunk_bias(laid.reshape(count, steps, tile.vectors, path.lanes, 2, 2), chunks)
    scales = np.zeros((count, tokens, spread), np.float32)
    scales[:, :, 0] = weights  # the lanes of a token all end with its whole sum
    return laid.reshape(-1).view(np.uint8), bias, scales.reshape(lanes)


def _with_chunk_bias(codes: np.ndarray, chunks: int) -> np.ndarray:
    """Before each chunk of steps, and each step that is left over, what the 128 in stored codes adds to its sums."""
    count, steps = codes.shape[:2]
    pairs = (-128 * codes.astype(np.int32).sum(axis=5)).reshape(count, steps, -1)
    codes = codes.reshape(count, steps, -1)
    whole, parts = chunks * CHUNK, []
    for first, last, size in ((0, whole, CHUNK), (whole, steps, 1)):
        sums = pairs[:, first:last].reshape(count, (last - first) // size, size, pairs.shape[2]).sum(axis=2)
        # they are added modulo 2**16, as the products are
        begin = sums.astype(np.int16).view(np.int8)[:, :, None]
        some = codes[:, first:last].reshape(count, (last - first) // size, size, codes.shape[2])
        parts.append(np.concatenate([begin, some], axis=2).reshape(count, -1))
    return np.concatenate(parts, axis=1)
