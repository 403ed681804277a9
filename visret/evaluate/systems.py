"""Systems that rank pages (indexes, run files of TREC, any function), and their rankings.

A system has a name and a function from questions to pages. `system_of` makes one of an index, `read_run` of a run
file, and `System(name, rank)` of anything else.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from visret.choices import DEPTH
from visret.errors import InvalidArgument, PageIndexError
from visret.evaluate.questions import (
    JudgedQuestion,
    QuestionSet,
    Target,
    Unit,
    name_of,
    quoted,
    target_of,
    unquoted,
    wrong,
)
from visret.evaluate.tables import lines_of

if TYPE_CHECKING:
    from visret.index import Document
    from visret.retriever import Retriever
    from visret.search.plans import Plan
    from visret.types import Hit, Reranker

TIMED = 50  # questions that are asked one by one, after a first that is not counted
TOGETHER = 256  # questions that are asked at once, of the others
PAGES_A_DOCUMENT = 4  # that are asked for at first, where documents are ranked


class Found(NamedTuple):
    """A page that a system found for a question; `page` is None where the system ranks whole documents."""

    doc: str
    page: int | None
    score: float


Rank = Callable[[Sequence[JudgedQuestion], int], Sequence[Sequence[Found]]]


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """Something that ranks pages for questions.

    name: what tables call it.
    rank: takes questions and a number k, and returns for each of them the k best pages, or fewer where fewer are found,
        or more. Triples of document, page and score do as well as Found.
    bytes_a_page: what it stores of a page; None where unknown.
    is_timed: whether the time it takes to answer is the time that a user waits.
    retriever: the index that knows its pages, for their texts and pictures; None without one.
    """

    name: str
    rank: Rank
    bytes_a_page: float | None = None
    is_timed: bool = True
    retriever: Retriever | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rankings:
    """The rankings of a system.

    found: by the id of the question, best first; of pages with the same score the one whose name comes last in the
        alphabet is the first, as trec_eval has it. Of a ranking of documents, `page` is the best page of each.
    milliseconds: the median time of some questions that were asked one by one; None if nothing was timed.
    """

    system: System
    unit: Unit
    found: Mapping[str, Sequence[Found]]
    milliseconds: float | None = None

    def name(self, found: Found) -> str:
        """Return what a page or document is called in qrels."""
        return name_of(found.doc, found.page if self.unit == "page" else None)

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the scores by the ids of questions and of pages or documents, as ir-measures takes them."""
        return {key: {self.name(one): one.score for one in found} for key, found in self.found.items() if found}

    def place(self, question: str, target: Target) -> tuple[int, Found] | None:
        """Return the rank of a page or document, from 1, and how it was found; None where it was not."""
        page = target.page if self.unit == "page" else None
        for rank, one in enumerate(self.found.get(question, ()), 1):
            if one.doc == target.doc and (page is None or one.page == page):
                return rank, one
        return None


def system_of(
    retriever: Retriever,
    name: str | None = None,
    *,
    by: str | Plan | None = None,
    rerank: str | Reranker | None = None,
    depth: int = DEPTH,
    seconds: float | None = None,
) -> System:
    """Return an index as a system that ranks in one of its ways.

    name: what tables call it; the name of the index's folder unless given.
    by: the way, as in `Retriever.search`, which raises InvalidArgument for one that it does not know.
    rerank, depth, seconds: as in `Retriever.search`. Pages that the reranker does not score follow the others in their
        order, each with a score that is 1 less.
    """
    facts = retriever.info()

    def rank(questions: Sequence[JudgedQuestion], k: int) -> list[list[Found]]:
        texts = [question.text for question in questions]
        found = retriever.search_many(texts, k, by=by, explain=False, rerank=rerank, depth=depth, seconds=seconds)
        return [list(_with_numbers(hits)) for hits in found]

    return System(name or Path(facts["path"]).stem, rank, facts["bytes_a_page"], retriever=retriever)


def _with_numbers(hits: Iterable[Hit]) -> Iterator[Found]:
    """Yield what was found with scores that are numbers, in the order in which it was found."""
    last = 0.0
    for hit in hits:
        last = hit.score if math.isfinite(hit.score) else last - 1
        yield Found(hit.doc, hit.page, last)


def read_run(file: str | Path, name: str | None = None) -> System:
    """Read a run file of TREC: question, Q0, page, rank, score, and the name of the run, with blanks between them.

    Scores decide, whatever the ranks say. Raises InvalidArgument, which names the line, for anything else.

    name: what tables call it; that of the file unless given.
    """
    file = Path(file)
    found: dict[str, dict[Target, float]] = {}
    for line, row in lines_of(file):
        cells = row.split()
        if len(cells) != 6:
            raise wrong(file, line, f"has {len(cells)} columns; a run has six: question, Q0, page, rank, score, name")
        try:
            score = float(cells[4])
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise wrong(file, line, f"its score, the fifth column, is not a number: {cells[4]!r}")
        pages, target = found.setdefault(unquoted(cells[0]), {}), target_of(cells[2])
        if target in pages:
            raise wrong(file, line, f"has {cells[2]} a second time for question {cells[0]}; keep one")
        pages[target] = score
    if not found:
        raise InvalidArgument(f"{file}: is an empty run")

    def rank(questions: Sequence[JudgedQuestion], _k: int) -> list[list[Found]]:
        return [[Found(*target, score) for target, score in found.get(one.id, {}).items()] for one in questions]

    return System(name or file.stem, rank, is_timed=False)


def write_run(file: str | Path, rankings: Rankings) -> None:
    """Write what a system found as a run file of TREC, which `read_run` reads. Raises PageIndexError if it cannot."""
    file = Path(file)
    tag = quoted(rankings.system.name) or "visret"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf8", newline="\n") as out:
            for key, found in rankings.found.items():
                for rank, one in enumerate(found, 1):
                    out.write(f"{quoted(key)} Q0 {rankings.name(one)} {rank} {one.score!r} {tag}\n")
    except OSError as error:
        raise PageIndexError(file, f"the run cannot be written: {error.strerror or error}") from error


def rankings_of(system: System, questions: Iterable[JudgedQuestion], k: int, unit: Unit) -> Rankings:
    """Ask a system all questions. k: the pages or documents that are wanted for each."""
    asked = list(questions)
    if system.retriever is not None and (mute := [one.id for one in asked if not one.text]):
        raise InvalidArgument(
            f"{system.name}: question {mute[0]} has no text; bring the questions with --topics FILE, or put topics.tsv "
            "beside the qrels"
        )
    depth = k if unit == "page" else k * PAGES_A_DOCUMENT
    found: list[list[Found]] = []
    seconds = []
    if system.is_timed and asked:
        _asked(system, asked[:1], depth)  # loads the model, compiles
        for one in asked[:TIMED]:
            began = time.perf_counter()
            found += _asked(system, [one], depth)
            seconds.append(time.perf_counter() - began)
    for start in range(len(found), len(asked), TOGETHER):
        found += _asked(system, asked[start : start + TOGETHER], depth)
    while unit == "document":
        short = [at for at, one in enumerate(found) if len({doc for doc, *_ in one}) < k <= depth <= len(one)]
        if not short:
            break
        depth *= 4
        more = _asked(system, [asked[at] for at in short], depth)
        if all(len(pages) <= len(found[at]) for at, pages in zip(short, more, strict=True)):
            break  # all that it has
        for at, pages in zip(short, more, strict=True):
            found[at] = pages
    ranked = {one.id: _ordered(pages, unit) for one, pages in zip(asked, found, strict=True)}
    return Rankings(system, unit, ranked, statistics.median(seconds) * 1000 if seconds else None)


def _asked(system: System, questions: Sequence[JudgedQuestion], k: int) -> list[list[Found]]:
    """Return what a system found, held to what it promises."""
    found = [[Found(*one) for one in pages] for pages in system.rank(questions, k)]
    if len(found) != len(questions):
        raise InvalidArgument(f"{system.name}: ranks {len(found)} lists of pages for {len(questions)} questions")
    for question, pages in zip(questions, found, strict=True):
        if len({one[:2] for one in pages}) < len(pages):
            raise InvalidArgument(f"{system.name}: finds a page twice for question {question.id}")
        if odd := [one for one in pages if not math.isfinite(one.score)]:
            raise InvalidArgument(f"{system.name}: a score is a number, got {odd[0].score} for question {question.id}")
    return [[one._replace(score=float(one.score)) for one in pages] for pages in found]


def _ordered(found: Sequence[Found], unit: Unit) -> list[Found]:
    """Return what was found, best first; of several pages of a document the best, where documents are ranked."""
    by_name = sorted(found, key=lambda one: name_of(one.doc, one.page), reverse=True)
    order = sorted(by_name, key=lambda one: -one.score)
    if unit == "page":
        return order
    best: dict[str, Found] = {}
    for one in order:
        best.setdefault(one.doc, one)
    return sorted(sorted(best.values(), key=lambda one: quoted(one.doc), reverse=True), key=lambda one: -one.score)


def unfindable(system: System, questions: QuestionSet, unit: Unit) -> int:
    """Return how many right pages an index lacks though it has their documents: what stood on them was not read.

    Raises InvalidArgument for a right document or page that does not exist; 0 for a system without an index.
    """
    if system.retriever is None:
        return 0
    problems: list[str] = []
    known: dict[str, Document | InvalidArgument] = {}
    pages: dict[str, frozenset[int]] = {}
    lacking = 0
    for question in questions:
        for target in question.right:
            doc, page = target
            if doc not in known:
                try:
                    known[doc] = document = system.retriever.document(doc)
                    pages[doc] = frozenset(document.pages)
                except InvalidArgument as error:
                    known[doc] = error
            there = known[doc]
            if isinstance(there, InvalidArgument):
                problems.append(f"{questions.place(question, target)}: {there}")
            elif unit == "document":
                lacking += not there.pages
            elif page not in pages[doc]:
                assert page is not None
                if _exists(there, page):
                    lacking += 1
                else:
                    has = f"its pages are {there.pages[0]} to {there.pages[-1]}" if there.pages else "it has no pages"
                    problems.append(f"{questions.place(question, target)}: {doc!r} has no page {page}; {has}")
    if problems:
        more = f" (and {len(problems) - 1:,} more such)" if len(problems) > 1 else ""
        raise InvalidArgument(f"{problems[0]}{more}; measured with {system.name}")
    return lacking


def _exists(document: Document, page: int) -> bool:
    """Return whether a document has a page that the index could not read, or that has nothing its model reads."""
    unread = page in document.empty or any(page == number for number, _ in document.failed)
    return unread or page <= (document.expected or 0) or document.state == "failed"
