"""How far a run of `add` is: what it tells whoever asked for it, and what the forecast of its end is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from visret import _render, ocr
from visret._forecast import BLIND, DOUBTFUL, ENCODING, WORDS, File, Forecast, Look
from visret._scout import Scout
from visret.ocr import trust
from visret.types import ModelSpec, Page

SILENT = 1.5  # seconds, in which too little is known
EVERY = 1.0  # seconds, in which something is told while nothing comes
MILLION_PARAMETERS = 0.002  # seconds a page, before anything was encoded


class _HasAnswer(Protocol):
    @property
    def answer(self) -> object: ...


INCH = 72  # points

_T = TypeVar("_T", bound=_HasAnswer)


@dataclass(slots=True)
class Progress:
    """How far `add` is; handed to the `progress` callable, which may keep it: it is always up to date.

    documents, pages, bytes: what is done, of so many in all; bytes are sizes of files. failed: pages and files that
    could not be read.
    """

    documents: int = 0
    documents_total: int = 0
    pages: int = 0
    failed: int = 0
    bytes: int = 0
    bytes_total: int = 0
    started: float = field(default_factory=time.monotonic)
    forecast: Forecast | None = field(default=None, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Estimated by the pages that are ahead and what their like has taken; None in the first two seconds."""
        if self.forecast is None:
            return None
        left = self.forecast.left()
        return None if left and self.forecast.seconds < SILENT else left

    @property
    def pages_total(self) -> int | None:
        """That are to be read, those included that turn out empty: an estimate until all files have been opened, see
        `pages_are_counted`. None before the files are known."""
        return None if self.forecast is None else round(self.forecast.pages)

    @property
    def pages_are_counted(self) -> bool:
        """Whether `pages_total` is no estimate."""
        return self.forecast is not None and self.forecast.is_counted


class Watch:
    """Sees what a run does. Its context is the length of the reading.

    tell: is called in the thread that calls `tick` and `tell_now`, and in no other.
    """

    def __init__(
        self,
        progress: Progress,
        tell: Callable[[Progress], None],
        files: Sequence[File],
        *,
        lanes: int,
        common: _render.Request,
        spec: ModelSpec,
        room: float,
    ) -> None:
        self.progress = progress
        self.tell = tell
        self.ocr = common.ocr
        self.pictures = spec.modality == "image"
        self.forecast = Forecast(
            files,
            lanes=lanes,
            ocr=common.ocr,
            engine="" if common.ocr == "never" else ocr.engine(),
            encoding=max(0.01, spec.parameters * MILLION_PARAMETERS) if spec.parameters else ENCODING,
            room=room,
        )
        self.scout = Scout(files, common, self.forecast)
        self.told = 0.0
        self.stack = ExitStack()

    def __enter__(self) -> Watch:
        self.progress.forecast = self.forecast
        self.tell_now()
        self.stack.enter_context(self.scout)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def tell_now(self) -> None:
        """Tell how far it is."""
        self.told = time.monotonic()
        self.tell(self.progress)

    def tick(self) -> None:
        """While nothing comes: tell it again where the last time is long ago."""
        if time.monotonic() - self.told >= EVERY:
            self.tell_now()

    def reading(self, lane: int, key: str, answers: Iterable[_T], cores: Callable[[], float]) -> Iterator[_T]:
        """What a lane reads of a file, timed. Each has the `answer` of the worker. cores: the seconds of cores that it
        has used; from 0 on again where another one takes its place."""
        found, before = iter(answers), cores()
        while True:
            self.forecast.begins(lane, key)
            answer = next(found, None)
            if answer is None:
                self.forecast.ended(lane, key)
                return
            now = cores()
            self._came(lane, answer.answer, now - before if now >= before else now)
            before = now
            yield answer

    def _came(self, lane: int, answer: object, cores: float) -> None:
        if isinstance(answer, Page):
            size = _render.size_in_memory(answer)
            self.forecast.came(lane, self._look(answer), number=answer.ref.page, size=size, core_seconds=cores)
        elif isinstance(answer, _render.Unread) and answer.page is not None:
            self.forecast.came(lane, Look(WORDS, 0), number=answer.page, core_seconds=cores)
        else:
            self.forecast.came(lane, None)

    def _look(self, page: Page) -> Look:
        """As what a page was read."""
        words = 0.0 if self.pictures else len(page.words or ()) or len(page.plain or "") / 6
        if self.ocr == "never" or page.size_pt is None:
            return Look(WORDS, words)
        if ocr.METADATA in page.metadata or not words:  # of which OCR may have found none
            return Look(BLIND, words, page.size_pt[0] * page.size_pt[1] / INCH**2 / 100)
        return Look(DOUBTFUL if words < trust.FEW else WORDS, words)

    @contextmanager
    def encoding(self, pages: Sequence[Page]) -> Iterator[None]:
        """A batch, with the pages that cannot be encoded."""
        self.forecast.encoding([self._look(page) for page in pages])
        yield
        self.forecast.encoded()
