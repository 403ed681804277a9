"""The hits of a ranking, in which pages have their names and files in place of keys."""

from __future__ import annotations

from collections.abc import Iterator

from visret.index import Snapshot
from visret.types import Hit, Ranking


def hits(snapshot: Snapshot, ranking: Ranking) -> Iterator[tuple[int, Hit]]:
    """Yield the key and the hit of each page, best first. `text` and `weak` are not set: they need an explanation."""
    parts = {name: part.tolist() for name, part in ranking.parts.items()}
    for rank, (key, score) in enumerate(zip(ranking.keys.tolist(), ranking.scores.tolist(), strict=True), 1):
        segment, row = snapshot.locate(key)
        source, member = snapshot.place(key >> 32)
        ref, metadata = snapshot.ref(segment, row), snapshot.metadata(segment, row)
        scores = {name: part[rank - 1] for name, part in parts.items() if part[rank - 1] == part[rank - 1]}
        yield key, Hit(ref, score, rank, "", source, metadata, False, member, scores)
