"""The single path of all questions in the server, whether from the page in the browser, over HTTP or over MCP.

Questions that arrive while others are answered wait, and go through the index together.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from visret.explain.attribution import Region
from visret.retriever import Retriever, pipeline_of
from visret.search.part import Part
from visret.search.pipeline import Pipeline
from visret.types import Hit, Question, Ranked, Ranking

MIN_DEPTH = 16  # pages that are ranked for a question
TOGETHER = 8  # questions; more would make the first wait for little, since most of a question's time is its own
THREADS = 2  # one encodes while the other scans


@dataclass(frozen=True)
class Asked:
    """A question with the arguments of `Retriever.search`. boxes: whether hits come with the places that answer."""

    text: str
    k: int = 10
    where: Mapping[str, Any] | None = None
    exact: bool = False
    by: str | None = None
    boxes: bool = True
    offset: int = 0
    group_by: str | None = None
    neighbours: int = 0
    weak: bool = True

    @property
    def part(self) -> Part:
        """The part of the ranking that is wanted."""
        return Part(self.k, self.offset, self.group_by, self.neighbours, self.weak)

    @property
    def depth(self) -> int:
        """The number of pages that are ranked: k + offset, rounded up to 16, 32, 64 ...

        So k = 5, 10 and 12 go together. It depends on these alone, so that a question finds the same pages whoever
        else asks at the time.
        """
        return max(MIN_DEPTH, 1 << (self.part.depth - 1).bit_length())

    @property
    def kind(self) -> str:
        """The kind of the question: one scan can answer all questions of one kind."""
        return json.dumps([self.depth, self.where, self.exact, self.by, self.group_by], sort_keys=True)


class Shown(NamedTuple):
    """A hit as the server shows it. boxes: the places that answer, best first; none if nobody asked for them."""

    hit: Hit
    boxes: Sequence[Region]


Hits = Ranked[Shown]
_Waiting = tuple[Asked, Future[Hits]]


class Batches:
    """A queue that answers questions from several threads; those that wait are answered together."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._waiting: list[_Waiting] = []
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, "visret-search")

    def ask(self, asked: Asked) -> Future[Hits]:
        """Return the future hits, which raise what `Retriever.search` raises for this question alone."""
        if self._process != os.getpid():  # forked: the threads and what waits are the parent's
            self._begin()
        answer: Future[Hits] = Future()
        with self._guard:
            self._waiting.append((asked, answer))
        self._threads.submit(self._work)  # finds nothing if another thread has taken the question
        return answer

    def close(self) -> None:
        """Answer what waits, and stop the threads."""
        self._threads.shutdown()

    def _work(self) -> None:
        with self._guard:
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        asked = sorted((one for one in batch if one[1].set_running_or_notify_cancel()), key=lambda one: one[0].kind)
        for _, group in groupby(asked, key=lambda one: one[0].kind):
            self._answer(list(group))

    def _answer(self, group: list[_Waiting]) -> None:
        first = group[0][0]
        try:
            self._retriever.refresh()
            pipeline = pipeline_of(self._retriever)
            texts = [asked.text for asked, _ in group]
            documents = first.depth if first.part.documents else 0
            ranked = pipeline.rank(
                texts, first.depth, where=first.where, exact=first.exact, by=first.by, documents=documents
            )
            for (asked, answer), (question, ranking) in zip(group, ranked, strict=True):
                answer.set_result(_shown(pipeline, asked, question, ranking))
        except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
            left = [one for one in group if not one[1].done()]
            if len(group) == 1:
                left[0][1].set_exception(error)
                return
            for one in left:  # one by one, to find the question that cannot be answered
                self._answer([one])


def _shown(pipeline: Pipeline, asked: Asked, question: Question, ranking: Ranking) -> Hits:
    warnings = question.warnings
    if not asked.boxes:
        return Ranked((Shown(hit, ()) for hit in asked.part.hits(pipeline, question, ranking, asked.where)), warnings)
    explained = asked.part.explained(pipeline, question, ranking, asked.where)
    return Ranked((Shown(hit, why.boxes) for hit, why in explained), warnings)
