"""The hits of a ranking, in which pages have their names and files in place of keys; and the scale of relevance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from visret.index import Snapshot
from visret.types import Hit, Ranking


def hits(snapshot: Snapshot, ranking: Ranking, start: int = 0) -> Iterator[tuple[int, Hit]]:
    """Yield the key and the hit of each page from place `start` on, best first.

    `text` and `weak` are not set: they need an explanation.
    """
    parts = {name: part.tolist() for name, part in ranking.parts.items()}
    for rank, key in enumerate(ranking.keys[start:].tolist(), start + 1):
        segment, row = snapshot.locate(key)
        source, member = snapshot.place(key >> 32)
        ref, metadata = snapshot.ref(segment, row), snapshot.metadata(segment, row)
        scores = {name: part[rank - 1] for name, part in parts.items() if part[rank - 1] == part[rank - 1]}
        yield key, Hit(ref, float(ranking.scores[rank - 1]), rank, "", source, metadata, False, member, scores)


def best(snapshot: Snapshot, name: str, parts: Sequence[tuple[int, np.ndarray, np.ndarray]], k: int) -> Ranking:
    """Return the k best of scored pages, equal ones in the order of their keys.

    parts: the number of a segment, rows of it (n,), and their scores (n,) float32. name: that of the scorer.
    """
    segments = np.concatenate([np.empty(0, np.int64), *(np.full(len(rows), number) for number, rows, _ in parts)])
    rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows, _ in parts)])
    scores = np.concatenate([np.empty(0, np.float32), *(scores for _, _, scores in parts)])
    if len(scores) > k:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
        segments, rows, scores = segments[kept], rows[kept], scores[kept]
    keys = snapshot.keys(segments, rows)
    first = np.lexsort((keys, -scores))[:k]
    return Ranking(keys[first], scores[first], {name: scores[first]})


def firsts(ranking: Ranking) -> np.ndarray:
    """Return the places of the best page of each document, best first."""
    return np.sort(np.unique(ranking.keys >> 32, return_index=True)[1])


def relevance(answers: float, line: float) -> float:
    """Return how well a page answers on the scale of `Hit.relevance`, on which the line is .5.

    answers: any number that is 0 if the page has nothing of the question, and 1 if it has everything. Four digits are
    kept, which do not depend on how the vectors were multiplied.
    """
    return round(float(np.interp(answers, [0, line, 1], [0, 0.5, 1])), 4)
