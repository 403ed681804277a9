"""The scorers of a collection: the engine ranks, and the stored pages say the exact scores.

An engine's MaxSim on float16 vectors differs from the score of the stored page by rounding alone, which is bounded: by
2**-11 of the length of each vector. So every page that the engine puts within twice that bound of the k-th best is read
and scored exactly, and the k best of them are those of an exact search of the index. The few pages with more vectors
than a point holds are scored for every question.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np

from visret.choices import BM25, DENSE, LATE
from visret.errors import InvalidArgument
from visret.index import terms
from visret.search import bm25
from visret.search.late_interaction import EXACT_UP_TO, LENGTH, for_length, slope_for
from visret.search.ranking import relevance
from visret.stores import _engine, _points
from visret.stores._engine import Filter, Payload, Sparse
from visret.stores._pages import Pages, StoredPage
from visret.types import Matches, Passage, QueryEmbedding, Question, Quote, Ranking, Scorer, Selection

MORE = 8  # pages beyond k that are asked for at first, since some may score the same
FIRST, LEAST_FIRST = 32, 320
"""The number of pages for each of the k best that the first stage finds by their summaries, and for all of them."""


class Late:
    """The scorer "late": MaxSim of every vector, less what a page loses for its length."""

    name = LATE
    slope = LENGTH

    def __init__(self, pages: Pages) -> None:
        self.snapshot = pages

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:
        """Return the k best pages for each question. exact: without the first stage."""
        first = 0 if exact or not self._has_first_stage or (not among.is_all and _names_pages(among)) else 1
        where = among.filter
        assert where is None or isinstance(where, dict)
        return [self._rank(self._query(one), k, where, first * max(FIRST * k, LEAST_FIRST)) for one in questions]

    def explain(self, question: Question, key: int) -> Matches:
        """Return the vector of the page that matches each token best."""
        return self.snapshot.page(key).matches(self._query(question).vectors)

    @property
    def _has_first_stage(self) -> bool:
        return int(self.snapshot.manifest["vectors"]) * self.snapshot.fitted.codec.dim > EXACT_UP_TO

    def _query(self, question: Question) -> QueryEmbedding:
        query: QueryEmbedding = question.encoded[LATE]
        return query

    def _rank(self, query: QueryEmbedding, k: int, where: Filter | None, first: int) -> Ranking:
        slope = slope_for(self.snapshot.model, self.slope)
        asked = _points.longer(query.vectors, slope / self.snapshot.manifest["length"])
        lengths = np.linalg.norm(query.vectors, axis=1).sum() * self.snapshot.manifest["longest"]
        between = float(lengths + len(query.vectors)) * 2.0**-10  # both that differ are rounded, each by half of it

        def ask(limit: int) -> list[tuple[UUID, float]]:
            return self.snapshot.engine.query(_engine.TOKENS, asked, limit, where, first=first)

        near = dict.fromkeys([*near_best(ask, k, between, first), *self._large(asked, where)])
        scored = [self._scored(page, query.vectors, slope) for page in self.snapshot.read(list(near))]
        best = sorted(scored, key=lambda one: (-one.score, one.page.order))[:k]
        keys = np.array([self.snapshot.key_of(one.page.ref) for one in best], np.int64)
        sums = np.array([one.total for one in best], np.float32)
        return Ranking(keys, np.array([one.score for one in best]), {LATE: sums})

    def _large(self, asked: np.ndarray, where: Filter | None) -> list[UUID]:
        """Return the pages that may be found and have more vectors than a point, whose scores it does not know."""
        large = list(map(UUID, self.snapshot.manifest["large"]))
        if not large:
            return []
        condition = _points.only(large)
        condition["must"] += [where] if where else []
        return [one for one, _ in self.snapshot.engine.query(_engine.TOKENS, asked, len(large), condition)]

    def _scored(self, page: StoredPage, query: np.ndarray, slope: float) -> _Scored:
        total = float(page.matches(query).values.sum())
        length = len(query) * float(for_length(np.array(page.made), slope)) if slope else 0.0
        return _Scored(page, total + length, total)


class MaxSim(Late):
    """The scorer "maxsim": late interaction without a correction for the length of pages."""

    name = "maxsim"
    slope = 0.0


class _Scored(NamedTuple):
    page: StoredPage
    score: float
    total: float


class Words:
    """The scorer "bm25": the words of pages, with the idf that the engine counts."""

    name = BM25

    def __init__(self, pages: Pages) -> None:
        self.snapshot = pages
        self._idf: dict[str, tuple[float, bool]] = {}

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question, of those with any of its terms and all of its phrases."""
        where = among.filter
        assert where is None or isinstance(where, dict)
        return [self._rank(self._asked(question), k, where) for question in questions]

    def explain(self, question: Question, key: int) -> Quote:
        """Return the line of a page whose terms are worth most, and whether the page lacks most of the question."""
        worth, page = self._worth(question), self.snapshot.page(key)
        held = sum(idf for term, idf in worth.items() if term in page.terms)
        share = held / (sum(worth.values()) or 1.0)
        line = self.line(question, *self.snapshot.locate(key))
        passage = next(iter(self.passages(question, *self.snapshot.locate(key))), None)
        return Quote(line, share < bm25.WEAK_BELOW, relevance(share, bm25.WEAK_BELOW), passage)

    def line(self, question: Question, segment: int, row: int) -> str:
        """Return the line of a page whose terms are worth most; "" if no line has any."""
        worth = {(term, False): idf for term, idf in self._worth(question).items()}
        return bm25.best_line(self.snapshot.segment(segment).text(row), worth)  # type: ignore[union-attr]

    def passages(self, question: Question, segment: int, row: int, count: int = 1) -> list[Passage]:
        """Return the passages of a page whose terms are worth most, best first; none if no line has any."""
        worth = {(term, False): idf for term, idf in self._worth(question).items()}
        text, boxes = self.snapshot.words(segment, row)
        edges, size_pt = self.snapshot.placed_text(segment << 32 | row).edges, self.snapshot.size_pt(segment, row)
        return bm25.best_passages(text, boxes, edges, size_pt, question.text, worth, count)

    def parts(self, question: Question, segment: int, row: int) -> list[bm25.Part]:
        """Return what each term of a question adds to the score of a page."""
        shares = _points.shares(self.snapshot.page(segment << 32 | row).terms, self.snapshot.mean_terms)
        return [
            bm25.Part(term, False, often * self._looked_up(term)[0] * shares.get(term, 0.0))
            for term, often in Counter(self._asked(question).terms).items()
        ]

    def warnings(self, question: Question) -> tuple[str, ...]:
        """Return a sentence about the words of a question that no page has; () if there are none."""
        looked = dict.fromkeys(self._asked(question).terms)
        return bm25.unknown([term for term in looked if not self._looked_up(term)[1]], len(looked))

    def _worth(self, question: Question) -> dict[str, float]:
        """Return the idf of each term of a question."""
        return {term: self._looked_up(term)[0] for term in dict.fromkeys(self._asked(question).terms)}

    def _looked_up(self, term: str) -> tuple[float, bool]:
        """Return the idf of a term, and whether any page has it: from the score of the first page that has."""
        if term not in self._idf:
            query = Sparse([_points.number_of(term)], [1.0])
            found = self.snapshot.engine.query(_engine.BM25, query, 1, None)
            share = 0.0
            if found and (pages := self.snapshot.read([found[0][0]])):
                share = _points.shares(pages[0].terms, self.snapshot.mean_terms).get(term, 0.0)
            rare = math.log(1 + (len(self.snapshot) + 0.5) / 0.5)
            self._idf[term] = (found[0][1] / share, True) if share else (rare, False)
        return self._idf[term]

    def _asked(self, question: Question) -> terms.Asked:
        """Return the terms of a question. Raises InvalidArgument for beginnings of words, which cannot be looked up."""
        asked = terms.of_question(question.text)
        if asked.prefixes:
            raise InvalidArgument(
                f"{self.snapshot.engine.product} holds whole words, so {asked.prefixes[0]}* cannot be looked up there; "
                "write the word in full, or search the index itself"
            )
        return asked

    def _rank(self, asked: terms.Asked, k: int, where: Filter | None) -> Ranking:
        weights: dict[int, float] = {}
        for term, often in Counter(asked.terms).items():
            number = _points.number_of(term)
            weights[number] = weights.get(number, 0.0) + often
        patterns = list(map(terms.phrase_pattern, asked.phrases))
        query, limit = Sparse(list(weights), list(weights.values())), k + MORE
        while True:
            found = self.snapshot.engine.query(_engine.BM25, query, limit, where) if weights else []
            pages = {_points.id_of(*page.ref): page for page in self.snapshot.read([one for one, _ in found])}
            held = [
                (pages[one], score)
                for one, score in found
                if one in pages and all(p.search(terms.folded(pages[one].payload["text"])) for p in patterns)
            ]
            if len(found) < limit or (len(held) >= k and found[-1][1] < held[k - 1][1]):
                break
            limit *= 4
        return ranking_of(self.snapshot, held, k, BM25)


class SingleVectors:
    """The scorer "dense": the best of the single vectors that an added model made of a page."""

    name = DENSE

    def __init__(self, pages: Pages) -> None:
        self.snapshot = pages

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question; every page is scored."""
        where = among.filter
        assert where is None or isinstance(where, dict)
        return [self._rank(question.encoded[DENSE], k, where) for question in questions]

    def explain(self, question: Question, key: int) -> None:
        """Return None: a single vector says nothing of places on a page."""

    def _rank(self, query: np.ndarray, k: int, where: Filter | None) -> Ranking:
        between = float(np.linalg.norm(query)) * self.snapshot.manifest[_points.ADDED]["longest"] * 2.0**-10
        near = near_best(lambda limit: self.snapshot.engine.query(DENSE, query, limit, where), k, between)
        scored = [(page, float((query @ page.single.T).max())) for page in self.snapshot.read(near) if len(page.single)]
        return ranking_of(self.snapshot, scored, k, DENSE)


def scorers(manifest: Payload) -> dict[str, Callable[[Pages], Scorer]]:
    """Return the scorers of a collection with this manifest, by the ways of ranking."""
    made: dict[str, Callable[[Pages], Scorer]] = {LATE: Late, "maxsim": MaxSim, BM25: Words}
    return made if _points.added_in(manifest) is None else made | {DENSE: SingleVectors}


def near_best(ask: Callable[[int], list[tuple[UUID, float]]], k: int, between: float, most: int = 0) -> list[UUID]:
    """Return the pages that an engine puts at most `between` behind the k-th best.

    ask: returns the best pages, as many as are wanted. most: how many there are to ask for; 0 if that is not known.
    """
    limit = k + MORE
    while True:
        limit = min(limit, most or limit)
        found = ask(limit)
        if len(found) < limit or limit == most or found[-1][1] < found[k - 1][1] - between:
            break
        limit *= 2
    return [one for one, score in found if score >= found[min(k, len(found)) - 1][1] - between]


def ranking_of(pages: Pages, scored: list[tuple[StoredPage, float]], k: int, name: str) -> Ranking:
    """Return the ranking of the k best pages by their exact scores."""
    best = sorted(scored, key=lambda one: (-one[1], one[0].order))[:k]
    keys = np.array([pages.key_of(page.ref) for page, _ in best], np.int64)
    scores = np.array([score for _, score in best], np.float32)
    return Ranking(keys, scores, {name: scores})


def _names_pages(among: Selection) -> bool:
    """Return whether the pages that may be found are listed one by one, so that few are left to scan."""
    return isinstance(among.filter, dict) and "has_id" in str(among.filter)
