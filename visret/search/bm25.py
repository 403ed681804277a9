"""The Scorer "bm25": the words of a question on the words of pages, from the postings in the index. It needs no model.

    score = sum over the question's terms of idf * tf / (tf + k1 * (1 - b + b * length / mean length))
    idf = ln(1 + (N - df + 0.5) / (df + 0.5))

This is Lucene's BM25 as bm25s has it (method="lucene"; Lù 2024, arXiv 2407.03618; Kamphuis et al. 2020): tf is how
often a term is on the page, df how many of the N pages have it. N, df and the mean length are those of all pages in
the index, whatever a filter leaves; removed pages do not count. `visret.index.terms` says what a term is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from visret.explain import passages
from visret.explain.layout import laid_out
from visret.index import Segment, Snapshot, terms
from visret.search import ranking
from visret.search.ranking import relevance
from visret.types import Passage, Question, Quote, Ranking, Scorer, Selection

K1, B = 1.2, 0.75
# A page with less than this share of what the question's terms are worth (their idf) is a weak match: of the right
# pages among ten hits for 94 questions about real manuals 21 % are marked, of the best pages for other questions 85 %.
WEAK_BELOW = 0.4
EVIDENCE = 6.0  # as in passages: that a word stands on a line says less than how well its vector is matched there
MAX_KEPT = 1 << 22  # pages of terms that were looked up, for explanations and the next questions; 12 bytes each

_Needle = tuple[str, bool]  # a term, or the beginning of one


class BM25:
    """The scorer "bm25" of one committed state. Nothing is read before a question is asked."""

    name = "bm25"

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._looked: dict[_Needle, _Looked] = {}
        self._kept = 0

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:  # noqa: ARG002
        """Return the k best pages for each question, of those with any of its terms and all of its phrases.

        exact makes no difference: every such page is scored.
        """
        return [self._rank(terms.of_question(question.text), k, among) for question in questions]

    def explain(self, question: Question, key: int) -> Quote:
        """Return the line of a page whose terms are worth most, and whether the page lacks most of the question."""
        segment, row = self.snapshot.locate(key)
        looked = self._looked_up(question).values()
        held = sum(one.idf for one in looked if one.share(segment, row))
        share = held / (sum(one.idf for one in looked) or 1.0)
        passage = next(iter(self.passages(question, segment, row)), None)
        return Quote(self.line(question, segment, row), share < WEAK_BELOW, relevance(share, WEAK_BELOW), passage)

    def line(self, question: Question, segment: int, row: int) -> str:
        """Return the line of a page whose terms are worth most; "" if no line has any."""
        worth = {needle: one.idf for needle, one in self._looked_up(question).items()}
        return best_line(self.snapshot.segment(segment).text(row), worth)

    def passages(self, question: Question, segment: int, row: int, count: int = 1) -> list[Passage]:
        """Return the passages of a page whose terms are worth most, best first; none if no line has any."""
        worth = {needle: one.idf for needle, one in self._looked_up(question).items()}
        text, boxes = self.snapshot.words(segment, row)
        edges, size_pt = self.snapshot.segment(segment).edges(row), self.snapshot.size_pt(segment, row)
        return best_passages(text, boxes, edges, size_pt, question.text, worth, count)

    def parts(self, question: Question, segment: int, row: int) -> list[Part]:
        """Return what each term of a question adds to the score of a page, in the order of the question."""
        found = []
        for (term, is_prefix), often in _needles(terms.of_question(question.text)).items():
            one = self._look((term, is_prefix))
            found.append(Part(term, is_prefix, often * one.idf * one.share(segment, row)))
        return found

    def warnings(self, question: Question) -> tuple[str, ...]:
        """Return a sentence about the words of a question that no page has; () if there are none."""
        looked = self._looked_up(question)
        lost = [_label(*needle) for needle, one in looked.items() if not any(len(p.rows) for p in one.found.values())]
        return unknown(lost, len(looked))

    def _looked_up(self, question: Question) -> dict[_Needle, _Looked]:
        return {needle: self._look(needle) for needle in _needles(terms.of_question(question.text))}

    def _rank(self, asked: terms.Asked, k: int, among: Selection) -> Ranking:
        looked = [(self._look(needle), often) for needle, often in _needles(asked).items()]
        required = [self._look((term, False)) for phrase in asked.phrases for term in terms.parts_of(phrase)[0]]
        required += [self._look((term, True)) for phrase in asked.phrases for term in terms.parts_of(phrase)[1]]
        found = []
        for part in self._segments:
            chosen = among.rows.get(part.number)
            if chosen is None:
                continue
            every = np.zeros(len(part.norms), np.float32)
            for one, often in looked:
                rows, shares = one.found[part.number]
                every[rows] += np.float32(one.idf * often) * shares
            for one in required:
                lacks = np.ones(len(every), bool)
                lacks[one.found[part.number].rows] = False
                every[lacks] = 0
            rows = chosen[every[chosen] > 0]
            found.append((part.number, rows, every[rows]))
        every_one = sum(len(rows) for _, rows, _ in found)
        best = ranking.best(self.snapshot, self.name, found, every_one if asked.phrases else k)
        return self._with_phrases(best, k, asked.phrases) if asked.phrases else best

    def _with_phrases(self, found: Ranking, k: int, phrases: Sequence[str]) -> Ranking:
        """Return the k best pages of a ranking that hold all phrases."""
        patterns = [terms.phrase_pattern(phrase) for phrase in phrases]
        held: list[int] = []
        for at, key in enumerate(found.keys.tolist()):
            segment, row = self.snapshot.locate(key)
            text = terms.folded(self.snapshot.segment(segment).text(row))
            if all(pattern.search(text) for pattern in patterns):
                held.append(at)
            if len(held) == k:
                break
        kept = np.array(held, np.int64)
        return Ranking(found.keys[kept], found.scores[kept], {self.name: found.scores[kept]})

    def _look(self, needle: _Needle) -> _Looked:
        """Look up a term, or the beginning of one, in all segments."""
        if (known := self._looked.get(needle)) is not None:
            return known
        term, is_prefix = needle
        found = {part.number: part.look(term, is_prefix) for part in self._segments}
        df = sum(len(posting.rows) for posting in found.values())
        self._kept += 1 + df
        if self._kept > MAX_KEPT:
            self._looked.clear()
            self._kept = 1 + df
        looked = _Looked(math.log(1 + (len(self.snapshot) - df + 0.5) / (df + 0.5)), found)
        self._looked[needle] = looked
        return looked

    @cached_property
    def _segments(self) -> list[_Words]:
        """The segments with what a score needs of them. Raises PageIndexError where one has no postings."""
        segments = self.snapshot.segments
        total = sum(int(s.postings.lengths[self.snapshot.rows(s.number)].sum(dtype=np.int64)) for s in segments)
        mean = total / max(len(self.snapshot), 1)
        return [_Words(segment, self.snapshot.rows(segment.number), mean) for segment in segments]


class Part(NamedTuple):
    """The part of a page's score that a term, or the beginning of one, adds; 0 if the page lacks it."""

    term: str
    is_prefix: bool
    value: float

    @property
    def label(self) -> str:
        """The term as a question has it."""
        return _label(self.term, self.is_prefix)

    def is_among(self, found: Collection[str]) -> bool:
        """Return whether these terms of a text have it."""
        return _has(found, self.term, self.is_prefix)


class _Looked(NamedTuple):
    """A term or a prefix that was looked up. found: the pages that have it, by segment."""

    idf: float
    found: dict[int, _Found]

    def share(self, segment: int, row: int) -> float:
        """Return what a page gets of its idf; 0 if the page lacks it."""
        rows, shares = self.found[segment]
        at = int(np.searchsorted(rows, row))
        return float(shares[at]) if at < len(rows) and rows[at] == row else 0.0


class _Found(NamedTuple):
    """The live pages of a segment that have a term.

    rows: (n,) int64, sorted. shares: (n,) float32, what each gets of the term's idf.
    """

    rows: np.ndarray
    shares: np.ndarray


class _Words:
    """A segment. mean: the mean length of the pages of the index."""

    def __init__(self, segment: Segment, rows: np.ndarray, mean: float) -> None:
        self.number = segment.number
        self.postings = segment.postings
        lengths = self.postings.lengths
        self.norms = (K1 * (1 - B + B * lengths / (mean or 1))).astype(np.float32)
        self.is_live: np.ndarray | None = None
        if len(rows) < len(lengths):
            self.is_live = np.zeros(len(lengths), bool)
            self.is_live[rows] = True

    def look(self, term: str, is_prefix: bool) -> _Found:
        """Return the live pages that have a term, or any term that begins so."""
        rows, counts = self.postings.of_prefix(term) if is_prefix else self.postings.of_term(term)
        if self.is_live is not None:
            kept = self.is_live[rows]
            rows, counts = rows[kept], counts[kept]
        often = counts.astype(np.float32)
        return _Found(rows, often / (often + self.norms[rows]))


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> BM25:  # noqa: ARG001
    """Open the scorer of a committed state, as `scorers.Scorers` does; it is the same on every device."""
    return BM25(snapshot)


def _needles(asked: terms.Asked) -> Counter[_Needle]:
    """Return what is looked up for a question, with how often the question has it."""
    return Counter([*((term, False) for term in asked.terms), *((prefix, True) for prefix in asked.prefixes)])


def unknown(lost: Sequence[str], asked: int) -> tuple[str, ...]:
    """Return a sentence about the words of a question that no page has, of so many words; () if there are none."""
    if not lost:
        return ()
    words = ", ".join([f"{word[:30]!r}" for word in lost[:5]] + ["..."] * (len(lost) > 5))
    if len(lost) < asked:
        return (f"no page has {words}; the pages were ranked by the other words of this question",)
    return (f"no page has any word of this question ({words})",)


def best_passages(
    text: str,
    boxes: np.ndarray | None,
    edges: np.ndarray | None,
    size_pt: tuple[float, float] | None,
    question: str,
    worth: Mapping[tuple[str, bool], float],
    count: int,
) -> list[Passage]:
    """Return the passages of a page whose terms are worth most, best first. The page is as in `PlacedText`."""
    laid = laid_out(text, boxes, size_pt, edges)
    matched = _of_lines(laid.texts, worth)
    if not matched.any():
        return []
    spread = float((matched.max(axis=1) - matched.mean(axis=1)).mean())
    return passages.chosen(text, laid, matched, spread, size_pt, question, count, EVIDENCE)


def best_line(text: str, worth: Mapping[tuple[str, bool], float]) -> str:
    """Return the line whose terms are worth most, the first of several; "" if no line has any."""
    lines, letters = text.split("\n"), terms.folded(text).split("\n")
    if len(letters) < len(lines):  # where a line of Chinese ends, folding goes on
        letters = list(map(terms.folded, lines))
    # What a line holds as letters is an upper bound of what it holds as terms, and costs a tenth.
    bounds = np.zeros(len(lines))
    for (needle, _), value in worth.items():
        bounds += [value if needle in line else 0 for line in letters]
    best, found = 0.0, ""
    for at in np.argsort(-bounds, kind="stable").tolist():
        if bounds[at] <= best:
            break
        there = set(terms.of_page(lines[at]))
        value = sum(value for (needle, is_prefix), value in worth.items() if _has(there, needle, is_prefix))
        if value > best:
            best, found = value, lines[at].strip()
    return found


def _of_lines(lines: Sequence[str], worth: Mapping[_Needle, float]) -> np.ndarray:
    """Return what each term of a question is worth on each line, 0 where the line lacks it: (m, L) float64."""
    matched = np.zeros((len(worth), len(lines)))
    for at, line in enumerate(lines):
        letters = terms.folded(line)
        held = [number for number, (needle, _) in enumerate(worth) if needle in letters]
        there = set(terms.of_page(line)) if held else set()
        for number, (needle, value) in enumerate(worth.items()):
            if number in held and _has(there, *needle):
                matched[number, at] = value
    return matched


def _label(term: str, is_prefix: bool) -> str:
    return f"{term}*" if is_prefix else term


def _has(there: Collection[str], needle: str, is_prefix: bool) -> bool:
    return any(term.startswith(needle) for term in there) if is_prefix else needle in there


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORER: type[Scorer] = BM25
