"""A look ahead into files that a long run has not reached yet, in a worker of its own, to foretell the run's end.

The scout opens PDFs, counts their pages, and looks at the words of some, which tells whether OCR will read them. If OCR
will take much of the run and has not read any page yet, the scout has a few pages read, which are cached, so that they
are not read again. It spends a small share of the run's time, in CPU seconds, and nothing if the run is over soon.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, zip_longest

from visret.errors import VisretError
from visret.ingest import messages, process
from visret.ingest.costs import BLIND, File, Look
from visret.ingest.forecast import Forecast
from visret.ingest.options import PAGE_SECONDS, ReadOptions
from visret.types import Page

_log = logging.getLogger(__name__)

DELAY = 0.5  # seconds, after which a short run is over
SHORT = 20.0  # seconds; a run that is over by then is not worth the start of a process
LONG = 60.0  # seconds; if OCR could take so long, for all that is known,
PATIENCE, ANYWAY = 2.0, 0.7  # then, after so many seconds, so many CPU seconds are spent to know more
SHARE = 0.025  # of the run's time
AT_FIRST = 0.2  # of the time so far, beside
AT_ONCE = 1.0  # CPU seconds
STARTING = 0.5  # CPU seconds that a worker takes
LOOKS = 12  # pages of one file that are looked at, and twice as many more if they differ
FILE_SECONDS = 5.0  # for opening a file, and for a page
MAX_CRASHES = 3
TRIES = 3  # pages that OCR reads, if the run has not had it read any
MUCH_OCR = 30.0  # seconds of OCR that make a try worthwhile


class Scout(threading.Thread):
    """A scout that looks ahead for one run. Use it as a context: it ends with the block, and its worker with it."""

    def __init__(self, files: Sequence[File], options: ReadOptions, forecast: Forecast) -> None:
        super().__init__(name="visret-scout", daemon=True)
        self.files = [file for file in files if file.pages is None and _may_be_opened(file)]
        self.options = options
        self.forecast = forecast
        self.workers = process.Workers(quiet=True)  # the run will log it
        self.crashes = self.tries = 0
        self.looking = True  # whether there are files left to look into
        self.loaded = False  # whether the worker has used OCR
        self.over = threading.Event()
        self.started_at = time.monotonic()
        self.blind: list[tuple[str, int, Look]] = []  # pages that OCR will read, one of each file

    def __enter__(self) -> Scout:
        if len(self.files) > 1:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.workers.stop()
        if self.ident is not None:
            self.join()

    def run(self) -> None:
        """Look into all files, as far as the time allows."""
        try:
            self.over.wait(DELAY)
            for file in self._in_order():
                self._pause()
                if self.over.is_set() or self.crashes == MAX_CRASHES:
                    return
                self._look(file)
                self._try_ocr()
            self._end_worker()
            self.looking = False
            while self.blind and not self._knows_ocr and not self.over.wait(1):
                self._try_ocr()
        except VisretError as error:
            _log.warning("the time that is left is estimated without a look ahead: %s", error)
        finally:
            self._end_worker()

    def _in_order(self) -> Iterator[File]:
        """Return all files: by turns the largest one left and any other."""
        largest = sorted(self.files, key=lambda file: -file.size)
        any_ = random.Random(0).sample(self.files, len(self.files))
        pairs = zip_longest(largest, any_)
        return iter(dict.fromkeys(file for file in chain.from_iterable(pairs) if file is not None))

    def _pause(self) -> None:
        """Wait until time may be spent."""
        while not self.over.is_set() and not self._may_spend(0 if self.workers.cpu_seconds else STARTING):
            self.over.wait(0.5)

    def _may_spend(self, seconds: float) -> bool:
        elapsed = time.monotonic() - self.started_at
        run = elapsed + self.forecast.left()
        share = SHARE * run if run > SHORT else 0.0
        if share < ANYWAY and elapsed > PATIENCE and self.forecast.at_worst() > LONG:
            share = ANYWAY
        return self.workers.cpu_seconds + seconds < min(share, AT_ONCE + AT_FIRST * elapsed)

    def _look(self, file: File) -> None:
        if not self.forecast.is_unknown(file.key):
            return
        answers = self._read(file.key, looks=LOOKS)
        if answers:
            self._found(file, answers)

    def _found(self, file: File, answers: Sequence[messages.WorkerAnswer | messages.Inside]) -> None:
        pages, looks = 0, dict[int, Look]()
        for answer in answers:
            match answer:
                case messages.Opened(pages=pages):
                    pass
                case messages.Looked(page=page, look=look):
                    looks[page] = look
                case messages.Unread(page=None):  # the run will say why
                    pages = 0
        if self.options.max_pages is not None and pages > self.options.max_pages:
            pages, looks = 0, {}
        self.forecast.looked(file.key, pages, looks)
        blind = [page for page, look in looks.items() if look.page_class == BLIND and look.is_drawn]
        if blind:
            self.blind.append((file.key, blind[0], looks[blind[0]]))

    @property
    def _knows_ocr(self) -> bool:
        return self.tries == TRIES or self.forecast.knows_ocr or self.crashes == MAX_CRASHES

    def _try_ocr(self) -> None:
        """Have OCR read a page, if it will take much of the run and the time it takes for a page is unknown."""
        if not self.blind or self._knows_ocr:
            return
        ocr, left = self.forecast.ahead_of_ocr(), self.forecast.left()
        if ocr < max(MUCH_OCR, left / 4) or not self._may_spend(2 * self.forecast.ocr_seconds()):
            return
        key, page, look = self.blind.pop(random.Random(self.tries).randrange(len(self.blind)))
        before = self.workers.cpu_seconds
        answers = self._read(key, only=(page,), page_seconds=PAGE_SECONDS)
        if any(isinstance(answer, Page) for answer in answers):
            self.forecast.tried(look, self.workers.cpu_seconds - before, loaded=self.loaded)
            self.tries += 1
            self.loaded = True
        if self._knows_ocr:
            self._end_worker()  # OCR takes much memory

    def _read(
        self, path: str, *, looks: int = 0, only: tuple[int, ...] | None = None, page_seconds: float = FILE_SECONDS
    ) -> list[messages.WorkerAnswer | messages.Inside]:
        """Return what comes of a file; nothing if it ends the worker."""
        options = replace(self.options, page_seconds=page_seconds)
        request = messages.Request(path, options, looks=looks, only=only, opening_seconds=FILE_SECONDS)
        try:
            return list(self.workers.read(request, doc=request.path))
        except process.Died:  # it will end the run's worker too, which is reported
            self.crashes += 1
            self._end_worker()
            return []

    def _end_worker(self) -> None:
        self.workers.close()
        self.loaded = False


def _may_be_opened(file: File) -> bool:
    """Return whether a look at a file costs little and tells its number of pages, or how much OCR has to do."""
    return file.is_here and file.kind in ("pdf", "picture")
