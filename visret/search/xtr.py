"""The Scorer "xtr": late interaction over the vectors that a search by tokens would find (Lee et al. 2023, XTR).

Each token of a question finds the FOUND vectors that are most similar to it, among those of all pages that may be
found. For each token, a page gets the similarity of the best of its own vectors that the token found; if there is none,
it gets that of the last vector that the token found anywhere ("missing similarity imputation"), so no other vector of
the page is needed. Here all vectors are scanned, which makes the definition exact: the score of a page is the sum over
tokens of max(best match on the page, last found). A page on which no token found a vector cannot be found.

The paper takes the mean over tokens; the sum gives the same ranking and can be compared with MaxSim. The paper trains a
model for this score. visret's models were not trained for it, so it is here only for comparison (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from visret.choices import LATE
from visret.codec import decode
from visret.index import Segment, Snapshot
from visret.products import product
from visret.search import ranking
from visret.types import Matches, QueryEmbedding, Question, Ranking, Scorer, Selection

FOUND = 40_000
"""The number of vectors that a token finds, as in the paper, whose largest collection has 1.2 billion vectors."""

PAGES_AT_ONCE = 64


class XTR:
    """The scorer "xtr" of one committed state, which reads all vectors for each search."""

    name = "xtr"

    def __init__(self, snapshot: Snapshot, *, found: int = FOUND) -> None:
        self.snapshot = snapshot
        self._found = found

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question; the vectors are read once for all of them.

        exact makes no difference: every vector is scanned.
        """
        queries = [_query(question).vectors for question in questions]
        asked = np.concatenate(queries).T
        last = np.empty((0, asked.shape[1]), np.float32)  # the best found so far, `self._found` of them
        places, best = [], [last]
        for number, rows in among.rows.items():
            segment = self.snapshot.segment(number)
            for chosen, vectors, starts in _blocks(segment, rows):
                similar = product(vectors, asked)
                best.append(np.maximum.reduceat(similar, starts))
                last = _largest(np.concatenate([last, similar]), self._found)
                places.append((number, chosen))
        values = np.concatenate(best)
        floors = last.min(axis=0) if len(last) else np.zeros(asked.shape[1], np.float32)
        cuts = np.cumsum([0, *map(len, queries)])
        return [self._ranked(places, values[:, a:b], floors[a:b], k) for a, b in pairwise(cuts)]

    def explain(self, question: Question, key: int) -> Matches:
        """Return the vector of the page that matches each token best, whether or not a search would find it."""
        segment, row = self.snapshot.locate(key)
        return self.snapshot.segment(segment).matches(row, _query(question).vectors)

    def _ranked(self, places: list[tuple[int, np.ndarray]], best: np.ndarray, floors: np.ndarray, k: int) -> Ranking:
        """Return the k best pages.

        places: the number of a segment, and rows of it, of which all are the P pages. best: (P, m), the best match of
        each page for each token. floors: (m,), the last match that each token found.
        """
        found = np.asarray((best >= floors).any(axis=1))
        scores = np.maximum(best, floors).sum(axis=1)
        parts, end = [], 0
        for number, rows in places:
            here = slice(end, end := end + len(rows))
            parts.append((number, rows[found[here]], scores[here][found[here]]))
        return ranking.best(self.snapshot, self.name, parts, k)


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> XTR:  # noqa: ARG001
    """Open the scorer of a committed state, as `scorers.Scorers` does."""
    return XTR(snapshot)


def _query(question: Question) -> QueryEmbedding:
    query: QueryEmbedding = question.encoded[LATE]
    return query


def _blocks(segment: Segment, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield some rows, the vectors (n, d) of their pages, and where each page begins among these."""
    offsets = segment.offsets
    for first in range(0, len(rows), PAGES_AT_ONCE):
        chosen = rows[first : first + PAGES_AT_ONCE]
        where = np.concatenate([np.arange(offsets[row], offsets[row + 1]) for row in chosen.tolist()])
        starts = np.cumsum(offsets[chosen + 1] - offsets[chosen]) - (offsets[chosen + 1] - offsets[chosen])
        yield chosen, decode(segment.rows.part(where), segment.codec), starts


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` largest of each column of values (n, m), in any order."""
    return values if len(values) <= count else np.partition(values, -count, axis=0)[-count:]


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORER: type[Scorer] = XTR
