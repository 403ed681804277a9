"""The progress of a run, told to the caller that asked for it and to the forecast of its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeVar

from visret import ocr
from visret.ingest import messages
from visret.ingest.costs import BLIND, DOUBTFUL, ENCODING, WORDS, File, Look
from visret.ingest.forecast import Forecast
from visret.ingest.options import ReadOptions
from visret.ingest.report import Progress
from visret.ingest.scout import Scout
from visret.ocr import trust
from visret.types import ModelSpec, Page

EVERY = 1.0  # seconds between two reports while nothing comes
INCH = 72  # points
MILLION_PARAMETERS = 0.002  # seconds a page, until something has been encoded


class _HasAnswer(Protocol):
    @property
    def answer(self) -> object: ...


_T = TypeVar("_T", bound=_HasAnswer)


class Teller:
    """The progress of a run, and whom it is told to: in the thread that calls `tick` and `now`, and in no other."""

    def __init__(self, progress: Progress, tell: Callable[[Progress], None]) -> None:
        self.progress = progress
        self.tell = tell
        self.told = 0.0

    def now(self) -> None:
        """Report the progress."""
        self.told = time.monotonic()
        self.tell(self.progress)

    def tick(self) -> None:
        """Report the progress, while nothing comes, if the last report was long ago."""
        if time.monotonic() - self.told >= EVERY:
            self.now()


class Watch:
    """A watch on a run that reads and encodes in this process. Its context lasts as long as the reading."""

    def __init__(
        self,
        teller: Teller,
        files: Sequence[File],
        *,
        lanes: int,
        options: ReadOptions,
        spec: ModelSpec,
        room: float,
    ) -> None:
        self.teller = teller
        self.ocr = options.ocr
        self.pictures = spec.modality == "image"
        self.forecast = Forecast(
            files,
            lanes=lanes,
            ocr=options.ocr,
            engine="" if options.ocr == "never" else ocr.engine(),
            encoding=max(0.01, spec.parameters * MILLION_PARAMETERS) if spec.parameters else ENCODING,
            room=room,
        )
        self.scout = Scout(files, options, self.forecast)
        self.stack = ExitStack()

    def __enter__(self) -> Watch:
        self.teller.progress.forecast = self.forecast
        self.teller.now()
        self.stack.enter_context(self.scout)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def reading(self, lane: int, key: str, answers: Iterable[_T], cores: Callable[[], float]) -> Iterator[_T]:
        """Yield what a lane reads of a file, and time it. Each item has the `answer` of the worker.

        cores: a function that returns the seconds of cores that reading has used.
        """
        found, before = iter(answers), cores()
        while True:
            self.forecast.begins(lane, key)
            answer = next(found, None)
            if answer is None:
                self.forecast.ended(lane, key)
                return
            now = cores()
            self._came(lane, answer.answer, now - before)
            before = now
            yield answer

    def _came(self, lane: int, answer: object, cores: float) -> None:
        if isinstance(answer, Page):
            size = messages.size_in_memory(answer)
            self.forecast.came(lane, self._look(answer), number=answer.ref.page, size=size, core_seconds=cores)
        elif isinstance(answer, messages.Unread) and answer.page is not None:
            self.forecast.came(lane, Look(WORDS, 0), number=answer.page, core_seconds=cores)
        else:
            self.forecast.came(lane, None)

    def _look(self, page: Page) -> Look:
        """Return a page that was read as a look at it."""
        words = 0.0 if self.pictures else len(page.words or ()) or len(page.plain or "") / 6
        if self.ocr == "never" or page.size_pt is None:
            return Look(WORDS, words)
        if ocr.METADATA in page.metadata or not words:  # OCR may have found no words
            return Look(BLIND, words, page.size_pt[0] * page.size_pt[1] / INCH**2 / 100)
        return Look(DOUBTFUL if words < trust.FEW else WORDS, words)

    @contextmanager
    def encoding(self, pages: Sequence[Page]) -> Iterator[None]:
        """Time the encoding of a batch, including those of its pages that cannot be encoded."""
        self.forecast.encoding([self._look(page) for page in pages])
        yield
        self.forecast.encoded()
