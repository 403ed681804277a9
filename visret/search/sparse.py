"""The Scorer "sparse": the dot product of learned sparse vectors, such as SPLADE's, from the postings in the index.

A model that was added to the index gives every page and every question weights in a vocabulary, also for words that
stand on neither (Formal et al. 2021, arXiv:2107.05720). Only pages that share a dimension with the question are found.
Every score is that of the library, whatever a filter leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from visret.choices import SPARSE
from visret.errors import InvalidArgument
from visret.index import Snapshot
from visret.index.embedded import SparseVectors
from visret.search import ranking
from visret.types import Question, Ranking, Scorer, Selection, SparseVector


class Sparse:
    """The scorer "sparse" of one committed state. Raises InvalidArgument if no model makes sparse vectors in it."""

    name = SPARSE

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        found = snapshot.added_for(SPARSE)
        if found is None:
            raise InvalidArgument(
                "this index has no sparse vectors; visret add-model INDEX MODEL makes them, with a model such as "
                "naver/splade-v3, from the stored text, some pages a second"
            )
        self._segments = snapshot.made_by(found[0])

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question, of those that share a dimension with it.

        exact makes no difference: every such page is scored.
        """
        return [self._rank(question.encoded[SPARSE], k, among) for question in questions]

    def explain(self, question: Question, key: int) -> None:
        """Return None: weights belong to a text as a whole, and not to places on a page."""

    def _rank(self, question: SparseVector, k: int, among: Selection) -> Ranking:
        parts = []
        for number, rows in among.rows.items():
            vectors = self._segments.get(number)
            if isinstance(vectors, SparseVectors):
                scores = vectors.scores(question)[rows]
                there = scores != 0
                parts.append((number, rows[there], scores[there].astype(np.float32)))
        return ranking.best(self.snapshot, self.name, parts, k)


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> Sparse:  # noqa: ARG001
    """Open the scorer of a committed state, as `scorers.Scorers` does; it is the same on every device."""
    return Sparse(snapshot)


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORER: type[Scorer] = Sparse
