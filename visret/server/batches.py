"""Questions that arrive while others are answered wait, and go through the index together."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from visret.retriever import Retriever, as_json
from visret.types import Ranked

TOGETHER = 8  # more only make the first of them wait: most of a question's time is its own
THREADS = 2  # while one encodes, another scans


@dataclass(frozen=True)
class Question:
    """What `Retriever.search` takes."""

    text: str
    k: int = 10
    where: Mapping[str, Any] | None = None
    exact: bool = False

    @property
    def kind(self) -> str:
        """Questions of one kind can be answered by one scan."""
        return json.dumps([self.k, self.where, self.exact], sort_keys=True)


Hits = Ranked[dict[str, Any]]  # as `visret search --json` prints them
_Waiting = tuple[Question, Future[Hits]]


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

    def ask(self, question: Question) -> Future[Hits]:
        """The hits, later; with the error that `Retriever.search` raises for this question, and no other's."""
        if self._process != os.getpid():  # forked: the threads are the parent's, and so is what waits
            self._begin()
        answer: Future[Hits] = Future()
        with self._guard:
            self._waiting.append((question, answer))
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
        question = group[0][0]
        try:
            self._retriever.refresh()
            found = self._retriever.explained(
                [one.text for one, _ in group], question.k, where=question.where, exact=question.exact
            )
            for (_, answer), hits in zip(group, found, strict=True):
                answer.set_result(Ranked((as_json(hit, why.boxes) for hit, why in hits), hits.warnings))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            left = [one for one in group if not one[1].done()]
            if len(group) == 1:
                left[0][1].set_exception(error)
                return
            for one in left:  # who asked what cannot be answered?
                self._answer([one])
