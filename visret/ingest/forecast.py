"""How long a run that reads files will still take: from what it has taken, and from what is known of what is ahead.

Pages of three classes take very different times to be read: those whose WORDS can be taken as they are, those that have
to be drawn because their words are DOUBTFUL, and those that are BLIND, which OCR reads, a hundred times as slowly. Of
files that nobody has looked into, the pages are taken to be like those of other files of their kind and size. Reading
and encoding go on at the same time, so their seconds are not added: the rest of the run is played through (`finish`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

WORDS, DOUBTFUL, BLIND = range(3)
CLASSES = 3

# Before anything is measured: seconds on a core of a machine of 2024.
READING = {WORDS: 0.012, DOUBTFUL: 0.06}
OCR = {"rapidocr": 1.3, "glyph": 0.55}  # for a million pixels at 100 dpi, and
PER_WORD = 0.016  # of that for each word
LOADING = {"rapidocr": 1.2, "glyph": 1.5}  # of an engine, once in every process that reads
THREADS = 1.8  # cores that OCR uses
OPENING = 0.01
CONVERTING = 3.0
ENCODING = 0.04  # of a page of USUAL_WORDS
USUAL_WORDS = 300
PAGE_WORDS = 30  # to which a page is equal for who encodes it, beside its words

WORDS_PER_INCH = 2.8  # of lines of print
CHANCE = 0.3  # that a doubtful page is read by OCR
PAGE_BYTES = {"text": 4_000, "html": 8_000, "table": 4_000, "book": 4_000, "picture": math.inf}
OTHER_PAGE_BYTES = 50_000
HOLDING = ("archive", "mail")  # kinds of files whose pages are those of files inside
SHARES = {"picture": (0.0, 0.0, 1.0), "pdf": (0.8, 0.08, 0.12)}  # of the classes, where pages are read by OCR
OTHER_SHARES = (0.95, 0.03, 0.02)

LASTING = 0.3  # what has taken longer than others do will take so much of that time again
CROWDED = 0.8  # the share of the cores from which on those who read and who encode are in each other's way
PARTS = 256  # in which the rest of a run is played through
_BINS = 48  # powers of two of a file's size
_SECONDS = 0.25  # for which a figure is good
_EFFORT = 0.02  # the share of the time that figures may take


class Look(NamedTuple):
    """What decides how long a page takes. words: of a blind page those in its picture. megapixels: of that."""

    page_class: int
    words: float
    megapixels: float = 0.0

    @property
    def reading(self) -> float:
        """The work of whoever reads it, in units of its class."""
        return self.megapixels + PER_WORD * self.words if self.page_class == BLIND else 1.0

    @property
    def encoding(self) -> float:
        """The work of whoever encodes it."""
        return PAGE_WORDS + self.words

    @property
    def is_drawn(self) -> bool:
        """Whether its words are known."""
        return self.page_class != BLIND or self.megapixels > 0


GUESSED = Look(BLIND, 150, 0.9)


@dataclass(frozen=True, slots=True)
class File:
    """A file that will be read. kind: of its reader. done: pages that need not be read. pages: None where unknown."""

    key: str
    kind: str
    size: int
    done: int = 0
    converts: bool = False
    pages: int | None = None


# ------------------------------------------------------------------------------------------- what things take


class Mean:
    """What a unit takes, from what was measured, the last `memory` units most; a guess counts as `trust` units."""

    def __init__(self, memory: float = 100.0, trust: float = 0.25) -> None:
        self.keep = 1 - 1 / memory
        self.trust = trust
        self.total = self.weight = 0.0

    def add(self, total: float, units: float = 1.0) -> None:
        """So many units took `total` together."""
        kept = self.keep**units
        self.total = self.total * kept + total
        self.weight = self.weight * kept + units

    def value(self, guess: float) -> float:
        """The mean, `guess` before anything was measured."""
        return (self.total + self.trust * guess) / (self.weight + self.trust)


class Costs:
    """What was learned of the time that things take. encoding: a guess at the seconds of a page.

    Reading is measured in seconds of a core, which other programs hardly change, and these are taken to last as long as
    the last ones did.
    """

    def __init__(self, engine: str, encoding: float) -> None:
        self.engine = engine
        self.encoding_guess = encoding / (PAGE_WORDS + USUAL_WORDS)
        self.reading = [Mean(200), Mean(50), Mean(200, 1)]
        self.reading_kind: dict[tuple[str, int], Mean] = {}
        self.lasting = [Mean(20, 1) for _ in range(CLASSES)]  # seconds for a second of a core
        self.opening: dict[tuple[str, bool], Mean] = {}
        self.chance = Mean(trust=2)
        self.encoding = Mean(30_000, 100)
        self.share = Mean(30_000, 100)  # of the cores that are busy, those that encode; 1 where some are idle
        self.batches = 0

    def read(self, kind: str, look: Look, seconds: float, core_seconds: float, *, loaded: bool) -> float:
        """A page was read. loaded: whether OCR had been used in that process before. The seconds of a core for it."""
        if look.page_class == BLIND and not loaded:
            core_seconds = self.without_loading(core_seconds)
        else:
            self.lasting[look.page_class].add(seconds, core_seconds)
        self.reading[look.page_class].add(core_seconds, look.reading)
        self.reading_kind.setdefault((kind, look.page_class), Mean(200, 2)).add(core_seconds, look.reading)
        return core_seconds

    def without_loading(self, core_seconds: float) -> float:
        """What the first page that OCR reads in a process takes, less what happens once."""
        return max(core_seconds - LOADING.get(self.engine, 0.0), core_seconds / 4)

    def unit(self, kind: str, page_class: int) -> float:
        """The seconds that a unit of reading takes."""
        guess = OCR.get(self.engine, READING[DOUBTFUL]) if page_class == BLIND else READING[page_class]
        value = self.reading[page_class].value(guess)
        if (mine := self.reading_kind.get((kind, page_class))) is not None:
            value = mine.value(value)
        return value * self.lasts(page_class)

    def lasts(self, page_class: int) -> float:
        """The seconds that a second of a core lasts."""
        return self.lasting[page_class].value(1 / min(THREADS, os.cpu_count() or 1) if page_class == BLIND else 1.0)

    def opened(self, kind: str, converts: bool, seconds: float) -> None:
        """A file took so long beside its pages."""
        self.opening.setdefault((kind, converts), Mean(50)).add(seconds)

    def file(self, kind: str, converts: bool) -> float:
        """The seconds that a file takes beside its pages."""
        guess = CONVERTING if converts else OPENING
        mine = self.opening.get((kind, converts))
        return guess if mine is None else mine.value(guess)

    def encoded(self, work: float, seconds: float, share: float) -> None:
        """A batch was encoded, with this share of the busy cores.

        The first one may have waited for things that happen once: it is half believed, and forgotten with the second.
        """
        self.batches += 1
        if self.batches == 1:
            seconds = math.sqrt(seconds * work * self.encoding_guess)
        elif self.batches == 2:
            self.encoding = Mean(30_000, 100)
        self.encoding.add(seconds, work)
        self.share.add(share * work, work)

    def encode(self) -> float:
        """The seconds that a unit of encoding takes."""
        return self.encoding.value(self.encoding_guess)


# ------------------------------------------------------------------------------------------- what is ahead

READ, LOOKED = range(2)


class Known:
    """A quantity of pages, per page, as far as it is known of those of each file that were read, or looked at."""

    def __init__(self, files: int, guess: float) -> None:
        self.guess = guess
        self.sums = np.zeros((2, files))
        self.counts = np.zeros((2, files))

    def add(self, i: int, where: int, value: float, count: int = 1) -> None:
        """A page of a file, READ or LOOKED at; count: -1 takes it out."""
        self.sums[where, i] += count * value
        self.counts[where, i] += count

    def each(self, cell: np.ndarray, cells: int) -> np.ndarray:
        """(n,) that of a page which is ahead in each file: like those looked at, else like those read, else as in its
        cell, else as in all."""
        total, count = self.sums.sum(axis=0), self.counts.sum(axis=0)
        mean = (total.sum() + 2 * self.guess) / (count.sum() + 2)
        like = (_sums(cell, total, cells)[cell] + 2 * mean) / (_sums(cell, count, cells)[cell] + 2)
        mine = (self.sums[READ] + like / 2) / (self.counts[READ] + 0.5)
        return np.asarray((self.sums[LOOKED] + mine / 2) / (self.counts[LOOKED] + 0.5))


class Ahead:
    """The files of a run, in their order, and what is known of the pages that will be read of them."""

    def __init__(self, files: Sequence[File], *, ocr: str) -> None:
        count = len(files)
        self.files = list(files)
        self.place = {file.key: i for i, file in enumerate(files)}
        self.kinds = sorted({(file.kind, file.converts) for file in files})
        numbers = {kind: number for number, kind in enumerate(self.kinds)}
        self.kind = np.array([numbers[file.kind, file.converts] for file in files], np.int64)
        size = np.array([file.size for file in files], np.float64)
        self.cell = self.kind * _BINS + np.clip(np.log2(size + 1).astype(np.int64), 0, _BINS - 1)
        self.cells = len(self.kinds) * _BINS
        self.guess = 1 + size / np.array([PAGE_BYTES.get(file.kind, OTHER_PAGE_BYTES) for file in files], np.float64)
        self.pages = np.array([np.nan if file.pages is None else file.pages for file in files], np.float64)
        self.holds = np.array([file.kind in HOLDING for file in files], bool)
        self.done = np.array([file.done for file in files], np.float64)
        self.over = np.zeros(count, bool)
        self.read, self.spent, self.looked = np.zeros((3, count, CLASSES))  # pages, their core's seconds; pages ahead
        self.looks: dict[int, dict[int, Look]] = {}
        self.shares = np.array([_guessed_shares(kind, ocr) for kind, _ in self.kinds]).reshape(-1, CLASSES)
        self.blind = Known(count, GUESSED.reading)
        self.encoding = Known(count, PAGE_WORDS + USUAL_WORDS)

    def add_look(self, i: int, number: int, look: Look) -> None:
        """Somebody looked at a page of a file, which will be read."""
        self.looks.setdefault(i, {})[number] = look
        self._add(i, LOOKED, look, 1)

    def add_read(self, i: int, number: int, look: Look, core_seconds: float) -> Look | None:
        """A page was read. What was seen of it before."""
        self.done[i] += 1
        self.spent[i, look.page_class] += core_seconds
        self._add(i, READ, look, 1)
        before = self.looks.get(i, {}).pop(number, None)
        if before is not None:
            self._add(i, LOOKED, before, -1)
        return before

    def _add(self, i: int, where: int, look: Look, count: int) -> None:
        (self.read if where == READ else self.looked)[i, look.page_class] += count
        if look.is_drawn:
            self.encoding.add(i, where, look.encoding, count)
            if look.page_class == BLIND:
                self.blind.add(i, where, look.reading, count)

    def expected(self) -> np.ndarray:
        """(n,) pages of each file."""
        known = ~np.isnan(self.pages) & (self.over | ~self.holds)
        of_kind = [_sums(self.kind[known], of[known], len(self.kinds)) for of in (self.pages, self.guess)]
        ratio = (of_kind[0] + 1) / (of_kind[1] + 1)
        total = _sums(self.cell[known], self.pages[known], self.cells)[self.cell]
        count = np.bincount(self.cell[known], minlength=self.cells)[self.cell]
        like = (total + self.guess * ratio[self.kind] / 2) / (count + 0.5)
        return np.where(known, self.pages, np.fmax(self.pages, like))

    def left(self) -> np.ndarray:
        """(n, 3) pages of each class that are still to be read of each file."""
        pages = self.expected()
        rest = np.where(self.over, 0, np.maximum(pages - self.done - self.looked.sum(axis=1), 0))
        return np.asarray(self.looked * ~self.over[:, None] + rest[:, None] * self._shares(pages))

    def _shares(self, pages: np.ndarray) -> np.ndarray:
        """(n, 3) of the pages that nobody has looked at: as in `Known.each`, and at last as in its kind."""
        seen = self.read + self.looked
        count = seen.sum(axis=1)
        has = count > 0
        weighed = seen[has] * (pages[has] / count[has])[:, None]
        one = max(1.0, float(pages[has].mean())) if has.any() else 1.0  # a file's worth of pages
        kinds = _mixed(_rows(self.kind[has], weighed, len(self.kinds)), self.shares, one)
        cells = _mixed(_rows(self.cell[has], weighed, self.cells), np.repeat(kinds, _BINS, axis=0), one)
        trust = _likeness(seen[:, BLIND], count)
        return _mixed(self.looked, _mixed(self.read, cells[self.cell], trust), max(trust, 0.1))


def _guessed_shares(kind: str, ocr: str) -> tuple[float, ...]:
    """Before any page was seen."""
    if ocr == "never" or kind == "text":
        return (1.0, 0.0, 0.0)
    return (0.0, 0.0, 1.0) if ocr == "always" else SHARES.get(kind, OTHER_SHARES)


def _likeness(blind: np.ndarray, count: np.ndarray) -> float:
    """As how many pages of a file those of other files count: the less, the more alike are the pages of one file."""
    several = count > 1
    share = blind[several] / count[several]
    inside = float((count[several] ** 2 / (count[several] - 1) * share * (1 - share)).sum())
    inside = (inside + 0.02) / (count[several].sum() + 1)  # the variance of a page among those of its file
    of_all = (blind.sum() + 0.5) / (count.sum() + 1)
    between = max(of_all * (1 - of_all) - inside, 1e-6)
    return float(min(max(inside / between, 0.02), 20.0))


def _sums(cells: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(cells, values, minlength=count)


def _rows(cells: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    return np.stack([_sums(cells, column, count) for column in rows.T], axis=1)


def _mixed(counts: np.ndarray, guess: np.ndarray, trust: float) -> np.ndarray:
    """(n, 3) shares from (n, 3) counts; a guess counts as `trust` pages."""
    return np.asarray((counts + trust * guess) / (counts.sum(axis=1, keepdims=True) + trust))


# ------------------------------------------------------------------------------------------- the rest, played through


def finish(
    reading: np.ndarray,
    encoding: np.ndarray,
    pages: np.ndarray,
    *,
    room: float,
    lanes: Sequence[float],
    waiting: float = 0.0,
    waiting_pages: float = 0.0,
    alone: float = 1.0,
) -> float:
    """The seconds until everything is encoded.

    reading: (m, lanes) seconds that each lane reads for each part of the work. encoding, pages: (m,) of the parts; they
    are encoded one after the other, while the next ones are read, at most `room` pages ahead. lanes: when each begins,
    below 0 for what it has begun already. waiting: seconds of encoding what is read already, of `waiting_pages`.
    alone: the share of these seconds that encoding takes when nobody reads any more, and all cores are free for it.
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
        encoded = max([max(encoded, begun) + seconds, *(free[lane] for lane in mine)])
        count += number
        reached.append((count, encoded))
        while reached[at + 1][0] < count - room:
            at += 1
        gate = _when(reached[at], reached[at + 1], count - room)
        for lane in mine:
            free[lane] = max(free[lane], gate)
    read = max(0.0, *free)
    return read + (encoded - read) * alone if encoded > read else max(encoded, 0.0)


def _when(one: tuple[float, float], other: tuple[float, float], pages: float) -> float:
    """When so many pages are encoded, between two such moments; -inf before any."""
    if pages <= 0:
        return -math.inf
    share = (pages - one[0]) / (other[0] - one[0]) if other[0] > one[0] else 1.0
    return one[1] + min(1.0, max(0.0, share)) * (other[1] - one[1])


# ------------------------------------------------------------------------------------------- the forecast


@dataclass(slots=True)
class _Lane:
    """One that reads. key: the file. since: it reads the present page or opens the file; None where it waits."""

    key: str = ""
    since: float | None = None
    loaded: bool = False  # whether it has used OCR
    beside: float = 0.0  # seconds of the present file beside its pages


@dataclass(frozen=True, slots=True)
class _Batch:
    """Of pages that are being encoded, since when; and the seconds of cores that this process and reading had used."""

    work: float
    since: float
    used: float
    core_seconds: float


class Forecast:
    """Seconds and pages that are left of a run. Threads may tell it what happens as it does.

    files: in the order in which they are encoded; lane i of n reads every n-th from the i-th on. ocr: "auto", "never"
    or "always". engine: of the OCR. encoding: a guess at the seconds a page. room: bytes that are read ahead. cores: of
    this machine.
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
        cores: int = os.cpu_count() or 1,
    ) -> None:
        self.ahead = Ahead(files, ocr=ocr)
        self.done_before = self.ahead.done.copy()
        self.costs = Costs(engine, encoding)
        self.lanes = [_Lane() for _ in range(max(1, lanes))]
        self.ocr = ocr
        self.room = room
        self.clock = clock
        self.cores = cores
        self.core_seconds = 0.0  # of all that was read
        self.began = clock()
        self.sizes = Mean(400, 4)  # of pages in memory
        self.waiting = self.waiting_work = 0.0  # pages that are read and not encoded, and the work of encoding them
        self.batch: _Batch | None = None  # that is being encoded
        self.lock = threading.Lock()
        self.figure = self.effort = 0.0
        self.told = -math.inf

    # ---- what happens

    def begins(self, lane: int, key: str) -> None:
        """A lane reads the next page of a file, or opens it."""
        with self.lock:
            mine = self.lanes[lane]
            mine.key, mine.since = key, self.clock()

    def opened(self, key: str, pages: int, *, inside: bool = False) -> None:
        """A file has so many pages; a document inside it: so many more."""
        with self.lock:
            i = self.ahead.place.get(key)
            if i is not None:
                before = float(np.nan_to_num(self.ahead.pages[i]))
                self.ahead.pages[i] = before + pages if inside else max(before, pages)

    def came(
        self, lane: int, look: Look | None, *, number: int = 0, size: int | None = None, core_seconds: float = 0.0
    ) -> None:
        """What a lane was reading: a page, or, None, something else that a file takes time for.

        number, size: of the page, and in memory; one without a size is not encoded. core_seconds: that reading took.
        """
        with self.lock:
            mine = self.lanes[lane]
            seconds = 0.0 if mine.since is None else self.clock() - mine.since
            mine.since = None
            self.core_seconds += core_seconds
            i = self.ahead.place.get(mine.key)
            if look is None or i is None:
                mine.beside += seconds
                return
            loaded, mine.loaded = mine.loaded, mine.loaded or look.page_class == BLIND
            kind = self.ahead.files[i].kind
            core_seconds = self.costs.read(kind, look, seconds, core_seconds or seconds, loaded=loaded)
            before = self.ahead.add_read(i, number, look, core_seconds)
            if before is not None and before.page_class == DOUBTFUL:
                self.costs.chance.add(look.page_class == BLIND)
            if size is not None:
                self.waiting += 1
                self.waiting_work += look.encoding
                self.sizes.add(size)

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

    def looked(self, key: str, pages: int, looks: Mapping[int, Look]) -> None:
        """Somebody looked into a file: how many pages it has, and at some of them, by number."""
        with self.lock:
            i = self.ahead.place.get(key)
            if i is None or self.ahead.over[i]:
                return
            self.ahead.pages[i] = pages
            if not self.ahead.read[i].any():  # else its own pages say more by now
                for number, look in looks.items():
                    self.ahead.add_look(i, number, look)

    def tried(self, look: Look, core_seconds: float, *, loaded: bool) -> None:
        """A page was read by OCR, to see how long that takes."""
        with self.lock:
            taken = core_seconds if loaded else self.costs.without_loading(core_seconds)
            self.costs.reading[BLIND].add(taken, look.reading)

    def encoding(self, looks: Sequence[Look]) -> None:
        """A batch of these pages is being encoded."""
        work = sum(look.encoding for look in looks)
        with self.lock:
            self.batch = _Batch(work, self.clock(), time.process_time(), self.core_seconds)
            self.waiting -= len(looks)
            self.waiting_work -= work

    def encoded(self) -> None:
        """It is encoded."""
        with self.lock:
            if self.batch is not None and self.batch.work:
                seconds = self.clock() - self.batch.since
                mine, others = time.process_time() - self.batch.used, self.core_seconds - self.batch.core_seconds
                crowded = mine + others > CROWDED * self.cores * seconds
                self.costs.encoded(self.batch.work, seconds, mine / (mine + others) if crowded else 1.0)
            self.batch = None

    # ---- what is known

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock() - self.began

    @property
    def pages(self) -> float:
        """That are to be read, of all files; estimated as long as not all are open."""
        with self.lock:
            return float(np.maximum(self.ahead.expected() - self.done_before, 0).sum())

    @property
    def is_counted(self) -> bool:
        """Whether the pages of every file are known."""
        with self.lock:
            return not np.isnan(self.ahead.pages).any() and not (self.ahead.holds & ~self.ahead.over).any()

    def is_unknown(self, key: str) -> bool:
        """Whether nobody has looked into a file, which is still to be read."""
        with self.lock:
            i = self.ahead.place.get(key)
            return i is not None and not self.ahead.over[i] and not (self.ahead.read + self.ahead.looked)[i].any()

    @property
    def knows_ocr(self) -> bool:
        """Whether the run has come to a page that OCR reads."""
        return any(mine.loaded for mine in self.lanes)

    def ocr_seconds(self) -> float:
        """A guess at the seconds of a core that OCR takes for a page."""
        return OCR.get(self.costs.engine, 0.0) * GUESSED.reading

    def ahead_of_ocr(self) -> float:
        """The seconds that OCR will take for pages that are not read yet."""
        with self.lock:
            return float((self._page_seconds() * self.ahead.left())[:, BLIND].sum())

    def at_worst(self) -> float:
        """The seconds that OCR would take if it had to read all pages of the files that nobody has looked into."""
        if self.ocr == "never":
            return 0.0
        with self.lock:
            ahead = self.ahead
            unknown = ~ahead.over & ~(ahead.read + ahead.looked).any(axis=1)
            return float((ahead.expected() * self._page_seconds()[:, BLIND])[unknown].sum())

    # ---- the end

    def left(self) -> float:
        """Seconds until the end."""
        with self.lock:
            now = self.clock()
            if self.ahead.over.all() and self.batch is None and self.waiting < 1:
                return 0.0
            if now - self.told >= max(_SECONDS, self.effort / _EFFORT):
                self.figure = self._left(now)
                self.told = now
                self.effort = self.clock() - now
            return max(0.0, self.figure - (now - self.told))

    def _left(self, now: float) -> float:
        ahead, unit = self.ahead, self.costs.encode()
        left, page_seconds = ahead.left(), self._page_seconds()
        waiting = self.waiting_work * unit
        if self.batch is not None:
            waiting += max(0.0, self.batch.work * unit - (now - self.batch.since))
        pages = left.sum(axis=1)
        here = np.flatnonzero(~ahead.over)
        count = min(PARTS, len(here))
        part = np.arange(len(here)) * count // max(1, len(here))
        reading = np.zeros((count, len(self.lanes)))
        np.add.at(reading, (part, here % len(self.lanes)), ((left * page_seconds).sum(axis=1) + self._opening())[here])
        return finish(
            reading,
            _sums(part, (pages * ahead.encoding.each(ahead.cell, ahead.cells) * unit)[here], count),
            _sums(part, pages[here], count),
            room=self.room / max(1.0, self.sizes.value(100_000)),
            lanes=[self._free(lane, left, page_seconds, now) for lane in self.lanes],
            waiting=waiting,
            waiting_pages=self.waiting,
            alone=self.costs.share.value(1.0),
        )

    def _page_seconds(self) -> np.ndarray:
        """(n, 3) the seconds that a page of each file and class takes to be read: as in its file, else in its kind."""
        ahead, costs = self.ahead, self.costs
        chance = 0.0 if self.ocr == "never" else costs.chance.value(CHANCE)
        of_kind = np.array([[costs.unit(kind, one) for one in range(CLASSES)] for kind, _ in ahead.kinds])
        guess = of_kind.reshape(-1, CLASSES)[ahead.kind]
        units, done = np.ones_like(guess), ahead.read.copy()
        units[:, BLIND], done[:, BLIND] = ahead.blind.each(ahead.cell, ahead.cells), ahead.blind.sums[READ]
        spent = ahead.spent * [costs.lasts(one) for one in range(CLASSES)]
        seconds = units * (spent + units * guess) / (done + units)
        seconds[:, DOUBTFUL] = chance * seconds[:, BLIND] + (1 - chance) * seconds[:, DOUBTFUL]
        return np.asarray(seconds)

    def _opening(self) -> np.ndarray:
        """(n,) the seconds that the files which are not open will take beside their pages."""
        ahead = self.ahead
        opening = np.array([self.costs.file(*kind) for kind in ahead.kinds])[ahead.kind] * ~ahead.over
        opening[[ahead.place[mine.key] for mine in self.lanes if mine.key in ahead.place and mine.beside]] = 0
        return opening

    def _free(self, mine: _Lane, left: np.ndarray, page_seconds: np.ndarray, now: float) -> float:
        """When a lane begins with what is ahead: below 0 by what it has done of that, above where that takes long."""
        i = self.ahead.place.get(mine.key)
        if mine.since is None or i is None or self.ahead.over[i]:
            return 0.0
        file, pages = self.ahead.files[i], left[i].sum()
        if np.isnan(self.ahead.pages[i]) or (file.converts and not mine.beside):
            usual = self.costs.file(file.kind, file.converts)
        else:
            usual = float(left[i] @ page_seconds[i] / pages) if pages else 0.0
        gone = now - mine.since
        return max(-gone, LASTING * gone - usual)
