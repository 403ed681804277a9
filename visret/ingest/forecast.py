"""The time that a run will still take, from what it has taken so far and from what is known of the files ahead.

Reading and encoding happen at the same time, so their seconds are not added: the rest of the run is simulated
(`finish`).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visret.ingest.ahead import READ, Ahead, sums_of
from visret.ingest.costs import BLIND, CLASSES, DOUBTFUL, ENCODING, GUESSED, OCR, Costs, File, Look, Mean

CHANCE = 0.3  # the probability that a doubtful page is read by OCR
LASTING = 0.3  # what takes longer than usual will take this share of the time so far again
CROWDED = 0.8  # share of busy cores from which reading and encoding slow each other
PACE_SECONDS = 120.0  # by which a run on other machines is judged
PARTS = 256  # into which the rest of a run is divided for the simulation
_SECONDS = 0.25  # for which a figure stays valid
_EFFORT = 0.02  # the share of the time that computing figures may take


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
    """Return the seconds until everything is encoded.

    reading: (m, lanes) seconds that each lane reads for each part of the work. encoding, pages: (m,) of the parts; they
    are encoded one after the other, while the next ones are read, at most `room` pages ahead. lanes: when each begins;
    below 0 for work it has begun already. waiting: seconds of encoding what is read already, of `waiting_pages`.
    alone: the share of these seconds that encoding takes once reading is over and all cores are free for it.
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
    """Return when so many pages are encoded, between two such moments; -inf for none."""
    if pages <= 0:
        return -math.inf
    share = (pages - one[0]) / (other[0] - one[0]) if other[0] > one[0] else 1.0
    return one[1] + min(1.0, max(0.0, share)) * (other[1] - one[1])


@dataclass(slots=True)
class _Lane:
    """A lane that reads. key: its file. since: when it began this page, or to open the file; None while it waits."""

    key: str = ""
    since: float | None = None
    loaded: bool = False  # whether it has used OCR
    beside: float = 0.0  # seconds of the present file beside its pages


@dataclass(frozen=True, slots=True)
class _Batch:
    """Pages being encoded, since when, and the seconds of cores that this process and reading had used until then."""

    work: float
    since: float
    used: float
    core_seconds: float


class _Run:
    """The state of the files of a run, and its time so far. files, ocr: as in `Forecast`."""

    def __init__(self, files: Sequence[File], ocr: str, clock: Callable[[], float]) -> None:
        self.ahead = Ahead(files, ocr=ocr)
        self.done_before = self.ahead.done.copy()
        self.clock = clock
        self.began = clock()
        self.lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """The seconds that the run has taken so far."""
        return self.clock() - self.began

    @property
    def pages(self) -> float:
        """The number of pages that are to be read in all files; an estimate until all files are open."""
        with self.lock:
            return float(np.maximum(self.ahead.expected() - self.done_before, 0).sum())

    @property
    def is_counted(self) -> bool:
        """True if the number of pages of every file is known."""
        with self.lock:
            return not np.isnan(self.ahead.pages).any() and not (self.ahead.holds & ~self.ahead.over).any()


class Forecast(_Run):
    """The seconds and pages that are left of a run. Any thread may report events to it, as they happen.

    files: in the order in which they are encoded; lane i of n reads every n-th from the i-th on. ocr: "auto", "never"
    or "always". engine: that of the OCR. encoding: a guess at the seconds for a page. room: bytes that are read ahead.
    cores: those of this machine.
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
        super().__init__(files, ocr, clock)
        self.costs = Costs(engine, encoding)
        self.lanes = [_Lane() for _ in range(max(1, lanes))]
        self.ocr = ocr
        self.room = room
        self.cores = cores
        self.core_seconds = 0.0  # that all reading has taken
        self.sizes = Mean(400, 4)  # of pages in memory
        self.waiting = self.waiting_work = 0.0  # pages that are read and not encoded, and the work of encoding them
        self.batch: _Batch | None = None  # the batch that is being encoded
        self.figure = self.effort = 0.0
        self.told = -math.inf

    # ---- what happens

    def begins(self, lane: int, key: str) -> None:
        """Note that a lane starts to read the next page of a file, or to open it."""
        with self.lock:
            mine = self.lanes[lane]
            mine.key, mine.since = key, self.clock()

    def opened(self, key: str, pages: int, *, inside: bool = False) -> None:
        """Note how many pages a file has or, if they belong to a document inside it, how many more."""
        with self.lock:
            i = self.ahead.place.get(key)
            if i is not None:
                before = float(np.nan_to_num(self.ahead.pages[i]))
                self.ahead.pages[i] = before + pages if inside else max(before, pages)

    def came(
        self, lane: int, look: Look | None, *, number: int = 0, size: int | None = None, core_seconds: float = 0.0
    ) -> None:
        """Note what a lane was reading: a page, or, if None, something else that a file takes time for.

        number, size: of the page, the size in memory; one without a size is not encoded. core_seconds: of reading it.
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
        """Note that nothing more comes of a file."""
        with self.lock:
            mine, i = self.lanes[lane], self.ahead.place.get(key)
            if i is not None and not self.ahead.over[i]:
                file = self.ahead.files[i]
                self.ahead.over[i] = True
                self.ahead.pages[i] = self.ahead.done[i]
                self.costs.opened(file.kind, file.converts, mine.beside)
            mine.beside, mine.since = 0.0, None

    def looked(self, key: str, pages: int, looks: Mapping[int, Look]) -> None:
        """Note what a look into a file showed: how many pages it has, and some of them, by number."""
        with self.lock:
            i = self.ahead.place.get(key)
            if i is None or self.ahead.over[i]:
                return
            self.ahead.pages[i] = pages
            if not self.ahead.read[i].any():  # else its own pages say more by now
                for number, look in looks.items():
                    self.ahead.add_look(i, number, look)

    def tried(self, look: Look, core_seconds: float, *, loaded: bool) -> None:
        """Note that a page was read by OCR, to see how long that takes."""
        with self.lock:
            taken = core_seconds if loaded else self.costs.without_loading(core_seconds)
            self.costs.reading[BLIND].add(taken, look.reading)

    def encoding(self, looks: Sequence[Look]) -> None:
        """Note that a batch of these pages is being encoded."""
        work = sum(look.encoding for look in looks)
        with self.lock:
            self.batch = _Batch(work, self.clock(), time.process_time(), self.core_seconds)
            self.waiting -= len(looks)
            self.waiting_work -= work

    def encoded(self) -> None:
        """Note that the batch is encoded."""
        with self.lock:
            if self.batch is not None and self.batch.work:
                seconds = self.clock() - self.batch.since
                mine, others = time.process_time() - self.batch.used, self.core_seconds - self.batch.core_seconds
                crowded = mine + others > CROWDED * self.cores * seconds
                self.costs.encoded(self.batch.work, seconds, mine / (mine + others) if crowded else 1.0)
            self.batch = None

    # ---- what is known

    def is_unknown(self, key: str) -> bool:
        """Return whether a file is still to be read and nobody has looked into it."""
        with self.lock:
            i = self.ahead.place.get(key)
            return i is not None and not self.ahead.over[i] and not (self.ahead.read + self.ahead.looked)[i].any()

    @property
    def knows_ocr(self) -> bool:
        """True if the run has reached a page that OCR reads."""
        return any(mine.loaded for mine in self.lanes)

    def ocr_seconds(self) -> float:
        """Guess the seconds of a core that OCR takes for a page."""
        return OCR.get(self.costs.engine, 0.0) * GUESSED.reading

    def ahead_of_ocr(self) -> float:
        """Return the seconds that OCR will take for pages that are not read yet."""
        with self.lock:
            return float((self._page_seconds() * self.ahead.left())[:, BLIND].sum())

    def at_worst(self) -> float:
        """Return the seconds that OCR would take for all pages of the files that nobody has looked into."""
        if self.ocr == "never":
            return 0.0
        with self.lock:
            ahead = self.ahead
            unknown = ~ahead.over & ~(ahead.read + ahead.looked).any(axis=1)
            return float((ahead.expected() * self._page_seconds()[:, BLIND])[unknown].sum())

    # ---- the end

    def left(self) -> float:
        """Return the seconds until the end."""
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
            sums_of(part, (pages * ahead.encoding.each(ahead.cell, ahead.cells) * unit)[here], count),
            sums_of(part, pages[here], count),
            room=self.room / max(1.0, self.sizes.value(100_000)),
            lanes=[self._free(lane, left, page_seconds, now) for lane in self.lanes],
            waiting=waiting,
            waiting_pages=self.waiting,
            alone=self.costs.share.value(1.0),
        )

    def _page_seconds(self) -> np.ndarray:
        """Return (n, 3) the seconds to read a page of each file and class, as measured in its file, else its kind."""
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
        """Return (n,) the seconds that files which are not open will take beside their pages."""
        ahead = self.ahead
        opening = np.array([self.costs.file(*kind) for kind in ahead.kinds])[ahead.kind] * ~ahead.over
        opening[[ahead.place[mine.key] for mine in self.lanes if mine.key in ahead.place and mine.beside]] = 0
        return opening

    def _free(self, mine: _Lane, left: np.ndarray, page_seconds: np.ndarray, now: float) -> float:
        """Return when a lane begins its next work: below 0 by the time spent on it so far, above 0 if it takes long."""
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


class Pace(_Run):
    """The seconds and pages that are left of a run on other machines: it goes on at its pace of the last minutes.

    files: in their order. ocr: "auto", "never" or "always".
    """

    def __init__(self, files: Sequence[File], *, ocr: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(files, ocr, clock)
        self.came: deque[tuple[float, int]] = deque()  # when pages came, and how many

    def opened(self, i: int, pages: int) -> None:
        """Note how many pages a file has, with those of the documents inside it that are known."""
        with self.lock:
            self.ahead.pages[i] = max(float(np.nan_to_num(self.ahead.pages[i])), pages)

    def encoded(self, i: int, pages: int, *, is_over: bool) -> None:
        """Note that pages of a file have been read and encoded, and whether that is all of it."""
        with self.lock:
            self.ahead.done[i] += pages
            if is_over:
                self.ahead.over[i] = True
                self.ahead.pages[i] = self.ahead.done[i]
            now = self.clock()
            self.came.append((now, pages))
            while self.came[0][0] < now - PACE_SECONDS:
                self.came.popleft()

    def left(self) -> float | None:
        """Return the seconds until the end; None before the first pages have come."""
        with self.lock:
            if self.ahead.over.all():
                return 0.0
            pages = sum(count for _, count in self.came)
            if not pages:
                return None
            since = max(self.began, self.clock() - PACE_SECONDS)
            return float(self.ahead.left().sum()) / pages * (self.clock() - since)
