"""The Scorer "poly": a poly-encoder's attention between a question and the single vectors of a page.

A poly-encoder (Humeau et al. 2020) has several vectors for the question and one for a candidate. The candidate attends
over them, and its score is its product with the result: sum_i softmax(c . h_i) h_i . c. Here the vectors of the
question are those of its tokens (the paper's variant "first m outputs"; separate codes would have to be learned). A
page has the mean of each of its runs (`reduction.means`), and its score is that of its best mean, as in "dense".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from visret.choices import LATE
from visret.codec import decode
from visret.index import Snapshot
from visret.index.fields import MEANS
from visret.products import product
from visret.search import ranking
from visret.search.dense import named, stored_means
from visret.types import Matches, QueryEmbedding, Question, Ranking, Scorer, Selection


class Poly:
    """The scorer "poly" of one committed state. Raises PageIndexError if a segment has no means."""

    name = "poly"

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        for segment in snapshot.segments:
            stored_means(segment)

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question. exact makes no difference: every page is scored."""
        asked = [named(question.encoded[LATE]) for question in questions]
        scored = []
        for number, rows in among.rows.items():
            segment = self.snapshot.segment(number)
            means, starts = decode(stored_means(segment), MEANS.codec(segment.codec)), segment.offsets_of(MEANS)[:-1]
            each = [np.maximum.reduceat(attended(means, query), starts)[rows] for query in asked]
            scored.append((number, rows, each))
        return [
            ranking.best(self.snapshot, self.name, [(number, rows, each[i]) for number, rows, each in scored], k)
            for i in range(len(asked))
        ]

    def explain(self, question: Question, key: int) -> Matches:
        """Return the vector of the page that matches each token best, as in late interaction: a mean has no place."""
        segment, row = self.snapshot.locate(key)
        query: QueryEmbedding = question.encoded[LATE]
        return self.snapshot.segment(segment).matches(row, query.vectors)


def attended(candidates: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the poly-encoder's score of each candidate (n, d) for the vectors of a question (m, d): (n,) float32."""
    similar = product(candidates, codes.T)
    weights = np.exp(similar - similar.max(axis=1, keepdims=True))
    return np.asarray((weights * similar).sum(axis=1) / weights.sum(axis=1))


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> Poly:  # noqa: ARG001
    """Open the scorer of a committed state, as `scorers.Scorers` does."""
    return Poly(snapshot)


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORER: type[Scorer] = Poly
