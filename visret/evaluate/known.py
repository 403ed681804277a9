"""Questions that are written in Python with their right pages, and how well a retriever answers them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visret.errors import InvalidArgument
from visret.evaluate import lists
from visret.types import PageRef, page_ref

if TYPE_CHECKING:
    from visret.retriever import Retriever


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one question.

    found: the first k pages, best first. ndcg, recall: nDCG@k and recall@k.
    reciprocal_rank: 1 / the rank of the first right page among the k; 0 if there is none.
    """

    question: str
    found: tuple[PageRef, ...]
    ndcg: float
    recall: float
    reciprocal_rank: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of all questions, and their means. `print` shows it as a table."""

    k: int
    results: tuple[Result, ...]

    @property
    def ndcg(self) -> float:
        """The mean nDCG@k."""
        return sum(result.ndcg for result in self.results) / len(self.results)

    @property
    def recall(self) -> float:
        """The mean recall@k."""
        return sum(result.recall for result in self.results) / len(self.results)

    @property
    def mrr(self) -> float:
        """The mean reciprocal rank, MRR@k."""
        return sum(result.reciprocal_rank for result in self.results) / len(self.results)

    def __str__(self) -> str:
        rows = [(r.ndcg, r.recall, r.reciprocal_rank, r.question) for r in self.results]
        rows.append((self.ndcg, self.recall, self.mrr, f"mean of {len(self.results)} questions"))
        head = f"{f'nDCG@{self.k}':>8}{f'recall@{self.k}':>10}{f'MRR@{self.k}':>7}  question"
        return "\n".join([head, *(f"{a:8.3f}{b:10.3f}{c:7.3f}  {question}" for a, b, c, question in rows)])


def run(retriever: Retriever, questions: Mapping[str, Collection[tuple[str, int]]], *, k: int = 5) -> Evaluation:
    """Ask every question, and compare the first k pages with the right ones.

    questions: for each question its right pages, as PageRefs or (document, page number).

    Raises InvalidArgument if there are no questions, or if a question has no right page or one of a document that is
    not in the index.
    """
    there = set(retriever.documents())
    questions = {question: {page_ref(one) for one in right} for question, right in questions.items()}
    for question, right in questions.items():
        unknown = sorted({doc for doc, _ in right} - there)
        if unknown or not right:
            raise InvalidArgument(f"{question!r}: {f'no document {unknown[0]!r}' if unknown else 'has no right page'}")
    if not questions:
        raise InvalidArgument("there are no questions to evaluate")
    results = []
    ranked = retriever.search_many(list(questions), k, explain=False)
    for (question, right), hits in zip(questions.items(), ranked, strict=True):
        found = tuple(hit.ref for hit in hits)
        scores = (measure(found, right, k) for measure in (lists.ndcg, lists.recall, lists.reciprocal_rank))
        results.append(Result(question, found, *scores))
    return Evaluation(k, tuple(results))
