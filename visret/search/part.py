"""The part of a ranking that a search returns: from which rank on, one page of each document, and the pages around.

One hit for each document, best first, is what Qdrant gives with `group_by` and a `group_size` of 1. Here no fixed depth
cuts it off: pages are ranked deeper until there are enough documents, or no more pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from visret import arguments
from visret.errors import InvalidArgument
from visret.explain.attribution import Explanation
from visret.index import Snapshot
from visret.search import ranking
from visret.search.pipeline import Pipeline
from visret.types import Hit, PageRef, Question, Ranking

DOCUMENT = "document"
"""The only thing that hits are grouped by."""

Judge = Callable[[Hit], Hit]
"""Returns a hit with what somebody else than the pipeline knows of how well it answers, such as a reranker."""


@dataclass(frozen=True)
class Part:
    """The part of a ranking that is wanted; the fields are the arguments of `Retriever.search`."""

    k: int = 10
    offset: int = 0
    group_by: str | None = None
    neighbours: int = 0
    weak: bool = True
    min_score: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", arguments.whole("k", self.k))
        object.__setattr__(self, "offset", arguments.whole("offset", self.offset, least=0))
        object.__setattr__(self, "neighbours", arguments.whole("neighbours", self.neighbours, least=0))
        if self.group_by not in (None, DOCUMENT):
            raise InvalidArgument(f"group_by is {DOCUMENT!r} or None, got {self.group_by!r}")
        if not isinstance(self.weak, bool):
            raise InvalidArgument(f"weak is True or False, got {self.weak!r}")
        if self.min_score is not None and not _is_share(self.min_score):
            raise InvalidArgument(
                f"min_score is a number from 0 to 1, of which .5 is where weak pages begin, got {self.min_score!r}"
            )

    @property
    def examines(self) -> bool:
        """True if every page that was found must be examined, because some are left out for what they say."""
        return not self.weak or self.min_score is not None

    @property
    def depth(self) -> int:
        """The number of hits, from the first one on, of which the last ones are wanted."""
        return self.k + self.offset

    @property
    def documents(self) -> int:
        """The number of documents that must be among the pages; 0 if they are not grouped."""
        return 0 if self.group_by is None else self.depth

    def of(self, found: Ranking) -> Ranking:
        """Return the ranking up to the last hit that is wanted, with one page of each document if it is grouped."""
        if self.documents:
            at = ranking.firsts(found)
            parts = {name: part[at] for name, part in found.parts.items()}
            found = Ranking(found.keys[at], found.scores[at], parts)
        return found.first(self.depth)

    def hits(
        self,
        pipeline: Pipeline,
        question: Question,
        found: Ranking,
        where: Mapping[str, Any] | None = None,
        *,
        explain: bool = True,
        judge: Judge | None = None,
    ) -> Iterator[Hit]:
        """Yield the hits of this part of a ranking, with their neighbours.

        where: neighbours pass it, as hits do. judge: says of each hit how well it answers; None leaves that as it is.
        """
        hits = pipeline.hits(question, self.of(found), explain=explain, start=self.offset, whole=found)
        return self.around(pipeline.snapshot, hits if judge is None else map(judge, hits), where)

    def explained(
        self,
        pipeline: Pipeline,
        question: Question,
        found: Ranking,
        where: Mapping[str, Any] | None = None,
        *,
        judge: Judge | None = None,
    ) -> Iterator[tuple[Hit, Explanation]]:
        """Yield the hits that `hits` yields, neighbours too, with their explanations."""
        why = dict[PageRef, Explanation]()

        def noted() -> Iterator[Hit]:
            for hit, explanation in pipeline.explained(question, self.of(found), start=self.offset, whole=found):
                why[hit.ref] = explanation
                yield hit if judge is None else judge(hit)

        for hit in self.around(pipeline.snapshot, noted(), where):
            yield hit, why.pop(hit.ref) if hit.ref in why else pipeline.explain(question, hit.ref)

    def around(self, snapshot: Snapshot, found: Iterable[Hit], where: Mapping[str, Any] | None = None) -> Iterator[Hit]:
        """Yield the hits that are wanted by what they say, each followed by its neighbours; a page comes once."""
        kept = filter(self._is_wanted, found)
        if not self.neighbours:
            yield from kept
            return
        hits = list(kept)
        seen = {hit.ref for hit in hits}
        passing = None if where is None else snapshot.select(where).rows
        for hit in hits:
            yield hit
            for page in range(hit.page - self.neighbours, hit.page + self.neighbours + 1):
                ref = PageRef(hit.doc, page)
                if ref in seen or (place := _place(snapshot, ref)) is None:
                    continue
                if passing is None or place[1] in passing.get(place[0], ()):
                    seen.add(ref)
                    yield _neighbour(hit, ref, snapshot.metadata(*place))

    def _is_wanted(self, hit: Hit) -> bool:
        if self.min_score is not None:
            if hit.relevance is None and math.isinf(hit.score):
                return False  # a reranker that knows what is relevant has not read it
            if hit.relevance is None:
                raise InvalidArgument(
                    "min_score needs a model whose scores have a line for weak pages (weak_below in models.yaml), and "
                    "the model of this index has none"
                )
            if hit.relevance < self.min_score:
                return False
        return self.weak or not hit.weak


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _neighbour(hit: Hit, ref: PageRef, metadata: Mapping[str, Any]) -> Hit:
    return Hit(ref, 0.0, 0, "", hit.source, metadata, member=hit.member, neighbour_of=hit.rank)


def _place(snapshot: Snapshot, ref: PageRef) -> tuple[int, int] | None:
    """Return the segment and the row of a page; None if the index has no such page."""
    try:
        return snapshot.find(ref)
    except InvalidArgument:
        return None
