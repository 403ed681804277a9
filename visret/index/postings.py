"""Postings list, for every term of a segment, the pages that have it and how often; layout.py describes the arrays.

A single page is stored as its distinct terms with their counts (`page_terms`, `page_counts`) while it waits for a
commit and while segments are merged. `gathered` makes the arrays of a segment from such pages, and `Postings` reads
them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from visret.errors import IndexFormatError
from visret.index import terms

Packed = dict[str, np.ndarray]

MAX_GAP, MAX_COUNT = (1 << 16) - 1, (1 << 8) - 1  # in one entry

ARRAYS: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
    "lengths": (np.dtype("<u4"), ()),
    "terms": (np.dtype("u1"), ()),
    "term_offsets": (np.dtype("<i8"), ()),
    "posting_offsets": (np.dtype("<i8"), ()),
    "gaps": (np.dtype("<u2"), ()),
    "counts": (np.dtype("u1"), ()),
}


class Posting(NamedTuple):
    """The pages that have a term. rows: (n,) int64, sorted. counts: (n,) integers, how often each has it."""

    rows: np.ndarray
    counts: np.ndarray


NOWHERE = Posting(np.empty(0, np.int64), np.empty(0, np.int64))


def pack_text(text: str) -> Packed:
    """Return the distinct terms of a page's text, in UTF-8 with line feeds between, and the count of each, uint32."""
    found = Counter(terms.of_page(text))
    joined = "\n".join(found).encode("utf-8", "replace")
    return _page(joined, np.fromiter(found.values(), np.uint32, len(found)))


def gathered(pages: Sequence[Packed]) -> Packed:
    """Return the arrays of a segment of these pages, which are its rows."""
    number: dict[bytes, int] = {}
    parts = [_ids(page, number) for page in pages]
    lengths = np.array([page["page_counts"].sum(dtype=np.int64) for page in pages]).astype(ARRAYS["lengths"][0])
    if not number:
        return {"lengths": lengths}
    names = sorted(number)
    rank = np.empty(len(names), np.int32)
    rank[[number[name] for name in names]] = np.arange(len(names), dtype=np.int32)
    term = rank[np.concatenate(parts)]
    order = np.argsort(term, kind="stable")  # the rows of a term stay in order
    rows = np.repeat(np.arange(len(pages)), [len(part) for part in parts])[order]
    counts = np.concatenate([page["page_counts"] for page in pages])[order].astype(np.int64)
    ends = np.cumsum(np.bincount(term))
    gaps, small, added = _entries(rows, counts, ends)
    made = {
        "lengths": lengths,
        "terms": np.frombuffer(b"".join(names), np.uint8),
        "term_offsets": np.cumsum([0, *map(len, names)]),
        "posting_offsets": np.append(0, ends + np.cumsum(added)[ends - 1]),
        "gaps": gaps,
        "counts": small,
    }
    return {name: np.ascontiguousarray(array, ARRAYS[name][0]) for name, array in made.items()}


def _ids(page: Packed, number: dict[bytes, int]) -> np.ndarray:
    names = page["page_terms"].tobytes().split(b"\n") if len(page["page_counts"]) else []
    return np.fromiter((number.setdefault(name, len(number)) for name in names), np.int32, len(names))


def _entries(rows: np.ndarray, counts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gaps and counts of all terms' entries, and how many each page needs beyond one, (n,) int64."""
    gaps = np.diff(rows, prepend=0)
    first = np.append(0, ends[:-1])
    gaps[first] = rows[first] + 1
    crossing, more = (np.maximum(gaps, 1) - 1) // MAX_GAP, (counts - 1) // MAX_COUNT
    added = crossing + more
    if not added.any():
        return gaps, counts, added
    begin = np.arange(len(rows)) + np.cumsum(added) - added
    out = np.zeros((2, len(rows) + int(added.sum())), np.int64)
    out[:, begin + crossing] = gaps - crossing * MAX_GAP, np.minimum(counts, MAX_COUNT)
    for at in np.flatnonzero(added).tolist():
        here = begin[at] + crossing[at]
        out[0, begin[at] : here] = MAX_GAP
        left = counts[at] - MAX_COUNT * np.arange(1, more[at] + 1)
        out[1, here + 1 : here + 1 + more[at]] = np.minimum(left, MAX_COUNT)
    return out[0], out[1], added


def _page(joined: bytes, counts: np.ndarray) -> Packed:
    return {"page_terms": np.frombuffer(joined, np.uint8), "page_counts": counts}


class Postings:
    """The mapped postings of a segment. A damaged file raises the error that `damaged` makes.

    arrays: the arrays by name; only "lengths" if no page has a word. damaged: makes an error from the name of a file
        and what is wrong with it.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], damaged: Callable[[str, str], IndexFormatError]) -> None:
        self.lengths = arrays["lengths"]
        """How many terms each page has, (P,) uint32; a term counts as often as it is there."""
        empty = {name: np.empty(0, dtype) for name, (dtype, _) in ARRAYS.items()}
        here = empty | {"term_offsets": np.zeros(1, np.int64), "posting_offsets": np.zeros(1, np.int64)} | dict(arrays)
        self._damaged = damaged
        self._names = memoryview(here["terms"])
        self._bounds, self._first = here["term_offsets"], here["posting_offsets"]
        self._gaps, self._counts = here["gaps"], here["counts"]
        for name, bounds, end in (
            ("term_offsets", self._bounds, len(self._names)),
            ("posting_offsets", self._first, len(self._gaps)),
        ):
            if len(bounds) != len(self._bounds) or bounds[0] or bounds[-1] != end or (bounds[1:] <= bounds[:-1]).any():
                raise damaged(name, "the offsets do not rise to the number of rows")
        if len(self._counts) != len(self._gaps):
            raise damaged("counts", f"{len(self._counts)} counts for {len(self._gaps)} gaps")

    def __len__(self) -> int:
        """Return the number of terms."""
        return len(self._bounds) - 1

    def __getitem__(self, number: int) -> bytes:
        """Return a term by its number, in UTF-8."""
        return bytes(self._names[self._bounds[number] : self._bounds[number + 1]])

    def of_term(self, term: str) -> Posting:
        """Return the pages with a term."""
        wanted = term.encode("utf-8", "replace")
        at = bisect_left(self, wanted)
        return self._of(at) if at < len(self) and self[at] == wanted else NOWHERE

    def of_prefix(self, prefix: str) -> Posting:
        """Return the pages with any term that begins with this prefix; the counts of these terms are added up."""
        wanted = prefix.encode("utf-8", "replace")
        first, end = bisect_left(self, wanted), bisect_left(self, wanted + b"\xff")  # no UTF-8 has this byte
        if first == end:
            return NOWHERE
        rows, counts = self._entries(first, end)
        sums = np.bincount(rows, counts, len(self.lengths)).astype(np.int64)
        rows = np.flatnonzero(sums)
        return Posting(rows, sums[rows])

    def page(self, row: int) -> Packed:
        """Return a single page as `pack_text` made it, with its terms in order."""
        ids, counts, bounds = self._by_page
        here = slice(int(bounds[row]), int(bounds[row + 1]))
        return _page(b"\n".join([self._all[at] for at in ids[here].tolist()]), counts[here])

    def problems(self) -> Iterator[str]:
        """Yield a description of each error in the content."""
        if any(self._all[at] >= self._all[at + 1] for at in range(len(self) - 1)):
            yield "terms.npy is damaged: the terms are not in order"
        rows, counts, _ = self._decoded
        sums = np.bincount(rows, counts, len(self.lengths))
        if not np.array_equal(sums, self.lengths):
            yield "lengths.npy is damaged: the lengths of pages are not the sums of their counts"

    def _of(self, number: int) -> Posting:
        rows, counts = self._entries(number, number + 1)
        gaps = self._gaps[self._first[number] : self._first[number + 1]]
        if gaps.all() and counts.all():  # an entry for each page
            return Posting(rows, counts)
        sums = np.bincount(rows, counts, len(self.lengths)).astype(np.int64)
        rows = np.flatnonzero(sums)
        return Posting(rows, sums[rows])

    def _entries(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (n,) int64 and the counts (n,) uint8 of all entries of the terms first to end - 1."""
        bounds = self._first[first : end + 1]
        here = slice(int(bounds[0]), int(bounds[-1]))
        rows = np.cumsum(self._gaps[here], dtype=np.int64) - 1
        if end - first > 1:  # each term begins anew
            before = np.append(0, rows[bounds[1:-1] - bounds[0] - 1] + 1)
            rows -= np.repeat(before, np.diff(bounds))
        ends = bounds[1:] - bounds[0] - 1  # rows rise from each term's first to its last
        if len(ends) and (rows[bounds[:-1] - bounds[0]].min() < 0 or rows[ends].max() >= len(self.lengths)):
            raise self._damaged("gaps", "a term is on pages that are not there")
        return rows, self._counts[here]

    @cached_property
    def _all(self) -> list[bytes]:
        names, bounds = bytes(self._names), self._bounds.tolist()
        return [names[a:b] for a, b in pairwise(bounds)]

    @cached_property
    def _decoded(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, counts and terms of all postings, (n,) each, term by term; those of one page and term are merged."""
        rows, entries = self._entries(0, len(self))
        term = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self._first))
        kept = entries > 0
        rows, term, counts = rows[kept].astype(np.int32), term[kept], entries[kept].astype(np.uint32)
        new = np.append(True, (rows[1:] != rows[:-1]) | (term[1:] != term[:-1]))[: len(rows)]
        if not new.all():
            first = np.flatnonzero(new)
            rows, term, counts = rows[first], term[first], np.add.reduceat(counts, first)
        return rows, counts, term

    @cached_property
    def _by_page(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The terms in the order of pages: (n,) their numbers, (n,) their counts, and (P+1,) the offsets of pages."""
        rows, counts, term = self._decoded
        order = np.argsort(rows, kind="stable")
        bounds = np.append(0, np.cumsum(np.bincount(rows, minlength=len(self.lengths))))
        return term[order], counts[order], bounds
