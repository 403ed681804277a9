"""Pages laid out for scanning, with contiguous rows and offsets, exactly as an index stores them."""

from __future__ import annotations

import ctypes
import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from visret import forks
from visret.codec import Codec, Rows
from visret.errors import ShapeError
from visret.maxsim import _paths, _settle

if TYPE_CHECKING:
    from visret.maxsim import _kernel

PART_ROWS = 2_048  # a quarter of a millisecond of work
SCORES_AT_A_TIME = 1 << 22  # scores of all pages for a batch of queries: 16 MiB


@dataclass(frozen=True, eq=False)
class PackedPages:
    """Many pages that are ready to be scored, such as the mapped arrays of an index. `pack` makes them from vectors.

    rows: N vectors as stored by `codec`. offsets: (P + 1,) int64; page p is rows offsets[p]:offsets[p + 1], and never
        empty.
    threads: the number of threads that scan; None for one on each core that this process may use.
    path: a name of `maxsim._paths.PATHS` for the scan; None for the fastest path of this CPU.

    Nothing is copied, so arrays that are mapped from disk stay there. Apart from them, a scan needs a few bytes for
    each page and query.
    """

    rows: Rows
    offsets: np.ndarray
    codec: Codec
    threads: int | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        check_offsets(self.offsets, len(self.rows.codes))
        check_rows(self.rows, self.codec)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """The number of dimensions of a row."""
        return self.codec.dim

    def scores(self, query: np.ndarray, only: np.ndarray | None = None) -> np.ndarray:
        """Scan the pages for a query (m, d) float32: (P,) float32, or (len(only),) for the page numbers in `only`.

        Stored integers are scanned with an integer query of 6 to 12 bits, depending on the CPU, so a score differs a
        little from the exact one: for unit vectors by about m / 1000, and never by more than m * sqrt(d) times half a
        step of the query (1/127 of a token's largest component, or 1/64 to 1/31 if vpmaddubsw multiplies). `top_k`
        settles ranks and scores exactly. Float rows give the exact score at once.
        """
        return self._scan([query], only, exact=False)[:, 0]

    def exact_scores(self, query: np.ndarray, only: np.ndarray | None = None) -> np.ndarray:
        """Score as `scores` does, but with the float query on the stored rows: (P,) or (len(only),) float32."""
        return self._scan([query], only, exact=True)[:, 0]

    def top_k(self, query: np.ndarray, k: int, only: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best pages of all, or of the page numbers in `only`: page numbers int64, exact scores float32.

        Both are min(k, P) long, best first; ties go to the lower number. All pages that may be among the best, as far
        as the scan tells, are scored exactly.
        """
        return self.top_k_many([query], k, only)[0]

    def top_k_many(
        self, queries: Sequence[np.ndarray], k: int, only: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return `top_k` for each query, reading the pages once for all of them."""
        return [(rows, scores) for _, rows, scores in top_k_of_parts([(self, only)], queries, k)]

    def _check(self, query: np.ndarray) -> np.ndarray:
        query = np.asarray(query)
        if query.ndim != 2 or not len(query) or query.shape[1] != self.dim:
            raise ShapeError(f"query: expected (m, {self.dim}) with m > 0, got {query.shape}")
        query = query.astype(np.float32)
        if not np.isfinite(query).all():
            raise ShapeError("query: has values that are not finite")
        # A binary row is (+1 or -1) / sqrt(d); the kernel multiplies with +1 or -1.
        return query / np.float32(math.sqrt(self.dim)) if self.codec.form.is_unscaled else query

    def _bounds(self, only: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row of each wanted page, and the row after its last one, int64."""
        starts, ends = self.offsets[:-1], self.offsets[1:]
        if only is not None:
            only = _numbers(only)
            if len(only) and not (only.min() >= 0 and only.max() < len(self)):
                raise ShapeError(f"only: page numbers must be below {len(self)}, got {only.min()} to {only.max()}")
            starts, ends = starts[only], ends[only]
        return np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(ends, np.int64)

    def _scan(self, queries: Sequence[np.ndarray], only: np.ndarray | None, *, exact: bool) -> np.ndarray:
        """Scan pages for several queries: (pages, queries) float32."""
        return _scan_parts([(self, only)], queries, exact=exact)[0]

    def _prepare(
        self, queries: Sequence[np.ndarray], only: np.ndarray | None, *, exact: bool, laid_out: dict[Any, Any]
    ) -> tuple[Callable[[], None], int, np.ndarray]:
        """Return the scan, how many threads it can use, and the scores that it fills, (pages, queries).

        laid_out: keeps the queries, laid out, for the next part.
        """
        from visret.maxsim import _check, _kernel  # the compiler comes with the first scan

        starts, ends = self._bounds(only)
        path, bind = _check.trusted(self.codec.name, self.dim, self.path, exact=exact or self.is_float)
        checked = partial(_kernel.check, path, self.codec.name, self.dim)
        key = path.name, self.dim, self.codec.form.is_unscaled
        if key not in laid_out:
            laid = _paths.lay_out(path, [self._check(query) for query in queries], _kernel.width(self.dim))
            laid_out[key] = checked(_kernel.of_queries(laid, len(queries)))
        if path.name not in self._known:
            self._known[path.name] = checked(_kernel.of_rows(self.rows, self.codec))
        given = _kernel.of_pages(starts, ends, len(queries), _edges(ends - starts))
        return bind(given, self._known[path.name], laid_out[key]), given["parts"], given["out"]

    @functools.cached_property
    def _known(self) -> dict[str, _kernel.Known]:
        """The rows as they were checked for each path, by its name."""
        return {}

    @property
    def is_float(self) -> bool:
        """True if the stored rows are floats, which are always scanned with the float query."""
        return self.rows.codes.dtype != np.uint8


def _edges(counts: np.ndarray) -> np.ndarray:
    """Return where parts of about PART_ROWS rows begin and end, from the rows of each page: page numbers, int64."""
    before = np.cumsum(counts)
    begins = np.arange(0, before[-1] if len(before) else 0, PART_ROWS)
    edges = np.empty(len(begins) + 1, np.int64)
    edges[:-1] = before.searchsorted(begins, side="right")
    edges[-1] = len(counts)
    return edges


Part = tuple[PackedPages, np.ndarray | None]
Item = TypeVar("Item")
Made = TypeVar("Made")


def _scan_parts(
    parts: Sequence[Part],
    queries: Sequence[np.ndarray],
    *,
    exact: bool,
    laid_out: dict[Any, Any] | None = None,
    threads: int | None = None,
) -> list[np.ndarray]:
    """Return the scores of each part, (pages, queries) float32. A thread that is done with a part goes on to the next.

    laid_out: keeps the queries, laid out, for the next call with the same ones. threads: None for those of the parts.
    """
    if not queries:
        return [np.empty((len(pages) if only is None else len(only), 0), np.float32) for pages, only in parts]
    laid_out = {} if laid_out is None else laid_out
    prepared = [pages._prepare(queries, only, exact=exact, laid_out=laid_out) for pages, only in parts]

    def work() -> None:
        for scan, _, _ in prepared:
            scan()

    _together(work, min(sum(useful for _, useful, _ in prepared), threads or _threads(parts)))
    return [out for _, _, out in prepared]


def _threads(parts: Sequence[Part]) -> int:
    return min([pages.threads or cores() for pages, _ in parts], default=1)


def _together(work: Callable[[], None], threads: int) -> None:
    """Call `work` in so many threads at once, this one included."""
    here = _core()
    waiting = [_pool().submit(_elsewhere, work, here) for _ in range(threads - 1)]
    work()
    for future in waiting:
        if not future.cancel():  # on a busy machine a thread may not have begun, and nothing is left for it
            future.result()


def _elsewhere(work: Callable[[], None], core: int | None) -> None:
    """Call `work` on another core than this one, if the system allows that.

    Linux may wake a thread on the core of the thread that woke it, and leave both there for longer than a scan takes,
    though other cores are idle: a question after a pause took 9.4 ms instead of 6.9 (1,070 pages, two cores of Zen 4).
    """
    if core is None or _core() != core or len(allowed := os.sched_getaffinity(0)) < 2:
        work()
        return
    try:
        os.sched_setaffinity(0, allowed - {core})  # of this thread
    except OSError:  # it is forbidden, or the other cores were taken away in the meantime
        work()
        return
    try:
        work()
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)


def _core() -> int | None:
    """Return the core that this thread runs on now; None if that is unknown, or threads cannot be moved."""
    ask = _core_function()
    return None if ask is None else ask()


@functools.cache
def _core_function() -> Callable[[], int] | None:
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        return None
    return getattr(ctypes.PyDLL(None), "sched_getcpu", None)  # PyDLL keeps the GIL: the call is too quick to release it


def _of_each(function: Callable[[Item, int], Made], items: Sequence[Item], threads: int) -> list[Made]:
    """Call the function with each item and the number of threads that it may use; return the results in order.

    A few items are processed one after the other with all threads. Many items have one thread each, so that no thread
    waits for another.
    """
    if len(items) < 2 * threads:
        return [function(item, threads) for item in items]
    made: dict[int, Made] = {}
    left = iter(range(len(items)))

    def work() -> None:
        for i in left:  # only one thread at a time takes a number from an iterator
            made[i] = function(items[i], 1)

    _together(work, threads)
    return [made[i] for i in range(len(items))]


def top_k_of_parts(
    parts: Sequence[Part],
    queries: Sequence[np.ndarray],
    k: int,
    *,
    summaries: Sequence[PackedPages] | None = None,
    added: Sequence[np.ndarray] | None = None,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Do what `PackedPages.top_k_many` does over several parts, each with the page numbers wanted of it (None: all).

    summaries: those of each part's pages, which are scanned first; pages for which they leave no hope are not scanned.
    added: for all pages of each part, (P,) float64, what is added to a page's score for each vector of a query. It is
        known exactly before anything is scanned, so every stage ranks by the sum.

    Returns for each query the number of the part, the row in it (both int64), and the exact score (float32; float64
    with `added`, in which the score without it is kept to the last bit), best first.
    """
    if k < 1:
        raise ShapeError(f"k must be at least 1, got {k}")
    pages = _Pages(parts, added)
    first = pages.parts
    everything = k >= len(pages.row)
    stages = [] if everything or pages.are_float else [(_settle.FIRST_EXACT, True)]
    if summaries is not None and not everything:
        stages.insert(0, (_settle.FIRST_SCANNED, False))
        first = [(short, only) for short, (_, only) in zip(summaries, pages.parts, strict=True)]
    together = max(1, SCORES_AT_A_TIME // max(1, len(pages.row)))
    out = []
    for start in range(0, len(queries), together):
        some = queries[start : start + together]
        laid_out: dict[Any, Any] = {}
        scanned = _scan_parts(first, some, exact=everything, laid_out=laid_out)
        estimates = [
            pages.with_added(np.concatenate([np.empty(0, np.float32), *(part[:, i] for part in scanned)]), query)
            for i, query in enumerate(some)
        ]
        best = partial(pages.best, k, stages, laid_out if len(some) == 1 else None)
        out += _of_each(best, list(zip(some, estimates, strict=True)), _threads(pages.parts))
    return out


class _Pages:
    """The wanted pages of several parts, numbered in order of part and row. added: as in `top_k_of_parts`."""

    def __init__(self, parts: Sequence[Part], added: Sequence[np.ndarray] | None = None) -> None:
        self.parts = [(pages, None if only is None else np.sort(_numbers(only))) for pages, only in parts]
        rows = [np.arange(len(pages)) if only is None else only for pages, only in self.parts]
        self.row = np.concatenate([np.empty(0, np.int64), *rows])
        self._first = np.cumsum([0, *map(len, rows)])
        self.are_float = all(pages.is_float for pages, _ in parts)
        self._added = None
        if added is not None:
            each = [of if only is None else of[only] for of, (_, only) in zip(added, self.parts, strict=True)]
            self._added = np.concatenate([np.empty(0), *each])

    def with_added(
        self, scores: np.ndarray, query: np.ndarray, numbers: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """Return the scores of pages, by their numbers, with what is added to them for a query (m, d)."""
        return scores if self._added is None else scores + len(query) * self._added[numbers]

    @functools.cached_property
    def part(self) -> np.ndarray:
        """The number of the part that each page is in."""
        return np.repeat(np.arange(len(self.parts)), np.diff(self._first))

    def best(
        self,
        k: int,
        stages: Sequence[tuple[int, bool]],
        laid_out: dict[Any, Any] | None,
        asked: tuple[np.ndarray, np.ndarray],
        threads: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return part, row and exact score of the k best pages, best first.

        stages: for each, how many pages are scored at once, and whether exactly. asked: a query, and the estimates of
        the scores of all pages, which are the scores if there is no stage. laid_out: the query, if it is laid out.
        """
        query, scores = asked
        numbers = np.arange(len(scores))
        scorer = partial(self._scorer, query, {} if laid_out is None else laid_out, threads)
        for first, exact in stages:
            numbers, scores = _settle.settle(numbers, scores, k, first, scorer(exact=exact))
        found = _settle.largest(scores, k)
        found = found[np.lexsort((numbers[found], -scores[found]))]
        return self.part[numbers[found]], self.row[numbers[found]], scores[found]

    def _scorer(
        self, query: np.ndarray, laid_out: dict[Any, Any], threads: int, *, exact: bool
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that scores pages by their numbers, which rise."""

        def score(numbers: np.ndarray) -> np.ndarray:
            cuts = np.searchsorted(numbers, self._first)
            some = [
                (pages, self.row[numbers[a:b]])
                for (pages, _), a, b in zip(self.parts, cuts, cuts[1:], strict=False)
                if b > a
            ]
            scanned = _scan_parts(some, [query], exact=exact, laid_out=laid_out, threads=threads)
            return self.with_added(np.concatenate([part[:, 0] for part in scanned]), query, numbers)

        return score


def check_rows(rows: Rows, codec: Codec) -> None:
    """Raise ShapeError for rows that the machine code would misread."""
    if not 0 < codec.dim <= _paths.MAX_DIMENSIONS:
        raise ShapeError(f"rows must have 1 to {_paths.MAX_DIMENSIONS} dimensions, got {codec.dim}")
    if not codec.fitted:
        raise ShapeError(f"{codec.name} has to be fitted before it stores anything")
    for name, array, wanted in zip(Rows._fields, rows, codec.empty(0), strict=True):
        if wanted is None or array is None:
            if wanted is not array:
                raise ShapeError(f"{codec.name} rows {'have no' if wanted is None else 'need'} {name}")
            continue
        shape = (len(rows.codes), *wanted.shape[1:])
        if array.shape != shape or array.dtype != wanted.dtype or not array.flags.c_contiguous:
            raise ShapeError(
                f"{name}: {codec.name} rows need {shape} {wanted.dtype}, contiguous, got {array.shape} {array.dtype}"
            )


def _numbers(only: np.ndarray) -> np.ndarray:
    """Return page numbers as int64. Raises ShapeError for a mask, which would otherwise be read as pages 0 and 1."""
    only = np.asarray(only)
    if only.ndim != 1 or (len(only) and only.dtype.kind not in "iu"):
        raise ShapeError(f"only: expected page numbers (n,), got {only.shape} {only.dtype}")
    return only.astype(np.int64)


def check_offsets(offsets: np.ndarray, count: int) -> None:
    """Raise ShapeError unless offsets are (P + 1,) from 0 to `count`, with at least one row for each page."""
    if offsets.dtype.kind not in "iu":
        raise ShapeError(f"offsets must be whole numbers, got {offsets.dtype}")
    offsets = offsets.astype(np.int64)
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != count:
        raise ShapeError(f"offsets must run from 0 to the number of vectors ({count}), got {offsets!r:.80}")
    if (np.diff(offsets) < 1).any():
        page = int(np.argmin(np.diff(offsets)))
        raise ShapeError(f"page {page} has no vectors: offsets must rise (an empty page cannot be scored)")


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(256, thread_name_prefix="maxsim")  # threads are made as they are needed


forks.in_child(_pool.cache_clear)
