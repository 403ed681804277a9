"""The Scorer "dense": single vectors, as most engines have them, made of those that late interaction compares.

A page has the mean of each run of its vectors (`reduction.means`), and a question the mean of the vectors that name
something. The score of a page is the best cosine of the question with one of its means. The means come from vectors
that are computed anyway, and a few rows a page are scanned in place of hundreds, so this is quicker than late
interaction. It also finds less: nDCG@5 on 94 questions is .62 where late interaction has .72 (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from visret.choices import DENSE, LATE
from visret.index import Segment, Snapshot
from visret.index.fields import MEANS, VECTORS
from visret.maxsim.device import on_device
from visret.maxsim.packed import PackedPages, top_k_of_parts
from visret.reduction import means
from visret.types import Matches, QueryEmbedding, Question, Ranking, Scorer, Selection


class Dense:
    """The scorer "dense" of one committed state.

    device, before: as in `LateInteraction`. Raises PageIndexError if a segment has no means.
    """

    name = DENSE

    def __init__(self, snapshot: Snapshot, *, device: str | None = None, before: Dense | None = None) -> None:
        self.snapshot = snapshot
        known: Mapping[int, PackedPages] = {} if before is None else before._segments
        self._segments: dict[int, PackedPages] = {
            s.number: known.get(s.number) or _laid(s, device) for s in snapshot.segments
        }

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question; the means are read once for all of them.

        exact makes no difference: every page is scored.
        """
        numbers = np.fromiter(among.rows, np.int64, len(among.rows))
        parts = []
        for number, rows in among.rows.items():
            pages = self._segments[number]
            parts.append((pages, None if len(rows) == len(pages) else rows))
        found = top_k_of_parts(parts, [question_mean(_query(question)) for question in questions], k)
        return [
            Ranking(self.snapshot.keys(numbers[part], rows), scores, {DENSE: scores}) for part, rows, scores in found
        ]

    def explain(self, question: Question, key: int) -> Matches:
        """Return the vector of the page that is most like each token, as late interaction has it: a mean has none."""
        segment, row = self.snapshot.locate(key)
        return self.snapshot.segment(segment).matches(row, _query(question).vectors)


def question_mean(query: QueryEmbedding) -> np.ndarray:
    """Return the single vector of a question, (1, d) float32: of what names something, or of all if nothing does."""
    named = query.vectors[query.content] if query.content.any() else query.vectors
    return means(named, len(named))


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> Dense:
    """Open the scorer of a committed state, as `scorers.Scorers` does."""
    return Dense(snapshot, device=device, before=before if isinstance(before, Dense) else None)


def _query(question: Question) -> QueryEmbedding:
    query: QueryEmbedding = question.encoded[LATE]
    return query


def _laid(segment: Segment, device: str | None) -> PackedPages:
    """Return the means of a segment's pages as pages of a few rows, of which MaxSim finds the best."""
    lay: Callable[..., PackedPages] = PackedPages if device is None else partial(on_device, device=device)
    rows = segment.stored(VECTORS if VECTORS in segment.lacks else MEANS)  # what brings vectors brings means
    return lay(rows, segment.offsets_of(MEANS), MEANS.codec(segment.codec))


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORER: type[Scorer] = Dense
