"""The time it takes to read and encode pages and files: guesses at first, then what was measured.

Pages of three classes take very different times to read: those whose WORDS can be taken as they are, those that have
to be drawn because their words are DOUBTFUL, and those that are BLIND, which OCR reads a hundred times as slowly.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import NamedTuple

WORDS, DOUBTFUL, BLIND = range(3)
CLASSES = 3

# Before anything is measured: seconds on a core of a machine of 2024.
READING = {WORDS: 0.012, DOUBTFUL: 0.06}
OCR = {"rapidocr": 1.3, "glyph": 0.55}  # for a million pixels at 100 dpi
PER_WORD = 0.016  # of a million pixels, for each word
LOADING = {"rapidocr": 1.2, "glyph": 1.5}  # of an engine, once in each process that reads
SURPRISE = 4  # how many times the usual time a page is believed to take, at most
THREADS = 1.8  # cores that OCR uses
OPENING = 0.01
CONVERTING = 3.0
ENCODING = 0.04  # of a page of USUAL_WORDS
USUAL_WORDS = 300
PAGE_WORDS = 30  # words that encoding a page costs as much as, beside its own words

WORDS_PER_INCH = 2.8  # of lines of print


class Look(NamedTuple):
    """The facts that decide how long a page takes. words: of a blind page, those in its picture. megapixels: of it."""

    page_class: int
    words: float
    megapixels: float = 0.0

    @property
    def reading(self) -> float:
        """The work of reading the page, in units of its class."""
        return self.megapixels + PER_WORD * self.words if self.page_class == BLIND else 1.0

    @property
    def encoding(self) -> float:
        """The work of encoding the page, in words."""
        return PAGE_WORDS + self.words

    @property
    def is_drawn(self) -> bool:
        """True if its words are known."""
        return self.page_class != BLIND or self.megapixels > 0


GUESSED = Look(BLIND, 150, 0.9)


@dataclass(frozen=True, slots=True)
class File:
    """A file that will be read. kind: that of its reader. done: pages that need not be read. pages: None if unknown.

    is_here: whether it lies on this machine, so that it can be looked into.
    """

    key: str
    kind: str
    size: int
    done: int = 0
    converts: bool = False
    pages: int | None = None
    is_here: bool = True


class Mean:
    """The mean cost of a unit, mostly that of the last `memory` units measured; a guess counts as `trust` units."""

    def __init__(self, memory: float = 100.0, trust: float = 0.25) -> None:
        self.keep = 1 - 1 / memory
        self.trust = trust
        self.total = self.weight = 0.0

    def add(self, total: float, units: float = 1.0) -> None:
        """Note that so many units took `total` together."""
        kept = self.keep**units
        self.total = self.total * kept + total
        self.weight = self.weight * kept + units

    def value(self, guess: float) -> float:
        """Return the mean, which is `guess` before anything was measured."""
        return (self.total + self.trust * guess) / (self.weight + self.trust)


class Costs:
    """The time that things take, as learned so far. encoding: a guess at the seconds that a page takes.

    Reading is measured in seconds of a core, which other programs hardly change, and each of these is taken to last as
    long as the latest ones did.
    """

    def __init__(self, engine: str, encoding: float) -> None:
        self.engine = engine
        self.encoding_guess = encoding / (PAGE_WORDS + USUAL_WORDS)
        self.reading = [Mean(200), Mean(50), Mean(200, 4)]
        self.reading_kind: dict[tuple[str, int], Mean] = {}
        self.lasting = [Mean(20, 1) for _ in range(CLASSES)]  # seconds for each second of a core
        self.opening: dict[tuple[str, bool], Mean] = {}
        self.chance = Mean(trust=2)
        self.encoding = Mean(30_000, 100)
        self.share = Mean(30_000, 100)  # of the busy cores, those that encode; 1 where some are idle
        self.batches = 0

    def read(self, kind: str, look: Look, seconds: float, core_seconds: float, *, loaded: bool) -> float:
        """Note that a page was read; return the seconds of a core that were believed.

        loaded: whether OCR had been used in that process before; a page that waited for it says nothing about others.
        One page that takes very long, such as a drawing, does not mean that all will.
        """
        if look.page_class == BLIND and not loaded:
            return self.reading[BLIND].value(self._guess(BLIND)) * look.reading
        self.lasting[look.page_class].add(seconds, core_seconds)
        usual = self.reading[look.page_class].value(self._guess(look.page_class))
        core_seconds = min(core_seconds, SURPRISE * usual * look.reading)
        self.reading[look.page_class].add(core_seconds, look.reading)
        self.reading_kind.setdefault((kind, look.page_class), Mean(200, 4)).add(core_seconds, look.reading)
        return core_seconds

    def without_loading(self, core_seconds: float) -> float:
        """Return the time that the first page read by OCR in a process takes, less what happens only once."""
        return max(core_seconds - LOADING.get(self.engine, 0.0), core_seconds / 4)

    def unit(self, kind: str, page_class: int) -> float:
        """Return the seconds that a unit of reading takes."""
        value = self.reading[page_class].value(self._guess(page_class))
        if (mine := self.reading_kind.get((kind, page_class))) is not None:
            value = mine.value(value)
        return value * self.lasts(page_class)

    def _guess(self, page_class: int) -> float:
        return OCR.get(self.engine, READING[DOUBTFUL]) if page_class == BLIND else READING[page_class]

    def lasts(self, page_class: int) -> float:
        """Return the seconds that a second of a core lasts."""
        return self.lasting[page_class].value(1 / min(THREADS, os.cpu_count() or 1) if page_class == BLIND else 1.0)

    def opened(self, kind: str, converts: bool, seconds: float) -> None:
        """Note how long a file took beside its pages."""
        self.opening.setdefault((kind, converts), Mean(50)).add(seconds)

    def file(self, kind: str, converts: bool) -> float:
        """Return the seconds that a file takes beside its pages."""
        guess = CONVERTING if converts else OPENING
        mine = self.opening.get((kind, converts))
        return guess if mine is None else mine.value(guess)

    def encoded(self, work: float, seconds: float, share: float) -> None:
        """Note that a batch was encoded, with this share of the busy cores.

        The first one may have waited for things that happen once: it is half believed, and forgotten after the second.
        """
        self.batches += 1
        if self.batches == 1:
            seconds = math.sqrt(seconds * work * self.encoding_guess)
        elif self.batches == 2:
            self.encoding = Mean(30_000, 100)
        self.encoding.add(seconds, work)
        self.share.add(share * work, work)

    def encode(self) -> float:
        """Return the seconds that a unit of encoding takes."""
        return self.encoding.value(self.encoding_guess)
