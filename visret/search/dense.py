"""The Scorer "dense": single vectors, as most engines have them.

They are those of a model that was added to the index (`SingleVectors`), or else made of those that late interaction
compares (`Dense`): a page has the mean of each run of its vectors (`reduction.means`), and a question the mean of the
vectors that name something. The score of a page is the best cosine of the question with one of its means. These come
from vectors that are computed anyway, and few rows a page are scanned in place of hundreds, so it is quicker than late
interaction. It also finds less: nDCG@5 on 94 questions is .62 where late interaction has .72 (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from visret.choices import DENSE, LATE
from visret.codec import Rows
from visret.index import Segment, Snapshot
from visret.index.embedded import DenseVectors
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


class SingleVectors:
    """The scorer "dense" of one committed state of an index to which a model that makes single vectors was added.

    The score of a page is that of its best part: the cosine, or the dot product where the model is trained for that.
    device, before: as in `LateInteraction`. Pages that the model has not been over are not found.
    """

    name = DENSE

    def __init__(self, snapshot: Snapshot, number: int, *, device: str | None, before: SingleVectors | None) -> None:
        self.snapshot = snapshot
        self.number = number
        known: Mapping[int, _Parts] = before._segments if before is not None and before.number == number else {}
        made = {
            n: one
            for n, one in snapshot.made_by(number).items()
            if isinstance(one, DenseVectors) and len(one.rows.codes)
        }
        self._segments: dict[int, _Parts] = {n: known.get(n) or _Parts(one, device) for n, one in made.items()}

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question; the vectors are read once for all of them.

        exact makes no difference: every page is scored.
        """
        numbers, parts = [], []
        for number, rows in among.rows.items():
            if (here := self._segments.get(number)) is not None:
                numbers.append(number)
                parts.append((here.pages, here.among(rows)))
        found = top_k_of_parts(parts, [question.encoded[DENSE] for question in questions], k)
        return [self._ranking(numbers, *one) for one in found]

    def explain(self, question: Question, key: int) -> None:
        """Return None: a single vector says nothing of places on a page."""

    def _ranking(self, numbers: list[int], part: np.ndarray, at: np.ndarray, scores: np.ndarray) -> Ranking:
        rows = np.empty(len(at), np.int64)
        for i, number in enumerate(numbers):
            rows[part == i] = self._segments[number].rows[at[part == i]]
        keys = self.snapshot.keys(np.array(numbers, np.int64)[part], rows)
        return Ranking(keys, scores, {DENSE: scores})


class _Parts:
    """The single vectors of a segment, without the pages that have none. rows: (n,) those that have some."""

    def __init__(self, made: DenseVectors, device: str | None) -> None:
        self.rows = np.flatnonzero(made.lengths)
        self.pages = _on(device)(made.rows, np.unique(made.offsets), made.codec)

    def among(self, rows: np.ndarray) -> np.ndarray | None:
        """Return which of `pages` are of these rows; None for all."""
        at = np.flatnonzero(np.isin(self.rows, rows, assume_unique=True))
        return None if len(at) == len(self.rows) else at


def question_mean(query: QueryEmbedding) -> np.ndarray:
    """Return the single vector of a question, (1, d) float32: of what names something, or of all if nothing does."""
    vectors = named(query)
    return means(vectors, len(vectors))


def named(query: QueryEmbedding) -> np.ndarray:
    """Return the vectors (n, d) of a question that name something, or all of them if none does."""
    return query.vectors[query.content] if query.content.any() else query.vectors


def stored_means(segment: Segment) -> Rows:
    """Return the means of a segment's pages. Raises PageIndexError, which says what adds them, if there are none."""
    return segment.stored(VECTORS if VECTORS in segment.lacks else MEANS)  # what brings vectors brings means


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> Dense | SingleVectors:
    """Open the scorer of a committed state, as `scorers.Scorers` does: of an added model if there is one."""
    if (added := snapshot.added_for(DENSE)) is not None:
        earlier = before if isinstance(before, SingleVectors) else None
        return SingleVectors(snapshot, added[0], device=device, before=earlier)
    return Dense(snapshot, device=device, before=before if isinstance(before, Dense) else None)


def _query(question: Question) -> QueryEmbedding:
    query: QueryEmbedding = question.encoded[LATE]
    return query


def _laid(segment: Segment, device: str | None) -> PackedPages:
    """Return the means of a segment's pages as pages of a few rows, of which MaxSim finds the best."""
    return _on(device)(stored_means(segment), segment.offsets_of(MEANS), MEANS.codec(segment.codec))


def _on(device: str | None) -> Callable[..., PackedPages]:
    """Return what lays pages out for a scan on a device; None is this CPU."""
    return PackedPages if device is None else partial(on_device, device=device)


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORERS: tuple[type[Scorer], ...] = (Dense, SingleVectors)
