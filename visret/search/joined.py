"""The path of a question through several indexes of the same documents at once, one of words and one of pictures, say.

Each index ranks its own pages with its own model, and one `Plan` fuses the rankings. In plans and in `Hit.scores` an
index has the name that it was given; the first one keeps the names of its ways of ranking, such as "late" and "bm25".
A question is encoded by each index that takes part: `Question.encoded` has its own Question for every name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import cast

import numpy as np

from visret import arguments
from visret.choices import LATE, RERANK, SCORERS
from visret.errors import InvalidArgument
from visret.explain.attribution import Explanation
from visret.index import Snapshot
from visret.index.joined import JoinedPages
from visret.search import plans, ranking
from visret.search.pipeline import Pipeline
from visret.search.plans import Plan
from visret.types import Hit, Matches, PageRef, Passage, Question, Quote, Ranking, Scorer, Selection

NAMED = 3  # documents that a warning names


class OfIndex:
    """The scorer of one of several indexes, which gets and returns the keys of their pages together.

    index: its name. name: what plans call the scorer.
    """

    def __init__(self, pages: JoinedPages, index: str, name: str, scorer: Scorer) -> None:
        self.name = name
        self._pages = pages
        self._index = index
        self._scorer = scorer

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:
        """Return the k best pages of the index for each question, as `Scorer.rank`."""
        chosen = self._pages.part_of(self._index, among)
        if not chosen.is_all and not chosen.rows:
            return [Ranking(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in questions]
        own = [own_question(question, self._index) for question in questions]
        return [self._joined(found) for found in self._scorer.rank(own, k, chosen, exact=exact)]

    def explain(self, question: Question, key: int) -> Matches | Quote | None:
        """Return what the score of a page comes from, as `Scorer.explain`."""
        (own,) = self._pages.own_keys(self._index, np.array([key])).tolist()
        return self._scorer.explain(own_question(question, self._index), own)

    def _joined(self, found: Ranking) -> Ranking:
        keys = self._pages.joined_keys(self._index, found.keys)
        parts = found.parts if self.name in SCORERS else {self.name: found.parts.get(LATE, found.scores)}
        return Ranking(keys, found.scores, parts)


def own_question(question: Question, index: str) -> Question:
    """Return a question as one of several indexes reads it; one that only one index has read is returned as it is."""
    return cast(Question, question.encoded.get(index, question))


class Joined(Pipeline):
    """The steps from questions to hits, for the committed states of several indexes.

    parts: the pipelines of the indexes by their names, the first one first.
    """

    def __init__(self, pages: JoinedPages, parts: Mapping[str, Pipeline]) -> None:
        self.pages = pages
        self._parts = dict(parts)
        self._main, *self._others = self._parts
        main = self._parts[self._main]
        # The pages stand in for the Snapshot of an index, as those of a store do.
        super().__init__(cast(Snapshot, pages), self._scorer_of, main._encoder, main._draw, main._embedder)

    def _scorer_of(self, name: str) -> Scorer:
        """Return what ranks pages under a name: of another index than the first one, or a way of the first."""
        if name in self._others:
            return OfIndex(self.pages, name, name, self._parts[name].scorer(self._own_name(name)))
        if name not in SCORERS:
            known = " or ".join(map(repr, (*self._others, *SCORERS)))
            raise InvalidArgument(f"pages are ranked by {known}, not by {name!r}")
        return OfIndex(self.pages, self._main, name, self._parts[self._main].scorer(name))

    def _index_of(self, name: str) -> str:
        """Return the index that a scorer ranks."""
        return name if name in self._others else self._main

    def _used(self, names: Sequence[str] | set[str]) -> list[str]:
        """Return the indexes that take part in a ranking by these scorers, the first one first."""
        used = {self._index_of(name) for name in names if name != RERANK}
        return [index for index in self._parts if index in used]

    # ---- ranking

    @property
    def default(self) -> Plan:
        """The way of ranking of those who name none: all indexes with equal weights."""
        share = 1 / len(self._parts)
        return Plan({self._parts[self._main]._alone: share, **dict.fromkeys(self._others, share)})

    @property
    def _leading(self) -> Plan:
        """The way of ranking for a question of which the model of the first index knows little."""
        share = 1 / len(self._parts)
        first = {name: weight * share for name, weight in self._parts[self._main]._leading.weights.items()}
        return Plan({**first, **dict.fromkeys(self._others, share)})

    def _holds(self, name: str, keys: np.ndarray) -> np.ndarray:
        return self.pages.has(self._index_of(name), keys)

    def asked(self, texts: Sequence[str], by: str | Plan | None = None, *, explain: bool = True) -> list[Question]:
        """Return questions as each index reads them that takes part in a way of ranking."""
        arguments.questions(texts)
        names = plans.scorers_of(by or self.default)
        made = [Question(text, {}) for text in texts]
        for index in self._used(names):
            own = self._parts[index].asked(texts, self._own_way(names, index), explain=explain)
            made = [self._with(question, index, one) for question, one in zip(made, own, strict=True)]
        return made

    def _with(self, question: Question, index: str, own: Question) -> Question:
        """Return a question with what one of the indexes made of it."""
        told = own.warnings if index == self._main else tuple(f"{index}: {warning}" for warning in own.warnings)
        return Question(question.text, {**question.encoded, index: own}, (*question.warnings, *told))

    def _unlogged(self, question: Question) -> tuple[str, ...]:
        return tuple(warning for name, one in question.encoded.items() for warning in self._parts[name]._unlogged(one))

    def _by_words(self, question: Question) -> Question | None:
        main = question.encoded.get(self._main)
        by_words = None if main is None else self._parts[self._main]._by_words(main)
        return None if by_words is None else self._with(replace(question, warnings=()), self._main, by_words)

    def _with_single(self, question: Question) -> Question:
        own = self._parts[self._main]._with_single(question.encoded[self._main])
        return replace(question, encoded={**question.encoded, self._main: own})

    def _lacking(self, way: str | Plan) -> tuple[str, ...]:
        """Return sentences about pages that not all indexes have, and that a way of ranking cannot find."""
        lines: list[str] = []
        names = plans.scorers_of(way)
        used, every = self._used(names), len(self.pages)
        for index in used:
            lines += self._parts[index]._lacking(self._own_way(names, index))
            if lacking := self.pages.counts(used) - self.pages.counts([index]):
                lines.append(f"{lacking:,} of {every:,} pages are not in {index}, and are ranked by the others alone")
        if unsearched := every - self.pages.counts(used):
            others = " and ".join(index for index in self._parts if index not in used)
            lines.append(f"{unsearched:,} of {every:,} pages are only in {others}, which is not searched")
        for index, docs in self.pages.changed.items():
            shown = ", ".join(docs[:NAMED]) + (", ..." if len(docs) > NAMED else "")
            lines.append(
                f"{shown}: {index} has another version of the file, which is left out; run visret index again for the "
                "index that is out of date"
            )
        return tuple(lines)

    def _own_way(self, names: set[str], index: str) -> Plan:
        """Return the way in which an index takes part in a ranking by these scorers."""
        return Plan(dict.fromkeys((self._own_name(name) for name in names if self._index_of(name) == index), 1))

    def _own_name(self, name: str) -> str:
        """Return what the index of a scorer calls it."""
        return self._parts[name]._alone if name in self._others else name

    # ---- hits and explanations

    def hits(
        self,
        question: Question,
        found: Ranking,
        *,
        explain: bool = True,
        start: int = 0,
        whole: Ranking | None = None,
    ) -> Iterator[Hit]:
        """Yield the hits of a ranking from place `start` on, as `Pipeline.hits`.

        Text and passage of a page are those of the first index that has it and takes part. A page is weak if all
        indexes say so that can tell, and has the largest relevance that one of them sees.
        """
        known = list(ranking.hits(self.snapshot, found, start))
        if not explain:
            yield from (hit for _, hit in known)
            return
        parts = {name: part[start:] for name, part in found.parts.items()}
        rest = Ranking(found.keys[start:], found.scores[start:], parts)
        examined = {
            index: self._parts[index].hits(
                own_question(question, index), self._own(rest, index), whole=self._own(whole or found, index)
            )
            for index in self._used(set(found.parts))
        }
        for key, hit in known:
            said = [next(examined[index]) for index in self.pages.holders(key) if index in examined]
            yield _joined_hit(hit, said)

    def _own(self, found: Ranking, index: str) -> Ranking:
        """Return the part of a ranking that an index has, as it would rank it itself."""
        there = self.pages.has(index, found.keys)
        parts = {
            self._own_name(name): part[there]
            for name, part in found.parts.items()
            if name != RERANK and self._index_of(name) == index
        }
        return Ranking(self.pages.own_keys(index, found.keys[there]), found.scores[there], parts)

    def explained(
        self, question: Question, found: Ranking, *, start: int = 0, whole: Ranking | None = None
    ) -> Iterator[tuple[Hit, Explanation]]:
        """Yield the hits of a ranking with their explanations."""
        for hit in self.hits(question, found, start=start, whole=whole):
            yield hit, self.explain(question, hit.ref, scores=hit.scores)

    def passages(self, question: Question, ref: PageRef, count: int) -> list[Passage]:
        """Return the passages of a page that answer a question, in the index that explains it."""
        index, own = self._explaining(ref, {}, [index for index in self._parts if index in question.encoded])
        return self._parts[index].passages(own_question(question, index), own, count)

    def explain(
        self, question: Question, ref: PageRef, *, scores: Mapping[str, float] = MappingProxyType({})
    ) -> Explanation:
        """Return where on a page the question is answered, by the first index that has the page and takes part."""
        read = [index for index in self._parts if index in question.encoded]
        index, own = self._explaining(ref, scores, read)
        why = self._parts[index].explain(own_question(question, index), own, scores=self._own_scores(index, scores))
        alone = ", the only one that has this page" if len(self.pages.holders(self._key(ref))) == 1 else ""
        note = f"They are those of the index {index}{alone}."
        return replace(why, scores=scores, note=note, embedding=replace(why.embedding, ref=ref))

    def asked_about(
        self,
        text: str,
        ref: PageRef,
        scores: Mapping[str, float] = MappingProxyType({}),
        index: str | None = None,
    ) -> Question:
        """Return a question as the index asks it that explains a page, as `Pipeline.asked_about`.

        index: the name of that index; None for the first that has the page and took part in its scores.
        """
        chosen, own = self._explaining(ref, scores, []) if index is None else self.pages.home(ref, index)
        part = self._parts[chosen]
        return self._with(Question(text, {}), chosen, part.asked_about(text, own, self._own_scores(chosen, scores)))

    def finder(self, ref: PageRef | None) -> str:
        """Return the scorer that compares a page with others: that of the first index that has it."""
        index = self._main if ref is None else self.pages.home(ref)[0]
        return LATE if index == self._main else index

    def _explaining(self, ref: PageRef, scores: Mapping[str, float], read: Sequence[str]) -> tuple[str, PageRef]:
        """Return the index that explains a page, and the page as that names it.

        read: the indexes that have read the question, if any have.
        """
        holders = self.pages.holders(self._key(ref))
        for wanted in (self._used(set(scores)), read):
            holders = [index for index in holders if index in wanted] or holders
        return self.pages.home(ref, holders[0])

    def _own_scores(self, index: str, scores: Mapping[str, float]) -> dict[str, float]:
        return {
            self._own_name(name): score
            for name, score in scores.items()
            if name != RERANK and self._index_of(name) == index
        }

    def _key(self, ref: PageRef) -> int:
        number, page = self.pages.find(ref)
        return number << 32 | page


def _joined_hit(hit: Hit, said: Sequence[Hit]) -> Hit:
    """Return a hit with what the indexes say of it that have the page, the first one first."""
    told = [one for one in said if one.relevance is not None]
    return replace(
        hit,
        text=said[0].text,
        passage=said[0].passage,
        weak=all(one.weak for one in told or said),
        relevance=max((one.relevance for one in told if one.relevance is not None), default=None),
    )
