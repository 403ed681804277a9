"""Pages laid out for scanning: contiguous rows and offsets, exactly as an index stores them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from visret import codec as codecs
from visret.errors import ShapeError
from visret.maxsim import _kernel

PART_ROWS = 8_192  # about a millisecond of work


@dataclass(frozen=True, eq=False)
class PackedPages:
    """Many pages, ready to be scored; make one with `pack`, or with `over` from the mapped arrays of an index.

    codes: (N, d) rows as stored: uint8 (value + 128), float16 or float32.
    scales: (N,) float32, what a row's codes are multiplied with; None for float rows.
    offsets: (P + 1,) int64; page p is rows offsets[p]:offsets[p + 1], never empty.
    padding: how many of the d dimensions are only padding.
    threads: how many scan; None: one a core this process may use.

    Nothing is copied, so arrays mapped from disk stay there. Beyond them a scan needs a few bytes a page and query.
    """

    codes: np.ndarray
    scales: np.ndarray | None
    offsets: np.ndarray
    padding: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        check_offsets(self.offsets, len(self.codes))
        codes, scales = self.codes, self.scales
        if codes.ndim != 2 or codes.dtype not in (np.uint8, np.float16, np.float32) or not codes.flags.c_contiguous:
            raise ShapeError(
                f"rows must be (N, d), contiguous uint8, float16 or float32, got {codes.shape} {codes.dtype}"
            )
        if not 0 < self.dim <= _kernel.MOST_DIMENSIONS:
            raise ShapeError(f"rows must have 1 to {_kernel.MOST_DIMENSIONS} dimensions, got {self.dim}")
        if codes.dtype != np.uint8:
            if scales is not None:
                raise ShapeError("float rows have no scales")
        elif self.dim % 4 or scales is None or scales.shape != codes.shape[:1] or scales.dtype != np.float32:
            raise ShapeError("uint8 rows need a float32 scale each, and a multiple of 4 dimensions")
        elif not scales.flags.c_contiguous:
            raise ShapeError("scales must be contiguous")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """Dimensions of a row, the padding included."""
        return int(self.codes.shape[1])

    def scores(self, query: np.ndarray, only: np.ndarray | None = None) -> np.ndarray:
        """query (m, d) float32 -> (P,) float32, or (len(only),) for the pages named by `only`.

        Integer rows are scanned with an integer query of 8 or 12 bits (by CPU): a score differs from the exact one by
        at most m * sqrt(d) / 254, and from the float vectors' by another m * sqrt(d) / 254; random unit vectors show
        a thousandth of that. `top_k` settles ranks and scores exactly. Float rows give the exact score at once.
        """
        return self._scan([query], only, exact=False)[:, 0]

    def exact_scores(self, query: np.ndarray, only: np.ndarray | None = None) -> np.ndarray:
        """As `scores`, with the float query against the stored rows: (P,) or (len(only),) float32."""
        return self._scan([query], only, exact=True)[:, 0]

    def top_k(self, query: np.ndarray, k: int, only: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k best pages of all, or of `only` (page numbers): (rows int64, exact scores float32), best first.

        min(k, P) long; ties go to the lower row. The best max(4 k, 64) pages of the scan are scored exactly.
        """
        return self.top_k_many([query], k, only)[0]

    def top_k_many(
        self, queries: Sequence[np.ndarray], k: int, only: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """`top_k` of each query; the pages are read once for all of them."""
        return [(rows, scores) for _, rows, scores in top_k_of_parts([(self, only)], queries, k)]

    def _check(self, query: np.ndarray) -> np.ndarray:
        query = np.asarray(query)
        dim = self.dim - self.padding
        if query.ndim != 2 or not len(query) or query.shape[1] != dim:
            raise ShapeError(f"query: expected (m, {dim}) with m > 0, got {query.shape}")
        query = query.astype(np.float32)
        if not np.isfinite(query).all():
            raise ShapeError("query: has values that are not finite")
        return np.pad(query, ((0, 0), (0, self.padding)))

    def _scan(self, queries: Sequence[np.ndarray], only: np.ndarray | None, *, exact: bool) -> np.ndarray:
        """-> (pages, queries) float32."""
        return _scan_parts([(self, only)], queries, exact=exact)[0]

    def _prepare(
        self, queries: Sequence[np.ndarray], only: np.ndarray | None, *, exact: bool
    ) -> tuple[Callable[[], None], np.ndarray, np.ndarray]:
        """The scan, to be called by any number of threads at once; the (pages, blocks) sums it fills; the first block
        of each query."""
        starts, ends = self.offsets[:-1], self.offsets[1:]
        if only is not None:
            only = _numbers(only)
            if len(only) and not (only.min() >= 0 and only.max() < len(self)):
                raise ShapeError(f"only: page numbers must be below {len(self)}, got {only.min()} to {only.max()}")
            starts, ends = starts[only], ends[only]
        starts, ends = np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(ends, np.int64)
        path = _kernel.fastest(exact=exact or self.scales is None)
        function = _kernel.scan(path, self.codes.dtype.name, self.dim)
        codes, bias, token_scales, first = _kernel.lay_out(path, [self._check(query) for query in queries])
        out = np.empty((len(starts), len(codes)), np.float32)
        rows = np.concatenate([[0], np.cumsum(ends - starts)])
        edges = np.unique(np.append(np.searchsorted(rows, np.arange(0, rows[-1], PART_ROWS)), len(starts)))
        taken = np.zeros(1, np.int64)

        def scan() -> None:
            scratch = np.empty(_kernel.scratch_bytes(path, self.dim, len(codes)), np.uint8)
            function(
                self.codes.ctypes.data,
                None if self.scales is None else self.scales.ctypes.data,
                starts.ctypes.data,
                ends.ctypes.data,
                edges.ctypes.data,
                len(edges) - 1,
                taken.ctypes.data,
                codes.ctypes.data,
                bias.ctypes.data,
                token_scales.ctypes.data,
                len(codes),
                scratch.ctypes.data,
                out.ctypes.data,
            )

        return scan, out, first


Part = tuple[PackedPages, np.ndarray | None]


def _scan_parts(parts: Sequence[Part], queries: Sequence[np.ndarray], *, exact: bool) -> list[np.ndarray]:
    """The scores of each part, (pages, queries) float32. A thread that is done with one goes on with the next."""
    if not queries:
        return [np.empty((len(pages) if only is None else len(only), 0), np.float32) for pages, only in parts]
    prepared = [pages._prepare(queries, only, exact=exact) for pages, only in parts]

    def work() -> None:
        for scan, _, _ in prepared:
            scan()

    rows = sum(len(pages.codes) for pages, _ in parts)
    threads = min([pages.threads or cores() for pages, _ in parts] or [1])
    waiting = [_pool().submit(work) for _ in range(min(threads, -(-rows // PART_ROWS)) - 1)]
    work()
    for future in waiting:
        if not future.cancel():  # on a busy machine one may not have begun, and nothing is left for it
            future.result()
    return [np.add.reduceat(out, first, axis=1) for _, out, first in prepared]


def top_k_of_parts(
    parts: Sequence[Part], queries: Sequence[np.ndarray], k: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """`PackedPages.top_k_many` over several of them, each with the pages wanted of it (None: all).

    -> for each query the number of the part, the row in it (both int64), and the exact score (float32), best first.
    """
    if k < 1:
        raise ShapeError(f"k must be at least 1, got {k}")
    parts = [(pages, None if only is None else np.sort(_numbers(only))) for pages, only in parts]
    rows = [np.arange(len(pages)) if only is None else only for pages, only in parts]
    scanned = _scan_parts(parts, queries, exact=False)
    part_of = np.repeat(np.arange(len(parts)), [len(some) for some in rows])
    row_of = np.concatenate([np.empty(0, np.int64), *rows])
    out = []
    for i, query in enumerate(queries):
        scores = np.concatenate([np.empty(0, np.float32), *(part[:, i] for part in scanned)])
        best = np.sort(largest(scores, max(4 * k, 64)))
        part, row, scores = part_of[best], row_of[best], scores[best]
        again = [number for number in np.unique(part).tolist() if parts[number][0].scales is not None]
        exact = _scan_parts([(parts[number][0], row[part == number]) for number in again], [query], exact=True)
        for number, found in zip(again, exact, strict=True):
            scores[part == number] = found[:, 0]
        order = np.lexsort((row, part, -scores))[:k]
        out.append((part[order], row[order], scores[order]))
    return out


def pack(vectors: np.ndarray, offsets: np.ndarray, codec: str = "int8", *, threads: int | None = None) -> PackedPages:
    """Lay pages out once, to be scored often.

    vectors: (N, d) float32 unit rows; offsets: (P + 1,) from 0 to N, every page with at least one vector.
    codec: "int8" (a quarter of the memory, the fastest), "float16" or "float32" (exact).
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ShapeError(f"vectors: expected (N, d), got {vectors.shape}")
    offsets = np.ascontiguousarray(offsets, np.int64)
    check_offsets(offsets, len(vectors))
    return over(*codecs.encode(vectors.astype(np.float32, copy=False), codec), offsets, threads=threads)


def over(
    codes: np.ndarray, scales: np.ndarray | None, offsets: np.ndarray, *, threads: int | None = None
) -> PackedPages:
    """Stored rows as PackedPages, without a copy unless uint8 rows have to be padded to a multiple of 4 dimensions."""
    padding = -codes.shape[1] % 4 if codes.dtype == np.uint8 else 0
    if padding:
        codes = np.pad(codes, ((0, 0), (0, padding)), constant_values=128)  # 128 is stored zero
    return PackedPages(codes, scales, offsets, padding, threads)


def _numbers(only: np.ndarray) -> np.ndarray:
    """Page numbers as int64; a mask is refused, which would otherwise read as pages 0 and 1."""
    only = np.asarray(only)
    if only.ndim != 1 or (len(only) and only.dtype.kind not in "iu"):
        raise ShapeError(f"only: expected page numbers (n,), got {only.shape} {only.dtype}")
    return only.astype(np.int64)


def check_offsets(offsets: np.ndarray, count: int) -> None:
    """Refuse offsets that are not (P + 1,) from 0 to `count`, each page with at least one row."""
    if offsets.dtype.kind not in "iu":
        raise ShapeError(f"offsets must be whole numbers, got {offsets.dtype}")
    offsets = offsets.astype(np.int64)
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != count:
        raise ShapeError(f"offsets must run from 0 to the number of vectors ({count}), got {offsets!r:.80}")
    if (np.diff(offsets) < 1).any():
        page = int(np.argmin(np.diff(offsets)))
        raise ShapeError(f"page {page} has no vectors: offsets must rise (an empty page cannot be scored)")


def largest(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest scores, in no order; of equal ones those with the lower index."""
    if k >= len(scores):
        return np.arange(len(scores))
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    return np.concatenate([above, np.flatnonzero(scores == threshold)[: k - len(above)]])


def cores() -> int:
    """CPU cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(256, thread_name_prefix="maxsim")  # made as they are needed
