"""The path of a question through a search: it is encoded, pages are ranked, and what was found becomes hits.

Ranking and explaining are two steps, and a hit is explained only when somebody asks for it. `hits` reads the stored
vectors of its page once and quotes a line; `explained` makes the whole Explanation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from visret import arguments
from visret.choices import BM25, DENSE, KINDS, LATE, RERANK, TOGETHER, WITHOUT_MODEL
from visret.errors import InvalidArgument
from visret.explain import attribution, passages
from visret.explain.attribution import Explanation
from visret.explain.layout import Quotable
from visret.index import IndexModel, Snapshot
from visret.index.embedded import adding
from visret.index.fields import POSTINGS
from visret.search import bm25, late_interaction, leading, plans, ranking
from visret.search.plans import Plan
from visret.search.weakness import SEVERAL, Judge, Verdict, judge_of, strength
from visret.types import (
    Embedder,
    Encoder,
    Hit,
    Matches,
    Page,
    PageEmbedding,
    PageRef,
    Passage,
    QueryEmbedding,
    Question,
    Quote,
    Ranking,
    Scorer,
    page_ref,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger(__name__)

SAMPLE = 8  # pages, spread over the index, whose mean strength is that of a page in general

_FOREIGN = "knows little of this question, and no page that was searched has any of its words"

# The pages to rank: a document's name, a hit, a PageRef, a pair of document and page; or several of these.
Among = str | Hit | tuple[str, int] | Iterable[str | Hit | tuple[str, int]]


class Pipeline:
    """The steps from questions to hits, for one committed state of an index.

    encoder: returns the model, which is loaded when it is first needed. draw: draws a page at a resolution in dpi, for
    explanations. embedder: returns the added model with this number. asking: returns what encodes questions; None for
    the model itself.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        scorer: Callable[[str], Scorer],
        encoder: Callable[[], Encoder],
        draw: Callable[[PageRef, int], Image],
        embedder: Callable[[int], Embedder],
        asking: Callable[[], Encoder] | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.scorer = scorer
        self._encoder = encoder
        self._draw = draw
        self._asking = asking or encoder
        self._embedder = embedder

    def rank(
        self,
        questions: Sequence[str],
        k: int,
        *,
        where: Mapping[str, Any] | None = None,
        among: Among | None = None,
        exact: bool = False,
        by: str | Plan | None = None,
        documents: int = 0,
        explain: bool = True,
    ) -> list[tuple[Question, Ranking]]:
        """Return each question with the k best pages for it; the arguments are those of `Retriever.search_many`.

        documents: go on until the pages are of so many documents, or are all that can be found. explain: whether pages
        will be explained, for which the model of the index reads the question too.
        """
        listed = isinstance(questions, Iterable) and not isinstance(questions, str)
        questions = list(questions) if listed else []
        if not listed or not all(isinstance(question, str) for question in questions):
            raise InvalidArgument("search takes a question as text, search_many a list of them")
        k = min(arguments.whole("k", k), max(len(self.snapshot), 1))
        chosen = self.snapshot.select(where, None if among is None else refs(self.snapshot, among))
        way = by or self.default
        for name in plans.scorers_of(way):
            self.scorer(name)  # raises its error before the model is loaded
        asked = self.asked(questions, way, explain=explain)

        def rank(way: str | Plan, questions: Sequence[Question]) -> list[Ranking]:
            def best(questions: Sequence[Question], k: int) -> list[Ranking]:
                return plans.rank(way, self.scorer, self.snapshot, questions, k, chosen, exact=exact, holds=self._holds)

            return until_documents(best, questions, k, documents, len(self.snapshot))

        led: dict[int, tuple[Question, Ranking]] = {}
        for number, question in enumerate(asked if by is None else ()):
            if (by_words := self._by_words(question)) is not None:
                (one,) = rank(self._leading, [self._with_single(question)])
                if not np.isnan(one.parts[BM25]).all() or DENSE in one.parts:
                    led[number] = by_words, one
                else:  # no page has any of its words
                    said = question.warnings or (f"{self.snapshot.model.name} {_FOREIGN}",)
                    asked[number] = replace(question, warnings=said, is_foreign=True)
        others = [number for number in range(len(asked)) if number not in led]
        usual = zip(others, rank(way, [asked[number] for number in others]) if others else (), strict=True)
        made = led | {number: (asked[number], one) for number, one in usual}
        found = [made[number] for number in range(len(asked))]
        for warning in dict.fromkeys(warning for question, _ in found for warning in self._unlogged(question)):
            _log.warning("%s", warning)
        lacking = [self._lacking(self._leading if number in led else way) for number in range(len(found))]
        return [
            (replace(question, warnings=(*question.warnings, *lines)), one)
            for (question, one), lines in zip(found, lacking, strict=True)
        ]

    def _unlogged(self, question: Question) -> tuple[str, ...]:
        """Return the warnings about a question that were not logged yet; encoders log their own."""
        return () if LATE in question.encoded else question.warnings

    def _lacking(self, way: str | Plan) -> tuple[str, ...]:
        """Return sentences about pages that a way of ranking cannot find, since an added model has not been there."""
        lines = []
        for kind in sorted(plans.scorers_of(way) & set(KINDS)):
            if (added := self.snapshot.added_for(kind)) is not None:
                count = self.snapshot.count_lacking(added[0])
                said = f"{count:,} of {len(self.snapshot):,} pages have no {kind} vectors of {added[1].name}"
                lines += [f"{said}: {adding(added[1])}"] * (count > 0)
        return tuple(lines)

    def _by_words(self, question: Question) -> Question | None:
        """Return a question for its words alone if they should lead, since the model knows little of it; else None."""
        model = self.snapshot.model
        if LATE not in question.encoded or model.modality != "text":
            return None
        if any(POSTINGS in segment.lacks for segment in self.snapshot.segments):
            return None
        if not leading.knows_little(self.query(question)):
            return None
        led = f"{model.name} knows little of this question, so pages with its words come first"
        if (leads := self._leads) is not None:
            led = f"pages are ranked by the words of this question and by {leads[1].name}, which reads its language"
        return Question(question.text, {}, (led,))

    # What tells which pages the index of a scorer holds; None if all pages are of one index.
    _holds: plans.Holds | None = None

    @property
    def default(self) -> str | Plan:
        """The way of ranking of those who name none."""
        added = self.snapshot.added_for(DENSE) if self._alone == LATE else None
        return TOGETHER if added is not None and added[1].preprocessing.get("beside_late") else self._alone

    @property
    def _alone(self) -> str:
        """The scorer of those who name none, in an index to which nothing was added."""
        return LATE if self.snapshot.model.makes_vectors else BM25

    @property
    def _leading(self) -> Plan:
        """The way of ranking for questions of which the model knows little."""
        return leading.PLAN if self._leads is None else leading.WITH_MODEL

    @property
    def _leads(self) -> tuple[int, IndexModel] | None:
        """The added model that leads for such questions, with its number; None if there is none."""
        added = self.snapshot.added_for(DENSE) if self._alone == LATE else None
        return added if added is not None and added[1].preprocessing.get("leads") else None

    def _with_single(self, question: Question) -> Question:
        """Return a question with its single vector, if a model leads that makes one."""
        if (leads := self._leads) is None or DENSE in question.encoded:
            return question
        (vector,) = self._embedder(leads[0]).embed_queries([question.text])
        return replace(question, encoded={**question.encoded, DENSE: vector})

    def finder(self, ref: PageRef | None) -> str:  # noqa: ARG002 - for `Joined`
        """Return the scorer that compares a page, which is not in the index if it is None, with others."""
        return LATE

    def asked(self, texts: Sequence[str], by: str | Plan | None = None, *, explain: bool = True) -> list[Question]:
        """Return questions for a way of ranking, encoded by each model that it needs. explain: as in `rank`."""
        names = plans.scorers_of(by or self.default)
        if names <= set(WITHOUT_MODEL):
            arguments.questions(texts)
            return [Question(text, {}, self._words().warnings(Question(text, {}))) for text in texts]
        added = {kind: found[0] for kind in KINDS if kind in names and (found := self.snapshot.added_for(kind))}
        only_added = names <= {*WITHOUT_MODEL, *added}
        if only_added and not (explain and self.snapshot.model.makes_vectors):
            arguments.questions(texts)
            made = [Question(text, {}) for text in texts]
        else:
            made = self.read(texts)
        for kind, number in added.items():
            vectors = self._embedder(number).embed_queries(texts)
            each = zip(made, vectors, strict=True)
            made = [replace(question, encoded={**question.encoded, kind: one}) for question, one in each]
        return made

    def read(self, texts: Sequence[str]) -> list[Question]:
        """Encode questions for the vectors of the index, through its projection if it has one."""
        queries, fitted = self._asking().encode_queries(texts), self.snapshot.fitted
        if fitted is not None:
            queries = [replace(query, vectors=fitted.project(query.vectors)) for query in queries]
        return [Question(text, {LATE: query}, query.warnings) for text, query in zip(texts, queries, strict=True)]

    def encoded(self, page: Page) -> PageEmbedding:
        """Return a page that is not in the index as vectors like those stored. Raises InvalidArgument if it cannot."""
        encoder, fitted = self._encoder(), self.snapshot.fitted
        if not encoder.can_read(page):
            raise InvalidArgument(f"{encoder.spec.name} finds nothing to read on {page.ref.doc}, page {page.ref.page}")
        (made,) = encoder.encode_pages([page])
        return made if fitted is None else replace(made, vectors=fitted.project(made.vectors))

    def query(self, question: Question) -> QueryEmbedding:
        """Return what the model made of a question, with its warnings."""
        query: QueryEmbedding = question.encoded[LATE]
        return query

    def _words(self) -> bm25.BM25:
        return cast(bm25.BM25, self.scorer(BM25))

    def hits(
        self,
        question: Question,
        found: Ranking,
        *,
        explain: bool = True,
        start: int = 0,
        whole: Ranking | None = None,
    ) -> Iterator[Hit]:
        """Yield the hits of a ranking from place `start` on, best first.

        explain: set `text`, `weak` and `relevance`, which needs a look at each page. whole: the ranking that these
        pages were chosen from, which says whether the index is about the question; None for this one.

        Vectors say what a page answers where the question was encoded, and else the words.
        """
        if not explain:
            yield from (hit for _, hit in ranking.hits(self.snapshot, found, start))
            return
        if len(found.keys) <= start:
            return
        encoded, known = LATE in question.encoded, dict[int, Matches]()
        scorer = self.scorer(LATE if encoded else BM25)
        judge = self._judge(question, whole or found, known) if encoded else None
        read = cache(lambda: self.read([question.text])[0])
        for key, hit in ranking.hits(self.snapshot, found, start):
            if not encoded and _has_no_words(hit):
                yield self._quoted(hit, read(), key, cast(Matches, self.scorer(LATE).explain(read(), key)))
                continue
            why = known.get(key) or scorer.explain(question, key)
            if isinstance(why, Quote):
                hit = replace(hit, text=why.line, passage=why.passage)
                # A page that was found by other things than its words, too, may answer with none of them.
                if BM25 in found.parts and not (why.weak and DENSE in found.parts):
                    hit = replace(hit, weak=why.weak, relevance=why.relevance)
            elif why is not None and judge is not None:
                hit = replace(self._quoted(hit, question, key, why), **judge(why.values)._asdict())
            yield hit

    def _quoted(self, hit: Hit, question: Question, key: int, why: Matches) -> Hit:
        """Return a hit with the line and the passage that match a question best."""
        page = self.snapshot.placed_text(key)
        line = attribution.best_line(page, why.best, attribution.shares(why.values))
        return replace(hit, text=line, passage=next(iter(self._passages(question, key, page, why, 1)), None))

    def explained(
        self, question: Question, found: Ranking, *, start: int = 0, whole: Ranking | None = None
    ) -> Iterator[tuple[Hit, Explanation]]:
        """Yield the hits of a ranking with their explanations, each of which holds the vectors of its page.

        start, whole: as in `hits`.
        """
        if LATE not in question.encoded:
            read = cache(lambda: self.read([question.text])[0])
            for hit in self.hits(question, found, start=start):
                yield hit, self.explain(read() if _has_no_words(hit) else question, hit.ref, scores=hit.scores)
            return
        if len(found.keys) <= start:
            return
        known: dict[int, Matches] = {}
        judge = self._judge(question, whole or found, known)
        for key, hit in ranking.hits(self.snapshot, found, start):
            why = self._by_vectors(question, hit.ref, hit.scores, known.get(key))
            yield replace(hit, text=why.line, passage=why.passage, **judge(why.values)._asdict()), why

    def passages(self, question: Question, ref: PageRef, count: int) -> list[Passage]:
        """Return the passages of a page that answer a question, best first, by its vectors or else by its words."""
        segment, row = self.snapshot.find(ref)
        if LATE not in question.encoded:
            return self._words().passages(question, segment, row, count)
        (key,) = self.snapshot.keys(np.array([segment]), np.array([row])).tolist()
        why = self.scorer(LATE).explain(question, key)
        assert isinstance(why, Matches)
        return self._passages(question, key, self.snapshot.placed_text(key), why, count)

    def _passages(self, question: Question, key: int, page: Quotable, why: Matches, count: int) -> list[Passage]:
        size_pt = self.snapshot.size_pt(*self.snapshot.locate(key))
        content = self.query(question).content
        return passages.best(page, why.similar, size_pt, content=content, question=question.text, count=count)

    def explain_text(
        self,
        text: str,
        ref: PageRef,
        scores: Mapping[str, float] = MappingProxyType({}),
        index: str | None = None,
    ) -> Explanation:
        """Return where on a page a question is answered, as it would be explained if a search had found the page.

        scores: those of the hit, if a search has. A page that was found by its words alone is explained by them.
        index: as in `asked_about`.
        """
        return self.explain(self.asked_about(text, ref, scores, index), ref, scores=scores)

    def asked_about(
        self,
        text: str,
        ref: PageRef,
        scores: Mapping[str, float] = MappingProxyType({}),
        index: str | None = None,
    ) -> Question:
        """Return a question as a search that found this page would have asked it: for its words alone if they lead.

        scores: as in `explain_text`. index: which of several indexes explains the page, which only `Joined` knows.
        """
        if index is not None:
            raise InvalidArgument(f"this retriever searches one index, so there is no {index!r}; see fused_with")
        if scores and not scores.keys() - {BM25, RERANK}:
            return self.asked([text], BM25)[0]
        (question,) = self.asked([text])
        if (by_words := self._by_words(question)) is not None:
            (ranking,) = self.scorer(BM25).rank([by_words], 1, self.snapshot.select(among=[ref]))
            if len(ranking.keys):
                return by_words
        return question

    def explain(
        self, question: Question, ref: PageRef, *, scores: Mapping[str, float] = MappingProxyType({})
    ) -> Explanation:
        """Return where on a page the question is answered: by its vectors if it was encoded, else by its words.

        scores: what the page was ranked by. If words are a part of that, the explanation has what each of them adds.
        """
        if LATE in question.encoded:
            return self._by_vectors(question, ref, scores)
        from visret.search import by_words

        return replace(by_words.explained(self._words(), question, ref, render=self._drawn(ref)), scores=scores)

    def _by_vectors(
        self, question: Question, ref: PageRef, scores: Mapping[str, float], matches: Matches | None = None
    ) -> Explanation:
        """Return where on a page an encoded question is answered. matches: those on this page, if they are known."""
        segment, row = self.snapshot.find(ref)
        (key,) = self.snapshot.keys(np.array([segment]), np.array([row])).tolist()
        why = matches or cast(Matches, self.scorer(LATE).explain(question, key))

        def passages(count: int) -> list[Passage]:
            return self._passages(question, key, self.snapshot.placed_text(key), why, count)

        query, embedding = self.query(question), self.snapshot.embedding(ref)
        made, slope = self.snapshot.segment(segment).made[row], late_interaction.slope_for(self.snapshot.model)
        length = len(query.vectors) * float(late_interaction.for_length(made, slope))
        told = attribution.explain(
            query, embedding, length=length, render=self._drawn(ref), matches=why, found=passages
        )
        parts = self._words().parts(question, segment, row) if BM25 in scores else ()
        return replace(told, scores=scores, words={part.label: part.value for part in parts if part.value})

    def _drawn(self, ref: PageRef) -> Callable[[int], Image] | None:
        """Return what draws a page; None for one without a picture."""
        return None if self.snapshot.size_pt(*self.snapshot.find(ref)) is None else partial(self._draw, ref)

    def _judge(self, question: Question, found: Ranking, known: dict[int, Matches]) -> Judge:
        """Return what judges the pages that were found. known: gets the matches of the first pages, by their keys."""
        query, scorer = self.query(question), self.scorer(LATE)
        late = found.parts.get(LATE, found.scores)
        order = np.argsort(-np.nan_to_num(late, nan=-np.inf), kind="stable")[:SEVERAL]
        for key in found.keys[order].tolist():
            why = scorer.explain(question, key)
            assert isinstance(why, Matches)
            known[key] = why
        line = self._asking().spec.options.get("weak_below")
        if question.is_foreign and line is not None:
            return lambda _: Verdict(True, 0.0)
        # What was measured in the index is of its own model's questions.
        floor = self.snapshot.floor if self._asking is self._encoder else None
        return judge_of(query, line, floor, [why.values for why in known.values()], partial(self._typical, query))

    def _typical(self, query: QueryEmbedding) -> float:
        """Return the mean strength of SAMPLE pages of the index."""
        counts = [len(self.snapshot.rows(segment.number)) for segment in self.snapshot.segments]
        ends, count = np.cumsum(counts), min(SAMPLE, sum(counts))
        reached = []
        for place in ((2 * np.arange(count) + 1) * ends[-1] // (2 * count)).tolist():
            at = int(np.searchsorted(ends, place, side="right"))
            segment = self.snapshot.segments[at]
            row = self.snapshot.rows(segment.number)[place - ends[at] + counts[at]]
            reached.append(strength(segment.matches(int(row), query.vectors).values, query.content))
        return float(np.mean(reached))


def _has_no_words(hit: Hit) -> bool:
    """Return whether a page was found by single vectors alone, though words were looked for too."""
    return LATE in hit.scores and DENSE in hit.scores and BM25 not in hit.scores


def until_documents(
    rank: Callable[[Sequence[Question], int], list[Ranking]],
    questions: Sequence[Question],
    depth: int,
    documents: int,
    pages: int,
) -> list[Ranking]:
    """Return for each question the `depth` best pages, or more until they are of so many documents.

    rank: returns the best pages for some questions, so many for each. pages: how many there are.
    """
    found = rank(questions, depth)
    while documents and depth < pages:
        short = [n for n, one in enumerate(found) if len(one.keys) == depth and len(ranking.firsts(one)) < documents]
        if not short:
            break
        depth = min(2 * depth, pages)
        for n, deeper in zip(short, rank([questions[n] for n in short], depth), strict=True):
            found[n] = deeper
    return found


def refs(snapshot: Snapshot, among: Among) -> list[PageRef]:
    """Return the pages that `search` is to rank. Raises InvalidArgument for one that is not there."""
    pair = isinstance(among, tuple) and len(among) == 2 and not isinstance(among[1], str | Hit | tuple)
    found: list[PageRef] = []
    for one in [among] if pair else arguments.several(among):
        if isinstance(one, Hit | tuple | list):
            found.append(page_ref(one))  # type: ignore[arg-type]
        else:
            document = snapshot.document(arguments.name(one))
            found += [PageRef(document.doc, page) for page in document.pages]
    return found
