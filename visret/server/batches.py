"""The one road of every question in the server, from the page in the browser, over HTTP and over MCP.

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
from visret.search.pipeline import Pipeline
from visret.types import Hit, Question, Ranked, Ranking

MIN_DEPTH = 16  # pages that are ranked for a question
TOGETHER = 8  # more only make the first of them wait: most of a question's time is its own
THREADS = 2  # while one encodes, another scans


@dataclass(frozen=True)
class Asked:
    """What `Retriever.search` takes. boxes: whether the hits come with the places where they answer."""

    text: str
    k: int = 10
    where: Mapping[str, Any] | None = None
    exact: bool = False
    boxes: bool = True

    @property
    def depth(self) -> int:
        """How many pages are ranked: k rounded up to 16, 32, 64 ..., so that those for 5, 10 and 12 go together.

        It is made of k alone, so that a question finds the same whoever else asks at the time.
        """
        return max(MIN_DEPTH, 1 << (self.k - 1).bit_length())

    @property
    def kind(self) -> str:
        """Questions of one kind can be answered by one scan."""
        return json.dumps([self.depth, self.where, self.exact], sort_keys=True)


class Shown(NamedTuple):
    """A hit as the server shows it. boxes: where it answers, best first; none where nobody asked for them."""

    hit: Hit
    boxes: Sequence[Region]


Hits = Ranked[Shown]
_Waiting = tuple[Asked, Future[Hits]]


class Batches:
    """Answers questions from several threads, those that wait together."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._waiting: list[_Waiting] = []
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, "visret-search")

    def ask(self, asked: Asked) -> Future[Hits]:
        """The hits, later; with the error that `Retriever.search` raises for this question, and no other's."""
        if self._process != os.getpid():  # forked: the threads are the parent's, and so is what waits
            self._begin()
        answer: Future[Hits] = Future()
        with self._guard:
            self._waiting.append((asked, answer))
        self._threads.submit(self._work)  # finds nothing where another thread has taken it along
        return answer

    def close(self) -> None:
        """Answer what waits, and end."""
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
            ranked = pipeline.rank(texts, first.depth, where=first.where, exact=first.exact)
            for (asked, answer), (question, ranking) in zip(group, ranked, strict=True):
                answer.set_result(_shown(pipeline, asked, question, ranking.first(asked.k)))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            left = [one for one in group if not one[1].done()]
            if len(group) == 1:
                left[0][1].set_exception(error)
                return
            for one in left:  # who asked what cannot be answered?
                self._answer([one])


def _shown(pipeline: Pipeline, asked: Asked, question: Question, ranking: Ranking) -> Hits:
    warnings = pipeline.query(question).warnings
    if not asked.boxes:
        return Ranked((Shown(hit, ()) for hit in pipeline.hits(question, ranking)), warnings)
    return Ranked((Shown(hit, why.boxes) for hit, why in pipeline.explained(question, ranking)), warnings)
