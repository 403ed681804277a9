"""The pages that are similar to a page, whose vectors serve as the question.

The time of a scan is proportional to the number of vectors of the question, and a page has hundreds. So the vectors of
the page are merged until MAX_VECTORS are left. The score is divided by their number, so it is the mean of their best
matches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visret.choices import LATE
from visret.errors import InvalidArgument
from visret.reduction import pool
from visret.search.part import Part
from visret.search.pipeline import Among, Pipeline, refs, until_documents
from visret.types import Hit, PageEmbedding, PageRef, QueryEmbedding, Question, Ranking

MAX_VECTORS = 64


def question_of(page: PageEmbedding) -> Question:
    """Return a page, in the dimensions of the stored vectors, as a question."""
    if not len(page.vectors):
        raise InvalidArgument(f"{page.ref.doc}, page {page.ref.page}, has no vectors; search by words (by='bm25')")
    vectors = pool(page, -(-len(page.vectors) // MAX_VECTORS)).vectors
    count = len(vectors)
    text = f"pages like {page.ref.doc}, page {page.ref.page}"
    return Question(text, {LATE: QueryEmbedding(text, vectors, ("",) * count, np.ones(count, bool))})


def hits(
    pipeline: Pipeline,
    page: PageEmbedding,
    part: Part,
    *,
    but: PageRef | None,
    where: Mapping[str, Any] | None,
    among: Among | None,
    exact: bool,
) -> list[Hit]:
    """Return the hits of a part of the ranking of all pages by their similarity to this page. but: a page left out."""
    snapshot, question = pipeline.snapshot, question_of(page)
    chosen = snapshot.select(where, None if among is None else refs(snapshot, among))

    def best(questions: Sequence[Question], k: int) -> list[Ranking]:
        return pipeline.scorer(pipeline.finder(but)).rank(questions, k, chosen, exact=exact)

    depth = min(part.depth + 1, max(len(snapshot), 1))
    (found,) = until_documents(best, [question], depth, part.documents and part.documents + 1, len(snapshot))
    kept = np.ones(len(found.keys), bool)
    if but is not None:
        segment, row = snapshot.find(but)
        kept = found.keys != snapshot.keys(np.array([segment]), np.array([row]))[0]
    count = len(question.encoded[LATE].vectors)
    parts = {name: values[kept] / count for name, values in found.parts.items()}
    ranking = Ranking(found.keys[kept], found.scores[kept] / count, parts)
    return list(part.hits(pipeline, question, ranking, where, explain=False))
