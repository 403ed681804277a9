"""How long a run that reads files will still take: from what it has taken, and from what is known of what is ahead.

Pages of three classes cost very different times to read: those whose WORDS can be taken as they are, those that have to
be drawn because their words are DOUBTFUL, and those that are BLIND, which are read by OCR, a hundred times as slowly.
Of files that nobody has looked into, the pages and their classes are taken to be like those of other files of their
kind and size. Reading and encoding go on at the same time, so their seconds are not added: the rest of the run is
played through, file by file (`finish`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WORDS, DOUBTFUL, BLIND = range(3)
CLASSES = 3

# Before anything is measured: seconds on one core of a machine of 2024. OCR is by engine, see `Forecast`.
READING = {WORDS: 0.012, DOUBTFUL: 0.04}
OCR = {"rapidocr": 2.5, "glyph": 0.6}
LOADING = {"rapidocr": 1.0, "glyph": 1.0}  # of an engine, once in every process that reads
LOADING_CPU = {"rapidocr": 1.2, "glyph": 1.5}
THREADS = 1.8  # cores that OCR uses
OPENING = 0.01
CONVERTING = 3.0
ENCODING = 0.04
CHANCE = 0.3  # that a doubtful page is read by OCR
PAGE_BYTES = {"text": 4_000, "html": 8_000, "picture": math.inf}
OTHER_PAGE_BYTES = 50_000
SHARES = {"picture": (0.0, 0.0, 1.0), "pdf": (0.8, 0.08, 0.12)}  # of the classes, where pages are read by OCR

LASTING = 0.3  # what has taken longer than others do will take so much of that time again
PARTS = 256  # in which the rest of a run is played through
_BINS = 48  # powers of two of a file's size
_SECONDS = 0.25  # for which a figure is good
_EFFORT = 0.02  # the share of the time that figures may take


@dataclass(frozen=True, slots=True)
class File:
    """A file that will be read. kind: of its reader. done: pages that need not be read."""

    key: str
    kind: str
    size: int
    done: int = 0
    converts: bool = False
    pages: int | None = None


class Mean:
    """The mean of what was measured, the last `memory` things most; a guess counts as `trust` of them."""

    def __init__(self, memory: float = 100.0, trust: float = 0.25) -> None:
        self.keep = 1 - 1 / memory
        self.trust = trust
        self.total = self.weight = 0.0

    def add(self, total: float, count: float = 1.0) -> None:
        """So many things that took `total` together."""
        kept = self.keep**count
        self.total = self.total * kept + total
        self.weight = self.weight * kept + count

    def value(self, guess: float) -> float:
        """The mean, `guess` before anything was measured."""
        return (self.total + self.trust * guess) / (self.weight + self.trust)


class Costs:
    """What was learned of the seconds that things take."""

    def __init__(self, engine: str, encoding: float) -> None:
        self.engine = engine
        self.encoding_guess = encoding
        self.reading = [Mean(200), Mean(200), Mean(50)]
        self.reading_kind: dict[tuple[str, int], Mean] = {}
        self.opening: dict[tuple[str, bool], Mean] = {}
        self.chance = Mean(trust=2)
        self._start_encoding()
        self.batches = 0

    def _start_encoding(self) -> None:
        self.any_encoding = Mean(400)
        self.encoding = [Mean(400, 8) for _ in range(CLASSES)]

    def read(self, kind: str, page_class: int, seconds: float, *, loaded: bool) -> None:
        """A page. loaded: whether OCR had been used before in the process that read it."""
        if page_class == BLIND and not loaded:
            seconds = max(seconds - LOADING.get(self.engine, 0), seconds / 4)
        self.reading[page_class].add(seconds)
        self.reading_kind.setdefault((kind, page_class), Mean(100, 2)).add(seconds)

    def page(self, kind: str, page_class: int) -> float:
        """The seconds that a page takes to be read."""
        guess = OCR.get(self.engine, READING[DOUBTFUL]) if page_class == BLIND else READING[page_class]
        mean = self.reading[page_class].value(guess)
        mine = self.reading_kind.get((kind, page_class))
        return mean if mine is None else mine.value(mean)

    def file(self, kind: str, converts: bool) -> float:
        """The seconds that a file takes beside its pages."""
        guess = CONVERTING if converts else OPENING
        mine = self.opening.get((kind, converts))
        return guess if mine is None else mine.value(guess)

    def opened(self, kind: str, converts: bool, seconds: float) -> None:
        """A file took so long beside its pages."""
        self.opening.setdefault((kind, converts), Mean(50)).add(seconds)

    def encoded(self, weights: Sequence[float], counts: Sequence[int], seconds: float) -> None:
        """A batch: how many pages of each class, and how its seconds are divided among them.

        The first one may have had to wait for things that happen once: half of it counts, and nothing when there are
        others.
        """
        self.batches += 1
        if self.batches == 1:
            seconds /= 2
        elif self.batches == 2:
            self._start_encoding()
        self.any_encoding.add(seconds, sum(counts))
        for page_class, (weight, count) in enumerate(zip(weights, counts, strict=True)):
            if count:
                self.encoding[page_class].add(seconds * weight / sum(weights), count)

    def encode(self) -> np.ndarray:
        """(3,) the seconds that a page of each class takes to be encoded."""
        mean = self.any_encoding.value(self.encoding_guess)
        return np.array([one.value(mean) for one in self.encoding])


class Ahead:
    """The files of a run, in their order, and what is known of the pages that will be read of them."""

    def __init__(self, files: Sequence[File], *, ocr: str) -> None:
        self.files = list(files)
        self.place = {file.key: i for i, file in enumerate(self.files)}
        self.kinds = sorted({(file.kind, file.converts) for file in self.files})
        numbers = {kind: i for i, kind in enumerate(self.kinds)}
        self.kind = np.array([numbers[file.kind, file.converts] for file in self.files], np.int64)
        size = np.array([file.size for file in self.files], np.float64)
        self.cell = self.kind * _BINS + np.clip(np.log2(size + 1).astype(np.int64), 0, _BINS - 1)
        page_bytes = np.array([PAGE_BYTES.get(file.kind, OTHER_PAGE_BYTES) for file in self.files], np.float64)
        self.guess = 1 + size / page_bytes
        self.pages = np.array([np.nan if file.pages is None else file.pages for file in self.files], np.float64)
        self.done = np.array([file.done for file in self.files], np.float64)
        self.over = np.zeros(len(self.files), bool)
        self.seen = np.zeros((len(self.files), CLASSES))  # pages that were looked at or read
        self.read = np.zeros((len(self.files), CLASSES))
        self.looked = np.zeros((len(self.files), CLASSES))  # and are not read yet
        self.spent = np.zeros((len(self.files), CLASSES))  # seconds of reading
        self.looks: dict[int, dict[int, int]] = {}
        self.shares = np.array([_guessed_shares(kind, ocr) for kind, _ in self.kinds]).reshape(-1, CLASSES)

    def expected(self) -> np.ndarray:
        """(n,) pages of each file."""
        known = ~np.isnan(self.pages)
        of_kind = [_sums(self.kind[known], of[known], len(self.kinds)) for of in (self.pages, self.guess)]
        ratio = (of_kind[0] + 1) / (of_kind[1] + 1)
        cells = len(self.kinds) * _BINS
        total = _sums(self.cell[known], self.pages[known], cells)[self.cell]
        count = np.bincount(self.cell[known], minlength=cells)[self.cell]
        like = (total + self.guess * ratio[self.kind] / 2) / (count + 0.5)
        return np.where(known, self.pages, like)

    def left(self) -> np.ndarray:
        """(n, 3) pages of each class that are still to be read of each file."""
        pages = self.expected()
        rest = np.where(self.over, 0, np.maximum(pages - self.done - self.looked.sum(axis=1), 0))
        return np.asarray(self.looked * ~self.over[:, None] + rest[:, None] * self._shares(pages))

    def _shares(self, pages: np.ndarray) -> np.ndarray:
        """(n, 3) of the pages that nobody has looked at: like those of the file that are ahead, else like those read of
        it, else as in its cell, else as in its kind."""
        count = self.seen.sum(axis=1)
        has = count > 0
        weighed = self.seen[has] * (pages[has] / count[has])[:, None]
        one = max(1.0, float(pages[has].mean())) if has.any() else 1.0  # a file's worth of pages
        kinds = _mixed(_rows(self.kind[has], weighed, len(self.kinds)), self.shares, one)
        cells = len(self.kinds) * _BINS
        guess = np.repeat(kinds, _BINS, axis=0)
        like = _mixed(_rows(self.cell[has], weighed, cells), guess, one)[self.cell]
        trust = self._trust()
        return _mixed(self.looked, _mixed(self.read, like, trust), max(trust, 0.1))

    def _trust(self) -> float:
        """As how many pages of a file those of others count: the less, the more alike are the pages of one file."""
        count = self.seen.sum(axis=1)
        several = count > 1
        blind = self.seen[several, BLIND] / count[several]
        inside = float((count[several] ** 2 / (count[several] - 1) * blind * (1 - blind)).sum())
        inside = (inside + 0.02) / (count[several].sum() + 1)  # the variance of one page among those of its file
        share = (self.seen[:, BLIND].sum() + 0.5) / (count.sum() + 1)
        between = max(share * (1 - share) - inside, 1e-6)
        return float(min(max(inside / between, 0.02), 2.0))


def _guessed_shares(kind: str, ocr: str) -> tuple[float, ...]:
    """Before any page was seen."""
    if ocr == "never" or kind == "text":
        return (1.0, 0.0, 0.0)
    if ocr == "always":
        return (0.0, 0.0, 1.0)
    return SHARES.get(kind, (0.95, 0.03, 0.02))


def _sums(cells: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(cells, values, minlength=count)


def _rows(cells: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    return np.stack([_sums(cells, column, count) for column in rows.T], axis=1)


def _mixed(counts: np.ndarray, guess: np.ndarray, trust: float) -> np.ndarray:
    """(n, 3) shares from (n, 3) counts; a guess counts as `trust` pages."""
    return np.asarray((counts + trust * guess) / (counts.sum(axis=1, keepdims=True) + trust))


def finish(
    reading: np.ndarray,
    encoding: np.ndarray,
    pages: np.ndarray,
    *,
    room: float,
    lanes: Sequence[float],
    waiting: float = 0.0,
    waiting_pages: float = 0.0,
) -> float:
    """The seconds until everything is encoded.

    reading: (m, lanes) seconds that each lane reads for each part of the work. encoding, pages: (m,) of the parts; they
    are encoded one after the other, while the next ones are read, at most `room` pages ahead. lanes: when each begins,
    below 0 for what it has begun already. waiting: seconds of encoding what is read already, of `waiting_pages`.
    """
    free = list(lanes)
    encoded, count = waiting, waiting_pages
    reached = [(0.0, 0.0), (count, encoded)]  # how many pages are encoded, and when
    at = 0
    for row, seconds, number in zip(reading.tolist(), encoding.tolist(), pages.tolist(), strict=True):
        mine = [lane for lane, work in enumerate(row) if work > 0]
        begun = min((free[lane] for lane in mine), default=encoded)
        for lane in mine:
            free[lane] += row[lane]
        encoded = max(max(encoded, begun) + seconds, *(free[lane] for lane in mine), 0.0)
        count += number
        reached.append((count, encoded))
        while reached[at + 1][0] < count - room:
            at += 1
        gate = _between(reached[at], reached[at + 1], count - room)
        for lane in mine:
            free[lane] = max(free[lane], gate)
    return max(encoded, 0.0)


def _between(one: tuple[float, float], other: tuple[float, float], pages: float) -> float:
    """When so many pages are encoded; -inf before any."""
    if pages <= 0:
        return -math.inf
    share = (pages - one[0]) / (other[0] - one[0]) if other[0] > one[0] else 1.0
    return one[1] + min(1.0, max(0.0, share)) * (other[1] - one[1])


@dataclass(slots=True)
class _Lane:
    """One that reads. key: the file. since: it reads the present page or opens the file; None where it waits."""

    key: str = ""
    since: float | None = None
    loaded: bool = False
    beside: float = 0.0  # seconds of the present file beside its pages
    ocr: list[float] = field(default_factory=list)


class Forecast:
    """Seconds and pages that are left of a run. Threads may tell it what happens as it does.

    files: in the order in which they are encoded; lane i of n reads every n-th from the i-th on. ocr: "auto",
    "never" or "always". engine: of the OCR. encoding: a guess at the seconds a page. room: bytes that are read ahead.
    """

    def __init__(
        self,
        files: Sequence[File],
        *,
        lanes: int = 1,
        ocr: str = "never",
        engine: str = "",
        encoding: float = ENCODING,
        room: float = 128 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ahead = Ahead(files, ocr=ocr)
        self.costs = Costs(engine, encoding)
        self.lanes = [_Lane() for _ in range(max(1, lanes))]
        self.ocr = ocr
        self.room = room
        self.clock = clock
        self.began = clock()
        self.sizes = Mean(400, 4)
        self.waiting = np.zeros(CLASSES)  # pages that are read and not encoded
        self.batch: tuple[list[int], list[float], float] | None = None
        self.lock = threading.Lock()
        self.figure = self.effort = 0.0
        self.told = -math.inf

    # ---- what happens

    def begins(self, lane: int, key: str) -> None:
        """A lane reads the next page of a file, or opens it."""
        with self.lock:
            mine = self.lanes[lane]
            mine.key, mine.since = key, self.clock()

    def opened(self, key: str, pages: int) -> None:
        """A file has so many pages; of a document inside it: so many more."""
        with self.lock:
            i = self.ahead.place.get(key)
            if i is not None:
                before = self.ahead.pages[i]
                self.ahead.pages[i] = pages if np.isnan(before) else max(before, pages)
    
    def came(self, lane: int, page_class: int | None, *, number: int = 0, size: int = 0, encoded: bool = True) -> None:
        """What a lane was reading: a page of a class, or, None, something else that a file takes time for."""
        with self.lock:
            mine = self.lanes[lane]
            seconds = self.clock() - (self.clock() if mine.since is None else mine.since)
            mine.since = None
            i = self.ahead.place.get(mine.key)
            if page_class is None or i is None:
                mine.beside += seconds
                return
            self.costs.read(self.ahead.files[i].kind, page_class, seconds, loaded=mine.loaded)
            mine.loaded |= page_class == BLIND
            self._count(i, page_class, number)
            self.ahead.spent[i, page_class] += seconds
            if encoded:
                self.waiting[page_class] += 1
                self.sizes.add(size)

    def _count(self, i: int, page_class: int, number: int) -> None:
        ahead = self.ahead
        ahead.done[i] += 1
        ahead.seen[i, page_class] += 1
        ahead.read[i, page_class] += 1
        looked = ahead.looks.get(i, {}).pop(number, None)
        if looked is not None:
            ahead.looked[i, looked] -= 1
            ahead.seen[i, looked] -= 1
            if looked == DOUBTFUL:
                self.costs.chance.add(page_class == BLIND)

    def ended(self, lane: int, key: str) -> None:
        """Nothing more comes of a file."""
        with self.lock:
            mine, i = self.lanes[lane], self.ahead.place.get(key)
            if i is not None and not self.ahead.over[i]:
                file = self.ahead.files[i]
                self.ahead.over[i] = True
                self.ahead.pages[i] = self.ahead.done[i]
                self.costs.opened(file.kind, file.converts, mine.beside)
            mine.beside, mine.since = 0.0, None

    def looked(self, key: str, pages: int, classes: Mapping[int, int]) -> None:
        """Somebody looked into a file: how many pages it has, and the classes of some, by number."""
        with self.lock:
            i = self.ahead.place.get(key)
            if i is None or self.ahead.over[i]:
                return
            self.ahead.pages[i] = pages
            if self.ahead.read[i].any():  # its own pages say more by now
                return
            for number, page_class in classes.items():
                self.ahead.looks.setdefault(i, {})[number] = page_class
                self.ahead.looked[i, page_class] += 1
                self.ahead.seen[i, page_class] += 1

    def tried(self, cpu_seconds: float, *, loaded: bool) -> None:
        """A page was read by OCR, to see how long that takes, while others kept the cores busy."""
        with self.lock:
            loading = 0.0 if loaded else LOADING_CPU.get(self.costs.engine, 0.0)
            seconds = max(cpu_seconds - loading, cpu_seconds / 4)
            self.costs.reading[BLIND].add(seconds / min(THREADS, os.cpu_count() or 1))

    def is_unknown(self, key: str) -> bool:
        """Whether nobody has looked into a file."""
        with self.lock:
            i = self.ahead.place.get(key)
            return i is not None and not self.ahead.over[i] and not self.ahead.seen[i].any()

    @property
    def knows_ocr(self) -> bool:
        """Whether a page was read by OCR."""
        return self.costs.reading[BLIND].weight > 0

    def ocr_seconds(self) -> float:
        """A guess at the CPU seconds of a page."""
        return OCR.get(self.costs.engine, 0) * THREADS

    def encoding(self, classes: Sequence[int], weights: Sequence[float]) -> None:
        """A batch of pages of these classes is being encoded; weights: how its seconds divide among them."""
        counts = [0] * CLASSES
        shares = [0.0] * CLASSES
        for page_class, weight in zip(classes, weights, strict=True):
            counts[page_class] += 1
            shares[page_class] += weight
        with self.lock:
            self.batch = counts, shares, self.clock()
            self.waiting -= counts

    def encoded(self) -> None:
        """It is encoded."""
        with self.lock:
            if self.batch is not None and any(self.batch[0]):
                counts, shares, since = self.batch
                self.costs.encoded(shares, counts, self.clock() - since)
            self.batch = None

    # ---- what follows

    @property
    def pages(self) -> float:
        """Of all files, those that were done before included; estimated as long as not all are open."""
        with self.lock:
            return float(self.ahead.expected().sum())

    def left(self) -> float:
        """Seconds until the end."""
        with self.lock:
            now = self.clock()
            if self.ahead.over.all() and self.batch is None and not self.waiting.any():
                return 0.0
            if now - self.told >= max(_SECONDS, self.effort / _EFFORT):
                self.figure = self._left(now)
                self.told = now
                self.effort = self.clock() - now
            return max(0.0, self.figure - (now - self.told))

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock() - self.began

    @property
    def is_counted(self) -> bool:
        """Whether the pages of every file are known."""
        with self.lock:
            return not np.isnan(self.ahead.pages).any()

    def ahead_of_ocr(self) -> tuple[float, float]:
        """The seconds that pages which are not read yet will take to be read, and those of them that OCR takes."""
        with self.lock:
            seconds = self._page_seconds() * self.ahead.left()
            return float(seconds.sum()), float(seconds[:, BLIND].sum())

    def _page_seconds(self) -> np.ndarray:
        """(n, 3) the seconds that a page of each file and class takes to be read."""
        chance = 0.0 if self.ocr == "never" else self.costs.chance.value(CHANCE)
        kinds = np.array([[self.costs.page(kind, one) for one in range(CLASSES)] for kind, _ in self.ahead.kinds])
        kinds = kinds.reshape(-1, CLASSES)
        guess = kinds[self.ahead.kind]
        seconds = (self.ahead.spent + guess) / (self.ahead.read + 1)
        seconds[:, DOUBTFUL] = chance * seconds[:, BLIND] + (1 - chance) * seconds[:, DOUBTFUL]
        return np.asarray(seconds)

    def _left(self, now: float) -> float:
        ahead, costs = self.ahead, self.costs
        left = ahead.left()
        page_seconds = self._page_seconds()
        opening = np.array([costs.file(*kind) for kind in ahead.kinds])[ahead.kind] * ~ahead.over
        opening[[ahead.place[mine.key] for mine in self.lanes if mine.key in ahead.place and mine.beside]] = 0
        reading = (left * page_seconds).sum(axis=1) + opening
        encode = costs.encode()
        encoding, pages = left @ encode, left.sum(axis=1)
        waiting = float(self.waiting @ encode)
        if self.batch is not None:
            counts, _, since = self.batch
            waiting += max(0.0, float(np.array(counts) @ encode) - (now - since))
        parts = self._parts(reading, encoding, pages)
        return finish(
            *parts,
            room=self.room / max(1.0, self.sizes.value(100_000)),
            lanes=[self._free(i, left, now) for i in range(len(self.lanes))],
            waiting=waiting,
            waiting_pages=float(self.waiting.sum()),
        )

    def _free(self, lane: int, left: np.ndarray, now: float) -> float:
        """When a lane begins with what is ahead of it: below 0 by what it has done of it, above where that takes long."""
        mine = self.lanes[lane]
        i = self.ahead.place.get(mine.key)
        if mine.since is None or i is None or self.ahead.over[i]:
            return 0.0
        file = self.ahead.files[i]
        pages = left[i].sum()
        costs = [self.costs.page(file.kind, one) for one in range(CLASSES)]
        if np.isnan(self.ahead.pages[i]):
            most = self.costs.file(file.kind, file.converts)
        else:
            most = float(left[i] @ costs / pages) if pages else 0.0
        gone = now - mine.since
        return max(-gone, LASTING * gone - most)

    def _parts(self, *columns: np.ndarray) -> tuple[Any, Any, Any]:
        """The work file by file, or where those are many in PARTS; that of reading also by lane."""
        reading, encoding, pages = columns
        here = np.flatnonzero(~self.ahead.over)
        count = min(PARTS, len(here))
        part = np.arange(len(here)) * count // max(1, len(here))
        lane = here % len(self.lanes)
        by_lane = np.zeros((count, len(self.lanes)))
        np.add.at(by_lane, (part, lane), reading[here])
        return by_lane, _sums(part, encoding[here], count), _sums(part, pages[here], count)
