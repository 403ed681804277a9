"""The single path of all questions in the server, whether from the page in the browser, over HTTP or over MCP.

Questions that arrive while others are answered wait, and go through the index together.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from visret.choices import DEPTH
from visret.errors import IndexFormatError, PageIndexError
from visret.explain.attribution import Region
from visret.retriever import Retriever, pipeline_of, read_again
from visret.search import plans
from visret.search.part import Part
from visret.search.pipeline import Pipeline
from visret.search.rerank import Rerankers, Reranking, reranked
from visret.search.rerank import asked as asked_again
from visret.types import Hit, Question, Ranked, Ranking

MIN_DEPTH = 16  # pages that are ranked for a question
TOGETHER = 8  # questions; more would make the first wait for little, since most of a question's time is its own
THREADS = 2  # one encodes while the other scans

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A question with the arguments of `Retriever.search`.

    by: a name, or the fields of a Plan. boxes: whether hits come with the places that answer. marks: whether these come
    with the marked words of their passage too.
    """

    text: str
    k: int = 10
    where: Mapping[str, Any] | None = None
    exact: bool = False
    by: str | Mapping[str, Any] | None = None
    boxes: bool = True
    offset: int = 0
    group_by: str | None = None
    neighbours: int = 0
    weak: bool = True
    min_score: float | None = None
    rerank: str | None = None
    depth: int = DEPTH
    seconds: float | None = None
    marks: bool = False

    @property
    def part(self) -> Part:
        """The part of the ranking that is wanted."""
        return Part(self.k, self.offset, self.group_by, self.neighbours, self.weak, self.min_score)

    @property
    def ranked(self) -> int:
        """The number of pages that are ranked: k + offset, or `depth`, rounded up to 16, 32, 64 ...

        So k = 5, 10 and 12 go together. It depends on these alone, so that a question finds the same pages whoever
        else asks at the time.
        """
        depth = self.part.depth if self.rerank is None else max(self.part.depth, self.depth)
        return max(MIN_DEPTH, 1 << (depth - 1).bit_length())

    @property
    def kind(self) -> str:
        """The kind of the question: one scan can answer all questions of one kind."""
        return json.dumps([self.ranked, self.where, self.exact, self.by, self.group_by], sort_keys=True)


class Shown(NamedTuple):
    """A hit as the server shows it.

    boxes, about: those of its Explanation, best first; none if nobody asked for them. marked: the words of its passage
    that are marked, as `Explanation.marked_in_passage` says; None if nobody asked for them.
    """

    hit: Hit
    boxes: Sequence[Region] = ()
    about: str = ""
    marked: Sequence[tuple[int, int]] | None = None


Hits = Ranked[Shown]
_Waiting = tuple[Asked, Future[Hits], float]  # and when it was asked


class Batches:
    """A queue that answers questions from several threads; those that wait are answered together.

    rerankers: those that can be asked for; None has none. timed: is told the seconds that a question spent in a stage:
    wait, rank (shared by those that are answered together), explain or rerank.
    """

    def __init__(self, retriever: Retriever, rerankers: Rerankers | None = None) -> None:
        self._retriever = retriever
        self._rerankers = Rerankers({}) if rerankers is None else rerankers
        self.timed: Callable[[str, float], None] = lambda *_: None
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._waiting: list[_Waiting] = []
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, "visret-search")
        # Reading pages again takes seconds, and nobody who only searches waits for that.
        self._readers = ThreadPoolExecutor(1, "visret-rerank")

    def ask(self, asked: Asked) -> Future[Hits]:
        """Return the future hits, which raise what `Retriever.search` raises for this question alone."""
        if self._process != os.getpid():  # forked: the threads and what waits are the parent's
            self._begin()
        answer: Future[Hits] = Future()
        with self._guard:
            self._waiting.append((asked, answer, time.perf_counter()))
        self._threads.submit(self._work)  # finds nothing if another thread has taken the question
        return answer

    @property
    def waiting(self) -> int:
        """The number of questions that wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Answer what waits, and stop the threads."""
        self._threads.shutdown()
        self._readers.shutdown(cancel_futures=True)  # of those that wait, nobody waits for an answer any more

    def _work(self) -> None:
        with self._guard:
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        asked = sorted((one for one in batch if one[1].set_running_or_notify_cancel()), key=lambda one: one[0].kind)
        for _, group in groupby(asked, key=lambda one: one[0].kind):
            self._answer(list(group))

    def _answer(self, group: list[_Waiting]) -> None:
        first, start = group[0][0], time.perf_counter()
        try:
            refresh(self._retriever)
            pipeline = pipeline_of(self._retriever)
            texts = [asked.text for asked, *_ in group]
            documents = first.ranked if first.part.documents else 0
            ranked = pipeline.rank(
                texts, first.ranked, where=first.where, exact=first.exact, by=plans.of(first.by), documents=documents
            )
        except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
            if len(group) == 1:
                group[0][1].set_exception(error)
                return
            for one in group:  # one by one, to find the question that cannot be answered
                self._answer([one])
            return
        ranked_at = time.perf_counter()
        for (asked, answer, since), found in zip(group, ranked, strict=True):
            self.timed("wait", start - since)
            self.timed("rank", ranked_at - start)
            if asked.rerank is None:
                self._give("explain", answer, partial(_shown, pipeline, asked, *found))
            else:
                self._readers.submit(self._give, "rerank", answer, partial(self._again, pipeline, asked, found))

    def _give(self, stage: str, answer: Future[Hits], make: Callable[[], Hits]) -> None:
        start = time.perf_counter()
        try:
            hits = make()
        except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
            answer.set_exception(error)
            return
        self.timed(stage, time.perf_counter() - start)
        answer.set_result(hits)

    def _again(self, pipeline: Pipeline, asked: Asked, found: tuple[Question, Ranking]) -> Hits:
        """Answer a question by the reranker that it asks for."""
        again = asked_again(asked.rerank, asked.depth, asked.seconds, self._rerankers)
        assert again is not None
        (made,) = reranked(again, [found], pipeline.snapshot, partial(read_again, self._retriever))
        return _shown(pipeline, asked, *made, again)


def refresh(retriever: Retriever) -> None:
    """Go to the latest committed state. If that cannot be read now, stay with the one before, and log why.

    Raises IndexFormatError if the index is damaged.
    """
    try:
        retriever.refresh()
    except IndexFormatError:
        raise
    except PageIndexError as error:  # what was open stays whole, whatever has become of the folder
        _log.warning("questions are answered from what was read before: %s", error)


def _shown(
    pipeline: Pipeline, asked: Asked, question: Question, ranking: Ranking, again: Reranking | None = None
) -> Hits:
    part, judge = asked.part, None if again is None else again.judged
    if not asked.boxes:
        hits = part.hits(pipeline, question, ranking, asked.where, judge=judge)
        return Ranked(map(Shown, hits), question.warnings)
    explained = part.explained(pipeline, question, ranking, asked.where, judge=judge)
    return Ranked(
        (Shown(hit, why.boxes, why.about, why.marked_in_passage if asked.marks else None) for hit, why in explained),
        question.warnings,
    )
